"""Colours of the figures, and cleaning of names from data files."""

from __future__ import annotations

import unicodedata

# Okabe & Ito's colours, which colour-blind readers can distinguish; each is a CSS variable of the
# page, so that dark mode and print can change it.
INK, MUTED, RULE, PAPER = "#1d2730", "#5d6a75", "#d5dbe0", "#fefefe"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#aa4a85"
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PURPLE: "purple",
}
CHAINS = (BLUE, ORANGE, GREEN, PURPLE)


def clean(name: object) -> str:
    """Make the control and direction characters of a name from a data file visible.

    Examples
    --------
    >>> clean("height\\u202e\\x00")
    'height\\\\u202e\\\\x00'
    """
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else char
        for char in str(name)
    )


def short(name: object, most: int = 28) -> str:
    """Clean a name and cut it to at most `most` characters, for the axis of a figure."""
    text = clean(name)
    return text if len(text) <= most else text[: most - 1] + "…"
