"""Posteriors without a block of records: by importance, by the exact engine, by NUTS."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr
from engine_oracles import gram
from kernel_problems import people
from loo_oracles import OUTLIER, Floats, covariance, fitted_tree, gallery_tree, kernel_tree

import bayeslmm.comparison.loo.other_records as others
import bayeslmm.comparison.loo.refit as refits
from bayeslmm import fit, models
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.comparison.loo.elpd import loo
from bayeslmm.comparison.loo.model import effects_prior, fitted
from bayeslmm.comparison.loo.other_records import Refit, refit_by_nuts, refit_exactly
from bayeslmm.comparison.loo.refit import rescore
from bayeslmm.comparison.loo.without_block import target_without
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.inference.laplace import laplace
from bayeslmm.inference.laplace.hmc import Chains
from bayeslmm.inference.laplace.hyper import hyper
from bayeslmm.inference.laplace.importance import importance_sample
from bayeslmm.inference.laplace.mode import Mode
from bayeslmm.inference.laplace.target import Target
from bayeslmm.likelihood.blocks import Blocks
from bayeslmm.likelihood.decompose import spectrum
from bayeslmm.likelihood.dense_marginal import DenseMarginal
from bayeslmm.relationship.relationship import Relationship

N = 60
LEFT = 7  # an outlier


@cache
def two_kernels() -> tuple[Floats, list[Floats], Any, xr.DataTree]:
    """y with an outlier, two kernels, the model `dominance` and its fit."""
    rng = np.random.default_rng(8)
    kernels = [gram(N, 30, rng), gram(N, 30, rng)]
    V = 0.4 * kernels[0] + 0.3 * kernels[1] + 0.3 * np.eye(N)
    y = 5 + np.linalg.cholesky(V) @ rng.standard_normal(N)
    y[LEFT] += 10
    model = dominance(y, kernels, np.arange(N))
    return y, kernels, model, fit(model, draws=2000)


def dominance(y: Floats, kernels: list[Floats], stay: Any) -> Any:
    """The model of some of the records, kernels as they are; the intercept is the only effect."""
    who = people(N)[stay]
    cohort = Cohort(y[stay], np.ones((len(stay), 1)), who, ("intercept",), "trait")
    given = [
        Relationship(K[np.ix_(stay, stay)], who, name=name, kernel_scale="none")
        for K, name in zip(kernels, ("additive", "dominance"), strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the outlier
        return models.load("dominance")(cohort, *given)


def test_two_kernels_against_a_model_of_the_other_records() -> None:
    """Laplace evidences of models built anew without a record; priors in the units of all."""
    y, kernels, model, tree = two_kernels()
    found = loo(tree, draws=1000)
    assert found.method.to_numpy()[LEFT] == "importance"
    assert set(np.delete(found.method.to_numpy(), LEFT)) == {"psis"}
    whole = tree["sample_stats"].attrs
    for i in (LEFT, 20):
        without = dominance(y, kernels, np.delete(np.arange(N), i))
        units = ("phenotype_unit", "phenotype_centre")
        pm.set_data({name: model[name].get_value() for name in units}, model=without)
        split = hyper(without)
        target = laplace.target_of(split, split.effects_prior(*split.data))
        weighted = importance_sample(target, ess=2000, seed=3)
        brute = whole["log_evidence"] - weighted.log_evidence
        error = np.hypot(whole["log_evidence_mcse"], weighted.mcse)
        error = float(np.hypot(error, found.mcse_i[i]))
        assert error < 0.05
        assert float(found.elpd_i[i]) == pytest.approx(brute, abs=4 * error)


@pytest.mark.parametrize(
    "name",
    [
        *("additive", "additive, few nodes", "bivariate", "bivariate, few nodes"),
        *("bivariate, some missing", "dominance", "gxe"),
    ],
)
def test_the_density_without_a_block_is_that_of_the_others(name: str) -> None:
    """log p(u, y_-F) by the full data's matrices and by those of the other records alone."""
    model, tree, merge = kernel_tree(name)
    data = merge(fitted(model, tree, 100))
    assert data.effects is not None
    split = hyper(model)
    block = Blocks((np.array([2, 9, 30]),))
    stay = np.setdiff1d(np.arange(len(data.y)), block.records)
    kept: refits.Kept = {}
    target = target_without(data, split, data.effects, block, kept)
    rng = np.random.default_rng(2)
    points = split.start + 0.5 * rng.standard_normal((5, len(split.start)))
    log_prior, inputs = split.parameters(points, *split.data)
    X, prior = data.marginal.design[stay], data.effects
    assert prior.factor is not None
    C = X @ prior.factor @ prior.factor.T @ X.T
    for s, u in enumerate(points):
        V = covariance(model, inputs, s)[np.ix_(stay, stay)] + C
        r = data.y[stay] - X @ prior.mean
        expected = -0.5 * (
            len(stay) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + r @ np.linalg.solve(V, r)
        )
        assert target.log_density(u) == pytest.approx(expected + log_prior[s], abs=1e-8)
        assert u.tobytes() in kept


