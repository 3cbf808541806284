"""The cohort: phenotype, design and individuals, aligned by identifier, with a ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayeslmm.alignment import Alignment, align
from bayeslmm.design_matrix import INTERCEPT, Design, FixedEffects, assemble_design, build_design
from bayeslmm.design_matrix import fixed_effects as resolve_fixed_effects
from bayeslmm.errors import InputError
from bayeslmm.individuals import (
    NO_FAMILY,
    as_individuals,
    individual_index,
    labels_of,
    names_of,
)
from bayeslmm.ledger import Ledger
from bayeslmm.tables import require_columns
from bayeslmm.trait import check_coding, check_size, check_trait, check_trait_name


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
        (n,) unique FID and IID.
    covariates
        (p,) names of the columns of `X`; the first is "intercept".
    trait
        Name of the phenotype.
    ledger
        Who and what was dropped on the way, and why.

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

    def __post_init__(self) -> None:
        check_trait_name(self.trait)
        n = len(self.individuals)
        for name, array, shape in (
            ("y", self.y, (n,)),
            ("X", self.X, (n, len(self.covariates))),
        ):
            if not isinstance(array, np.ndarray) or array.dtype != np.float64:
                raise _broken(f"{name} of type {getattr(array, 'dtype', type(array))}", "float64")
            if array.shape != shape:
                raise _broken(f"{name} of shape {array.shape}", f"{shape}")
            if not array.flags.c_contiguous:
                raise _broken(f"{name} not in C order", "a C-contiguous array")
            if not np.isfinite(array).all():
                row = int(np.argwhere(~np.isfinite(array))[0][0])
                who = names_of(self.individuals[[row]])[0]
                raise _broken(f"a value of {name} of {who} that is not finite", "finite values")
        if self.covariates[:1] != (INTERCEPT,) or not (self.X[:, 0] == 1).all():
            raise _broken("a design without an intercept", "ones first, named 'intercept'")
        if len(set(self.covariates)) != len(self.covariates):
            raise _broken(f"covariates {self.covariates}", "different names")
        if any(not name or not name.isprintable() for name in self.covariates):
            raise _broken(f"covariates {self.covariates}", "printable names")
        if self.individuals.nlevels != 2 or not self.individuals.is_unique:
            raise _broken("individuals that are not unique FID, IID pairs", "a MultiIndex of these")

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
        """One string an individual: the IID if unique in the cohort, else ``FID IID``."""
        return labels_of(self.individuals)

    def coords(self, *components: str) -> dict[str, list[str]]:
        """Coordinates for ``pm.Model``: individual, covariate, component.

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


def cohort(
    phenotypes: pd.DataFrame,
    trait: str,
    *,
    individuals: pd.MultiIndex,
    covariates: pd.DataFrame | None = None,
    covariate_names: Sequence[str] | None = None,
    categorical: Collection[str] = (),
    formula: str | None = None,
    ledger: Ledger = Ledger(),  # noqa: B008 (immutable)
    quantitative: bool = False,
    allow_few_matches: bool = False,
) -> Cohort:
    """Align a phenotype, covariates and the genotyped individuals by identifier.

    Parameters
    ----------
    phenotypes
        Traits, float64, NaN where missing, indexed by FID and IID (`read_phenotypes`).
    trait
        A column of `phenotypes`.
    individuals
        The genotyped individuals, or those of the GRM. The cohort keeps their order.
    covariates
        Covariates indexed by FID and IID (`read_covariates`); default an intercept only.
    covariate_names, categorical, formula
        What enters the design, see `bayeslmm.design_matrix.fixed_effects`; default all columns.
    ledger
        Steps taken before, for instance of the genotypes' quality control; put in front.
    quantitative
        Take the values of the trait as they are, even if they look like a case-control code.
    allow_few_matches
        Go on although less than half of the smaller side is found on the other.

    Returns
    -------
    Cohort
        Individuals with genotypes, phenotype and all covariates. The order of rows in the tables
        plays no role.

    Raises
    ------
    InputError
        If identifiers do not match, the trait is constant or coded 0/1/2 with 0 or -9 for missing,
        a value is not finite, or individuals are too few for the covariates.

    Warns
    -----
    BayesLMMWarning
        For binary traits, outliers beyond 6 standard deviations, dropped covariates, small
        samples, and matches by IID although FIDs are there.
    """
    return cohorts(
        phenotypes,
        [trait],
        individuals=individuals,
        covariates=covariates,
        covariate_names=covariate_names,
        categorical=categorical,
        formula=formula,
        ledger=ledger,
        quantitative=quantitative,
        allow_few_matches=allow_few_matches,
    )[0]


