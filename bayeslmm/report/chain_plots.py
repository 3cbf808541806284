"""Trace and rank plots of chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import binom, rankdata

from bayeslmm.inference.quantities import quantities
from bayeslmm.numerics.arrays import Floats
from bayeslmm.report import svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayeslmm.report.facts import Facts


SHOWN = {"h2": "h²", "sigma2_u": "σ²ᵤ", "sigma2_e": "σ²ₑ"}
MOST = 6  # quantities shown
LONGEST = 400  # points of a chain that a trace shows


def chain_figure(facts: Facts, key: str) -> Markup:
    """A row for each of a few quantities: the traces of the chains and the ranks of their draws."""
    shown = shown_draws(facts)
    with svg.style():
        figure = svg.new_figure(svg.FULL, 0.35 + 1.75 * len(shown))
        grid = figure.subplots(len(shown), 2, squeeze=False, width_ratios=(5, 4))
        for (left, right), (name, draws) in zip(grid, shown.items(), strict=True):
            _trace(left, draws)
            left.set_ylabel(svg.short(name, 22))
            _ranks(right, draws)
        grid[0, 0].set_title("Trace")
        grid[0, 1].set_title("Ranks, draws per bin")
        grid[-1, 0].set_xlabel("draw")
        grid[-1, 1].set_xlabel("rank among the draws of all chains, in %")
        names = ", ".join(svg.clean(name) for name in shown)
        return svg.inline(figure, key, f"Trace and rank plots of {names} by chain")


def shown_draws(facts: Facts, most: int = MOST) -> dict[str, Floats]:
    """What is drawn, by label: h², σ²ᵤ and σ²ₑ of one kernel.

    Of several components or traits every h² and then, up to `most` in all, the correlations and
    the shares that have mixed worst.
    """
    posterior = facts.tree["posterior"].to_dataset()
    if len(facts.components) == 2:
        return {label: facts.draws(name) for name, label in SHOWN.items() if name in posterior}
    found = quantities(posterior)
    first = list(facts.h2_rows.values())[:most]
    rest = [
        *facts.rows("r_g["),
        *facts.rows("r_e["),
        *([] if facts.traits else facts.rows("share[")),
    ]
    rest = sorted(rest, key=lambda name: -np.nan_to_num(facts.number(name, "r_hat"), nan=1.0))
    return {
        name.replace("h2", "h²"): found[name]
        for name in [*first, *rest][:most]
        if np.ptp(found[name]) > 0
    }


def _trace(axes: Axes, draws: Floats) -> None:
    step = max(1, -(-draws.shape[1] // LONGEST))
    at = np.arange(0, draws.shape[1], step)
    for chain, values in enumerate(draws):
        axes.plot(at, values[::step], color=_colour(chain), linewidth=0.6, alpha=0.75)
    axes.set_xlim(0, draws.shape[1] - 1)
    svg.finish(axes)


def rank_counts(draws: Floats, bins: int = 20) -> NDArray[np.int64]:
    """How many draws of each chain have a rank, among all of them, in each bin: (chains, bins)."""
    ranks = rankdata(draws.ravel()).reshape(draws.shape)
    edges = np.linspace(0.5, draws.size + 0.5, bins + 1)
    return np.stack([np.histogram(chain, edges)[0] for chain in ranks]).astype(np.int64)


def _ranks(axes: Axes, draws: Floats) -> None:
    counts = rank_counts(draws)
    bins = counts.shape[1]
    low, high = (float(binom.ppf(q, draws.shape[1], 1 / bins)) for q in (0.025, 0.975))
    axes.axhspan(low, high, color=svg.RULE, alpha=0.6, linewidth=0)
    edges = np.linspace(0, 100, bins + 1)
    for chain, row in enumerate(counts):
        axes.stairs(row, edges, baseline=None, color=_colour(chain), linewidth=1.2)
    axes.set_ylim(0, 1.15 * max(float(counts.max()), high))
    axes.set_xlim(0, 100)
    svg.finish(axes)


def _colour(chain: int) -> str:
    return svg.CHAINS[chain % len(svg.CHAINS)]
