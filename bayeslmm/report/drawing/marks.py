"""Marks of a chart: lines, points, segments, levels and annotations, each with its style.

A mark has its data (`xs` and `ys`, which the axis limits include), its drawing for given scales,
and its sample in the legend. Widths and sizes are in CSS pixels; a dash holds lengths of lines and
gaps in line widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import override

import numpy as np

from bayeslmm.numerics.arrays import Floats
from bayeslmm.report.drawing.elements import (
    disc,
    path,
    polyline,
    shapes,
    stroke,
    text,
)
from bayeslmm.report.drawing.scale import Scale

type Dash = tuple[float, ...]

SOLID: Dash = ()
DASHED: Dash = (4.0, 2.0)
DOTTED: Dash = (1.0, 1.2)
DENSE = 200  # number of points from which on a line is its own outline
NONE = np.empty(0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Mark:
    """Base of all marks, with a label for the legend; "" for none."""

    label: str = ""

    @property
    def xs(self) -> Floats:
        """The x values that the limits must include."""
        return NONE

    @property
    def ys(self) -> Floats:
        """The y values that the limits must include."""
        return NONE

    def outline(self, x: Scale, y: Scale) -> tuple[Floats, Floats]:
        """Return pixels x (k,) and y (k,) that a legend should not cover."""
        return x(self.xs), y(self.ys)

    def svg(self, x: Scale, y: Scale, clip: str) -> str:
        """Draw the mark; `clip` is the attribute that clips it to the axes."""
        raise NotImplementedError

    def sample(self, left: float, middle: float, length: float) -> str:
        """Draw the sample of the legend."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Line(Mark):
    """A line through points x, y (k,), interrupted at nan; with `shape` a marker at each."""

    x: Floats
    y: Floats
    colour: str
    width: float = 2.1
    dash: Dash = SOLID
    opacity: float = 1.0
    shape: str = ""
    size: float = 5.4

    @property
    @override
    def xs(self) -> Floats:
        return np.asarray(self.x, dtype=np.float64)

    @property
    @override
    def ys(self) -> Floats:
        return np.asarray(self.y, dtype=np.float64)

    @override
    def outline(self, x: Scale, y: Scale) -> tuple[Floats, Floats]:
        at_x, at_y = x(self.xs), y(self.ys)
        if not 1 < at_x.size < DENSE:
            return at_x, at_y
        nodes = np.linspace(0, at_x.size - 1, 10 * at_x.size)
        return tuple(np.interp(nodes, np.arange(at_x.size), one) for one in (at_x, at_y))  # type: ignore[return-value]

    @override
    def svg(self, x: Scale, y: Scale, clip: str) -> str:
        look = stroke(self.colour, self.width, self.dash, self.opacity)
        out = path(polyline(x(self.xs), y(self.ys)), look, clip)
        return out + (self._markers.svg(x, y, clip) if self.shape else "")

    @override
    def sample(self, left: float, middle: float, length: float) -> str:
        look = stroke(self.colour, self.width, self.dash, self.opacity)
        out = path(f"M{left:.1f} {middle:.1f}h{length:.1f}", look)
        return out + (self._markers.sample(left, middle, length) if self.shape else "")

    @property
    def _markers(self) -> Points:
        return Points(self.xs, self.ys, self.colour, self.size, self.shape, opacity=self.opacity)


@dataclass(frozen=True, slots=True, eq=False)
class Points(Mark):
    """Points x, y (k,): "circle", "square", "triangle" or "diamond", filled or hollow."""

    x: Floats
    y: Floats
    colour: str
    size: float = 7.0
    shape: str = "circle"
    hollow: bool = False
    opacity: float = 1.0

    @property
    @override
    def xs(self) -> Floats:
        return np.asarray(self.x, dtype=np.float64)

    @property
    @override
    def ys(self) -> Floats:
        return np.asarray(self.y, dtype=np.float64)

    @override
    def svg(self, x: Scale, y: Scale, clip: str) -> str:
        shown = x.inside(self.xs) & y.inside(self.ys)
        return self._drawn(x(self.xs[shown]), y(self.ys[shown]))

    @override
    def sample(self, left: float, middle: float, length: float) -> str:
        return self._drawn(np.array([left + length / 2]), np.array([middle]))

    def _drawn(self, x: Floats, y: Floats) -> str:
        """Draw the markers unclipped, because an axis may end at the middle of one."""
        if self.shape == "circle" and not self.hollow:
            return disc(x, y, self.size, self.colour, self.opacity)
        return shapes(x, y, self.size, self.shape, self.colour, self.hollow, self.opacity)


