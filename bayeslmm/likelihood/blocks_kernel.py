"""Blocks of the precision matrix with one kernel, for one or several traits, in its eigenbasis.

In the canonical basis of the traits (`bayeslmm.likelihood.canonical`; with one trait Ψ = 1) the
traits u are independent with variances a_u K + b_u I. With d_u = a_u s + b_u, C, T, R and ``W =
[W₁, W₂]`` of the spectrum, and ``Var β = F Fᵀ``::

    M = Σ_u ψ_uψ_uᵀ ⊗ W₂ D_u⁻¹ W₂ᵀ + Z (S + R̃FFᵀR̃ᵀ)⁻¹ Zᵀ
    Z_u = ψ_u ⊗ (W₁ - a_u W₂ D_u⁻¹ Cᵀ)      S_u = b_u I + a_u T + a_u b_u C diag(1/(s d_u)) Cᵀ
    R̃_u = ψ_uᵀ ⊗ R

Under a flat prior of β the second term is absent. The first, for a pair of records i, j, is
``Σ_k W_ik W_jk / d_k = φ(log a/b) / b`` with ``φ(z) = Σ_k W_ik W_jk / (1 + s_k e^z)``. φ is
analytic for |Im z| < π, so it is computed at tens of Chebyshev points instead of thousands of draws
and interpolated (`bayeslmm.numerics.chebyshev`). The remainder costs O(n²) per draw, p + 1 matrix
products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.likelihood.blocks import (
    Blocks,
    Conditionals,
    allocate,
    fill_block,
    fill_singles,
)
from bayeslmm.likelihood.canonical import canonical_bases
from bayeslmm.likelihood.one_kernel_solve import solve_parts
from bayeslmm.numerics.arrays import Codes, Floats
from bayeslmm.numerics.chebyshev import Nodes, chebyshev
from bayeslmm.numerics.executor import run
from bayeslmm.system.memory import available_cores

if TYPE_CHECKING:
    from bayeslmm.likelihood.spectrum import Spectrum


WORKING = 1e8  # largest size of an intermediate array, in bytes


@dataclass(frozen=True, slots=True, eq=False)
class KernelBlocks:
    """Blocks of the precision matrix of T traits of n individuals with one kernel.

    Parameters
    ----------
    spectrum
        Spectrum of the kernel and X.
    y
        Records (nT,), trait by trait.
    rotated
        ``WᵀY`` (p + k, T).
    outside
        The component of Y (n, T) orthogonal to W.
    """

    spectrum: Spectrum
    y: Floats
    rotated: Floats
    outside: Floats

    @property
    def traits(self) -> int:
        """T."""
        return int(self.rotated.shape[1])

    def conditionals(
        self, G: Floats, R: Floats, mean: Floats, factor: Floats | None, blocks: Blocks
    ) -> Conditionals:
        """Compute the conditionals at every draw.

        Parameters
        ----------
        G, R
            Draws of the genetic and residual covariance of the traits (S, T, T).
        mean, factor
            Prior of β, N(mean, factor factorᵀ): mean (pT,) or, by draw, (S, pT); factor None: flat.
        blocks
            The blocks of records left out.
        """
        psi, a, b = _canonical(G, R)
        draws = len(a)
        mean = np.broadcast_to(mean, (draws, mean.shape[-1]))
        out = allocate(draws, blocks)
        sums = _SpectralSums(self.spectrum, a, b)
        numbers = self.spectrum.n * max(self.spectrum.p, 2) * self.traits
        numbers = max(numbers, 4 * max(len(one) for one in blocks.members) ** 2)
        step = int(np.clip(WORKING / (8 * numbers), 1, draws))
        for start in range(0, draws, step):
            part = slice(start, min(start + step, draws))
            one = _DrawBlock(self, psi[part], a[part], b[part], mean[part], factor, sums)
            one.fill(out, part, blocks)
        return out


def _canonical(G: Floats, R: Floats) -> tuple[Floats, Floats, Floats]:
    """Return Ψ (S, T, T) with the rows ψ_u, and a, b (S, T)."""
    first, _, psi, shares = canonical_bases(np.ascontiguousarray(G), np.ascontiguousarray(R))
    if first >= 0:
        raise InputError(
            f"draw {first + 1} has a singular phenotypic covariance, or an invalid one",
            "covariances of the traits that are positive definite",
            "look at the draws of variance, r_g and r_e",
        )
    return psi, shares[..., 0], shares[..., 1]


class _DrawBlock:
    """A block of draws, with the quantities common to all blocks of records."""

    def __init__(
        self,
        data: KernelBlocks,
        psi: Floats,
        a: Floats,
        b: Floats,
        mean: Floats,
        factor: Floats | None,
        sums: _SpectralSums,
    ) -> None:
        S, self.psi, self.y = data.spectrum, psi, data.y
        self.b, self.sums = b, sums
        draws, T = a.shape
        self.basis, self.n, self.p = S.basis, S.n, S.p
        self.outside = data.outside if S.basis.nodes else None
        self.C, self.a = S.coupling, a
        r = np.broadcast_to(data.rotated.T, (draws, T, S.p + S.nodes)).copy()  # per trait
        r[:, :, : S.p] -= mean.reshape(draws, T, S.p) @ S.triangle.T
        r = psi @ r  # per canonical trait
        parts = [solve_parts(S, a[:, u : u + 1], b[:, u : u + 1]) for u in range(T)]
        self.inverse = np.stack([1.0 / d for _, _, d, _ in parts], axis=1)  # (draws, T, m)
        self.v = np.zeros_like(r)  # M r in the canonical traits, rotated
        self.v[:, :, S.p :] = r[:, :, S.p :] * self.inverse
        self.root: Floats | None = None  # L⁻¹, L Lᵀ = S + R̃FFᵀR̃ᵀ
        if factor is not None:
            wide = np.zeros((draws, T * S.p, T * S.p))
            for u, (_, _, _, schur) in enumerate(parts):
                here = slice(u * S.p, (u + 1) * S.p)
                wide[:, here, here] = schur
            half = np.einsum("sut,ij->suitj", psi, S.triangle).reshape(wide.shape) @ factor
            wide += half @ np.swapaxes(half, 1, 2)
            self.root = np.linalg.inv(np.linalg.cholesky(wide))
            top = r[:, :, : S.p] - a[:, :, None] * (self.v[:, :, S.p :] @ self.C.T)
            top = np.einsum("sij,sj->si", self.root, top.reshape(draws, -1))
            top = np.einsum("sji,sj->si", self.root, top).reshape(draws, T, S.p)
            self.v[:, :, : S.p] = top
            self.v[:, :, S.p :] -= a[:, :, None] * (top @ self.C) * self.inverse

    def fill(self, out: Conditionals, part: slice, blocks: Blocks) -> None:
        people, traits = self._individuals_and_traits(blocks.records)
        used, place = np.unique(people, return_inverse=True)
        Mr = self._residuals(used, place, traits)
        low = self._low_rank_rows(used, place, traits)
        if blocks.single:
            M = self._precision(-1, people, people, traits, traits)
            if low is not None:
                M += (low * low).sum(axis=1)
            fill_singles(out, part, self.y[blocks.records], M, Mr)
            return

        def one(k: int) -> None:
            members = blocks.members[k]
            here = slice(blocks.starts[k], blocks.starts[k + 1])
            f = len(members)
            i, j = np.tril_indices(f)
            flat = self._precision(
                k, people[here][i], people[here][j], traits[here][i], traits[here][j]
            )
            M = np.empty((len(flat), f, f))
            M[:, i, j] = M[:, j, i] = flat
            if low is not None:
                M += np.swapaxes(low[:, :, here], 1, 2) @ low[:, :, here]
            fill_block(out, part, blocks, k, self.y[members], M, Mr[:, here])

        run(one, range(len(blocks.members)), available_cores())  # BLAS in one thread: small blocks

    def _individuals_and_traits(self, records: Codes) -> tuple[Codes, Codes]:
        traits, people = np.divmod(records, self.n)
        return people, traits

    def _residuals(self, used: Codes, place: Codes, traits: Codes) -> Floats:
        """Compute (M r) at the records (draws, N)."""
        draws, T, size = self.v.shape
        canonical = self.v.reshape(draws * T, size) @ self.basis.rows(used).T
        canonical = canonical.reshape(draws, T, -1)
        if self.outside is not None:  # the kernel is zero there
            canonical += (self.psi @ self.outside[used].T) / self.b[:, :, None]
        canonical = canonical[:, :, place]
        return np.asarray(np.einsum("sun,sun->sn", self.psi[:, :, traits], canonical))

    def _low_rank_rows(self, used: Codes, place: Codes, traits: Codes) -> Floats | None:
        """Compute ``L⁻¹ Zᵀ`` at the records (draws, pT, N)."""
        if self.root is None:
            return None
        draws, T, m = self.inverse.shape
        p = self.p
        W = self.basis.rows(used)
        W2 = W[:, p:]
        G = np.broadcast_to(W[:, :p].T, (draws, T, p, len(used))).copy()
        for j in range(p):
            if np.any(self.C[j]):
                scaled = (self.inverse * self.C[j]).reshape(draws * T, m) @ W2.T
                G[:, :, j] -= self.a[:, :, None] * scaled.reshape(draws, T, -1)
        Z = G[:, :, :, place] * self.psi[:, :, None, traits]
        return np.asarray(self.root @ Z.reshape(draws, T * p, -1))

    def _precision(self, key: int, i: Codes, j: Codes, t: Codes, v: Codes) -> Floats:
        """Compute ``Σ_u ψ_ut ψ_uv Σ_k W_ik W_jk / d_uk`` for pairs of records (draws, pairs)."""
        found = self.sums.pairs(key, self.a, self.b, self.inverse, i, j)
        return np.asarray((found * (self.psi[:, :, t] * self.psi[:, :, v])).sum(axis=1))


class _SpectralSums:
    """``Σ_k W_ik W_jk / d_k`` at many draws, by interpolation in log a/b where that is cheaper."""

    def __init__(self, spectrum: Spectrum, a: Floats, b: Floats) -> None:
        self.basis, self.p, self.s = spectrum.basis, spectrum.p, spectrum.eigenvalues
        self.nodes: Nodes | None = chebyshev(a, b)
        self.kept: dict[int, Floats] = {}

    def pairs(self, key: int, a: Floats, b: Floats, inverse: Floats, i: Codes, j: Codes) -> Floats:
        """Compute the sums (S, T, N) of pairs i, j at draws a, b (S, T) with 1/d (S, T, m).

        Pairs are cached by `key`.
        """
        shape = (*a.shape, len(i))
        if self.nodes is None:
            return self._sums(inverse.reshape(-1, len(self.s)), i, j).reshape(shape)
        known = self.kept.get(key)
        if known is None:
            known = self._sums(1.0 / (1.0 + np.exp(self.nodes.z)[:, None] * self.s), i, j)
            if known.nbytes < WORKING:
                self.kept[key] = known
        found = self.nodes.weights(np.log(a / b).ravel()) @ known
        return np.asarray(found.reshape(shape) / b[:, :, None])

    def _sums(self, weights: Floats, i: Codes, j: Codes) -> Floats:
        out = np.empty((len(weights), len(i)))
        step = max(1, int(WORKING / (8 * len(self.s))))
        for start in range(0, len(i), step):
            here = slice(start, start + step)
            products = self.basis.rows(i[here]) * self.basis.rows(j[here])
            out[:, here] = weights @ products[:, self.p :].T
            if self.basis.nodes:  # the space orthogonal to W, where the kernel is zero
                rest = (i[here] == j[here]) - products.sum(axis=1)
                out[:, here] += weights[:, :1] * rest
        return out
