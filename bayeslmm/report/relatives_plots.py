"""Figures of the checks of relatives."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from scipy.special import ndtri

from bayeslmm.checks.families import FamilyCheck
from bayeslmm.checks.pair_likeness import PairCheck
from bayeslmm.report.check_plots import predictive_bands
from bayeslmm.report.drawing import DASHED, Axes, Axis, Band, Level, Points, draw
from bayeslmm.report.numbers import plain
from bayeslmm.report.svg import BLUE, MUTED, ORANGE


def pair_figure(check: PairCheck, key: str) -> Markup:
    """Draw the observed mean product of residuals by relationship over its predictive bands."""
    names = [plain(round(float(x), 3), 2) for x in check.pairs.relationship]
    if check.pairs.same:
        names[-1] = "same"
    axes = Axes(
        [*predictive_bands(check.observed, check.replicated), Level(MUTED, y=0.0)],
        Axis("mean relationship of the pairs of a bin", ticks=list(enumerate(names)), slanted=True),
        Axis("mean product of residuals / variance"),
        "Likeness of relatives",
        legend="inside",
    )
    outside = int(np.count_nonzero(np.abs(check.z()) > 1.0))
    return draw(
        [[axes]],
        key,
        "Mean product of the residuals of pairs in bins of their relationship, observed points "
        f"over the 50 and 95 percent posterior predictive bands; {outside} of "
        f"{check.observed.size} lie outside the 95 percent band",
    )


def family_figure(check: FamilyCheck, key: str, most: int = 400) -> Markup:
    """Draw the families ordered by deviation, with pointwise and joint 95 % limits."""
    order = np.argsort(check.z, kind="stable")
    count = len(order)
    picked = order[np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))]
    rank = np.searchsorted(check.z[order], check.z[picked])
    each, together = (float(-ndtri(p)) for p in (0.025, 0.025 / count))
    axes = Axes(
        [
            Band(-each, each, BLUE, 0.18, label="95 %, each"),
            Level(MUTED, y=-together, dash=DASHED),
            Level(MUTED, y=together, dash=DASHED, label="95 %, all together"),
            Points(rank + 1, check.z[picked], ORANGE, 4.7, label="family mean"),
        ],
        Axis("families, in order"),
        Axis("deviation, predictive sd"),
        "Each family against all others",
        legend="inside",
    )
    return draw(
        [[axes]],
        key,
        f"Deviation of the means of {count} families from their prediction by all others; "
        f"{check.outside()} lie outside their 95 percent interval",
    )
