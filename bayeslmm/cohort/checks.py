"""Rules for the parts of a `Cohort`; each check raises `InputError` with the value found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.cohort.design import INTERCEPT
from bayeslmm.cohort.trait import check_trait_name
from bayeslmm.errors import InputError
from bayeslmm.individuals import names_of


def intercept_of(trait: str) -> str:
    """Return the name of a trait's intercept in the design of several traits."""
    return f"{INTERCEPT}[{trait}]"


def check_arrays(
    y: NDArray[np.float64],
    X: NDArray[np.float64],
    individuals: pd.MultiIndex,
    covariates: tuple[str, ...],
) -> None:
    """Check types, shapes, C order, finite values, and different, printable names."""
    n = len(individuals)
    for name, array, shape in (("y", y, (n,)), ("X", X, (n, len(covariates)))):
        if not isinstance(array, np.ndarray) or array.dtype != np.float64:
            raise broken(f"{name} of type {getattr(array, 'dtype', type(array))}", "float64")
        if array.shape != shape:
            raise broken(f"{name} of shape {array.shape}", f"{shape}")
        if not array.flags.c_contiguous:
            raise broken(f"{name} not in C order", "a C-contiguous array")
        if not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            who = names_of(individuals[[row]])[0]
            raise broken(f"a value of {name} of {who} that is not finite", "finite values")
    if len(set(covariates)) != len(covariates):
        raise broken(f"covariates {covariates}", "different names")
    if any(not name or not name.isprintable() for name in covariates):
        raise broken(f"covariates {covariates}", "printable names")


def check_individuals(individuals: pd.MultiIndex, records: tuple[str, ...] | None) -> None:
    """Check that FID, IID pairs are unique, or that every record has a unique name."""
    pairs = "individuals that are not unique FID, IID pairs"
    if individuals.nlevels != 2:
        raise broken(pairs, "a MultiIndex of these")
    if records is None:
        if not individuals.is_unique:
            raise broken(pairs, "a MultiIndex of these, or a name for every record (records)")
        return
    if not isinstance(records, tuple) or len(records) != len(individuals):
        raise broken(
            f"{len(records)} names of records for {len(individuals)} individuals",
            "a tuple with one name per record",
        )
    if len(set(records)) != len(records):
        twice = next(name for position, name in enumerate(records) if name in records[:position])
        raise broken(f"two records named '{twice}'", "different names of records")
    if any(not isinstance(name, str) or not name or not name.isprintable() for name in records):
        raise broken("names of records that are not printable text", "printable names")


def check_one_trait(X: NDArray[np.float64], covariates: tuple[str, ...]) -> None:
    """Check that the design begins with the intercept."""
    if covariates[:1] != (INTERCEPT,) or not (X[:, 0] == 1).all():
        raise broken("a design without an intercept", "ones first, named 'intercept'")


def check_traits(
    X: NDArray[np.float64],
    covariates: tuple[str, ...],
    trait: str,
    traits: tuple[str, ...],
    trait_index: NDArray[np.intp],
) -> None:
    """Check that records and design stand trait by trait, each block with its intercept first.

    Parameters
    ----------
    X, covariates
        (n, p) design and (p,) names.
    trait
        Names of the traits, joined by commas.
    traits
        (k,) names, at least two.
    trait_index
        (n,) trait that each record measures, not decreasing.
    """
    n, k = len(X), len(traits)
    if k < 2 or len(set(traits)) != k:
        raise broken(f"traits {traits}", "at least two different names with a trait_index")
    for name in traits:
        check_trait_name(name)
    if trait != ",".join(traits):
        raise broken(f"the trait '{trait}' of the traits {traits}", f"'{','.join(traits)}'")
    if not isinstance(trait_index, np.ndarray) or trait_index.dtype != np.intp:
        raise broken(f"a trait_index of type {type(trait_index).__name__}", "an array of intp")
    if trait_index.shape != (n,):
        raise broken(f"trait_index of shape {trait_index.shape}", f"({n},)")
    if (np.diff(trait_index) < 0).any() or not np.array_equal(np.unique(trait_index), np.arange(k)):
        raise broken(
            "records that are not ordered trait by trait, each with at least one record",
            f"a trait_index that runs from 0 to {k - 1}",
        )
    starts = block_starts(covariates, traits)
    owner = np.searchsorted(starts, np.arange(len(covariates)), side="right") - 1
    own = trait_index[:, None] == owner
    if (X != 0.0)[~own].any() or not (X[:, starts] == own[:, starts]).all():
        raise broken(
            "a design that mixes traits, or whose intercepts are not ones",
            "a block for each trait, zero on other traits' records, ones first,",
        )


def block_starts(covariates: Sequence[str], traits: Sequence[str]) -> list[int]:
    """Return the position of the first column of each trait's block of the design (k,)."""
    wanted = [intercept_of(trait) for trait in traits]
    starts = [position for position, name in enumerate(covariates) if name in wanted]
    if [covariates[position] for position in starts] != wanted or starts[:1] != [0]:
        raise broken(
            f"covariates {tuple(covariates)}",
            f"blocks in the order of the traits that begin with {', '.join(wanted)}",
        )
    return starts


def as_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert complete columns to the form of `Cohort.columns`: float64 or text, rows 0, 1, ..."""
    columns = {
        name: frame[name].to_numpy(np.float64)
        if pd.api.types.is_numeric_dtype(frame[name])
        else pd.array([str(value) for value in frame[name]], dtype="str")
        for name in frame.columns
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(frame)))


def check_columns(columns: pd.DataFrame, n: int) -> None:
    """Check that columns are complete numbers or text, with rows 0, 1, ... n - 1."""
    if not isinstance(columns, pd.DataFrame) or not columns.index.equals(pd.RangeIndex(n)):
        raise broken(
            "columns that are not a table with rows 0, 1, ...", f"{n} rows, one per record,"
        )
    names = list(columns.columns)
    if len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
        raise broken(f"columns named {names[:20]}", "different names, as text,")
    for name in names:
        values = columns[name]
        if not (values.dtype == np.float64 or isinstance(values.dtype, pd.StringDtype)):
            raise broken(f"the column '{name}' of type {values.dtype}", "float64 or text (str)")
        if values.isna().any() or (values.dtype == np.float64 and np.isinf(values).any()):
            raise broken(f"missing or infinite values in the column '{name}'", "complete columns")


def broken(found: str, expected: str) -> InputError:
    """Return the error for a broken rule of a `Cohort`."""
    return InputError(found, f"{expected} in a Cohort", "build it with cohort(...)")