def cohorts(
    phenotypes: pd.DataFrame,
    traits: Sequence[str] | None = None,
    *,
    individuals: pd.MultiIndex,
    covariates: pd.DataFrame | None = None,
    covariate_names: Sequence[str] | None = None,
    categorical: Collection[str] = (),
    formula: str | None = None,
    ledger: Ledger = Ledger(),  # noqa: B008 (immutable)
    quantitative: bool = False,
    allow_few_matches: bool = False,
) -> list[Cohort]:
    """Build one `Cohort` for each trait; see `cohort` for the parameters.

    Traits whose missing values agree share their design. `traits` defaults to all columns.
    """
    names = [str(name) for name in phenotypes.columns] if traits is None else list(traits)
    if not names:
        raise InputError("no trait", "at least one", "name one (--pheno-name)")
    path = phenotypes.attrs.get("path")
    _check_columns(phenotypes, "phenotypes")
    if covariates is not None:
        _check_columns(covariates, "covariates")
    require_columns(names, list(phenotypes.columns), path=path)
    for position, name in enumerate(names):
        if name in names[:position]:
            raise InputError(
                f"the trait '{name}' is asked for twice", "different traits", "drop it"
            )
        check_trait_name(name)
        if not pd.api.types.is_numeric_dtype(phenotypes[name]):
            raise InputError(
                f"the trait '{name}' holds {phenotypes[name].dtype}", "numbers",
                "read it with read_phenotypes, or convert it", path=path, column=name,
            )  # fmt: skip
    effects = resolve_fixed_effects(covariates, covariate_names, categorical, formula)
    alignment = align(
        phenotypes, individuals, covariates if effects.columns else None, effects.columns,
        allow_few_matches=allow_few_matches,
    )  # fmt: skip
    designs: dict[bytes, tuple[Design, pd.MultiIndex]] = {}
    return [
        _one(alignment, phenotypes[name], name, effects, designs, ledger, quantitative)
        for name in names
    ]


def _one(
    alignment: Alignment,
    phenotype: pd.Series[float],
    trait: str,
    effects: FixedEffects,
    designs: dict[bytes, tuple[Design, pd.MultiIndex]],
    before: Ledger,
    quantitative: bool,
) -> Cohort:
    values = np.asarray(phenotype.to_numpy(np.float64, na_value=np.nan), dtype=np.float64)
    path = phenotype.attrs.get("path")
    if not quantitative:
        check_coding(values, trait, path=path)
    y, present, steps = alignment.select(values, trait)
    key = present.tobytes()
    if key not in designs:
        rows = np.flatnonzero(present)
        # the same order whatever the files' order, so that the design is the same to the bit
        order = np.argsort(alignment.rank[rows])
        design = build_design(alignment.covariate_rows(rows[order]), effects)
        X = np.empty_like(design.X)
        X[order] = design.X
        designs[key] = (Design(X, design.covariates, design.ledger), alignment.individuals[rows])
    design, individuals = designs[key]
    y = check_trait(y[present], trait, names_of(individuals), quantitative=quantitative, path=path)
    check_size(*design.X.shape)
    return Cohort(
        y=y,
        X=design.X,
        individuals=individuals,
        covariates=design.covariates,
        trait=trait,
        ledger=before + steps + design.ledger,
    )


