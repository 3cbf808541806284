"""PyMC's view of several kernels: density, gradient, random draws, the exchange of y."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from affine import moments
from numpy.typing import NDArray
from oracles import log_normal_density, relative
from pytensor.compile.mode import Mode

from bayeslmm.distributions.dense_normal import dense_normal
from bayeslmm.distributions.marginal import Handle, MarginalLogp, MarginalRV
from bayeslmm.distributions.phenotype import marginal_of, set_phenotype
from bayeslmm.likelihood.dense import dense_form
from bayeslmm.likelihood.dense_marginal import DenseMarginal
from bayeslmm.likelihood.terms import Covariance, Term, simple_term

type Floats = NDArray[np.float64]

PYTHON = Mode(linker="py", optimizer="fast_compile")
N, P = 12, 2


@cache
def terms() -> tuple[Term, ...]:
    """A kernel of the records; two effects of six levels."""
    rng = np.random.default_rng(1)
    Z, B = rng.standard_normal((N, 20)), rng.standard_normal((6, 8))
    levels, weights = rng.integers(0, 6, (N, 2)), rng.standard_normal((N, 2))
    return (
        simple_term("one", Z @ Z.T / 20, np.arange(N)),
        Term("two", ("a", "b"), B @ B.T / 8, levels, weights),
    )


CLASSES = np.arange(N) % 2
C = np.array([0.8, 1.2, 0.3, 0.5, 0.7, 1.4])


@cache
def data() -> tuple[Floats, Floats, Floats]:
    """X, y, β."""
    rng = np.random.default_rng(2)
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    return X, 5 + rng.standard_normal(N), np.array([5.0, 0.3])


@cache
def marginal() -> DenseMarginal:
    return DenseMarginal(dense_form(Covariance(terms(), CLASSES), data()[0]))


def dense(y: Floats, beta: Any, c: Any) -> tuple[Any, Any, Any]:
    """log p and gradient in extended precision, for many (β, c)."""
    matrices = list(Covariance(terms(), CLASSES).matrices())
    c = np.atleast_2d(c)
    with_none = np.column_stack([c, np.zeros(len(c))])
    logp, d_beta, d_c = log_normal_density(y, data()[0], matrices, np.atleast_2d(beta), with_none)
    return logp, d_beta, d_c[:, :-1]


def points(count: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(3)
    beta = data()[2] + rng.standard_normal((count, P))
    return beta, C * rng.uniform(0.9, 1.1, (count, C.size))


@pytest.mark.parametrize("mode", [PYTHON, "NUMBA"], ids=["python", "numba"])
def test_the_node_and_its_pullback(mode: Any) -> None:
    """In Python mode and as nutpie compiles it (numba): density 1e-8, gradient 1e-6."""
    _, y, _ = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba cannot cache what pytest rewrites
        inputs = [pt.dvector(), pt.dvector(), pt.dvector()]
        logp = MarginalLogp(Handle(marginal()))(*inputs)[0]
        outputs = [logp, *pt.grad(1.5 * logp**2, inputs[1:])]
        function = pytensor.function(inputs, outputs, mode=mode)
        betas, cs = points(10)
        found = [function(marginal().rotate(y), b, c) for b, c in zip(betas, cs, strict=True)]
        outside = function(marginal().rotate(y), betas[0], -cs[0])
    expected = dense(y, betas, cs)
    assert relative([f[0] for f in found], expected[0]) < 1e-8
    for k in (1, 2):
        assert relative([f[k] for f in found], 3 * expected[0][:, None] * expected[k]) < 1e-6
    assert outside[0] == -np.inf


def test_shapes_are_known_without_computing() -> None:
    op = MarginalLogp(Handle(marginal()))
    node = op(*[pt.dvector()] * 3)[0].owner
    assert op.infer_shape(node, [(9,), ("p",), (6,)]) == [(), ("p",), (6,)]


def test_forms_of_their_own_are_operations_of_their_own() -> None:
    """PyTensor must not merge the nodes of two sets of matrices."""
    handle = Handle(marginal())
    other = DenseMarginal(dense_form(Covariance(terms(), CLASSES), data()[0]))
    assert MarginalLogp(handle) == MarginalLogp(handle)
    assert MarginalLogp(handle) != MarginalLogp(Handle(other))


@cache
def model() -> pm.Model:
    X, y, _ = data()
    with pm.Model(coords={"individual": [f"i{k}" for k in range(N)]}) as built:
        beta = pm.Normal("beta", 5.0, 1.0, shape=P)
        v = pm.Gamma("v", 20.0, 20.0, shape=5)
        r = pm.Uniform("r", -1.0, 1.0)
        cross = r * pt.sqrt(v[1] * v[2])
        S = pt.stack([pt.stack([v[1], cross]), pt.stack([cross, v[2]])])
        dense_normal("phenotype", beta, [v[0], S], v[3:], terms=terms(), classes=CLASSES,
                     design=X, observed=y)  # fmt: skip
    return built


def test_the_density_of_any_y_and_of_the_models_own() -> None:
    """The model's y is rotated once and kept; any other value is rotated in the graph."""
    value, beta, c = pt.dvector(), pt.dvector(), pt.dvector()
    rng = pt.random.shared_rng(seed=None)
    _, rv = MarginalRV(Handle(marginal()))(beta, c, rng=rng, return_next_rng=True)
    other = pytensor.function([value, beta, c], pm.logp(rv, value), mode=PYTHON)
    built = model()
    likelihood = built.logp(vars=built.observed_RVs)
    own = pytensor.function(built.value_vars, likelihood, mode=PYTHON)
    v, r, b = np.array([0.8, 1.2, 0.5, 0.7, 1.4]), 0.4, np.array([4.5, 0.3])
    c_value = np.array([v[0], v[1], r * np.sqrt(v[1] * v[2]), v[2], *v[3:]])
    y = built["phenotype_observed"].get_value()
    try:
        for trait in (y, np.exp(y / 5), y):
            set_phenotype(built, trait)
            expected = float(dense(trait, b, c_value)[0][0])
            assert other(trait, b, c_value) == pytest.approx(expected, rel=1e-10)
            assert own(b, np.log(v), np.log(0.7 / 0.3)) == pytest.approx(expected, rel=1e-10)
    finally:
        set_phenotype(built, y)


