"""The basis in which a kernel is diagonal: rotate records to it and back.

W = [Q₁, V] has orthonormal columns: Q₁ spans the design X, V the range of the kernel beside it. A
kernel of low rank (few variants, few groups) needs few columns. On the space orthogonal to W the
kernel is zero, so only the norm of a vector's component there matters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import scipy.linalg

from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Orthonormal columns W (n, p + r), a complete basis or not.

    Parameters
    ----------
    columns
        W, with the p columns that span X first.
    p
        Number of fixed effects.
    nodes
        Number of coordinates, between X's and V's, that represent the space orthogonal to
        W: 0 if W is complete, otherwise the number of traits rotated together.
    """

    columns: Floats
    p: int
    nodes: int = 0

    @property
    def n(self) -> int:
        """Number of records."""
        return int(self.columns.shape[0])

    @property
    def null(self) -> int:
        """Number of dimensions orthogonal to W."""
        return self.n - int(self.columns.shape[1])

    def together(self, traits: int) -> Self:
        """Return the basis for rotating `traits` traits together."""
        return replace(self, nodes=traits if self.null else 0)

    def rotate(self, y: Floats) -> Floats:
        """Rotate records y (n,), or columns (n, k), to ``[q; rest; e]``.

        q (p) are the coordinates in the space of X, e (r) those along V. For a single column `rest`
        is the norm of its component orthogonal to W. For the traits of one model (k = `nodes` > 1)
        it is the triangular factor of these components, which keeps their inner products.
        """
        with one_thread():
            linear = self.columns.T @ y
            if not self.nodes:
                return np.ascontiguousarray(linear)
            rest = self.outside(y, linear)
            lengths = np.zeros((self.nodes, *y.shape[1:]))
            if y.ndim == 2 and self.nodes == y.shape[1] > 1:
                lengths[:] = np.linalg.qr(rest, mode="r")
            else:
                lengths[0] = np.linalg.norm(rest, axis=0)
        return np.concatenate([linear[: self.p], lengths, linear[self.p :]])

    def outside(self, y: Floats, linear: Floats | None = None) -> Floats:
        """Return the component of y (n,) or (n, k) orthogonal to W, projected twice."""
        with one_thread():
            W = self.columns
            rest = y - W @ (W.T @ y if linear is None else linear)
            return np.asarray(rest - W @ (W.T @ rest))

    def complement(self, y: Floats) -> Floats:
        """Return the coordinates (null,) or (null, k) of y in a basis orthogonal to W."""
        with one_thread():
            (factor, tau), _ = scipy.linalg.qr(self.columns, mode="raw")
            columns = np.asarray(y, dtype=np.float64).reshape(self.n, -1)
            work = scipy.linalg.lapack.dormqr("L", "T", factor, tau, columns, -1)[1]
            found = scipy.linalg.lapack.dormqr("L", "T", factor, tau, columns, int(work[0]))[0]
            return np.ascontiguousarray(found[self.columns.shape[1] :].reshape(-1, *y.shape[1:]))

    def project(self, y: Floats) -> Floats:
        """Rotate y (n,) or (n, k) that lies in the space of W, such as genetic values."""
        with one_thread():
            return self._padded(self.columns.T @ y)

    def unrotate(self, rotated: Floats) -> Floats:
        """Rotate ``[q; rest; e]`` back, without `rest`, which has no direction."""
        with one_thread():
            if self.nodes:
                rotated = np.concatenate([rotated[: self.p], rotated[self.p + self.nodes :]])
            return np.ascontiguousarray(self.columns @ rotated)

    def rows(self, chosen: Any = slice(None)) -> Floats:
        """Return rows of W as coordinates (rows, p + nodes + r), zero for `rest`."""
        found = np.ascontiguousarray(self.columns[chosen])
        return np.ascontiguousarray(self._padded(found.T).T) if self.nodes else found

    def _padded(self, linear: Floats) -> Floats:
        if not self.nodes:
            return np.ascontiguousarray(linear)
        gap = np.zeros((self.nodes, *linear.shape[1:]))
        return np.concatenate([linear[: self.p], gap, linear[self.p :]])
