"""Bridge sampling against integrals known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import gammaln

from bayeslmm.comparison.bridge import relative_error, sample_bridge, solve_bridge
from bayeslmm.errors import ModelError
from bayeslmm.inference.laplace.target import Target

type Floats = NDArray[np.float64]

SHAPES = np.array([0.8, 3.0])


def normal(d: int) -> tuple[Target, Floats, float]:
    """exp(2 - ½ uᵀ S⁻¹ u): log Z in closed form."""
    rng = np.random.default_rng(d)
    A = rng.standard_normal((d, d))
    S = A @ A.T + 0.5 * np.eye(d)
    P = np.linalg.inv(S)
    log_z = 2.0 + 0.5 * d * np.log(2 * np.pi) + 0.5 * float(np.linalg.slogdet(S)[1])
    target = Target(tuple("abcdefgh"[:d]), np.zeros(d), lambda u: 2.0 - 0.5 * float(u @ P @ u))
    return target, rng.multivariate_normal(np.zeros(d), S, 4000), log_z


def skewed() -> tuple[Target, Floats, float]:
    """Logs of gamma variables, as log variances are: Z = Π Γ(k)."""
    target = Target(("a", "b"), np.zeros(2), lambda u: float(np.sum(SHAPES * u - np.exp(u))))
    draws = np.log(np.random.default_rng(4).gamma(SHAPES, size=(4000, 2)))
    return target, draws, float(gammaln(SHAPES).sum())


@pytest.mark.parametrize("problem", [normal(1), normal(4), skewed()], ids=["1", "4", "skewed"])
def test_known_integrals(problem: tuple[Target, Floats, float]) -> None:
    target, draws, truth = problem
    found = sample_bridge(target, draws, most=1000)
    assert abs(found.log_evidence - truth) < 4 * found.mcse
    assert found.mcse < 0.03
    assert found.draws == 1000
    assert found.evaluations == 2000
    again = sample_bridge(target, draws, most=1000, workers=2)
    assert again == found


def test_error_is_that_of_repetitions() -> None:
    """50 independent runs: the spread is what each says of itself, within sampling error."""
    target, _, truth = skewed()
    rng = np.random.default_rng(8)
    runs = [
        sample_bridge(target, np.log(rng.gamma(SHAPES, size=(600, 2))), most=200, seed=k)
        for k in range(50)
    ]
    z = np.array([(run.log_evidence - truth) / run.mcse for run in runs])
    assert abs(z.mean()) < 4 / np.sqrt(50)
    assert stats.chi2.sf(float(z @ z), 50) > 1e-3  # errors are not too small
    assert stats.chi2.cdf(float(z @ z), 50) > 1e-3  # nor too large


def test_repeated_draws_are_evaluated_once_and_count_less() -> None:
    target, draws, truth = normal(2)
    repeated = np.repeat(draws[:1000], 4, axis=0)
    rng = np.random.default_rng(1)
    found = sample_bridge(target, rng.permutation(repeated), ess=1000, most=1000)
    plain = sample_bridge(target, draws, most=1000)
    assert found.evaluations < plain.evaluations
    assert found.mcse > plain.mcse
    assert abs(found.log_evidence - truth) < 4 * found.mcse


def test_equal_densities_need_no_iteration() -> None:
    constant = np.full(50, 3.25)
    assert solve_bridge(constant, constant) == pytest.approx(3.25, abs=1e-12)
    assert relative_error(np.zeros(50), np.zeros(50), 50.0) == 0.0


def test_too_few_draws() -> None:
    target, draws, _ = normal(1)
    with pytest.raises(ModelError, match="at least 100"):
        sample_bridge(target, draws[:99])


def test_a_search_that_comes_to_no_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    ratios = rng.standard_normal(300) + 1.0, rng.standard_normal(300) - 1.0
    assert solve_bridge(*ratios) == pytest.approx(0.0, abs=0.5)
    monkeypatch.setattr("bayeslmm.comparison.bridge.TURNS", 2)
    with pytest.raises(ModelError, match="did not converge: the proposal misses the posterior"):
        solve_bridge(*ratios)
