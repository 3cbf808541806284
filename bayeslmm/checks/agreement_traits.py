"""Comparison of the posterior of several traits with REML and Haseman-Elston: h² and r_g.

If all individuals have all traits, the traits are estimated together
(`bayeslmm.estimates.traits`). Otherwise h² is estimated from all records of each trait, and r_g
from the individuals with both traits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.errors import InputError
from bayeslmm.estimates.haseman_elston import haseman_elston_one_kernel
from bayeslmm.estimates.reml import reml_one_kernel
from bayeslmm.estimates.traits import TraitCovariances, haseman_elston_traits, reml_traits
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.models.family import recorded_family, require_gaussian
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread

if TYPE_CHECKING:
    import pymc as pm


GROUP = "trait_agreement"
COLUMNS = ["quantity", "source", "estimate", "se", "lower", "upper", "note"]
Z = 1.959964  # half the width of a 95 % interval in standard errors
REML, HE = "REML", "Haseman-Elston"
TOGETHER, ALONE, BOTH = "the traits together", "the trait by itself", "individuals with both traits"


@dataclass(frozen=True, slots=True)
class TraitEstimate:
    """One estimate of one quantity.

    Parameters
    ----------
    quantity
        "h2[TRAIT]" or "r_g[TRAIT, TRAIT]".
    source
        "posterior", "REML" or "Haseman-Elston".
    estimate, se, lower, upper
        Estimate, standard error (posterior sd) and interval (of the posterior, or estimate ± 1.96
        standard errors); nan where undefined.
    note
        Data used, and problems of the estimate.
    """

    quantity: str
    source: str
    estimate: float
    se: float
    lower: float
    upper: float
    note: str


def trait_agreement(
    tree: xr.DataTree, *, model: pm.Model | None = None, prob: float = 0.95
) -> pd.DataFrame:
    """Compare posterior, REML and Haseman-Elston of every h² and genetic correlation.

    Parameters
    ----------
    tree
        A fit of several traits and one kernel.
    model
        Needed if the tree is a copy or was read from a file, and does not store the estimates.
    prob
        Probability of the posterior intervals.

    Returns
    -------
    DataFrame
        ``quantity source estimate se lower upper note``.

    Raises
    ------
    InputError
        For another kind of model, or if the model is needed and not given.
    """
    found = estimates(tree, model=model, prob=prob)
    return pd.DataFrame([asdict(one) for one in found], columns=COLUMNS)


@one_thread()
def estimates(
    tree: xr.DataTree, *, model: pm.Model | None = None, prob: float = 0.95
) -> list[TraitEstimate]:
    """Return the estimates of `trait_agreement`, quantity by quantity."""
    require_gaussian(recorded_family(tree.attrs), "estimates by REML and Haseman-Elston")
    posterior = _posterior(tree, prob)
    own = estimates_of(tree)
    if own is None:
        from bayeslmm.inference.fitted import model_of

        own = list(_own(model_of(tree, model), _names(tree)))
    out: list[TraitEstimate] = []
    for one in posterior:
        out += [one, *(other for other in own if other.quantity == one.quantity)]
    return out


def add_trait_agreement(
    tree: xr.DataTree, *, model: pm.Model | None = None, prob: float = 0.95
) -> list[TraitEstimate]:
    """Store the estimates in the group ``trait_agreement`` of a fit, for its report."""
    found = estimates(tree, model=model, prob=prob)
    kept = [one for one in found if one.source != "posterior"]
    columns = {name: [getattr(one, name) for one in kept] for name in COLUMNS}
    tree[GROUP] = xr.DataTree(xr.Dataset({name: ("estimate_of", v) for name, v in columns.items()}))
    return found


def estimates_of(tree: xr.DataTree) -> list[TraitEstimate] | None:
    """Return REML and Haseman-Elston as stored by `add_trait_agreement`, or None."""
    if GROUP not in tree.children:
        return None
    data = tree[GROUP].to_dataset()
    texts = [data[name].to_numpy().astype(str) for name in ("quantity", "source", "note")]
    numbers = [data[name].to_numpy() for name in ("estimate", "se", "lower", "upper")]
    return [
        TraitEstimate(
            str(quantity), str(source), float(x), float(se), float(low), float(up), str(n)
        )
        for quantity, source, n, x, se, low, up in zip(*texts, *numbers, strict=True)
    ]


def _names(tree: xr.DataTree) -> list[str]:
    return [str(trait) for trait in tree["posterior"]["trait"].to_numpy()]


def _posterior(tree: xr.DataTree, prob: float) -> list[TraitEstimate]:
    """Summarise the posterior of each h² and r_g."""
    from bayeslmm.inference.quantities import h2_dims, quantities
    from bayeslmm.posterior.summary import describe

    if "trait" not in (h2_dims(tree) or ()):
        raise InputError(
            "a tree of one trait, or without a posterior", "a fit of several traits",
            "call bayeslmm.agreement, which takes both",
        )  # fmt: skip
    out = []
    for name, draws in quantities(tree["posterior"].to_dataset()).items():
        if name.startswith(("h2[", "r_g[")):
            row = describe(draws, name, prob)
            mean, sd, lower, upper = (float(row[key]) for key in ("mean", "sd", "lower", "upper"))
            note = f"mean, sd and {100 * prob:g} % interval of the posterior"
            out.append(TraitEstimate(name, "posterior", mean, sd, lower, upper, note))
    return out


def _own(model: pm.Model, traits: list[str]) -> Iterator[TraitEstimate]:
    """Yield REML and Haseman-Elston estimates of each h² and r_g, where defined."""
    marginal, y = marginal_of(model), observed_phenotype(model)
    count = len(traits)
    if (
        marginal is None
        or marginal.traits != count
        or not any(marginal.in_own_basis(y, t) for t in range(count))
    ):
        raise InputError(
            "a model without a REML estimate of several traits",
            "several traits, one kernel, one record of each trait of an individual",
            "compare the traits one by one",
        )
    pairs = list(combinations(range(count), 2))
    together = marginal.in_own_basis(y, *range(count)) if marginal.complete else None
    if together is not None:
        for source, found in _both(*together):
            for t, trait in enumerate(traits):
                yield _usual(f"h2[{trait}]", source, found.h2(t), TOGETHER, found)
            for t, u in pairs:
                yield _usual(_pair(traits[t], traits[u]), source, found.r_g(t, u), TOGETHER, found)
        return
    for t, trait in enumerate(traits):
        if (alone := marginal.in_own_basis(y, t)) is not None:
            s, e = alone[0].expanded(alone[1][:, 0])
            reml, he = reml_one_kernel(s, e), haseman_elston_one_kernel(s, e)
            yield _usual(f"h2[{trait}]", REML, (reml.h2, reml.se), ALONE, reml)
            yield _usual(f"h2[{trait}]", HE, (he.h2, he.se), ALONE)
    for t, u in pairs:
        if (both := marginal.in_own_basis(y, t, u)) is not None:
            for source, found in _both(*both):
                note = f"{both[0].n} {BOTH}"
                yield _usual(_pair(traits[t], traits[u]), source, found.r_g(0, 1), note, found)


def _both(spectrum: Spectrum, rotated: Floats) -> Iterator[tuple[str, TraitCovariances]]:
    """Yield REML, unless the traits are linearly dependent, and Haseman-Elston."""
    try:
        yield REML, reml_traits(spectrum, rotated)
    except InputError:
        return
    yield HE, haseman_elston_traits(*spectrum.expanded(rotated))


def _pair(one: str, other: str) -> str:
    return f"r_g[{one},{other}]"


def _usual(
    quantity: str, source: str, found: tuple[float, float], note: str, how: Any = None
) -> TraitEstimate:
    value, se = found
    if getattr(how, "at_edge", False):
        note += "; a variance or a correlation is at its edge: the interval means nothing"
    if not getattr(how, "converged", True):
        note += "; the search did not end at a maximum"
    if math.isnan(value):
        note += "; no correlation: a genetic variance is not positive"
    return TraitEstimate(quantity, source, value, se, value - Z * se, value + Z * se, note)
