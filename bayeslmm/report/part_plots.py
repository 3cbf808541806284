"""Plots of the parts of the variance, stacked, and of correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from markupsafe import Markup

from bayeslmm.numerics.arrays import Floats
from bayeslmm.report import svg
from bayeslmm.report.density import POINTS, bounded_density

if TYPE_CHECKING:
    from matplotlib.axes import Axes

type Kind = Literal["genetic", "environment", "covariance", "residual"]

COLOURS: dict[str, str] = {
    "genetic": svg.BLUE,
    "environment": svg.GREEN,
    "covariance": svg.PURPLE,
    "residual": svg.MUTED,
}
SHADES = (0.55, 0.3)  # neighbours differ, also where they are of one kind
LONGEST = 9  # letters of a label that stands upright
LETTER, LINE = 0.082, 0.15  # inches that a letter is wide and a line high


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a stacked bar.

    Parameters
    ----------
    label
        Cleaned name.
    value
        Its length; a negative one stands on the left of zero.
    kind
        What colours it.
    """

    label: str
    value: float
    kind: Kind


def stack_figure(
    bars: Sequence[tuple[str, Sequence[Segment]]], key: str, description: str
) -> Markup:
    """Stacked horizontal bars with direct labels, upright where they do not fit otherwise.

    Parameters
    ----------
    bars
        Label ("" for a single bar) and segments, in their order from left to right.
    key, description
        As for `svg.inline`.
    """
    with svg.style():
        figure = svg.new_figure(svg.FULL, 0.85 + 0.75 * len(bars))
        axes = figure.subplots()
        left = min(sum(min(s.value, 0.0) for s in segments) for _, segments in bars)
        right = max(sum(max(s.value, 0.0) for s in segments) for _, segments in bars)
        for row, (_, segments) in enumerate(bars):
            _stack(axes, -row, segments, (svg.FULL - 1.0) / (right - left))
        axes.set_yticks(-np.arange(len(bars)), [svg.short(label, 18) for label, _ in bars])
        axes.tick_params(axis="y", length=0, labelcolor=svg.INK)
        axes.spines["left"].set_visible(False)
        axes.set_xlim(left, right)
        axes.set_ylim(-len(bars) + 0.55, 0.45)
        if left < 0:
            axes.axvline(0, color=svg.INK, linewidth=0.8)
        axes.set_xlabel("share of the variance, posterior means")
        kinds = dict.fromkeys(s.kind for _, segments in bars for s in segments)
        for kind in kinds:
            axes.fill_between([], [], color=COLOURS[kind], alpha=SHADES[0], linewidth=0, label=kind)
        figure.legend(loc="outside upper left", ncols=4, handlelength=1.2, columnspacing=1.4)
        svg.finish(axes)
        return svg.inline(figure, key, description)


def _stack(axes: Axes, y: int, segments: Sequence[Segment], inches: float) -> None:
    """One bar; `inches` is the length of a share of one."""
    ends = [0.0, 0.0]  # negative pieces grow to the left, positive ones to the right
    for k, piece in enumerate(segments):
        side = int(piece.value >= 0)
        start = ends[side]
        ends[side] += piece.value
        axes.barh(
            *(y, piece.value, 0.82, start),
            color=COLOURS[piece.kind],
            alpha=SHADES[k % 2],
            edgecolor=svg.PAPER,
            linewidth=0.8,
        )
        label, size = svg.short(piece.label, 22), abs(piece.value) * inches
        if len(label) * LETTER > size and len(label) > LONGEST:
            label = _in_two(label)
        longest = max(len(line) for line in label.split("\n"))
        upright = longest * LETTER > size
        if upright and (size < LINE * (1 + label.count("\n")) or longest > LONGEST):
            continue
        axes.text(
            *(start + piece.value / 2, y, label),
            ha="center",
            va="center",
            rotation=90 if upright else 0,
            fontsize=7.5 if upright else 9,
        )


def _in_two(label: str) -> str:
    """A label in two lines, broken after the underscore nearest to its middle."""
    breaks = [k + 1 for k, letter in enumerate(label[:-1]) if letter == "_"]
    if not breaks:
        return label
    best = min(breaks, key=lambda k: abs(2 * k - len(label)))
    return f"{label[:best]}\n{label[best:]}"


def correlation_figure(draws: Mapping[str, Floats], key: str, description: str) -> Markup:
    """Densities of correlations on [-1, 1], over the uniform one.

    Parameters
    ----------
    draws
        Draws (k,) by name: "r_g" and "r_e".
    key, description
        As for `svg.inline`.
    """
    x = np.linspace(-1, 1, POINTS)
    looks = {"r_g": (svg.BLUE, "genetic, r_g"), "r_e": (svg.ORANGE, "residual, r_e")}
    with svg.style():
        figure = svg.new_figure(svg.FULL, 2.7)
        axes = figure.subplots()
        axes.axvline(0, color=svg.MUTED, linewidth=0.8)
        highest = 0.5
        for name, values in draws.items():
            colour, label = looks[name]
            density = 0.5 * bounded_density((1 + values) / 2, (1 + x) / 2)
            highest = max(highest, float(density.max()))
            axes.fill_between(x, density, color=colour, alpha=0.18, linewidth=0)
            axes.plot(x, density, color=colour, label=label)
        axes.plot(
            *([-1, 1], [0.5, 0.5]),
            color=svg.MUTED,
            linestyle=(0, (4, 2)),
            linewidth=1.0,
            label="uniform",
        )
        axes.set_xlim(-1, 1)
        axes.set_ylim(0, 1.08 * highest)
        axes.set_xlabel("correlation")
        axes.set_ylabel("density")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.6)
        svg.finish(axes)
        return svg.inline(figure, key, description)
