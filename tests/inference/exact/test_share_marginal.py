"""Quantiles, mode and shortest interval of the exact posterior of h², by an independent oracle."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from share_oracles import engine, oracle

from bayeslmm.inference.exact.share_marginal import ShareMarginal, cumulate, node_masses
from bayeslmm.numerics.monotone_cubic import probability, quantiles, shortest

# Worst of a wider table (n to 4000, five h², three priors), where 3e-7 was measured for intervals,
# quantiles and probabilities. The mode is where the slope vanishes, and keeps a root of the
# quadrature's own error (3e-8 of the density).
CLOSE, CLOSE_MODE = 1e-6, 2e-6
PRIORS = [(1.0, 1.0), (0.5, 0.5), (2.0, 8.0)]
CASES = [
    *(("families", 12, 0.95), ("unrelated", 12, 0.0), ("families", 50, 0.02)),
    *(("unrelated", 50, 1.0), ("families", 150, 0.3), ("unrelated", 150, 0.3)),
    *(("families", 1000, 0.0), ("families", 1000, 0.95), ("unrelated", 1000, 0.3)),
]


@pytest.mark.parametrize(("a", "b"), PRIORS)
@pytest.mark.parametrize(("kernel", "n", "h2"), CASES)
def test_everything_is_that_of_the_closed_form(
    kernel: str, n: int, h2: float, a: float, b: float
) -> None:
    share, exact = engine(kernel, n, h2, 7, a, b), oracle(kernel, n, h2, 7, a, b)
    for prob in (0.5, 0.95):
        lower, upper = exact.hdi(prob)
        found = share.hdi(prob)
        assert found == pytest.approx((lower, upper), abs=CLOSE)
        assert (found[0] == 0.0) == (lower == 0.0)
        assert (found[1] == 1.0) == (upper == 1.0)
    for u in (0.025, 0.5, 0.975):
        assert float(share.quantile(u)) == pytest.approx(exact.quantile(u), abs=CLOSE)
    for h in (0.01, 0.3, 0.9):
        assert share.below(h) == pytest.approx(exact.below(h), abs=CLOSE)
    mode = exact.mode()
    assert share.mode() == pytest.approx(mode, abs=CLOSE_MODE)
    assert (share.mode() in (0.0, 1.0)) == (mode in (0.0, 1.0))


def test_the_oracle_is_brute_force() -> None:
    """Simpson's rule on 200 001 values of h², and every interval that begins at one of them."""
    exact = oracle("families", 50, 0.02, 7, 2.0, 8.0)
    h = np.linspace(1e-9, 1 - 1e-9, 200_001)
    d = h[:, None] * exact.s + 1 - h[:, None]
    log_p = stats.beta(2, 8).logpdf(h)
    log_p -= 0.5 * (exact.m * np.log((exact.e2 / d).sum(axis=1)) + np.log(d) @ exact.count)
    p = np.exp(log_p - log_p.max())
    cdf = np.concatenate([[0.0], np.cumsum(0.5 * (p[1:] + p[:-1]))])
    cdf /= cdf[-1]
    assert exact.below(0.1) == pytest.approx(np.interp(0.1, h, cdf), abs=1e-8)
    assert exact.quantile(0.3) == pytest.approx(np.interp(0.3, cdf, h), abs=1e-8)
    assert exact.mode() == pytest.approx(h[np.argmax(p)], abs=1e-5)
    start = h[cdf < 0.05]
    width = np.interp(cdf[cdf < 0.05] + 0.95, cdf, h) - start
    lower, upper = exact.hdi(0.95)
    assert upper - lower == pytest.approx(width.min(), abs=1e-8)
    assert lower == pytest.approx(start[np.argmin(width)], abs=2e-4)  # a flat optimum


def known(law: stats.rv_continuous, nodes: int = 2049) -> ShareMarginal:
    """A grid of a known density, from its density alone."""
    z = np.linspace(-36, 36, nodes)
    density = np.exp(law.logpdf(expit(z)))
    cdf = cumulate(node_masses(z, density))
    return ShareMarginal(z, cdf / cdf[-1], density)


@pytest.mark.parametrize(
    ("a", "b", "touches"),
    [
        (1.0, 15.0, (True, False)),
        (15.0, 1.0, (False, True)),
        (0.7, 3.0, (True, False)),
        (3.0, 0.7, (False, True)),
        (0.5, 0.6, (True, False)),  # infinite at both ends: the single interval has one of them
        (0.6, 0.5, (False, True)),
        (1.2, 15.0, (False, False)),  # 0 at 0: close to it, but not at it
        (15.0, 1.2, (False, False)),
        (8.0, 12.0, (False, False)),
    ],
)
def test_an_interval_touches_0_or_1_when_the_density_there_is_above_the_level(
    a: float, b: float, touches: tuple[bool, bool]
) -> None:
    law = stats.beta(a, b)
    share = known(law)
    for prob in (0.8, 0.95):
        lower, upper = share.hdi(prob)
        assert (lower == 0.0, upper == 1.0) == touches
        assert law.cdf(upper) - law.cdf(lower) == pytest.approx(prob, abs=1e-7)
        if touches == (False, False):
            assert law.logpdf(lower) == pytest.approx(law.logpdf(upper), abs=1e-4)
        start = np.linspace(0.0, 1.0 - prob, 2001)
        brute = (law.ppf(start + prob) - law.ppf(start)).min()
        assert -1e-7 < brute - (upper - lower) < 5e-6  # no start of the grid does better


