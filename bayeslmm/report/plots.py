"""Plots of the results: h² with its prior, intervals of anything, a forest over traits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from bayeslmm.report import svg
from bayeslmm.report.density import POINTS, posterior_density, prior_density, zoom
from bayeslmm.report.numbers import number, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayeslmm.report.facts import Facts


@dataclass(frozen=True, slots=True)
class Interval:
    """One row of an interval plot.

    Parameters
    ----------
    label
        What it is.
    mean, lower, upper
        Point and ends.
    mode
        A second point, drawn hollow; nan for none.
    faint
        Draw it paler, its point hollow.
    """

    label: str
    mean: float
    lower: float
    upper: float
    mode: float = float("nan")
    faint: bool = False


def h2_figure(facts: Facts, key: str) -> Markup:
    """Prior and posterior of h², the interval shaded, mode and mean marked.

    On all of [0, 1]; beside it the posterior enlarged where it is narrow.
    """
    lower, upper = facts.number("h2", "lower"), facts.number("h2", "upper")
    narrow = upper - lower < 0.3
    with svg.style():
        figure = svg.new_figure(svg.FULL, 2.9)
        if narrow:
            whole, part = figure.subplots(1, 2, width_ratios=(3, 4))
            _h2_axes(whole, facts, (0.0, 1.0))
            whole.set_title("Prior and posterior")
            _h2_axes(part, facts, zoom(lower, upper))
            part.set_title("Posterior, enlarged")
            part.set_ylabel("")
            _legend(part)
        else:
            axes = figure.subplots()
            _h2_axes(axes, facts, (0.0, 1.0))
            axes.set_title("Prior and posterior")
            _legend(axes)
        sd = facts.number("h2", "sd")
        return svg.inline(
            figure,
            key,
            f"Prior and posterior density of heritability of {svg.clean(facts.trait)}: "
            f"mean {number(facts.number('h2'), sd)}, mode {number(facts.number('h2', 'mode'), sd)}"
            f", {facts.interval} {span(lower, upper, sd)}",
        )


def _h2_axes(axes: Axes, facts: Facts, limits: tuple[float, float]) -> None:
    lower, upper = facts.number("h2", "lower"), facts.number("h2", "upper")
    mean, mode = facts.number("h2"), facts.number("h2", "mode")
    x = np.unique(np.concatenate([np.linspace(*limits, POINTS), _inside([lower, upper], limits)]))
    density = posterior_density(facts, x)
    inside = (x >= lower) & (x <= upper)
    axes.fill_between(x[inside], density[inside], color=svg.BLUE, alpha=0.25, linewidth=0)
    axes.plot(x, density, color=svg.BLUE, label="posterior")
    prior = prior_density(facts, x)
    if prior is not None:
        axes.plot(x, prior, color=svg.MUTED, linestyle=(0, (4, 2)), label="prior")
    at = posterior_density(facts, np.array([mode, mean]))
    axes.vlines(mode, 0, at[0], color=svg.ORANGE, linewidth=1.6)
    axes.vlines(mean, 0, at[1], color=svg.INK, linewidth=1.2, linestyle=(0, (1, 1.2)))
    axes.set_xlim(*limits)
    axes.set_ylim(0, 1.08 * float(np.nanmax(density)))
    axes.set_xlabel("h²")
    axes.set_ylabel("density")
    svg.finish(axes)
    axes.fill_between([], [], color=svg.BLUE, alpha=0.25, linewidth=0, label=facts.interval)
    axes.plot([], [], color=svg.ORANGE, label=f"mode {number(mode, facts.number('h2', 'sd'))}")
    axes.plot(
        *([], []),
        color=svg.INK,
        linewidth=1.2,
        linestyle=(0, (1, 1.2)),
        label=f"mean {number(mean, facts.number('h2', 'sd'))}",
    )


def _inside(values: Sequence[float], limits: tuple[float, float]) -> list[float]:
    return [value for value in values if limits[0] <= value <= limits[1]]


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.6)


def interval_figure(
    rows: Sequence[Interval],
    key: str,
    description: str,
    *,
    xlabel: str,
    limits: tuple[float, float] | None = None,
    width: float = svg.HALF,
    zero: bool = False,
) -> Markup:
    """Points with their intervals, one row each, from top to bottom.

    Parameters
    ----------
    rows
        What to draw.
    key, description
        As for `svg.inline`.
    xlabel
        What the axis shows, with its unit.
    limits
        Range of the axis; default from the intervals.
    width
        In inches.
    zero
        Mark 0.
    """
    with svg.style():
        figure = svg.new_figure(width, 0.75 + 0.27 * max(len(rows), 2))
        axes = figure.subplots()
        y = -np.arange(len(rows))
        for faint in (False, True):
            which = np.array([r.faint == faint for r in rows], dtype=bool)
            lower, mean, upper = np.array([(r.lower, r.mean, r.upper) for r in rows])[which].T
            colour, fill = (svg.MUTED, svg.PAPER) if faint else (svg.BLUE, svg.BLUE)
            axes.hlines(y[which], lower, upper, color=colour, linewidth=1.4 if faint else 2.2)
            axes.plot(mean, y[which], "o", color=colour, markerfacecolor=fill, markersize=5.5)
        if any(np.isfinite(r.mode) for r in rows):
            axes.plot(
                *([r.mode for r in rows], y, "D"),
                color=svg.ORANGE,
                markerfacecolor="none",
                markersize=6.5,
            )
        if zero:
            axes.axvline(0, color=svg.MUTED, linewidth=0.8)
        axes.set_yticks(y, [svg.short(r.label) for r in rows])
        axes.tick_params(axis="y", length=0, labelcolor=svg.INK)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        if limits is not None:
            axes.set_xlim(*limits)
        axes.set_xlabel(xlabel)
        svg.finish(axes, grid="x")
        return svg.inline(figure, key, description)


def forest_figure(all_facts: Sequence[Facts], key: str, most: int = 60) -> Markup:
    """h² of several traits with their intervals; the first `most` of them."""
    rows = [
        Interval(
            svg.clean(trait),
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
        width=svg.FULL,
    )
