"""The seam: one eigendecomposition of the kernel, after the fixed effects are split off.

Everything behind a `Spectrum` (likelihood, engines, posterior) costs O(n p²) per evaluation.
"""

from __future__ import annotations

import hashlib
import math
import struct
import tokenize
import warnings
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.eigen import eigh
from bayeslmm.numerics.threads import blas_threads, one_thread
from bayeslmm.system.atomic import atomic_path, require_space
from bayeslmm.system.files import PathArg, require_file
from bayeslmm.system.memory import require_memory

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.relationship.relationship import Relationship


# what zipfile and numpy raise when they read a damaged archive
_DAMAGE = (
    *(ValueError, KeyError, OSError, EOFError, TypeError, BadZipFile, NotImplementedError),
    *(RuntimeError, OverflowError, SyntaxError, struct.error, tokenize.TokenError, zlib.error),
)
NEGATIVE_SILENT = 1e-6  # relative size of negative eigenvalues that rounding explains
NEGATIVE_ALLOWED = 1e-2  # beyond this the matrix is no covariance


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Kernel K and design X of n records in the basis ``W = [Q₁, Q_c V]``.

    ``X = Q₁R`` and Q_c spans the error contrasts; V are the eigenvectors of ``Q_cᵀKQ_c``, so that
    ``WᵀX = [R; 0]`` and ``WᵀKW = [[K₁₁, C], [Cᵀ, diag(s)]]``.

    Parameters
    ----------
    eigenvalues
        s (m,), m = n - p, ascending, non-negative.
    coupling
        C (p, m): between the column space of X and the contrasts (0 for X = 1 and a centred GRM).
    schur
        T = K₁₁ - C s⁺ Cᵀ (p, p), positive semidefinite.
    triangle
        R (p, p), upper triangular.
    basis
        W (n, n), orthogonal.
    key
        SHA-256 of (K, X), to recognise a spectrum kept on disk.
    """

    eigenvalues: Floats
    coupling: Floats
    schur: Floats
    triangle: Floats
    basis: Floats
    key: str

    def __repr__(self) -> str:
        return f"Spectrum(n={self.n}, p={self.p}, rank={self.rank}, key={self.key[:8]!r})"

    @property
    def n(self) -> int:
        """Number of records."""
        return int(self.basis.shape[0])

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return int(self.triangle.shape[0])

    @property
    def m(self) -> int:
        """Number of error contrasts, n - p."""
        return self.eigenvalues.size

    @property
    def rank(self) -> int:
        """Number of non-zero eigenvalues among the contrasts."""
        return int(np.count_nonzero(self.eigenvalues))

    def rotate(self, y: Floats) -> Floats:
        """``Wᵀy = [q; e]`` of y (n,) or of columns (n, k)."""
        with one_thread():
            return np.ascontiguousarray(self.basis.T @ y)

    def unrotate(self, rotated: Floats) -> Floats:
        """Inverse of `rotate`."""
        with one_thread():
            return np.ascontiguousarray(self.basis @ rotated)

    def save(self, path: PathArg) -> None:
        """Write a `.npz` file (no pickles), atomically."""
        require_space(path, 8 * self.n * (self.n + 2 * self.p), f"a spectrum of {self.n} records")
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: PathArg) -> Spectrum:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If the file is missing, damaged or no spectrum.
        """
        values = _read_archive(path, *(field.name for field in fields(cls)))
        s, C, T, R, W = (values[field.name] for field in fields(cls)[:5])
        n, p = len(np.atleast_1d(W)), len(np.atleast_1d(R))
        shapes = ((n - p,), (p, n - p), (p, p), (p, p), (n, n))
        for array, shape in zip((s, C, T, R, W), shapes, strict=True):
            if array.shape != shape or array.dtype != float or not np.isfinite(array).all():
                raise _no_spectrum(path, "its arrays do not fit together")
        return cls(s, C, T, R, W, str(values["key"]))


