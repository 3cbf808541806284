"""Types of arguments: numbers in a range, names; the error states the rule."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Make an argument type: a whole number from `low` to `high`."""
    upto = f"{low} or more" if high is None else f"{low} to {high}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _expected(text, f"a whole number, {upto}") from None
        if value < low or (high is not None and value > high):
            raise _expected(text, f"a whole number, {upto}")
        return value

    return parse


def real(
    low: float | None = None, high: float | None = None, *, open_ends: bool = False
) -> Callable[[str], float]:
    """Make an argument type: a finite number, from `low` to `high` if given."""
    ends = ", without the ends" if open_ends else ""
    rule = "a finite number" if low is None else f"a number from {low:g} to {high:g}{ends}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise _expected(text, rule) from None
        inside = low is None or high is None or low <= value <= high
        if not inside or value - value != 0 or (open_ends and value in (low, high)):
            raise _expected(text, rule)
        return value

    return parse


def draws(text: str) -> int:
    """Parse a number of draws, a multiple of 4 for four chains."""
    value = integer(16)(text)
    if value % 4:
        raise _expected(text, "a multiple of 4, at least 16")
    return value


def names(text: str) -> list[str]:
    """Parse names separated by commas."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise _expected(text, "names separated by commas, for instance A,B")
    return found


def _expected(text: str, rule: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{text!r} -> {rule}")
