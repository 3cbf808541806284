"""PyMC's view of the likelihood: density, gradient, random draws, the latent form."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from affine import moments
from kernel_problems import Problem, dense_problem, problems
from oracles import LONG, cholesky, log_normal_density, relative, solve_lower
from pytensor.compile.mode import Mode

from bayeslmm.distributions.marginal import CompiledLogp, Handle, MarginalRV
from bayeslmm.distributions.phenotype import marginal_of, set_phenotype
from bayeslmm.distributions.polygenic import polygenic
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.genetic_values import draw_unit_genetic
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.pivoted import kernel_cholesky
from bayeslmm.likelihood.spectrum import Spectrum

PYTHON = Mode(linker="py", optimizer="fast_compile")  # compiles in a moment
COUPLED = "uncentred GRM, 4 covariates"


@pytest.fixture(scope="module")
def problem() -> Problem:
    return problems()[COUPLED]


@pytest.fixture(scope="module")
def S(problem: Problem) -> Spectrum:
    return decompose(problem.kernel, problem.X)


def one_trait(S: Spectrum) -> KernelMarginal:
    return KernelMarginal(S, 1, ("additive",), matrices=False)


def graph(S: Spectrum) -> tuple[list[Any], list[Any]]:
    """Inputs y rotated, β, variance; outputs log p and the gradient of 3 (log p)² / 2."""
    inputs = [pt.dvector(), pt.dvector(), pt.dvector()]
    logp = CompiledLogp("one_trait", 2)(*inputs, *map(pt.constant, S.arrays))[0]
    return inputs, [logp, *pt.grad(1.5 * logp**2, inputs[1:])]


@pytest.mark.parametrize("mode", [PYTHON, None], ids=["python", "numba"])
def test_the_node_and_its_pullback(mode: Any, problem: Problem, S: Spectrum) -> None:
    """In Python mode and compiled as PyTensor does by default (numba): dense density, 1e-8."""
    betas, variances = dense_problem(problem, seed=1, count=40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba cannot cache what pytest rewrites
        inputs, outputs = graph(S)
        function = pytensor.function(inputs, outputs, mode=mode)
        rotated = S.rotate(problem.y)
        found = [function(rotated, b, v) for b, v in zip(betas, variances, strict=True)]
    logp, d_beta, d_variance = log_normal_density(
        problem.y, problem.X, [problem.K], betas, variances
    )
    assert relative([f[0] for f in found], logp) < 1e-8
    assert relative([f[1] for f in found], 3 * logp[:, None] * d_beta) < 1e-6
    assert relative([f[2] for f in found], 3 * logp[:, None] * d_variance) < 1e-6


def test_shapes_are_known_without_computing() -> None:
    op = CompiledLogp("one_trait", 2)
    node = op(*[pt.dvector()] * 5, *[pt.dmatrix()] * 3)[0].owner
    assert op.infer_shape(node, [(9,), ("p",), (2,)]) == [(), ("p",), (2,)]


@pytest.fixture(scope="module")
def model(problem: Problem, S: Spectrum) -> pm.Model:
    with pm.Model(coords={"individual": [f"i{k}" for k in range(S.n)]}) as model:
        beta = pm.Normal("beta", [30.0, 0.0, 0.0, 1.0], [1.0, 1e-3, 1.0, 1.0], shape=4)
        variance = pm.Gamma("variance", 20.0, 10.0, shape=2)
        spectral_normal("phenotype", beta, variance, spectrum=S, observed=problem.y)
    return model


def test_the_density_of_any_y_and_of_the_models_own(
    model: pm.Model, problem: Problem, S: Spectrum
) -> None:
    """The model's y is rotated once and kept; any other value is rotated in the graph."""
    value, beta, variance = pt.dvector(), pt.dvector(), pt.dvector()
    rng = pt.random.shared_rng(seed=None)
    alone = one_trait(S)
    _, rv = MarginalRV(Handle(alone))(beta, variance, rng=rng, return_next_rng=True)
    other = pytensor.function([value, beta, variance], pm.logp(rv, value), mode=PYTHON)
    names = {v.name: v for v in model.value_vars}
    own = pytensor.function(list(names.values()), model.logp(vars=model.observed_RVs), mode=PYTHON)
    b, v = np.array([31.0, 1e-3, 0.2, 0.5]), np.array([1.5, 0.8])
    y = problem.y
    for trait in (y, np.sqrt(y), y):
        set_phenotype(model, trait)
        parts = (trait, problem.X, [problem.K], b[None], v[None])
        expected = float(log_normal_density(*parts)[0][0])
        assert other(trait, b, v) == pytest.approx(expected, rel=1e-10)
        assert own(b, np.log(v)) == pytest.approx(expected, rel=1e-10)


