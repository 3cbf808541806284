"""PyMC's view of several traits: density, gradient, random draws, exchange of the data."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from affine import moments
from kernel_problems import Problem, problems
from multitrait_oracles import correlated, covariance, dense, stacked, traits
from oracles import log_normal_density, relative
from pytensor.compile.mode import Mode

from bayeslmm.distributions.marginal import CompiledLogp, Handle, MarginalRV
from bayeslmm.distributions.multi_trait_normal import multi_trait_normal
from bayeslmm.distributions.phenotype import marginal_of, set_phenotype
from bayeslmm.errors import InputError
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.spectrum import Spectrum

PYTHON = Mode(linker="py", optimizer="fast_compile")  # compiles in a moment


@pytest.fixture(scope="module")
def problem() -> Problem:
    return problems()["uncentred GRM, 4 covariates"]


@pytest.fixture(scope="module")
def S(problem: Problem) -> Spectrum:
    return decompose(problem.kernel, problem.X)


def two_traits(S: Spectrum) -> KernelMarginal:
    return KernelMarginal(S, 2, ("additive:1", "additive:2"), matrices=True)


@pytest.mark.parametrize("mode", [PYTHON, None], ids=["python", "numba"])
def test_the_node_and_its_pullback(mode: Any, problem: Problem, S: Spectrum) -> None:
    """In Python mode and compiled as PyTensor does by default (numba): dense density, 1e-8."""
    rng = np.random.default_rng(1)
    same = covariance(rng, 3)
    where = [(covariance(rng, 3), covariance(rng, 3)) for _ in range(5)]
    where += [(correlated(3, 1 - 1e-8), same), (same, 2 * same), (0 * same, same)]
    Y, B = traits(problem, 3, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba cannot cache what pytest rewrites
        inputs = [pt.dmatrix(), pt.dvector(), pt.dmatrix(), pt.dmatrix()]
        logp = CompiledLogp("traits", 3)(*inputs, *map(pt.constant, S.arrays))[0]
        outputs = [logp, *pt.grad(1.5 * logp**2, inputs[1:])]
        function = pytensor.function(inputs, outputs, mode=mode)
        found = [function(S.rotate(Y), stacked(B), G, R) for G, R in where]
    expected = dense(Y, problem.X, problem.K, B, where)
    assert relative([f[0] for f in found], expected[0]) < 1e-8
    slopes = [stacked(dB) for dB in expected[1]], *expected[2:]
    for k, slope in enumerate(slopes, start=1):
        wanted = [3 * logp * one for logp, one in zip(expected[0], slope, strict=True)]
        assert relative([f[k] for f in found], wanted) < 1e-6


def test_shapes_are_known_without_computing() -> None:
    op = CompiledLogp("traits", 3)
    moving = [pt.dmatrix(), pt.dvector(), pt.dmatrix(), pt.dmatrix()]
    node = op(*moving, *[pt.dvector()] * 2, *[pt.dmatrix()] * 3)[0].owner
    shapes = [(9, 2), ("2p",), (2, 2), (2, 2)]
    assert op.infer_shape(node, shapes) == [(), *shapes[1:]]


def lkj(problem: Problem, S: Spectrum, T: int) -> pm.Model:
    """T traits with LKJ priors for both correlations."""
    Y, B = traits(problem, T, seed=3)
    coords = {"individual": [f"i{k}{t}" for t in range(T) for k in range(S.n)]}
    with pm.Model(coords=coords) as model:
        beta = pm.Normal("beta", stacked(B), 1.0, shape=B.size)
        covariances = []
        for name in ("genetic", "residual"):
            sd = pm.HalfNormal.dist(2.0, shape=T)
            L, _, _ = pm.LKJCholeskyCov(name, n=T, eta=1.0, sd_dist=sd)
            covariances.append(L @ L.T)
        multi_trait_normal("phenotype", beta, *covariances, spectrum=S, observed=stacked(Y))
    return model


@pytest.fixture(scope="module")
def model(problem: Problem, S: Spectrum) -> pm.Model:
    return lkj(problem, S, 2)


def dense_density(problem: Problem, y: Any, beta: Any, G: Any, R: Any) -> float:
    """log N(y; (I ⊗ X)β, G ⊗ K + R ⊗ I) in extended precision."""
    n, T = problem.y.size, len(G)
    kernels = [np.kron(G, problem.K), np.kron(R, np.eye(n))]
    X = np.kron(np.eye(T), problem.X)
    return float(log_normal_density(y, X, kernels, beta[None], [[1.0, 1.0, 0.0]])[0][0])


def test_pymcs_density_and_gradient(model: pm.Model, problem: Problem) -> None:
    """LKJ factors and effects in, the dense density out; slopes by central differences, 1e-6."""
    inputs = model.value_vars
    logp = model.logp(vars=model.observed_RVs)
    function = pytensor.function(inputs, [logp, *pt.grad(logp, inputs)], mode=PYTHON)
    factors = model.replace_rvs_by_values([model["genetic"], model["residual"]])
    unpack = pytensor.function(inputs, factors, on_unused_input="ignore", mode=PYTHON)
    rng = np.random.default_rng(4)
    for _ in range(3):
        beta = stacked(traits(problem, 2, seed=5)[1])
        point = [beta, *(0.5 * rng.standard_normal((2, 3)))]
        value, *slopes = function(*point)
        G, R = (unpacked(packed) for packed in unpack(*point))
        y = model["phenotype_observed"].get_value()
        assert value == pytest.approx(dense_density(problem, y, beta, G, R), rel=1e-10)
        for k, slope in enumerate(slopes):
            step = 1e-5 * rng.standard_normal(slope.shape) / (1 if k else 1e3)
            ends = []
            for sign in (1, -1):
                moved = list(point)
                moved[k] = point[k] + sign * step
                ends.append(function(*moved)[0])
            assert (ends[0] - ends[1]) / 2 == pytest.approx(slope @ step, rel=1e-5, abs=1e-10)


def unpacked(packed: Any) -> Any:
    """LLᵀ of a packed lower triangle."""
    L = np.zeros((2, 2))
    L[np.tril_indices(2)] = packed
    return L @ L.T


def test_the_density_of_any_y_and_of_the_models_own(
    model: pm.Model, problem: Problem, S: Spectrum
) -> None:
    """The model's y is rotated once and kept; any other value is rotated in the graph."""
    value, beta = pt.dvector(), pt.dvector()
    G, R = pt.dmatrix(), pt.dmatrix()
    rng = pt.random.shared_rng(seed=None)
    alone = two_traits(S)
    _, rv = MarginalRV(Handle(alone))(beta, G, R, rng=rng, return_next_rng=True)
    other = pytensor.function([value, beta, G, R], pm.logp(rv, value), mode=PYTHON)
    logp = model.logp(vars=model.observed_RVs)
    own = pytensor.function(model.value_vars, logp, mode=PYTHON)
    kept = model["phenotype_observed"].get_value()
    zero = np.zeros(3)
    b = stacked(traits(problem, 2, seed=6)[1])
    for y in (kept, kept[::-1].copy(), kept):
        set_phenotype(model, y)
        one = np.eye(2)  # the factors at a log-diagonal of zero
        expected = dense_density(problem, y, b, one, one)
        assert other(y, b, one, one) == pytest.approx(expected, rel=1e-10)
        assert own(b, zero, zero) == pytest.approx(expected, rel=1e-10)


