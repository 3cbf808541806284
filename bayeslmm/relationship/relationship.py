"""Relationship: a labelled, scaled relationship matrix of individuals."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.individuals import match_individuals, names_of
from bayeslmm.numerics.arrays import Codes, Floats

type KernelScale = Literal["asv", "none"]
type Kind = Literal["genetic", "environment"]

FEW = 0.25  # columns of a root, per individual, below which singular values are cheaper
SYMMETRY = 1e-6  # largest asymmetry, relative to the largest entry, taken as rounding


@dataclass(frozen=True, slots=True, eq=False)
class Relationship:
    """Relationship matrix of q individuals: genomic (GRM), pedigree or any other kind.

    The matrix is checked once, here. It must be square with a row per individual, finite and
    symmetric, and the IDs unique. Asymmetry up to 1e-6 of the largest entry is rounding and is
    averaged out.

    Parameters
    ----------
    matrix
        (q, q) float64, symmetric; read-only afterwards. The decomposition checks whether it is
        positive semidefinite (`bayeslmm.likelihood.spectrum`).
    individuals
        (q,) MultiIndex with the levels FID and IID.
    name
        Name of the component in models and output.
    estimator
        How it was estimated, in a word: "gcta", "sample", "centred", "dominance", "x-full",
        "x-none", "x-equal" (see `bayeslmm.relationship.genomic`), "pedigree", "hadamard", "group",
        "gxe", ..., or "file".
    n_variants
        Number of variants behind it; None if unknown.
    factor
        Divisor of the matrix so far; 1.0 as computed or read. A variance on the original scale is
        the variance of this matrix divided by `factor`.
    kernel_scale
        What `on` does: "asv" scales to average semivariance one, "none" keeps the scale.
    source
        File that it was read from, or "".
    kind
        "genetic": its variance counts toward h²; "environment": it does not.
    root
        G (q, r) with matrix = GGᵀ and r < q, for instance from few variants. Models with a root
        need no eigendecomposition of the matrix. It is dropped if GGᵀ is not the matrix. Default:
        None.

    Raises
    ------
    InputError
        If one of the checks fails; the message names the individuals.
    """

    matrix: Floats
    individuals: pd.MultiIndex
    name: str = "additive"
    estimator: str = "gcta"
    n_variants: int | None = None
    factor: float = 1.0
    kernel_scale: KernelScale = "asv"
    source: str = ""
    kind: Kind = "genetic"
    root: Floats | None = None

    def __post_init__(self) -> None:
        _check_individuals(self.individuals, self.source)
        _check_kernel_scale(self.kernel_scale)
        _check_words(self.name, self.estimator, self.kind)
        if not (np.isfinite(self.factor) and self.factor > 0):
            raise InputError(
                f"factor {self.factor}", "a positive number", "give 1.0 for an unscaled matrix"
            )
        matrix = np.asarray(self.matrix, dtype=np.float64)
        _check_shape(matrix, len(self.individuals), self.source)
        _check_finite(matrix, self.individuals, self.source)
        matrix = _symmetric(matrix, self.individuals, self.source).view()
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)
        if self.root is not None and not _is_root(self.root, matrix):
            object.__setattr__(self, "root", None)

    @property
    def n(self) -> int:
        """Number of individuals, q."""
        return len(self.individuals)

    def provenance(self) -> dict[str, object]:
        """Return where the matrix comes from and how it is scaled, for every output."""
        return {
            "name": self.name,
            "kind": self.kind,
            "estimator": self.estimator,
            "n_individuals": self.n,
            "n_variants": self.n_variants,
            "kernel_scale": self.kernel_scale,
            "factor": self.factor,
            "source": self.source,
        }

    def on(
        self, individuals: pd.MultiIndex, kernel_scale: KernelScale | None = None
    ) -> Relationship:
        """Select the rows and columns of individuals by ID, and scale the matrix on them.

        Parameters
        ----------
        individuals
            (n,) MultiIndex (FID, IID), each once; the result has their order. They are matched by
            (FID, IID), or by IID alone if one side has no family IDs (all "0").
        kernel_scale
            "asv" divides by the average semivariance of these individuals, so that σ²_u is the
            expected sample variance of g among them. "none" keeps the scale. Default: the
            relationship's own `kernel_scale`.

        Returns
        -------
        Relationship
            Its `factor` is multiplied by the divisor. If nothing changes it is the relationship
            itself, so `on` is exactly idempotent.

        Raises
        ------
        InputError
            If individuals have no row (the message names the first five), or the average
            semivariance is not positive, as for a constant matrix.
        """
        scale = self.kernel_scale if kernel_scale is None else kernel_scale
        _check_kernel_scale(scale)
        same = individuals.equals(self.individuals)
        rows = None if same else self._rows(individuals)
        matrix = self.matrix if rows is None else self.matrix[np.ix_(rows, rows)]
        divisor = 1.0 if scale == "none" else _positive_semivariance(matrix, self.name)
        if abs(divisor - 1.0) < 1e-12:  # scaled already
            divisor = 1.0
        if same and divisor == 1.0 and scale == self.kernel_scale:
            return self
        root = self.root if self.root is None or rows is None else self.root[rows]
        if divisor != 1.0:
            out = None if rows is None else matrix  # no third matrix
            matrix = np.divide(matrix, divisor, out=out)
            root = None if root is None else root / np.sqrt(divisor)
        _check_finite(matrix, individuals, self.source)  # symmetric and GGᵀ it is already
        matrix.flags.writeable = False
        made = copy(self)
        for name, value in (
            ("matrix", matrix),
            ("root", root),
            ("individuals", individuals),
            ("factor", self.factor * divisor),
            ("kernel_scale", scale),
        ):
            object.__setattr__(made, name, value)
        return made

    def _rows(self, individuals: pd.MultiIndex) -> Codes:
        """Return the rows of individuals in the matrix; raise `InputError` if any is absent."""
        _check_individuals(individuals)
        match = match_individuals(individuals, self.individuals)
        rows = np.full(len(individuals), -1) if match.fids_differ else match.positions
        absent = np.flatnonzero(rows < 0)
        if absent.size:
            raise InputError(
                f"{absent.size} of {len(individuals)} individuals have no row in the "
                f"{self.name} relationship: {name_some(individuals, absent)}",
                "every individual to be analysed in the matrix, by (FID, IID)",
                "leave them out, or compute the matrix with them",
                path=self.source or None,
            )
        return rows


def _is_root(root: Floats, matrix: Floats) -> bool:
    """Tell whether GGᵀ is the matrix, by its product with one random vector."""
    if root.ndim != 2 or len(root) != len(matrix):
        return False
    v = np.random.default_rng(1).standard_normal(len(matrix))
    expected = matrix @ v
    return bool(np.linalg.norm(root @ (root.T @ v) - expected) <= 1e-9 * np.linalg.norm(expected))


def average_semivariance(matrix: Floats) -> float:
    """Compute the average semivariance of a kernel (n, n).

        trace(PKP) / (n - 1),   P = I - 11ᵀ/n

    It is half the mean squared difference between two individuals. For g ~ N(0, K) it is the
    expected sample variance of g (ddof 1). Adding a constant to K does not change it.

    Examples
    --------
    >>> average_semivariance(np.eye(4))
    1.0
    """
    n = matrix.shape[0]
    return float((np.trace(matrix) - matrix.sum() / n) / (n - 1)) if n > 1 else 0.0


def name_some(individuals: pd.MultiIndex, which: NDArray[np.intp], most: int = 5) -> str:
    """Name the first few individuals at the positions `which`."""
    names = ", ".join(names_of(individuals[which[:most]]))
    return names + (", ..." if which.size > most else "")


def pair_name(individuals: pd.MultiIndex, i: int, j: int) -> str:
    """Name a pair: "F1 I1 and F1 I2"."""
    return " and ".join(names_of(individuals[[i, j]]))


def row_blocks(n: int, size: int = 512) -> Iterator[slice]:
    """Yield slices of the rows of an (n, n) matrix, for work without a second matrix."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def mirror(matrix: Floats) -> None:
    """Copy the lower triangle of a matrix (n, n) onto the upper one, in place."""
    for rows in row_blocks(matrix.shape[0]):
        corner = matrix[rows, rows]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
        matrix[rows, rows.stop :] = matrix[rows.stop :, rows].T


