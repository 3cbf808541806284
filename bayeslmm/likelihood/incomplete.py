"""The Gaussian likelihood of T traits with missing values, from the complete covariance.

For complete data ``V = G ⊗ K + R ⊗ I`` and its inverse Λ are diagonal in the eigenbasis of
``K = U diag(s) Uᵀ`` and the canonical basis of G and R (`bayeslmm.likelihood.canonical`). With o
the observed cells (individual, trait), m the missing cells, and r₀ the vector r with zeros at the
missing cells::

    log|V_oo| = log|V| + log|Λ_mm|
    V_oo⁻¹ r  = [Λ (r₀ - x₀)]_o                            x = Λ_mm⁻¹ (Λr₀)_m
    rᵀV_oo⁻¹r' = r₀ᵀΛr'₀ - (Λr₀)_mᵀ Λ_mm⁻¹ (Λr'₀)_m

The blocks of Λ are ``Λ_uv = U diag(w_uv) Uᵀ`` with w_uv = Σ_t Ψ_tu Ψ_tv / d_t, Ψ = Φ⁻¹ and
d_t = h_t s + 1 - h_t. So one evaluation costs |m|²(q + |m|/3) operations for q individuals, whereas
the covariance of the records costs |o|³/3 and several matrices (|o|, |o|).

Accuracy. Λ is unbounded as V becomes singular: at h_t → 1 with a singular K (every centred GRM),
and at a correlation ±1 in both G and R, although V_oo may be regular. The sums above are then
differences of large numbers. The pivots of Λ_mm and the differences themselves show the loss of
digits; if a difference is smaller than `LOST` times its terms, no density is returned (None, -inf).
With kernels on the usual scale this occurs beyond about h_t = 1 - 1e-9. With a well conditioned
V_oo log p is accurate to 1e-8 up to h_t = 1 - 1e-6 and to 1e-5 beyond. Eigenvalues of K within
rounding of zero are set to zero; V must be positive definite, not only V_oo.

References
----------
Dempster, Laird & Rubin (1977) J R Stat Soc B 39:1 (missing records completed); Harville (1997)
Matrix Algebra from a Statistician's Perspective, 8.5 and 13.3 (inverse and determinant of a block).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from bayeslmm.likelihood.canonical import canonical_basis
from bayeslmm.likelihood.fixed_effects import BetaQuadratic
from bayeslmm.likelihood.one_kernel import LOG_2PI
from bayeslmm.numerics import lapack
from bayeslmm.numerics.arrays import Codes, Floats
from bayeslmm.numerics.eigen import eigh, settle
from bayeslmm.system.memory import require_memory

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.likelihood.terms import Term


CLOSE = 1e-12  # relative tolerance of conjugate gradients, in the norm of the preconditioner
STEPS = 60
LOST = 1e-8  # smallest size of a difference, relative to its terms, with enough digits


class Records(NamedTuple):
    """Records from `rotated_records`: ``y = Qf + e`` with f (p,), and e rotated (T, q)."""

    fitted: Floats
    residual: Floats


class Factor(NamedTuple):
    """Λ and the Cholesky factor of Λ_mm: weights w (T, T, q), L (|m|, |m|), log|V_oo|."""

    weights: Floats
    L: Floats
    log_det: float


@dataclass(frozen=True, slots=True, eq=False)
class IncompleteTraits:
    """Kernel, design and pattern of missing values of n records of T traits of q individuals.

    Parameters
    ----------
    eigenvalues
        s (q,).
    vectors
        U (q, q).
    people, traits
        Individual and trait of every record (n,).
    missing
        For each trait the rows (m_t, q) of U of the individuals without it.
    triangle
        R (p, p) of X = QR.
    basis
        Q (n, p), orthonormal columns.
    design
        Qᵀ rotated: (p, T, q), see `rotate`.
    """

    eigenvalues: Floats
    vectors: Floats
    people: Codes
    traits: Codes
    missing: tuple[Floats, ...]
    triangle: Floats
    basis: Floats
    design: Floats

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.people)

    def rotate(self, r: Floats) -> Floats:
        """Multiply ``r₀`` by U trait by trait: rows r (k, n) to (k, T, q)."""
        return _rotate(self.vectors, self.people, self.traits, len(self.missing), r)

    def unrotate(self, rotated: Floats) -> Floats:
        """Return the observed cells (k, n) of rotated rows (k, T, q)."""
        cells = _columns(rotated, self.vectors.T)
        return np.ascontiguousarray(cells[:, self.traits, self.people])


def incomplete_traits(cohort: Cohort, K: Floats, X: Floats) -> IncompleteTraits:
    """Decompose the kernel K (q, q) of a cohort's people, and rotate the design X (n, p)."""
    traits = cohort.trait_index
    q, T = len(K), len(cohort.trait_names)
    if traits is None or len(np.unique(traits * q + cohort.levels)) < cohort.n:
        raise ValueError("several traits and at most one record of each trait of an individual")
    require_memory(8 * 6 * q * q, f"the spectrum of {q} individuals", "use fewer individuals")
    s, U = eigh(K)
    s[np.abs(s) < q * np.finfo(float).eps * s[-1]] = 0.0
    settle(s, U)
    Q, R = scipy.linalg.qr(X, mode="economic")
    seen = np.zeros((T, q), dtype=bool)
    seen[traits, cohort.levels] = True
    missing = tuple(np.ascontiguousarray(U[~one]) for one in seen)
    design = _rotate(U, cohort.levels, traits, T, np.ascontiguousarray(Q.T))
    return IncompleteTraits(s, U, cohort.levels, traits, missing, R, Q, design)