def test_what_the_model_knows_of_its_data(model: pm.Model, problem: Problem, S: Spectrum) -> None:
    marginal = marginal_of(model)
    assert isinstance(marginal, KernelMarginal)
    assert marginal.nodes is S
    assert marginal.effect_names == ("additive:1", "additive:2")
    np.testing.assert_allclose(
        marginal.design, np.kron(np.eye(2), problem.X), rtol=1e-10, atol=1e-9
    )
    assert marginal.trait_index.tolist() == [0] * S.n + [1] * S.n
    assert model.named_vars_to_dims["phenotype"] == ("individual",)
    rotated = model["phenotype_rotated"].get_value()
    y = model["phenotype_observed"].get_value()
    np.testing.assert_allclose(S.unrotate(rotated), y.reshape(2, -1).T, rtol=1e-12)


@pytest.mark.parametrize("shape", [(15,), (0,), (16, 2)])
def test_incomplete_traits_are_refused(S: Spectrum, shape: tuple[int, ...]) -> None:
    parameters = (np.zeros(8), np.eye(2), np.eye(2))
    with pm.Model(), pytest.raises(InputError, match="all values of trait 1"):
        multi_trait_normal("y", *parameters, spectrum=S, observed=np.zeros(shape), dims=None)


# Random draws are affine in standard normal numbers, which gives their moments without sampling


