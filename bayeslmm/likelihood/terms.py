"""The covariance of the records as a sum of known matrices with unknown coefficients.

    y = Xβ + Σ_t Σ_j W_tj u_tj + ε        u_t (q, k) ~ N(0, Σ_t ⊗ A_t),   ε ~ N(0, diag(σ²_e))

Every `Term` t has k effects for each of q levels: the genetic value of an individual; direct and
maternal effect; intercept and slope of a reaction norm; one for each trait. W_tj holds the weights
of effect j in the records. So V is linear in the entries of the Σ_t and in the residual variances,
which are the coefficients c::

    V(c) = Σ_k c_k M_k,     M = W_i A W_jᵀ + W_j A W_iᵀ (i > j),   W_i A W_iᵀ (i = j),   diag(class)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index
from bayeslmm.numerics.arrays import Codes, Floats
from bayeslmm.relationship.relationship import Relationship

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """Random effects u (q, k) with Cov(u) = Σ ⊗ A, and their incidence in the records.

    Parameters
    ----------
    name
        Name of the term: "additive".
    columns
        Names of its effects (k,); the term's own name if there is one.
    kernel
        A (q, q), or None for the identity.
    levels
        Level (n, k) of effect j in record i.
    weights
        Weight (n, k) of effect j in record i; 0 if it does not enter.
    people
        Individuals of the levels (q,); None if levels are not individuals.
    genetic
        Whether its variances count toward h².
    """

    name: str
    columns: tuple[str, ...]
    kernel: Floats | None
    levels: Codes
    weights: Floats
    people: pd.MultiIndex | None = None
    genetic: bool = True

    def __post_init__(self) -> None:
        shape = (len(self.levels), len(self.columns))
        if self.levels.shape != shape or self.weights.shape != shape:
            raise ValueError(
                f"levels {self.levels.shape} and weights {self.weights.shape}, not {shape}"
            )
        if self.levels.min(initial=0) < 0 or self.levels.max(initial=0) >= self.q:
            raise ValueError(f"levels from 0 to {self.q - 1} only")

    @property
    def k(self) -> int:
        """Number of effects of a level."""
        return len(self.columns)

    @property
    def q(self) -> int:
        """Number of levels."""
        if self.kernel is not None:
            return len(self.kernel)
        return len(self.people) if self.people is not None else int(self.levels.max()) + 1

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Entries of Σ in the order of the coefficients: its lower triangle row by row."""
        return [(i, j) for i in range(self.k) for j in range(i + 1)]

    def block(self, i: int, j: int) -> Floats:
        """Compute ``W_i A W_jᵀ`` (n, n)."""
        rows, columns = self.levels[:, i], self.levels[:, j]
        if self.kernel is None:
            A = (rows[:, None] == columns).astype(np.float64)
        else:
            A = self.kernel[np.ix_(rows, columns)]
        A *= self.weights[:, i, None]
        A *= self.weights[:, j]
        return np.asarray(A)

    def matrices(self) -> Iterator[Floats]:
        """Yield the matrices M of the coefficients, in their order."""
        for i, j in self.pairs:
            M = self.block(i, j)
            yield M if i == j else M + M.T

    def incidence(self, j: int) -> sparse.csr_array:
        """Return the incidence matrix W_j (n, q)."""
        rows = np.arange(len(self.levels))
        entries = (self.weights[:, j], (rows, self.levels[:, j]))
        return sparse.csr_array(entries, shape=(len(rows), self.q))


