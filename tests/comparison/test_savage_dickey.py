"""Bayes factors from the posterior near zero: closed forms, and the ratio of evidences."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate
from scipy.stats import beta, truncnorm
from two_kernels import TRUTHS, kernels, two_kernels

from bayeslmm import models
from bayeslmm.comparison.savage_dickey import exact_ratio, ratio_at_zero
from bayeslmm.comparison.share_coordinate import SharesPrior, coordinate, read_prior, zero_shares
from bayeslmm.comparison.zero_ratio import conditional_density, mean_of_terms, ratio_with_model
from bayeslmm.inference.fit import fit
from bayeslmm.inference.laplace.nested import nested_evidence
from bayeslmm.inference.laplace.share_likelihood import share_likelihood
from bayeslmm.posterior.summary import heritability, savage_dickey, zero_bayes_factors

pytestmark = pytest.mark.filterwarnings("ignore:GRM rank")  # kernels of few variants

type Floats = NDArray[np.float64]

PRIORS: dict[str, tuple[tuple[str, str], SharesPrior]] = {
    "uniform": (("beta(1, 1)", "dirichlet(1)"), SharesPrior(1.0, 1.0, 1.0)),
    "other": (("beta(2, 3)", "dirichlet(1.5)"), SharesPrior(2.0, 3.0, 1.5)),
}


@cache
def fitted(prior: str) -> tuple[Any, Any]:
    data, second = two_kernels(TRUTHS["both near zero"])
    (explained, parts), _ = PRIORS[prior]
    model = models.load("partitioned")(
        data.cohort(), *kernels(data, second), explained=explained, parts=parts
    )
    return model, fit(model, draws=4000)


def draws_of(tree: Any) -> Floats:
    share = tree["posterior"]["share"].to_numpy()
    return np.asarray(share.reshape(-1, share.shape[-1]))


@pytest.mark.parametrize("prior", PRIORS)
def test_the_prior_is_read_from_its_log_density(prior: str) -> None:
    _, tree = fitted(prior)
    assert read_prior(tree) == PRIORS[prior][1]
    other = tree.copy(deep=True)
    other["log_prior"]["share"] = other["log_prior"]["share"] ** 2
    assert read_prior(other) is None
    by_group = tree.copy(deep=True)  # shares of something else
    by_group["posterior"] = by_group["posterior"].to_dataset().rename(component="group")
    assert read_prior(by_group) is None


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("left_out", [(0,), (1,), (0, 1)])
def test_both_bayes_factors_agree(prior: str, left_out: tuple[int, ...]) -> None:
    model, tree = fitted(prior)
    shares = share_likelihood(model)
    attrs = tree["sample_stats"].attrs
    names = [shares.components[k] for k in left_out]
    nested = nested_evidence(shares, names).log_evidence
    truth = (nested - attrs["log_evidence"]) / np.log(10)
    spread = attrs["log_evidence_mcse"] / np.log(10)
    draws = draws_of(tree)
    found = ratio_with_model(shares, draws[::8], left_out, fitted=draws)
    assert found.mcse < 0.05
    assert abs(found.log10 - truth) < 4 * np.hypot(found.mcse, spread)
    ends = PRIORS[prior][1].of_coordinate(len(left_out), 2)
    near = ratio_at_zero(coordinate(draws, left_out), *ends, attrs["ess_importance"])
    if not math.isnan(near.log10):  # a straight line near zero: right to a fifth of a unit
        assert abs(near.log10 - truth) < 4 * near.mcse + 0.2


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (2.0, 1.0), (0.5, 1.5), (1.0, 3.0)])
def test_ratio_at_zero_in_closed_form(a: float, b: float) -> None:
    """Posterior ∝ Beta(a, b) e^{-kx}: BF₀ = 1 / E_prior e^{-kx}."""
    rng = np.random.default_rng(2)
    k = 12.0
    proposed = beta.rvs(a, b, size=400_000, random_state=rng)
    x = proposed[rng.uniform(size=proposed.size) < np.exp(-k * proposed)]
    mean, _ = integrate.quad(
        lambda q: math.exp(-k * float(beta.ppf(q, a, b))), 0, 1, limit=200, epsabs=1e-10
    )
    found = ratio_at_zero(x, a, b)
    # the straight line: e^{-kx} over [0, h] is straight to (kh)²/12
    h = max(0.01, float(np.quantile(x, 0.05)))
    assert abs(found.log10 + math.log10(mean)) < 4 * found.mcse + (k * h) ** 2 / 12
    assert found.mcse < 0.1


def test_zero_out_of_sight_is_not_guessed() -> None:
    assert math.isnan(ratio_at_zero(np.linspace(0.4, 0.6, 1000), 1.0, 1.0).log10)
    assert math.isnan(ratio_at_zero(np.linspace(0, 0.009, 1000), 900.0, 1.0).log10)  # prior: never
    heavy = np.random.default_rng(1).pareto(0.9, 500)
    assert math.isnan(mean_of_terms(np.log(heavy), np.arange(500), None).log10)
    light = mean_of_terms(np.full(500, -3.0), np.arange(500), None)
    assert light.log10 == pytest.approx(-3 / math.log(10))
    assert light.mcse == pytest.approx(0, abs=1e-12)


def test_conditional_density_is_a_density_and_finds_the_truth() -> None:
    rng = np.random.default_rng(3)
    z = rng.standard_normal(4000)
    mean = 0.1 + 0.05 * z
    x = truncnorm.rvs(-mean / 0.1, (1 - mean) / 0.1, mean, 0.1, random_state=rng)
    table = np.column_stack([np.ones_like(z), z])
    grid = np.linspace(0, 1, 2001)
    for at in (-1.0, 0.0, 2.0):
        given = np.broadcast_to([1.0, at], (grid.size, 2))
        q = np.exp(conditional_density(x, table, grid, given))
        assert np.trapezoid(q, grid) == pytest.approx(1, abs=1e-5)
        middle = 0.1 + 0.05 * at
        wanted = truncnorm.mean(-middle / 0.09, (1 - middle) / 0.09, middle, 0.09)  # narrower
        assert np.trapezoid(q * grid, grid) == pytest.approx(wanted, abs=0.01)


def test_leaving_out_keeps_the_explained_share() -> None:
    shares = np.array([[0.2, 0.3, 0.1, 0.4], [0.0, 0.5, 0.0, 0.5]])
    found = zero_shares(shares, [0])
    assert np.allclose(found.sum(axis=1), 1)
    assert np.allclose(found[:, :-1].sum(axis=1), [0.6, 0.5])
    assert np.allclose(found[0], [0, 0.45, 0.15, 0.4])
    assert np.allclose(zero_shares(shares, [0, 1, 2]), [[0, 0, 0, 1]] * 2)
    assert np.allclose(coordinate(shares, [0, 2]), [0.5, 0.0])
    assert np.allclose(coordinate(shares, [0, 1, 2]), [0.6, 0.5])


def test_exact_engine_agrees_with_itself() -> None:
    data, second = two_kernels(TRUTHS["both near zero"])
    tree = fit(models.load("additive")(data.cohort(), kernels(data, second)[0]), draws=16)
    assert exact_ratio(tree).log10 == pytest.approx(savage_dickey(tree), abs=1e-5)


def test_a_grid_that_ends_before_zero_has_no_ratio() -> None:
    data, second = two_kernels(TRUTHS["both near zero"])
    tree = fit(models.load("additive")(data.cohort(), kernels(data, second)[0]), draws=16).copy()
    grid = tree["quadrature"].to_dataset()
    dim = grid["logit_h2"].dims[0]
    tree["quadrature"] = grid.isel({dim: grid["logit_h2"].to_numpy() > -5.0})
    assert math.isnan(exact_ratio(tree).log10)


def test_too_few_draws_do_not_tell_the_prior() -> None:
    _, tree = fitted("other")
    few = tree.copy()
    for group in ("posterior", "log_prior"):
        few[group] = tree[group].to_dataset().isel(draw=slice(0, 4))
    assert read_prior(tree) is not None
    assert read_prior(few) is None


def test_dependent_draws_make_the_error_of_a_mean_larger() -> None:
    x = np.random.default_rng(2).uniform(1, 2, 400)
    alone = mean_of_terms(np.log(x), np.arange(400), None)
    dependent = mean_of_terms(np.log(x), np.arange(400), 25.0)
    assert dependent.log10 == alone.log10 == pytest.approx(math.log10(x.mean()))
    relative = x.std(ddof=1) / np.sqrt(25.0) / x.mean()
    assert dependent.mcse == pytest.approx(relative / math.log(10))
    assert alone.mcse == pytest.approx(dependent.mcse / 4, rel=0.01)
    few = np.full(400, -np.inf)
    few[:5] = 0.0
    assert math.isnan(mean_of_terms(few, np.arange(400), None).log10)


def test_table_has_the_bayes_factors_of_several_kernels() -> None:
    """h2.tsv: by evidences while the model is there, kept with the tree, else from the draws."""
    model, tree = fitted("uniform")
    table = heritability(tree).set_index("quantity")["mean"]
    shares, whole = share_likelihood(model), tree["sample_stats"].attrs["log_evidence"]
    rows = {
        "log10_bf_h2_0": ["one", "two"],
        "log10_bf_share_0[one]": ["one"],
        "log10_bf_share_0[two]": ["two"],
    }
    for row, names in rows.items():
        wanted = (nested_evidence(shares, names).log_evidence - whole) / math.log(10)
        assert table[row] == pytest.approx(wanted, abs=1e-6)
    copied = tree.copy(deep=True)  # as from a file: no model, but the numbers
    assert zero_bayes_factors(copied) == pytest.approx(zero_bayes_factors(tree))
    del copied["sample_stats"].attrs["log_evidence_nested"]
    from_draws = zero_bayes_factors(copied)
    assert from_draws["h2"] == pytest.approx(table["log10_bf_h2_0"], abs=0.5)
    assert from_draws["h2"] != table["log10_bf_h2_0"]
