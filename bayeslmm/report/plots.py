"""Figures of the results: h² with its prior, interval plots, a forest plot over traits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from bayeslmm.report.density import POINTS, posterior_density, prior_density, zoom
from bayeslmm.report.drawing import (
    DASHED,
    DOTTED,
    FULL,
    HALF,
    Area,
    Axes,
    Axis,
    Level,
    Line,
    Mark,
    Points,
    Segments,
    draw,
)
from bayeslmm.report.numbers import number, span
from bayeslmm.report.svg import BLUE, INK, MUTED, ORANGE, clean, short

if TYPE_CHECKING:
    from bayeslmm.report.facts import Facts


@dataclass(frozen=True, slots=True)
class Interval:
    """One row of an interval plot.

    Parameters
    ----------
    label
        Its label.
    mean, lower, upper
        Point and ends.
    mode
        A second point, drawn hollow; nan for none.
    faint
        Draw the row paler and its point hollow.
    """

    label: str
    mean: float
    lower: float
    upper: float
    mode: float = float("nan")
    faint: bool = False


def h2_figure(facts: Facts, key: str) -> Markup:
    """Draw prior and posterior of h² on [0, 1], with interval, mode and mean.

    A narrow posterior is also drawn enlarged in a second chart.
    """
    lower, upper = facts.number("h2", "lower"), facts.number("h2", "upper")
    charts = [_h2_chart(facts, (0.0, 1.0), "Prior and posterior", "density")]
    if upper - lower < 0.3:
        charts.append(_h2_chart(facts, zoom(lower, upper), "Posterior, enlarged", ""))
    sd = facts.number("h2", "sd")
    return draw(
        [charts],
        key,
        f"Prior and posterior density of heritability of {clean(facts.trait)}: "
        f"mean {number(facts.number('h2'), sd)}, mode {number(facts.number('h2', 'mode'), sd)}"
        f", {facts.interval} {span(lower, upper, sd)}",
        width=FULL,
        height=278,
        ratios=(3, 4)[: len(charts)],
    )


def _h2_chart(facts: Facts, limits: tuple[float, float], title: str, ylabel: str) -> Axes:
    lower, upper = facts.number("h2", "lower"), facts.number("h2", "upper")
    mean, mode, sd = facts.number("h2"), facts.number("h2", "mode"), facts.number("h2", "sd")
    x = np.unique(np.concatenate([np.linspace(*limits, POINTS), _inside([lower, upper], limits)]))
    density = posterior_density(facts, x)
    prior = prior_density(facts, x)
    inside = (x >= lower) & (x <= upper)
    at = posterior_density(facts, np.array([mode, mean]))
    marks: list[Mark] = [
        Area(x[inside], 0.0, density[inside], BLUE, label=facts.interval),
        Line(x, density, BLUE, label="posterior"),
    ]
    if prior is not None:
        marks.append(Line(x, prior, MUTED, dash=DASHED, label="prior"))
    marks += [
        Segments(mode, 0.0, mode, at[0], ORANGE, label=f"mode {number(mode, sd)}"),
        Segments(mean, 0.0, mean, at[1], INK, 1.6, DOTTED, label=f"mean {number(mean, sd)}"),
    ]
    return Axes(
        marks,
        Axis("h²", *limits),
        Axis(ylabel, 0.0, 1.08 * float(np.nanmax(density))),
        title,
        legend="right",
    )


def _inside(values: Sequence[float], limits: tuple[float, float]) -> list[float]:
    return [value for value in values if limits[0] <= value <= limits[1]]


def interval_figure(
    rows: Sequence[Interval],
    key: str,
    description: str,
    *,
    xlabel: str,
    limits: tuple[float, float] | None = None,
    width: float = HALF,
    zero: bool = False,
) -> Markup:
    """Draw points with their intervals, one row each, from top to bottom.

    Parameters
    ----------
    rows
        The intervals.
    key, description
        As for `bayeslmm.report.drawing.draw`.
    xlabel
        Label of the axis, with its unit.
    limits
        Range of the axis; default from the intervals.
    width
        In CSS pixels.
    zero
        Mark 0.
    """
    y = -np.arange(len(rows), dtype=np.float64)
    marks: list[Mark] = []
    for faint in (False, True):
        which = np.array([row.faint == faint for row in rows], dtype=bool)
        lower, mean, upper = np.array([(r.lower, r.mean, r.upper) for r in rows])[which].T
        colour = MUTED if faint else BLUE
        marks.append(Segments(lower, y[which], upper, y[which], colour, 1.8 if faint else 2.9))
        marks.append(Points(mean, y[which], colour, hollow=faint))
    modes = np.array([row.mode for row in rows])
    marks.append(Points(modes, y, ORANGE, 8.5, "diamond", hollow=True))
    if zero:
        marks.insert(0, Level(MUTED, x=0.0))
    low, high = limits or (None, None)
    names = [(at, short(row.label)) for at, row in zip(y.tolist(), rows, strict=True)]
    axes = Axes(
        marks,
        Axis(xlabel, low, high, grid=True),
        Axis(low=-len(rows) + 0.4, high=0.6, ticks=names, line=False),
    )
    height = 72 + 26 * max(len(rows), 2)
    return draw([[axes]], key, description, width=width, height=height)


def forest_figure(all_facts: Sequence[Facts], key: str, most: int = 60) -> Markup:
    """Draw h² of the first `most` traits with their intervals."""
    rows = [
        Interval(
            clean(trait),
            facts.number(quantity),
            facts.number(quantity, "lower"),
            facts.number(quantity, "upper"),
            facts.number(quantity, "mode"),
        )
        for facts in all_facts
        for trait, quantity in facts.h2_rows.items()
    ]
    return interval_figure(
        rows[:most],
        key,
        "Heritability of each trait, posterior mean and interval",
        xlabel=f"h²: mean (dot), mode (diamond), {all_facts[0].interval} (line)",
        limits=(-0.01, 1.01),
        width=FULL,
    )