@dataclass(frozen=True, slots=True, eq=False)
class Segments(Mark):
    """Line segments from (x0, y0) to (x1, y1), each (k,) or one number."""

    x0: Floats | float
    y0: Floats | float
    x1: Floats | float
    y1: Floats | float
    colour: str
    width: float = 2.1
    dash: Dash = SOLID

    @property
    @override
    def xs(self) -> Floats:
        return np.concatenate([np.atleast_1d(one) for one in (self.x0, self.x1)])

    @property
    @override
    def ys(self) -> Floats:
        return np.concatenate([np.atleast_1d(one) for one in (self.y0, self.y1)])

    @override
    def outline(self, x: Scale, y: Scale) -> tuple[Floats, Floats]:
        ends = np.broadcast_arrays(x(self.x0), y(self.y0), x(self.x1), y(self.y1))
        share = np.linspace(0, 1, 20)[:, None]
        x0, y0, x1, y1 = (np.atleast_1d(one) for one in ends)
        return (x0 + share * (x1 - x0)).ravel(), (y0 + share * (y1 - y0)).ravel()

    @override
    def svg(self, x: Scale, y: Scale, clip: str) -> str:
        ends = np.broadcast_arrays(x(self.x0), y(self.y0), x(self.x1), y(self.y1))
        pieces = zip(*(np.atleast_1d(one).tolist() for one in ends), strict=True)
        drawn = "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for a, b, c, d in pieces)
        return path(drawn, stroke(self.colour, self.width, self.dash), clip)

    @override
    def sample(self, left: float, middle: float, length: float) -> str:
        return path(f"M{left:.1f} {middle:.1f}h{length:.1f}",
                    stroke(self.colour, self.width, self.dash))  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Level(Mark):
    """A line across the entire chart at `y` or at `x`."""

    colour: str
    y: float | None = None
    x: float | None = None
    width: float = 1.1
    dash: Dash = SOLID

    @property
    @override
    def xs(self) -> Floats:
        return NONE if self.x is None else np.array([self.x])

    @property
    @override
    def ys(self) -> Floats:
        return NONE if self.y is None else np.array([self.y])

    @override
    def outline(self, x: Scale, y: Scale) -> tuple[Floats, Floats]:
        share = np.linspace(0, 1, 50)
        if self.y is not None:
            return x.start + share * (x.end - x.start), np.full(50, y.at(self.y))
        return np.full(50, x.at(self.x or 0.0)), y.start + share * (y.end - y.start)

    @override
    def svg(self, x: Scale, y: Scale, clip: str) -> str:
        if self.y is not None:
            drawn = f"M{x.start:.1f} {y.at(self.y):.1f}H{x.end:.1f}"
        else:
            drawn = f"M{x.at(self.x or 0.0):.1f} {y.start:.1f}V{y.end:.1f}"
        return path(drawn, stroke(self.colour, self.width, self.dash), clip)

    @override
    def sample(self, left: float, middle: float, length: float) -> str:
        return path(f"M{left:.1f} {middle:.1f}h{length:.1f}",
                    stroke(self.colour, self.width, self.dash))  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Annotation(Mark):
    """A text of one or more lines centred at x, y; read from below if `upright`."""

    x: float
    y: float
    content: str
    size: float = 12.0
    upright: bool = False

    @override
    def svg(self, x: Scale, y: Scale, clip: str) -> str:
        lines = self.content.split("\n")
        out = []
        for k, line in enumerate(lines):
            shift = 1.15 * self.size * (k - (len(lines) - 1) / 2)
            at_x, at_y = x.at(self.x), y.at(self.y)
            at_x, at_y = (at_x + shift, at_y) if self.upright else (at_x, at_y + shift)
            turn = -90 if self.upright else 0
            out.append(text(at_x, at_y, escape(line), self.size, "middle", turn=turn))
        return "".join(out)
