"""Charts as inline SVG: marks, axes and their layout.

A plotting library takes seconds for the dozen figures of a report. These consist only of lines,
points, areas and boxes on linear or logarithmic axes, and are written in milliseconds.
"""

from bayeslmm.report.drawing.axes import Axes
from bayeslmm.report.drawing.figure import FULL, HALF, draw
from bayeslmm.report.drawing.marks import (
    DASHED,
    DOTTED,
    SOLID,
    Annotation,
    Level,
    Line,
    Mark,
    Points,
    Segments,
)
from bayeslmm.report.drawing.regions import Area, Band, Boxes
from bayeslmm.report.drawing.scale import Axis

__all__ = [
    "DASHED",
    "DOTTED",
    "FULL",
    "HALF",
    "SOLID",
    "Annotation",
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
    "draw",
]
