"""Figures of coverage and of power against the true h²."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from bayeslmm.report import svg

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

METHODS = {
    "hdi": ("HDI", svg.BLUE, "o", "-"),
    "eti": ("equal-tailed", svg.ORANGE, "s", (0, (5, 1.5))),
    "reml_wald": ("REML ± z SE", svg.GREEN, "^", (0, (1.5, 1.2))),
}
NOISE = 1.96  # Monte Carlo standard errors that the band around the nominal coverage spans


def coverage_figure(table: pd.DataFrame, prob: float, key: str) -> Markup:
    """Coverage and mean width of the three intervals against the true h²."""
    with svg.style():
        figure = svg.new_figure(svg.FULL, 3.3)
        left, right = figure.subplots(1, 2)
        fixed = table[table["h2"].map(lambda value: not isinstance(value, str))]
        # an equal-tailed interval never holds 0 or 1: its line leaves the picture there
        worst = float(fixed.loc[fixed["method"] != "eti", "coverage"].min())
        floor = max(0.0, min(worst if worst == worst else prob, prob - 0.06) - 0.01)
        noise = NOISE * np.sqrt(prob * (1 - prob) / max(int(table["n_reps"].max()), 1))
        left.axhspan(prob - noise, prob + noise, color=svg.RULE, alpha=0.7, linewidth=0)
        left.axhline(prob, color=svg.MUTED, linewidth=0.8)
        for method, look in METHODS.items():
            rows = fixed[fixed["method"] == method]
            _line(left, rows["h2"].astype(float), rows["coverage"], look)
            _line(right, rows["h2"].astype(float), rows["width"], look)
        left.set_ylim(floor, 1.005)
        left.set_ylabel("share of intervals that hold the truth")
        left.set_title("Coverage")
        right.set_ylim(bottom=0)
        right.set_ylabel("mean width of the interval, in h²")
        right.set_title("Width")
        right.legend(loc="best")
        for axes in (left, right):
            axes.set_xlim(-0.02, 1.02)
            axes.set_xlabel("true h²")
            svg.finish(axes, grid="y")
        return svg.inline(
            figure, key, "Coverage and mean width of three intervals of h² against the true h²"
        )


def power_figure(table: pd.DataFrame, key: str) -> Markup:
    """Width of the interval and power against the true h², a line for each n."""
    with svg.style():
        figure = svg.new_figure(svg.FULL, 3.3)
        left, right = figure.subplots(1, 2)
        sizes = list(table.groupby("n", sort=True))
        for number, (n, rows) in enumerate(sizes):
            share = number / max(len(sizes) - 1, 1)
            colour = svg.CHAINS[number] if len(sizes) <= len(svg.CHAINS) else svg.BLUE
            alpha = 1.0 if len(sizes) <= len(svg.CHAINS) else 0.3 + 0.7 * share
            look = (f"n = {n:,}", colour, "o", "-")
            _line(left, rows["h2"], rows["width"], look, alpha=alpha)
            _line(right, rows["h2"], rows["p_excludes_0"], look, alpha=alpha)
            dashed = ("", colour, "", (0, (4, 2)))
            _line(right, rows["h2"], rows["p_rlrt"], dashed, alpha=alpha)
        right.plot([], [], color=svg.INK, linestyle=(0, (4, 2)), label="test of h² = 0")
        left.set_ylim(bottom=0)
        left.set_ylabel("mean width of the interval, in h²")
        left.set_title("Width")
        right.set_ylim(-0.02, 1.02)
        right.set_ylabel("probability")
        right.set_title("Interval excludes 0")
        right.legend(loc="lower right")
        for axes in (left, right):
            axes.set_xlabel("true h²")
            svg.finish(axes, grid="y")
        return svg.inline(
            figure, key, "Width of the interval of h² and probability that it excludes 0"
        )


def _line(axes: Axes, x: Any, y: Any, look: tuple[str, str, str, Any], **more: Any) -> None:
    label, colour, marker, dashes = look
    axes.plot(
        np.asarray(x, dtype=float), np.asarray(y, dtype=float), color=colour, marker=marker,
        markersize=4, linestyle=dashes, label=label or None, **more,
    )  # fmt: skip
