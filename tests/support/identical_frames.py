"""Frames that are the same to the last bit, in values, index and notes."""

from __future__ import annotations

import numpy as np
import pandas as pd


def assert_identical_index(a: pd.Index, b: pd.Index) -> None:
    """Require the same labels, dtypes, levels and codes."""
    pd.testing.assert_index_equal(a, b, exact=True)
    assert type(a) is type(b)
    if not isinstance(a, pd.MultiIndex) or not isinstance(b, pd.MultiIndex):
        return
    for one, other in zip(a.levels, b.levels, strict=True):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()
    for codes, others in zip(a.codes, b.codes, strict=True):
        assert codes.dtype == others.dtype
        assert codes.tolist() == others.tolist()


def assert_identical(a: pd.DataFrame, b: pd.DataFrame) -> None:
    """Require the same dtypes, index, labels, missing values, attributes and bits."""
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert list(a.dtypes) == list(b.dtypes)
    assert_identical_index(a.index, b.index)
    assert_identical_index(a.columns, b.columns)
    assert a.attrs == b.attrs
    for name in a.columns[[kind == np.float64 for kind in a.dtypes]]:
        assert a[name].to_numpy().tobytes() == b[name].to_numpy().tobytes()  # also -0.0 and NaN
