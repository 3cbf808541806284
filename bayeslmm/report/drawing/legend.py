"""The legend of a chart: samples and labels, in the emptiest corner, beside or above it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from bayeslmm.report.drawing.axes import TICK, Axes
from bayeslmm.report.drawing.elements import text
from bayeslmm.report.drawing.letters import width
from bayeslmm.report.drawing.marks import Mark
from bayeslmm.report.drawing.scale import Scale

SAMPLE, GAP, ROW = 22.0, 7.0, 16.0  # length of a sample, gap to its label, height of a row
PAD = 6.0


def labelled(marks: Sequence[Mark]) -> list[Mark]:
    """Select the marks of the legend, each label once."""
    return list({mark.label: mark for mark in marks if mark.label}.values())


def size_of(marks: Sequence[Mark]) -> tuple[float, float]:
    """Return width and height of a legend with one row per mark, pixels."""
    longest = max((width(mark.label, TICK) for mark in marks), default=0.0)
    return SAMPLE + GAP + longest + 2 * PAD, ROW * len(marks) + 2 * PAD


def column(marks: Sequence[Mark], left: float, top: float) -> str:
    """Draw samples and labels below each other."""
    return "".join(
        _entry(mark, left + PAD, top + PAD + ROW * (k + 0.5)) for k, mark in enumerate(marks)
    )


def line(marks: Sequence[Mark], left: float, middle: float) -> str:
    """Draw samples and labels beside each other."""
    out = []
    for mark in marks:
        out.append(_entry(mark, left, middle))
        left += SAMPLE + GAP + width(mark.label, TICK) + 3 * PAD
    return "".join(out)


def inside(axes: Axes, x: Scale, y: Scale) -> str:
    """Draw the legend in the corner where it covers fewest marks."""
    marks = labelled(axes.marks)
    across, down = size_of(marks)
    outlines = [mark.outline(x, y) for mark in axes.marks]
    at_x, at_y = (np.concatenate([np.atleast_1d(one[k]) for one in outlines]) for k in (0, 1))
    corners = [
        (left, top) for top in (y.end, y.start - down) for left in (x.start + PAD, x.end - across)
    ]

    def covered(corner: tuple[float, float]) -> int:
        left, top = corner
        within = (at_x > left) & (at_x < left + across) & (at_y > top) & (at_y < top + down)
        return int(np.count_nonzero(within))

    return column(marks, *min(corners, key=covered))


def _entry(mark: Mark, left: float, middle: float) -> str:
    sample = mark.sample(left, middle, SAMPLE)
    return sample + text(left + SAMPLE + GAP, middle, escape(mark.label), TICK)