@pytest.mark.parametrize("name", ["uncentred GRM, 4 covariates", "tutorial"])
def test_mean_and_covariance_of_draws(name: str) -> None:
    problem = problems()[name]
    S = decompose(problem.kernel, problem.X)
    _, B = traits(problem, 2, seed=7)
    rng = np.random.default_rng(8)
    G, R = correlated(2, -1.0), covariance(rng, 2)
    marginal = two_traits(S)
    variable = MarginalRV(Handle(marginal))
    mean, V = moments(lambda rng: variable.rng_fn(rng, stacked(B), G, R, None))
    expected = np.kron(G, problem.kernel) + np.kron(R, np.eye(S.n))
    np.testing.assert_allclose(mean, stacked(problem.X @ B), rtol=0, atol=1e-10 * abs(mean).max())
    np.testing.assert_allclose(V, expected, rtol=0, atol=1e-10 * expected.max())
    one, other = np.random.default_rng(9), np.random.default_rng(9)
    found = variable.rng_fn(one, stacked(B), G, R, (3,))
    assert found.shape == (3, 2 * S.n)
    singles = [variable.rng_fn(other, stacked(B), G, R, None) for _ in range(3)]
    np.testing.assert_allclose(found, singles, rtol=1e-9)


def test_a_batch_of_parameters_gives_a_batch_of_phenotypes(S: Spectrum, problem: Problem) -> None:
    """No variance leaves Xβ: which β belongs to which draw is seen exactly."""
    betas = np.arange(16.0).reshape(2, 1, 8)
    zero = np.zeros((3, 2, 2))
    rng = np.random.default_rng(9)
    marginal = two_traits(S)
    found = MarginalRV(Handle(marginal)).rng_fn(rng, betas, zero, zero[0], None)
    assert found.shape == (2, 3, 2 * S.n)
    expected = betas @ np.kron(np.eye(2), problem.X).T * np.ones((2, 3, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)


def test_the_prior_predictive_has_the_shape_of_y(problem: Problem, S: Spectrum) -> None:
    """Each draw of y belongs to its own parameters: nearly without variance, its own Xβ."""
    Y, _ = traits(problem, 2, seed=10)
    coords = {"individual": [f"i{k}{t}" for t in range(2) for k in range(S.n)]}
    with pm.Model(coords=coords) as model:
        beta = pm.Normal("beta", 0.0, 1.0, shape=8)
        small = 1e-12 * pm.HalfNormal("scale", 1.0) * pt.eye(2)
        data = {"spectrum": S, "observed": stacked(Y)}
        multi_trait_normal("phenotype", beta, small, small, **data)
    quiet = {"random_seed": 10, "compile_kwargs": {"mode": PYTHON}}
    prior = pm.sample_prior_predictive(draws=20, model=model, **quiet)
    y = prior["prior_predictive"]["phenotype"]
    assert y.dims == ("chain", "draw", "individual")
    expected = prior["prior"]["beta"].values[0] @ np.kron(np.eye(2), problem.X).T
    np.testing.assert_allclose(y.values[0], expected, atol=1e-4)
