"""h² under other priors by reweighting: against dense grids, new fits, and the exact engine."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import xarray as xr
from engine_oracles import brute, exact_tree, family_data, sibships, simulated, small
from numpy.typing import NDArray
from scipy import stats
from scipy.interpolate import CubicSpline
from scipy.special import expit, logsumexp

from bayeslmm import models
from bayeslmm.checks.other_priors import Alternative, even_draws, reweighted_posteriors
from bayeslmm.checks.share_priors import ALTERNATIVES, beta_prior
from bayeslmm.inference.fit import fit
from bayeslmm.posterior.summary import exact_share, savage_dickey
from bayeslmm.relationship.relationship import Relationship

type Floats = NDArray[np.float64]

NAMES = ["flat", "beta(0.5,0.5)", "beta(2,2)", "half-t", "pc"]


@cache
def small_tree() -> xr.DataTree:
    return fit(small().model(), "exact", draws=4000)


def by_name(tree: xr.DataTree) -> dict[str, Alternative]:
    return {one.name: one for one in reweighted_posteriors(tree)}


def half_t_sd(x: Floats, unit: float) -> Floats:
    return np.asarray(np.log(2) + stats.t.logpdf(x / (2.5 * unit), 3) - np.log(2.5 * unit))


def dense(name: str) -> tuple[float, float, float, float, float]:
    """Mean, sd, P(h² < 0.01), P(h² < 0.3) and log10 BF of h² = 0, by a dense grid of (z, t)."""
    grid = brute()
    z, t, unit = grid.z, grid.t, grid.unit
    tau = np.exp(t)
    h, rest = expit(z)[:, None], expit(-z)[:, None]
    slope = np.log(h) + np.log(rest)
    log_tau = half_t_sd(tau, unit) + t  # also of σ_e = τ where h² = 0
    densities = {
        "flat": 0.0 * h,
        "beta(0.5,0.5)": -0.5 * slope - np.log(np.pi),
        "beta(2,2)": slope + np.log(6),
        "pc": np.log(1.62 / 2) - 1.62 * np.sqrt(h) - 0.5 * np.log(h) - np.log1p(-np.exp(-1.62)),
    }
    if name == "half-t":  # σ_u = τ √h², σ_e = τ √(1-h²): |∂(σ_u, σ_e)/∂(h², τ)|
        prior = half_t_sd(tau * np.sqrt(h), unit) + half_t_sd(tau * np.sqrt(rest), unit)
        prior = prior + np.log(tau / 2) - 0.5 * slope + slope + t
    else:
        prior = densities[name] + slope + log_tau
    log_p = grid.log_like + prior + np.log((z[1] - z[0]) * (t[1] - t[0]))
    evidence = logsumexp(log_p)
    w = np.exp(log_p - evidence).sum(axis=1)
    mean = w @ h[:, 0]
    null = logsumexp(grid.at_zero + log_tau + np.log(t[1] - t[0]))
    cdf = CubicSpline(z, w / (z[1] - z[0])).antiderivative()
    below = [float(cdf(np.log(x / (1 - x)))) for x in (0.01, 0.3)]
    sd = np.sqrt(w @ (h[:, 0] - mean) ** 2)
    return float(mean), float(sd), *below, float((null - evidence) / np.log(10))


@pytest.mark.parametrize("name", NAMES)
def test_every_alternative_is_the_dense_posterior_under_that_prior(name: str) -> None:
    one = by_name(small_tree())[name]
    mean, sd, low, middle, bf = dense(name)
    # half-t: E[q/p | h²] by a polynomial through 4000 draws; the rest are exact, and their error
    # is that of the dense grid's spline
    loose = 5e-3 if name == "half-t" else 2e-4
    assert one.moments() == pytest.approx((mean, sd), abs=loose)
    assert one.below(0.01) == pytest.approx(low, abs=loose)
    assert one.below(0.3) == pytest.approx(middle, abs=loose)
    assert one.log10_bf == pytest.approx(bf, abs=10 * loose)
    assert one.trusted


@pytest.mark.parametrize("prior", ["beta(0.5, 0.5)", "beta(2, 2)"])
def test_an_alternative_is_the_fit_with_that_prior(prior: str) -> None:
    again = fit(family_data().model(h2=prior), "exact", draws=40)
    share = exact_share(again)
    assert share is not None
    one = by_name(exact_tree())[prior.replace(" ", "")]
    assert one.moments() == pytest.approx(share.moments(), abs=1e-4)
    assert one.interval(0.95) == pytest.approx(share.hdi(0.95), abs=1e-5)
    assert one.below(0.1) == pytest.approx(share.below(0.1), abs=1e-4)
    assert one.log10_bf == pytest.approx(savage_dickey(again), abs=1e-4)


def test_the_way_back_leads_to_the_first_fit() -> None:
    again = fit(family_data().model(h2="beta(2, 2)"), "exact", draws=4000)
    first, back = by_name(exact_tree()), by_name(again)
    assert [one.name for one in reweighted_posteriors(again) if one.own] == ["beta(2,2)"]
    for name in ("flat", "beta(0.5,0.5)", "pc"):
        assert back[name].moments() == pytest.approx(first[name].moments(), abs=2e-3)


def test_draws_reweighted_agree_with_the_exact_density() -> None:
    tree = exact_tree()
    groups = {name: group.to_dataset() for name, group in tree.children.items()}
    del groups["quadrature"]
    exact, drawn = by_name(tree), by_name(xr.DataTree.from_dict(groups))
    assert set(drawn) == set(exact) == set(NAMES)
    for name in NAMES:
        mean, sd = exact[name].moments()
        # 4000 independent draws, of which weights leave at least a quarter: 5 standard errors
        assert drawn[name].moments()[0] == pytest.approx(mean, abs=5 * sd / np.sqrt(1000))
        assert drawn[name].moments()[1] == pytest.approx(sd, rel=0.1)
        assert drawn[name].interval(0.95) == pytest.approx(exact[name].interval(0.95), abs=0.05)
        assert drawn[name].trusted
        assert drawn[name].share is None
        assert not drawn[name].own or np.isnan(drawn[name].pareto_k)


def test_draws_under_an_informative_prior_are_led_back() -> None:
    """Weights flat / Beta(2, 5); the other way round they would lead away, to Beta(3, 9)."""
    tree = fit(family_data().model(h2="beta(2, 5)"), "exact", draws=4000)
    groups = {name: group.to_dataset() for name, group in tree.children.items()}
    del groups["quadrature"]
    exact, drawn = by_name(tree)["flat"], by_name(xr.DataTree.from_dict(groups))["flat"]
    assert exact.moments() == pytest.approx(by_name(exact_tree())["flat"].moments(), abs=2e-3)
    mean, sd = exact.moments()
    assert not drawn.own
    assert drawn.moments()[0] == pytest.approx(mean, abs=5 * sd / np.sqrt(400))
    own = tree.children["quadrature"].attrs["mean"]
    assert abs(own - mean) > 10 * sd / np.sqrt(400)


@cache
def two_kernels() -> tuple[object, tuple[Relationship, Relationship]]:
    data = simulated(80, 2, 0.5, seed=4, K=sibships(80, 8))
    rng = np.random.default_rng(9)
    Z = rng.standard_normal((80, 25))
    other = Relationship(Z @ Z.T / 25, data.cohort().individuals, "other", kernel_scale="none")
    return data.cohort(), (data.relationship(), other)


def test_several_kernels_reweighted_are_the_fit_with_that_prior() -> None:
    cohort, kernels = two_kernels()
    first = fit(models.partitioned(cohort, *kernels), "laplace", draws=4000)
    again = fit(
        models.partitioned(cohort, *kernels, explained="beta(0.5, 0.5)"), "laplace", draws=4000
    )
    one = by_name(first)["beta(0.5,0.5)"]
    own = by_name(again)["beta(0.5,0.5)"]
    assert own.own
    assert not one.own
    mean, sd = own.moments()
    # both have an importance ESS of a thousand or more: 5 standard errors of the difference
    assert one.moments()[0] == pytest.approx(mean, abs=5 * sd * np.sqrt(2 / 1000))
    assert one.moments()[1] == pytest.approx(sd, rel=0.15)
    assert one.pareto_k < 1.0  # over 13 seeds 0.42 (sd 0.19)
    assert one.direct
    assert by_name(first)["half-t"].moments() != one.moments()


def test_a_posterior_that_a_narrow_prior_made_is_not_widened() -> None:
    tree = fit(small().model(h2="uniform(0.3, 0.5)"), "exact", draws=400)
    found = reweighted_posteriors(tree)
    assert found[0].own
    assert found[0].prior is None
    # outside 0.3 to 0.5 this fit has nothing, and 12 individuals leave the density open there
    assert not any(one.trusted for one in found[1:])


def test_a_prior_far_from_the_fit_has_weights_that_fail() -> None:
    groups = {name: group.to_dataset() for name, group in exact_tree().children.items()}
    del groups["quadrature"]
    far = beta_prior(400.0, 2.0)
    one = reweighted_posteriors(xr.DataTree.from_dict(groups), (far,))[-1]
    assert one.pareto_k > 0.7
    assert not one.trusted


def test_without_densities_only_the_own_prior_is_told() -> None:
    groups = {name: group.to_dataset() for name, group in exact_tree().children.items()}
    del groups["quadrature"], groups["log_prior"]
    (alone,) = reweighted_posteriors(xr.DataTree.from_dict(groups))
    assert alone.own
    assert alone.name == "own"


def test_even_draws_have_the_weighted_moments() -> None:
    rng = np.random.default_rng(2)
    values, weight = rng.random(3000), rng.exponential(size=3000)
    found = even_draws(values, weight)
    assert found.mean() == pytest.approx(np.average(values, weights=weight), abs=1e-3)
    assert np.mean(found < 0.2) == pytest.approx(
        weight[values < 0.2].sum() / weight.sum(), abs=1e-3
    )
    assert (np.diff(found) >= 0).all()


def test_the_alternatives_are_the_named_ones() -> None:
    assert [one.name for one in ALTERNATIVES] == NAMES
