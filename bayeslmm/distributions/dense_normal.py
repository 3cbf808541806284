"""PyMC: `dense_normal`, records with several kernels, random effects integrated out.

y | β, Σ, σ²_e ~ N(Xβ, Σ_t Σ_ij Σ_t[i, j] W_ti A_t W_tjᵀ + diag(σ²_e))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray

from bayeslmm.distributions.marginal import observe
from bayeslmm.likelihood.dense import dense_form
from bayeslmm.likelihood.dense_marginal import DenseMarginal
from bayeslmm.likelihood.identified import check_identified
from bayeslmm.likelihood.incomplete import IncompleteTraits
from bayeslmm.likelihood.incomplete_marginal import IncompleteMarginal
from bayeslmm.likelihood.terms import Covariance, Term
from bayeslmm.numerics.arrays import Floats


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
        Σ_t of each term, in their order: a variance for a term of one effect per level, a matrix
        (k, k) for a term of k effects.
    residual
        σ²_e, or one for each class (classes,); None if the last term is the residual.
    terms
        The random terms of the variances (`bayeslmm.likelihood.terms`).
    classes
        Residual variance class (n,) of every record; default one class.
    design
        X (n, p).
    observed
        y (n,).
    dims
        Dimension of y.
    fast
        The same covariance in a faster form, for the terms ``G ⊗ K`` and ``R ⊗ I``.

    Returns
    -------
    TensorVariable
        The observed random variable; `set_phenotype` replaces y.
    """
    codes = classes
    if classes is None and residual is not None:
        codes = np.zeros(len(observed), dtype=np.intp)
    covariance = Covariance(tuple(terms), codes)
    form = dense_form(covariance, np.asarray(design), lazy=fast is not None)
    if fast is None:
        check_identified(form)
        marginal = DenseMarginal(form)
    else:
        marginal = IncompleteMarginal(form, pattern=fast)
    c = _coefficients(covariance, variances, residual)
    return observe(name, marginal, [beta, c], observed, dims)


def _coefficients(covariance: Covariance, variances: Sequence[Any], residual: Any) -> Any:
    """Assemble the vector c from the matrices of the terms and the residual variances."""
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
