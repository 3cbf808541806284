"""β integrated out of a quadratic, and drawn: priors and likelihoods of very different widths.

Against the dense likelihoods: test_dense.py, test_incomplete.py, test_marginal.py.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bayeslmm.likelihood.fixed_effects import BetaQuadratic, draw_beta, integrate_beta

type Floats = NDArray[np.float64]


def problem(seed: int, low: float, high: float) -> tuple[BetaQuadratic, Floats, Floats]:
    """A of unit size; a factor of the prior with singular values between `low` and `high`."""
    rng = np.random.default_rng(seed)
    A, U = rng.standard_normal((2, 4, 4))
    Q = np.linalg.qr(U)[0]
    factor = Q * np.geomspace(low, high, 4) @ np.linalg.qr(rng.standard_normal((4, 4)))[0]
    return BetaQuadratic(-3.0, A, 5 * rng.standard_normal(4)), rng.standard_normal(4), factor


def expected(one: BetaQuadratic, mean: Floats, factor: Floats) -> float:
    """``ℓ - ½ rᵀV⁻¹r - ½ log|V|``, V = I + AFFᵀAᵀ, in rational numbers up to the logarithm."""
    A, F, w, b = (exact(x) for x in (one.A, factor, one.w[:, None], mean[:, None]))
    AF = A @ F
    rows = np.concatenate([AF @ AF.T + exact(np.eye(4)), w - A @ b], axis=1)
    log_det, square = 0.0, Fraction(0)
    for i in range(4):  # Gauss; V is positive definite
        log_det += math.log(rows[i, i])
        square += rows[i, 4] ** 2 / rows[i, i]
        for j in range(i + 1, 4):
            rows[j] = rows[j] - rows[i] * (rows[j, i] / rows[i, i])
    return one.level - 0.5 * float(square) - 0.5 * log_det


def exact(x: Floats) -> Any:
    """The same numbers as fractions."""
    return np.vectorize(Fraction, otypes=[object])(x)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1e-3, 1e3), (1e4, 1e8), (1e-9, 1e-3)])
def test_the_integral_has_all_its_digits(low: float, high: float) -> None:
    for seed in range(5):
        one, mean, factor = problem(seed, low, high)
        assert integrate_beta(one, mean, factor) == pytest.approx(
            expected(one, mean, factor), abs=1e-9
        )


def test_a_prior_far_wider_than_its_own_narrowest_direction_is_no_error() -> None:
    """AFFᵀAᵀ has the eigenvalues 1e24 and 1: formed, its rounding alone is 1e8."""
    for seed in range(5):
        one, mean, factor = problem(seed, 1.0, 1e12)
        found = integrate_beta(one, mean, factor)
        # the prior's narrow directions are seen through the rounding of F itself, 1e12 × 1e-16
        assert found == pytest.approx(expected(one, mean, factor), abs=1e-2)


def test_a_wide_prior_is_a_flat_one_up_to_its_constant() -> None:
    one, mean, factor = problem(7, 1e6, 1e6)
    constant = np.log(np.abs(np.linalg.det(factor))) + 2.0 * np.log(2 * np.pi)
    flat = integrate_beta(one, mean, None)
    assert integrate_beta(one, mean, factor) + constant == pytest.approx(flat, abs=1e-9)


def test_draws_under_a_wide_prior_are_those_under_a_flat_one() -> None:
    """Their mean, and the covariance that unit vectors make, to the square of the widths' ratio."""
    one, mean, factor = problem(8, 1e6, 1e7)
    found = []
    for prior in (factor, None):
        centre = draw_beta(one, mean, prior, np.zeros(4))
        half = np.stack([draw_beta(one, mean, prior, z) - centre for z in np.eye(4)], axis=1)
        found.append((centre, half @ half.T))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-7)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-7)


def test_the_quadratic_itself() -> None:
    one, mean, _ = problem(9, 1.0, 1.0)
    best = np.linalg.solve(one.A, one.w)
    assert one.at(best) == pytest.approx(one.level, abs=1e-12)
    residual = one.w - one.A @ mean
    assert one.at(mean) == pytest.approx(one.level - 0.5 * residual @ residual, rel=1e-14)
