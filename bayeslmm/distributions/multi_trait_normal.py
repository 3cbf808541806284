"""PyMC: `multi_trait_normal`, T traits with one kernel, genetic values integrated out.

y | β, G, R ~ N((I_T ⊗ X) β, G ⊗ K + R ⊗ I)        y = [Y_1; ...; Y_T], β = [B_1; ...; B_T]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key
from pytensor.tensor.random.op import RandomVariable

from bayeslmm.errors import InputError
from bayeslmm.likelihood.genetic_values_traits import draw_phenotypes
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.likelihood.traits import multi_trait_logp
from bayeslmm.numerics.arrays import Floats


class MultiTraitLogp(Op):
    """`bayeslmm.likelihood.traits.multi_trait_logp` as one node: (logp, ∂/∂B, ∂/∂G, ∂/∂R).

    The gradient outputs are the pullback of the first output. G and R count by their symmetric
    parts, so the gradient in them holds for any parameterisation.
    """

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        """Inputs: rotated (n, T), B (p, T), G, R (T, T), then s, C, schur, triangle."""
        inputs = tuple(pt.as_tensor(value).astype("float64") for value in inputs)
        return Apply(self, list(inputs), [pt.dscalar(), *(pt.dmatrix() for _ in range(3))])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Evaluate in Python mode."""
        logp, *gradient = multi_trait_logp(*(np.ascontiguousarray(x) for x in inputs))
        outputs[0][0] = np.asarray(logp)
        for place, value in zip(outputs[1:], gradient, strict=True):
            place[0] = value

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        """Shapes of the outputs."""
        return [(), *shapes[1:4]]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Vector-Jacobian product in B, G and R; data and spectrum are constants."""
        g = cotangents[0]
        constant = [pt.zeros_like(value) for value in inputs]
        return [constant[0], *(g * slope for slope in outputs[1:]), *constant[4:]]


@register_funcify_default_op_cache_key(MultiTraitLogp)
def _numba_multi_trait_logp(op: MultiTraitLogp, node: Apply, **_: Any) -> tuple[Any, int]:
    @numba_njit
    def evaluate(rotated, B, G, R, s, C, schur, triangle):  # type: ignore[no-untyped-def]
        logp, dB, dG, dR = multi_trait_logp(rotated, B, G, R, s, C, schur, triangle)
        return np.asarray(logp), dB, dG, dR

    return evaluate, 1


class MultiTraitNormalRV(RandomVariable):
    """The random variable behind `multi_trait_normal`; engines find `spectrum` and `traits`."""

    name = "multi_trait_normal"
    signature = "(b),(t,t),(t,t)->(m)"
    dtype = "floatX"
    _print_name = ("MultiTraitNormal", "\\operatorname{MultiTraitNormal}")
    __props__ = ("name", "signature", "dtype", "inplace", "spectrum", "traits")

    def __init__(self, spectrum: Spectrum, traits: int, **kwargs: Any) -> None:
        self.spectrum = spectrum
        self.traits = traits
        super().__init__(**kwargs)

    @property
    def design(self) -> Floats:
        """``I_T ⊗ X`` (nT, pT)."""
        X = self.spectrum.basis[:, : self.spectrum.p] @ self.spectrum.triangle
        return np.asarray(np.kron(np.eye(self.traits), X), dtype=np.float64)

    @property
    def trait_index(self) -> NDArray[np.intp]:
        """The trait of every record (nT,)."""
        return np.repeat(np.arange(self.traits), self.spectrum.n)

    def rotate(self, y: Floats) -> Floats:
        """What `phenotype_rotated` holds for y (nT,): ``WᵀY`` (n, T)."""
        return self.spectrum.rotate(y.reshape(self.traits, -1).T)

    def _supp_shape_from_params(self, *_: Any, **__: Any) -> tuple[Any, ...]:
        return (pt.constant(self.spectrum.n * self.traits, dtype="int64"),)

    def rng_fn(
        self,
        rng: np.random.Generator,
        beta: Floats,
        genetic: Floats,
        residual: Floats,
        size: Any = None,
    ) -> Floats:
        """Draw y; leading dimensions of beta, genetic and residual are broadcast."""
        leading = (beta.shape[:-1], genetic.shape[:-2], residual.shape[:-2])
        batch = np.broadcast_shapes(*leading, tuple(size or ()))
        out = np.empty((*batch, self.spectrum.n * self.traits))
        betas = np.broadcast_to(beta, (*batch, *beta.shape[-1:]))
        G, R = (np.broadcast_to(A, (*batch, *A.shape[-2:])) for A in (genetic, residual))
        for index in np.ndindex(batch):
            out[index] = draw_phenotypes(self.spectrum, betas[index], G[index], R[index], rng)
        return out


@_logprob.register(MultiTraitNormalRV)
def _multi_trait_logprob(
    op: MultiTraitNormalRV,
    values: Any,
    rng: Any,
    size: Any,
    beta: Any,
    genetic: Any,
    residual: Any,
    **_: Any,
) -> Any:
    (value,) = values
    S, T = op.spectrum, op.traits
    rotated = getattr(value.tag, "rotated", None)  # the model's own phenotype: rotated once
    if rotated is None:
        rotated = pt.constant(S.basis.T) @ value.reshape((T, S.n)).T
    B = beta.reshape((T, S.p)).T
    constants = (S.eigenvalues, S.coupling, S.schur, S.triangle)
    return MultiTraitLogp()(rotated, B, genetic, residual, *map(pt.constant, constants))[0]


def multi_trait_normal(
    name: str,
    beta: Any,
    genetic: Any,
    residual: Any,
    *,
    spectrum: Spectrum,
    observed: Floats,
    dims: str | None = "individual",
) -> Any:
    """Register ``y ~ N((I ⊗ X)β, G ⊗ K + R ⊗ I)`` with U integrated out, in the model on the stack.

    Parameters
    ----------
    name
        Name of the observed variable; ``phenotype`` by contract.
    beta
        β (pT,), stacked trait by trait: a random variable of the model.
    genetic, residual
        G and R (T, T), covariance matrices: random variables of the model.
    spectrum
        Spectrum of K and X among the n individuals, all of whom have all T traits.
    observed
        y (nT,), stacked trait by trait.
    dims
        Dimension of y.

    Returns
    -------
    TensorVariable
        The observed random variable. y can be exchanged by
        `bayeslmm.priors.components.set_phenotype`.

    Raises
    ------
    InputError
        If y does not hold every trait of every individual.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pytensor.tensor as pt
    >>> from bayeslmm.likelihood.spectrum import decompose
    >>> rng = np.random.default_rng(1)
    >>> Z = rng.standard_normal((20, 50))
    >>> S = decompose(Z @ Z.T / 50, np.ones((20, 1)))
    >>> with pm.Model() as model:
    ...     beta = pm.Normal("beta", 0, 10, shape=2)
    ...     G = pt.diag(pm.HalfNormal("genetic", 1, shape=2))
    ...     R = pt.diag(pm.HalfNormal("residual", 1, shape=2))
    ...     y = multi_trait_normal("phenotype", beta, G, R, spectrum=S,
    ...                            observed=rng.standard_normal(40), dims=None)
    """
    observed = np.asarray(observed, dtype=np.float64)
    n = spectrum.n
    if observed.ndim != 1 or observed.size == 0 or observed.size % n:
        raise InputError(
            f"y of the shape {observed.shape} for {n} individuals",
            f"all values of trait 1, then of trait 2, ...: (T × {n},)",
            "take the individuals with all traits, or a model that allows missing ones",
        )
    op = MultiTraitNormalRV(spectrum, observed.size // n)
    data = pm.Data(f"{name}_observed", observed, dims=dims)
    data.tag.rotated = pm.Data(f"{name}_rotated", op.rotate(observed))
    parameters = (pt.as_tensor(value) for value in (beta, genetic, residual))
    rng = pt.random.shared_rng(seed=None)
    _, rv = op(*parameters, rng=rng, return_next_rng=True)
    model = pm.modelcontext(None)
    return model.register_rv(rv, name, observed=data, dims=(dims,) if dims else None)
