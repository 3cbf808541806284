"""Figures of coverage and of power against the true h²."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from bayeslmm.report.drawing import (
    DASHED,
    FULL,
    SOLID,
    Axes,
    Axis,
    Band,
    Level,
    Line,
    Mark,
    draw,
)
from bayeslmm.report.svg import BLUE, CHAINS, GREEN, INK, MUTED, ORANGE, RULE

if TYPE_CHECKING:
    import pandas as pd

NOISE = 1.96  # half width of the band around the nominal coverage, in Monte Carlo standard errors
HEIGHT = 317.0  # of the figures, CSS pixels
TRUE_H2 = Axis("true h²", -0.02, 1.02)


@dataclass(frozen=True, slots=True)
class Look:
    """Line style and label of a method or of a sample size."""

    label: str
    colour: str
    shape: str = "circle"
    dash: tuple[float, ...] = SOLID
    opacity: float = 1.0


METHODS = {
    "hdi": Look("HDI", BLUE),
    "eti": Look("equal-tailed", ORANGE, "square", (5.0, 1.5)),
    "reml_wald": Look("REML ± z SE", GREEN, "triangle", (1.5, 1.2)),
}


def coverage_figure(table: pd.DataFrame, prob: float, key: str) -> Markup:
    """Draw coverage and mean width of the three intervals against the true h²."""
    fixed = table[table["h2"].map(lambda value: not isinstance(value, str))]
    # an equal-tailed interval never holds 0 or 1: its line leaves the chart there
    worst = float(fixed.loc[fixed["method"] != "eti", "coverage"].min())
    floor = max(0.0, min(worst if worst == worst else prob, prob - 0.06) - 0.01)
    noise = NOISE * np.sqrt(prob * (1 - prob) / max(int(table["n_reps"].max()), 1))
    coverage: list[Mark] = [Band(prob - noise, prob + noise, RULE, 0.7), Level(MUTED, y=prob)]
    width: list[Mark] = []
    for method, look in METHODS.items():
        rows = fixed[fixed["method"] == method]
        coverage.append(_line(rows["h2"], rows["coverage"], look))
        width.append(_line(rows["h2"], rows["width"], look))
    left = Axes(
        coverage,
        TRUE_H2,
        Axis("share of intervals that hold the truth", floor, 1.005, grid=True),
        "Coverage",
    )
    right = Axes(
        width,
        TRUE_H2,
        Axis("mean width of the interval, in h²", 0.0, grid=True),
        "Width",
        legend="inside",
    )
    description = "Coverage and mean width of three intervals of h² against the true h²"
    return draw([[left, right]], key, description, width=FULL, height=HEIGHT)


def power_figure(table: pd.DataFrame, key: str) -> Markup:
    """Draw the width of the interval and power against the true h², a line for each n."""
    width: list[Mark] = []
    power: list[Mark] = []
    sizes = list(table.groupby("n", sort=True))
    for number, (n, rows) in enumerate(sizes):
        several = len(sizes) <= len(CHAINS)
        colour = CHAINS[number] if several else BLUE
        opacity = 1.0 if several else 0.3 + 0.7 * number / max(len(sizes) - 1, 1)
        look = Look(f"n = {n:,}", colour, opacity=opacity)
        width.append(_line(rows["h2"], rows["width"], look))
        power.append(_line(rows["h2"], rows["p_excludes_0"], look))
        power.append(_line(rows["h2"], rows["p_rlrt"], Look("", colour, "", DASHED, opacity)))
    nothing = np.empty(0)
    power.append(Line(nothing, nothing, INK, dash=DASHED, label="test of h² = 0"))
    left = Axes(
        width, Axis("true h²"), Axis("mean width of the interval, in h²", 0.0, grid=True), "Width"
    )
    right = Axes(
        power,
        Axis("true h²"),
        Axis("probability", -0.02, 1.02, grid=True),
        "Interval excludes 0",
        legend="inside",
    )
    description = "Width of the interval of h² and probability that it excludes 0"
    return draw([[left, right]], key, description, width=FULL, height=HEIGHT)


def _line(x: Any, y: Any, look: Look) -> Line:
    x, y = (np.asarray(one, dtype=np.float64) for one in (x, y))
    return Line(
        *(x, y, look.colour),
        dash=look.dash,
        opacity=look.opacity,
        shape=look.shape,
        label=look.label,
    )
