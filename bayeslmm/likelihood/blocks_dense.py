"""Blocks of the precision matrix with several kernels: one factorisation per distinct draw.

With ``WᵀV(c)W = LLᵀ`` in the coordinates of `bayeslmm.likelihood.dense`, where ``WᵀX = [0; R]``,
the rows ``b_i = L⁻¹Wᵀe_i`` and ``A = L_qq⁻¹R``, and ``Var β = F Fᵀ``::

    M_ij = b_iᵀ diag(I, N) b_j      N = (I + AFFᵀAᵀ)⁻¹, 0 under a flat prior of β

Given L, all n rows cost n³ operations, three times the factorisation; the f rows of a block cost a
fraction f/n of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from bayeslmm.likelihood.blocks import Blocks, Conditionals, allocate, fill_block, fill_singles
from bayeslmm.likelihood.dense import DenseForm, quadratic_of
from bayeslmm.likelihood.fixed_effects import integrate_beta
from bayeslmm.numerics import lapack
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run
from bayeslmm.system.memory import require_memory


@dataclass(frozen=True, slots=True, eq=False)
class DenseBlocks:
    """Blocks of the precision matrix of records with several kernels.

    Parameters
    ----------
    form
        The rotated matrices.
    y
        Records (n,).
    workers
        Number of concurrent draws.
    """

    form: DenseForm
    y: Floats
    workers: int

    def conditionals(
        self, inputs: Sequence[Floats], mean: Floats, factor: Floats | None, blocks: Blocks
    ) -> Conditionals:
        """Compute the conditionals at draws of c (S, K); see `KernelBlocks.conditionals`."""
        c = inputs[0]
        means = np.broadcast_to(mean, (len(c), mean.shape[-1]))
        both = np.hstack([c, means])
        _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
        out = allocate(len(first), blocks)
        rotated, rows = self.form.rotate(self.y), self.form.basis[blocks.records]
        assert self.form.stack.ndim == 3  # computed here, before several threads need it
        n = self.form.n
        require_memory(
            8 * self.workers * (n * n + 2 * rows.size + sum(len(f) ** 2 for f in blocks.members)),
            f"leaving {len(rows)} of {n} records out",
            "use fewer cores, or fewer records",
        )

        def one(k: int) -> None:
            s = first[k]
            L = self.form.factor(c[s])
            if L is None:
                raise np.linalg.LinAlgError("the covariance of a draw is not positive definite")
            self._fill(out, k, L, means[s], factor, blocks, rotated, rows.copy())

        run(one, range(len(first)), self.workers)
        return out.rows(which.ravel())

    def without(
        self, c: Floats, mean: Floats, factor: Floats | None, blocks: Blocks
    ) -> tuple[float, Conditionals] | None:
        """Compute log p(y_-F | c) and y_F given y_-F at one c (K,), from one factorisation.

        None if V(c) is not positive definite.
        """
        L = self.form.factor(c)
        if L is None:
            return None
        rotated, out = self.form.rotate(self.y), allocate(1, blocks)
        whole = integrate_beta(quadratic_of(self.form, L, rotated), mean, factor)
        rows = self.form.basis[blocks.records]
        self._fill(out, 0, L, mean, factor, blocks, rotated, rows)
        return whole - float(out.log_density.sum()), out

    def _fill(
        self,
        out: Conditionals,
        k: int,
        L: Floats,
        mean: Floats,
        factor: Floats | None,
        blocks: Blocks,
        rotated: Floats,
        B: Floats,
    ) -> None:
        form = self.form
        m = form.n - form.p
        z = rotated.copy()
        z[m:] -= form.triangle @ mean
        lapack.solve_lower(L, z)
        lapack.solve_lower(L, B)  # rows b_i
        if factor is None:
            B, z = B[:, :m], z[:m]
        else:
            A = scipy.linalg.solve_triangular(
                L[m:, m:], form.triangle, lower=True, check_finite=False
            )
            half = A @ factor
            root = np.linalg.cholesky(np.eye(form.p) + half @ half.T)
            z[m:] = np.linalg.solve(root, z[m:])
            B[:, m:] = np.linalg.solve(root, B[:, m:].T).T
        at = slice(k, k + 1)
        Mr = (B @ z)[None]
        if blocks.single:
            M = np.einsum("ij,ij->i", B, B)[None]
            fill_singles(out, at, self.y[blocks.records], M, Mr)
            return
        for g, members in enumerate(blocks.members):
            here = slice(blocks.starts[g], blocks.starts[g + 1])
            M = (B[here] @ B[here].T)[None]
            fill_block(out, at, blocks, g, self.y[members], M, Mr[:, here])