def test_what_the_model_knows_of_its_data() -> None:
    built, (X, y, _) = model(), data()
    one = marginal_of(built)
    assert isinstance(one, DenseMarginal)
    np.testing.assert_allclose(one.design, X, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(one.rotate(y), one.form.basis.T @ y, rtol=1e-12, atol=1e-12)
    assert (one.traits, one.trait_index.tolist()) == (1, [0] * N)
    assert built.named_vars_to_dims["phenotype"] == ("individual",)
    np.testing.assert_array_equal(built["phenotype_observed"].get_value(), y)
    several = DenseMarginal(dense_form(Covariance(terms()[:1], None), X))
    assert several.trait_index.tolist() == [0] * N


@pytest.mark.parametrize("residual", ["number", "vector"])
def test_one_class_of_the_residual_is_the_default(residual: str) -> None:
    X, y, b = data()
    with pm.Model() as built:
        e = pm.HalfNormal("e", 1.0, shape=() if residual == "number" else 1)
        dense_normal("phenotype", pt.constant(b), [np.float64(0.8)], e, terms=terms()[:1],
                     design=X, observed=y, dims=None)  # fmt: skip
    found = pytensor.function(
        built.value_vars, built.logp(vars=built.observed_RVs), mode=PYTHON
    )(np.zeros(() if residual == "number" else 1))  # fmt: skip
    expected = log_normal_density(y, X, [terms()[0].kernel], b[None], [[0.8, 1.0]])[0][0]
    assert found == pytest.approx(float(expected), rel=1e-10)


# Random draws are affine in standard normal numbers, which gives their moments without sampling


def test_mean_and_covariance_of_draws() -> None:
    X, _, b = data()
    density = marginal()
    variable = MarginalRV(Handle(density))
    mean, V = moments(lambda rng: variable.rng_fn(rng, b, C, None))
    np.testing.assert_allclose(mean, X @ b, rtol=1e-12, atol=1e-12)
    expected = Covariance(terms(), CLASSES).dense(C)
    np.testing.assert_allclose(V, expected, rtol=0, atol=1e-10 * expected.max())


def test_several_draws_are_single_draws_one_after_the_other() -> None:
    _, _, b = data()
    density = marginal()
    variable, one, other = MarginalRV(Handle(density)), *map(np.random.default_rng, (8, 8))
    found = variable.rng_fn(one, b, C, (3,))
    assert found.shape == (3, N)
    singles = [variable.rng_fn(other, b, C, None) for _ in range(3)]
    np.testing.assert_allclose(found, singles, rtol=1e-12)
    assert np.abs(found[0] - found[1]).min() > 0


def test_a_batch_of_parameters_gives_a_batch_of_phenotypes() -> None:
    """Next to no variance leaves Xβ: which β belongs to which draw is seen."""
    betas = np.arange(4.0).reshape(2, 1, 2)
    small = np.full((3, 6), 1e-20) * C
    found = MarginalRV(Handle(marginal())).rng_fn(np.random.default_rng(9), betas, small, None)
    assert found.shape == (2, 3, N)
    np.testing.assert_allclose(found, betas @ data()[0].T * np.ones((2, 3, 1)), atol=1e-8)
    with pytest.raises(np.linalg.LinAlgError, match="not positive semidefinite"):
        MarginalRV(Handle(marginal())).rng_fn(np.random.default_rng(9), betas[0, 0], -C, None)


def test_the_prior_predictive_has_the_shape_of_y() -> None:
    quiet = {"random_seed": 10, "compile_kwargs": {"mode": PYTHON}}
    prior = pm.sample_prior_predictive(draws=20, model=model(), **quiet)
    y = prior["prior_predictive"]["phenotype"]
    assert y.dims == ("chain", "draw", "individual")
    assert y.shape == (1, 20, N)
    assert np.isfinite(y.values).all()
