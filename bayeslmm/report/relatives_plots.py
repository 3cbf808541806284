"""Figures of the checks of relatives."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from scipy.stats import norm

from bayeslmm.checks.families import FamilyCheck
from bayeslmm.checks.pair_likeness import PairCheck
from bayeslmm.report import svg
from bayeslmm.report.check_plots import predictive_bands
from bayeslmm.report.numbers import plain


def pair_figure(check: PairCheck, key: str) -> Markup:
    """Mean product of residuals by relationship, observed on the predictive bands."""
    at = np.arange(check.observed.size)
    with svg.style():
        figure = svg.new_figure(svg.HALF, 3.1)
        axes = figure.subplots()
        predictive_bands(axes, check.observed, check.replicated)
        axes.axhline(0.0, color=svg.MUTED, linewidth=0.8)
        names = [plain(round(float(x), 3), 2) for x in check.pairs.relationship]
        if check.pairs.same:
            names[-1] = "same"
        axes.set_xticks(at, names, rotation=45)
        axes.set_xlabel("mean relationship of the pairs of a bin")
        axes.set_ylabel("mean product of residuals / variance")
        axes.set_title("Likeness of relatives")
        axes.legend(loc="upper left", handlelength=1.2)
        svg.finish(axes)
        outside = int(np.count_nonzero(np.abs(check.z()) > 1.0))
        return svg.inline(
            figure,
            key,
            "Mean product of the residuals of pairs in bins of their relationship, observed points "
            f"on the 50 and 95 percent posterior predictive bands; {outside} of {at.size} lie "
            "outside the wide one",
        )


def family_figure(check: FamilyCheck, key: str, most: int = 400) -> Markup:
    """Families in the order of their deviation, with the 95 % limits and those of all together."""
    order = np.argsort(check.z, kind="stable")
    count = len(order)
    picked = order[np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))]
    rank = np.searchsorted(check.z[order], check.z[picked])
    limits = (float(norm.isf(0.025)), float(norm.isf(0.025 / count)))
    with svg.style():
        figure = svg.new_figure(svg.HALF, 3.1)
        axes = figure.subplots()
        axes.axhspan(-limits[0], limits[0], color=svg.BLUE, alpha=0.18, linewidth=0,
                     label="95 %, each")  # fmt: skip
        for k, limit in enumerate((-limits[1], limits[1])):
            axes.axhline(limit, color=svg.MUTED, linewidth=0.8, linestyle=(0, (4, 2)),
                         label="95 %, all together" if k else None)  # fmt: skip
        axes.plot(rank + 1, check.z[picked], "o", color=svg.ORANGE, markersize=3.5,
                  label="family mean")  # fmt: skip
        axes.set_xlabel("families, in order")
        axes.set_ylabel("deviation, predictive sd")
        axes.set_title("Each family against all others")
        axes.legend(loc="lower right", handlelength=1.2)
        svg.finish(axes)
        return svg.inline(
            figure,
            key,
            f"Deviation of the means of {count} families from what everybody else leads to expect; "
            f"{check.outside()} lie outside their 95 percent interval",
        )