def cohort_from_arrays(
    y: ArrayLike,
    X: ArrayLike | None = None,
    individuals: pd.Index | Sequence[str] | None = None,
    trait: str = "y",
    covariates: Sequence[str] | None = None,
    *,
    quantitative: bool = False,
) -> Cohort:
    """Build a `Cohort` from arrays whose rows belong together.

    Parameters
    ----------
    y
        (n,) phenotype; NaN where missing, which needs `individuals`.
    X
        (n, k) or (n,) covariates; default none. The intercept is added, unless the first column
        is all ones and so is the intercept.
    individuals
        (n,) IIDs, or a MultiIndex of FID and IID; default "1" ... "n".
    trait
        Name of the phenotype.
    covariates
        (k,) names of the columns of `X` (without or with the intercept's, if `X` has one);
        default x1, x2, ...
    quantitative
        Take `y` as it is, even if it looks like a case-control code.

    Raises
    ------
    InputError
        As `cohort`; and for missing values when `individuals` is not given, because rows that
        silently disappear would no longer fit the GRM.
    """
    values = np.asarray(y, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"y of shape {values.shape}", "one dimension, (n,)", "pass y.ravel()")
    n = len(values)
    columns, names = _columns(X, covariates, n)
    if not quantitative:
        check_coding(values, trait)
    if individuals is None:
        index = individual_index([NO_FAMILY] * n, [str(i + 1) for i in range(n)])
    else:
        given = individuals if isinstance(individuals, pd.Index) else pd.Index(list(individuals))
        index = as_individuals(given, "individuals")
    if len(index) != n:
        raise InputError(f"{len(index)} individuals and y of length {n}", "as many", "check them")
    ledger, present = Ledger(), np.ones(n, dtype=bool)
    for what, missing in (
        (f"phenotype missing: {trait}", np.isnan(values)),
        *((f"covariate missing: {k}", np.isnan(c)) for k, c in zip(names, columns.T, strict=True)),
    ):
        if missing.any() and individuals is None:
            raise InputError(
                f"{int(missing.sum())} missing values ({what})",
                "complete arrays, or individuals, so that the GRM's rows can be found by name",
                "give individuals=, or drop these rows from y, X and the GRM",
            )
        dropped = index[missing & present]
        present &= ~missing
        ledger = ledger.add("individuals", what, names_of(dropped), remaining=int(present.sum()))
    kept = index[present]
    check_size(int(present.sum()), 1, warn=False)
    design = assemble_design(columns[present], names, kept)
    final = check_trait(values[present], trait, names_of(kept), quantitative=quantitative)
    check_size(*design.X.shape)
    return Cohort(final, design.X, kept, design.covariates, trait, ledger + design.ledger)


def _columns(
    X: ArrayLike | None, covariates: Sequence[str] | None, n: int
) -> tuple[NDArray[np.float64], list[str]]:
    """(n, k) columns without the intercept, and their names."""
    array = np.empty((n, 0)) if X is None else np.asarray(X, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n:
        raise InputError(
            f"X of shape {array.shape} and y of length {n}", "X (n, k)", "give a row a record"
        )
    names = list(covariates) if covariates is not None else None
    if array.shape[1] and bool((array[:, 0] == 1).all()):
        if names is not None and len(names) == array.shape[1]:
            names = names[1:]
        array = array[:, 1:]
    names = [f"x{i + 1}" for i in range(array.shape[1])] if names is None else names
    if len(names) != array.shape[1]:
        raise InputError(
            f"{len(names)} names for {array.shape[1]} columns of X", "as many", "check them"
        )
    return array, names


def group_by_individuals(cohorts: Sequence[Cohort]) -> list[list[Cohort]]:
    """Group cohorts that have the same individuals and the same design, to the byte.

    One spectrum serves all cohorts of a group. Groups and their members keep the order given.
    """
    known: dict[tuple[int, int], bytes] = {}
    groups: dict[bytes, list[Cohort]] = {}
    for one in cohorts:
        identity = (id(one.X), id(one.individuals))
        if identity not in known:
            digest = hashlib.blake2b(repr(one.X.shape).encode() + one.X.tobytes())
            digest.update("\0".join(f"{f}\0{i}" for f, i in one.individuals).encode())
            known[identity] = digest.digest()
        groups.setdefault(known[identity], []).append(one)
    return list(groups.values())


def _check_columns(table: pd.DataFrame, what: str) -> None:
    if not table.columns.is_unique or not all(isinstance(name, str) for name in table.columns):
        raise InputError(
            f"columns {list(table.columns)[:20]} of the {what}",
            "different names, as text",
            "rename them",
            path=table.attrs.get("path"),
        )


def _broken(found: str, expected: str) -> InputError:
    return InputError(found, f"{expected} in a Cohort", "build it with cohort(...)")
