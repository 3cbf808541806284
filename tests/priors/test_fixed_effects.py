"""β of a model file: its prior follows the units of covariates and phenotype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytest
from kernel_problems import people, problems
from pytensor.compile.mode import Mode
from scipy import stats

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.priors.fixed_effects import fixed_effects
from bayeslmm.priors.units import residual_sd

PYTHON = Mode(linker="py", optimizer="fast_compile")
PROBLEM = problems()["centred GRM, 4 covariates"]


def cohort_of(y: Any, X: Any) -> Cohort:
    names = ("intercept", *(f"x{j}" for j in range(1, X.shape[1])))
    return Cohort(np.ascontiguousarray(y), np.ascontiguousarray(X), people(len(y)), names, "trait")


def effects(y: Any, X: Any, gamma: Any) -> Any:
    """β of a cohort at standardised effects γ."""
    cohort = cohort_of(y, X)
    with pm.Model(coords=cohort.coords("residual")) as model:
        beta = fixed_effects(cohort)
    return beta.eval({model["beta_std"]: gamma}, mode=PYTHON)


def test_the_prior_of_beta_follows_the_units_of_x_and_y() -> None:
    """Moving a covariate's zero changes the intercept only; scaling y or x scales β."""
    y, X = PROBLEM.y, PROBLEM.X
    gamma = np.array([0.3, -1.0, 0.5, 2.0])
    base = effects(y, X, gamma)
    z = stats.zscore(X[:, 1:], ddof=1)
    fitted = y.mean() + residual_sd(y, X) * (gamma[0] + z @ gamma[1:])
    np.testing.assert_allclose(X @ base, fitted, rtol=1e-10)
    moved = X + np.array([0.0, -1990.0, 0.0, 0.0])
    found = effects(y, moved, gamma)
    np.testing.assert_allclose(found[1:], base[1:], rtol=1e-9)
    assert found[0] == pytest.approx(base[0] + 1990 * base[1], rel=1e-9)
    np.testing.assert_allclose(effects(-5 * y, X, gamma * 1.0)[1:], 5 * base[1:], rtol=1e-9)
    np.testing.assert_allclose(
        effects(y, X * [1.0, 365.0, 1.0, 0.1], gamma), base / [1.0, 365.0, 1.0, 0.1], rtol=1e-9
    )
