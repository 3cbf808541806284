"""The Gaussian likelihood of several kernels: one Cholesky factorisation per evaluation.

    y | β, c ~ N(Xβ, V(c)),     V(c) = Σ_k c_k M_k

Several kernels have no common eigenbasis. The records are rotated once by the orthogonal matrix
``W = [Q_c, Q₁]``, the error contrasts first, then the column space of X = Q₁R, so that
``WᵀX = [0; R]``. With ``WᵀVW = L Lᵀ``, ``z = L⁻¹Wᵀy``, w its last p entries and ``A = L_qq⁻¹R``::

    log p(y | β, c) = -½ [ n log 2π + 2 Σ log L_ii + |z|² ] + βᵀAᵀw - ½ |Aβ|²

which is exact for every β from one factorisation; the terms without β contain the restricted log
likelihood. Gradients also need the inverse, at twice the cost of the factorisation::

    ∂/∂β = Xᵀα     ∂/∂c_k = ½ [ αᵀM_kα - tr(V⁻¹M_k) ]     α = V⁻¹(y - Xβ)

References
----------
Patterson & Thompson (1971) Biometrika 58:545; Gilmour, Thompson & Cullis (1995) Biometrics 51:1440.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from bayeslmm.likelihood.decompose import apply_q
from bayeslmm.likelihood.fixed_effects import BetaQuadratic, integrate_beta
from bayeslmm.likelihood.one_kernel import LOG_2PI
from bayeslmm.likelihood.terms import Covariance
from bayeslmm.numerics import lapack
from bayeslmm.numerics.arrays import Floats
from bayeslmm.system.memory import require_memory


@dataclass(frozen=True, eq=False)
class DenseForm:
    """The matrices of a covariance and the design in rotated coordinates.

    Parameters
    ----------
    covariance
        The covariance as a sum of terms.
    identity
        Whether a last coefficient, after one for each matrix of the stack, multiplies I.
    triangle
        R (p, p), upper triangular.
    reflectors
        The orthogonal factor of X from `scipy.linalg.qr(mode="raw")`: (n, p) and (p,).
    """

    covariance: Covariance
    identity: bool
    triangle: Floats
    reflectors: tuple[Floats, Floats]

    @cached_property
    def stack(self) -> Floats:
        """``WᵀM_kW`` (K, n, n); only the lower triangles are used."""
        n, size = self.n, self.covariance.size - self.identity
        require_memory(
            8 * n * n * (size + 5), f"{size} kernels of {n} records", "use fewer records or kernels"
        )
        stack = np.empty((size, n, n))
        for k, M in zip(range(size), self.covariance.matrices(), strict=False):
            half = apply_q(*self.reflectors, M, transpose=True)
            full = apply_q(*self.reflectors, half.T, transpose=True)
            stack[k] = (0.5 * (full + full.T))[np.ix_(self._order, self._order)]
        return stack

    @cached_property
    def basis(self) -> Floats:
        """W (n, n), orthogonal."""
        Q = apply_q(*self.reflectors, np.eye(self.n), transpose=False)
        return np.ascontiguousarray(Q[:, self._order])

    @property
    def _order(self) -> NDArray[np.intp]:
        return np.asarray(np.r_[self.p : self.n, : self.p], dtype=np.intp)

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.reflectors[0])

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return len(self.triangle)

    @property
    def design(self) -> Floats:
        """X (n, p)."""
        padded = np.zeros((self.n, self.p))
        padded[: self.p] = self.triangle
        return apply_q(*self.reflectors, padded, transpose=False)

    def rotate(self, y: Floats) -> Floats:
        """Compute ``Wᵀy`` of y (n,)."""
        column = apply_q(*self.reflectors, np.asarray(y)[:, None], transpose=True)
        return np.asarray(column[self._order, 0])

    def factor(self, c: Floats) -> Floats | None:
        """Compute the Cholesky factor L (n, n) of ``WᵀV(c)W``; None if V is not definite."""
        L = np.zeros((self.n, self.n))  # the upper triangle must be finite for SciPy's checks
        k = len(self.stack)
        assemble(self.stack, np.ascontiguousarray(c[:k]), float(c[k]) if self.identity else 0.0, L)
        return L if lapack.cholesky(L) else None


def dense_form(covariance: Covariance, X: Floats, *, lazy: bool = False) -> DenseForm:
    """Rotate every matrix of a covariance by the design X (n, p), of full column rank.

    With `lazy` they are rotated when first needed.
    """
    reflectors, R = scipy.linalg.qr(X, mode="raw")
    triangle = np.ascontiguousarray(np.triu(R[: X.shape[1]]))
    form = DenseForm(covariance, covariance.classes == 1, triangle, reflectors)
    if not lazy:
        _ = form.stack
    return form


@numba.njit(cache=True, nogil=True)
def assemble(stack: Floats, c: Floats, diagonal: float, out: Floats) -> None:
    """Fill the lower triangle of `out` with ``Σ c_k stack_k + diagonal I``."""
    n = out.shape[0]
    for i in range(n):
        row = out[i, : i + 1]
        row[:] = c[0] * stack[0, i, : i + 1]
        for k in range(1, len(c)):
            ck, source = c[k], stack[k, i, : i + 1]
            for j in range(i + 1):
                row[j] += ck * source[j]
        row[i] += diagonal


@numba.njit(cache=True, nogil=True)
def half_scores(stack: Floats, inverse: Floats, alpha: Floats, out: Floats) -> None:
    """Fill `out` with ``½[αᵀM_kα - tr(V⁻¹M_k)]`` from lower triangles; last, if longer, for I."""
    n = len(alpha)
    for k in range(len(stack)):
        total = 0.0
        for i in range(n):
            ai = alpha[i]
            row, M = inverse[i], stack[k, i]
            part = 0.0
            for j in range(i):
                part += (ai * alpha[j] - row[j]) * M[j]
            total += part + 0.5 * (ai * ai - row[i]) * M[i]
        out[k] = total
    if len(out) > len(stack):
        total = 0.0
        for i in range(n):
            total += alpha[i] * alpha[i] - inverse[i, i]
        out[len(stack)] = 0.5 * total


def beta_quadratic(form: DenseForm, rotated: Floats, c: Floats) -> BetaQuadratic | None:
    """Return log p(y | β, c) as a quadratic in β; None if V(c) is not positive definite.

    Parameters
    ----------
    form
        The rotated matrices.
    rotated
        ``Wᵀy`` (n,).
    c
        Coefficients.
    """
    L = form.factor(c)
    return None if L is None else quadratic_of(form, L, rotated)


def quadratic_of(form: DenseForm, L: Floats, rotated: Floats) -> BetaQuadratic:
    """Return `beta_quadratic` from a given Cholesky factor L (n, n)."""
    n, m = form.n, form.n - form.p
    z = rotated.copy()
    lapack.solve_lower(L, z)
    A = scipy.linalg.solve_triangular(L[m:, m:], form.triangle, lower=True, check_finite=False)
    log_det = 2.0 * float(np.log(np.diagonal(L)).sum())
    rss = float(z[:m] @ z[:m])
    return BetaQuadratic(-0.5 * (n * LOG_2PI + log_det + rss), np.asarray(A), z[m:], rss)


def dense_logp(
    form: DenseForm, rotated: Floats, beta: Floats, c: Floats
) -> tuple[float, Floats, Floats]:
    """Compute log p(y | β, c) and its gradients in β and c; -inf, zeros if V is not definite."""
    out = np.zeros(len(c))
    L = form.factor(c)
    if L is None:
        return -np.inf, np.zeros(form.p), out
    m = form.n - form.p
    residual = rotated.copy()
    residual[m:] -= form.triangle @ beta
    lapack.solve_lower(L, residual)
    log_det = 2.0 * float(np.log(np.diagonal(L)).sum())
    logp = -0.5 * (form.n * LOG_2PI + log_det + float(residual @ residual))
    lapack.solve_lower(L, residual, transpose=True)
    lapack.inverse(L)
    half_scores(form.stack, L, residual, out)
    return logp, form.triangle.T @ residual[m:], out


def marginal_gradient(
    form: DenseForm, rotated: Floats, mean: Floats, factor: Floats | None, c: Floats
) -> tuple[float, Floats]:
    """Compute log p(y | c) and ∂/∂c, β ~ N(mean, factor factorᵀ) integrated out (flat: None).

    ``V_β⁻¹ = V⁻¹ - V⁻¹XF (I + FᵀXᵀV⁻¹XF)⁻¹ FᵀXᵀV⁻¹`` replaces V⁻¹. Under a flat prior F = I, and
    the inner I is absent.
    """
    out = np.zeros(len(c))
    L = form.factor(c)
    if L is None:
        return -np.inf, out
    m, p = form.n - form.p, form.p
    quadratic = quadratic_of(form, L, rotated)
    value = integrate_beta(quadratic, mean, factor)
    F = np.eye(p) if factor is None else factor
    B = np.zeros((p + 1, form.n))  # rows: the columns of WᵀXF, then the residual
    B[:p, m:] = (form.triangle @ F).T
    B[p] = rotated
    B[p, m:] -= form.triangle @ mean
    lapack.solve_lower(L, B)
    middle = B[:p] @ B[:p].T + (0.0 if factor is None else np.eye(p))
    lapack.solve_lower(L, B, transpose=True)
    half = np.linalg.solve(np.linalg.cholesky(middle), B[:p])  # (p, n)
    scores = half[:, m:] @ (rotated[m:] - form.triangle @ mean) + half[:, :m] @ rotated[:m]
    alpha = B[p] - half.T @ scores
    lapack.inverse(L)
    downdate(L, np.ascontiguousarray(half))
    half_scores(form.stack, L, alpha, out)
    return value, out


@numba.njit(cache=True, nogil=True)
def downdate(A: Floats, half: Floats) -> None:
    """Subtract ``halfᵀ half`` from the lower triangle of A in place; half (p, n)."""
    p, n = half.shape
    for i in range(n):
        for k in range(p):
            h = half[k, i]
            for j in range(i + 1):
                A[i, j] -= h * half[k, j]
