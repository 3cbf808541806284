"""`fit`: the tree, its groups and attributes, the choice of the engine, ArviZ on top."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from engine_oracles import (
    Data,
    beta_logit,
    brute,
    exact_tree,
    family_data,
    family_model,
    gram,
    nuts_tree,
    sibships,
    simulated,
    small,
)
from scipy import stats

from bayeslmm import models
from bayeslmm.comparison.evidence import estimate_evidence
from bayeslmm.distributions.phenotype import set_phenotype
from bayeslmm.errors import BayesLMMWarning, InputError, ModelError
from bayeslmm.inference.choose import choose_engine
from bayeslmm.inference.diagnostics import convergence
from bayeslmm.inference.engines import ENGINES
from bayeslmm.inference.exact import exact
from bayeslmm.inference.exact.marginal import why_not_exact
from bayeslmm.inference.fit import ORDER, fit
from bayeslmm.inference.fitted import model_of
from bayeslmm.inference.laplace import laplace
from bayeslmm.inference.laplace.hyper import why_not_laplace
from bayeslmm.inference.nuts import NUTS
from bayeslmm.inference.traits import fit_traits
from bayeslmm.relationship.relationship import Relationship

QUANTITIES = {
    "h2", "total_sd", "sigma2_u", "sigma2_e", "variance", "beta", "beta_std",
    "pve_fixed", "pve_random", "pve_total", "pve_share",
}  # fmt: skip


@pytest.mark.parametrize("engine", ["exact", "nuts"])
def test_groups_variables_and_dimensions(engine: str) -> None:
    tree = exact_tree() if engine == "exact" else nuts_tree()
    groups = [name for name in ORDER if name != "quadrature" or engine == "exact"]
    assert list(tree.children) == groups
    posterior = tree["posterior"]
    assert set(posterior.data_vars) == QUANTITIES | ({"g"} if engine == "exact" else set())
    chains, draws = (4, 1000) if engine == "exact" else (4, 500)
    assert posterior["h2"].dims == ("chain", "draw")
    assert posterior["h2"].shape == (chains, draws)
    assert posterior["beta"].dims == ("chain", "draw", "covariate")
    assert list(posterior.coords["covariate"].to_numpy()) == ["intercept", "x1"]
    assert list(posterior.coords["component"].to_numpy()) == ["additive", "residual"]
    assert tree["prior"]["h2"].shape == (1, 1000)
    assert tree["observed_data"]["phenotype"].dims == ("individual",)
    data = family_data()
    assert tree["observed_data"]["phenotype"].to_numpy() == pytest.approx(data.y)
    assert tree["constant_data"]["design"].to_numpy() == pytest.approx(data.X, abs=1e-12)
    assert float(tree["constant_data"]["phenotype_unit"]) == pytest.approx(data.unit)
    assert set(tree["log_prior"].data_vars) == {"h2", "total_sd", "beta_std"}
    for name in ("h2", "total_sd", "beta_std"):
        assert tree["log_prior"][name].shape == (chains, draws)
    lp = sum(tree["log_prior"][name] for name in tree["log_prior"].data_vars)
    lp = lp + tree["log_likelihood"]["phenotype"]
    if engine == "exact":
        assert tree["sample_stats"]["lp"].to_numpy() == pytest.approx(lp.to_numpy())


@pytest.mark.parametrize("engine", ["exact", "nuts"])
def test_log_likelihood_and_prior_are_scipys(engine: str) -> None:
    tree = exact_tree() if engine == "exact" else nuts_tree()
    data, posterior = family_data(), tree["posterior"].isel(chain=1, draw=[0, 250, 499])
    for i in range(3):
        one = posterior.isel(draw=i)
        u, e = one["variance"].to_numpy()
        normal = stats.multivariate_normal(
            data.X @ one["beta"].to_numpy(), u * data.K + e * np.eye(80)
        )
        found = tree["log_likelihood"]["phenotype"].isel(chain=1, draw=[0, 250, 499][i])
        assert float(found) == pytest.approx(normal.logpdf(data.y), abs=2e-4)
        prior = tree["log_prior"].isel(chain=1, draw=[0, 250, 499][i])
        wanted = np.log(2) + stats.t.logpdf(float(one["total_sd"]), 3, scale=2.5 * data.unit)
        assert float(prior["total_sd"]) == pytest.approx(wanted, abs=1e-8)
        wanted = stats.norm.logpdf(one["beta_std"].to_numpy(), 0, 10).sum()
        assert float(prior["beta_std"]) == pytest.approx(wanted, abs=1e-8)
        assert float(prior["h2"]) == pytest.approx(0, abs=1e-12)


def test_prior_group_is_the_prior() -> None:
    prior = exact_tree()["prior"]
    data = family_data()
    assert stats.kstest(prior["h2"].to_numpy().ravel(), "uniform").pvalue > 1e-3
    tau = prior["total_sd"].to_numpy().ravel() / (2.5 * data.unit)
    assert stats.kstest(tau, lambda x: 2 * stats.t.cdf(x, 3) - 1).pvalue > 1e-3
    gamma = prior["beta_std"].to_numpy().reshape(-1)
    assert stats.kstest(gamma, stats.norm(0, 10).cdf).pvalue > 1e-3
    assert prior["sigma2_u"].to_numpy() == pytest.approx(
        (prior["h2"] * prior["total_sd"] ** 2).to_numpy()
    )


def test_attributes_say_where_the_numbers_come_from() -> None:
    attrs = exact_tree().attrs
    gallery = models.load("additive")
    assert attrs["model"] == "additive"
    assert attrs["model_sha256"] == gallery.sha256
    assert attrs["engine"] == "exact"
    assert attrs["engine_reason"] == "asked for"
    assert (attrs["n"], attrs["seed"], attrs["draws"], attrs["chains"]) == (80, 1, 4000, 4)
    assert json.loads(attrs["priors"])["h2"] == "uniform between 0 and 1"
    assert "half-t with 3 degrees" in json.loads(attrs["priors"])["total_sd"]
    assert json.loads(attrs["versions"])["pymc"].startswith("6.")
    assert json.loads(attrs["relationships"])["additive"]["factor"] == 1.0
    assert all(step["dropped"] == 0 for step in json.loads(attrs["ledger"]))
    assert nuts_tree().attrs["engine"] == "nuts"
    assert nuts_tree().attrs["tune"] == 500


def test_quadrature_group_is_consistent_with_its_draws() -> None:
    tree = exact_tree()
    group = tree["quadrature"]
    h = group.coords["h2"].to_numpy()
    density = group["density"].to_numpy()
    assert np.trapezoid(density, h) == pytest.approx(1.0, abs=1e-3)
    assert np.interp(0.5, group["cdf"].to_numpy(), h) == pytest.approx(
        group.attrs["median"], abs=1e-5
    )
    drawn = tree["posterior"]["h2"].to_numpy().ravel()
    u = np.interp(drawn, h, group["cdf"].to_numpy())
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert group.attrs["mean"] == pytest.approx(drawn.mean(), abs=4 * group.attrs["sd"] / 63)
    assert group.attrs["sd"] == pytest.approx(drawn.std(), rel=0.06)
    assert group["prior_density"].to_numpy() == pytest.approx(np.ones(h.size), abs=1e-4)


def test_the_same_seed_gives_the_same_tree() -> None:
    model = family_model()
    kept = fit(model, "exact", genetic_values=True)["posterior"].to_dataset().drop_vars("g")
    again = fit(model, "exact", genetic_values=True)["posterior"].to_dataset().drop_vars("g")
    xr.testing.assert_identical(kept, again)
    other = fit(model, "exact", draws=400, seed=2)["posterior"]["h2"]
    assert not np.allclose(other, kept["h2"].isel(draw=slice(100)))


def test_nuts_repeats_itself() -> None:
    model = family_model()
    first, second = (
        fit(model, "nuts", draws=80, chains=2, tune=60, seed=5, cores=cores) for cores in (1, 2)
    )
    assert np.array_equal(first["posterior"]["h2"], second["posterior"]["h2"])
    assert "g" not in first["posterior"]


def test_netcdf_round_trip(tmp_path: Path) -> None:
    tree = exact_tree()
    path = tmp_path / "fit.nc"
    tree.to_netcdf(path, engine="h5netcdf")
    with xr.open_datatree(path, engine="h5netcdf") as back:
        assert back.attrs == tree.attrs
        assert set(back.children) == set(tree.children)
        for name in tree.children:
            xr.testing.assert_allclose(back[name].to_dataset(), tree[name].to_dataset())


@pytest.mark.parametrize("engine", ["exact", "nuts"])
def test_arviz_works_on_the_tree(engine: str) -> None:
    tree = exact_tree() if engine == "exact" else nuts_tree()
    names = ["h2", "sigma2_u", "beta", "pve_share"]
    table = az.summary(tree, var_names=["h2", "sigma2_u", "sigma2_e", "beta"], round_to="none")
    az.plot_trace_dist(tree, var_names=["h2", "sigma2_u"], backend="matplotlib")
    az.plot_forest(tree, var_names=names, backend="matplotlib")
    sensitivity = az.psense_summary(tree, var_names=["h2"])
    assert table.loc["h2", "mean"] == pytest.approx(float(tree["posterior"]["h2"].mean()))
    assert "h2" in sensitivity.index
    plt.close("all")


def test_bad_options_are_named() -> None:
    model = family_model()
    for draws, chains in ((1001, 4), (8, 4), (100, 0), (0, 1)):
        with pytest.raises(InputError, match="multiple of the number of chains"):
            fit(model, draws=draws, chains=chains)
    with pytest.raises(InputError, match="auto, exact, laplace or nuts"):
        fit(model, "gibbs")


def test_auto_says_what_it_chose_and_why() -> None:
    assert choose_engine(family_model())[0].name == "exact"
    assert choose_engine(family_model())[1].startswith("auto: one kernel in spectral form")
    assert choose_engine(family_model(), "nuts") == (NUTS, "asked for")
    latent = small().model("additive_cholesky")
    engine, reason = choose_engine(latent)
    assert engine.name == "nuts"
    assert reason == (
        f"auto: not exact, because {why_not_exact(latent)}; "
        f"not laplace, because {why_not_laplace(latent)}"
    )
    assert "g is a parameter" in reason
    for engine in ("exact", "laplace"):
        words = r"the (exact|laplace) engine cannot serve .*g is a parameter.*Use engine='nuts'"
        with pytest.raises(ModelError, match=words):
            fit(latent, engine)


LINES = {
    "driven by one": ("tau = pm.HalfNormal('tau', 2)\nu, e = tau**2, tau**2", "two scalar"),
    "three": (
        "a = pm.HalfNormal('a')\nb = pm.HalfNormal('b')\nc = pm.HalfNormal('c')\n"
        "u, e = a * c, b * c",
        "a, b, c; the grid needs two scalar",
    ),
    "hierarchy": (
        "s = pm.HalfNormal('s')\nb = pm.HalfNormal('b', s)\nu, e = s**2, b**2",
        "prior of b depends on other parameters",
    ),
    "bounded": (
        "a = pm.Uniform('a', 0, 5)\nb = pm.Uniform('b', 0, 5)\nu, e = a**2, b**2",
        "a, b has bounds that are not bounds of h²",
    ),
    "no inverse": (  # σ²_u cannot be less than one
        "a = pm.HalfNormal('a')\nb = pm.HalfNormal('b')\nu, e = (1 + a)**2, b**2",
        "found no a and b with σ²_u = 2.75e-17 and σ²_e = 1.34e-08",
    ),
    "no large variance": (
        "a = pm.Beta('a', 2, 2)\nb = pm.HalfNormal('b')\nu, e = a, b**2",
        "found no a and b with σ²_u = 3.24 and σ²_e = 3.24",
    ),
    "either sign": (
        "a = pm.Normal('a', 1, 2)\nb = pm.HalfNormal('b')\nu, e = a**2, b**2",
        "different values of a and b may give the same variances",
    ),
    "either sign, bounded": (
        "a = pm.Normal('a')\nb = pm.HalfNormal('b')\nu, e = pt.tanh(a)**2, b**2",
        "different values of a and b may give the same variances",
    ),
    "h² above one": (
        "h = pm.Uniform('h', 0, 1.5)\nt = pm.HalfNormal('t', 8)\nu, e = h * t**2, (1 - h) * t**2",
        "h² lies between 0 and 1.5, the total standard deviation between 0 and inf: take bounds",
    ),
    "no transform": (
        "h = pm.Beta('h', 2, 2, default_transform=None)\nt = pm.HalfNormal('t', 8)\n"
        "u, e = h * t**2, (1 - h) * t**2",
        "different values of h and t may give the same variances",
    ),
    "improper": (
        "u = pm.HalfFlat('u')\ne = pm.HalfFlat('e')",
        "the prior of u, e is improper",
    ),
    "total above three": (
        "h = pm.Uniform('h', 0, 1)\nt = pm.TruncatedNormal('t', 8, 4, lower=3)\n"
        "u, e = h * t**2, (1 - h) * t**2",
        "t has bounds that are not bounds of h²",
    ),
}
BODY = """
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from bayeslmm.modelling import fixed_effects
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.likelihood.decompose import spectrum


