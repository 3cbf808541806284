"""Fixed effects β of a model file, with a prior on their standardised form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray

from bayeslmm.numerics.arrays import Floats
from bayeslmm.priors.prior import Prior, require_support
from bayeslmm.priors.units import phenotype_unit, standardised_design, trait_columns

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


def fixed_effects(cohort: Cohort, prior: str | Prior = "normal(0, 10)") -> Any:
    """Register β, the effects of the cohort's covariates, with the intercept first.

    The prior is on the standardised effects γ (``beta_std``), in sd(y | X) per sd of the
    covariate. For the intercept, γ_0 is the distance of the mean from the sample mean of y::

        β_j = γ_j sd(y | X) / sd(x_j)         β_0 = mean(y) + γ_0 sd(y | X) - Σ_j β_j mean(x_j)

    Parameters
    ----------
    cohort
        Gives y, X and the names of the covariates.
    prior
        Normal (default: mean 0, sd 10, which is weak) or ``"flat()"``.

    Returns
    -------
    TensorVariable
        ``beta`` (p,), dimension ``covariate``.

    Raises
    ------
    InputError
        If the prior is not on the real numbers.
    """
    parsed = require_support("beta", Prior.parse(prior), "real")
    unit = phenotype_unit(cohort)
    gamma = parsed.variable("beta_std", dims="covariate")
    gamma.tag.words = (
        f"each standardised effect is {parsed.words()}, in sd(y | X) per sd of the covariate"
    )
    centre = pm.modelcontext(None)["phenotype_centre"]
    T, first, trait = _standardised(cohort)
    if cohort.trait_index is not None:
        unit, centre = unit[trait], centre[trait]
    return pm.Deterministic(
        "beta", centre * first + unit * (pt.constant(T) @ gamma), dims="covariate"
    )


def _standardised(cohort: Cohort) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Return `standardised_design` by trait, which effects are intercepts, and each one's trait."""
    X, traits = cohort.X, cohort.trait_index
    first = np.zeros(X.shape[1])
    if traits is None:
        first[0] = 1.0
        return standardised_design(X), first, np.zeros(X.shape[1], dtype=np.intp)
    T, owner = np.zeros((X.shape[1], X.shape[1])), np.zeros(X.shape[1], dtype=np.intp)
    for trait in range(int(traits.max()) + 1):
        rows = traits == trait
        columns = trait_columns(X, rows)
        T[np.ix_(columns, columns)] = standardised_design(X[np.ix_(rows, columns)])
        first[columns[0]] = 1.0
        owner[columns] = trait
    return T, first, owner
