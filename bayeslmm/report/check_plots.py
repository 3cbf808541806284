"""Plots of the posterior predictive checks, and of the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from bayeslmm.checks.predictive import NormalCheck, VarianceCheck
from bayeslmm.numerics.arrays import Floats
from bayeslmm.report import svg
from bayeslmm.report.numbers import plain
from bayeslmm.report.relatedness import Relatedness

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def predictive_bands(axes: Axes, observed: Floats, replicated: Floats) -> None:
    """Observed points (bins,) on medians, 50 and 95 % bands of replicated ones (r, bins)."""
    at = np.arange(observed.size)
    for tail, alpha in ((0.025, 0.18), (0.25, 0.28)):
        low, high = np.quantile(replicated, [tail, 1 - tail], axis=0)
        axes.bar(
            *(at, high - low, 0.72, low),
            color=svg.BLUE,
            alpha=alpha,
            linewidth=0,
            label=f"{100 * (1 - 2 * tail):g} % predictive",
        )
    middle = np.median(replicated, axis=0)
    axes.hlines(middle, at - 0.36, at + 0.36, color=svg.BLUE, linewidth=1.2)
    axes.plot(at, observed, "o", color=svg.ORANGE, markersize=5, label="observed")


def variance_figure(check: VarianceCheck, key: str) -> Markup:
    """Observed mean squared contrast by eigenvalue, on its predictive bands."""
    at = np.arange(check.size.size)
    with svg.style():
        figure = svg.new_figure(svg.HALF, 3.1)
        axes = figure.subplots()
        predictive_bands(axes, check.observed, check.replicated)
        axes.set_yscale("log")
        svg.log_ticks(axes, "y", (1.0, 2.0, 5.0))
        axes.set_xticks(at, [plain(value, 2) for value in check.eigenvalue], rotation=45)
        axes.set_xlabel("mean eigenvalue of the bin")
        axes.set_ylabel("mean of contrast²")
        axes.set_title("Variance by eigenvalue")
        axes.legend(loc="upper left", handlelength=1.2)
        svg.finish(axes)
        return svg.inline(
            figure,
            key,
            "Mean squared error contrast in bins of the eigenvalue, observed points on the 50 and "
            f"95 percent posterior predictive bands; {check.outside()} of {at.size} lie outside "
            "the wide one",
        )


def normal_figure(
    check: NormalCheck, key: str, what: str, title: str = "Normal quantiles"
) -> Markup:
    """Quantile-quantile plot against the normal distribution with its pointwise band."""
    with svg.style():
        figure = svg.new_figure(svg.HALF, 3.1)
        axes = figure.subplots()
        axes.fill_between(
            check.expected, check.low, check.high, color=svg.BLUE, alpha=0.2, linewidth=0
        )
        ends = [float(check.expected[0]), float(check.expected[-1])]
        axes.plot(ends, ends, color=svg.BLUE, linewidth=1.0)
        axes.plot(check.expected, check.observed, "o", color=svg.ORANGE, markersize=2.6)
        axes.set_xlabel("normal quantile")
        axes.set_ylabel(f"{what}, standardised")
        axes.set_title(title)
        svg.finish(axes)
        return svg.inline(
            figure, key, f"Quantile-quantile plot of {what} against the normal distribution"
        )


def spectrum_figure(eigenvalues: Floats, key: str, most: int = 300) -> Markup:
    """Sorted eigenvalues on logarithmic axes; zeros are left out."""
    s = np.sort(eigenvalues[eigenvalues > 0])[::-1]
    rank = np.unique(np.geomspace(1, max(s.size, 1), most).astype(int))
    with svg.style():
        figure = svg.new_figure(svg.HALF, 2.8)
        axes = figure.subplots()
        if s.size:
            axes.loglog(rank, s[rank - 1], color=svg.BLUE, marker="o", markersize=2.2)
            svg.log_ticks(axes, "x")
            svg.log_ticks(axes, "y")
        axes.axhline(1.0, color=svg.MUTED, linewidth=0.8, linestyle=(0, (4, 2)))
        axes.set_xlabel("rank")
        axes.set_ylabel("eigenvalue")
        axes.set_title("Spectrum of the kernel")
        svg.finish(axes)
        largest = plain(float(s[0])) if s.size else "none"
        return svg.inline(
            figure, key, f"Eigenvalues of the kernel in falling order, the largest is {largest}"
        )


def relatedness_figure(found: Relatedness, key: str) -> Markup:
    """Histograms of the entries off and on the diagonal of a relationship matrix."""
    with svg.style():
        figure = svg.new_figure(svg.HALF, 2.8)
        axes = figure.subplots()
        pictures = (
            (found.diagonal_counts, found.diagonal_edges, svg.ORANGE, "individuals (diagonal)"),
            (found.counts, found.edges, svg.BLUE, "pairs (off the diagonal)"),
        )
        for counts, edges, colour, label in pictures:
            axes.stairs(
                np.maximum(counts, 0.5), edges, fill=True, baseline=0.5, color=colour, alpha=0.55
            )
            axes.plot([], [], color=colour, linewidth=5, alpha=0.55, label=label)
        axes.set_yscale("log")
        svg.log_ticks(axes, "y")
        axes.set_ylim(bottom=0.6)
        axes.set_xlabel("relationship, on the scale analysed")
        axes.set_ylabel("count")
        axes.set_title("Relatedness")
        axes.legend(loc="upper right", handlelength=1.0)
        svg.finish(axes)
        return svg.inline(
            figure,
            key,
            f"Histogram of {found.pairs} pairwise relationships and of the diagonal, "
            "logarithmic counts",
        )