def _check_individuals(individuals: pd.MultiIndex, source: str = "") -> None:
    if not isinstance(individuals, pd.MultiIndex) or list(individuals.names) != ["FID", "IID"]:
        raise InputError(
            f"individuals are a {type(individuals).__name__} "
            f"{list(getattr(individuals, 'names', []))}",
            "a pandas MultiIndex with the levels FID and IID",
            "pd.MultiIndex.from_arrays([fid, iid], names=['FID', 'IID'])",
            path=source or None,
        )
    repeated = np.flatnonzero(individuals.duplicated())
    if repeated.size:
        raise InputError(
            f"{repeated.size} duplicate individual IDs: {name_some(individuals, repeated)}",
            "every (FID, IID) once",
            "rename or remove the duplicates",
            path=source or None,
        )


def _check_kernel_scale(kernel_scale: str) -> None:
    if kernel_scale not in ("asv", "none"):
        raise InputError(f"kernel_scale {kernel_scale!r}", "'asv' or 'none'", "choose one of them")


def _check_words(name: str, estimator: str, kind: str) -> None:
    for what, word in (("name", name), ("estimator", estimator)):
        if not isinstance(word, str) or not word.strip() or not word.isprintable():
            raise InputError(
                f"{what} {word!r}",
                "a printable word",
                f"give the relationship its {what}",
            )
    if kind not in ("genetic", "environment"):
        raise InputError(f"kind {kind!r}", "'genetic' or 'environment'", "choose one of them")