def fast_traits(cohort: Cohort, genetic: Term) -> IncompleteTraits | None:
    """Return `incomplete_traits` of a `bayeslmm.likelihood.terms.trait_term`; None if slower."""
    if cohort.trait_index is None or genetic.kernel is None:
        return None
    q, n = genetic.q, cohort.n
    missing = q * len(cohort.trait_names) - n
    if missing < 0 or missing**2 * (3 * q + missing) > n**3:
        return None
    return incomplete_traits(cohort, genetic.kernel, cohort.X)


def _rotate(U: Floats, people: Codes, traits: Codes, T: int, r: Floats) -> Floats:
    padded = np.zeros((len(r), T, len(U)))
    padded[:, traits, people] = r
    return _columns(padded, U)


def _columns(rows: Floats, U: Floats) -> Floats:
    """Multiply rows (k, T, q) by U (q, q) in one product."""
    return np.asarray((rows.reshape(-1, len(U)) @ U).reshape(rows.shape))


def rotated_records(form: IncompleteTraits, y: Floats) -> Records:
    """Rotate y (n,), once for all evaluations: q²T operations."""
    fitted = form.basis.T @ y
    return Records(fitted, form.rotate((y - form.basis @ fitted)[None])[0])


def factorise(form: IncompleteTraits, G: Floats, R: Floats) -> Factor | None:
    """Compute Λ and Λ_mm = LLᵀ; None if V is not positive definite, or nearly singular."""
    complete = _precision(form, G, R)
    if complete is None:
        return None
    weights, total = complete
    L = _missing_precision(form, weights)
    if len(L):
        diagonal = np.diagonal(L).copy()
        if not lapack.cholesky(L):
            return None
        pivots = np.diagonal(L) ** 2
        if (pivots < LOST * diagonal).any():
            return None
        total += float(np.log(pivots).sum())
    return Factor(weights, L, total)


def _precision(form: IncompleteTraits, G: Floats, R: Floats) -> tuple[Floats, float] | None:
    """Compute the weights w (T, T, q) of Λ and log|V|; None if V is not positive definite."""
    possible, _, inverse, shares, log_det = canonical_basis(
        np.ascontiguousarray(G), np.ascontiguousarray(R)
    )
    if not possible:
        return None
    d = shares[:, :1] * form.eigenvalues + shares[:, 1:]
    if not d.min() > 0.0:
        return None
    weights = np.einsum("tu,tv,tq->uvq", inverse, inverse, 1.0 / d)
    return weights, 2.0 * len(form.eigenvalues) * log_det + float(np.log(d).sum())


def _missing_precision(form: IncompleteTraits, weights: Floats) -> Floats:
    """Compute Λ_mm, its lower triangle by blocks of traits."""
    ends = np.cumsum([0, *(len(rows) for rows in form.missing)])
    out = np.zeros((ends[-1], ends[-1]))
    for u, rows in enumerate(form.missing):
        here = slice(ends[u], ends[u + 1])
        half = rows * np.sqrt(weights[u, u])
        out[here, here] = np.dot(half, half.T)  # symmetric, so half the operations
        for v in range(u):
            block = np.dot(rows * weights[u, v], form.missing[v].T)
            out[here, ends[v] : ends[v + 1]] = block
    return out


def _times_precision(weights: Floats, rotated: Floats) -> Floats:
    """Multiply rotated rows (k, T, q) by Λ; weights of one Λ, or of one per row."""
    return np.asarray(np.einsum("...uvq,...vq->...uq", weights, rotated))


def _at_missing(form: IncompleteTraits, rotated: Floats) -> Floats:
    """Return the missing cells (k, |m|) of rotated rows (k, T, q)."""
    parts = [rotated[:, t] @ rows.T for t, rows in enumerate(form.missing)]
    return np.ascontiguousarray(np.hstack(parts))


def _from_missing(form: IncompleteTraits, x: Floats) -> Floats:
    """Rotate rows x (k, |m|) at the missing cells, zeros elsewhere: (k, T, q)."""
    ends = np.cumsum([0, *(len(rows) for rows in form.missing)])
    parts = [x[:, ends[t] : ends[t + 1]] @ rows for t, rows in enumerate(form.missing)]
    return np.stack(parts, axis=1)


