"""The random variable behind every density: weak references, any value of y, names in print."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from kernel_problems import Problem, problems
from pytensor.compile.mode import Mode
from scipy.stats import multivariate_normal

from bayeslmm.distributions.marginal import (
    CompiledLogp,
    Handle,
    Logp,
    MarginalLogp,
    MarginalRV,
    RotatedValue,
)
from bayeslmm.distributions.phenotype import require_marginal
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.errors import ModelError
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.spectrum import Spectrum

PYTHON = Mode(linker="py", optimizer="fast_compile")


@pytest.fixture(scope="module")
def problem() -> Problem:
    return problems()["pedigree"]


@pytest.fixture(scope="module")
def S(problem: Problem) -> Spectrum:
    return decompose(problem.kernel, problem.X)


def one_trait(S: Spectrum) -> KernelMarginal:
    return KernelMarginal(S, 1, ("additive",), matrices=False)


def several(S: Spectrum, T: int) -> KernelMarginal:
    return KernelMarginal(S, T, tuple(map(str, range(T))), matrices=True)


def test_a_handle_is_weak_and_equal_to_itself_alone(S: Spectrum) -> None:
    marginal = one_trait(S)
    handle, other = Handle(marginal), Handle(marginal)
    assert handle() is marginal
    assert handle == handle
    assert handle != other
    assert handle != handle.number
    assert len({handle, other}) == 2
    del marginal
    gc.collect()
    with pytest.raises(ModelError, match="the model of this variable is gone -> keep a reference"):
        handle()


def test_a_density_goes_with_its_model(problem: Problem) -> None:
    """Although PyTensor keeps the operations of every graph that it has rewritten."""

    def build() -> tuple[Any, pm.Model]:
        with pm.Model() as model:
            beta = pm.Normal("beta", 0.0, 10.0, shape=2)
            variance = pm.HalfNormal("variance", 1.0, shape=2)
            S = decompose(problem.kernel, problem.X)
            own = {"spectrum": S, "observed": problem.y, "dims": None}
            spectral_normal("phenotype", beta, variance, **own)
        function = pytensor.function(
            model.value_vars, [model.logp(), *pt.grad(model.logp(), model.value_vars)], mode=PYTHON
        )
        assert np.isfinite(function(np.zeros(2), np.zeros(2))[0])
        return function, model

    function, model = build()
    gone = weakref.ref(require_marginal(model).spectrum)
    assert gone() is not None
    del function, model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("T", [1, 2])
def test_any_value_of_y_is_rotated_in_the_graph(T: int, S: Spectrum, problem: Problem) -> None:
    marginal = several(S, T)
    y = np.random.default_rng(1).standard_normal((3, marginal.n))
    value = pt.dvector()
    rotate = pytensor.function([value], RotatedValue(Handle(marginal))(value), mode=PYTHON)
    for one in y:
        np.testing.assert_array_equal(rotate(one), marginal.rotate(one))
    beta, G, R = np.zeros(marginal.p), np.eye(T), 0.5 * np.eye(T)
    rng = pt.random.shared_rng(seed=None)
    _, rv = MarginalRV(Handle(marginal))(beta, G, R, rng=rng, return_next_rng=True)
    V = np.kron(G, problem.kernel) + np.kron(R, np.eye(S.n))
    found = pytensor.function([value], pm.logp(rv, value), mode=PYTHON)
    for one in y:
        assert found(one) == pytest.approx(multivariate_normal(None, V).logpdf(one), rel=1e-10)


def test_the_compiled_density_is_the_verb(S: Spectrum, problem: Problem) -> None:
    """One trait and several, by constants of the graph or by the density: the same numbers."""
    rng = np.random.default_rng(2)
    for marginal, c in (
        (one_trait(S), [np.array([0.7, 0.4])]),
        (several(S, 2), [np.eye(2) + 0.3, 0.5 * np.eye(2)]),
    ):
        name, arrays = marginal.compiled
        rotated = marginal.rotate(rng.standard_normal(marginal.n))
        moving = [rotated, rng.standard_normal(marginal.p), *c]
        inputs = [pt.tensor(dtype="float64", shape=(None,) * x.ndim) for x in moving]
        compiled = CompiledLogp(name, len(moving) - 1)(*inputs, *map(pt.constant, arrays))
        called = MarginalLogp(Handle(marginal))(*inputs)
        found = pytensor.function(inputs, [*compiled, *called], mode=PYTHON)(*moving)
        for a, b in zip(found[: len(moving)], found[len(moving) :], strict=True):
            np.testing.assert_array_equal(a, b)


def test_operations_are_merged_where_they_are_the_same(S: Spectrum) -> None:
    assert CompiledLogp("one_trait", 2) == CompiledLogp("one_trait", 2)
    assert CompiledLogp("one_trait", 2) != CompiledLogp("traits", 3)
    marginal = one_trait(S)
    handle = Handle(marginal)
    assert MarginalLogp(handle) == MarginalLogp(handle)
    assert MarginalLogp(handle) != MarginalLogp(Handle(marginal))


def test_names_and_arguments_in_print(S: Spectrum) -> None:
    marginal, two = one_trait(S), several(S, 2)
    op = MarginalRV(Handle(marginal))
    assert op._print_name == ("SpectralNormal", r"\operatorname{SpectralNormal}")
    assert op.signature == "(p),(c)->(n)"
    op = MarginalRV(Handle(two))
    assert op._print_name[0] == "MultiTraitNormal"
    assert op.signature == "(b),(t,t),(t,t)->(m)"
    assert (MarginalLogp(Handle(marginal)).arguments, MarginalLogp(Handle(two)).arguments) == (2, 3)


def test_a_density_without_a_formula_is_no_density() -> None:
    with pytest.raises(TypeError, match="implemented by subclasses"):
        Logp().evaluate(np.zeros(1))
