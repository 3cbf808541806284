"""Approximate size of text in CSS pixels, to lay out a chart without a font."""

from __future__ import annotations

import unicodedata

FONTS = "'DejaVu Sans', Verdana, Arial, sans-serif"
LINE_HEIGHT = 1.2  # height of a line in font sizes
BOLD = 1.12  # width of bold letters relative to normal ones

# Advance of the letters from U+0020 to U+007E in hundredths of the font size: DejaVu Sans, the
# widest of FONTS, so that a text never needs more room than it gets.
_ADVANCES = (
    "32 40 46 84 64 95 78 27 39 39 50 84 32 36 32 34 64 64 64 64 64 64 64 64 64 64 34 34 84 84 84 "
    "53 100 68 69 70 77 63 58 77 75 29 29 66 56 86 75 79 60 79 69 63 61 73 68 99 69 61 69 39 34 39 "
    "84 50 50 61 63 55 63 62 35 63 63 28 28 58 28 97 63 61 63 63 41 52 39 63 59 82 59 59 52 64 34 "
    "64 84"
)
_WIDTH = {chr(32 + k): int(advance) / 100 for k, advance in enumerate(_ADVANCES.split())}
_WIDTH |= {"…": 1.0, "–": 0.5}
_OTHER = {"w": 1.0, "n": 0.84}  # full-width letters, and all others: signs such as ± and −


def width(text: str, size: float) -> float:
    """Return the width of a line of text in a font of `size` pixels.

    Examples
    --------
    >>> round(width("0.25", 10.0), 1)
    22.4
    """
    return size * sum(_WIDTH.get(letter) or _other(letter) for letter in text)


def _other(letter: str) -> float:
    if unicodedata.combining(letter):
        return 0.0
    return _OTHER["w" if unicodedata.east_asian_width(letter) in "WF" else "n"]
