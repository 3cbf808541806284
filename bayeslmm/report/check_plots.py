"""Figures of the posterior predictive checks and of the kernel."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from bayeslmm.checks.predictive import NormalCheck, VarianceCheck
from bayeslmm.numerics.arrays import Floats
from bayeslmm.report.drawing import (
    DASHED,
    Area,
    Axes,
    Axis,
    Boxes,
    Level,
    Line,
    Mark,
    Points,
    Segments,
    draw,
)
from bayeslmm.report.numbers import plain
from bayeslmm.report.relatedness import Relatedness
from bayeslmm.report.svg import BLUE, MUTED, ORANGE

LOW = 270.0  # height of the kernel figures, CSS pixels


def predictive_bands(observed: Floats, replicated: Floats) -> list[Mark]:
    """Mark observed values (bins,) over medians, 50 and 95 % bands of replicates (r, bins)."""
    at = np.arange(observed.size, dtype=np.float64)
    marks: list[Mark] = []
    for tail, opacity in ((0.025, 0.18), (0.25, 0.28)):
        low, high = np.quantile(replicated, [tail, 1 - tail], axis=0)
        label = f"{100 * (1 - 2 * tail):g} % predictive"
        marks.append(Boxes(at - 0.36, at + 0.36, low, high, BLUE, opacity, label=label))
    middle = np.median(replicated, axis=0)
    marks.append(Segments(at - 0.36, middle, at + 0.36, middle, BLUE, 1.6))
    marks.append(Points(at, observed, ORANGE, 6.6, label="observed"))
    return marks


def variance_figure(check: VarianceCheck, key: str) -> Markup:
    """Draw the observed mean squared contrast by eigenvalue over its predictive bands."""
    axes = Axes(
        predictive_bands(check.observed, check.replicated),
        Axis(
            "mean eigenvalue of the bin",
            ticks=[(k, plain(value, 2)) for k, value in enumerate(check.eigenvalue)],
            slanted=True,
        ),
        Axis("mean of contrast²", log=True),
        "Variance by eigenvalue",
        legend="inside",
    )
    return draw(
        [[axes]],
        key,
        "Mean squared error contrast in bins of the eigenvalue, observed points over the 50 and "
        f"95 percent posterior predictive bands; {check.outside()} of {check.size.size} lie "
        "outside the 95 percent band",
    )


def normal_figure(
    check: NormalCheck, key: str, what: str, title: str = "Normal quantiles"
) -> Markup:
    """Draw a normal Q-Q plot with its pointwise band."""
    ends = check.expected[[0, -1]]
    axes = Axes(
        [
            Area(check.expected, check.low, check.high, BLUE, 0.2),
            Line(ends, ends, BLUE, 1.3),
            Points(check.expected, check.observed, ORANGE, 3.5),
        ],
        Axis("normal quantile"),
        Axis(f"{what}, standardised"),
        title,
    )
    description = f"Quantile-quantile plot of {what} against the normal distribution"
    return draw([[axes]], key, description)


def spectrum_figure(eigenvalues: Floats, key: str, most: int = 300) -> Markup:
    """Draw the sorted positive eigenvalues on logarithmic axes."""
    s = np.sort(eigenvalues[eigenvalues > 0])[::-1]
    rank = np.unique(np.geomspace(1, max(s.size, 1), most).astype(int))
    marks: list[Mark] = [Level(MUTED, y=1.0, dash=DASHED)]
    if s.size:
        marks.append(Line(rank, s[rank - 1], BLUE, shape="circle", size=3.0))
    axes = Axes(
        marks,
        Axis("rank", log=s.size > 0),
        Axis("eigenvalue", log=s.size > 0),
        "Spectrum of the kernel",
    )
    largest = plain(float(s[0])) if s.size else "none"
    description = f"Eigenvalues of the kernel in descending order, the largest is {largest}"
    return draw([[axes]], key, description, height=LOW)


def relatedness_figure(found: Relatedness, key: str) -> Markup:
    """Draw histograms of the off-diagonal and diagonal entries of a relationship matrix."""
    pictures = (
        (found.diagonal_counts, found.diagonal_edges, ORANGE, "individuals (diagonal)"),
        (found.counts, found.edges, BLUE, "pairs (off the diagonal)"),
    )
    boxes = []
    for counts, edges, colour, label in pictures:
        some = counts > 0
        low, high, top = edges[:-1][some], edges[1:][some], counts[some].astype(np.float64)
        boxes.append(Boxes(low, high, 0.6, top, colour, 0.55, label=label))
    axes = Axes(
        boxes,
        Axis("relationship, on the scale analysed"),
        Axis("count", low=0.6, log=True),
        "Relatedness",
        legend="inside",
    )
    return draw(
        [[axes]],
        key,
        f"Histogram of {found.pairs} pairwise relationships and of the diagonal, "
        "logarithmic counts",
        height=LOW,
    )
