"""Functions of a model's graph: both modes give the same numbers, whatever is called at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest

from bayeslmm.inference.compiled import (
    OFTEN,
    ONCE,
    compile_function,
    evaluator,
    lean,
    log_densities_of,
    shape_of,
)


@pytest.fixture
def model() -> pm.Model:
    """Two variances whose priors depend on data, and coefficients."""
    # Doubles, because PyTensor takes a plain 2.0 as float32.
    with pm.Model(coords={"covariate": ["a", "b"]}) as built:
        unit = pm.Data("unit", 2.0)
        pm.Beta("h2", np.float64(2), np.float64(5))
        pm.HalfStudentT("sd", np.float64(3), unit)
        pm.Normal("beta", np.float64(0), unit, dims="covariate")
    return built


@pytest.mark.parametrize("mode", [ONCE, OFTEN], ids=["once", "often"])
def test_the_log_prior_is_scipys_with_the_jacobian_of_the_transforms(model, mode) -> None:
    from scipy import stats
    from scipy.special import expit

    values = [model.rvs_to_values[model[name]] for name in ("h2", "sd")]
    terms = log_densities_of(model, [model["h2"], model["sd"]], jacobian=True)
    function = compile_function(values, [model["unit"]], terms, mode)
    for u, v, unit in ((-20.0, 0.3, 1.5), (0.4, -2.0, 1.5), (10.0, 1.0, 0.2)):
        h2, sd = expit(u), np.exp(v)
        prior = stats.beta.logpdf(h2, 2, 5) + np.log(h2) + np.log(expit(-u))
        scale = np.log(2) + stats.t.logpdf(sd, 3, scale=unit) + v
        # 1 - h² loses four digits at logit h² = 10, in PyMC's density too
        assert function(u, v, unit) == pytest.approx([prior, scale], rel=1e-8)


def test_a_vector_counts_as_one_variable_and_may_be_without_jacobian(model) -> None:
    (term,) = log_densities_of(model, [model["beta"]], jacobian=False)
    value = model.rvs_to_values[model["beta"]]
    found = evaluator([value], term)(np.array([0.5, -1.0]))
    assert found == pytest.approx(-np.log(2 * np.pi * 4) - 1.25 / 8, rel=1e-14)


def test_an_input_that_is_not_used_is_no_error() -> None:
    x, y = pt.dscalars("xy")
    assert evaluator([x, y], x + 1)(2.0, 3.0) == 3.0


def test_a_shape_follows_the_data(model) -> None:
    assert shape_of(model["h2"]) == ()
    assert shape_of(model["beta"]) == (2,)
    with pm.Model():
        mean = pm.Data("mean", np.zeros(3))
        rv = pm.Normal("x", mean)
        mean.set_value(np.zeros(5))
        flat = pm.Flat("flat", shape=mean.shape)  # cannot be drawn
    assert shape_of(rv) == shape_of(flat) == (5,)


def test_a_batch_of_a_deterministic_is_no_loop_in_python() -> None:
    from pytensor.graph.replace import vectorize_graph
    from pytensor.tensor.blockwise import Blockwise

    with pm.Model():
        x = pm.Normal("x", shape=3)
        twice = pm.Deterministic("twice", 2.0 * x)
    points = pt.dmatrix()
    function = evaluator([points], vectorize_graph(twice, {x: points}))
    assert not any(isinstance(n.op, Blockwise) for n in function.maker.fgraph.apply_nodes)
    values = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(function(values), 2.0 * values)


def test_threads_may_call_one_function_at_once() -> None:
    x = pt.dvector()
    function = compile_function([x], [], [pt.exp(x) + x])
    points = [np.full(1000, float(i)) for i in range(64)]
    with ThreadPoolExecutor(4) as pool:
        for point, (found,) in zip(points, pool.map(function, points), strict=True):
            np.testing.assert_allclose(found, np.exp(point) + point, rtol=1e-14)


def test_nodes_built_here_carry_no_trace_and_flags_come_back() -> None:
    x = pt.dscalar()
    with pytensor.config.change_flags(traceback__limit=8):
        assert (x + 1.0).tag.trace
        assert not lean(lambda: x + 1.0)().tag.trace
        with pytest.raises(ZeroDivisionError):
            lean(lambda: 1 // 0)()
        assert pytensor.config.traceback__limit == 8


def test_two_threads_that_build_at_once_leave_the_flags() -> None:
    """Without a lock the second takes the flags of the first for the user's, and leaves them."""
    first, second, ended = Event(), Event(), Event()

    @lean
    def begin() -> None:
        first.set()
        second.wait(0.3)
        ended.set()

    with pytensor.config.change_flags(traceback__limit=8), ThreadPoolExecutor(2) as pool:
        one = pool.submit(begin)
        assert first.wait(10)
        other = pool.submit(lean(lambda: (second.set(), ended.is_set())))
        assert other.result()[1]  # it has waited for the first
        one.result()
        assert pytensor.config.traceback__limit == 8
