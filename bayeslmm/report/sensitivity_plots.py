"""Figures of prior sensitivity: intervals and densities of h² under each prior."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from scipy.special import expit

from bayeslmm.checks.other_priors import Alternative
from bayeslmm.numerics.arrays import Floats
from bayeslmm.report.density import POINTS, bounded_density
from bayeslmm.report.drawing import DOTTED, FULL, SOLID, Axes, Axis, Line, draw
from bayeslmm.report.plots import Interval, interval_figure
from bayeslmm.report.svg import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE

type Row = dict[str, Any]

STYLES = {
    "flat": (BLUE, SOLID),
    "beta(0.5,0.5)": (ORANGE, SOLID),
    "beta(2,2)": (GREEN, SOLID),
    "half-t": (PURPLE, (4.0, 1.5)),
    "pc": (MUTED, DOTTED),
}


def row_label(row: Row, *, several: bool) -> str:
    """Label a row of the table by its prior, and its quantity if there are several."""
    prior = "as in the model" if row["prior"] == "own" else str(row["prior"])
    text = f"{prior} (this fit)" if row["fitted"] else prior
    return f"{row['quantity']}: {text}" if several else text


def forest(rows: list[Row], key: str, *, several: bool, prob: float) -> Markup | None:
    """Draw means and intervals of h² under each prior; None for one prior."""
    if len(rows) < 2:
        return None
    return interval_figure(
        [
            Interval(
                *(row_label(row, several=several), row["mean"], row["lower"], row["upper"]),
                faint=not row["fitted"],
            )
            for row in rows
        ],
        f"{key}-sensitivity",
        "Posterior mean and interval of h² under each prior",
        xlabel=f"h²: mean, {100 * prob:g}\N{NO-BREAK SPACE}% HDI",
        limits=(-0.01, 1.01),
        width=FULL,
    )


def density_figure(each: list[Alternative], key: str) -> Markup:
    """Draw prior and posterior densities of h² under each prior, side by side."""
    x = np.linspace(0.0, 1.0, POINTS)
    inside = (x > 0.015) & (x < 0.985)
    charts = []
    for prior, title in ((True, "Priors"), (False, "Posteriors")):
        lines, top = [], 0.0
        for one in each:
            y = _prior_density(one, x) if prior else _posterior_density(one, x)
            if y is None or not (one.trusted or prior):
                continue
            top = max(top, float(np.nanmax(y[inside])))
            lines.append(_line(x, y, one))
        charts.append(
            Axes(
                lines,
                Axis("h²", 0.0, 1.0),
                Axis("density" if prior else "", 0.0, 1.1 * (top or 1.0)),
                title,
                legend="none" if prior else "right",
            )
        )
    names = ", ".join(one.name for one in each)
    description = f"Prior and posterior densities of h² under {names}"
    return draw([charts], key, description, width=FULL, height=278)


def _line(x: Floats, y: Floats, one: Alternative) -> Line:
    colour, dash = STYLES.get(one.name, (INK, SOLID))
    name = "as in the model" if one.name == "own" else one.name
    label = f"{name} (this fit)" if one.own else name
    return Line(x, y, colour, 3.2 if one.own else 1.7, dash, label=label)


def _prior_density(one: Alternative, x: Floats) -> Floats | None:
    """Compute the density of a prior at x (k,), nan where infinite; None if h² is not x."""
    if one.prior is None or not one.direct:
        return None
    middle = np.clip(x, 1e-4, 1 - 1e-4)
    return np.exp(one.prior.log_density(middle, 1 - middle))


def _posterior_density(one: Alternative, x: Floats) -> Floats:
    if one.share is None:
        return bounded_density(one.draws, x)
    middle = np.clip(x, 1e-4, 1 - 1e-4)
    return np.interp(middle, expit(one.share.z), one.share.density)
