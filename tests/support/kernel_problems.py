"""Small problems with kernels of every kind, known in extended precision, for the model tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from oracles import LONG, Floats, Long

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.relationship import Relationship


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A small data set whose kernel is known in extended precision.

    Parameters
    ----------
    name
        What is special about it.
    K
        Kernel (n, n), average semivariance one, longdouble. The package gets it in float64.
    X
        Design (n, p), the intercept first.
    y
        Phenotype (n,).
    """

    name: str
    K: Long
    X: Floats
    y: Floats

    @property
    def kernel(self) -> Floats:
        """K rounded to float64."""
        return np.asarray(self.K, dtype=np.float64)

    @property
    def cohort(self) -> Cohort:
        """The cohort of individuals i0, i1, ..."""
        names = ("intercept", *(f"x{j}" for j in range(1, self.X.shape[1])))
        return Cohort(self.y, self.X, people(self.y.size), names, "trait")

    def relationship(self, power: int = 1) -> Relationship:
        """The kernel (to an elementwise power, for a second one) of the same individuals."""
        return Relationship(self.kernel**power, people(self.y.size))


def people(n: int) -> pd.MultiIndex:
    """IDs of n individuals."""
    return individual_index(["F"] * n, [f"i{k}" for k in range(n)])


TUTORIAL_DOSAGES = np.array([[0, 1, 2], [1, 1, 0], [2, 0, 1], [1, 2, 1], [0, 1, 0]])

PEDIGREE = [  # (sire, dam) of 16 animals, -1 unknown: founders, half and full sibs, inbreeding
    *[(-1, -1)] * 4,
    *[(0, 1), (0, 1), (0, 2), (3, 2), (3, -1), (4, 6), (4, 6), (5, 7), (8, 9), (8, 9), (10, 9)],
    (11, 12),
]


def relationship_of_pedigree(pedigree: list[tuple[int, int]]) -> Long:
    """Additive relationship matrix A by the tabular method (Henderson 1976)."""
    n = len(pedigree)
    A = np.zeros((n + 1, n + 1), dtype=LONG)  # the last row, index -1, is the unknown parent
    for i, (sire, dam) in enumerate(pedigree):
        A[i, :i] = A[:i, i] = (A[sire, :i] + A[dam, :i]) / 2
        A[i, i] = 1 + A[sire, dam] / 2 * (sire >= 0 and dam >= 0)
    return A[:n, :n]


def genomic(dosages: NDArray[Any], centred: bool, standardised: bool) -> Long:
    """K = ZZᵀ of dosages (n, m), by the formula, in extended precision."""
    Z = np.asarray(dosages, dtype=LONG)
    frequency = Z.mean(axis=0) / 2
    if centred:
        Z = Z - 2 * frequency
    if standardised:
        Z = Z / np.sqrt(2 * frequency * (1 - frequency))
    return Z @ Z.T


def unit_semivariance(K: Long) -> Long:
    """K over its average semivariance trace(PKP)/(n - 1)."""
    n = K.shape[0]
    return K / ((np.trace(K) - K.sum() / n) / (n - 1))


@cache
def problems() -> dict[str, Problem]:
    """The problems by name."""
    rng = np.random.default_rng(20260722)
    n = 16
    frequency = rng.uniform(0.2, 0.8, 40)
    dosages = rng.binomial(2, frequency, (n, 40))
    year = 1990.0 + rng.integers(-6, 7, n)
    columns = [np.ones(n), year, rng.integers(0, 2, n) + 1.0, rng.standard_normal(n)]
    X = np.column_stack(columns)
    one, two = X[:, :1], X[:, [0, 3]]
    family = np.kron(np.eye(4), np.ones((4, 4))).astype(LONG)
    gcta = genomic(dosages, centred=True, standardised=True)
    few = genomic(dosages[:, :6], centred=True, standardised=True)
    x = np.asarray(X[:, 3], dtype=LONG)
    project = np.eye(n, dtype=LONG) - np.outer(x, x) / (x @ x)  # the kernel's null vector is x
    kernels = {
        "centred GRM, X = 1": (gcta, one),
        "centred GRM, 4 covariates": (gcta, X),
        "fewer variants than individuals": (few, two),
        "uncentred GRM, 4 covariates": (genomic(dosages, False, False), X),
        "uncentred GRM of 6 variants, 4 covariates": (genomic(dosages[:, :6], False, False), X),
        "tutorial": (genomic(TUTORIAL_DOSAGES, True, True), np.ones((5, 1))),
        "blocks of ones": (family, two),
        "a covariate projected out of the kernel": (project @ gcta @ project, X),
        "pedigree": (relationship_of_pedigree(PEDIGREE), two),
    }
    found = {}
    for name, (K, design) in kernels.items():
        size = design.shape[0]
        noise = rng.standard_normal(size)
        genetic = np.asarray(K, dtype=np.float64) @ rng.standard_normal(size)
        y = 30 + design[:, -1] + 2 * noise + genetic / np.std(genetic)
        found[name] = Problem(name, unit_semivariance(K), np.ascontiguousarray(design), y)
    return found


def shares(rng: np.random.Generator, count: int, edge: float = 1e-8) -> Floats:
    """h² at random, and a fifth of the points each at the edges `edge` and 1 - `edge`."""
    h2 = rng.uniform(0, 1, count)
    h2[: count // 5] = edge
    h2[count // 5 : 2 * (count // 5)] = 1 - edge
    return h2


def dense_problem(problem: Problem, seed: int, count: int = 200) -> tuple[Floats, Floats]:
    """Points (β, (a, b)) for a problem: β about the least-squares estimate, τ² about var(y)."""
    rng = np.random.default_rng(seed)
    fit = np.linalg.lstsq(problem.X, problem.y, rcond=None)[0]
    spread = np.maximum(np.linalg.norm(problem.X, axis=0), 1.0)
    beta = fit + rng.standard_normal((count, fit.size)) * np.std(problem.y) / spread
    h2, total = shares(rng, count), np.var(problem.y) * np.exp(rng.standard_normal(count))
    return beta, np.column_stack([h2 * total, (1 - h2) * total])
