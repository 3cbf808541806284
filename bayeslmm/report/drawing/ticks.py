"""Positions and labels of the ticks of an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bayeslmm.report.numbers import power, sign

type Ticks = list[tuple[float, str]]

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
SUBDIVISIONS = ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10)))  # of a decade, the fewest first
ROUNDING = 1e-9  # tolerance for a tick at a limit, in steps


def linear_ticks(low: float, high: float, most: int) -> Ticks:
    """Return about `most` multiples of 1, 2, 2.5 or 5 times a power of ten in [low, high].

    Examples
    --------
    >>> linear_ticks(-0.01, 1.01, 5)
    [(0.0, '0.0'), (0.2, '0.2'), (0.4, '0.4'), (0.6, '0.6'), (0.8, '0.8'), (1.0, '1.0')]
    """
    rough = (high - low) / max(most, 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = magnitude * next(s for s in STEPS if s * magnitude >= rough * (1 - ROUNDING))
    first, last = math.ceil(low / step - ROUNDING), math.floor(high / step + ROUNDING)
    values = [float(f"{k * step:.12g}") for k in range(first, last + 1)]
    return list(zip(values, labels(values, step), strict=True))


def labels(values: Sequence[float], step: float) -> list[str]:
    """Format numbers `step` apart with the decimals that the step needs."""
    largest = max(map(abs, values), default=0.0)
    powers = not 1e-4 <= largest < 1e6
    scientific = "e" if powers else "f"

    def enough(places: int) -> bool:
        return all(abs(float(f"{x:.{places}{scientific}}") - x) < 1e-6 * step for x in values)

    places = next((places for places in range(15) if enough(places)), 15)
    if powers:
        return ["0" if value == 0 else power(value, places) for value in values]
    return [sign(f"{value:,.{places}f}") for value in values]


def log_ticks(low: float, high: float, most: int) -> Ticks:
    """Return the powers of ten in [low, high]; if too few, also 3, or 2 and 5, times them.

    Examples
    --------
    >>> [label for _, label in log_ticks(0.5, 2e4, 6)]
    ['1', '10', '100', '1,000', '10,000']
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    chosen: list[float] = []
    for times in SUBDIVISIONS:
        found = [t * 10.0**k for k in decades for t in times]
        inside = [v for v in found if low * (1 - ROUNDING) <= v <= high * (1 + ROUNDING)]
        if chosen and len(inside) > most:
            break
        chosen = inside
        if len(chosen) >= 3:
            break
    if len(chosen) < 2:
        return linear_ticks(low, high, most)
    stride = -(-len(chosen) // max(most, 2))
    return [(value, _decimal(value)) for value in chosen[::stride]]


def minor_log_ticks(low: float, high: float) -> list[float]:
    """Return 2 to 9 times each power of ten in [low, high]; none if they would be too dense."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    if len(decades) > 8:
        return []
    return [v for k in decades for t in range(2, 10) if low <= (v := t * 10.0**k) <= high]


def _decimal(value: float) -> str:
    """Format a power of ten as a plain number (1, 0.01) or as 10⁵."""
    if 1e-3 < value < 1.1e4:
        return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
    return power(value, 0).removeprefix("1 × ")
