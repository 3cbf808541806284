"""The heritability table: its shape, and every number in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from engine_oracles import Data, exact_tree, flat_grid, nuts_tree, sibships, simulated
from scipy import stats

from bayeslmm.estimates.boundary import expected_se, restricted_lrt
from bayeslmm.inference.diagnostics import convergence
from bayeslmm.inference.exact.share_marginal import ShareMarginal
from bayeslmm.inference.fit import fit
from bayeslmm.posterior.summary import (
    density_mode,
    exact_share,
    heritability,
    prior_contribution,
    savage_dickey,
    shortest_interval,
    trait_trees,
    weakly_informed,
)

COLUMNS = [
    "trait", "model", "engine", "quantity", "n", "mean", "sd", "median", "mode", "lower", "upper",
    "interval", "prob", "ess_bulk", "ess_tail", "r_hat", "mcse",
]  # fmt: skip
QUANTITIES = {
    "h2", "sigma2_u", "sigma2_e", "pve_fixed", "pve_random", "pve_total", "p_h2_below_0.01",
    "log10_bf_h2_0", "p_rlrt", "se_expected", "beta[intercept]", "beta[x1]",
    "pve_share[fixed]", "pve_share[random]", "pve_share[covariance]", "pve_share[residual]",
}  # fmt: skip


def row(tree: xr.DataTree, quantity: str, prob: float = 0.95) -> Any:
    table = heritability(tree, prob)
    return table[table["quantity"] == quantity].iloc[0]


SHARES = {f"{kind}[{name}]" for kind in ("share", "sigma2") for name in ("additive", "residual")}


@pytest.mark.parametrize("engine", ["exact", "nuts"])
def test_columns_and_quantities_are_those_of_the_issue(engine: str) -> None:
    table = heritability(exact_tree() if engine == "exact" else nuts_tree())
    assert list(table.columns) == COLUMNS
    logp = {"log_evidence"} if engine == "exact" else set()
    assert set(table["quantity"]) == QUANTITIES | SHARES | logp
    assert table["quantity"].is_unique
    assert (table["engine"] == engine).all()
    assert (table["n"] == 80).all()
    assert (table["trait"] == "y").all()
    assert (table["model"] == "additive").all()
    drawn = table[table["interval"].notna()]
    shares = drawn["quantity"].isin(["h2", "share[additive]", "share[residual]"])
    assert set(drawn.loc[shares, "interval"]) == {"hdi"}
    assert set(drawn.loc[~shares, "interval"]) == {"eti"}
    assert (drawn["prob"] == 0.95).all()
    alone = table[table["interval"].isna()]
    assert set(alone["quantity"]) == {
        "p_h2_below_0.01", "log10_bf_h2_0", "p_rlrt", "se_expected", *logp,
    }  # fmt: skip
    known = alone[(alone["quantity"] != "log10_bf_h2_0") | (engine == "exact")]
    assert known["mean"].notna().all()
    rest = [c for c in COLUMNS if c not in ("trait", "model", "engine", "quantity", "n", "mean")]
    assert alone[rest].isna().all(axis=None)


def test_moments_and_intervals_are_those_of_the_draws() -> None:
    tree = nuts_tree()
    for name in ("sigma2_u", "sigma2_e", "pve_total", "h2"):
        draws = tree["posterior"][name].to_numpy()
        found = row(tree, name, 0.9)
        assert found["mean"] == pytest.approx(draws.mean())
        assert found["sd"] == pytest.approx(draws.std(ddof=1))
        assert found["median"] == pytest.approx(np.median(draws))
        for key, value in convergence(draws).items():
            assert found[key] == value
        if name != "h2":
            wanted = np.quantile(draws, [0.05, 0.95])
            assert [found["lower"], found["upper"]] == pytest.approx(wanted)
    beta = tree["posterior"]["beta"].sel(covariate="x1")
    assert row(tree, "beta[x1]")["mean"] == pytest.approx(float(beta.mean()))


def test_the_exact_table_has_no_monte_carlo_error_in_h2() -> None:
    tree = exact_tree()
    found, group = row(tree, "h2"), tree["quadrature"].attrs
    for name in ("mean", "sd", "median", "mode"):
        assert found[name] == pytest.approx(group[name], rel=1e-9)
    assert found["mcse"] == 0.0
    assert found["ess_bulk"] > 3000
    assert row(tree, "sigma2_u")["mcse"] > 0
    share = exact_share(tree)
    assert share is not None
    assert row(tree, "p_h2_below_0.01")["mean"] == pytest.approx(share.below(0.01))
    drawn = tree["posterior"]["h2"].to_numpy()
    assert found["mean"] == pytest.approx(drawn.mean(), abs=4 * drawn.std() / np.sqrt(4000))


@pytest.mark.parametrize(("a", "b"), [(8, 12), (1, 15), (15, 1), (0.7, 3)])
def test_hdi_and_mode_of_known_densities(a: float, b: float) -> None:
    """Against brute force over all intervals of Beta(a, b)."""
    z = np.linspace(-36, 36, 6001)
    h = 1 / (1 + np.exp(-z))
    law = stats.beta(a, b)
    share = ShareMarginal(z, law.cdf(h), np.exp(law.logpdf(h)))
    for prob in (0.5, 0.95):
        start = np.linspace(0, 1 - prob, 20_001)
        low, high = law.ppf(start), law.ppf(start + prob)
        best = int(np.argmin(high - low))
        assert share.hdi(prob) == pytest.approx((low[best], high[best]), abs=1e-3)
        lower, upper = share.hdi(prob)
        assert law.cdf(upper) - law.cdf(lower) == pytest.approx(prob, abs=1e-4)
        assert upper - lower == pytest.approx(high[best] - low[best], abs=1e-5)
    mode = {(8, 12): 7 / 18, (1, 15): 0.0, (15, 1): 1.0, (0.7, 3): 0.0}[(a, b)]
    assert share.mode() == pytest.approx(mode, abs=1e-4)
    if mode in (0.0, 1.0):
        assert mode in share.hdi(0.95)
    assert share.moments() == pytest.approx((law.mean(), law.std()), abs=1e-6)


def test_shortest_interval_of_draws() -> None:
    rng = np.random.default_rng(1)
    cases = ((8, 12, None), (1, 20, 0.0), (20, 1, 1.0), (1.05, 20, 0.0), (4, 20, None))
    for a, b, edge in cases:
        draws = rng.beta(a, b, 4000)
        lower, upper = shortest_interval(draws, 0.95)
        inside = np.mean((draws >= lower) & (draws <= upper))
        assert inside == pytest.approx(0.95, abs=3e-4)
        ordered = np.sort(draws)
        brute = min(ordered[i + 3799] - ordered[i] for i in range(201))
        if edge is not None:
            assert edge in (lower, upper)
            assert upper - lower <= 1.03 * brute  # from the edge, not from a draw near it
        else:
            assert upper - lower == pytest.approx(brute, abs=1e-12)


def test_mode_of_draws() -> None:
    draws = np.random.default_rng(2).gamma(6, 1, 20_000)
    assert density_mode(draws) == pytest.approx(5, abs=0.3)
    assert density_mode(np.full(10, 3.0)) == 3.0


def test_nuts_and_exact_describe_the_same_posterior() -> None:
    exact, nuts = heritability(exact_tree()), heritability(nuts_tree())
    for name in ("h2", "sigma2_u", "sigma2_e", "beta[intercept]", "beta[x1]", "pve_random"):
        a = exact[exact["quantity"] == name].iloc[0]
        b = nuts[nuts["quantity"] == name].iloc[0]
        error = np.hypot(a["mcse"], b["mcse"])
        assert a["mean"] == pytest.approx(b["mean"], abs=4 * error), name
        assert a["sd"] == pytest.approx(b["sd"], rel=0.15), name
    for name in ("lower", "upper"):
        a, b = (t.loc[t["quantity"] == "h2", name].iloc[0] for t in (exact, nuts))
        assert a == pytest.approx(b, abs=0.08)
    for name in ("p_rlrt", "se_expected"):
        a, b = (t.loc[t["quantity"] == name, "mean"].iloc[0] for t in (exact, nuts))
        assert a == b


def test_the_tests_are_those_of_the_spectrum() -> None:
    tree = exact_tree()
    data = tree["constant_data"]
    s, e = data["eigenvalue"].to_numpy(), data["contrasts"].to_numpy()
    assert row(tree, "se_expected")["mean"] == expected_se(s)
    assert row(tree, "p_rlrt")["mean"] == restricted_lrt(s, e).p_value


def null_data() -> Data:
    return simulated(150, 1, 0.0, seed=15, K=sibships(150, 5))


def test_bayes_factor_from_draws_is_that_of_the_quadrature() -> None:
    """Savage-Dickey by counting draws near 0, where h² is near 0."""
    tree = fit(null_data().model(), "exact", draws=20_000)
    exact = savage_dickey(tree)
    h, w = flat_grid(null_data())
    density = float(w[:20].mean() * h.size)  # posterior density at 0; the prior's is 1
    assert exact == pytest.approx(np.log10(density), abs=0.05)  # flat against weak priors
    without = xr.DataTree.from_dict(
        {name: tree[name].to_dataset() for name in tree.children if name != "quadrature"}
    )
    assert savage_dickey(without) == pytest.approx(exact, abs=0.06)
    # without h² among the parameters nothing says that the ratio is the Bayes factor
    poorer = {name: tree[name].to_dataset() for name in ("posterior", "prior")}
    assert np.isnan(savage_dickey(xr.DataTree.from_dict(poorer)))
    assert exact > 0.1


def test_bayes_factor_needs_a_prior_and_draws_near_zero() -> None:
    rng = np.random.default_rng(3)
    far = xr.Dataset({"h2": (("chain", "draw"), rng.uniform(0.5, 0.7, (2, 500)))})
    assert np.isnan(savage_dickey(xr.DataTree.from_dict({"posterior": far})))
    prior = xr.Dataset({"h2": (("chain", "draw"), rng.uniform(0, 1, (1, 1000)))})
    assert np.isnan(savage_dickey(xr.DataTree.from_dict({"posterior": far, "prior": prior})))


def test_how_much_the_prior_contributes() -> None:
    tree = fit(simulated(60, 1, 0.5, seed=6, K=sibships(60, 3)).model())
    ratio = tree["posterior"]["h2"].to_numpy().var() / tree["prior"]["h2"].to_numpy().var()
    assert prior_contribution(tree) == pytest.approx(ratio)
    said = weakly_informed(tree)
    assert said is not None
    assert said.startswith("weakly informed: the expected standard error of h² is 0.2")
    assert f"n = 60; the posterior keeps {ratio:.0%} of the prior's variance" in said
    strong = fit(simulated(300, 1, 0.5, seed=1, K=sibships(300, 10, 0.9)).model(), draws=40)
    assert weakly_informed(strong) is None


def test_several_traits_in_one_tree() -> None:
    one = exact_tree()
    second = one.copy()
    second.attrs = {**one.attrs, "trait": "z"}
    both = xr.DataTree(children={"y": one.copy(), "z": second})
    assert list(trait_trees(both)) == ["y", "z"]
    assert list(trait_trees(one)) == ["y"]
    table = heritability(both)
    assert list(table["trait"].unique()) == ["y", "z"]
    assert len(table) == 2 * len(heritability(one))


def test_a_probability_is_between_0_and_1() -> None:
    for prob in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            heritability(exact_tree(), prob)
    assert row(exact_tree(), "h2", 0.5)["prob"] == 0.5
    wide, narrow = row(exact_tree(), "h2", 0.95), row(exact_tree(), "h2", 0.5)
    assert wide["lower"] < narrow["lower"] < narrow["upper"] < wide["upper"]
