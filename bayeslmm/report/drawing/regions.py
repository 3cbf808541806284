"""Filled marks of a chart: areas under curves, boxes, bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import override

import numpy as np

from bayeslmm.numerics.arrays import Floats
from bayeslmm.report.drawing.elements import colour_of, path, polygon, rectangle
from bayeslmm.report.drawing.marks import NONE, Mark
from bayeslmm.report.drawing.scale import Scale


@dataclass(frozen=True, slots=True, eq=False)
class Area(Mark):
    """The area between two lines low and high (k,), or between 0 and high."""

    x: Floats
    low: Floats | float
    high: Floats
    colour: str
    opacity: float = 0.25

    @property
    @override
    def xs(self) -> Floats:
        return np.tile(self.x, 2)

    @property
    @override
    def ys(self) -> Floats:
        return np.concatenate([np.broadcast_to(self.low, np.shape(self.x)), self.high])

    @override
    def svg(self, x: Scale, y: Scale, clip: str) -> str:
        low, high = np.split(y(self.ys), 2)
        at = x(np.asarray(self.x, dtype=np.float64))
        edge = polygon(np.concatenate([at, at[::-1]]), np.concatenate([high, low[::-1]]))
        return path(edge, _filled(self.colour, self.opacity), clip)

    @override
    def sample(self, left: float, middle: float, length: float) -> str:
        return _box_sample(left, middle, length, self.colour, self.opacity)


@dataclass(frozen=True, slots=True, eq=False)
class Boxes(Mark):
    """Rectangles from x0 to x1 and from y0 to y1, each (k,) or one number."""

    x0: Floats | float
    x1: Floats | float
    y0: Floats | float
    y1: Floats | float
    colour: str
    opacity: float = 0.25
    edge: str = ""

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
        share = np.linspace(0, 1, 8)
        across, up = (one.ravel()[:, None] for one in np.meshgrid(share, share))
        x0, x1, y0, y1 = np.broadcast_arrays(
            *(np.atleast_1d(one) for one in (x(self.x0), x(self.x1), y(self.y0), y(self.y1)))
        )
        return (x0 + across * (x1 - x0)).ravel(), (y0 + up * (y1 - y0)).ravel()

    @override
    def svg(self, x: Scale, y: Scale, clip: str) -> str:
        sides = np.broadcast_arrays(x(self.x0), x(self.x1), y(self.y0), y(self.y1))
        pieces = zip(*(np.atleast_1d(one).tolist() for one in sides), strict=True)
        drawn = "".join(rectangle(a, c, b, d) for a, b, c, d in pieces)
        look = _filled(self.colour, self.opacity)
        if self.edge:
            look += f";stroke:{colour_of(self.edge)};stroke-width:1"
        return path(drawn, look, clip)

    @override
    def sample(self, left: float, middle: float, length: float) -> str:
        return _box_sample(left, middle, length, self.colour, self.opacity)


@dataclass(frozen=True, slots=True, eq=False)
class Band(Mark):
    """The area between two y values across the entire chart."""

    low: float
    high: float
    colour: str
    opacity: float = 0.2

    @property
    @override
    def ys(self) -> Floats:
        return np.array([self.low, self.high])

    @override
    def outline(self, x: Scale, y: Scale) -> tuple[Floats, Floats]:
        return NONE, NONE

    @override
    def svg(self, x: Scale, y: Scale, clip: str) -> str:
        drawn = rectangle(x.start, y.at(self.low), x.end, y.at(self.high))
        return path(drawn, _filled(self.colour, self.opacity), clip)

    @override
    def sample(self, left: float, middle: float, length: float) -> str:
        return _box_sample(left, middle, length, self.colour, self.opacity)


def _filled(colour: str, opacity: float) -> str:
    return f"fill:{colour_of(colour)};fill-opacity:{opacity:g}"


def _box_sample(left: float, middle: float, length: float, colour: str, opacity: float) -> str:
    box = rectangle(left, middle - 4.5, left + length, middle + 4.5)
    return path(box, _filled(colour, opacity))
