"""Figures of the model comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from bayeslmm.numerics.arrays import Floats
from bayeslmm.report.drawing import (
    DASHED,
    DOTTED,
    FULL,
    SOLID,
    Axes,
    Axis,
    Band,
    Level,
    Line,
    Points,
    Segments,
    draw,
)
from bayeslmm.report.svg import BLUE, CHAINS, MUTED, ORANGE, clean, short

if TYPE_CHECKING:
    import pandas as pd


BAND = 1.358  # 95 % quantile of √n sup |ECDF - uniform| (Kolmogorov)
DASHES = (SOLID, DASHED, DOTTED, (4.0, 1.5, 1.0, 1.5))  # repeated for every four models


def elpd_figure(table: pd.DataFrame, key: str) -> Markup:
    """Draw elpd and its difference from the best model, both with standard errors."""
    names = [short(name, 22) for name in table["model"]]
    left = _estimates(table, "elpd", "se", BLUE, names, "elpd, nats (line: ± 1 SE)")
    xlabel = "difference from the first, nats (line: ± 1 SE)"
    right = _estimates(table, "elpd_diff", "diff_se", ORANGE, [""] * len(names), xlabel)
    return draw(
        [[left, right]],
        key,
        "Expected log predictive density of each model with its standard error, and beside it "
        "the difference from the best with the standard error of the difference",
        width=FULL,
        height=100 + 33 * len(table),
    )


def _estimates(
    table: pd.DataFrame, value: str, error: str, colour: str, names: list[str], xlabel: str
) -> Axes:
    """Draw estimates with standard errors, one row per model; mark 0 if rows have no names."""
    rows = -np.arange(len(table), dtype=np.float64)
    x, se = (table[column].to_numpy(dtype=np.float64) for column in (value, error))
    zero = [] if any(names) else [Level(MUTED, x=0.0)]
    return Axes(
        [*zero, Segments(x - se, rows, x + se, rows, colour, 2.9), Points(x, rows, colour)],
        Axis(xlabel, grid=True),
        Axis(
            low=-len(table) + 0.4,
            high=0.6,
            ticks=list(zip(rows.tolist(), names, strict=True)),
            line=False,
        ),
    )


def pointwise_figure(
    y: Floats, differences: Mapping[str, Floats], best: str, trait: str, key: str
) -> Markup:
    """Draw each record's log density under the best model minus each other model, against y."""
    shown = list(differences.items())[:3]
    every = np.concatenate([np.zeros(1), *(values for _, values in shown)])
    low, high = Axis().limits(every)
    charts = [
        Axes(
            [Points(y, values, colour, 3.5, opacity=0.7), Level(MUTED, y=0.0)],
            Axis(short(trait)),
            Axis("" if k else "difference of log p, nats", low, high, grid=True, numbers=not k),
            f"{short(best, 16)} against {short(name, 16)}",
        )
        for k, ((name, values), colour) in enumerate(zip(shown, CHAINS, strict=False))
    ]
    return draw(
        [charts],
        key,
        f"Difference of the log predictive density of every record between {clean(best)} "
        "and each other model, against the value of the record; above zero the first predicts "
        "it better",
        width=FULL,
        height=288,
    )


def pit_figure(pits: Mapping[str, Floats], key: str) -> Markup:
    """Draw the ECDF of the leave-one-out PIT minus the uniform one, by model."""
    width = BAND / np.sqrt(min(values.size for values in pits.values()))
    lines = []
    for k, (name, values) in enumerate(pits.items()):
        ordered = np.sort(values)
        level = np.arange(1, ordered.size + 1) / ordered.size
        colour, dash = CHAINS[k % len(CHAINS)], DASHES[k // len(CHAINS) % len(DASHES)]
        lines.append(Line(ordered, level - ordered, colour, 1.7, dash, label=short(name, 22)))
    axes = Axes(
        [Band(-width, width, BLUE, 0.15), *lines, Level(MUTED, y=0.0)],
        Axis("leave-one-out PIT, P(Y ≤ y | all others)", 0.0, 1.0),
        Axis("ECDF − uniform"),
        legend="right",
    )
    return draw(
        [[axes]],
        key,
        "Empirical distribution of the leave-one-out probability integral transform minus the "
        "uniform distribution, a line for each model, with a 95 percent band",
        width=FULL,
        height=288,
    )