@dataclass(frozen=True, slots=True, eq=False)
class Covariance:
    """Covariance V(c) of n records.

    Parameters
    ----------
    terms
        The random terms.
    residual
        Residual variance class (n,) of every record, 0, 1, ...; None if the residual is a term
        (several traits).
    """

    terms: tuple[Term, ...]
    residual: Codes | None

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.terms[0].levels) if self.residual is None else len(self.residual)

    @property
    def classes(self) -> int:
        """Number of residual variances."""
        return 0 if self.residual is None else int(self.residual.max()) + 1

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return sum(len(term.pairs) for term in self.terms) + self.classes

    def matrices(self) -> Iterator[Floats]:
        """Yield M_k (n, n) of every coefficient; the last is I with one residual variance."""
        for term in self.terms:
            yield from term.matrices()
        for one in range(self.classes):
            yield np.diag(np.asarray(self.residual == one, dtype=np.float64))

    def unpack(self, c: Floats) -> tuple[list[Floats], Floats]:
        """Return Σ_t (..., k, k) of every term and the residual variances (..., classes)."""
        out, start = [], 0
        for term in self.terms:
            S = np.empty((*c.shape[:-1], term.k, term.k))
            for i, j in term.pairs:
                S[..., i, j] = S[..., j, i] = c[..., start]
                start += 1
            out.append(S)
        return out, c[..., start:]

    def dense(self, c: Floats) -> Floats:
        """Compute V(c) (n, n), for tests and small problems."""
        V = np.zeros((self.n, self.n))
        for value, M in zip(c, self.matrices(), strict=True):
            V += value * M
        return V


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """A shared environment: records of the same group share one effect.

    Unlike a kernel between individuals it may differ between the records of an individual (year).

    Parameters
    ----------
    name
        Name of the component.
    labels
        Group (n,) of every record of the cohort.

    Raises
    ------
    InputError
        If there is one group only (confounded with the intercept), or groups of one record each
        (confounded with the residual).
    """

    name: str
    labels: tuple[str, ...]

    kind = "environment"

    def __post_init__(self) -> None:
        groups = len(set(self.labels))
        if groups < 2 or groups == len(self.labels):
            what = "one group" if groups < 2 else f"{groups} groups of one record each"
            raise InputError(
                f"'{self.name}' has {what}",
                "several groups, some of them with several records",
                "leave it out: it is confounded with the intercept or the residual",
            )

    def provenance(self) -> dict[str, object]:
        """Return its description for the outputs."""
        return {
            "name": self.name,
            "estimator": "group",
            "kind": self.kind,
            "n_groups": len(set(self.labels)),
            "kernel_scale": "none",
            "factor": 1.0,
        }


def kernel_term(
    cohort: Cohort, relationship: Relationship | Grouping, name: str | None = None
) -> Term:
    """Build the term ``g = Zu``, u ~ N(0, σ² G): one effect for each individual, or group.

    Parameters
    ----------
    cohort
        The cohort with its individuals and Z, the assignment of records to individuals.
    relationship
        G, aligned by ID and scaled on the cohort's individuals; or groups of its records.
    name
        Name of the component; default the relationship's.
    """
    if isinstance(relationship, Grouping):
        if len(relationship.labels) != cohort.n:
            raise InputError(
                f"{len(relationship.labels)} labels of '{relationship.name}'",
                f"one for each of the {cohort.n} records",
                "take them from the cohort's columns",
            )
        codes, _ = codes_of(relationship.labels, relationship.name)
        return simple_term(name or relationship.name, None, codes, genetic=False)
    aligned = relationship.on(cohort.people)
    return Term(
        name or relationship.name,
        (name or relationship.name,),
        aligned.matrix,
        cohort.levels[:, None],
        np.ones((cohort.n, 1)),
        cohort.people,
        relationship.kind == "genetic",
    )


def scaled_rows(
    relationship: Relationship, individuals: pd.MultiIndex, people: pd.MultiIndex
) -> Floats:
    """Return G of any `individuals` (q, q), scaled on the `people` analysed."""
    factor = relationship.on(people).factor / relationship.factor
    return relationship.on(individuals, "none").matrix / factor


def maternal_term(cohort: Cohort, relationship: Relationship, column: str = "dam") -> Term:
    """Build the term of direct and maternal genetic effects, of the individual and of its dam.

    Parameters
    ----------
    cohort
        The cohort; its column `column` names the dam of every record's individual.
    relationship
        G of the individuals and of the dams; scaled on the cohort's individuals.
    column
        Name of the column of the cohort.
    """
    dams = dam_index(cohort, column)
    people = cohort.people.append(dams).unique()
    levels = np.column_stack([people.get_indexer(cohort.individuals), people.get_indexer(dams)])
    kernel = scaled_rows(relationship, people, cohort.people)
    ones = np.ones(levels.shape)
    return Term("additive", ("direct", "maternal"), kernel, levels, ones, people)


