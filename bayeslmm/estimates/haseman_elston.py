"""Haseman-Elston regression: residual products of all pairs on their relationships.

With ``r = My`` the residuals after the fixed effects, ``E[r rᵀ] = Σ σ²_k MK_kM + σ²_e M``. Ordinary
least squares of the n² products ``r_i r_j`` on the entries of these matrices estimates the
variances (a method of moments). Pairs i = j are included; GCTA's ``--HEreg`` leaves them out. With
the error contrasts e and the matrices K_k among them, K_last = I::

    Σ_l tr(K_k K_l) σ²_l = eᵀK_k e        Cov(eᵀK_k e, eᵀK_l e) = 2 tr(K_k V K_l V)

The estimate needs no normality. The standard error assumes that y is normal, with V at the
estimate. With one kernel this is the regression of e_i² on the eigenvalue s_i.

References
----------
Haseman & Elston (1972) Behav Genet 2:3; Chen (2014) Front Genet 5:107 (the likelihood-free
relative of REML); Zhou (2017) Ann Appl Stat 11:2027 (its sampling variance).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from bayeslmm.estimates.reml import share_with_se
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.likelihood.dense import DenseForm


EXACT = 2500  # largest number of contrasts with exact traces; beyond it random vectors are used
PROBES = 100  # random vectors for the traces


@dataclass(frozen=True, slots=True, eq=False)
class HasemanElston:
    """Moment estimates of the variances.

    Parameters
    ----------
    variances
        σ² (K,) of every component in the model's order, the residual last; may be negative.
    covariance
        Sampling covariance (K, K) of `variances` under normality.
    h2, se
        Share of the genetic components, and its standard error by the delta method. It is not cut
        to [0, 1], because cutting would bias it where the true value is 0 or 1.
    """

    variances: Floats
    covariance: Floats
    h2: float
    se: float


def haseman_elston_one_kernel(eigenvalues: Floats, contrasts: Floats) -> HasemanElston:
    """Regress e² on s.

    Parameters
    ----------
    eigenvalues, contrasts
        s (m,) and e (m,) of `bayeslmm.likelihood.spectrum.Spectrum`.
    """
    K = np.stack([eigenvalues, np.ones_like(eigenvalues)])  # diagonals
    gram, q = K @ K.T, K @ contrasts**2
    variances = np.linalg.pinv(gram) @ q
    V = np.maximum(variances, 0.0) @ K
    return _finish(gram, variances, 2.0 * (K * V) @ (K * V).T, np.array([True, False]))


def haseman_elston_several(
    form: DenseForm, rotated: Floats, genetic: NDArray[np.bool_], seed: int = 1
) -> HasemanElston:
    """Regress with several kernels, each with one variance.

    Parameters
    ----------
    form
        Kernel matrices in coordinates where the error contrasts come first.
    rotated
        ``Wᵀy`` (n,).
    genetic
        (K,) which components count toward h².
    seed
        Seed of the random vectors for the traces of the standard error. They are used beyond 2500
        records, where the standard error has an error of a few per cent.

    Raises
    ------
    ValueError
        If a term has several effects per level.
    """
    if any(term.k != 1 for term in form.covariance.terms):
        raise ValueError("haseman_elston_several: every term must have one effect per level")
    m = form.n - form.p
    e, size = rotated[:m], form.covariance.size
    matrices = [_full(M[:m, :m]) for M in form.stack]
    gram = np.empty((size, size))
    q = np.array([*(float(e @ (M @ e)) for M in matrices), float(e @ e)])[:size]
    for k, M in enumerate(matrices):
        for j in range(k + 1):
            gram[k, j] = gram[j, k] = float(np.vdot(M, matrices[j]))
        if form.identity:
            gram[k, -1] = gram[-1, k] = float(np.trace(M))
    if form.identity:
        gram[-1, -1] = m
    variances = np.linalg.pinv(gram) @ q
    V = _definite(matrices, np.maximum(variances, 0.0))
    return _finish(gram, variances, _traces(matrices, V, size, seed), genetic)


def _full(lower: Floats) -> Floats:
    """Return the symmetric matrix with this lower triangle."""
    return np.asarray(np.tril(lower) + np.tril(lower, -1).T)


def _definite(matrices: list[Floats], variances: Floats) -> Floats:
    m = len(matrices[0])
    V = np.zeros((m, m))
    for value, M in zip(variances, matrices, strict=False):
        V += value * M
    if len(variances) > len(matrices):
        V[np.diag_indices(m)] += variances[-1]
    return V


def _traces(matrices: list[Floats], V: Floats, size: int, seed: int) -> Floats:
    """Compute ``2 tr(K_k V K_l V)`` (K, K) with K_last = I."""
    m = len(V)
    if m <= EXACT:
        moved = [scipy.linalg.blas.dsymm(1.0, V.T, M.T) for M in matrices]  # V K_k
        moved += [V] * (size - len(matrices))
        traces = [[float(np.vdot(a, b.T)) for b in moved] for a in moved]
        return 2.0 * np.array(traces)
    signs = np.random.default_rng(seed).integers(0, 2, (m, PROBES)) * 2.0 - 1.0
    ahead = V @ signs
    right = [M @ ahead for M in matrices] + [ahead] * (size - len(matrices))  # K_l V z
    left = [V @ (M @ signs) for M in matrices] + [ahead] * (size - len(matrices))  # V K_k z
    return 2.0 * np.array([[float(np.vdot(a, b)) / PROBES for b in right] for a in left])


def _finish(
    gram: Floats, variances: Floats, spread: Floats, genetic: NDArray[np.bool_]
) -> HasemanElston:
    back = np.linalg.pinv(gram)
    covariance = back @ spread @ back
    h2, se = share_with_se(variances, covariance, genetic)
    return HasemanElston(variances, covariance, h2, se)
