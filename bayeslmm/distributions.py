"""PyMC distributions: `spectral_normal` (g integrated out) and `polygenic` (g as a latent).

Both describe ``y | β, σ² ~ N(Xβ, σ²_u K + σ²_e I)``; the first through the spectrum of K, the
second through a Cholesky-type factor of K.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import scipy.linalg
from numpy.typing import NDArray
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key
from pytensor.tensor.random.op import RandomVariable

from bayeslmm.likelihood import spectral_logp
from bayeslmm.spectrum import Spectrum, check_definite

type Floats = NDArray[np.float64]


class SpectralLogp(Op):
    """`bayeslmm.likelihood.spectral_logp` as one node: (logp, ∂/∂β, ∂/∂σ²).

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


def draw_phenotype(
    spectrum: Spectrum, beta: Floats, variance: Floats, rng: np.random.Generator
) -> Floats:
    """One draw of y (n,) from N(Xβ, σ²_u K + σ²_e I), O(n²)."""
    a, b = variance
    p = spectrum.p
    g = np.sqrt(a) * draw_unit_genetic(spectrum, rng)
    rotated = g + np.sqrt(b) * rng.standard_normal(spectrum.n)
    rotated[:p] += spectrum.triangle @ beta
    return spectrum.unrotate(rotated)


def draw_unit_genetic(spectrum: Spectrum, rng: np.random.Generator, size: int = 0) -> Floats:
    """Wᵀg for g ~ N(0, K): (n,), or (size, n)."""
    p, m = spectrum.p, spectrum.m
    z = rng.standard_normal((max(size, 1), p + m))
    root = np.sqrt(spectrum.eigenvalues)
    scaled = np.divide(spectrum.coupling, root, out=np.zeros((p, m)), where=root > 0)
    values, vectors = np.linalg.eigh(spectrum.schur)
    half = vectors * np.sqrt(np.maximum(values, 0.0))
    top = z[:, :p] @ half.T + z[:, p:] @ scaled.T
    out = np.hstack([top, root * z[:, p:]])
    return out if size else out[0]


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
        Spectrum of K and X among the individuals (`bayeslmm.spectrum.spectrum`); it carries X.
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
    >>> from bayeslmm.spectrum import decompose
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


def polygenic(name: str, variance: Any, factor: Floats, dims: str = "individual") -> Any:
    """Register the latent genetic value ``g = σ_u L z``, z ~ N(0, I): Var(g) = σ²_u L Lᵀ.

    Parameters
    ----------
    name
        Name of g; ``g`` by contract. The whitened values are called ``name + "_z"``.
    variance
        σ²_u, a scalar of the model.
    factor
        L (n, r), from `kernel_cholesky`.
    dims
        Dimension of g.
    """
    z = pm.Normal(f"{name}_z", 0.0, 1.0, shape=factor.shape[1])
    g = pm.Deterministic(name, pt.sqrt(variance) * (pt.constant(factor) @ z), dims=dims)
    g.tag.factor = factor
    return g


def kernel_cholesky(K: Floats, *, tolerance: float = 1e-10) -> Floats:
    """Cholesky factor of a kernel that may be singular: L (n, r) with L Lᵀ = K.

    Pivoted Cholesky (LAPACK ``pstrf``), stopped at numerical rank r, so that a centred GRM, or
    one of fewer variants than individuals, needs no jitter. Where that does not give back K (an
    indefinite K, as of pairwise missing genotypes), the same rules as for a spectrum hold
    (`bayeslmm.spectrum.decompose`) and L is a root of the positive part of K.

    Parameters
    ----------
    K
        Kernel (n, n), positive semidefinite up to rounding.
    tolerance
        Pivots below this share of the largest diagonal entry count as zero.

    Raises
    ------
    InputError
        If K has a negative eigenvalue beyond 1% of the largest; beyond 1e-6 of it warns.

    References
    ----------
    Higham (1990) Analysis of the Cholesky decomposition of a semi-definite matrix.
    """
    n = K.shape[0]
    cutoff = tolerance * float(np.max(np.diag(K)))
    c, pivot, rank, _ = scipy.linalg.lapack.dpstrf(K, lower=1, tol=cutoff)
    L = np.zeros((n, rank))
    L[pivot - 1] = np.tril(c)[:, :rank]
    if np.max(np.abs(K - L @ L.T)) <= 100 * cutoff:
        return L
    values, vectors = scipy.linalg.eigh(K)
    check_definite(float(values[0]), float(values[-1]))
    kept = values > max(n * np.finfo(float).eps, 1e-14) * values[-1]
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))