def quadratic(
    form: IncompleteTraits, records: Records, G: Floats, R: Floats
) -> BetaQuadratic | None:
    """Return log p(y | β, G, R) as a quadratic in β.

    Parameters
    ----------
    form
        Kernel, design and pattern.
    records
        `rotated_records` of y.
    G, R
        Genetic and residual covariance of the traits (T, T).

    Returns
    -------
    BetaQuadratic or None
        None if the covariance is not positive definite, or digits are lost (see above).
    """
    factor = factorise(form, G, R)
    if factor is None:
        return None
    rows = np.concatenate([records.residual[None], form.design])
    applied = _times_precision(factor.weights, rows)
    whole = rows.reshape(len(rows), -1) @ applied.reshape(len(rows), -1).T
    Z = _at_missing(form, applied)
    if len(factor.L):
        lapack.solve_lower(factor.L, Z)
    products = whole - Z @ Z.T  # of [e, Q]ᵀ V_oo⁻¹ [e, Q]
    if (np.diagonal(products) < LOST * np.diagonal(whole)).any():
        return None
    try:
        A = np.linalg.cholesky(products[1:, 1:]).T
    except np.linalg.LinAlgError:
        return None
    w = np.linalg.solve(A.T, products[1:, 0])
    level = -0.5 * (form.n * LOG_2PI + factor.log_det + products[0, 0] - w @ w)
    return BetaQuadratic(float(level), A @ form.triangle, w + A @ records.fitted)  # e = y - Qf


def _solve_rotated(form: IncompleteTraits, G: Floats, R: Floats, rotated: Floats) -> Floats:
    factor = factorise(form, G, R)
    if factor is None:
        raise np.linalg.LinAlgError("the covariance of the traits is not positive definite")
    applied = _times_precision(factor.weights, rotated)
    if len(factor.L) == 0:
        return applied
    x = _at_missing(form, applied)
    lapack.solve_lower(factor.L, x)
    lapack.solve_lower(factor.L, x, transpose=True)
    return np.asarray(applied - _times_precision(factor.weights, _from_missing(form, x)))


def solve_each(form: IncompleteTraits, G: Floats, R: Floats, r: Floats) -> Floats:
    """Compute ``V_oo⁻¹ r`` for every row of r (k, n) with its own draw of G and R (k, T, T).

    ``Λ_mm x = b`` is solved by conjugate gradients for all rows at once, with the mean of their
    Λ_mm as preconditioner. An iteration costs 4|m|q operations per row, and posterior draws need
    few iterations. Rows that have not converged to `CLOSE` after `STEPS` are solved directly.
    """
    found = [_precision(form, *pair) for pair in zip(G, R, strict=True)]
    rotated = form.rotate(r)
    if any(one is None for one in found):
        raise np.linalg.LinAlgError("the covariance of the traits is not positive definite")
    weights = np.stack([one[0] for one in found if one is not None])
    L = _missing_precision(form, weights.mean(axis=0))
    applied = _times_precision(weights, rotated)
    if len(L) == 0:
        return form.unrotate(applied)
    converged = np.zeros(len(r), dtype=bool)
    x = np.zeros((len(r), len(L)))
    if lapack.cholesky(L):
        x, converged = _conjugate_gradients(form, weights, L, _at_missing(form, applied))
    out = applied - _times_precision(weights, _from_missing(form, x))
    for i in np.flatnonzero(~converged):
        out[i] = _solve_rotated(form, G[i], R[i], rotated[i : i + 1])[0]
    return form.unrotate(out)


def _conjugate_gradients(
    form: IncompleteTraits, weights: Floats, L: Floats, b: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Solve ``Λ_mm x = b`` for every row's Λ; return x (k, |m|) and which rows converged."""

    def preconditioned(rows: Floats) -> Floats:
        z = rows.copy()
        lapack.solve_lower(L, z)
        lapack.solve_lower(L, z, transpose=True)
        return z

    x, r = np.zeros_like(b), b.copy()
    z = preconditioned(r)
    direction = z.copy()
    size = (r * z).sum(axis=1)
    enough = CLOSE**2 * size
    for _ in range(STEPS):
        image = _at_missing(form, _times_precision(weights, _from_missing(form, direction)))
        curvature = (direction * image).sum(axis=1)
        step = np.divide(size, curvature, out=np.zeros_like(size), where=curvature > 0.0)[:, None]
        x += step * direction
        r -= step * image
        z = preconditioned(r)
        new = (r * z).sum(axis=1)
        if (new <= enough).all():
            break
        ratio = np.divide(new, size, out=np.zeros_like(new), where=size > 0.0)
        direction = z + ratio[:, None] * direction
        size = new
    return x, new <= enough