def build(cohort, additive):
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        EFFECTS
        VARIANCES
        pm.Deterministic("variance", pt.stack([u, e]), dims="component")
        spectral_normal("phenotype", beta, model["variance"], spectrum=spectrum(cohort, additive),
                        observed=cohort.y, dims="individual")
    return model
"""
EFFECTS = {
    "student": (
        "beta = pm.StudentT('beta', nu=3, sigma=10, dims='covariate')",
        "beta is not normal",
    ),
    "not affine": (
        "z = pm.Normal('z', 0, 1, shape=2)\n"
        "beta = pm.Deterministic('beta', pt.exp(z), dims='covariate')",
        "β is not an affine function",
    ),
    "fewer": (
        "z = pm.Normal('z', 0, 1)\n"
        "beta = pm.Deterministic('beta', z * np.ones(2), dims='covariate')",
        "β is not an invertible function",
    ),
    "mixed": (
        "z = pm.Normal('z', 0, 1)\nf = pm.Flat('f')\n"
        "beta = pm.Deterministic('beta', pt.stack([f, z]), dims='covariate')",
        "β mixes flat and normal",
    ),
    "shared": (
        "a = pm.HalfNormal('a')\nz = pm.Normal('z', 0, 1, shape=2)\n"
        "beta = pm.Deterministic('beta', a * z, dims='covariate')",
        "a drive both β and the variances",
    ),
}


@pytest.mark.parametrize("case", [*LINES, *EFFECTS])
def test_why_a_model_is_not_exact(case: str, tmp_path: Path) -> None:
    usual = "a = pm.HalfNormal('a')\nb = pm.HalfNormal('b')\nu, e = a**2, b**2"
    variances, words = LINES.get(case, (usual, ""))
    effects = "beta = fixed_effects(cohort)"
    if case in EFFECTS:
        effects, words = EFFECTS[case]
        if case == "shared":
            variances = "b = pm.HalfNormal('b')\nu, e = a**2, b**2"
    indent = "\n        "
    text = BODY.replace("EFFECTS", effects.replace("\n", indent))
    path = tmp_path / "mine.py"
    path.write_text(text.replace("VARIANCES", variances.replace("\n", indent)))
    data = small()
    model = models.load(path)(data.cohort(), data.relationship())
    assert words in str(why_not_exact(model))
    assert choose_engine(model)[0].name == ("laplace" if case in LINES else "nuts")


def test_improper_priors_of_the_variances(tmp_path: Path) -> None:
    """A flat density on both variances, in two ways: h² as by brute force, no marginal likelihood.

    ``dσ²_u dσ²_e = 2 τ³ dh² dτ``. A `pm.CustomDist` without draws is like a proper one otherwise.
    """
    data = small()
    wanted = brute().posterior(beta_logit(1, 1), lambda x: 3 * np.log(x))
    for lines in (
        "u = pm.HalfFlat('u')\ne = pm.HalfFlat('e')",
        "flat = {'logp': lambda x: 0.0 * x, 'default_transform': log, 'initval': 1.0}\n"
        "u, e = (pm.CustomDist(k, **flat) for k in 'ue')",
    ):
        path = tmp_path / "mine.py"
        text = BODY.replace("EFFECTS", "beta = fixed_effects(cohort)").replace("VARIANCES", lines)
        text = text.replace("\ne = ", "\n        e = ").replace("\nu, e = ", "\n        u, e = ")
        path.write_text("from pymc.distributions.transforms import log\n" + text)
        model = models.load(path)(data.cohort(), data.relationship())
        tree = fit(model, "laplace")
        assert "prior" not in tree.children
        h2 = tree["posterior"]["h2"].to_numpy()
        # 1000 effective draws of an sd of 0.27; five standard errors
        assert h2.mean() == pytest.approx(wanted["mean"], abs=5 * wanted["sd"] / np.sqrt(1000))
        if "HalfFlat" in lines:
            with pytest.raises(ModelError, match="the prior of u, e is improper, so the marg"):
                estimate_evidence(tree)


def test_correlated_effects_in_several_variables_are_integrated(tmp_path: Path) -> None:
    """β from a scalar and a multivariate normal: log p(y) as from the dense covariance."""
    effects = (
        "a = pm.Normal('a', 5.0, 2.0)\n"
        "b = pm.MvNormal('b', mu=np.array([0.3, -0.2]), cov=np.array([[1.0, 0.6], [0.6, 2.0]]))\n"
        "beta = pm.Deterministic('beta', pt.stack([a, b[0] + b[1], b[0] - 2 * b[1]]), "
        "dims='covariate')"
    )
    indent = "\n        "
    text = BODY.replace("EFFECTS", effects.replace("\n", indent))
    variances = "s = pm.HalfNormal('s', 2)\nr = pm.HalfNormal('r', 2)\nu, e = s**2, r**2"
    path = tmp_path / "mine.py"
    path.write_text(text.replace("VARIANCES", variances.replace("\n", indent)))
    data = simulated(25, 3, 0.5, seed=12)
    model = models.load(path)(data.cohort(), data.relationship())
    assert choose_engine(model)[0].name == "exact"
    found, variables = exact.fit_one(model, 4000, np.random.default_rng(2))
    A = np.array([[1, 0, 0], [0, 1, 1], [0, 1, -2]], dtype=float)
    cov = np.zeros((3, 3))
    cov[0, 0] = 4.0
    cov[1:, 1:] = [[1.0, 0.6], [0.6, 2.0]]
    mean, B = A @ [5.0, 0.3, -0.2], A @ cov @ A.T
    s = np.exp(np.linspace(-9, 3, 120))
    prior = np.log(2) + stats.norm.logpdf(s, 0, 2) + np.log(s)
    residual_part = s[:, None, None] ** 2 * np.eye(25) + data.X @ B @ data.X.T
    r = data.y - data.X @ mean
    log_p = np.empty((120, 120))
    for i in range(120):
        L = np.linalg.cholesky(s[i] ** 2 * data.K + residual_part)
        white = np.linalg.solve(L, np.broadcast_to(r[:, None], (120, 25, 1)))[:, :, 0]
        log_det = 2 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
        log_p[i] = -0.5 * (25 * np.log(2 * np.pi) + log_det + (white**2).sum(axis=1))
    log_p += prior[:, None] + prior
    step = np.log(s[1] / s[0])
    evidence = np.log(np.exp(log_p - log_p.max()).sum() * step**2) + log_p.max()
    assert found.log_evidence == pytest.approx(evidence, abs=2e-3)
    z = np.linalg.solve(A, variables["beta"].T).T
    assert variables["a"] == pytest.approx(z[:, 0])
    assert variables["b"] == pytest.approx(z[:, 1:])


def test_traits_at_once_equal_traits_one_by_one() -> None:
    """Fifty traits: the quadrature to rounding, the draws in distribution."""
    data = family_data()
    rng = np.random.default_rng(50)
    root = np.linalg.cholesky(0.5 * data.K + 0.5 * np.eye(80))
    values = 10 ** rng.uniform(-2, 2, 50) * (root @ rng.standard_normal((80, 50))) + 5
    table = pd.DataFrame(values, columns=[f"trait{i}" for i in range(50)])
    model = data.model()
    tree = fit_traits(model, table, draws=2000, chains=2, seed=9)
    posterior = tree["posterior"]
    assert posterior["h2"].dims == ("trait", "chain", "draw")
    assert posterior["h2"].shape == (50, 2, 1000)
    assert list(posterior.coords["trait"].to_numpy()) == list(table.columns)
    split = exact.marginal(model)
    pit = []
    for j in range(50):
        set_phenotype(model, values[:, j])
        current = tuple(exact.marginal(model).data.values())
        one = exact.solve(
            split, split.spectrum.rotate(values[:, j]), current, 8, np.random.default_rng(1)
        )
        found = tree["quadrature"].isel(trait=j)
        assert float(found["mean"]) == pytest.approx(one.share.moments()[0], abs=1e-8)
        assert float(found["sd"]) == pytest.approx(one.share.moments()[1], abs=1e-8)
        assert float(found["median"]) == pytest.approx(float(one.share.quantile(0.5)), abs=1e-8)
        assert float(found["mode"]) == pytest.approx(one.share.mode(), abs=1e-6)
        assert float(found["log_evidence"]) == pytest.approx(one.log_evidence, abs=1e-8)
        drawn = posterior["h2"].isel(trait=j).to_numpy().ravel()
        u = np.interp(np.log(drawn / (1 - drawn)), one.share.z, one.share.cdf)
        pit.append(stats.kstest(u, "uniform").pvalue)
    assert min(pit) > 1e-3 / 50
    assert stats.kstest(pit, "uniform").pvalue > 1e-3
    total = posterior["sigma2_u"] + posterior["sigma2_e"]
    assert (posterior["sigma2_u"] / total).to_numpy() == pytest.approx(posterior["h2"].to_numpy())


def test_traits_are_fitted_as_by_fit() -> None:
    """The effects and variances of one of several traits, against `fit` of that trait alone."""
    data = simulated(60, 2, 0.5, seed=77, K=sibships(60, 6))
    other = np.random.default_rng(1).standard_normal(60)
    model = data.model()
    alone = fit(model, "exact", draws=4000, seed=3)["posterior"]
    both = fit_traits(model, pd.DataFrame({"other": other, "y": data.y}), draws=4000, seed=4)
    one = both["posterior"].sel(trait="y")
    for name in ("h2", "sigma2_u", "sigma2_e"):
        p = stats.ks_2samp(one[name].to_numpy().ravel(), alone[name].to_numpy().ravel()).pvalue
        assert p > 1e-3, name
    for k in range(2):
        a, b = (x["beta"].isel(covariate=k).to_numpy().ravel() for x in (one, alone))
        assert stats.ks_2samp(a, b).pvalue > 1e-3


def test_traits_that_do_not_fit_are_errors() -> None:
    model = family_model()
    with pytest.raises(InputError, match="80 rows"):
        fit_traits(model, pd.DataFrame({"y": np.ones(79)}))
    broken = pd.DataFrame({"y": [np.nan] + [1.0] * 79})
    with pytest.raises(InputError, match="1 not finite"):
        fit_traits(model, broken)


def test_a_kernel_that_says_nothing_is_warned_of() -> None:
    rng = np.random.default_rng(1)
    data = Data(rng.standard_normal(50) + 3, np.ones((50, 1)), np.eye(50))
    with pytest.warns(BayesLMMWarning, match="h² is not identified"):
        tree = fit(data.model(h2="beta(2, 3)"), draws=400)
    group = tree["quadrature"]  # the posterior is the prior, exactly
    assert group.attrs["mean"] == pytest.approx(0.4, abs=1e-6)
    assert group.attrs["sd"] == pytest.approx(0.2, abs=1e-6)
    assert group.attrs["log_evidence"] == pytest.approx(group.attrs["log_evidence_h2_0"], abs=1e-6)
    assert group["density"].to_numpy() == pytest.approx(group["prior_density"].to_numpy(), rel=5e-3)


def test_where_weights_fail_a_cheap_likelihood_goes_on_to_nuts_on_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The laplace engine on one kernel, whose weights are said to be bad: posterior as exact."""
    usual = laplace.importance_sample
    monkeypatch.setattr(
        laplace, "importance_sample", lambda *a, **k: replace(usual(*a, **k), ok=False)
    )
    with pytest.warns(BayesLMMWarning, match=r"importance sampling failed .* NUTS on the model"):
        tree = fit(family_model(), "laplace", draws=2000, chains=4, tune=500, cores=2, seed=4)
    assert tree.attrs["engine"] == "laplace"
    assert "NUTS on the model, because" in tree.attrs["engine_reason"]
    assert "diverging" in tree["sample_stats"]
    found, wanted = tree["posterior"]["h2"], exact_tree()["posterior"]["h2"]
    health = convergence(found.to_numpy())
    assert health["ess_bulk"] > 300
    error = np.hypot(health["mcse"], float(wanted.std()) / np.sqrt(wanted.size))
    assert abs(float(found.mean() - wanted.mean())) < 4 * error


