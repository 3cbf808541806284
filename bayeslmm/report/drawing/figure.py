"""A figure: charts in rows and columns with aligned frames."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

from bayeslmm.report.drawing import legend
from bayeslmm.report.drawing.axes import Axes
from bayeslmm.report.drawing.letters import FONTS
from bayeslmm.report.drawing.marks import Mark

FULL, HALF = 902.0, 442.0  # widths of a figure in CSS pixels
COLUMN_GAP, ROW_GAP, RIGHT = 18.0, 8.0, 14.0


def draw(
    grid: Sequence[Sequence[Axes | None]],
    key: str,
    description: str,
    *,
    width: float = HALF,
    height: float = 298.0,
    ratios: Sequence[float] = (),
    above: Sequence[Mark] = (),
) -> Markup:
    """Draw a figure as an ``<svg>`` element for HTML.

    Parameters
    ----------
    grid
        Charts by row and column; None leaves a cell empty.
    key
        Prefix of every id in it; unique in the page, letters, digits and hyphens.
    description
        Text alternative of the figure, for screen readers.
    width, height
        Size in CSS pixels.
    ratios
        Relative widths of the columns; default equal.
    above
        Marks whose legend is a line above all charts.

    Returns
    -------
    Markup
        Ids start with `key`; colours of `bayeslmm.report.svg.VARIABLES` are CSS variables, so that
        dark mode and print can change them.
    """
    rows = _spans(grid, height, 20.0 if above else 0.0)
    beside = [one for row in grid for one in row if one is not None and one.legend == "right"]
    marks = legend.labelled([mark for one in beside for mark in one.marks])
    right = legend.size_of(marks)[0] if marks else RIGHT
    columns = _columns(grid, rows, width - right, ratios)
    out = []
    for k, (row, (bottom, top)) in enumerate(zip(grid, rows, strict=True)):
        for j, (axes, (left, end)) in enumerate(zip(row, columns, strict=True)):
            if axes is None:
                continue
            x, y = axes.scale("x", left, end), axes.scale("y", bottom, top)
            out.append(axes.svg(x, y, f"{key}-clip-{k}-{j}"))
            if axes.legend == "inside":
                out.append(legend.inside(axes, x, y))
    if marks:
        out.append(legend.column(marks, columns[-1][1], rows[0][1] - legend.PAD))
    if above:
        out.append(legend.line(legend.labelled(above), columns[0][0], 10.0))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:.0f}" role="img" '
        f'aria-labelledby="{key}-title" font-family="{FONTS}" '
        f'style="max-width: {width:.0f}px; min-width: {0.6 * width:.0f}px">'
        f'<title id="{key}-title">{escape(description)}</title>'
    )
    return Markup(head + "".join(out) + "</svg>")


def _spans(
    grid: Sequence[Sequence[Axes | None]], height: float, top: float
) -> list[tuple[float, float]]:
    """Return bottom and top of the frames of each row, of equal heights, in pixels from above."""
    needs = [
        (max(one.above() for one in row if one), max(one.below() for one in row if one))
        for row in grid
    ]
    free = height - top - ROW_GAP * (len(grid) - 1) - sum(map(sum, needs))
    out = []
    for over, under in needs:
        top += over
        out.append((top + free / len(grid), top))
        top += free / len(grid) + under + ROW_GAP
    return out


def _columns(
    grid: Sequence[Sequence[Axes | None]],
    rows: Sequence[tuple[float, float]],
    width: float,
    ratios: Sequence[float],
) -> list[tuple[float, float]]:
    """Return the left and right ends of the frames of each column."""
    count = len(grid[0])
    needs = [0.0] * count
    for row, span in zip(grid, rows, strict=True):
        for j, axes in enumerate(row):
            if axes is not None:
                ticks = axes.y_ticks(axes.scale("y", *span))
                needs[j] = max(needs[j], axes.beside(ticks))
    free = width - sum(needs) - COLUMN_GAP * (count - 1)
    shares = list(ratios) or [1.0] * count
    left, out = 0.0, []
    for need, share in zip(needs, shares, strict=True):
        left += need
        end = left + free * share / sum(shares)
        out.append((left, end))
        left = end + COLUMN_GAP
    return out
