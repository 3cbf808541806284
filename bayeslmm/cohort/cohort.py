"""The type `Cohort`: the data that a model sees, with their rules."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.cohort.checks import (
    broken,
    check_arrays,
    check_columns,
    check_individuals,
    check_one_trait,
    check_traits,
)
from bayeslmm.cohort.trait import check_trait_name
from bayeslmm.errors import InputError
from bayeslmm.individuals import labels_of
from bayeslmm.ledger import Ledger


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """The records that a model sees, in the order of the genotypes or the GRM.

    Parameters
    ----------
    y
        (n,) phenotype, float64, finite.
    X
        (n, p) design of the fixed effects, float64, C order, full column rank, finite; the first
        column is the intercept.
    individuals
        (n,) FID and IID of the individual of each record; unique unless `records` is given.
    covariates
        (p,) names of the columns of `X`; the first is "intercept".
    trait
        Name of the phenotype; for several traits their names, joined by commas.
    ledger
        Who and what was dropped, and why.
    records
        (n,) unique names of the records, when individuals have several; else None.
    trait_index
        (n,) which of the `traits` each record measures, or None for one trait. Records stand trait
        by trait. `X` is block diagonal with columns "intercept[A]", "sex[A]", "intercept[B]", ...;
        the first column of each block is ones on the records of its trait.
    traits
        (k,) names of the traits, if there are several; empty for one.
    columns
        (n, any) further columns of the records, float64 or text, complete, rows 0, 1, ...; or None.
    codings
        (k,) coding of each binary trait, "{1, 2}, analysed as {0, 1}"; "" for a quantitative trait.
        Empty if all are quantitative.

    Raises
    ------
    InputError
        If a shape, type or value breaks these rules.
    """

    y: NDArray[np.float64]
    X: NDArray[np.float64]
    individuals: pd.MultiIndex
    covariates: tuple[str, ...]
    trait: str
    ledger: Ledger = field(default_factory=Ledger)
    records: tuple[str, ...] | None = None
    trait_index: NDArray[np.intp] | None = None
    traits: tuple[str, ...] = ()
    columns: pd.DataFrame | None = None
    codings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_trait_name(self.trait)
        check_arrays(self.y, self.X, self.individuals, self.covariates)
        if self.trait_index is not None:
            check_traits(self.X, self.covariates, self.trait, self.traits, self.trait_index)
        elif self.traits:
            raise broken(f"traits {self.traits} without a trait_index", "both, or neither,")
        else:
            check_one_trait(self.X, self.covariates)
        check_individuals(self.individuals, self.records)
        if self.columns is not None:
            check_columns(self.columns, self.n)

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.y)

    @property
    def p(self) -> int:
        """Number of fixed effects, with the intercept."""
        return len(self.covariates)

    @property
    def labels(self) -> list[str]:
        """(n,) one string per record: its name in `records`, else its individual's name.

        An individual is named by its IID if IIDs are unique in the cohort, else ``FID IID``.
        """
        return labels_of(self.individuals) if self.records is None else list(self.records)

    @property
    def trait_names(self) -> tuple[str, ...]:
        """(k,) names of the traits; k may be 1."""
        return self.traits or (self.trait,)

    @property
    def people(self) -> pd.MultiIndex:
        """(q,) unique individuals, in the order of their first record."""
        return self.individuals if self.records is None else self.individuals.unique()

    @property
    def levels(self) -> NDArray[np.intp]:
        """(n,) position of each record's individual in `people`."""
        if self.records is None:
            return np.arange(self.n, dtype=np.intp)
        return self.people.get_indexer(self.individuals)

    def column(self, name: str) -> pd.Series[Any]:
        """Return a further column of the records (n,), float64 or text.

        Raises
        ------
        InputError
            If the column is absent; the message names those present.
        """
        if self.columns is None or name not in self.columns.columns:
            there = [] if self.columns is None else list(self.columns.columns)
            raise InputError(
                f"the cohort of '{self.trait}' has no column '{name}'",
                f"one of: {', '.join(there)}" if there else "a cohort with further columns",
                f"ask for it when the cohort is built: columns=['{name}']",
            )
        return self.columns[name]

    def column_text(self, name: str) -> list[str]:
        """Return a further column as text (n,), for groups and identifiers: 1145.0 is "1145"."""
        return [v if isinstance(v, str) else format(v, ".15g") for v in self.column(name)]

    def coords(self, *components: str) -> dict[str, list[str]]:
        """Return coordinates for ``pm.Model``: individual (the labels), covariate, component.

        Parameters
        ----------
        *components
            Names of the variance components; the last is the residual.
        """
        return {
            "individual": self.labels,
            "covariate": list(self.covariates),
            "component": list(components),
        }


def group_by_individuals(cohorts: Sequence[Cohort]) -> list[list[Cohort]]:
    """Group cohorts whose individuals, traits, design and columns are the same to the byte.

    One spectrum serves all cohorts of a group. Groups and their members keep the order given.
    """
    known: dict[tuple[int, int, int], bytes] = {}
    groups: dict[bytes, list[Cohort]] = {}
    for one in cohorts:
        identity = (id(one.X), id(one.individuals), id(one.columns))
        if identity not in known:
            known[identity] = _digest(one)
        groups.setdefault(known[identity], []).append(one)
    return list(groups.values())


def _digest(one: Cohort) -> bytes:
    digest = hashlib.blake2b(repr(one.X.shape).encode() + one.X.tobytes())
    digest.update("\0".join(f"{f}\0{i}" for f, i in one.individuals).encode())
    if one.trait_index is not None:
        digest.update(one.trait_index.tobytes())
    if one.columns is not None:
        for name in one.columns.columns:
            values = one.columns[name].tolist()
            digest.update(repr((name, values)).encode())
    return digest.digest()
