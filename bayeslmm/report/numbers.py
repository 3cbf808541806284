"""Numbers for the reader, rounded to the precision of the posterior."""

from __future__ import annotations

import math


def decimals(spread: float, digits: int = 2) -> int:
    """Return the decimals that show `digits` significant digits of a standard deviation."""
    if not math.isfinite(spread) or spread <= 0:
        return 3
    return min(max(digits - 1 - math.floor(math.log10(spread)), 0), 8)


def number(value: float, spread: float = float("nan"), digits: int = 2) -> str:
    """Format a number to the precision of its standard deviation; "–" for nan.

    Examples
    --------
    >>> number(0.600590, 0.0326), number(-1523.4, 12.0), number(float("nan"))
    ('0.601', '−1523', '–')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if not (math.isfinite(spread) and spread > 0):
        return plain(value)
    return sign(f"{value:.{decimals(spread, digits)}f}")


def plain(value: float, digits: int = 3) -> str:
    """Format a number to `digits` significant digits, with powers of ten outside 1e-4 .. 1e6."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return power(value, digits - 1)
    return sign(f"{value:,.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}")


def power(value: float, places: int = 1) -> str:
    """Format a number as a multiple of a power of ten, "3.6 × 10⁻⁵"."""
    mantissa, exponent = f"{value:.{places}e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return sign(f"{mantissa} × 10{raised}")


def probability(value: float) -> str:
    """Format a probability: "0.03", "< 0.0001", "> 0.9999"."""
    if math.isnan(value):
        return "–"
    if value < 1e-4:
        return "< 0.0001"
    if value > 1 - 1e-4:
        return "> 0.9999"
    return f"{value:.2g}" if value < 0.1 else f"{value:.3f}".rstrip("0")


def p_value(value: float) -> str:
    """Format a simulated p-value with its sign: "= 0.031", "= 2.8 × 10⁻⁵"."""
    if math.isnan(value):
        return "not available"
    return f"= {power(value)}" if value < 1e-3 else f"= {value:.2g}"


def percent(share: float) -> str:
    """Format a share in percent, to two digits."""
    if math.isnan(share):
        return "–"
    if 0 < share < 1e-3:
        return "< 0.1\N{NO-BREAK SPACE}%"
    digits = f"{100 * share:.0f}" if abs(share) >= 0.0995 else f"{100 * share:.2g}"
    return sign(f"{digits}\N{NO-BREAK SPACE}%")


def sign(text: str) -> str:
    """Replace the hyphen of a negative number by a minus sign, and drop the sign of zero."""
    bare = text.lstrip("-")
    zero = text.startswith("-") and not any(char in "123456789" for char in bare)
    return bare if zero else text.replace("-", "−")


def span(lower: float, upper: float, spread: float = float("nan")) -> str:
    """Format an interval, "0.54–0.66"; "−0.1 to 0.2" if a bound is negative."""
    if lower == upper:
        return number(lower, spread)
    between = " to " if lower < 0 else "–"
    spread = spread if math.isfinite(spread) and spread > 0 else (upper - lower) / 4
    return f"{number(lower, spread)}{between}{number(upper, spread)}"
