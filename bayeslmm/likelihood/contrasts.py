"""Error contrasts of one trait, and their whitening by V, for all forms of V.

Q (n, m) is an orthonormal basis of the space orthogonal to X, ``e = Qᵀy`` and ``QᵀV(c)Q = H Hᵀ``.
With one kernel Q holds eigenvectors and H is diagonal; with several H is a Cholesky factor. The
projection ``P = Q (QᵀVQ)⁻¹ Qᵀ`` gives the distribution of each record given all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import scipy.linalg

from bayeslmm.likelihood.dense import DenseForm
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Codes, Floats
from bayeslmm.relationship.relationship import row_blocks


class Whitened(Protocol):
    """Error contrasts whitened at given variances."""

    @property
    def white(self) -> Floats:
        """``H⁻¹e`` (m,): independent and standard normal if the model holds."""

    def scores(self) -> Floats:
        """Compute ``Py`` (n,)."""

    def diagonal(self) -> Floats:
        """Compute the diagonal ``P_ii`` (n,)."""

    def block(self, rows: Codes) -> Floats:
        """Compute the block ``P_FF`` of records F."""

    def residuals(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw residuals (n, count) of data simulated from the model."""


class Contrasts(Protocol):
    """Error contrasts of the n records of one trait."""

    @property
    def n(self) -> int:
        """Number of records."""

    @property
    def cheap(self) -> bool:
        """Whether a new V needs no factorisation."""

    @property
    def form(self) -> DenseForm | None:
        """The matrices of several kernels; None with one kernel in its eigenbasis."""

    def residuals(self) -> Floats:
        """Compute the least-squares residuals ``r = QQᵀy`` (n,)."""

    def at(self, c: Floats) -> Whitened:
        """Whiten by V(c), c (K,) the variances of the components."""

    def replicates(self, c: Floats, each: int, rng: np.random.Generator) -> Floats:
        """Draw residuals (n, draws × each) of replicated data at draws of c (draws, K)."""


@dataclass(frozen=True, slots=True, eq=False)
class KernelContrasts:
    """Error contrasts with one kernel: ``QᵀVQ = diag(d)``, d = σ²_u s + σ²_e."""

    spectrum: Spectrum
    y: Floats

    cheap = True
    form = None

    @property
    def n(self) -> int:
        """Number of records."""
        return self.spectrum.n

    def residuals(self) -> Floats:
        """Compute ``r = QQᵀy`` (n,)."""
        basis = self.spectrum.basis
        W1 = basis.columns[:, : self.spectrum.p]
        return np.asarray(self.y - W1 @ (W1.T @ self.y))

    def at(self, c: Floats) -> KernelWhitened:
        """Whiten by ``V = c_0 K + c_1 I``."""
        return KernelWhitened(self, float(c[0]), float(c[1]))

    def replicates(self, c: Floats, each: int, rng: np.random.Generator) -> Floats:
        """Draw replicated residuals (n, draws × each) by one matrix product."""
        basis, inside, outside = self.spectrum.basis, [], []
        s = self.spectrum.eigenvalues[basis.nodes :]
        for a, b in c:
            inside.append(np.sqrt(a * s + b)[:, None] * rng.standard_normal((s.size, each)))
            if basis.nodes:
                outside.append(np.sqrt(b) * rng.standard_normal((basis.n, each)))
        found = basis.columns[:, self.spectrum.p :] @ np.hstack(inside)
        return np.asarray(found + basis.outside(np.hstack(outside)) if outside else found)


