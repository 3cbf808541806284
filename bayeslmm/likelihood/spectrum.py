"""The spectrum of one kernel as nodes with weights, after projecting out the fixed effects.

Likelihood, engines and posterior use the `Spectrum` at a cost of O(p²) per node and evaluation.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.likelihood.basis import Basis
from bayeslmm.likelihood.spectrum_file import read_arrays, write_arrays
from bayeslmm.numerics.arrays import Floats
from bayeslmm.system.files import PathArg

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Spectrum:
    """Kernel K and design X of n records in the basis ``W = [Q₁, V]``.

    ``X = Q₁R``, and V are eigenvectors of ``Q_cᵀKQ_c``, Q_c a basis of the error contrasts, so that
    ``WᵀX = [R; 0]`` and ``WᵀKW = [[K₁₁, C], [Cᵀ, diag(s)]]``. A node represents w contrasts, w its
    weight: ``log|V| = Σ w log d``, traces are ``Σ w s/d``. Only the eigenvalue zero has a weight
    other than one; its eigenvectors need not be stored (`Basis`).

    Parameters
    ----------
    eigenvalues
        s (k,), ascending, non-negative.
    weights
        w (k,), with sum m = n - p.
    coupling
        C (p, k): between the column space of X and the contrasts (0 for X = 1 and a centred GRM).
    schur
        T = K₁₁ - C s⁺ Cᵀ (p, p), positive semidefinite.
    triangle
        R (p, p), upper triangular.
    basis
        W, orthonormal columns.
    key
        SHA-256 of (K, X), to recognise a spectrum on disk.
    """

    eigenvalues: Floats
    weights: Floats
    coupling: Floats
    schur: Floats
    triangle: Floats
    basis: Basis
    key: str

    def __repr__(self) -> str:
        return f"Spectrum(n={self.n}, p={self.p}, rank={self.rank}, key={self.key[:8]!r})"

    @property
    def n(self) -> int:
        """Number of records."""
        return self.basis.n

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return int(self.triangle.shape[0])

    @property
    def m(self) -> int:
        """Number of error contrasts, n - p."""
        return self.n - self.p

    @property
    def nodes(self) -> int:
        """Number of nodes, m or fewer."""
        return self.eigenvalues.size

    @property
    def rank(self) -> int:
        """Number of non-zero eigenvalues among the contrasts."""
        return int(np.count_nonzero(self.eigenvalues))

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return self.basis.columns.nbytes + self.coupling.nbytes

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """(s, w, C, T, R), the arguments of the compiled densities."""
        return self.eigenvalues, self.weights, self.coupling, self.schur, self.triangle

    @property
    def design(self) -> Floats:
        """X (n, p)."""
        return np.asarray(self.basis.columns[:, : self.p] @ self.triangle)

    def rotate(self, y: Floats) -> Floats:
        """Compute ``Wᵀy = [q; e]`` of y (n,) or columns (n, t), with one value of e per node."""
        return self.basis.rotate(y)

    def unrotate(self, rotated: Floats) -> Floats:
        """Rotate back values in the space of W, such as genetic values."""
        return self.basis.unrotate(rotated)

    def together(self, traits: int) -> Spectrum:
        """Return the spectrum for rotating `traits` traits together (`Basis.rotate`)."""
        if not self.basis.null or self.basis.nodes == traits:
            return self
        old, null = self.basis.nodes, float(self.basis.null)
        s = np.concatenate([np.zeros(traits), self.eigenvalues[old:]])
        w = np.concatenate([np.full(traits, null / traits), self.weights[old:]])
        C = np.hstack([np.zeros((self.p, traits)), self.coupling[:, old:]])
        basis = self.basis.together(traits)
        return Spectrum(s, w, np.ascontiguousarray(C), self.schur, self.triangle, basis, self.key)

    def expanded(self, rotated: Floats) -> tuple[Floats, Floats]:
        """Return eigenvalues (m,) and contrasts (m,) or (m, t) with the sums of squares of nodes.

        It serves estimates from quadratic forms. For a node of several contrasts one of them gets
        their norm and the others are zero; `contrasts` returns the actual values.
        """
        (s, e), many, null = (
            (self.eigenvalues, rotated[self.p :]),
            self.basis.nodes,
            self.basis.null,
        )
        if not many:
            return s, e
        rest = e[:many]
        if null < many:  # fewer dimensions than traits: reduce to rows with equal inner products
            _, lengths, directions = np.linalg.svd(rest)
            rest = lengths[:null, None] * directions[:null]
        zeros = np.zeros((null - len(rest), *e.shape[1:]))
        return np.concatenate([np.zeros(null), s[many:]]), np.concatenate([zeros, rest, e[many:]])

    def contrasts(self, y: Floats) -> tuple[Floats, Floats]:
        """Return eigenvalues (m,) and all error contrasts (m,) or (m, t) of records y."""
        basis = self.basis
        if not basis.nodes:
            return self.eigenvalues, self.rotate(y)[self.p :]
        inside = basis.project(y)[self.p + basis.nodes :]
        outside = basis.complement(y)
        s = np.concatenate([np.zeros(basis.null), self.eigenvalues[basis.nodes :]])
        return s, np.concatenate([outside, inside])

    def leading_axis(self) -> Floats:
        """Return the eigenvector (n,) of the largest eigenvalue."""
        return np.ascontiguousarray(self.basis.columns[:, -1])

    def kernel(self) -> Floats:
        """Reconstruct K (n, n) from its parts."""
        s, C, p = self.eigenvalues[self.basis.nodes :], self.coupling[:, self.basis.nodes :], self.p
        inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
        W1, W2 = self.basis.columns[:, :p], self.basis.columns[:, p:]
        cross = W1 @ C @ W2.T
        K = (W2 * s) @ W2.T + cross + cross.T
        K += W1 @ (self.schur + (C * inverse) @ C.T) @ W1.T
        return np.asarray(0.5 * (K + K.T))

    def save(self, path: PathArg) -> None:
        """Write a `.npz` file (no pickles), atomically."""
        s, w, C, T, R = self.together(1).arrays  # in the form for one trait, as in `load`
        arrays = {"eigenvalues": s, "weights": w, "coupling": C, "schur": T, "triangle": R}
        write_arrays(path, arrays | {"basis": self.basis.columns}, self.key)

    @classmethod
    def load(cls, path: PathArg) -> Spectrum:
        """Read a file written by `save`.

        Raises
        ------
        InputError
            If the file is missing, damaged or not a spectrum.
        """
        found, key = read_arrays(path)
        s, w, C, T, R, W = found.values()
        nodes = len(s) + len(R) - W.shape[1]
        return cls(s, w, C, T, R, Basis(np.ascontiguousarray(W), len(R), nodes), key)


class SpectrumCache:
    """Cache of spectra: of all models in memory, and the newest if it is not too large.

    Spectra of existing models take no extra memory. The newest is also stored, so the next trait,
    or the next model with the same kernel, reuses it.

    Parameters
    ----------
    most
        Largest size in bytes of a spectrum stored without a model. 0 disables the cache.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._alive: weakref.WeakValueDictionary[str, Spectrum] = weakref.WeakValueDictionary()
        self._newest: Spectrum | None = None

    def get(self, key: str, make: Callable[[], Spectrum]) -> Spectrum:
        """Return the spectrum of a key; compute it by `make` if not in the cache."""
        found = self._alive.get(key)
        if found is None:
            self._newest = None  # free its memory before allocating more
            found = make()
        if self.most:
            self._alive[key] = found
        self._newest = found if found.nbytes <= self.most else None
        return found

    def clear(self) -> None:
        """Empty the cache."""
        self._newest = None
        self._alive.clear()


SPECTRA = SpectrumCache(int(os.environ.get("BAYESLMM_SPECTRUM_CACHE", str(2 * 1024**3))))
