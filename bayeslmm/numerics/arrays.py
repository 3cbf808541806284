"""Names of array types. The shape of an array stands in the docstring that takes or returns it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

type Floats = NDArray[np.float64]
type Codes = NDArray[np.intp]  # which row, level, trait or class
type Counts = NDArray[np.int64]
type Flags = NDArray[np.bool_]
