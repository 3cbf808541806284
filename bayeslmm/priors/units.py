"""Units of the priors: sd(y | X), the mean of y, and standardised covariates.

`phenotype_unit` and `phenotype_centre` are `pm.Data` of the model on the stack, so that
`set_phenotype` can exchange the trait in a compiled model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


def residual_sd(y: Floats, X: Floats) -> float:
    """Return sd(y | X), the residual standard deviation of ordinary least squares.

        sd(y | X)² = Σ_i r_i² / (n - p)        r = y - X (XᵀX)⁻¹ Xᵀy

    Parameters
    ----------
    y
        (n,) phenotype.
    X
        (n, p) design.

    Raises
    ------
    InputError
        If the covariates explain y exactly, because the unit of the priors would be zero.
    """
    n, p = X.shape
    residual = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    if n <= p or residual @ residual <= 1e-20 * (y @ y):
        raise InputError(
            f"the {p} covariates explain the phenotype of the {n} individuals exactly",
            "a phenotype that varies among individuals with the same covariates",
            "check the phenotype, or leave covariates out",
        )
    return float(np.sqrt(residual @ residual / (n - p)))


def phenotype_unit(cohort: Cohort) -> Any:
    """Register the unit of the priors, sd(y | X), in the model on the stack and return it.

    The unit is a `pm.Data`, so `set_phenotype` can exchange it. A second call returns the same
    variable.

    Parameters
    ----------
    cohort
        Gives y, X and, for several traits, `trait_index`.

    Returns
    -------
    TensorVariable
        A scalar, or (T,) for T traits.
    """
    model = pm.modelcontext(None)
    if "phenotype_unit" not in model.named_vars:
        unit, centre = units(cohort.y, cohort.X, cohort.trait_index)
        dims = None if cohort.trait_index is None else "trait"
        pm.Data("phenotype_unit", unit, dims=dims)
        pm.Data("phenotype_centre", centre, dims=dims)
    return model["phenotype_unit"]


def units(y: Floats, X: Floats, trait_index: NDArray[np.intp] | None) -> tuple[Any, Any]:
    """Return sd(y | X) and the mean of y: two numbers, or two arrays (T,) for T traits.

    Parameters
    ----------
    y, X
        (n,) phenotype and (n, p) design.
    trait_index
        (n,) trait of each record, from 0, or None for one trait.
    """
    if trait_index is None:
        return residual_sd(y, X), float(np.mean(y))
    found = []
    for trait in range(int(trait_index.max()) + 1):
        rows = trait_index == trait
        own = X[np.ix_(rows, trait_columns(X, rows))]
        found.append((residual_sd(y[rows], own), float(np.mean(y[rows]))))
    return np.array([sd for sd, _ in found]), np.array([mean for _, mean in found])


def trait_columns(X: Floats, rows: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return which columns of X belong to the trait whose records are `rows`.

    A column counts as zero in these records below 1e-9 of its largest entry, because the zeros of
    a design may be rounding errors.
    """
    return np.flatnonzero(np.abs(X[rows]).max(axis=0) > 1e-9 * np.abs(X).max(axis=0))


def standardised_design(X: Floats) -> Floats:
    """Return T (p, p), which turns standardised effects γ into β = b₀ + unit · T γ.

    γ counts in sd of y per sd of x. The first column of X is the intercept, and γ₀ is the mean of
    y at the mean of the covariates. So the prior does not depend on where a covariate has its zero.
    """
    p = X.shape[1]
    mean, sd = X.mean(axis=0)[1:], X.std(axis=0, ddof=1)[1:]
    T = np.zeros((p, p))
    T[0, 0] = 1.0
    T[0, 1:] = -mean / sd
    T[np.arange(1, p), np.arange(1, p)] = 1.0 / sd
    return T