def test_what_the_model_knows_of_its_data(model: pm.Model, problem: Problem, S: Spectrum) -> None:
    marginal = marginal_of(model)
    assert isinstance(marginal, KernelMarginal)
    assert marginal.spectrum is S
    assert marginal.effect_names == ("additive",)
    np.testing.assert_allclose(marginal.design, problem.X, rtol=1e-10, atol=1e-9)
    rotated = model["phenotype_rotated"].get_value()
    np.testing.assert_allclose(S.unrotate(rotated), problem.y, rtol=1e-12)
    op = model["phenotype"].owner.op
    assert (op.name, op.signature) == ("spectral_normal", "(p),(c)->(n)")


# Random draws: sums of normal variables are judged by their own standard errors. All seeds are
# fixed; 4.5 standard errors leave a chance of 1e-3 over about 150 comparisons when choosing one.


@pytest.mark.parametrize("name", [COUPLED, "fewer variants than individuals", "tutorial"])
def test_mean_and_covariance_of_draws(name: str) -> None:
    problem = problems()[name]
    S = decompose(problem.kernel, problem.X)
    beta = np.linalg.lstsq(problem.X, problem.y, rcond=None)[0]
    variance = np.array([1.7, 0.4])
    marginal = one_trait(S)
    variable = MarginalRV(Handle(marginal))
    mean, V = moments(lambda rng: variable.rng_fn(rng, beta, variance, None))
    expected = variance[0] * problem.kernel + variance[1] * np.eye(S.n)
    np.testing.assert_allclose(mean, problem.X @ beta, rtol=0, atol=1e-10 * np.abs(mean).max())
    np.testing.assert_allclose(V, expected, rtol=0, atol=1e-10 * expected.max())
    one, other = np.random.default_rng(11), np.random.default_rng(11)
    found = variable.rng_fn(one, beta, variance, (3,))
    assert found.shape == (3, S.n)
    singles = [variable.rng_fn(other, beta, variance, None) for _ in range(3)]
    np.testing.assert_allclose(found, singles, rtol=1e-9)


def test_draws_without_noise_have_the_covariance_of_the_kernel(
    problem: Problem, S: Spectrum
) -> None:
    mean, V = moments(lambda rng: S.basis.columns @ draw_unit_genetic(S, rng))
    np.testing.assert_array_equal(mean, 0.0)
    np.testing.assert_allclose(V, problem.kernel, rtol=0, atol=1e-10 * problem.kernel.max())
    assert draw_unit_genetic(S, np.random.default_rng(12), 5).shape == (5, S.n)
    assert draw_unit_genetic(S, np.random.default_rng(12)).shape == (S.n,)


