"""PyMC: `dense_normal`, records with several kernels, random effects integrated out.

y | β, Σ, σ²_e ~ N(Xβ, Σ_t Σ_ij Σ_t[i, j] W_ti A_t W_tjᵀ + diag(σ²_e))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_and_cache_key
from pytensor.tensor.random.op import RandomVariable

from bayeslmm.distributions.identified import check_identified
from bayeslmm.likelihood.dense import DenseForm, dense_form, dense_logp
from bayeslmm.likelihood.incomplete import IncompleteTraits
from bayeslmm.likelihood.incomplete import draw as draw_incomplete
from bayeslmm.likelihood.terms import Covariance, Term
from bayeslmm.numerics.arrays import Floats


class DenseLogp(Op):
    """`dense_logp` as one node: (logp, ∂/∂β, ∂/∂c), one factorisation for all."""

    __props__ = ("form",)

    def __init__(self, form: DenseForm) -> None:
        self.form = form

    def make_node(self, *inputs: Any) -> Apply:
        """Inputs: rotated (n,), beta (p,), c (coefficients,)."""
        inputs = tuple(pt.as_tensor(value).astype("float64") for value in inputs)
        return Apply(self, list(inputs), [pt.dscalar(), pt.dvector(), pt.dvector()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Evaluate in Python mode."""
        logp, d_beta, d_c = dense_logp(self.form, *inputs)
        outputs[0][0] = np.asarray(logp)
        outputs[1][0] = d_beta
        outputs[2][0] = d_c

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        """Shapes of the outputs."""
        return [(), shapes[1], shapes[2]]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Vector-Jacobian product in β and c; y is data."""
        g = cotangents[0]
        return [pt.zeros_like(inputs[0]), g * outputs[1], g * outputs[2]]


@register_funcify_and_cache_key(DenseLogp)
def _numba_dense_logp(op: DenseLogp, node: Apply, **_: Any) -> tuple[Any, None]:
    import numba

    form = op.form
    assert form.stack.ndim == 3  # made here, before several chains ask for it at once

    def python(rotated: Floats, beta: Floats, c: Floats) -> tuple[Floats, Floats, Floats]:
        logp, d_beta, d_c = dense_logp(form, rotated, beta, c)
        return np.asarray(logp), d_beta, d_c

    kinds = numba.types.Tuple(
        (numba.types.Array(numba.float64, 0, "C"), numba.float64[::1], numba.float64[::1])
    )

    @numba_njit
    def evaluate(rotated, beta, c):  # type: ignore[no-untyped-def]
        with numba.objmode(found=kinds):
            found = python(rotated, beta, c)
        return found

    return evaluate, None  # holds matrices: compiled anew in every process


class DenseNormalRV(RandomVariable):
    """The random variable behind `dense_normal`; engines find the matrices in `form`.

    `fast` is a cheaper form of the same density, for several traits with values missing.
    """

    name = "dense_normal"
    signature = "(p),(c)->(n)"
    dtype = "floatX"
    _print_name = ("DenseNormal", "\\operatorname{DenseNormal}")
    __props__ = ("name", "signature", "dtype", "inplace", "form", "fast")

    def __init__(
        self, form: DenseForm, fast: IncompleteTraits | None = None, **kwargs: Any
    ) -> None:
        self.form = form
        self.fast = fast
        super().__init__(**kwargs)

    @property
    def design(self) -> Floats:
        """X (n, p)."""
        return self.form.design

    @property
    def trait_index(self) -> NDArray[np.intp] | None:
        """The trait of every record (n,) where a term stands for the residual; else one trait."""
        if self.form.covariance.residual is not None:
            return None
        return np.asarray(np.argmax(self.form.covariance.terms[0].weights, axis=1), dtype=np.intp)

    def rotate(self, y: Floats) -> Floats:
        """What `phenotype_rotated` holds for y (n,)."""
        return self.form.rotate(y)

    def _supp_shape_from_params(self, *_: Any, **__: Any) -> tuple[Any, ...]:
        return (pt.constant(self.form.n, dtype="int64"),)

    def rng_fn(self, rng: np.random.Generator, beta: Floats, c: Floats, size: Any = None) -> Floats:
        """Draw y; leading dimensions of beta and c are broadcast."""
        batch = np.broadcast_shapes(beta.shape[:-1], c.shape[:-1], tuple(size or ()))
        out = np.empty((*batch, self.form.n))
        betas = np.broadcast_to(beta, (*batch, beta.shape[-1]))
        coefficients = np.broadcast_to(c, (*batch, c.shape[-1]))
        for index in np.ndindex(batch):
            out[index] = draw_records(self.form, betas[index], coefficients[index], rng, self.fast)
        return out


def draw_records(
    form: DenseForm,
    beta: Floats,
    c: Floats,
    rng: np.random.Generator,
    fast: IncompleteTraits | None = None,
) -> Floats:
    """One draw of y (n,) from N(Xβ, V(c))."""
    if fast is not None:
        G, R = form.covariance.unpack(c)[0]
        return fast.basis @ (fast.triangle @ beta) + draw_incomplete(fast, G, R, rng)
    L = form.factor(c)
    if L is None:
        raise np.linalg.LinAlgError("the covariance is not positive definite")
    rotated = np.tril(L) @ rng.standard_normal(form.n)
    rotated[form.n - form.p :] += form.triangle @ beta
    return np.asarray(form.basis @ rotated)


@_logprob.register(DenseNormalRV)
def _dense_normal_logprob(
    op: DenseNormalRV, values: Any, rng: Any, size: Any, beta: Any, c: Any, **_: Any
) -> Any:
    (value,) = values
    rotated = getattr(value.tag, "rotated", None)  # the model's own phenotype: rotated once
    if rotated is None:
        rotated = pt.constant(op.form.basis.T) @ value
    return DenseLogp(op.form)(rotated, beta, c)[0]


def dense_normal(
    name: str,
    beta: Any,
    variances: Sequence[Any],
    residual: Any = None,
    *,
    terms: Sequence[Term],
    classes: NDArray[np.intp] | None = None,
    design: Floats,
    observed: Floats,
    dims: str | None = "individual",
    fast: IncompleteTraits | None = None,
) -> Any:
    """Register ``y ~ N(Xβ, V)`` with the random effects of every term integrated out.

    Parameters
    ----------
    name
        Name of the observed variable; ``phenotype`` by contract.
    beta
        β (p,): a random variable of the model.
    variances
        Σ_t for each term, in their order: a variance for a term of one effect a level, a matrix
        (k, k) for one of k.
    residual
        σ²_e, or one for each class (classes,); None if the last term is the residual.
    terms
        What the variances belong to (`bayeslmm.likelihood.terms`).
    classes
        (n,) class of the residual variance of every record; default one class.
    design
        X (n, p).
    observed
        y (n,).
    dims
        Dimension of y.
    fast
        The same covariance in a cheaper form, for the terms ``G ⊗ K`` and ``R ⊗ I``.

    Returns
    -------
    TensorVariable
        The observed random variable. y can be exchanged by `set_phenotype`.
    """
    n = len(observed)
    codes = np.zeros(n, dtype=np.intp) if classes is None and residual is not None else classes
    covariance = Covariance(tuple(terms), codes)
    form = dense_form(covariance, np.asarray(design), lazy=fast is not None)
    if fast is None:
        check_identified(form)
    c = _coefficients(covariance, variances, residual)
    data = pm.Data(f"{name}_observed", np.asarray(observed, dtype=np.float64), dims=dims)
    data.tag.rotated = pm.Data(f"{name}_rotated", form.rotate(observed))
    rng = pt.random.shared_rng(seed=None)
    _, rv = DenseNormalRV(form, fast)(pt.as_tensor(beta), c, rng=rng, return_next_rng=True)
    model = pm.modelcontext(None)
    return model.register_rv(rv, name, observed=data, dims=(dims,) if dims else None)


def _coefficients(covariance: Covariance, variances: Sequence[Any], residual: Any) -> Any:
    """The vector c from the matrices of the terms and the residual variances."""
    entries = []
    for term, one in zip(covariance.terms, variances, strict=True):
        S = pt.as_tensor(one)
        if S.ndim == 0 and term.k == 1:
            entries.append(S)
        else:
            entries += [S[i, j] for i, j in term.pairs]
    if residual is not None:
        rest = pt.as_tensor(residual)
        entries += [rest] if rest.ndim == 0 else [rest[i] for i in range(covariance.classes)]
    return pt.stack(entries)
