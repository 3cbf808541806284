"""The specification of an axis, and the scale that maps its numbers to pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.numerics.arrays import Floats
from bayeslmm.report.drawing.ticks import Ticks, linear_ticks, log_ticks

MARGIN = 0.05  # free space on both sides, relative to the range of the data


@dataclass(frozen=True, slots=True)
class Axis:
    """One of the two axes of a chart.

    Parameters
    ----------
    label
        The quantity with its unit.
    low, high
        Limits. Default: the range of the data with a margin.
    log
        Logarithmic.
    ticks
        Positions and their labels. Default: round numbers.
    slanted
        Turn the labels of the ticks by 45°.
    line
        Draw the axis and its tick marks; without them the labels are names of rows.
    grid
        Draw lines across the chart at the ticks.
    numbers
        Write the labels of the ticks.
    """

    label: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False
    ticks: Sequence[tuple[float, str]] | None = None
    slanted: bool = False
    line: bool = True
    grid: bool = False
    numbers: bool = True

    def limits(self, data: Floats) -> tuple[float, float]:
        """Return the given limits, or the range of the data (k,) with a margin."""
        data = data[np.isfinite(data) & (data > 0)] if self.log else data[np.isfinite(data)]
        low, high = (float(data.min()), float(data.max())) if data.size else (0.1, 1.0)
        if self.log:
            low, high = math.log10(low), math.log10(high)
        spare = MARGIN * (high - low) or max(0.05 * abs(high), 0.05)
        low, high = low - spare, high + spare
        if self.log:
            low, high = 10.0**low, 10.0**high
        low = low if self.low is None else self.low
        high = high if self.high is None else self.high
        return low, high if high > low else low + (abs(low) or 1.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """The map of numbers in [low, high] to pixels between `start` and `end`."""

    low: float
    high: float
    log: bool
    start: float
    end: float

    def __call__(self, values: Floats | Sequence[float] | float) -> Floats:
        """Map numbers to pixels; nan where a logarithm is undefined."""
        x = np.asarray(values, dtype=np.float64)
        low, high = self.low, self.high
        if self.log:
            x = np.log10(np.where(x > 0, x, np.nan))
            low, high = math.log10(low), math.log10(high)
        return self.start + (x - low) * ((self.end - self.start) / (high - low))

    def at(self, value: float) -> float:
        """Map one number to its pixel."""
        return float(self(value))

    def inside(self, values: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Flag the numbers within the limits."""
        return (values >= self.low) & (values <= self.high)

    def ticks(self, axis: Axis, most: int) -> Ticks:
        """Return the ticks of the axis within the limits."""
        if axis.ticks is not None:
            return [(x, text) for x, text in axis.ticks if self.low <= x <= self.high]
        return (log_ticks if self.log else linear_ticks)(self.low, self.high, most)
