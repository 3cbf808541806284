"""Comparison of the posterior of h² and r_g with REML and Haseman-Elston, ours and other programs'.

Every estimate refers to a matrix K: ``Var(y) = σ²_u K + σ²_e I``, ``h² = σ²_u / (σ²_u + σ²_e)``.
`bayeslmm.estimates.estimate` converts h² from the scale of one matrix to another. With several
traits each has its h², and each pair its genetic correlation r_g.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from bayeslmm.checks.disagreement import disagreements
from bayeslmm.checks.external_scale import external_estimate, kernels_of
from bayeslmm.checks.own_estimates import SOURCES, own_estimates
from bayeslmm.errors import InputError
from bayeslmm.estimates.estimate import Estimate
from bayeslmm.estimates.external import External, read_external
from bayeslmm.inference.quantities import columns, correlations, h2_dims
from bayeslmm.models.family import recorded_family, require_gaussian
from bayeslmm.system.files import PathArg

if TYPE_CHECKING:
    import pymc as pm


COLUMNS = ["source", "h2", "se", "lower", "upper", "scale", "h2_here", "note"]
COLUMNS_OF_TRAITS = ["quantity", "source", "estimate", "se", "lower", "upper", "note"]
GROUP = "agreement"


def agreement(
    tree: xr.DataTree,
    external: Sequence[PathArg | External] = (),
    *,
    model: pm.Model | None = None,
    prob: float = 0.95,
) -> pd.DataFrame:
    """Compare the posterior of h² and r_g with REML, Haseman-Elston and other programs' estimates.

    Parameters
    ----------
    tree
        A fit of one trait, or of several traits and one kernel.
    external
        Estimates of one trait by other programs: files (GCTA's ``.hsq``, GEMMA's ``.log.txt``) or
        results of `read_external`.
    model
        Needed for several kernels or traits if the tree is a copy or was read from a file, unless
        the tree keeps the estimates (`add_agreement`).
    prob
        Probability of the posterior interval.

    Returns
    -------
    DataFrame
        ``source h2 se lower upper scale h2_here note``: each estimate on its own scale, and
        h2_here on the scale of the posterior. A warning reports each difference larger than its
        uncertainty. For several traits ``quantity source estimate se lower upper note``.

    Raises
    ------
    InputError
        If the tree has no h² or the phenotype is not Gaussian, if `external` is given with several
        traits, if a file cannot be read, or if several traits have no other estimates.
    """
    from bayeslmm.errors import warn_user

    found = estimates(tree, external, model=model, prob=prob)
    for message in disagreements([one for one in found if one.quantity == "h2"]):
        warn_user(message)
    return as_table(found)


def as_table(found: Sequence[Estimate]) -> pd.DataFrame:
    """Return the estimates as the table of `agreement`."""
    rows = [
        {**asdict(one), "h2": one.value, "estimate": one.value, "h2_here": one.value_here}
        for one in found
    ]
    one_trait = all(one.quantity == "h2" for one in found)
    return pd.DataFrame(rows, columns=COLUMNS if one_trait else COLUMNS_OF_TRAITS)


def estimates(
    tree: xr.DataTree,
    external: Sequence[PathArg | External] = (),
    *,
    model: pm.Model | None = None,
    prob: float = 0.95,
) -> list[Estimate]:
    """Return the estimates of `agreement`: posterior, REML, Haseman-Elston, other programs.

    One trait without REML and Haseman-Elston has the posterior alone; with several traits
    `InputError` says why there are none.
    """
    dims = set(h2_dims(tree) or ())
    several = "trait" in dims
    if several and external:
        raise InputError(
            "estimates of other programs with a fit of several traits",
            "a fit of one trait",
            "fit the traits one by one, or leave the files out",
        )
    require_gaussian(recorded_family(tree.attrs), "estimates by REML and Haseman-Elston")
    if dims - {"trait"} != {"chain", "draw"}:
        raise InputError(
            "a tree of several traits, or without a posterior of h²",
            "a fit of one trait with one h²",
            "give the tree of each trait by itself: tree['TRAIT']",
        )
    kernels, kept = kernels_of(tree), estimates_of(tree)
    own = [one for one in kept or () if one.source in SOURCES]
    if not own:
        try:
            own = own_estimates(tree, model)
        except InputError:
            if several and kept is None:
                raise
    others: list[Estimate] = []
    for one in external:
        read = [one] if isinstance(one, External) else read_external(one)
        others += [external_estimate(each, tree, kernels, model) for each in read]
    if not external:
        others = [one for one in kept or () if one.source.startswith(("GCTA", "GEMMA"))]
    scale = _scale_words(kernels)
    compared = [*(replace(one, scale=scale) for one in own), *others]
    out: list[Estimate] = []
    for posterior in _posterior(tree, prob, scale):
        out += [posterior, *(one for one in compared if one.quantity == posterior.quantity)]
    return out


def _posterior(tree: xr.DataTree, prob: float, scale: str) -> Iterator[Estimate]:
    """Summarise the posterior of each h² and r_g: exactly if the tree has the density, or draws."""
    from bayeslmm.posterior.summary import describe, exact_share

    posterior, exact = tree["posterior"].to_dataset(), {"h2": exact_share(tree)}
    note = f"mean, sd and {100 * prob:g} % interval of the posterior"
    drawn = columns(posterior[["h2"]])
    if "trait" in posterior.dims:
        drawn |= {k: v for k, v in correlations(posterior).items() if k.startswith("r_g")}
    for quantity, draws in drawn.items():
        if (share := exact.get(quantity)) is not None:
            (mean, sd), (lower, upper) = share.moments(), share.hdi(prob)
        else:
            row = describe(draws, quantity, prob)
            mean, sd, lower, upper = (float(row[key]) for key in ("mean", "sd", "lower", "upper"))
        yield Estimate(quantity, "posterior", mean, sd, lower, upper, note, scale)


def _scale_words(kernels: list[dict[str, Any]]) -> str:
    if all(one.get("kernel_scale") == "asv" for one in kernels):
        return "average semivariance one among the individuals analysed"
    return "the matrix as it is"


def add_agreement(
    tree: xr.DataTree,
    external: Sequence[PathArg | External] = (),
    *,
    model: pm.Model | None = None,
    prob: float = 0.95,
) -> list[Estimate]:
    """Store the estimates in the group ``agreement`` of a fit, for its report."""
    found = estimates(tree, external, model=model, prob=prob)
    values = {name: [getattr(one, name) for one in found] for name in Estimate.__slots__}
    tree[GROUP] = xr.DataTree(xr.Dataset({name: ("estimate", v) for name, v in values.items()}))
    return found


def estimates_of(tree: xr.DataTree) -> list[Estimate] | None:
    """Return the estimates stored by `add_agreement`, or None."""
    if GROUP not in tree.children:
        return None
    data = tree[GROUP].to_dataset()
    values = [data[name].to_numpy().tolist() for name in Estimate.__slots__]
    return [Estimate(*row) for row in zip(*values, strict=True)]
