"""The unit of the priors: sd(y | X), the mean of y, standardised covariates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytest
from kernel_problems import problems
from model_cases import case
from scipy import stats

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.errors import InputError
from bayeslmm.priors.units import phenotype_unit, residual_sd, standardised_design, units

PROBLEM = problems()["centred GRM, 4 covariates"]


def test_residual_sd_is_that_of_least_squares() -> None:
    y, X = PROBLEM.y, PROBLEM.X
    P = np.eye(16) - X @ np.linalg.pinv(X)
    assert residual_sd(y, X) == pytest.approx(np.sqrt(y @ P @ y / 12), rel=1e-9)
    assert residual_sd(y, X[:, :1]) == pytest.approx(y.std(ddof=1), rel=1e-12)
    assert residual_sd(3 * y - 50, X) == pytest.approx(3 * residual_sd(y, X), rel=1e-9)


@pytest.mark.parametrize("y", [np.full(16, 3.0), np.zeros(16), PROBLEM.X @ [1.0, 2.0, 3.0, 4.0]])
def test_a_phenotype_without_residual_has_no_unit(y: Any) -> None:
    with pytest.raises(InputError, match=r"the 4 covariates explain the phenotype .* exactly"):
        residual_sd(y, PROBLEM.X)


def test_more_covariates_than_individuals_have_no_unit() -> None:
    with pytest.raises(InputError, match="explain the phenotype of the 4 individuals"):
        residual_sd(np.arange(4.0) ** 2, np.vander(np.arange(4.0), 4, increasing=True))


def test_standardised_effects_are_in_sd_of_x_at_the_mean_of_x() -> None:
    """Xβ with β = Tγ is γ₀ + Σ γ_j (x_j - mean)/sd."""
    X = PROBLEM.X
    gamma = np.array([2.0, -1.0, 0.5, 3.0])
    z = stats.zscore(X[:, 1:], ddof=1)
    expected = gamma[0] + z @ gamma[1:]
    np.testing.assert_allclose(X @ standardised_design(X) @ gamma, expected, rtol=1e-10)


def test_the_unit_is_registered_once() -> None:
    cohort = PROBLEM.cohort
    with pm.Model() as model:
        assert phenotype_unit(cohort) is phenotype_unit(cohort)
    assert model["phenotype_centre"].get_value() == pytest.approx(cohort.y.mean())


def stacked() -> Cohort:
    return case("bivariate", "3 traits, some missing").cohort


def test_units_of_several_traits() -> None:
    """Each trait's own; also with a design that has rounding where it has zeros."""
    cohort = stacked()
    index = cohort.trait_index
    assert index is not None
    unit, centre = units(cohort.y, cohort.X, index)
    for t in range(3):
        rows = index == t
        own = cohort.X[np.ix_(rows, [2 * t, 2 * t + 1])]
        assert unit[t] == pytest.approx(residual_sd(cohort.y[rows], own), rel=1e-12)
        assert centre[t] == pytest.approx(cohort.y[rows].mean(), rel=1e-12)
    noise = 1e-15 * np.random.default_rng(1).standard_normal(cohort.X.shape)
    np.testing.assert_allclose(units(cohort.y, cohort.X + noise, index)[0], unit, rtol=1e-9)