def dam_index(cohort: Cohort, column: str = "dam") -> pd.MultiIndex:
    """Return the dam of every record (n,), with the FID of its offspring if there are families."""
    families = cohort.individuals.get_level_values(0)
    return individual_index(families, cohort.column_text(column))


def dam_term(cohort: Cohort, name: str = "maternal_environment", column: str = "dam") -> Term:
    """Build the term of the maternal environment, shared by the offspring of one dam."""
    dams, _ = codes_of(list(dam_index(cohort, column)), column)
    return simple_term(name, None, dams, genetic=False)


def reaction_norm_term(
    cohort: Cohort, relationship: Relationship, column: str = "environment"
) -> Term:
    """Build the term of reaction norms: intercept and slope over a standardised environment.

    Raises
    ------
    InputError
        If the environment is not numeric or does not vary.
    """
    x = pd.to_numeric(cohort.column(column), errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(x).all() or np.ptp(x) == 0.0:
        raise InputError(
            f"the environment '{column}' is not numeric in all records, or constant",
            "a number for every record, which varies",
            "choose another column (--environment-column)",
        )
    weights = np.column_stack([np.ones(cohort.n), (x - x.mean()) / x.std()])
    aligned = relationship.on(cohort.people)
    levels = np.column_stack([cohort.levels, cohort.levels])
    return Term("additive", ("intercept", "slope"), aligned.matrix, levels, weights, cohort.people)


def trait_term(cohort: Cohort, relationship: Relationship) -> Term:
    """Build the term of genetic values of every trait of every individual, ``G ⊗ K``."""
    aligned = relationship.on(cohort.people)
    return _by_trait(cohort, "additive", aligned.matrix, True)


def residual_trait_term(cohort: Cohort) -> Term:
    """Build the term of residuals of every trait of every individual, ``R ⊗ I``."""
    return _by_trait(cohort, "residual", None, False)


def _by_trait(cohort: Cohort, name: str, kernel: Floats | None, genetic: bool) -> Term:
    if cohort.trait_index is None:
        raise InputError("one trait", "two or more", "name them: --pheno-name A,B")
    traits = cohort.trait_names
    weights = (cohort.trait_index[:, None] == np.arange(len(traits))).astype(np.float64)
    levels = np.repeat(cohort.levels[:, None], len(traits), axis=1)
    columns = tuple(f"{name}:{trait}" for trait in traits)
    return Term(name, columns, kernel, levels, weights, cohort.people, genetic)


def individual_term(cohort: Cohort, name: str) -> Term:
    """Build the term of permanent environments: independent effects of individuals."""
    ones = np.ones((cohort.n, 1))
    return Term(name, (name,), None, cohort.levels[:, None], ones, cohort.people, False)


def simple_term(name: str, kernel: Floats | None, levels: Codes, *, genetic: bool = True) -> Term:
    """Build a term of one effect per level, u (q,) ~ N(0, σ² A), with `levels` (n,) of records."""
    ones = np.ones((len(levels), 1))
    return Term(name, (name,), kernel, levels[:, None], ones, None, genetic)


def codes_of(labels: Sequence[object], what: str) -> tuple[Codes, list[str]]:
    """Return codes (n,) of labels in their sorted order, and the distinct labels.

    Raises
    ------
    InputError
        If a label is missing.
    """
    codes, names = pd.factorize(pd.Series(list(labels), dtype=object), sort=True)
    if (codes < 0).any():
        row = int(np.flatnonzero(codes < 0)[0])
        raise InputError(f"no {what} in record {row + 1}", "a value in every record", "add it")
    return np.asarray(codes, dtype=np.intp), [str(name) for name in names]
