"""Models that the checks support: one trait, one variance per kernel, marginal over effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.errors import InputError
from bayeslmm.likelihood.contrasts import Contrasts
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr


@one_thread()
def contrasts_of(model: pm.Model) -> Contrasts:
    """Return the error contrasts of a model's current phenotype.

    Raises
    ------
    InputError
        Unless its phenotype has a marginal normal distribution of one trait.
    """
    marginal = marginal_of(model)
    found = None if marginal is None else marginal.contrasts(observed_phenotype(model))
    if found is None:
        raise _not_simple("its phenotype is not a marginal normal distribution of one trait")
    return found


def coefficients(model: pm.Model, tree: xr.DataTree, most: int = 1000) -> Floats:
    """Return draws (at most `most`, K) of the coefficients of V from a fit of the model.

    Raises
    ------
    InputError
        If they are not the variances of the components: a level has several effects, or the order
        of the components differs from the order of the terms of the covariance.
    """
    posterior = tree["posterior"].to_dataset()
    variance = posterior["variance"].transpose("chain", "draw", "component").to_numpy()
    draws = np.ascontiguousarray(variance.reshape(-1, variance.shape[-1]))
    form = contrasts_of(model).form
    if form is not None:
        covariance = form.covariance
        simple = form.identity and all(term.k == 1 for term in covariance.terms)
        if not simple or draws.shape[1] != covariance.size:
            raise _not_simple("its covariance is not a sum of one variance for each kernel")
        beta = posterior["beta"].transpose("chain", "draw", "covariate").to_numpy()
        density = tree["log_likelihood"]["phenotype"].transpose("chain", "draw", ...)
        there = float(density.to_numpy().reshape(len(draws), -1)[-1].sum())
        marginal = marginal_of(model)
        assert marginal is not None
        found = marginal.quadratic(observed_phenotype(model))([draws[-1]])
        last = beta.reshape(len(draws), -1)[-1]
        if found is None or abs(found.at(last) - there) > 1e-5 * abs(there) + 1e-3:
            raise _not_simple("its components are not in the order of its covariance's terms")
    picked = np.linspace(0, len(draws) - 1, min(len(draws), most)).astype(int)
    return np.ascontiguousarray(draws[picked])


def _not_simple(why: str) -> InputError:
    """Make the error for a model that these checks do not support."""
    return InputError(
        f"a model that the checks of relatives do not support: {why}",
        "one trait, the random effects integrated out, a variance for each kernel",
        "look at the residuals in the report instead",
    )