def test_a_batch_of_parameters_gives_a_batch_of_phenotypes(S: Spectrum, problem: Problem) -> None:
    """σ² = 0 leaves Xβ: which β belongs to which draw is seen exactly."""
    betas = np.arange(8.0).reshape(2, 1, 4)
    marginal = one_trait(S)
    rng = np.random.default_rng(13)
    found = MarginalRV(Handle(marginal)).rng_fn(rng, betas, np.zeros((3, 2)), None)
    assert found.shape == (2, 3, S.n)
    expected = (betas @ problem.X.T)[:, :, :] * np.ones((2, 3, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)
    with pytest.raises(np.linalg.LinAlgError, match="not positive semidefinite"):
        MarginalRV(Handle(marginal)).rng_fn(rng, betas[0, 0], np.array([1.0, -1e-3]), None)


def white(problem: Problem, y: Any, beta: Any, variance: Any) -> Any:
    """L⁻¹(y - Xβ): independent standard normal if y came from β and the variances."""
    residual = np.asarray(y - beta @ problem.X.T, dtype=LONG)
    V = variance[:, 0, None, None] * problem.K + variance[:, 1, None, None] * np.eye(y.shape[1])
    return np.asarray(solve_lower(cholesky(V), residual[..., None])[..., 0], dtype=float)


def check_white(z: Any) -> None:
    """Mean and covariance of rows (draws, n) against N(0, I), in standard errors."""
    count, n = z.shape
    error = (z.T @ z / count - np.eye(n)) / np.sqrt((1 + np.eye(n)) / count)
    assert np.abs(z.mean(axis=0)).max() < 4.5 / np.sqrt(count)
    assert np.abs(error).max() < 4.5


def test_prior_and_posterior_predictive_samples(model: pm.Model, problem: Problem) -> None:
    """Each draw of y belongs to its own β and variances."""
    quiet = {"random_seed": 14, "compile_kwargs": {"mode": PYTHON}}
    prior = pm.sample_prior_predictive(draws=400, model=model, **quiet)
    y = prior["prior_predictive"]["phenotype"]
    assert y.dims == ("chain", "draw", "individual")
    assert list(y.coords["individual"].values[:2]) == ["i0", "i1"]
    parameters = prior["prior"].to_dataset()
    beta, variance = parameters["beta"].values[0], parameters["variance"].values[0]
    check_white(white(problem, y.values[0], beta, variance))
    posterior = xr.Dataset(
        {
            "beta": (("chain", "draw", "beta_dim_0"), beta[None, ::-1]),
            "variance": (("chain", "draw", "variance_dim_0"), variance[None, ::-1]),
        },
        coords={"chain": [0], "draw": np.arange(400)},
    )
    tree = xr.DataTree.from_dict({"posterior": posterior})
    found = pm.sample_posterior_predictive(tree, model=model, progressbar=False, **quiet)
    again = found["posterior_predictive"]["phenotype"].values[0]
    check_white(white(problem, again, beta[::-1], variance[::-1]))


# The latent form


@pytest.mark.parametrize("name", problems())
def test_the_factor_of_any_kernel_gives_it_back(name: str) -> None:
    K = problems()[name].kernel
    L = kernel_cholesky(K)
    assert L.shape == (K.shape[0], np.linalg.matrix_rank(K, tol=1e-9))
    np.testing.assert_allclose(L @ L.T, K, atol=1e-10 * K.max())


def test_the_factor_of_an_indefinite_kernel_follows_the_policy_of_the_spectrum() -> None:
    """Pivoted Cholesky stops at the first pivot that is not positive, and says nothing."""
    rng = np.random.default_rng(15)
    Q = np.linalg.qr(rng.standard_normal((12, 12)))[0]

    def kernel(smallest: float) -> Any:
        return (Q * np.append(np.linspace(0.2, 2.0, 11), smallest)) @ Q.T

    for small in (-1e-8, -0.01):
        expected = kernel(0.0)
        if small == -0.01:
            with pytest.warns(BayesLMMWarning, match="negative eigenvalues down to"):
                L = kernel_cholesky(kernel(small))
        else:
            L = kernel_cholesky(kernel(small))
        np.testing.assert_allclose(L @ L.T, expected, atol=1e-7)
    with pytest.raises(InputError, match="positive semidefinite"):
        kernel_cholesky(kernel(-0.1))
    with pytest.raises(InputError, match="positive semidefinite"):
        kernel_cholesky(np.array([[0.0, 1.0], [1.0, 0.0]]))


def test_a_singular_kernel_rounded_to_float32() -> None:
    rng = np.random.default_rng(16)
    Z = rng.standard_normal((60, 10))
    K = (Z @ Z.T / 10).astype(np.float32).astype(np.float64)
    L = kernel_cholesky(K)
    np.testing.assert_allclose(L @ L.T, K, atol=1e-6)


def test_polygenic_is_the_root_of_the_variance_times_the_factor_times_z() -> None:
    L = kernel_cholesky(problems()["tutorial"].kernel)
    with pm.Model(coords={"individual": range(5)}) as model:
        g = polygenic("g", pt.constant(4.0), L)
    assert g.tag.factor is L
    assert model.named_vars_to_dims["g"] == ("individual",)
    z = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(g.eval({model["g_z"]: z}, mode=PYTHON), 2.0 * L @ z)