def _read_archive(path: PathArg, *names: str) -> dict[str, NDArray[Any]]:
    file = require_file(path)
    try:
        with ZipFile(file) as archive:
            return {name: _member(archive, f"{name}.npy") for name in names}
    except _DAMAGE as error:
        raise _no_spectrum(path, str(error)) from None


def _member(archive: ZipFile, name: str) -> NDArray[Any]:
    """Read an array; its size is compared with that of its bytes before memory is taken."""
    info = archive.getinfo(name)
    if info.compress_type != ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name} has the version {version} of the .npy format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        expected = file.tell() + dtype.itemsize * math.prod(shape)
    held = info.file_size
    if min(shape, default=0) < 0 or dtype.hasobject or not expected == held == info.compress_size:
        raise ValueError(f"{name} has {held} bytes where its header says {expected}")
    with archive.open(info) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _no_spectrum(path: PathArg, why: str) -> InputError:
    return InputError(
        f"not a spectrum file ({why})",
        "a .npz file written by Spectrum.save",
        "delete it; it will be computed again",
        path=path,
    )


def kernel_key(K: Floats, X: Floats) -> str:
    """SHA-256 of a kernel (n, n) and a design (n, p): the `Spectrum.key`."""
    digest = hashlib.sha256()
    for array in (K, X):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def decompose(K: Floats, X: Floats) -> Spectrum:
    """Split off X and decompose the kernel.

    Parameters
    ----------
    K
        Kernel (n, n), symmetric. Eigenvalues down to -1e-6 of the largest are rounding and set to
        zero; down to -1e-2 with a warning (pairwise missing genotypes); beyond it is an error.
    X
        Design (n, p) of full column rank.

    Returns
    -------
    Spectrum

    Notes ----- The numbers are the same, to the last bit, for any number of threads
    (`bayeslmm.numerics.eigen`). Other machines may round otherwise: eigenvalues agree to rounding,
    eigenvectors of close ones need not, and draws of g then agree in distribution only.
    `Spectrum.save` keeps the bits.
    """
    n = X.shape[0]
    require_memory(6 * 8 * n * n, f"the eigendecomposition of a {n} × {n} kernel", "use fewer")
    threads = blas_threads()
    with one_thread():
        found, smallest, largest = _split(K, X, threads)
        if smallest < -NEGATIVE_SILENT * largest:  # of K_cc or of T: look at K itself
            K_psd = positive_part(K, largest, threads)
            found = replace(_split(K_psd, X, threads)[0], key=found.key)
    return found


def _split(K: Floats, X: Floats, threads: int) -> tuple[Spectrum, float, float]:
    """The spectrum, the smallest eigenvalue of K_cc and T, and what is large for this kernel."""
    n, p = X.shape
    reflectors = scipy.linalg.qr(X, mode="raw")
    (factor, tau), R = reflectors[0], reflectors[1]
    half = apply_q(factor, tau, K, transpose=True)  # QᵀK
    rotated = apply_q(factor, tau, half.T, transpose=True)  # Qᵀ(QᵀK)ᵀ = QᵀKQ
    rotated = 0.5 * (rotated + rotated.T)
    s, V = eigh(rotated[p:, p:], threads)
    top = max(float(s[-1]), float(np.trace(K)) / n, np.finfo(float).tiny)
    smallest = float(s[0])
    rounding = max(n * np.finfo(float).eps, 1e-14)
    null = s <= rounding * top
    s = np.where(null, 0.0, s)
    coupling = rotated[:p, p:] @ V
    coupling[:, null] = 0.0
    weights = np.divide(1.0, s, out=np.zeros_like(s), where=~null)
    schur = rotated[:p, :p] - (coupling * weights) @ coupling.T
    smallest = min(smallest, float(np.linalg.eigvalsh(schur)[0]))
    schur = nearest_psd(schur, rounding * max(top, float(np.trace(rotated[:p, :p]))))
    inner = np.zeros((n, n))  # W = Q diag(I, V)
    inner[:p, :p] = np.eye(p)
    inner[p:, p:] = V
    basis = np.ascontiguousarray(apply_q(factor, tau, inner, transpose=False))
    triangle = np.ascontiguousarray(np.triu(R[:p]))
    key = kernel_key(K, X)
    return Spectrum(s, np.ascontiguousarray(coupling), schur, triangle, basis, key), smallest, top