def test_of_two_maxima_the_shortest_single_interval_is_told() -> None:
    """0.7 Beta(60, 240) + 0.3 Beta(300, 100): half of it lies in the first, 0.95 spans both."""
    first, second = stats.beta(60, 240), stats.beta(300, 100)
    z = np.linspace(-4, 4, 4097)
    h = expit(z)
    cdf, density = (
        0.7 * getattr(first, name)(h) + 0.3 * getattr(second, name)(h) for name in ("cdf", "pdf")
    )
    share = ShareMarginal(z, cdf, density)
    lower, upper = share.hdi(0.5)
    assert upper < 0.3
    assert np.interp(lower, h, density) == pytest.approx(np.interp(upper, h, density), rel=1e-3)
    start = np.linspace(0.0, 0.05, 5001)
    low, high = share.quantile(start), share.quantile(start + 0.95)
    assert np.subtract(*share.hdi(0.95)[::-1]) <= (high - low).min() + 1e-9
    assert share.hdi(0.95)[0] < 0.2 < 0.75 < share.hdi(0.95)[1]


def test_below_and_quantile_are_inverse_and_hold_at_the_ends() -> None:
    share = engine("unrelated", 50, 1.0, 7, 0.5, 0.5)
    u = np.array([[1e-6, 0.01], [0.7, 1 - 1e-6]])
    found = share.quantile(u)
    assert found.shape == u.shape
    assert [share.below(h) for h in found.ravel()] == pytest.approx(list(u.ravel()), abs=1e-9)
    assert (share.below(0.0), share.below(1.0)) == (0.0, 1.0)
    assert share.quantile([0.0, 1.0]) == pytest.approx([0.0, 1.0], abs=1e-15)


def test_a_prior_of_bounded_support_has_intervals_that_reach_its_bounds() -> None:
    """Uniform on 0.2 to 0.6, nodes even in the logit of the part between them."""
    w = np.linspace(-36, 36, 2049)
    h = 0.2 + 0.4 * expit(w)
    law = stats.beta(1.0, 4.0, loc=0.2, scale=0.4)
    cdf, density = law.cdf(h), np.exp(np.log(10.0) + 3 * stats.logistic.logsf(w))
    share = ShareMarginal(np.log(h) - np.log1p(-h), cdf, density)
    assert share.hdi(0.95) == pytest.approx((0.2, law.ppf(0.95)), abs=1e-6)
    assert share.moments() == pytest.approx((law.mean(), law.std()), abs=1e-7)
    assert share.mode() == pytest.approx(0.2, abs=1e-6)


def test_cumulated_masses_of_a_known_density() -> None:
    """Nodes a quarter of a sd apart, four times as wide as the engine's at their widest."""
    law = stats.norm()
    x = np.arange(-9.0, 9.01, 0.25)
    assert 0.25 * cumulate(law.pdf(x)) == pytest.approx(law.cdf(x), abs=2e-6)
    assert (np.diff(cumulate(law.pdf(x))) >= 0).all()


def test_the_cubic_is_monotone_where_rounding_spoils_the_slopes() -> None:
    x, cdf = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.5, 0.5 + 1e-12, 1.0])
    density = np.array([5.0, 3.0, 3.0, np.inf])
    values = np.array([probability(x, cdf, density, at) for at in np.linspace(0.0, 3.0, 301)])
    assert (np.diff(values) >= 0).all()
    assert values[[0, 100, 200, 300]] == pytest.approx(cdf, abs=1e-15)
    u = np.linspace(0.0, 1.0, 101)
    again = [probability(x, cdf, density, at) for at in quantiles(x, cdf, density, u)]
    assert again == pytest.approx(list(u), abs=1e-11)


def test_shortest_interval_of_straight_lines() -> None:
    """p = 2x on [0, 1] in eight cells: [√(1 - prob), 1]; mirrored: from 0 on."""
    x = np.linspace(0.0, 1.0, 9)
    assert shortest(x, x**2, 2 * x, 0.5) == pytest.approx((np.sqrt(0.5), 1.0), abs=1e-12)
    mirrored = shortest(x, 1 - (1 - x) ** 2, 2 * (1 - x), 0.5)
    assert mirrored == pytest.approx((0.0, 1 - np.sqrt(0.5)), abs=1e-12)
