"""Leave-one-out against dense conditionals, and against refitting without each record."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr
from arviz_stats.utils import ELPDDataLOO
from loo_oracles import (
    OUTLIER,
    N,
    covariance,
    dense_error,
    fitted_tree,
    gallery_tree,
    kernel_tree,
    log_evidence,
    refitted,
)
from report_trees import made_tree
from scipy import stats

import bayeslmm.comparison.loo.refit as refits
from bayeslmm import fit, models
from bayeslmm.comparison.loo.conditional import predict_left_out
from bayeslmm.comparison.loo.elpd import kfold, loo
from bayeslmm.comparison.loo.model import (
    effects_prior,
    efficiency,
    efficiency_of,
    evidence_of,
    fitted,
)
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.errors import BayesLMMWarning, InputError, ModelError
from bayeslmm.inference.graph import EffectsPrior
from bayeslmm.likelihood.blocks import Blocks
from bayeslmm.likelihood.decompose import spectrum
from bayeslmm.numerics.chebyshev import Nodes


def partitions(n: int) -> list[Blocks]:
    """Single records, a few small blocks, the even and the odd records."""
    return [
        Blocks(tuple(np.arange(n)[:, None])),
        Blocks((np.array([3, 1, 7]), np.array([0, n - 1]))),
        Blocks((np.arange(0, n, 2), np.arange(1, n, 2))),
    ]


@pytest.mark.parametrize("prior", ["normal", "flat", "drawn"])
@pytest.mark.parametrize(
    "name",
    [
        *("additive", "additive, few nodes", "dominance", "bivariate", "bivariate, few nodes"),
        *("bivariate, some missing", "gxe"),
    ],
)
def test_conditionals_at_fixed_parameters_are_scipys(name: str, prior: str) -> None:
    """Tolerance 1e-8 for numbers of order one; 5e-11 is what was seen."""
    model, tree, merge = kernel_tree(name)
    found = merge(fitted(model, tree, 100))
    assert found.effects is not None
    X, p = found.marginal.design, found.beta.shape[1]
    if prior == "flat":
        found = replace(found, effects=replace(found.effects, factor=None))
    elif prior == "drawn":
        found = replace(found, effects=None)
    for blocks in partitions(len(found.y)):
        conditionals = found.conditionals(blocks)
        for s in (0, 57, 99):
            known = found.effects
            if known is None:  # β is known: a prior without spread
                known = EffectsPrior(found.beta[s], 1e-9 * np.eye(p), found.beta[s], np.eye(p))
            V = covariance(model, found.inputs, s)
            assert dense_error(conditionals, blocks, s, V, X, known, found.y) < 1e-8


@pytest.mark.parametrize(
    "name", ["additive", "additive, few nodes", "bivariate", "bivariate, few nodes"]
)
def test_many_draws_are_interpolated_to_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tree, merge = kernel_tree(name)
    found = merge(fitted(model, tree, None))
    used: list[int] = []
    whole = Nodes.weights
    monkeypatch.setattr(Nodes, "weights", lambda *a: used.append(1) or whole(*a))
    X = found.marginal.design
    for blocks in partitions(len(found.y)):
        conditionals = found.conditionals(blocks)
        for s in (0, 500, 999):
            assert found.effects is not None
            V = covariance(model, found.inputs, s)
            error = dense_error(conditionals, blocks, s, V, X, found.effects, found.y)
            assert error < 1e-8
    assert used


def test_elpd_is_that_of_refitting_without_each_record() -> None:
    _, _, tree = fitted_tree()
    found, brute = loo(tree), refitted()
    z = (found.elpd_i.to_numpy() - brute) / found.mcse_i.to_numpy()
    assert np.abs(z).max() < 4
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.5  # the standard errors are what they say
    assert found.elpd == pytest.approx(brute.sum(), abs=3 * found.mcse)
    assert found.mcse < 0.1
    assert not found.warning
    assert found.unresolved == ()
    assert set(found.method.to_numpy()) == {"psis"}


def test_an_outlier_is_corrected() -> None:
    """k̂ says that importance sampling from the full posterior fails; the correction does not."""
    outlier = 12.0
    _, _, tree = fitted_tree(outlier)
    with pytest.warns(BayesLMMWarning, match="k̂ is above 0.70 for 1 of 60") as said:
        raw = loo(tree, refit=0)
    assert "Raise refit=" in str(said[0].message)
    assert raw.warning
    assert raw.unresolved == (str(raw.elpd_i["individual"].to_numpy()[OUTLIER]),)
    found, brute = loo(tree), refitted(outlier)
    assert float(raw.pareto_k[OUTLIER]) > 0.7
    assert float(found.influence_pareto_k[OUTLIER]) > 0.7
    assert float(found.pareto_k[OUTLIER]) < 0.7
    assert found.method.to_numpy()[OUTLIER] == "importance"
    error = float(found.mcse_i[OUTLIER])
    assert error < 0.02
    assert float(found.elpd_i[OUTLIER]) == pytest.approx(brute[OUTLIER], abs=4 * error)
    assert found.elpd == pytest.approx(brute.sum(), abs=4 * found.mcse)
    assert float(found.pit[OUTLIER]) > 1 - 1e-6
    assert float(raw.elpd_i[OUTLIER]) > brute[OUTLIER] + 3  # without the correction


def test_where_importance_fails_the_exact_engine_is_refitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, tree = fitted_tree(12.0)
    whole = refits.importance_sample
    failing = lambda *args, **options: replace(whole(*args, **options), ok=False)  # noqa: E731
    monkeypatch.setattr(refits, "importance_sample", failing)
    found = loo(tree)
    assert found.method.to_numpy()[OUTLIER] == "refit"
    assert float(found.pareto_k[OUTLIER]) == 0.0
    # both log evidences are by quadrature
    assert float(found.elpd_i[OUTLIER]) == pytest.approx(refitted(12.0)[OUTLIER], abs=1e-8)


def test_groups_are_left_out_jointly() -> None:
    data, model, tree = fitted_tree()
    groups = np.repeat([f"f{k}" for k in range(15)], 4)
    found = loo(tree, groups=groups, draws=4000)
    whole = log_evidence(model, data, np.arange(N))
    brute = [whole - log_evidence(model, data, np.flatnonzero(groups != g)) for g in groups[::4]]
    assert list(found.elpd_i["group"].to_numpy()) == list(groups[::4])
    z = (found.elpd_i.to_numpy() - brute) / found.mcse_i.to_numpy()
    assert np.abs(z).max() < 4
    assert found.pit.dims == ("individual",)
    assert found.n_data_points == 15


def test_folds() -> None:
    data, model, tree = fitted_tree()
    found = kfold(tree, k=5, draws=4000)
    whole = log_evidence(model, data, np.arange(N))
    fold = found.fold_of.to_numpy()
    brute = [whole - log_evidence(model, data, np.flatnonzero(fold != f)) for f in range(1, 6)]
    assert np.bincount(fold)[1:].tolist() == [12] * 5
    assert found.joint.to_numpy() == pytest.approx(brute, abs=0.05)  # k̂ to 0.5: ten errors or so
    assert found.elpd == pytest.approx(float(found.elpd_i.sum()))
    assert found.kind == "loo_kfold"


def test_pit_and_moments_are_those_of_the_draws() -> None:
    _, _, tree = fitted_tree()
    found = loo(tree)
    drawn = predict_left_out(tree, draws=None)
    y = tree["observed_data"]["phenotype"].to_numpy()
    weight = drawn["weight"].to_numpy()
    assert weight.sum(axis=0) == pytest.approx(np.ones(N))
    z = (y - drawn["mean"].to_numpy()) / drawn["sd"].to_numpy()
    assert (weight * stats.norm.cdf(z)).sum(axis=0) == pytest.approx(found.pit.to_numpy())
    density = np.exp(drawn["log_density"].to_numpy())
    assert np.log((weight * density).sum(axis=0)) == pytest.approx(found.elpd_i.to_numpy())
    assert stats.kstest(found.pit.to_numpy(), "uniform").pvalue > 1e-3
    assert (weight * drawn["mean"].to_numpy()).sum(axis=0) == pytest.approx(found.mean.to_numpy())
    second = (weight * (drawn["sd"] ** 2 + drawn["mean"] ** 2).to_numpy()).sum(axis=0)
    expected = np.sqrt(second - found.mean.to_numpy() ** 2)
    assert expected == pytest.approx(found.sd.to_numpy())


def test_moments_and_densities_given_what_is_outside_of_a_group() -> None:
    _, _, tree = fitted_tree()
    labels = np.array([f"g{k // 6}" for k in range(N)])
    drawn = predict_left_out(tree, groups=labels)
    assert drawn["log_density"].dims == drawn["weight"].dims == ("sample", "group")
    assert drawn["group_of"].to_numpy().tolist() == labels.tolist()
    summed = np.array([(labels == name).sum() for name in drawn["group"].to_numpy()])
    assert summed.tolist() == [6] * (N // 6)
    alone = predict_left_out(tree)
    # the others of the group tell something of a record: without them it is less certain
    assert (drawn["sd"] >= alone["sd"] - 1e-12).all()
    assert float((drawn["sd"] / alone["sd"]).max()) > 1.01
    found = loo(tree, groups=labels)
    weighted = (drawn["weight"] * np.exp(drawn["log_density"])).sum("sample").to_numpy()
    assert np.log(weighted).sum() == pytest.approx(found.elpd, abs=0.2)  # 400 of 2000 draws


def test_what_is_known_of_a_fit() -> None:
    data, model, tree = fitted_tree()
    found = evidence_of(tree)
    assert found is not None
    assert found[0] == pytest.approx(log_evidence(model, data, np.arange(N)), abs=1e-6)
    assert found[1] == 0.0
    bare = xr.DataTree.from_dict({"sample_stats": xr.Dataset({"lp": (("chain", "draw"), [[0.0]])})})
    assert evidence_of(bare) is None
    assert efficiency_of(bare) == 1.0  # no Markov chain
    rng = np.random.default_rng(3)
    chains = rng.standard_normal((4, 500))
    assert efficiency(chains) > 0.5
    stuck = np.repeat(rng.standard_normal((4, 5)), 100, axis=1)
    assert efficiency(stuck) < 0.05
    assert efficiency(np.full((4, 100), np.nan)) == 1e-12
    flat = replace(fitted(model, tree, 100), effects=None)
    with pytest.raises(ModelError, match="prior of β is not normal, so β cannot be integrated out"):
        flat.conditionals(Blocks((np.array([3]),)), [x[:5] for x in flat.inputs])
    assert flat.conditionals(Blocks((np.array([3]),))).log_density.shape == (100, 1)


def test_arviz_compares_models() -> None:
    """`compare` with stacking weights, its plot and that of k̂ take the results as they are."""
    data, _, tree = fitted_tree()
    nothing = replace(data, K=np.diag(np.where(np.arange(N) < 30, 1.5, 0.5)))
    other = fit(nothing.model())
    results = {"additive": loo(tree), "unrelated": loo(other)}
    assert all(isinstance(one, ELPDDataLOO) for one in results.values())
    table = az.compare(results, round_to="none")
    assert set(table.index) == {"additive", "unrelated"}
    assert table["weight"].sum() == pytest.approx(1.0)
    best, worst = table.index
    difference = results[worst].elpd_i - results[best].elpd_i
    assert table.loc[worst, "elpd_diff"] == pytest.approx(float(difference.sum()))
    spread = np.sqrt(N * np.var(difference.to_numpy()))
    assert table.loc[worst, "dse"] == pytest.approx(spread)
    az.plot_compare(table)
    az.plot_khat(results["additive"])
    plt.close("all")
    assert "elpd_loo" in str(results["additive"])
    assert results["additive"].se == pytest.approx(
        np.sqrt(N * results["additive"].elpd_i.to_numpy().var())
    )


def test_the_numbers_do_not_depend_on_cores_or_order() -> None:
    model, tree = gallery_tree("dominance")
    one, two = loo(tree, model, cores=1), loo(tree, model, cores=3)
    assert one.elpd_i.to_numpy().tolist() == two.elpd_i.to_numpy().tolist()
    again = loo(tree.copy(), model)
    assert again.elpd == one.elpd


def test_leave_one_out_needs_a_marginal_model_and_its_tree() -> None:
    data, _, tree = fitted_tree()
    with pytest.raises(InputError, match="tree without its model"):
        loo(tree.copy())
    with pytest.raises(InputError, match="at least 100"):
        loo(tree, draws=20)
    with pytest.raises(InputError, match=r"^0 draws"):
        loo(tree, groups=np.arange(N) // 2, draws=0)
    few = tree.isel({"draw": slice(0, 20)})  # of 4 chains or fewer: less than 100 in all
    with pytest.raises(InputError, match="at least 100"):
        loo(few, fitted_tree()[1])
    with pytest.raises(InputError, match=r"group labels of the shape \(3,\)"):
        loo(tree, groups=["a", "b", "c"])
    latent: Any = models.load("additive_cholesky")(data.cohort(), data.relationship())
    with pytest.raises(InputError, match="genetic values g are parameters"):
        loo(tree, latent)


def test_a_flat_prior_needs_the_other_records() -> None:
    """A record that alone determines an effect has no proper predictive distribution."""
    model, tree = gallery_tree("dominance")
    found = fitted(model, tree, 100)
    assert found.effects is not None
    flat = replace(found, effects=replace(found.effects, factor=None))
    most = Blocks((np.arange(len(found.y) - 1), np.array([len(found.y) - 1])))  # one record stays
    with pytest.raises(InputError, match="not determined"):
        flat.conditionals(most)


@pytest.mark.parametrize("name", ["additive", "dominance"])
def test_conditionals_of_groups_draw_by_draw(name: str) -> None:
    """A group's mean, sd and density given all outside it, in the order of the individuals."""
    model, tree = gallery_tree(name)
    found = fitted(model, tree, 100)
    n = len(found.y)
    groups = np.array(["b", "a", "c", "a"] * (n // 4))
    drawn = predict_left_out(tree, model, draws=100, groups=groups)
    assert drawn["log_density"].dims == drawn["weight"].dims == ("sample", "group")
    assert drawn["pareto_k"].dims == ("group",)
    assert drawn["group_of"].to_numpy().tolist() == groups.tolist()
    assert drawn["weight"].sum("sample").to_numpy() == pytest.approx(np.ones(3))
    X, prior = found.marginal.design, found.effects
    assert prior is not None
    assert prior.factor is not None
    for s in (0, 99):
        V = covariance(model, found.inputs, s) + X @ prior.factor @ prior.factor.T @ X.T
        r = found.y - X @ prior.mean
        one = drawn.isel(sample=s)
        for label in "abc":
            F, rest = np.flatnonzero(groups == label), np.flatnonzero(groups != label)
            gain = np.linalg.solve(V[np.ix_(rest, rest)], V[np.ix_(rest, F)]).T
            mean = X[F] @ prior.mean + gain @ r[rest]
            C = V[np.ix_(F, F)] - gain @ V[np.ix_(rest, F)]
            assert one["mean"].to_numpy()[F] == pytest.approx(mean, abs=1e-8)
            assert one["sd"].to_numpy()[F] == pytest.approx(np.sqrt(np.diag(C)), abs=1e-8)
            density = stats.multivariate_normal(mean, 0.5 * (C + C.T)).logpdf(found.y[F])
            assert float(one["log_density"].sel(group=label)) == pytest.approx(density, abs=1e-8)


def test_covariances_that_are_none_are_refused() -> None:
    """Of several kernels, and of several traits: the draw that has none is named."""
    one = Blocks((np.array([3]),))
    data = fitted(*gallery_tree("dominance"), 100)
    bad = np.array([[0.3, 0.3, 0.4], [0.3, 0.3, -2.0]])
    with pytest.raises(np.linalg.LinAlgError, match="of a draw is not positive definite"):
        data.conditionals(one, [bad])
    data = fitted(*gallery_tree("bivariate"), 100)
    G = np.stack([np.eye(2), np.diag([1.0, 0.0])])  # the second trait has no variance
    assert np.isfinite(data.conditionals(one, [G[:1], G[:1]]).log_density).all()
    wanted = r"draw 2 has a singular phenotypic covariance.*look at the draws of variance, r_g"
    with pytest.raises(InputError, match=wanted):
        data.conditionals(one, [G, G])


@pytest.mark.parametrize("normal", [True, False])
def test_the_prior_of_beta_of_ones_own_model(normal: bool) -> None:
    """Three parameters behind two variances are beyond the exact engine, not beyond this."""
    data = fitted_tree()[0]
    cohort, K = data.cohort(), data.relationship()
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        kind = pm.Normal if normal else partial(pm.StudentT, nu=3.0)
        beta = kind("beta", mu=2.0, sigma=10.0, dims="covariate")
        sd = pm.HalfNormal("sd", 5.0, shape=3)
        parts = pt.stack([sd[0] ** 2, sd[1] ** 2 + sd[2] ** 2])
        variance = pm.Deterministic("variance", parts, dims="component")
        own = spectrum(cohort, K)
        spectral_normal("phenotype", beta, variance, spectrum=own, observed=cohort.y)
    found = effects_prior(model)
    assert (found is not None) == normal
    if found is not None:
        assert found.factor is not None
        assert found.mean == pytest.approx(np.full(3, 2.0))
        assert found.factor @ found.factor.T == pytest.approx(100 * np.eye(3))


def test_draws_of_chains_are_worth_less_than_independent_ones() -> None:
    """AR(1) chains: (1 - ρ)/(1 + ρ) of their number; next to nothing where it is not known."""
    assert efficiency_of(made_tree("exact")) == 1.0
    tree = made_tree("nuts")
    assert 0.8 < efficiency_of(tree) <= 1.0
    rng, rho = np.random.default_rng(1), 0.8
    x = rng.standard_normal((4, 5000))
    for t in range(1, 5000):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * x[:, t]
    assert efficiency(x) == pytest.approx((1 - rho) / (1 + rho), rel=0.15)
    x[0, 7] = np.nan
    assert efficiency(x) == 1e-12
