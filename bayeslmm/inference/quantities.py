"""The reported quantities of a posterior, by their name in all tables.

h2, h2[TRAIT]            share of all genetic components together, of a trait
share[COMPONENT]         σ²_k / Σ σ² (of the same trait)
sigma2[COMPONENT]        σ²_k
r_g[A,B], r_e[A,B]       genetic and residual correlation of two traits
pve_share[PART]          realised parts of the variance, which sum to one in every draw
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations

import pandas as pd
import xarray as xr

from bayeslmm.numerics.arrays import Floats

type Draws = dict[str, Floats]

LARGEST = 200  # largest number of entries of a reported variable (excludes g)
SHARES = ("h2", "share[", "repeatability")  # quantities with the shortest interval
SCALARS = ("sigma2_u", "sigma2_e", "pve_fixed", "pve_random", "pve_total")


def columns(posterior: xr.Dataset, largest: int = LARGEST) -> Draws:
    """Return scalar draws (chain, draw) of every variable by name, ``beta[sex]`` for entries.

    Variables with more than `largest` entries (g) are excluded.
    """
    out: Draws = {}
    for name, variable in posterior.data_vars.items():
        values = variable.transpose("chain", "draw", ...)
        extra = values.dims[2:]
        flat = values.to_numpy().reshape(*values.shape[:2], -1)
        if flat.shape[2] > largest:
            continue
        if not extra:
            out[str(name)] = flat[..., 0]
            continue
        labels = [
            [str(x) for x in posterior[dim].to_numpy()]
            if dim in posterior.coords
            else [str(i) for i in range(posterior.sizes[dim])]
            for dim in extra
        ]
        for i, key in enumerate(pd.MultiIndex.from_product(labels)):
            out[f"{name}[{', '.join(key)}]"] = flat[..., i]
    return out


def quantities(posterior: xr.Dataset) -> Draws:
    """Return draws (chain, draw) of every reported quantity, in the order of the table.

    Parameters
    ----------
    posterior
        The group ``posterior`` of a fit.
    """
    drawn = columns(posterior)
    out = _with_prefix(drawn, "h2")
    out |= component_shares(posterior)
    variance = posterior["variance"].transpose("chain", "draw", "component").to_numpy()
    names = component_names(posterior)
    out |= {f"sigma2[{name}]": variance[..., k] for k, name in enumerate(names)}
    out |= {name: drawn[name] for name in SCALARS if name in drawn}
    out |= {name: drawn[name] for name in ("sigma2_snp", "repeatability") if name in drawn}
    out |= correlations(posterior)
    out |= _with_prefix(
        drawn, "r_", "residual_variance[", "pve_fixed[", "pve_random[", "pve_total["
    )
    return out | _with_prefix(drawn, "beta[", "pve_share[")


def _with_prefix(drawn: Draws, *prefixes: str) -> Draws:
    """Select draws by name prefix; exclude correlation matrices and auxiliary variables."""
    hidden = ("r_g", "r_e")
    return {
        name: values
        for prefix in prefixes
        for name, values in drawn.items()
        if name.startswith(prefix) and not name.startswith(hidden)
    }


def h2_dims(tree: xr.DataTree) -> tuple[Hashable, ...] | None:
    """Return the dimensions of h² in the posterior; None if there is no h²."""
    if "posterior" not in tree.children or "h2" not in tree["posterior"]:
        return None
    return tree["posterior"].to_dataset()["h2"].dims


def component_names(posterior: xr.Dataset) -> list[str]:
    """Return the names of the variance components, the residual last."""
    return [str(name) for name in posterior["component"].to_numpy()]


def trait_of(component: str, traits: Sequence[str]) -> str:
    """Return the trait in a component's name, such as "additive:CD8"; "" if there is none."""
    last = component.rpartition(":")[2]
    return last if last in traits else ""


def component_shares(posterior: xr.Dataset) -> Draws:
    """Return ``share[COMPONENT]``: σ²_k over the sum of the variances of the same trait."""
    traits = [str(t) for t in posterior["trait"].to_numpy()] if "trait" in posterior.coords else []
    owners = [trait_of(name, traits) for name in component_names(posterior)]
    variance = posterior["variance"].transpose("chain", "draw", "component").to_numpy()
    out: Draws = {}
    for k, name in enumerate(component_names(posterior)):
        same = [i for i, owner in enumerate(owners) if owner == owners[k]]
        out[f"share[{name}]"] = variance[..., k] / variance[..., same].sum(axis=-1)
    return out


def correlations(posterior: xr.Dataset) -> Draws:
    """Return ``r_g[A,B]`` and ``r_e[A,B]`` of every pair of traits."""
    out: Draws = {}
    for kind in ("r_g", "r_e"):
        if kind in posterior:
            traits = [str(name) for name in posterior["trait"].to_numpy()]
            for a, b in combinations(range(len(traits)), 2):
                values = posterior[kind].transpose("chain", "draw", "trait", "other_trait")
                out[f"{kind}[{traits[a]},{traits[b]}]"] = values.to_numpy()[:, :, a, b]
    return out
