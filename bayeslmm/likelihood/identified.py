"""Can the variances of several random terms be told apart, from each other and the residual?

Only the error contrasts matter (`bayeslmm.likelihood.dense`): the variances are identified if the
matrices ``Q_cᵀM_kQ_c`` of the terms and of the residual are linearly independent. Their Gram
matrix, each scaled to unit Frobenius norm, says so; whatever the terms are: kernels, groups,
permanent environments.
"""

from __future__ import annotations

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.likelihood.dense import DenseForm

DEPENDENT = 1e-10  # smallest eigenvalue of the Gram matrix


def check_identified(form: DenseForm) -> None:
    """Refuse terms of one variance each that are linearly dependent among the contrasts.

    Terms with several effects of a level (Σ of 2 × 2 and more) are left out: parts of their Σ may
    be known by the prior alone, as the residual correlation of traits that nobody has both of.

    Raises
    ------
    InputError
        With the names of the terms that depend on each other.
    """
    m = form.n - form.p
    matrices, names, start = [], [], 0
    for term in form.covariance.terms:
        if term.k == 1:
            matrices.append(form.stack[start, :m, :m])
            names.append(term.name)
        start += len(term.pairs)
    if not matrices:
        return
    if form.covariance.classes == 1:
        matrices.append(np.eye(m))
        names.append("residual")
    products = [[float(np.einsum("ij,ij", a, b)) for b in matrices] for a in matrices]
    gram = np.array(products)
    size = np.sqrt(np.diagonal(gram))
    largest = float(size.max())
    if absent := [name for name, one in zip(names, size, strict=True) if one < 1e-8 * largest]:
        raise InputError(
            f"the term '{absent[0]}' is explained by the fixed effects",
            "terms that differ between records with the same covariates",
            "leave it out, or leave out the covariate that stands for it",
        )
    values, vectors = np.linalg.eigh(gram / np.outer(size, size))
    if values[0] < DEPENDENT:
        heavy = np.abs(vectors[:, 0]) > 1e-3 * np.abs(vectors[:, 0]).max()
        involved = [name for name, one in zip(names, heavy, strict=True) if one]
        raise InputError(
            f"the terms {', '.join(involved)} cannot be told apart: their covariances are "
            "proportional or add up to each other",
            "terms whose covariances between the records differ",
            f"leave one of them out: {', '.join(name for name in involved if name != 'residual')}",
        )
