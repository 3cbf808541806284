"""Draws that are affine in standard normal numbers: their mean and covariance without sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

type Floats = NDArray[np.float64]


class Scripted:
    """In place of a random generator: the numbers of z, in their order."""

    def __init__(self, z: Floats) -> None:
        self.z, self.used = z, 0

    def standard_normal(self, size: Any = ()) -> Floats:
        """The next numbers, zeros beyond the last."""
        count = int(np.prod(size))
        out = np.zeros(count)
        given = self.z[self.used : self.used + count]
        out[: given.size] = given
        self.used += count
        return out.reshape(size)


def moments(draw: Callable[[Any], Floats]) -> tuple[Floats, Floats]:
    """Mean (n,) and covariance (n, n) of ``draw(rng) = mean + L z``: z = 0, then unit vectors."""
    rng = Scripted(np.zeros(0))
    mean = np.ravel(draw(rng))
    columns = [np.ravel(draw(Scripted(z))) - mean for z in np.eye(rng.used)]
    L = np.stack(columns, axis=1)
    return mean, L @ L.T
