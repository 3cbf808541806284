"""Functions of a model's graph, run by PyTensor's Python linker on large arrays.

A Bayesian fit on the exact path calls most of them once. Rewriting a graph takes 10 to 100 ms and
then halves the time of a call (0.6 to 0.2 ms for the log prior of a variance), so only functions
that are called hundreds of times are rewritten, and graphs that draw: distributions built of others
are put in their place by rewriting, and compiled as functions of their own without it. Both modes
give the same numbers but for the last bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode
from pytensor.compile.ops import ViewOp
from pytensor.graph.replace import _vectorize_node

OFTEN = Mode(linker="py", optimizer="fast_compile")  # called hundreds of times, or drawing
ONCE = Mode(linker="py", optimizer=None)  # called once or a few times


def _vectorize_view(op: ViewOp, node: Any, batch: Any) -> Any:
    """Let `vectorize_graph` take a `pm.Deterministic`, a view of its value, for a view of a batch.

    PyTensor 3 would loop over the batch in Python, which took two thirds of an exact fit.
    """
    return op.make_node(batch).outputs


_vectorize_node.register(ViewOp, _vectorize_view)


_BUILDING = threading.RLock()  # the flags are the whole process's


def lean[**P, R](build: Callable[P, R]) -> Callable[P, R]:
    """Let a function build and compile graphs without a C compiler and without stack traces.

    PyTensor compiles C code for a graph inside a node (softmax), even for its Python linker: 0.3 s
    of g++ for every kind of node in it, 8 s for the first model of two kernels on a new machine.
    The traces name the lines that made a node; all nodes here are made by this package, and the
    traces took a tenth to a quarter of the time to split a model. One thread builds at a time, so
    that each finds the user's flags and leaves them.
    """

    @wraps(build)
    def built(*args: P.args, **kwargs: P.kwargs) -> R:
        with _BUILDING, pytensor.config.change_flags(cxx="", traceback__limit=0):
            return build(*args, **kwargs)

    return built


@lean
def evaluator(inputs: Sequence[Any], outputs: Any, mode: Mode = ONCE) -> Callable[..., Any]:
    """Return a function of `inputs`, some of which the `outputs` may not use."""
    function: Callable[..., Any] = pytensor.function(
        list(inputs), outputs, mode=mode, on_unused_input="ignore"
    )
    return function


@lean
def compile_function(
    inputs: list[Any], shared: list[Any], outputs: list[Any], mode: Mode = ONCE
) -> Callable[..., list[Any]]:
    """Return a function of `inputs` and of the values of the shared data, safe between threads."""
    stand_ins = [pt.tensor(dtype=v.dtype, shape=v.type.shape) for v in shared]
    function = pytensor.function(
        [*inputs, *stand_ins],
        outputs,
        givens=dict(zip(shared, stand_ins, strict=True)),
        mode=mode,
        on_unused_input="ignore",
    )
    lock = threading.Lock()

    def call(*arguments: Any) -> list[Any]:
        with lock:
            return [np.array(value, dtype=np.float64) for value in function(*arguments)]

    return call


def log_densities_of(model: pm.Model, variables: Sequence[Any], *, jacobian: bool) -> list[Any]:
    """Return log p of each variable, summed over its entries; with log |dx/du| if `jacobian`."""
    found = model.logp(vars=list(variables), jacobian=jacobian, sum=False)
    return [pt.sum(value) for value in found]


@lean
def shape_of(variable: Any) -> tuple[int, ...]:
    """Return the shape of a random variable with its data as they are now.

    Rewriting infers it without drawing the variable, since a flat prior cannot be drawn.
    """
    known = variable.type.shape
    found = variable.shape.eval(mode=OFTEN) if None in known else known
    return tuple(int(size) for size in found)
