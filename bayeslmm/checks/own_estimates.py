"""Our REML and Haseman-Elston estimates of every h² and genetic correlation of a fit.

- One trait and one kernel: from the eigenvalues and error contrasts that the tree stores.
- One trait and several kernels: from the matrices of the model.
- Several traits and one kernel: together (`bayeslmm.estimates.traits`) if all individuals have all
  traits. Otherwise h² from all records of each trait, and r_g from the individuals with both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayeslmm.checks.simple_models import coefficients, contrasts_of
from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.errors import InputError
from bayeslmm.estimates.estimate import Estimate
from bayeslmm.estimates.haseman_elston import (
    HasemanElston,
    haseman_elston_one_kernel,
    haseman_elston_several,
)
from bayeslmm.estimates.reml import Reml, reml_one_kernel, reml_several
from bayeslmm.estimates.traits import TraitCovariances, haseman_elston_traits, reml_traits
from bayeslmm.inference.fitted import model_of
from bayeslmm.inference.quantities import h2_dims
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread

if TYPE_CHECKING:
    import pymc as pm


REML, HE = "REML", "Haseman-Elston"
SOURCES = (REML, HE)
NOTES = ("restricted maximum likelihood", "regression of products of pairs on relationship")
TOGETHER, ALONE, BOTH = "the traits together", "the trait by itself", "individuals with both traits"
VARIANCE, ANY = "a variance", "a variance or a correlation"  # what may be at its edge


@one_thread()
def own_estimates(tree: xr.DataTree, model: pm.Model | None = None) -> list[Estimate]:
    """Estimate every h² and r_g of a fit by REML and Haseman-Elston, where defined.

    Raises
    ------
    InputError
        If there are none: the model is needed and unknown, or is not one of those above.
    """
    constants = tree["constant_data"].to_dataset()
    one_kernel = tree["posterior"].sizes["component"] == 2
    if "eigenvalue" in constants and "contrasts" in constants and one_kernel:
        spectrum = constants["eigenvalue"].to_numpy(), constants["contrasts"].to_numpy()
        return list(_h2("h2", *_one_kernel(*spectrum), NOTES, VARIANCE))
    model = model_of(tree, model)
    if "trait" in (h2_dims(tree) or ()):
        traits = [str(trait) for trait in tree["posterior"]["trait"].to_numpy()]
        return list(_of_traits(model, traits))
    return list(_h2("h2", *_several_kernels(model, tree), NOTES, VARIANCE))


def _one_kernel(s: Floats, e: Floats) -> tuple[Reml, HasemanElston]:
    return reml_one_kernel(s, e), haseman_elston_one_kernel(s, e)


def _several_kernels(model: pm.Model, tree: xr.DataTree) -> tuple[Reml, HasemanElston]:
    """Estimate the variances of several kernels; REML starts at the posterior means."""
    contrasts, start = contrasts_of(model), coefficients(model, tree).mean(axis=0)
    form = contrasts.form
    if form is None:
        raise InputError(
            "a fit of one kernel without its error contrasts",
            "eigenvalue and contrasts in constant_data, which bayeslmm.fit stores",
            "fit again",
        )
    genetic = np.array([*(term.genetic for term in form.covariance.terms), False])
    rotated = form.rotate(observed_phenotype(model))
    reml = reml_several(form, rotated, start, genetic)
    return reml, haseman_elston_several(form, rotated, genetic)


def _of_traits(model: pm.Model, traits: list[str]) -> Iterator[Estimate]:
    """Yield the estimates of several traits and one kernel."""
    marginal, y = marginal_of(model), observed_phenotype(model)
    count = len(traits)
    alone: list[tuple[Spectrum, Floats] | None] = []
    if marginal is not None and marginal.traits == count:
        alone = [marginal.in_own_basis(y, t) for t in range(count)]
    if marginal is None or not any(alone):
        raise InputError(
            "a model without a REML estimate of several traits",
            "several traits, one kernel, one record of each trait of an individual",
            "compare the traits one by one",
        )
    pairs = {f"r_g[{traits[t]},{traits[u]}]": (t, u) for t, u in combinations(range(count), 2)}
    together = marginal.in_own_basis(y, *range(count)) if marginal.complete else None
    if together is not None:
        for source, found in _covariances(*together):
            for t, trait in enumerate(traits):
                note = TOGETHER + _problems(found, ANY)
                yield Estimate.symmetric(f"h2[{trait}]", source, *found.h2(t), note)
            for quantity, (t, u) in pairs.items():
                yield _r_g(quantity, source, found, t, u, TOGETHER)
        return
    for trait, own in zip(traits, alone, strict=True):
        if own is not None:
            spectrum, rotated = own
            fits = _one_kernel(*spectrum.expanded(rotated[:, 0]))
            yield from _h2(f"h2[{trait}]", *fits, (ALONE, ALONE), ANY)
    for quantity, (t, u) in pairs.items():
        if (both := marginal.in_own_basis(y, t, u)) is not None:
            for source, found in _covariances(*both):
                yield _r_g(quantity, source, found, 0, 1, f"{both[0].n} {BOTH}")


def _covariances(spectrum: Spectrum, rotated: Floats) -> Iterator[tuple[str, TraitCovariances]]:
    """Yield REML and Haseman-Elston; nothing if the traits are linearly dependent."""
    try:
        yield REML, reml_traits(spectrum, rotated)
    except InputError:
        return
    yield HE, haseman_elston_traits(*spectrum.expanded(rotated))


def _h2(
    quantity: str, reml: Reml, he: HasemanElston, notes: tuple[str, str], edge: str
) -> Iterator[Estimate]:
    """Yield both estimates of the h² of a trait by itself."""
    note = notes[0] + _problems(reml, edge)
    yield Estimate.symmetric(quantity, REML, reml.h2, reml.se, note)
    yield Estimate.symmetric(quantity, HE, he.h2, he.se, notes[1])


def _r_g(
    quantity: str, source: str, found: TraitCovariances, t: int, u: int, note: str
) -> Estimate:
    r, se = found.r_g(t, u)
    note += _problems(found, ANY)
    if math.isnan(r):
        note += "; no correlation: a genetic variance is not positive"
    return Estimate.symmetric(quantity, source, r, se, note)


def _problems(found: Reml | TraitCovariances, edge: str) -> str:
    """Say what is wrong with a fit, to be added to its note."""
    at_edge = f"; {edge} is at its edge: the interval means nothing" if found.at_edge else ""
    return at_edge + ("" if found.converged else "; the search did not end at a maximum")
