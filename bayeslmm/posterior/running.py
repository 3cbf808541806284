"""Running posterior moments and intervals of quantities whose draws come in blocks.

A quantity is u = m + d, with m its conditional mean given the other parameters and d a random
deviation (`bayeslmm.inference.effects_candidates`). Its moments follow from the conditional ones::

    E[u] = E(m)     Var(u) = Var(m) + E(d²)

Only the two tails of the draws are stored, as far as an equal-tailed interval needs them.
"""

from __future__ import annotations

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Floats


class RunningMoments:
    """Moments and an equal-tailed interval over draws that come in blocks and are not stored."""

    def __init__(self, draws: int, prob: float) -> None:
        if not 0.0 < prob < 1.0:
            raise InputError(f"prob = {prob}", "between 0 and 1", "0.95, for instance")
        self._place = (draws - 1) * 0.5 * (1.0 - prob)  # rank of the lower bound, with fraction
        self._most = min(draws, int(self._place) + 2)
        self._count = 0
        self._tails: list[Floats] = []

    def add(self, mean: Floats, deviation: Floats) -> None:
        """Add m and d of a block, each (draws, N)."""
        count = len(mean)
        centre = mean.mean(axis=0)
        about = np.square(mean - centre).sum(axis=0)
        squares = np.square(deviation).sum(axis=0)
        values = mean + deviation
        if self._count == 0:
            self._mean, self._about, self._squares = centre, about, squares
            self._tails = [values, -values]
        else:
            both = self._count + count
            gap = centre - self._mean
            self._about += about + gap**2 * (self._count * count / both)
            self._mean = self._mean + gap * (count / both)
            self._squares += squares
            signed = zip(self._tails, (values, -values), strict=True)
            self._tails = [np.concatenate(pair) for pair in signed]
        self._count += count
        for k, tail in enumerate(self._tails):
            if len(tail) > self._most:
                self._tails[k] = np.partition(tail, self._most - 1, axis=0)[: self._most]

    def moments(self) -> tuple[Floats, Floats]:
        """Return mean and sd, each (N,)."""
        variance = self._about / max(self._count - 1, 1) + self._squares / self._count
        return self._mean, np.sqrt(variance)

    def interval(self) -> tuple[Floats, Floats]:
        """Return the equal-tailed interval, lower and upper (N,), as by `numpy.quantile`."""
        low = int(self._place)
        part = self._place - low
        bounds = []
        for tail in self._tails:
            ordered = np.sort(tail, axis=0)
            high = min(low + 1, len(ordered) - 1)
            bounds.append(ordered[low] + part * (ordered[high] - ordered[low]))
        return bounds[0], -bounds[1]
