"""Values of one column: numbers, missing values, and levels as text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MISSING = frozenset({"NA", "na", "NaN", "nan", "NAN", ".", ""})
_CODE = re.compile(r"[+-]?(0[0-9]+|[0-9]{16,})")  # a float would change it


def number(text: str) -> float:
    """Return a finite decimal number.

    Raises
    ------
    ValueError
        Also for what Python's ``float`` accepts but a table must not hold: ``1_000``, ``inf``,
        digits of other scripts.
    """
    value = float(text)
    if not math.isfinite(value) or "_" in text or not text.isascii():
        raise ValueError(text)
    return value


def is_number(text: str) -> bool:
    """Return whether `number` accepts the text."""
    try:
        number(text)
    except ValueError:
        return False
    return True


def numbers(texts: Sequence[str]) -> NDArray[np.float64]:
    """Return a column of numbers, NaN where missing; raise ValueError if another text is in it."""
    return np.array([math.nan if t in MISSING else number(t) for t in texts], np.float64)


def without_code(values: NDArray[np.float64], missing_code: float | None) -> NDArray[np.float64]:
    """Return the values with NaN where they equal the number that means missing."""
    if missing_code is None:
        return values
    return np.where(values == missing_code, np.nan, values)


def levels(
    texts: Sequence[str], missing_code: float | None = None
) -> pd.api.extensions.ExtensionArray:
    """Return a categorical column as text, missing where it is a word of `MISSING` or the code."""

    def is_missing(text: str) -> bool:
        if text in MISSING:
            return True
        return missing_code is not None and is_number(text) and float(text) == missing_code

    kept = np.array([None if is_missing(text) else text for text in texts], dtype=object)
    found: pd.api.extensions.ExtensionArray = pd.Series(kept, dtype="str").array
    return found


def column_values(
    texts: Sequence[str], missing_code: float | None = None
) -> NDArray[np.float64] | pd.api.extensions.ExtensionArray:
    """Return a column as float64 if every value is a number or missing, else as text.

    Whole numbers that a float would change, with a leading zero or more than 15 digits, are
    identifiers: then the column is text. An array, not a series: tables may have very many columns.

    Examples
    --------
    >>> column_values(["1", "NA", "2.5"]).tolist()
    [1.0, nan, 2.5]
    >>> column_values(["1", "NA", "x"]).tolist(), column_values(["1", "02"]).tolist()
    (['1', nan, 'x'], ['1', '02'])
    """
    try:
        values = numbers(texts)
    except ValueError:
        return levels(texts, missing_code)
    if any(map(_CODE.fullmatch, texts)):
        return levels(texts, missing_code)
    return without_code(values, missing_code)
