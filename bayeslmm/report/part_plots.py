"""Stacked bars of the shares of the variance, and densities of correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup

from bayeslmm.numerics.arrays import Floats
from bayeslmm.report.density import POINTS, bounded_density
from bayeslmm.report.drawing import (
    DASHED,
    FULL,
    Annotation,
    Area,
    Axes,
    Axis,
    Boxes,
    Level,
    Line,
    Mark,
    draw,
)
from bayeslmm.report.svg import BLUE, GREEN, INK, MUTED, ORANGE, PAPER, PURPLE, short

NONE = np.empty(0)

type Kind = Literal["genetic", "environment", "covariance", "residual"]

COLOURS: dict[str, str] = {
    "genetic": BLUE,
    "environment": GREEN,
    "covariance": PURPLE,
    "residual": MUTED,
}
SHADES = (0.55, 0.3)  # alternate, so that neighbours of one kind differ
LONGEST = 9  # largest number of letters of an upright label
LETTER, LINE = 7.9, 14.4  # width of a letter and height of a line, CSS pixels


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a stacked bar.

    Parameters
    ----------
    label
        Cleaned name.
    value
        Its length; negative segments lie left of zero.
    kind
        Kind of the component, which sets the colour.
    """

    label: str
    value: float
    kind: Kind


def stack_figure(
    bars: Sequence[tuple[str, Sequence[Segment]]], key: str, description: str
) -> Markup:
    """Draw stacked horizontal bars with direct labels, upright if they do not fit otherwise.

    Parameters
    ----------
    bars
        Label ("" for a single bar) and segments, from left to right.
    key, description
        As for `bayeslmm.report.drawing.draw`.
    """
    left = min(sum(min(s.value, 0.0) for s in segments) for _, segments in bars)
    right = max(sum(max(s.value, 0.0) for s in segments) for _, segments in bars)
    pixels = (FULL - 96) / (right - left)
    marks = [
        mark for row, (_, segments) in enumerate(bars) for mark in _stack(-row, segments, pixels)
    ]
    if left < 0:
        marks.append(Level(INK, x=0.0))
    kinds = dict.fromkeys(s.kind for _, segments in bars for s in segments)
    names = [(-float(row), short(label, 18)) for row, (label, _) in enumerate(bars)]
    axes = Axes(
        marks,
        Axis("share of the variance, posterior means", left, right),
        Axis(low=-len(bars) + 0.55, high=0.45, ticks=names, line=False),
    )
    return draw(
        [[axes]],
        key,
        description,
        width=FULL,
        height=82 + 72 * len(bars),
        above=[Area(NONE, 0.0, NONE, COLOURS[kind], SHADES[0], label=kind) for kind in kinds],
    )


def _stack(y: int, segments: Sequence[Segment], pixels: float) -> list[Mark]:
    """Draw one bar; `pixels` is the length of a share of one."""
    out: list[Mark] = []
    ends = [0.0, 0.0]  # negative pieces grow to the left, positive ones to the right
    for k, piece in enumerate(segments):
        side = int(piece.value >= 0)
        start = ends[side]
        ends[side] += piece.value
        out.append(
            Boxes(
                *(start, start + piece.value, y - 0.41, y + 0.41),
                colour=COLOURS[piece.kind],
                opacity=SHADES[k % 2],
                edge=PAPER,
            )
        )
        out += _label(piece, start + piece.value / 2, y, abs(piece.value) * pixels)
    return out


def _label(piece: Segment, x: float, y: float, size: float) -> list[Annotation]:
    """Label a segment of `size` pixels, horizontally or upright, if the name fits."""
    label = short(piece.label, 22)
    if len(label) * LETTER > size and len(label) > LONGEST:
        label = _in_two(label)
    longest = max(len(line) for line in label.split("\n"))
    upright = longest * LETTER > size
    if upright and (size < LINE * (1 + label.count("\n")) or longest > LONGEST):
        return []
    return [Annotation(x, y, label, 10.0 if upright else 12.0, upright)]


def _in_two(label: str) -> str:
    """Break a label into two lines after the underscore nearest to its middle."""
    breaks = [k + 1 for k, letter in enumerate(label[:-1]) if letter == "_"]
    if not breaks:
        return label
    best = min(breaks, key=lambda k: abs(2 * k - len(label)))
    return f"{label[:best]}\n{label[best:]}"


def correlation_figure(draws: Mapping[str, Floats], key: str, description: str) -> Markup:
    """Draw densities of correlations on [-1, 1], with the uniform one.

    Parameters
    ----------
    draws
        Draws (k,) by name: "r_g" and "r_e".
    key, description
        As for `bayeslmm.report.drawing.draw`.
    """
    x = np.linspace(-1, 1, POINTS)
    looks = {"r_g": (BLUE, "genetic, r_g"), "r_e": (ORANGE, "residual, r_e")}
    marks: list[Mark] = [Level(MUTED, x=0.0)]
    highest = 0.5
    for name, values in draws.items():
        colour, label = looks[name]
        density = 0.5 * bounded_density((1 + values) / 2, (1 + x) / 2)
        highest = max(highest, float(density.max()))
        marks += [Area(x, 0.0, density, colour, 0.18), Line(x, density, colour, label=label)]
    uniform = np.array([0.5, 0.5])
    marks.append(Line(x[[0, -1]], uniform, MUTED, 1.3, DASHED, label="uniform"))
    axes = Axes(
        marks,
        Axis("correlation", -1.0, 1.0),
        Axis("density", 0.0, 1.08 * highest),
        legend="right",
    )
    return draw([[axes]], key, description, width=FULL, height=260)
