"""PyMC: `spectral_normal`, one kernel in its eigenbasis, genetic values integrated out.

y | β, σ² ~ N(Xβ, σ²_u K + σ²_e I)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key
from pytensor.tensor.random.op import RandomVariable

from bayeslmm.likelihood.genetic_values import draw_phenotype
from bayeslmm.likelihood.one_kernel import spectral_logp
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats


class SpectralLogp(Op):
    """`bayeslmm.likelihood.one_kernel.spectral_logp` as one node: (logp, ∂/∂β, ∂/∂σ²).

    The gradient outputs are the pullback of the first output, so that the value and its gradient
    cost one pass over the spectrum.
    """

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        """Inputs: rotated (n,), beta (p,), variance (2,), s (m,), C (p, m), T (p, p), R (p, p)."""
        inputs = tuple(pt.as_tensor(value).astype("float64") for value in inputs)
        return Apply(self, list(inputs), [pt.dscalar(), pt.dvector(), pt.dvector()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Evaluate in Python mode."""
        logp, d_beta, d_variance = spectral_logp(*(np.ascontiguousarray(x) for x in inputs))
        outputs[0][0] = np.asarray(logp)
        outputs[1][0] = d_beta
        outputs[2][0] = d_variance

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        """Shapes of the outputs."""
        return [(), shapes[1], shapes[2]]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Vector-Jacobian product in β and σ²; data and spectrum are constants."""
        g = cotangents[0]
        constant = [pt.zeros_like(value) for value in inputs]
        return [constant[0], g * outputs[1], g * outputs[2], *constant[3:]]


@register_funcify_default_op_cache_key(SpectralLogp)
def _numba_spectral_logp(op: SpectralLogp, node: Apply, **_: Any) -> tuple[Any, int]:
    @numba_njit
    def evaluate(rotated, beta, variance, s, C, T, R):  # type: ignore[no-untyped-def]
        logp, d_beta, d_variance = spectral_logp(rotated, beta, variance, s, C, T, R)
        return np.asarray(logp), d_beta, d_variance

    return evaluate, 1


class SpectralNormalRV(RandomVariable):
    """The random variable behind `spectral_normal`; engines find the spectrum in `spectrum`."""

    name = "spectral_normal"
    signature = "(p),(c)->(n)"
    dtype = "floatX"
    _print_name = ("SpectralNormal", "\\operatorname{SpectralNormal}")
    __props__ = ("name", "signature", "dtype", "inplace", "spectrum")

    def __init__(self, spectrum: Spectrum, **kwargs: Any) -> None:
        self.spectrum = spectrum
        super().__init__(**kwargs)

    @property
    def design(self) -> Floats:
        """X (n, p)."""
        return np.asarray(self.spectrum.basis[:, : self.spectrum.p] @ self.spectrum.triangle)

    def rotate(self, y: Floats) -> Floats:
        """What `phenotype_rotated` holds for y (n,)."""
        return self.spectrum.rotate(y)

    def _supp_shape_from_params(self, *_: Any, **__: Any) -> tuple[Any, ...]:
        return (pt.constant(self.spectrum.n, dtype="int64"),)

    def rng_fn(
        self, rng: np.random.Generator, beta: Floats, variance: Floats, size: Any = None
    ) -> Floats:
        """Draw y; leading dimensions of beta and variance are broadcast."""
        batch = np.broadcast_shapes(beta.shape[:-1], variance.shape[:-1], tuple(size or ()))
        out = np.empty((*batch, self.spectrum.n))
        betas = np.broadcast_to(beta, (*batch, beta.shape[-1]))
        variances = np.broadcast_to(variance, (*batch, variance.shape[-1]))
        for index in np.ndindex(batch):
            out[index] = draw_phenotype(self.spectrum, betas[index], variances[index], rng)
        return out


@_logprob.register(SpectralNormalRV)
def _spectral_normal_logprob(
    op: SpectralNormalRV, values: Any, rng: Any, size: Any, beta: Any, variance: Any, **_: Any
) -> Any:
    (value,) = values
    rotated = getattr(value.tag, "rotated", None)  # the model's own phenotype: rotated once
    if rotated is None:
        rotated = pt.constant(op.spectrum.basis.T) @ value
    S = op.spectrum
    constants = (S.eigenvalues, S.coupling, S.schur, S.triangle)
    return SpectralLogp()(rotated, beta, variance, *map(pt.constant, constants))[0]


def spectral_normal(
    name: str,
    beta: Any,
    variance: Any,
    *,
    spectrum: Spectrum,
    observed: Floats,
    dims: str | None = "individual",
) -> Any:
    """Register ``y ~ N(Xβ, σ²_u K + σ²_e I)`` with g integrated out, in the model on the stack.

    Parameters
    ----------
    name
        Name of the observed variable; ``phenotype`` by contract.
    beta
        β (p,): a random variable of the model.
    variance
        (σ²_u, σ²_e) (2,).
    spectrum
        Spectrum of K and X among the individuals (`bayeslmm.likelihood.spectrum.spectrum`); it
        carries X.
    observed
        y (n,).
    dims
        Dimension of y.

    Returns
    -------
    TensorVariable
        The observed random variable. y can be exchanged by `set_phenotype`.

    Examples
    --------
    >>> import numpy as np, pymc as pm
    >>> from bayeslmm.likelihood.spectrum import decompose
    >>> rng = np.random.default_rng(1)
    >>> Z = rng.standard_normal((20, 50))
    >>> S = decompose(Z @ Z.T / 50, np.ones((20, 1)))
    >>> with pm.Model() as model:
    ...     beta = pm.Normal("beta", 0, 10, shape=1)
    ...     variance = pm.HalfNormal("variance", 1, shape=2)
    ...     y = spectral_normal("phenotype", beta, variance, spectrum=S,
    ...                         observed=rng.standard_normal(20), dims=None)
    """
    data = pm.Data(f"{name}_observed", np.asarray(observed, dtype=np.float64), dims=dims)
    data.tag.rotated = pm.Data(f"{name}_rotated", spectrum.rotate(observed))
    parameters = (pt.as_tensor(beta), pt.as_tensor(variance))
    rng = pt.random.shared_rng(seed=None)
    _, rv = SpectralNormalRV(spectrum)(*parameters, rng=rng, return_next_rng=True)
    model = pm.modelcontext(None)
    return model.register_rv(rv, name, observed=data, dims=(dims,) if dims else None)
