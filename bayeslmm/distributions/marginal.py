"""PyMC random variable and log density for every density of `bayeslmm.likelihood`.

An operation of a PyTensor graph exists as long as the process, because PyTensor caches rewritten
graphs. So operations hold weak references. The observed data of the model own the density with its
n × n arrays, which are freed together with the model. Other packages get the density from
`bayeslmm.distributions.phenotype` and do not inspect graphs themselves.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import (
    numba_njit,
    register_funcify_and_cache_key,
    register_funcify_default_op_cache_key,
)
from pytensor.tensor.random.op import RandomVariable

from bayeslmm.errors import ModelError
from bayeslmm.likelihood.one_kernel import spectral_logp
from bayeslmm.likelihood.traits import stacked_logp
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.likelihood.marginal import Marginal

COMPILED = {"one_trait": spectral_logp, "traits": stacked_logp}
_NUMBERS = itertools.count()


class Handle:
    """A weak reference to a density; two handles are never equal."""

    __slots__ = ("_reference", "number")

    def __init__(self, marginal: Marginal) -> None:
        self._reference = weakref.ref(marginal)
        self.number = next(_NUMBERS)

    def __call__(self) -> Marginal:
        """Return the density.

        Raises
        ------
        ModelError
            If the model that owned it no longer exists.
        """
        found = self._reference()
        if found is None:
            raise ModelError("the model of this variable is gone -> keep a reference to the model")
        return found

    def __hash__(self) -> int:
        return hash(self.number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other.number == self.number


class Logp(Op):
    """log p(y | β, c) as one node: (logp, ∂/∂β, ∂/∂c ...).

    The pullback of the first output uses the gradient outputs, so value and gradient cost one
    evaluation. Inputs: rotated y, β and every c, then constants.
    """

    arguments: int  # β and every c

    def make_node(self, *inputs: Any) -> Apply:
        """Make outputs for log p and, of the inputs' types, for ∂/∂β and each ∂/∂c."""
        inputs = tuple(pt.as_tensor(value).astype("float64") for value in inputs)
        moving = inputs[1 : 1 + self.arguments]
        outputs = [pt.tensor(dtype="float64", shape=(None,) * x.ndim) for x in moving]
        return Apply(self, list(inputs), [pt.dscalar(), *outputs])

    def evaluate(self, *inputs: Floats) -> tuple[Any, ...]:
        """Compute value and gradients."""
        raise TypeError("implemented by subclasses")

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Evaluate in Python mode."""
        found = self.evaluate(*(np.ascontiguousarray(x) for x in inputs))
        for place, value in zip(outputs, found, strict=True):
            place[0] = np.asarray(value)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes of the outputs."""
        return [(), *shapes[1 : 1 + self.arguments]]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Return the vector-Jacobian product in β and c; y and the constants are data."""
        g = cotangents[0]
        constant = [pt.zeros_like(value) for value in inputs]
        moving = [g * slope for slope in outputs[1:]]
        return [constant[0], *moving, *constant[1 + self.arguments :]]


class MarginalLogp(Logp):
    """Log density by the method `logp_gradient` of a density."""

    __props__ = ("handle",)

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.arguments = handle().signature.split("->")[0].count("(")

    def evaluate(self, *inputs: Floats) -> tuple[Any, ...]:
        """Compute value and gradients."""
        return self.handle().logp_gradient(*inputs)


class CompiledLogp(Logp):
    """Log density by a Numba function, whose arrays are constants of the graph."""

    __props__ = ("density", "arguments")

    def __init__(self, density: str, arguments: int) -> None:
        self.density = density
        self.arguments = arguments

    def evaluate(self, *inputs: Floats) -> tuple[Any, ...]:
        """Compute value and gradients."""
        return tuple(COMPILED[self.density](*inputs))


@register_funcify_default_op_cache_key(CompiledLogp)
def _numba_compiled(op: CompiledLogp, node: Apply, **_: Any) -> tuple[Any, int]:
    density = COMPILED[op.density]
    if op.arguments == 2:

        @numba_njit
        def evaluate(rotated, beta, c, s, weights, C, T, R):  # type: ignore[no-untyped-def]
            logp, d_beta, d_c = density(rotated, beta, c, s, weights, C, T, R)
            return np.asarray(logp), d_beta, d_c

    else:

        @numba_njit
        def evaluate(rotated, beta, G, R, s, weights, C, T, triangle):  # type: ignore[no-untyped-def]
            logp, d_beta, dG, dR = density(rotated, beta, G, R, s, weights, C, T, triangle)
            return np.asarray(logp), d_beta, dG, dR

    return evaluate, 2


@register_funcify_and_cache_key(MarginalLogp)
def _numba_marginal(op: MarginalLogp, node: Apply, **_: Any) -> tuple[Any, None]:
    import numba

    handle = op.handle

    def python(rotated: Floats, beta: Floats, c: Floats) -> tuple[Floats, Floats, Floats]:
        logp, d_beta, d_c = handle().logp_gradient(rotated, beta, c)
        return np.asarray(logp), d_beta, d_c

    kinds = numba.types.Tuple(
        (numba.types.Array(numba.float64, 0, "C"), numba.float64[::1], numba.float64[::1])
    )

    @numba_njit
    def evaluate(rotated, beta, c):  # type: ignore[no-untyped-def]
        with numba.objmode(found=kinds):
            found = python(rotated, beta, c)
        return found

    return evaluate, None  # not cached, because it holds matrices


class RotatedValue(Op):
    """Operation that rotates a value of y other than the model's own phenotype."""

    __props__ = ("handle",)

    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    def make_node(self, y: Any) -> Apply:
        """Make the output with the shape that the density needs."""
        rank = np.ndim(self.handle().rotate(np.zeros(self.handle().n)))
        out = pt.tensor(dtype="float64", shape=(None,) * rank)
        return Apply(self, [pt.as_tensor(y).astype("float64")], [out])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Rotate in Python mode."""
        outputs[0][0] = self.handle().rotate(np.asarray(inputs[0]))


class MarginalRV(RandomVariable):
    """Random variable of every marginal density; `handle` gives the density."""

    dtype = "floatX"
    __props__ = ("name", "signature", "dtype", "inplace", "handle")

    def __init__(self, handle: Handle, **kwargs: Any) -> None:
        self.handle = handle
        marginal = handle()
        print_name = "".join(part.capitalize() for part in marginal.name.split("_"))
        self._print_name = (print_name, f"\\operatorname{{{print_name}}}")
        given = {"name": marginal.name, "signature": marginal.signature} | kwargs
        super().__init__(**given)

    def _supp_shape_from_params(self, *_: Any, **__: Any) -> tuple[Any, ...]:
        return (pt.constant(self.handle().n, dtype="int64"),)

    def rng_fn(self, rng: np.random.Generator, *parameters: Any) -> Floats:
        """Draw y; leading dimensions of the parameters are broadcast."""
        *arrays, size = parameters
        marginal = self.handle()
        cores = [part.count(",") + 1 for part in marginal.signature.split("->")[0].split("),")]
        leading = [a.shape[: a.ndim - k] for a, k in zip(arrays, cores, strict=True)]
        batch = np.broadcast_shapes(*leading, tuple(size or ()))
        given = [
            np.broadcast_to(a, (*batch, *a.shape[a.ndim - k :]))
            for a, k in zip(arrays, cores, strict=True)
        ]
        out = np.empty((*batch, marginal.n))
        for index in np.ndindex(batch):
            beta, *c = (a[index] for a in given)
            out[index] = marginal.simulate(beta, c, rng)[0]
        return out


@_logprob.register(MarginalRV)
def _marginal_logprob(
    op: MarginalRV, values: Any, rng: Any, size: Any, *parameters: Any, **_: Any
) -> Any:
    (value,) = values
    rotated = getattr(value.tag, "rotated", None)  # the model's own phenotype is rotated once
    if rotated is None:
        rotated = RotatedValue(op.handle)(value)
    compiled = op.handle().compiled
    if compiled is None:
        return MarginalLogp(op.handle)(rotated, *parameters)[0]
    name, arrays = compiled
    logp = CompiledLogp(name, len(parameters))
    return logp(rotated, *parameters, *map(pt.constant, arrays))[0]


def observe(
    name: str, marginal: Marginal, parameters: list[Any], observed: Floats, dims: str | None
) -> Any:
    """Register observed records y (n,) with a density, in the model on the stack.

    Parameters
    ----------
    name
        Name of the observed variable; ``phenotype`` by contract.
    marginal
        The density; the model's data own it from now on.
    parameters
        β, then every c.
    observed
        y (n,).
    dims
        Dimension of y.
    """
    observed = np.asarray(observed, dtype=np.float64)
    data = pm.Data(f"{name}_observed", observed, dims=dims)
    data.tag.rotated = pm.Data(f"{name}_rotated", marginal.rotate(observed))
    data.tag.marginal = marginal
    rng = pt.random.shared_rng(seed=None)
    inputs = [pt.as_tensor(value) for value in parameters]
    _, rv = MarginalRV(Handle(marginal))(*inputs, rng=rng, return_next_rng=True)
    model = pm.modelcontext(None)
    return model.register_rv(rv, name, observed=data, dims=(dims,) if dims else None)
