"""Figures of the model comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from bayeslmm.numerics.arrays import Floats
from bayeslmm.report import svg

if TYPE_CHECKING:
    import pandas as pd


COLOURS = (svg.BLUE, svg.ORANGE, svg.GREEN, svg.PURPLE)
BAND = 1.358  # √n times the largest distance of 95 % of uniform samples (Kolmogorov)


def elpd_figure(table: pd.DataFrame, key: str) -> Markup:
    """elpd of every model with its standard error, and beside it the differences with theirs."""
    rows = -np.arange(len(table), dtype=np.float64)
    names = [svg.short(name, 22) for name in table["model"]]
    with svg.style():
        figure = svg.new_figure(svg.FULL, 1.05 + 0.34 * len(table))
        left, right = figure.subplots(1, 2)
        pairs = ((left, "elpd", "se", svg.BLUE), (right, "elpd_diff", "diff_se", svg.ORANGE))
        for axes, value, error, colour in pairs:
            x, se = (table[column].to_numpy(dtype=np.float64) for column in (value, error))
            axes.hlines(rows, x - se, x + se, color=colour, linewidth=2.2)
            axes.plot(x, rows, "o", color=colour, markersize=5.5)
            axes.set_ylim(-len(table) + 0.4, 0.6)
            axes.tick_params(axis="y", length=0, labelcolor=svg.INK)
            axes.spines["left"].set_visible(False)
            svg.finish(axes, grid="x")
        left.set_yticks(rows, names)
        left.set_xlabel("elpd, nats (line: ± 1 SE)")
        right.set_yticks(rows, [""] * len(table))
        right.axvline(0, color=svg.MUTED, linewidth=0.8)
        right.set_xlabel("difference from the first, nats (line: ± 1 SE)")
        return svg.inline(
            figure,
            key,
            "Expected log predictive density of each model with its standard error, and beside it "
            "the difference from the best with the standard error of the difference",
        )


def pointwise_figure(
    y: Floats, differences: Mapping[str, Floats], best: str, trait: str, key: str
) -> Markup:
    """Of every record: how much better the best model predicts it than each other, against y."""
    shown = list(differences.items())[:3]
    with svg.style():
        figure = svg.new_figure(svg.FULL, 3.0)
        several = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axes, (name, values), colour in zip(several, shown, COLOURS, strict=False):
            axes.plot(y, values, "o", color=colour, markersize=2.6, alpha=0.7)
            axes.axhline(0, color=svg.MUTED, linewidth=0.8)
            axes.set_title(f"{svg.short(best, 16)} against {svg.short(name, 16)}")
            axes.set_xlabel(svg.short(trait))
            svg.finish(axes, grid="y")
        several[0].set_ylabel("difference of log p, nats")
        return svg.inline(
            figure,
            key,
            f"Difference of the log predictive density of every record between {svg.clean(best)} "
            "and each other model, against the value of the record; above zero the first predicts "
            "it better",
        )


def pit_figure(pits: Mapping[str, Floats], key: str) -> Markup:
    """Empirical distribution of the leave-one-out PIT less the uniform one, by model."""
    n = min(values.size for values in pits.values())
    with svg.style():
        figure = svg.new_figure(svg.FULL, 3.0)
        axes = figure.subplots()
        width = BAND / np.sqrt(n)
        axes.axhspan(-width, width, color=svg.BLUE, alpha=0.15, linewidth=0)
        for (name, values), colour, dash in zip(
            pits.items(), COLOURS * 5, _dashes(len(pits)), strict=False
        ):
            ordered = np.sort(values)
            level = np.arange(1, ordered.size + 1) / ordered.size
            axes.plot(ordered, level - ordered, color=colour, linestyle=dash,
                      linewidth=1.3, label=svg.short(name, 22))  # fmt: skip
        axes.axhline(0, color=svg.MUTED, linewidth=0.8)
        axes.set_xlim(0, 1)
        axes.set_xlabel("leave-one-out PIT, P(Y ≤ y | all others)")
        axes.set_ylabel("ECDF − uniform")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.8)
        svg.finish(axes)
        return svg.inline(
            figure,
            key,
            "Empirical distribution of the leave-one-out probability integral transform less the "
            "uniform distribution, a line for each model, with a 95 percent band",
        )


def _dashes(count: int) -> Sequence[str]:
    return [("-", "--", ":", "-.")[(k // len(COLOURS)) % 4] for k in range(count)]
