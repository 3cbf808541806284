"""Mode, margins and proposals against closed forms and quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from bayeslmm.errors import ModelError
from bayeslmm.inference.laplace import margins, proposal
from bayeslmm.inference.laplace.mode import Mode, find_mode
from bayeslmm.inference.laplace.slices import slice_margins
from bayeslmm.inference.laplace.target import Target, evaluate


def normal(d: int, seed: int, gradient: bool = False) -> tuple[Target, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) / np.sqrt(d)
    covariance = root @ root.T + 0.1 * np.eye(d)
    precision = np.linalg.inv(covariance)
    mean = rng.normal(size=d)

    def log_density(u: np.ndarray) -> float:
        return float(-0.5 * (u - mean) @ precision @ (u - mean)) - 1900.0

    def slope(u: np.ndarray) -> tuple[float, np.ndarray]:
        return log_density(u), -precision @ (u - mean)

    names = tuple(f"u{i}" for i in range(d))
    target = Target(names, np.ones(d), log_density, slope if gradient else None)
    return target, mean, covariance


def curved(d: int, seed: int) -> margins.Margins:
    """Margins with bends of all kinds."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(0.2, 1.0, size=(d, 15)), axis=1) - 4.0
    return margins.from_knots(x, np.broadcast_to(margins.LEVELS, x.shape).copy())


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("d", [2, 8])
def test_mode_and_covariance_of_a_normal(d: int, gradient: bool) -> None:
    target, mean, covariance = normal(d, 3, gradient)
    mode = find_mode(target)
    sd = np.sqrt(np.diag(covariance))
    # the search ends where a Newton step would gain less than 0.25: 0.7 sd
    assert np.max(np.abs(mode.point - mean) / sd) < 0.7
    # log p is rounded at 2e-13 × 1900 and second differences divide that by a drop of 0.2
    np.testing.assert_allclose(mode.covariance, covariance, rtol=1e-5, atol=1e-6)
    assert (mode.gradients > 0) == gradient
    assert mode.notes == ()


def test_mode_of_a_tail_that_the_jacobian_bends() -> None:
    """Share of density 2 φ(s / 0.01) / 0.01: in u = log s the mode is u = log 0.01."""
    target = Target(("u",), np.zeros(1), lambda u: float(u[0] - 0.5 * (np.exp(u[0]) / 0.01) ** 2))
    mode = find_mode(target)
    assert abs(mode.point[0] - np.log(0.01)) < 0.1
    assert np.sqrt(mode.covariance[0, 0]) == pytest.approx(np.sqrt(0.5), rel=0.15)  # f'' = -2


def test_indefinite_and_flat_directions_get_the_width_that_is_there() -> None:
    """A uniform ridge of length 12 with soft ends: the curvature on it is zero."""

    def log_density(u: np.ndarray) -> float:
        along, across = u[0] + u[1], u[0] - u[1]
        return float(-0.5 * (across / 0.1) ** 2 - np.maximum(np.abs(along) - 6.0, 0.0) ** 2)

    mode = find_mode(Target(("a", "b"), np.array([0.5, 0.4]), log_density))
    width = np.sqrt(np.array([1.0, 1.0]) @ mode.covariance @ np.array([1.0, 1.0]))
    assert 3.0 < width < 30.0
    assert any("eigenvalues" in note for note in mode.notes)


@pytest.mark.parametrize("gradient", [False, True])
def test_a_search_that_does_not_get_to_the_mode_says_so(gradient: bool) -> None:
    """Rosenbrock's valley, two steps a run: a note; with steps enough no note and the mode."""

    def log_density(u: np.ndarray) -> float:
        return float(-0.5 * (1 - u[0]) ** 2 - 50 * (u[1] - u[0] ** 2) ** 2)

    def slope(u: np.ndarray) -> tuple[float, np.ndarray]:
        off = u[1] - u[0] ** 2
        return log_density(u), np.array([1 - u[0] + 200 * off * u[0], -100 * off])

    start = np.array([-3.0, 9.0])
    target = Target(("a", "b"), start, log_density, slope if gradient else None)
    short, long = find_mode(target, max_iterations=2), find_mode(target)
    assert "the search for the mode stopped after three restarts" in short.notes
    assert log_density(start) < short.log_density < long.log_density
    assert short.log_density == pytest.approx(log_density(short.point), abs=1e-12)
    assert not any("stopped" in note for note in long.notes)
    assert long.log_density > -0.5  # of 0 at the mode


def test_a_start_outside_the_support_is_an_error_that_names_it() -> None:
    target = Target(("r",), np.array([2.0]), lambda u: 0.0 if u[0] < 1 else -np.inf)
    with pytest.raises(ModelError, match="density is zero at the start"):
        find_mode(target)


def test_infinite_density_is_an_error_and_nan_is_impossible() -> None:
    target = Target(("r",), np.zeros(1), lambda u: float(u[0]))
    with pytest.raises(ModelError, match="improper"):
        evaluate(target, np.array([[0.0], [np.inf]]))
    assert evaluate(target, np.array([[np.nan]]))[0] == -np.inf


