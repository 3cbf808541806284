"""One chart of a figure: marks, two axes, title, and the room for its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from math import sqrt
from typing import Literal

import numpy as np

from bayeslmm.report.drawing.elements import path, rectangle, stroke, text
from bayeslmm.report.drawing.letters import BOLD, LINE_HEIGHT, width
from bayeslmm.report.drawing.marks import Mark
from bayeslmm.report.drawing.scale import Axis, Scale
from bayeslmm.report.drawing.ticks import Ticks, minor_log_ticks
from bayeslmm.report.svg import INK, MUTED, RULE

TITLE, LABEL, TICK = 12.7, 12.0, 11.3  # font sizes, CSS pixels
MARK, SPARE = 4.0, 3.0  # length of a tick's mark, and the gap between it and its label
X_SPACE, Y_SPACE = 64.0, 34.0  # approximate distance of ticks, pixels

type Legend = Literal["none", "inside", "right"]


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """A chart.

    Parameters
    ----------
    marks
        The marks, from back to front.
    x, y
        The axes.
    title
        Bold title above the chart.
    legend
        Place of the legend: "inside" (in the emptiest corner), "right" of the figure, or none.
    """

    marks: Sequence[Mark]
    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    title: str = ""
    legend: Legend = "none"

    def scale(self, which: Literal["x", "y"], start: float, end: float) -> Scale:
        """Return the scale of an axis between two pixels."""
        axis, data = (
            (self.x, [mark.xs for mark in self.marks])
            if which == "x"
            else (self.y, [mark.ys for mark in self.marks])
        )
        low, high = axis.limits(np.concatenate([np.empty(0), *data]))
        return Scale(low, high, axis.log, start, end)

    def above(self) -> float:
        """Height of the title, pixels."""
        return TITLE * LINE_HEIGHT + 6 if self.title else 6.0

    def below(self) -> float:
        """Height of the labels of the x axis, pixels."""
        room = 2.0
        if self.x.label:
            room += LABEL * LINE_HEIGHT + 2
        if self.x.slanted and self.x.ticks is not None:
            longest = max((width(label, TICK) for _, label in self.x.ticks), default=0.0)
            room += MARK + SPARE + (longest + TICK) / sqrt(2)
        elif self.x.numbers:
            room += MARK + SPARE + TICK * LINE_HEIGHT
        return room

    def beside(self, ticks: Ticks) -> float:
        """Return the width of the labels of the y axis, pixels."""
        longest = max((width(label, TICK) for _, label in ticks), default=0.0)
        half = 0.5 * width("0.0", TICK) if self.x.numbers else 2.0  # of the first tick on the left
        room = longest + SPARE + (MARK if self.y.line else 3.0) if longest else half
        return room + (LABEL * LINE_HEIGHT + 4 if self.y.label else 0.0)

    def svg(self, x: Scale, y: Scale, clip: str) -> str:
        """Draw the chart between the pixels of its scales; `clip` is the id of its clip path."""
        inside = f' clip-path="url(#{clip})"'
        frame = rectangle(x.start, y.end, x.end, y.start)
        out = [f'<clipPath id="{clip}"><path d="{frame}"/></clipPath>']
        across = x.ticks(self.x, max(round(abs(x.end - x.start) / X_SPACE), 2))
        up = self.y_ticks(y)
        out += [self._grid(x, y, across, up)]
        out += [mark.svg(x, y, inside) for mark in self.marks]
        out += [self._abscissa(x, y, across), self._ordinate(x, y, up)]
        size, room = TITLE, abs(x.end - x.start)
        if (needed := BOLD * width(self.title, TITLE)) > room:
            size = max(TITLE * room / needed, 9.0)
        middle = y.end - 6 - 0.5 * TITLE
        out.append(text(x.start, middle, escape(self.title), size, colour=INK, bold=True))
        return "".join(out)

    def y_ticks(self, y: Scale) -> Ticks:
        """Return the ticks of the y axis."""
        ticks = y.ticks(self.y, max(round(abs(y.end - y.start) / Y_SPACE), 2))
        return ticks if self.y.numbers else [(at, "") for at, _ in ticks]

    def _grid(self, x: Scale, y: Scale, across: Ticks, up: Ticks) -> str:
        drawn = ""
        if self.x.grid:
            drawn += "".join(f"M{x.at(at):.1f} {y.start:.1f}V{y.end:.1f}" for at, _ in across)
        if self.y.grid:
            drawn += "".join(f"M{x.start:.1f} {y.at(at):.1f}H{x.end:.1f}" for at, _ in up)
        return path(drawn, stroke(RULE, 0.9))

    def _abscissa(self, x: Scale, y: Scale, ticks: Ticks) -> str:
        bottom = y.start
        drawn = f"M{x.start:.1f} {bottom:.1f}H{x.end:.1f}"
        drawn += "".join(f"M{x.at(at):.1f} {bottom:.1f}v{MARK:g}" for at, _ in ticks)
        if self.x.log:
            minor = minor_log_ticks(x.low, x.high)
            drawn += "".join(f"M{x.at(at):.1f} {bottom:.1f}v{MARK / 2:g}" for at in minor)
        out = [path(drawn, stroke(MUTED, 1.0))]
        middle = bottom + MARK + SPARE + TICK / 2
        if self.x.numbers:
            turn, anchor = (-45, "end") if self.x.slanted else (0, "middle")
            shift = TICK / 3 if self.x.slanted else 0.0
            out += [
                text(x.at(at) + shift, middle, escape(label), TICK, anchor, turn=turn, colour=MUTED)
                for at, label in ticks
            ]
        at = bottom + self.below() - 2 - LABEL / 2
        out.append(text((x.start + x.end) / 2, at, escape(self.x.label), LABEL, "middle"))
        return "".join(out)

    def _ordinate(self, x: Scale, y: Scale, ticks: Ticks) -> str:
        left, out = x.start, []
        gap = MARK + SPARE if self.y.line else 6.0
        if self.y.line:
            drawn = f"M{left:.1f} {y.start:.1f}V{y.end:.1f}"
            drawn += "".join(f"M{left:.1f} {y.at(at):.1f}h-{MARK:g}" for at, _ in ticks)
            if self.y.log:
                minor = minor_log_ticks(y.low, y.high)
                drawn += "".join(f"M{left:.1f} {y.at(at):.1f}h-{MARK / 2:g}" for at in minor)
            out.append(path(drawn, stroke(MUTED, 1.0)))
        colour = MUTED if self.y.line else INK
        out += [
            text(left - gap, y.at(at), escape(label), TICK, "end", colour=colour)
            for at, label in ticks
        ]
        at_x = left - self.beside(ticks) + LABEL / 2 + 2
        middle = (y.start + y.end) / 2
        out.append(text(at_x, middle, escape(self.y.label), LABEL, "middle", turn=-90))
        return "".join(out)
