"""A small data set for every model of the gallery, and the covariance of its records written out.

The covariance is the equation of the model's docstring as a sum of known matrices,
``V = Σ_k c_k M_k + c_last I``, with the c_k as functions of the variables that the model names.
Nothing here uses `bayeslmm.likelihood.terms`: incidence matrices, kernels and scales are made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from kernel_problems import (
    PEDIGREE,
    genomic,
    people,
    problems,
    relationship_of_pedigree,
    unit_semivariance,
)
from numpy.typing import NDArray
from oracles import LONG, Floats, Long

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

type Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Data for a model, with an oracle.

    Parameters
    ----------
    model
        Name of the model.
    name
        What is special about the data.
    cohort
        The records.
    matrices
        What `build` is called with besides.
    parts
        M_k (n, n), known.
    variables
        Names of the variables that the coefficients are made of.
    coefficients
        ``(values by name) → [c_1, ..., c_last]``, numbers or PyTensor variables; the last
        multiplies I.
    spectral
        Is the density taken in an eigenbasis? Then it keeps its digits where σ²_e goes to 0.
    """

    model: str
    name: str
    cohort: Cohort
    matrices: tuple[Any, ...]
    parts: list[Any]
    variables: tuple[str, ...]
    coefficients: Callable[[Values], list[Any]]
    spectral: bool = False

    def __str__(self) -> str:
        return f"{self.model}: {self.name}"


N = 16
FREE = ("variance",)


def variances(v: Values, count: int) -> list[Any]:
    """The variances of `count` components, the residual's last."""
    return [v["variance"][k] for k in range(count)]


def incidence(levels: Any, q: int) -> Floats:
    """Z (n, q)."""
    return np.asarray(np.asarray(levels)[:, None] == np.arange(q), dtype=np.float64)


def text(values: Any) -> Any:
    """A column of text."""
    return pd.array([str(value) for value in values], dtype="str")


def dominance_coded(dosages: NDArray[Any]) -> Long:
    """Dominance deviations (n, m): (0, 2p, 4p - 2) - 2p² over 2pq, in extended precision."""
    p = np.asarray(dosages, dtype=LONG).mean(axis=0) / 2
    coded = np.where(dosages == 0, 0, np.where(dosages == 1, 2 * p, 4 * p - 2))
    return np.asarray((coded - 2 * p**2) / (2 * p * (1 - p)))


@cache
def kernels() -> dict[str, Long]:
    """Kernels of 16 individuals by name, of average semivariance one but for the groups'."""
    rng = np.random.default_rng(20261122)
    dosages = rng.binomial(2, rng.uniform(0.25, 0.75, 60), (N, 60))
    A = unit_semivariance(genomic(dosages, centred=True, standardised=True))
    W = dominance_coded(dosages)
    D = unit_semivariance(W @ W.T)
    low = rng.standard_normal((N, 3)).astype(LONG)
    sets = {
        f"chr{k}": genomic(part, centred=True, standardised=True)
        for k, part in enumerate(np.split(dosages, [10, 25], axis=1), 1)
    }
    household, nest = np.arange(N) // 3, (7 * np.arange(N)) % 5
    return {
        "A": A,
        "D": D,
        "AA": unit_semivariance(A * A),
        "AD": unit_semivariance(A * D),
        "low rank": unit_semivariance(low @ low.T),
        **{name: unit_semivariance(K) for name, K in sets.items()},
        "uncentred": unit_semivariance(genomic(dosages, False, False)),
        "household": (household[:, None] == household).astype(LONG),
        "nest": (nest[:, None] == nest).astype(LONG),
    }


def relationship(name: str, label: str = "additive", *, group: bool = False) -> Relationship:
    """A kernel of the 16 individuals in another order and on another scale."""
    order = np.random.default_rng(len(name)).permutation(N)
    K = np.asarray(kernels()[name], dtype=np.float64)[np.ix_(order, order)]
    if group:
        usual = {"kernel_scale": "none", "kind": "environment", "estimator": "group"}
        return Relationship(K, people(N)[order], name=label, **usual)  # type: ignore[arg-type]
    return Relationship(2.3 * K, people(N)[order], name=label)


def made(
    who: Any, p: int, seed: int, *, records: bool = False, columns: Any = None, trait: str = "trait"
) -> Cohort:
    """Records of the individuals `who` with p fixed effects, among them a year of about 1990."""
    rng = np.random.default_rng(seed)
    n = len(who)
    year, x = 1990.0 + rng.integers(-6, 7, n), rng.standard_normal((n, 3))
    X = np.ascontiguousarray(np.column_stack([np.ones(n), x[:, 0], year, x[:, 1:]])[:, :p])
    own = rng.standard_normal(N)[np.asarray(who)]
    y = 30 + X[:, -1] + own + rng.standard_normal(n)
    names = ("intercept", *(f"x{j}" for j in range(1, p)))
    labels = tuple(f"r{k}" for k in range(n)) if records else None
    table = None if columns is None else pd.DataFrame(columns)
    return Cohort(y, X, people(N)[who], names, trait, records=labels, columns=table)


