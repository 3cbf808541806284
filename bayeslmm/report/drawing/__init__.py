"""Charts as inline SVG: marks, axes and their layout, small enough to start at once.

A plotting library draws the dozen figures of a report in seconds; these are lines, points, areas
and boxes on linear or logarithmic axes, and are written as text in milliseconds.
"""

from bayeslmm.report.drawing.axes import Axes
from bayeslmm.report.drawing.figure import FULL, HALF, draw
from bayeslmm.report.drawing.marks import (
    DASHED,
    DOTTED,
    SOLID,
    Level,
    Line,
    Mark,
    Points,
    Segments,
    Words,
)
from bayeslmm.report.drawing.regions import Area, Band, Boxes
from bayeslmm.report.drawing.scale import Axis

__all__ = [
    "DASHED",
    "DOTTED",
    "FULL",
    "HALF",
    "SOLID",
    "Area",
    "Axes",
    "Axis",
    "Band",
    "Boxes",
    "Level",
    "Line",
    "Mark",
    "Points",
    "Segments",
    "Words",
    "draw",
]