def test_where_weights_fail_several_kernels_go_on_to_nuts_on_the_marginal_density(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The weights are said to be bad: the chains have to agree with what the weights say."""
    rng = np.random.default_rng(21)
    n = 50
    data = simulated(n, 1, 0.5, seed=21, K=gram(n, 20, rng))
    people = data.cohort().individuals
    second = Relationship(gram(n, 20, rng), people, name="two", kernel_scale="none")
    model = models.load("partitioned")(data.cohort(), data.relationship(), second)
    wanted = fit(model, "laplace", draws=1000, seed=3)
    usual, hmc = laplace.importance_sample, laplace.sample_hmc
    failing = lambda *a, **k: replace(usual(*a, **k), ok=False)  # noqa: E731
    monkeypatch.setattr(laplace, "importance_sample", failing)
    monkeypatch.setattr(laplace, "sample_hmc", lambda *a, **k: hmc(*a, **k, tune=150))
    with pytest.warns(BayesLMMWarning, match="come from NUTS on the marginal density instead"):
        tree = fit(model, "laplace", draws=600, chains=2, seed=4)
    assert "NUTS on the marginal density, because" in tree.attrs["engine_reason"]
    stats_of = tree["sample_stats"]
    assert {"diverging", "energy"} <= set(stats_of.data_vars)
    assert "log_evidence" not in stats_of.attrs
    for name in ("h2", "total_sd"):
        found, known = tree["posterior"][name].to_numpy(), wanted["posterior"][name].to_numpy()
        health = convergence(found)
        assert health["ess_bulk"] > 100
        error = np.hypot(health["mcse"], float(known.std()) / np.sqrt(known.size))
        assert abs(float(found.mean() - known.mean())) < 4 * error
    # β and log p(y | β, u) were not known at these points: they are those of the dense formula
    posterior = tree["posterior"].to_dataset()
    X = tree["constant_data"]["design"].to_numpy()
    for draw in (0, 137):
        one = posterior.isel(chain=1, draw=draw)
        a, b, e = one["variance"].to_numpy()
        V = a * data.K + b * second.matrix + e * np.eye(n)
        law = stats.multivariate_normal(X @ one["beta"].to_numpy(), V)
        at = tree["log_likelihood"]["phenotype"].isel(chain=1, draw=draw)
        assert float(at.sum()) == pytest.approx(float(law.logpdf(data.y)), abs=1e-6)


def test_a_model_that_no_engine_serves_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    never = [replace(one, why_not=lambda _, name=one.name: f"not by {name}") for one in ENGINES]
    monkeypatch.setattr("bayeslmm.inference.choose.ENGINES", tuple(never))
    with pytest.raises(ModelError, match="no engine serves this model: not exact, because not by"):
        choose_engine(small().model("additive"), "auto")


def test_a_tree_and_a_model_of_another_phenotype_do_not_go_together() -> None:
    data = small()
    model = data.model("additive")
    tree = fit(model, draws=100)
    set_phenotype(model, data.y + 1.0)
    with pytest.raises(InputError, match="a model with another phenotype than the tree"):
        model_of(tree)


def test_an_unknown_engine_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"engine 'gibbs' -> auto, exact, laplace or nuts"):
        choose_engine(family_model(), "gibbs")
