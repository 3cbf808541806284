"""Kernels of few columns: K = GGᵀ, their spectra in three forms, parameters of their density."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from multitrait_oracles import covariance, stacked
from numpy.typing import NDArray

from bayeslmm.likelihood.decompose import compress, decompose, decompose_root
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.spectrum import Spectrum

type Floats = NDArray[np.float64]

FORMS = ("complete", "compressed", "root")
PROBLEMS = {  # n, r, p
    "3 columns, centred": (40, 3, 1),
    "8 columns, 3 covariates": (60, 8, 4),
    "in part within the space of X": (50, 5, 3),
    "one dimension is not reached": (20, 16, 3),
    "60 columns": (300, 60, 2),
}
SMALL = tuple(name for name, (n, *_) in PROBLEMS.items() if n < 100)


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """n records with a kernel of r columns.

    Parameters
    ----------
    G
        (n, r) root of the kernel.
    X
        (n, p) design, the intercept first.
    everybody
        (n + 7, r) the root with seven individuals that have no record.
    """

    G: Floats
    X: Floats
    everybody: Floats

    @property
    def K(self) -> Floats:
        """The kernel (n, n)."""
        return self.G @ self.G.T

    def spectrum(self, form: str) -> Spectrum:
        """The spectrum in one of the three forms."""
        return _spectrum(self, form)

    def marginal(self, form: str, T: int) -> KernelMarginal:
        """The density of T traits; of T = 0 with the two variances of one."""
        names = ("additive",) if T == 0 else tuple(f"additive:{t}" for t in range(T))
        return KernelMarginal(self.spectrum(form).together(max(T, 1)), max(T, 1), names, T > 0)


@cache
def _spectrum(problem: LowRank, form: str) -> Spectrum:
    if form == "root":
        return decompose_root(problem.G, problem.X)
    if form == "compressed":
        return compress(_spectrum(problem, "complete"))
    return decompose(problem.K, problem.X)


@cache
def low_rank(name: str) -> LowRank:
    """A problem by its name."""
    n, r, p = PROBLEMS[name]
    rng = np.random.default_rng(n + r)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    everybody = (rng.standard_normal((n + 7, r)) + 0.4) / np.sqrt(r)
    if "centred" in name:
        everybody -= everybody[:n].mean(axis=0)
    if "within" in name:
        everybody[:n, :2] = X @ rng.standard_normal((p, 2))
    return LowRank(np.ascontiguousarray(everybody[:n]), X, everybody)


def parameters(T: int, seed: int, count: int = 4) -> list[list[Floats]]:
    """Values of c: variances (T = 0), or G and R; shares of h² from 1e-3 to 1 - 1e-3."""
    rng = np.random.default_rng(seed)
    h2 = np.linspace(1e-3, 1 - 1e-3, count)
    if T == 0:
        return [[rng.uniform(1.0, 3.0) * np.array([h, 1 - h])] for h in h2]
    return [[h * covariance(rng, T), (1 - h) * covariance(rng, T)] for h in h2]


def matrices(c: list[Floats]) -> tuple[Floats, Floats]:
    """G and R (T, T) of one c."""
    return (c[0], c[1]) if len(c) == 2 else (c[0][:1, None], c[0][1:, None])


def dense_parts(problem: LowRank, c: list[Floats]) -> tuple[Floats, Floats]:
    """Covariance of the records (nT, nT), and what of it is genetic."""
    G, R = matrices(c)
    genetic = np.kron(G, problem.K)
    return genetic + np.kron(R, np.eye(len(problem.X))), genetic


def data(problem: LowRank, T: int, seed: int) -> tuple[Floats, Floats]:
    """y (nT,) and β (pT,) of T traits (1 for T = 0)."""
    rng, T = np.random.default_rng(seed), max(T, 1)
    n, p = problem.X.shape
    g = problem.G @ rng.standard_normal((problem.G.shape[1], T))
    Y = 5.0 + problem.X @ rng.standard_normal((p, T)) + g + rng.standard_normal((n, T))
    B = np.linalg.lstsq(problem.X, Y, rcond=None)[0] + 0.3 * rng.standard_normal((p, T))
    return stacked(Y), stacked(B)


def design(problem: LowRank, T: int) -> Floats:
    """``I_T ⊗ X``."""
    return np.kron(np.eye(max(T, 1)), problem.X)