def test_the_likelihood_of_the_others_alone() -> None:
    """What NUTS works with: the same density, with a gradient (checked by differences)."""
    model, tree = gallery_tree("gxe")
    data = fitted(model, tree, 100)
    assert data.effects is not None
    split = hyper(model)
    left = np.array([2, 9, 30])
    stay = np.setdiff1d(np.arange(len(data.y)), left)
    reduced, y = data.marginal.subset(stay), data.y[stay]
    assert reduced is not None
    own = {"quadratic": reduced.quadratic(y), "likelihood_gradient": reduced.gradient(y)}
    alone = laplace.target_of(replace(split, **own), data.effects)
    whole = target_without(data, split, data.effects, Blocks((left,)), {})
    for u in split.start + 0.3 * np.random.default_rng(4).standard_normal((3, len(split.start))):
        assert alone.log_density(u) == pytest.approx(whole.log_density(u), abs=1e-8)
        assert alone.gradient is not None
        _, slope = alone.gradient(u)
        steps = 1e-5 * np.eye(len(u))
        ends = [(alone.log_density(u + h) - alone.log_density(u - h)) / 2e-5 for h in steps]
        assert slope == pytest.approx(ends, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "slopes"), [("gxe", True), ("bivariate, some missing", True), ("bivariate", False)]
)
def test_what_nuts_is_given(name: str, slopes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The density of the others, with its gradient wherever a difference costs factorisations."""
    model, tree = gallery_tree(name)
    data = fitted(model, tree, 100)
    assert data.effects is not None
    split, left = hyper(model), np.array([2, 9, 30])
    whole = target_without(data, split, data.effects, Blocks((left,)), {})
    seen = []

    def sample(target: Target, **_: Any) -> Chains:
        seen.append(target)
        value = np.random.default_rng(1).standard_normal((4, 25))
        nothing = np.zeros((4, 25), dtype=np.int64)
        points = np.tile(split.start, (4, 25, 1))
        return Chains(points, value, nothing > 0, value, nothing, 0, 0)

    monkeypatch.setattr(others, "sample_hmc", sample)
    mode = Mode(split.start, 0.0, np.eye(len(split.start)), 0, 0, ())
    refit_by_nuts(data, split, whole, left, mode, np.random.SeedSequence(1))
    (target,) = seen
    u = split.start + 0.2 * np.random.default_rng(6).standard_normal(len(split.start))
    assert target.log_density(u) == pytest.approx(whole.log_density(u), abs=1e-8)
    assert (target.gradient is not None) == slopes
    if target.gradient is not None:
        steps = 1e-5 * np.eye(len(u))
        ends = [(whole.log_density(u + h) - whole.log_density(u - h)) / 2e-5 for h in steps]
        assert target.gradient(u)[1] == pytest.approx(ends, rel=1e-4, abs=1e-4)


def test_a_class_of_residuals_that_is_left_out_altogether() -> None:
    """Its variance keeps its prior: no coefficient, no slope."""
    model, tree = gallery_tree("gxe")
    data = fitted(model, tree, 100)
    assert isinstance(data.marginal, DenseMarginal)
    stay = np.flatnonzero(data.marginal.covariance.residual == 0)
    reduced = data.marginal.subset(stay)
    assert reduced is not None
    assert data.effects is not None
    gradient = reduced.gradient(data.y[stay])
    assert gradient is not None
    c = [data.inputs[0][0]]
    value, slope = gradient(c, data.effects.mean, data.effects.factor)
    assert np.isfinite(value)
    assert slope[0].shape == c[0].shape
    assert slope[0][-1] == 0.0


def test_nuts_where_importance_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no evidence, so the bridge gives the number: within its errors that of importance."""
    _, _, model, tree = two_kernels()
    data = fitted(model, tree, 1000)
    members = np.array([20])
    within = data.conditionals(Blocks((members,))).log_density[:, 0]
    seed = np.random.SeedSequence(1)
    good = rescore(data, members, within, seed)
    failing = lambda *a, **k: replace(importance_sample(*a, **k), ok=False)  # noqa: E731
    monkeypatch.setattr(refits, "importance_sample", failing)
    monkeypatch.setattr(others, "DRAWS_HMC", 200)
    monkeypatch.setattr(others, "TUNE_HMC", 100)
    found = rescore(data, members, within, np.random.SeedSequence(1))
    assert good is not None
    assert found is not None
    assert (good.method, found.method) == ("importance", "refit")
    error = float(np.hypot(good.scores.mcse[0], found.scores.mcse[0]))
    assert error < 0.05
    assert found.scores.elpd[0] == pytest.approx(good.scores.elpd[0], abs=4 * error)


@pytest.mark.parametrize(("worth", "resolved"), [(0.25, True), (1e-12, False)])
def test_dependent_draws_are_worth_less(
    worth: float, resolved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chains that did not mix leave the block unresolved, however many draws they have."""
    _, model, tree = fitted_tree()
    data = fitted(model, tree, 400)
    members = np.array([3])
    within = data.conditionals(Blocks((members,))).log_density[:, 0]
    failing = lambda *a, **k: replace(importance_sample(*a, **k), ok=False)  # noqa: E731
    monkeypatch.setattr(refits, "importance_sample", failing)
    monkeypatch.setattr(refits, "refit_exactly", lambda *_: None)

    def scored(efficiency: float) -> Any:
        made = Refit([x[::-1].copy() for x in data.inputs], None, efficiency)
        monkeypatch.setattr(refits, "refit_by_nuts", lambda *_: made)
        done = rescore(data, members, within, np.random.SeedSequence(1))
        assert done is not None
        return done.scores

    whole, less = scored(1.0), scored(worth)
    assert less.mcse[0] == pytest.approx(whole.mcse[0] / np.sqrt(worth), rel=1e-12)
    assert less.elpd[0] == whole.elpd[0]
    assert np.isfinite(less.k[0]) == resolved


def test_where_beta_cannot_be_integrated_nothing_is_redone() -> None:
    _, model, tree = fitted_tree()
    data = replace(fitted(model, tree, 100), effects=None)
    assert rescore(data, np.array([OUTLIER]), np.zeros(100), np.random.SeedSequence(1)) is None


def test_the_kernel_comes_back_from_its_spectrum() -> None:
    data, model, tree = fitted_tree()
    spectrum = fitted(model, tree, 100).marginal.spectrum
    assert spectrum is not None
    K = spectrum.kernel()
    assert pytest.approx(K, abs=1e-12 * np.abs(K).max()) == data.K


def test_points_at_the_edge_have_no_density_without_a_block() -> None:
    """h² = 1 - 1e-13 leaves 40 of 48 records undetermined, h² = 1 has no density at all: a point of
    the importance sampler there gets -inf, and the points beside it keep what they had."""
    model, tree = gallery_tree("additive")
    data = fitted(model, tree, 100)
    assert data.effects is not None
    split = hyper(model)
    block = Blocks((np.arange(40),))
    whole = laplace.target_of(split, data.effects)
    good, near, edge = (split.start.copy() for _ in range(3))
    near[split.names.index("h2")], edge[split.names.index("h2")] = 30.0, 60.0
    assert np.isfinite(whole.log_density(near))
    kept: refits.Kept = {}
    target = target_without(data, split, data.effects, block, kept)
    assert target.prepare is not None
    at = target.prepare(np.stack([near, good, edge]))
    assert (at(0), at(2)) == (-np.inf, -np.inf)
    assert list(kept) == [good.tobytes()]
    inside = float(kept[good.tobytes()].log_density[0, 0])
    assert at(1) == pytest.approx(whole.log_density(good) - inside, rel=1e-12)
    assert target.log_density(edge) == -np.inf
    assert list(kept) == [good.tobytes()]


def test_points_at_the_edge_of_several_kernels() -> None:
    """No prior density; no covariance; a block that the others do not determine."""
    model, tree = gallery_tree("dominance")
    data = fitted(model, tree, 100)
    assert data.effects is not None
    split = hyper(model)
    kept: refits.Kept = {}
    target = target_without(data, split, data.effects, Blocks((np.arange(40),)), kept)
    for name, value, finite in (
        ("total_sd", 800.0, False),
        ("share[0]", 60.0, True),
        ("share[0]", 30.0, True),
    ):
        u = split.start.copy()
        u[split.names.index(name)] = value
        assert np.isfinite(split.parameters(u[None], *split.data)[0][0]) == finite
        assert target.log_density(u) == -np.inf
    assert not kept
    assert np.isfinite(target.log_density(split.start))
    assert list(kept) == [split.start.tobytes()]


def test_what_cannot_be_refitted_exactly() -> None:
    """Several kernels; or too few records for the effects."""
    seed = np.random.SeedSequence(1)
    several = fitted(*gallery_tree("dominance"), 100)
    assert refit_exactly(several, np.array([3]), seed) is None
    _, model, tree = fitted_tree()
    data = fitted(model, tree, 100)
    assert refit_exactly(data, np.arange(2, N), seed) is None
    found = refit_exactly(data, np.arange(10), seed)
    assert found is not None
    assert found.inputs[0].shape == (others.DRAWS, 2)


def test_others_that_do_not_determine_the_effects_have_no_likelihood() -> None:
    """Then NUTS works with the density of all less the block's conditional."""
    data = fitted(*gallery_tree("dominance"), 100)
    assert data.marginal.subset(np.array([5])) is None
    assert data.marginal.subset(np.arange(10)) is not None


def test_a_model_that_the_sampler_cannot_split_is_not_redone() -> None:
    """A prior that can take whole numbers only has no density to sample by importance."""
    data = fitted_tree()[0]
    cohort, K = data.cohort(), data.relationship()
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        beta = pm.Normal("beta", 0.0, 10.0, dims="covariate")
        h2, sd = pm.DiscreteUniform("tenths", 1, 9) / 10, pm.HalfNormal("total_sd", 5.0)
        parts = pt.stack([h2, 1 - h2]) * sd**2
        variance = pm.Deterministic("variance", parts, dims="component")
        spectral_normal(
            "phenotype", beta, variance, spectrum=spectrum(cohort, K), observed=cohort.y
        )
    assert effects_prior(model) is not None
    _, usual, tree = fitted_tree()
    other = replace(fitted(usual, tree, 100), model=model)
    assert rescore(other, np.array([3]), np.zeros(100), np.random.SeedSequence(1)) is None
