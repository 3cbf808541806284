"""Check that the variances of random terms and the residual are identified.

Only the error contrasts matter (`bayeslmm.likelihood.dense`): the variances are identified if the
matrices ``Q_cᵀM_kQ_c`` of the terms and of the residual are linearly independent. The eigenvalues
of their Gram matrix, each scaled to unit Frobenius norm, test this for terms of any kind: kernels,
groups, permanent environments.
"""

from __future__ import annotations

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.likelihood.dense import DenseForm

DEPENDENT = 1e-10  # smallest eigenvalue of the Gram matrix of independent terms


def check_identified(form: DenseForm) -> None:
    """Refuse terms of one variance each that are linearly dependent among the contrasts.

    Terms with several effects per level (Σ of 2 × 2 and more) are not checked. The prior alone may
    determine parts of their Σ, such as the residual correlation of traits that no individual has
    both of.

    Raises
    ------
    InputError
        If terms are linearly dependent; it names them.
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
            "remove it, or remove the covariate that is confounded with it",
        )
    values, vectors = np.linalg.eigh(gram / np.outer(size, size))
    if values[0] < DEPENDENT:
        heavy = np.abs(vectors[:, 0]) > 1e-3 * np.abs(vectors[:, 0]).max()
        involved = [name for name, one in zip(names, heavy, strict=True) if one]
        raise InputError(
            f"the variances of the terms {', '.join(involved)} are not identified: their "
            "covariances are linearly dependent",
            "terms whose covariances between the records differ",
            f"remove one of them: {', '.join(name for name in involved if name != 'residual')}",
        )