def one_kernel() -> list[Case]:
    """`additive` and `additive_cholesky` on the nine problems of `kernel_problems`."""
    return [
        Case(model, name, problem.cohort, (problem.relationship(),), [problem.K], FREE,
             lambda v: variances(v, 2), spectral=True)
        for model in ("additive", "additive_cholesky")
        for name, problem in problems().items()
    ]  # fmt: skip


def several_kernels() -> list[Case]:
    """`dominance`, `epistasis`, `partitioned` and `household`: V = Σ σ²_k K_k + σ²_e I."""
    plan: list[tuple[str, str, int, dict[str, str]]] = [
        ("dominance", "GRMs", 2, {"A": "additive", "D": "dominance"}),
        ("dominance", "rank 3, uncentred, 3 covariates", 3,
         {"uncentred": "additive", "low rank": "dominance"}),
        ("epistasis", "GRMs", 2,
         {"A": "additive", "D": "dominance", "AA": "additive_additive",
          "AD": "additive_dominance"}),
        ("partitioned", "X = 1", 1, {"chr1": "chr1", "chr2": "chr2", "chr3": "chr3"}),
        ("partitioned", "with groups", 3, {"chr1": "chr1", "household": "household"}),
        ("partitioned", "one kernel", 4, {"A": "all"}),
        ("household", "two groupings", 2,
         {"A": "additive", "household": "household", "nest": "nest"}),
    ]  # fmt: skip
    found = []
    for model, name, p, chosen in plan:
        given = tuple(
            relationship(K, label, group=K in ("household", "nest")) for K, label in chosen.items()
        )
        parts = [kernels()[K] for K in chosen]
        cohort = made(np.arange(N), p, seed=len(found))
        count = len(parts) + 1
        found.append(
            Case(model, name, cohort, given, parts, FREE,
                 lambda v, count=count: variances(v, count))
        )  # fmt: skip
    return found


def snp_effects() -> list[Case]:
    """V = σ²_u WWᵀ/c + σ²_e I with more and with fewer variants than individuals."""
    rng = np.random.default_rng(4)
    found = []
    for m, p in ((40, 4), (5, 2)):
        W = rng.standard_normal((N, m))
        order = rng.permutation(N)
        K = unit_semivariance(W.astype(LONG) @ W.T)
        cohort = made(np.arange(N), p, seed=15 + m)
        variants = Variants(W[order], people(N)[order])
        found.append(
            Case("snp_effects", f"{m} variants, p = {p}", cohort, (variants,), [K], FREE,
                 lambda v: variances(v, 2), spectral=True)
        )  # fmt: skip
    return found


def repeated() -> list[Case]:
    """V = σ²_u Z G Zᵀ + σ²_c Z Zᵀ + σ²_e I, with one to four records in no order."""
    who = np.random.default_rng(1).permutation(np.repeat(np.arange(12), [1, 2, 3, 4, 1, 2] * 2))
    cohort = made(who, 3, seed=11, records=True)
    Z = incidence(who, N)
    inside = np.unique(who)
    G = np.zeros((N, N), dtype=LONG)
    G[np.ix_(inside, inside)] = unit_semivariance(kernels()["A"][np.ix_(inside, inside)])
    return [
        Case("repeated", "unbalanced Z", cohort, (relationship("A"),), [Z @ G @ Z.T, Z @ Z.T],
             FREE, lambda v: variances(v, 3))
    ]  # fmt: skip


def maternal() -> list[Case]:
    """V = σ²_a A + σ²_m Z_m A Z_mᵀ + σ_am (A Z_mᵀ + Z_m A) + σ²_c Z_m Z_mᵀ + σ²_e I."""
    A = relationship_of_pedigree(PEDIGREE)
    dams = np.array([dam for _, dam in PEDIGREE])
    who = np.random.default_rng(2).permutation(np.flatnonzero(dams >= 0))
    Za, Zm = incidence(who, N), incidence(dams[who], N)
    found = []
    for scale in ("none", "asv"):
        used = A
        if scale == "asv":
            used = A / (unit_semivariance_of(A[np.ix_(who, who)]))
        K = Relationship(np.asarray(A, dtype=np.float64), people(N), estimator="pedigree",
                         kernel_scale=scale)  # fmt: skip
        cohort = made(who, 2, seed=12, columns={"dam": text(f"i{k}" for k in dams[who])})
        parts = [
            Za @ used @ Za.T,
            Zm @ used @ Zm.T,
            Za @ used @ Zm.T + Zm @ used @ Za.T,
            (Zm @ Zm.T).astype(LONG),
        ]
        found.append(
            Case("maternal", f"kernel scale {scale}", cohort, (K,), parts, FREE,
                 lambda v: variances(v, 5))
        )  # fmt: skip
    return found