def _check_shape(matrix: Floats, q: int, source: str) -> None:
    if matrix.shape != (q, q) or q == 0:
        raise InputError(
            f"a matrix of shape {matrix.shape} for {q} individuals",
            "a square matrix with one row for each of at least one individual",
            "give the IDs of exactly the matrix's rows, in their order",
            path=source or None,
        )


def _check_finite(matrix: Floats, individuals: pd.MultiIndex, source: str) -> None:
    for rows in row_blocks(matrix.shape[0]):
        finite = np.isfinite(matrix[rows])
        if not finite.all():
            bad = np.argwhere(~finite)
            i, j = bad[0] + [rows.start, 0]
            raise InputError(
                f"the relationship of {pair_name(individuals, i, j)} "
                f"(row {i + 1}, column {j + 1}) is {matrix[i, j]}",
                "finite numbers",
                "compute the matrix again; GCTA writes nan where two individuals share no "
                "genotyped variant: remove individuals with many missing genotypes",
                path=source or None,
            )


def _symmetric(matrix: Floats, individuals: pd.MultiIndex, source: str) -> Floats:
    """Return the matrix itself if exactly symmetric, its symmetric part if nearly, or raise."""
    worst, where = 0.0, (0, 0)
    for rows in row_blocks(matrix.shape[0]):
        below, above = matrix[rows, : rows.stop], matrix[: rows.stop, rows].T
        if np.array_equal(below, above):
            continue
        gap = np.abs(below - above)
        if (largest := float(gap.max())) > worst:
            i, j = divmod(int(gap.argmax()), gap.shape[1])
            worst, where = largest, (i + rows.start, j)
    if worst == 0:
        return matrix
    i, j = where
    if worst > SYMMETRY * max(abs(float(matrix.max())), abs(float(matrix.min()))):
        raise InputError(
            f"the relationship of {pair_name(individuals, i, j)} is "
            f"{matrix[i, j]:.10g} in row {i + 1}, column {j + 1} but {matrix[j, i]:.10g} in row "
            f"{j + 1}, column {i + 1}",
            "a symmetric matrix (to 1e-6 of its largest entry)",
            "check that this is a whole relationship matrix and compute it again",
            path=source or None,
        )
    return 0.5 * matrix + 0.5 * matrix.T  # adding first could overflow


def _positive_semivariance(matrix: Floats, name: str) -> float:
    value = average_semivariance(matrix)
    if not value > 1e-10 * float(np.abs(np.diagonal(matrix)).max()):
        raise InputError(
            f"the {name} relationship has the average semivariance {value:.3g} on the "
            f"{matrix.shape[0]} individuals: it does not tell them apart",
            "a positive average semivariance, trace(PKP)/(n-1)",
            "use a matrix that is not constant, computed from variants that vary among them",
        )
    return value