def test_margins_invert_and_differentiate() -> None:
    shape = curved(3, 5)
    x = np.random.default_rng(6).uniform(-9, 9, size=(500, 3))
    z, log_slope = shape.scores(x)
    np.testing.assert_allclose(shape.points(z), x, rtol=1e-9, atol=1e-9)
    step = 1e-6
    numeric = (shape.scores(x + step)[0] - shape.scores(x - step)[0]) / (2 * step)
    # central differences: rounding 1e-9; at a knot the second derivative jumps
    np.testing.assert_allclose(log_slope, np.log(numeric).sum(axis=1), atol=1e-4)
    assert np.all(numeric > 0)


def test_composed_margins_pass_through_the_composed_knots() -> None:
    first, second = curved(2, 7), curved(2, 8)
    both = first.then(second)
    expected = second.scores(first.scores(first.x.T)[0])[0]
    np.testing.assert_allclose(both.scores(first.x.T)[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    "law", [stats.norm(), stats.gumbel_l(), stats.logistic(), stats.genlogistic(0.3)]
)
def test_margin_of_a_tabulated_density(law: stats.rv_continuous) -> None:
    """Quantiles at ±3.5 normal scores from a dozen values of the density."""
    scores = np.array([-4, -3, -2.2, -1.5, -0.9, -0.4, 0, 0.4, 0.9, 1.5, 2.2, 3, 4])
    t = law.ppf(stats.norm.cdf(scores))
    found = margins.from_log_density(t, law.logpdf(t))
    # a monotone cubic through 13 places: a tenth of an sd, in the tails a third
    error = np.abs(found - law.ppf(stats.norm.cdf(margins.LEVELS))) / law.std()
    assert np.max(error[3:-3]) < 0.1
    assert np.max(error) < 0.5


def test_first_margins_of_a_normal_are_straight() -> None:
    target, mean, covariance = normal(6, 9)
    shape, spent = slice_margins(target, find_mode(target))
    expected = mean[:, None] + np.sqrt(np.diag(covariance))[:, None] * margins.LEVELS
    sd = np.sqrt(np.diag(covariance))[:, None]
    assert np.max(np.abs(shape.x - expected) / sd) < 0.8  # the mode may be off by 0.7 sd
    assert spent < 6 * 30


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_first_margins_end_at_an_edge(side: float) -> None:
    """An exponential law that ends at its mode: quantiles log Φ(z) on the open side."""
    target = Target(("u",), np.zeros(1), lambda u: side * u[0] if side * u[0] <= 0 else -np.inf)
    mode = Mode(np.zeros(1), 0.0, np.eye(1), 0, 0, ())
    shape, spent = slice_margins(target, mode)
    x, exact = shape.x[0], stats.norm.logcdf(side * margins.LEVELS) * side
    inside = side * margins.LEVELS < 0
    np.testing.assert_allclose(x[inside], exact[inside], rtol=0.15, atol=0.15)
    assert np.all(np.diff(x) > 0)
    assert np.all(side * x < 0.5)  # hardly beyond the edge
    assert spent < 30


def mixed(d: int, seed: int) -> proposal.Proposal:
    rng = np.random.default_rng(seed)
    start = proposal.initial(curved(d, seed), np.eye(d) + 0.5)
    points = start.draw(600, rng)
    weights = rng.dirichlet(np.ones(600))
    return proposal.refit(start, points, weights, rng)


def test_proposal_density_integrates_to_one() -> None:
    q = mixed(2, 11)

    t = np.sinh(np.linspace(-6, 6, 1201))  # fine near zero, out to ±200
    x, y = np.meshgrid(t, t, indexing="ij")
    density = np.exp(q.log_density(np.column_stack([x.ravel(), y.ravel()]))).reshape(x.shape)
    total = integrate.simpson(integrate.simpson(density, t), t)
    # the slopes at the knots are not smooth: Simpson's rule is good to about 1e-4
    assert total == pytest.approx(1.0, abs=2e-3)


def test_draws_follow_the_proposal_density() -> None:
    """The mean of p/q over draws of q is one for any normalised p."""
    q = mixed(3, 12)
    points = q.draw(40_000, np.random.default_rng(13))
    p = stats.multivariate_normal(np.median(points, axis=0), 0.3 * np.eye(3))
    ratio = np.exp(p.logpdf(points) - q.log_density(points))
    assert abs(ratio.mean() - 1.0) < 4 * ratio.std() / np.sqrt(ratio.size)


def test_refit_recovers_a_correlated_normal() -> None:
    _, mean, covariance = normal(4, 14)
    rng = np.random.default_rng(15)
    start = proposal.initial(curved(4, 16), np.eye(4))
    points = rng.multivariate_normal(mean, covariance, size=20_000)
    q = start
    for _ in range(3):
        q = proposal.refit(q, points, np.full(20_000, 1 / 20_000), rng, components=1)
    new = rng.multivariate_normal(mean, covariance, size=20_000)
    truth = stats.multivariate_normal(mean, covariance).logpdf(new)
    loss = float(np.mean(truth - q.log_density(new)))  # Kullback-Leibler, in nats
    # one tenth is defensive (0.1), t instead of normal tails and a wider scale (0.05 here)
    assert 0 < loss < 0.25