def unit_semivariance_of(K: Long) -> Any:
    """Average semivariance of K."""
    n = K.shape[0]
    return (np.trace(K) - K.sum() / n) / (n - 1)


def gxe() -> list[Case]:
    """V = σ²₀ K + σ²₁ K∘xxᵀ + r σ₀σ₁ K∘(1xᵀ + x1ᵀ) + diag(σ²_e[group])."""
    rng = np.random.default_rng(3)
    found = []
    for records in (False, True):
        who = rng.permutation(np.r_[np.arange(N), np.arange(8)] if records else np.arange(N))
        n = len(who)
        environment = 20 + 5 * rng.standard_normal(n)
        columns: dict[str, Any] = {"environment": environment}
        classes = rng.permutation(np.arange(n) % 3)
        if records:
            columns["group"] = text(np.array(["farm", "field", "glass"])[classes])
        cohort = made(who, 2, seed=13 + records, records=records, columns=columns)
        Z = incidence(who, N)
        K = Z @ kernels()["A"] @ Z.T
        x = (environment - environment.mean()).astype(LONG)
        x /= np.sqrt((x @ x) / n)
        parts = [K, K * np.outer(x, x), K * (x[:, None] + x)]
        if records:
            order = sorted(set(classes))  # groups stand in the order of their names
            parts += [np.diag((classes == k).astype(LONG)) for k in order]
        found.append(
            Case("gxe", "records and groups" if records else "one residual", cohort,
                 (relationship("A"),), parts,
                 ("variance", "r_intercept_slope", *(["residual_variance"] if records else [])),
                 _reaction_norm)
        )  # fmt: skip
    return found


def _reaction_norm(v: Values) -> list[Any]:
    first, slope, residual = variances(v, 3)
    out = [first, slope, v["r_intercept_slope"] * (first * slope) ** 0.5]
    if "residual_variance" not in v:
        return [*out, residual]
    return [*out, *(v["residual_variance"][k] for k in range(3)), 0.0 * residual]


def bivariate() -> list[Case]:
    """V = Σ_tu E_tu ⊗ (G_tu K + R_tu I), rows and columns of missing records left out."""
    found = []
    for count, complete in ((2, True), (2, False), (3, True), (3, False)):
        names = ["a", "b", "c"][:count]
        present = [np.arange(N) if complete else np.arange(k, N - 3 + k) for k in range(count)]
        alone = [
            made(who, 2, seed=20, trait=name) for name, who in zip(names, present, strict=True)
        ]
        alone = [_another_trait(one, k) for k, one in enumerate(alone)]
        cohort = stack_traits(alone)
        where = np.concatenate([k * N + who for k, who in enumerate(present)])
        pairs = [(t, u) for t, u in product(range(count), repeat=2) if t >= u]
        inside = np.unique(np.concatenate(present))
        K = np.zeros((N, N), dtype=LONG)
        K[np.ix_(inside, inside)] = unit_semivariance(kernels()["A"][np.ix_(inside, inside)])
        parts = []
        for matrix, (t, u) in product((K, np.eye(N, dtype=LONG)), pairs):
            E = np.zeros((count, count))
            E[t, u] = E[u, t] = 1.0
            parts.append(np.kron(E, matrix)[np.ix_(where, where)])
        found.append(
            Case("bivariate", f"{count} traits{'' if complete else ', some missing'}", cohort,
                 (relationship("A"),), parts, ("variance", "r_g", "r_e"),
                 lambda v, pairs=pairs, count=count: _two_covariances(v, pairs, count),
                 spectral=complete)
        )  # fmt: skip
    return found


def _another_trait(one: Cohort, k: int) -> Cohort:
    """Values of its own for the trait k, on its own scale."""
    y = one.y + k * np.random.default_rng(k).standard_normal(one.n)
    return Cohort(10.0**k * y, one.X, one.individuals, one.covariates, one.trait)


def _two_covariances(v: Values, pairs: list[tuple[int, int]], count: int) -> list[Any]:
    out = []
    for k, name in enumerate(("r_g", "r_e")):
        sd = [v["variance"][k * count + t] ** 0.5 for t in range(count)]
        out += [v[name][t, u] * sd[t] * sd[u] for t, u in pairs]
    return [*out, 0.0 * out[0]]


@cache
def cases() -> list[Case]:
    """All cases."""
    several = [*several_kernels(), *snp_effects(), *repeated(), *maternal(), *gxe(), *bivariate()]
    return [*one_kernel(), *several]


def case(model: str, name: str = "") -> Case:
    """A case by its names; the first of a model."""
    return next(one for one in cases() if one.model == model and (not name or one.name == name))