def apply_q(factor: Floats, tau: Floats, A: Floats, *, transpose: bool) -> Floats:
    """QA or QᵀA by the Householder reflectors of `scipy.linalg.qr(mode="raw")`: O(n²p)."""
    lapack = scipy.linalg.lapack
    side = ("L", "T" if transpose else "N")
    work = lapack.dormqr(*side, factor, tau, A, -1)[1]
    return np.asarray(lapack.dormqr(*side, factor, tau, A, int(work[0]))[0])


def check_definite(smallest: float, largest: float) -> None:
    """Policy on negative eigenvalues: rounding, a warning, or an error."""
    ratio = -smallest / largest
    if ratio > NEGATIVE_ALLOWED:
        raise InputError(
            f"the kernel has the eigenvalue {smallest:.3g}, {ratio:.1%} of the largest",
            "a positive semidefinite matrix (negative eigenvalues below 1% of the largest)",
            "compute the GRM with missing genotypes at the mean (bayeslmm grm), or check that "
            "the file is a relationship matrix",
        )
    if ratio > NEGATIVE_SILENT:
        warnings.warn(
            f"the kernel has negative eigenvalues down to {smallest:.3g} ({ratio:.2%} of the "
            "largest), as a GRM with pairwise missing genotypes has; they are set to zero",
            BayesLMMWarning,
            stacklevel=4,
        )


def positive_part(K: Floats, largest: float, threads: int | None = None) -> Floats:
    """K (n, n) without its negative eigenvalues, on which `check_definite` decides.

    All of K is projected, not K_cc alone: an indefinite K has no Schur complement that would
    keep the variance of Xβ + g what K says it is.
    """
    values, vectors = eigh(K, threads)
    check_definite(float(values[0]), largest)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def nearest_psd(A: Floats, rounding: float) -> Floats:
    """Symmetric A (p, p) with its eigenvalues up to `rounding` set to zero.

    Rows of no size become exact zeros: as h² → 1 the intercept's variance is σ²_e alone, and
    1e-16 left there would be 1e-8 of it at h² = 1 - 1e-8.
    """
    values, vectors = np.linalg.eigh(0.5 * (A + A.T))
    clean = (vectors * np.where(values > rounding, values, 0.0)) @ vectors.T
    null = np.diag(clean) <= rounding
    clean[null] = 0.0
    clean[:, null] = 0.0
    return np.ascontiguousarray(clean)


def spectrum(
    cohort: Cohort, relationship: Relationship, *, path: PathArg | None = None
) -> Spectrum:
    """Spectrum of a relationship among the records of a cohort, aligned by ID.

    Parameters
    ----------
    cohort
        Gives the individuals and the design X.
    relationship
        The kernel; its rows are chosen by ID and scaled as `Relationship.on` says. Several
        records of an individual share its row: ``K = Z G Zᵀ``.
    path
        A `.npz` file: read if it holds the spectrum of this very kernel and design, otherwise
        written. A spectrum in memory is also reused between traits and models that share both.

    Returns
    -------
    Spectrum
    """
    K = relationship.on(cohort.people).matrix
    if cohort.records is not None:  # Z G Zᵀ
        K = K[np.ix_(cohort.levels, cohort.levels)]
    key = kernel_key(K, cohort.X)
    kept = path is not None and Path(path).is_file() and _kept_key(path) == key
    if key in _RECENT:
        found = _RECENT[key]
    elif path is not None and kept:
        found = Spectrum.load(path)
    else:
        found = decompose(K, cohort.X)
    if path is not None and not kept:
        found.save(path)
    _RECENT.pop(key, None)
    _RECENT[key] = found
    while len(_RECENT) > 2:
        del _RECENT[next(iter(_RECENT))]
    return found


_RECENT: dict[str, Spectrum] = {}  # the two last spectra: traits of one cohort share one


def _kept_key(path: PathArg) -> str:
    return str(_read_archive(path, "key")["key"])
