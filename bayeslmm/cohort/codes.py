"""Numbers that mean "missing": -999 and the like, used as values they spoil every estimate.

A code is the smallest or the largest value of a column, occurs several times, and lies far outside
the others. The usual codes (-9, -99, 999, 0, ...) need a smaller distance than other numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.cohort.trait import trait_kind
from bayeslmm.errors import InputError
from bayeslmm.system.files import PathArg

USUAL = frozenset(
    sign * value for value in (9, 99, 999, 9999, 99999, 88, 888, 77, 777) for sign in (-1.0, 1.0)
) | {0.0, -1.0}
FEWEST = 2  # times that a code occurs
FEW = 5  # different values besides, below which a column is a scale or a class
FAR = 2.0  # distance of a usual code from the others, in their standard deviations
VERY_FAR = 2.0  # distance of another number, in the range of the others


def find_code(values: NDArray[np.float64]) -> float | None:
    """Return the value that looks like a code for missing, or None; NaN is ignored.

    Examples
    --------
    >>> import numpy as np
    >>> trait = np.random.default_rng(1).normal(20, 3, 100)
    >>> find_code(np.append(trait, [-999, -999]))
    -999.0
    >>> find_code(trait)
    """
    known = values[np.isfinite(values)]
    if known.size <= FEWEST:
        return None
    for code in (float(known.min()), float(known.max())):
        others = known[known != code]
        if known.size - others.size < FEWEST or np.unique(others).size < FEW:
            continue
        low, high = float(others.min()), float(others.max())
        gap = low - code if code < low else code - high
        usual = code in USUAL and gap > FAR * float(others.std())
        only_negative = code in USUAL and code < -1.0 and low >= 0.0
        if usual or only_negative or gap > VERY_FAR * (high - low):
            return code
    return None


def check_codes(
    values: NDArray[np.float64], name: str, what: str, *, path: PathArg | None = None
) -> None:
    """Raise `InputError` if a column has a number that looks like a code for missing."""
    code = find_code(values)
    if code is None:
        return
    others = values[np.isfinite(values) & (values != code)]
    raise InputError(
        f"{int((values == code).sum())} values of the {what} '{name}' are {code:g}, far outside "
        f"the others ({others.min():g} to {others.max():g}): a code for missing?",
        "measurements, and NA where missing",
        f"write NA or use --missing-code {code:g}; if they are measurements, add --keep-values",
        path=path,
        column=name,
    )


def check_trait_codes(
    values: NDArray[np.float64], trait: str, *, path: PathArg | None = None
) -> None:
    """Check a trait with more than two values; `bayeslmm.cohort.trait.check_coding` has others."""
    if trait_kind(values) == "quantitative":
        check_codes(values, trait, "trait", path=path)


def check_covariates(table: pd.DataFrame | None, names: Iterable[str]) -> None:
    """Check the columns of numbers of a table of covariates."""
    if table is None:
        return
    for name in names:
        if name in table and pd.api.types.is_numeric_dtype(table[name]):
            values = table[name].to_numpy(np.float64, na_value=np.nan)
            check_codes(values, str(name), "covariate", path=table.attrs.get("path"))