@dataclass(frozen=True, slots=True, eq=False)
class KernelWhitened:
    """Whitened contrasts with one kernel, at the variances a = σ²_u and b = σ²_e."""

    contrasts: KernelContrasts
    a: float
    b: float

    @property
    def _kept(self) -> tuple[Floats, Floats]:
        """Return the stored eigenvectors V (n, r) and their variances d (r,)."""
        spectrum = self.contrasts.spectrum
        s = spectrum.eigenvalues[spectrum.basis.nodes :]
        return spectrum.basis.columns[:, spectrum.p :], self.a * s + self.b

    @property
    def white(self) -> Floats:
        """``H⁻¹e`` (m,)."""
        s, e = self.contrasts.spectrum.contrasts(self.contrasts.y)
        return np.asarray(e / np.sqrt(self.a * s + self.b))

    def scores(self) -> Floats:
        """Compute ``Py`` (n,)."""
        (V, d), y = self._kept, self.contrasts.y
        found = V @ ((V.T @ y) / d)
        basis = self.contrasts.spectrum.basis
        return np.asarray(found + basis.outside(y) / self.b if basis.nodes else found)

    def diagonal(self) -> Floats:
        """Compute the diagonal ``P_ii`` (n,)."""
        (V, d), basis = self._kept, self.contrasts.spectrum.basis
        out = np.empty(basis.n)
        for rows in row_blocks(basis.n):
            out[rows] = np.square(V[rows]) @ (1.0 / d)
            if basis.nodes:
                out[rows] += (1.0 - np.square(basis.columns[rows]).sum(axis=1)) / self.b
        return out

    def block(self, rows: Codes) -> Floats:
        """Compute the block ``P_FF`` of records F."""
        (V, d), basis = self._kept, self.contrasts.spectrum.basis
        half = V[rows] / np.sqrt(d)
        found = half @ half.T
        if basis.nodes:
            W = basis.columns[rows]
            found += (np.eye(len(W)) - W @ W.T) / self.b
        return np.asarray(found)

    def residuals(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw residuals (n, count) of data simulated from the model."""
        (V, d), basis = self._kept, self.contrasts.spectrum.basis
        found = V @ (np.sqrt(d)[:, None] * rng.standard_normal((d.size, count)))
        if basis.nodes:
            found += np.sqrt(self.b) * basis.outside(rng.standard_normal((basis.n, count)))
        return np.asarray(found)


@dataclass(frozen=True, slots=True, eq=False)
class DenseContrasts:
    """Error contrasts with several kernels: a Cholesky factor of ``QᵀVQ`` for each V."""

    matrices: DenseForm
    y: Floats

    cheap = False

    @property
    def n(self) -> int:
        """Number of records."""
        return self.matrices.n

    @property
    def form(self) -> DenseForm:
        """The rotated matrices of the kernels."""
        return self.matrices

    @property
    def Q(self) -> Floats:
        """A basis of the contrasts (n, m)."""
        return self.matrices.basis[:, : self.n - self.matrices.p]

    @property
    def e(self) -> Floats:
        """The contrasts (m,)."""
        return self.matrices.rotate(self.y)[: self.n - self.matrices.p]

    def residuals(self) -> Floats:
        """Compute ``r = QQᵀy`` (n,)."""
        return np.asarray(self.Q @ self.e)

    def at(self, c: Floats) -> DenseWhitened:
        """Whiten by ``V = Σ c_k M_k``."""
        m = self.n - self.matrices.p
        H = self.matrices.factor(np.ascontiguousarray(c))
        if H is None:
            raise np.linalg.LinAlgError("the covariance is not positive definite")
        return DenseWhitened(self, np.tril(H[:m, :m]))

    def replicates(self, c: Floats, each: int, rng: np.random.Generator) -> Floats:
        """Draw replicated residuals (n, draws × each), with one factorisation per draw."""
        return np.hstack([self.at(one).residuals(each, rng) for one in c])


@dataclass(frozen=True, slots=True, eq=False)
class DenseWhitened:
    """Whitened contrasts with several kernels; H (m, m) is lower triangular."""

    contrasts: DenseContrasts
    H: Floats

    @property
    def white(self) -> Floats:
        """``H⁻¹e`` (m,)."""
        return self._solve(self.contrasts.e)

    def scores(self) -> Floats:
        """Compute ``Py`` (n,)."""
        return np.asarray(self.contrasts.Q @ self._solve(self.white, trans="T"))

    def diagonal(self) -> Floats:
        """Compute the diagonal ``P_ii`` (n,)."""
        out = np.empty(self.contrasts.n)
        for rows in row_blocks(out.size):
            out[rows] = np.square(self._half(rows)).sum(axis=0)
        return out

    def block(self, rows: Codes) -> Floats:
        """Compute the block ``P_FF`` of records F."""
        half = self._half(rows)
        return np.asarray(half.T @ half)

    def residuals(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw residuals (n, count) of data simulated from the model."""
        return np.asarray(self.contrasts.Q @ (self.H @ rng.standard_normal((len(self.H), count))))

    def _half(self, rows: Any) -> Floats:
        """Compute ``H⁻¹ Q_Fᵀ`` (m, rows)."""
        return self._solve(self.contrasts.Q[rows].T)

    def _solve(self, right: Floats, trans: Literal["N", "T"] = "N") -> Floats:
        return np.asarray(
            scipy.linalg.solve_triangular(
                self.H, right, lower=True, trans=trans, check_finite=False
            )
        )
