"""The reported quantities of a posterior, by the name they have in every table.

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

LARGEST = 200  # entries of a variable beyond which it is left out (g)
SHARES = ("h2", "share[", "repeatability")  # what is told with the shortest interval
SCALARS = ("sigma2_u", "sigma2_e", "pve_fixed", "pve_random", "pve_total")


def columns(posterior: xr.Dataset, largest: int = LARGEST) -> Draws:
    """Scalar draws (chain, draw) of every variable by name, ``beta[sex]`` for entries.

    Variables with more than `largest` entries (g) are left out.
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
    """Draws (chain, draw) of every reported quantity, in the order of the table.

    Parameters
    ----------
    posterior
        The group of that name of a fit.
    """
    drawn = columns(posterior)
    out = _starting(drawn, "h2")
    out |= component_shares(posterior)
    variance = posterior["variance"].transpose("chain", "draw", "component").to_numpy()
    names = component_names(posterior)
    out |= {f"sigma2[{name}]": variance[..., k] for k, name in enumerate(names)}
    out |= {name: drawn[name] for name in SCALARS if name in drawn}
    out |= {name: drawn[name] for name in ("sigma2_snp", "repeatability") if name in drawn}
    out |= correlations(posterior)
    out |= _starting(drawn, "r_", "residual_variance[", "pve_fixed[", "pve_random[", "pve_total[")
    return out | _starting(drawn, "beta[", "pve_share[")


def _starting(drawn: Draws, *prefixes: str) -> Draws:
    """Draws whose names start so; correlation matrices and auxiliary variables are left out."""
    hidden = ("r_g", "r_e")
    return {
        name: values
        for prefix in prefixes
        for name, values in drawn.items()
        if name.startswith(prefix) and not name.startswith(hidden)
    }


def h2_dims(tree: xr.DataTree) -> tuple[Hashable, ...] | None:
    """Dimensions of h² in the posterior; None where there is none."""
    if "posterior" not in tree.children or "h2" not in tree["posterior"]:
        return None
    return tree["posterior"].to_dataset()["h2"].dims


def component_names(posterior: xr.Dataset) -> list[str]:
    """Names of the variance components, the residual last."""
    return [str(name) for name in posterior["component"].to_numpy()]


def trait_of(component: str, traits: Sequence[str]) -> str:
    """The trait in the name of a component, "additive:CD8"; "" where there is none."""
    last = component.rpartition(":")[2]
    return last if last in traits else ""


def component_shares(posterior: xr.Dataset) -> Draws:
    """``share[COMPONENT]``: σ²_k over the sum of the variances, of those of the same trait."""
    traits = [str(t) for t in posterior["trait"].to_numpy()] if "trait" in posterior.coords else []
    owners = [trait_of(name, traits) for name in component_names(posterior)]
    variance = posterior["variance"].transpose("chain", "draw", "component").to_numpy()
    out: Draws = {}
    for k, name in enumerate(component_names(posterior)):
        same = [i for i, owner in enumerate(owners) if owner == owners[k]]
        out[f"share[{name}]"] = variance[..., k] / variance[..., same].sum(axis=-1)
    return out


def correlations(posterior: xr.Dataset) -> Draws:
    """``r_g[A,B]`` and ``r_e[A,B]`` of every pair of traits."""
    out: Draws = {}
    for kind in ("r_g", "r_e"):
        if kind in posterior:
            traits = [str(name) for name in posterior["trait"].to_numpy()]
            for a, b in combinations(range(len(traits)), 2):
                values = posterior[kind].transpose("chain", "draw", "trait", "other_trait")
                out[f"{kind}[{traits[a]},{traits[b]}]"] = values.to_numpy()[:, :, a, b]
    return out
