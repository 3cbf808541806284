"""Build a cohort from arrays whose rows belong together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayeslmm.cohort.codes import check_codes, check_trait_codes
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.design import assemble_design
from bayeslmm.cohort.trait import check_coding, check_size, check_trait
from bayeslmm.errors import InputError
from bayeslmm.individuals import NO_FAMILY, as_individuals, individual_index, names_of
from bayeslmm.ledger import Ledger


def cohort_from_arrays(
    y: ArrayLike,
    X: ArrayLike | None = None,
    individuals: pd.Index | Sequence[str] | None = None,
    trait: str = "y",
    covariates: Sequence[str] | None = None,
    *,
    quantitative: bool = False,
    keep_values: bool = False,
) -> Cohort:
    """Build a `Cohort` from arrays whose rows belong together.

    Parameters
    ----------
    y
        (n,) phenotype; NaN where missing, which needs `individuals`.
    X
        (n, k) or (n,) covariates. Default: none. An intercept is added, unless the first column is
        all ones.
    individuals
        (n,) IIDs, or a MultiIndex of FID and IID. Default: "1" ... "n".
    trait
        Name of the phenotype.
    covariates
        (k,) names of the columns of `X`; the intercept's name may be left out. Default: x1, x2, ...
    quantitative
        Use `y` unchanged, even if it looks like a case-control code.
    keep_values
        As for `bayeslmm.cohort.build.cohort`.

    Raises
    ------
    InputError
        As `cohort`; and for missing values without `individuals`, because the rows left would no
        longer fit the GRM.
    """
    values = np.asarray(y, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"y of shape {values.shape}", "one dimension, (n,)", "pass y.ravel()")
    n = len(values)
    columns, names = _columns(X, covariates, n)
    if not quantitative:
        check_coding(values, trait)
    if not keep_values:
        check_trait_codes(values, trait)
        for name, column in zip(names, columns.T, strict=True):
            check_codes(column, name, "covariate")
    if individuals is None:
        index = individual_index([NO_FAMILY] * n, [str(i + 1) for i in range(n)])
    else:
        given = individuals if isinstance(individuals, pd.Index) else pd.Index(list(individuals))
        index = as_individuals(given, "individuals")
    if len(index) != n:
        raise InputError(
            f"{len(index)} individuals and y of length {n}",
            "one individual per value of y",
            "check them",
        )
    ledger, present = Ledger(), np.ones(n, dtype=bool)
    for what, missing in (
        (f"phenotype missing: {trait}", np.isnan(values)),
        *((f"covariate missing: {k}", np.isnan(c)) for k, c in zip(names, columns.T, strict=True)),
    ):
        if missing.any() and individuals is None:
            raise InputError(
                f"{int(missing.sum())} missing values ({what})",
                "complete arrays, or individuals that match rows with the GRM by name",
                "give individuals=, or drop these rows from y, X and the GRM",
            )
        dropped = index[missing & present]
        present &= ~missing
        ledger = ledger.add("individuals", what, names_of(dropped), remaining=int(present.sum()))
    kept = index[present]
    check_size(int(present.sum()), 1, warn=False)
    design = assemble_design(columns[present], names, kept)
    final, coding = check_trait(values[present], trait, names_of(kept), quantitative=quantitative)
    check_size(*design.X.shape)
    return Cohort(
        final, design.X, kept, design.covariates, trait, ledger + design.ledger, codings=(coding,)
    )


def _columns(
    X: ArrayLike | None, covariates: Sequence[str] | None, n: int
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the columns of X without the intercept (n, k), and their names."""
    array = np.empty((n, 0)) if X is None else np.asarray(X, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n:
        raise InputError(
            f"X of shape {array.shape} and y of length {n}", "X (n, k)", "give X one row per record"
        )
    names = list(covariates) if covariates is not None else None
    if array.shape[1] and bool((array[:, 0] == 1).all()):
        if names is not None and len(names) == array.shape[1]:
            names = names[1:]
        array = array[:, 1:]
    names = [f"x{i + 1}" for i in range(array.shape[1])] if names is None else names
    if len(names) != array.shape[1]:
        raise InputError(
            f"{len(names)} names for {array.shape[1]} columns of X",
            "one name per column",
            "check them",
        )
    return array, names
