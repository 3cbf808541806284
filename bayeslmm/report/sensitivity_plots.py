"""Figures of prior sensitivity: intervals and densities of h² under each prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from scipy.special import expit

from bayeslmm.checks.other_priors import Alternative
from bayeslmm.numerics.arrays import Floats
from bayeslmm.report import svg
from bayeslmm.report.density import POINTS, bounded_density
from bayeslmm.report.plots import Interval, interval_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

type Row = dict[str, Any]

STYLES = {
    "flat": (svg.BLUE, "-"),
    "beta(0.5,0.5)": (svg.ORANGE, "-"),
    "beta(2,2)": (svg.GREEN, "-"),
    "half-t": (svg.PURPLE, (0, (4, 1.5))),
    "pc": (svg.MUTED, (0, (1, 1.2))),
}


def row_label(row: Row, *, several: bool) -> str:
    """The prior of a row of the table, and its quantity where there are several."""
    prior = "as in the model" if row["prior"] == "own" else str(row["prior"])
    text = f"{prior} (this fit)" if row["fitted"] else prior
    return f"{row['quantity']}: {text}" if several else text


def forest(rows: list[Row], key: str, *, several: bool, prob: float) -> Markup | None:
    """Means and intervals of h² under each prior; None of one prior alone."""
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
        width=svg.FULL,
    )


def density_figure(each: list[Alternative], key: str) -> Markup:
    """Prior and posterior densities of h² under each prior, side by side."""
    x = np.linspace(0.0, 1.0, POINTS)
    with svg.style():
        figure = svg.new_figure(svg.FULL, 2.9)
        left, right = figure.subplots(1, 2)
        inside = (x > 0.015) & (x < 0.985)
        for axes, title in ((left, "Priors"), (right, "Posteriors")):
            top = 0.0
            for one in each:
                y = _prior_density(one, x) if axes is left else _posterior_density(one, x)
                if y is None or not (one.trusted or axes is left):
                    continue
                top = max(top, float(np.nanmax(y[inside])))
                _line(axes, x, y, one)
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1.1 * (top or 1.0))
            axes.set_xlabel("h²")
            axes.set_title(title)
            svg.finish(axes)
        left.set_ylabel("density")
        right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.8)
        names = ", ".join(one.name for one in each)
        return svg.inline(figure, key, f"Prior and posterior densities of h² under {names}")


def _line(axes: Axes, x: Floats, y: Floats, one: Alternative) -> None:
    colour, dashes = STYLES.get(one.name, (svg.INK, "-"))
    label = (
        f"{'as in the model' if one.name == 'own' else one.name}{' (this fit)' if one.own else ''}"
    )
    axes.plot(x, y, color=colour, linestyle=dashes, linewidth=2.4 if one.own else 1.3, label=label)


def _prior_density(one: Alternative, x: Floats) -> Floats | None:
    """Density of a prior at x (k,), nan where it is infinite; None where h² is not x."""
    if one.prior is None or not one.direct:
        return None
    middle = np.clip(x, 1e-4, 1 - 1e-4)
    return np.exp(one.prior.log_density(middle, 1 - middle))


def _posterior_density(one: Alternative, x: Floats) -> Floats:
    if one.share is None:
        return bounded_density(one.draws, x)
    middle = np.clip(x, 1e-4, 1 - 1e-4)
    return np.interp(middle, expit(one.share.z), one.share.density)
