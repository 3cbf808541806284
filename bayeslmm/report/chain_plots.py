"""Trace and rank plots of chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import binom, rankdata

from bayeslmm.inference.quantities import quantities
from bayeslmm.numerics.arrays import Floats
from bayeslmm.report.drawing import FULL, Axes, Axis, Band, Line, draw
from bayeslmm.report.svg import CHAINS, RULE, clean, short

if TYPE_CHECKING:
    from bayeslmm.report.facts import Facts


SHOWN = {"h2": "h²", "sigma2_u": "σ²ᵤ", "sigma2_e": "σ²ₑ"}
MOST = 6  # largest number of quantities shown
LONGEST = 400  # largest number of points of a trace


def chain_figure(facts: Facts, key: str) -> Markup:
    """Draw the traces and rank histograms of the chains, a row for each of a few quantities."""
    shown = shown_draws(facts)
    last = len(shown) - 1
    grid = [
        [_trace(name, draws, first=k == 0, last=k == last), _ranks(draws, k == 0, k == last)]
        for k, (name, draws) in enumerate(shown.items())
    ]
    names = ", ".join(clean(name) for name in shown)
    description = f"Trace and rank plots of {names} by chain"
    return draw(grid, key, description, width=FULL, height=34 + 168 * len(shown), ratios=(5, 4))


def shown_draws(facts: Facts, most: int = MOST) -> dict[str, Floats]:
    """Choose the draws to show, by label: h², σ²ᵤ and σ²ₑ with one kernel.

    With several components or traits these are every h² and then, up to `most` in all, the
    correlations and the shares with the worst mixing.
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


def _trace(name: str, draws: Floats, *, first: bool, last: bool) -> Axes:
    step = max(1, -(-draws.shape[1] // LONGEST))
    at = np.arange(0, draws.shape[1], step)
    return Axes(
        [Line(at, chain[::step], _colour(k), 0.8, opacity=0.75) for k, chain in enumerate(draws)],
        Axis("draw" if last else "", 0.0, draws.shape[1] - 1.0),
        Axis(short(name, 22)),
        "Trace" if first else "",
    )


def rank_counts(draws: Floats, bins: int = 20) -> NDArray[np.int64]:
    """Count the draws of each chain by bins of their rank among all draws: (chains, bins)."""
    ranks = rankdata(draws.ravel()).reshape(draws.shape)
    edges = np.linspace(0.5, draws.size + 0.5, bins + 1)
    return np.stack([np.histogram(chain, edges)[0] for chain in ranks]).astype(np.int64)


def _ranks(draws: Floats, first: bool, last: bool) -> Axes:
    counts = rank_counts(draws)
    bins = counts.shape[1]
    low, high = (float(binom.ppf(q, draws.shape[1], 1 / bins)) for q in (0.025, 0.975))
    edges = np.repeat(np.linspace(0, 100, bins + 1), 2)[1:-1]
    return Axes(
        [
            Band(low, high, RULE, 0.6),
            *(Line(edges, np.repeat(row, 2), _colour(k), 1.6) for k, row in enumerate(counts)),
        ],
        Axis("rank among the draws of all chains, in %" if last else "", 0.0, 100.0),
        Axis(low=0.0, high=1.15 * max(float(counts.max()), high)),
        "Ranks, draws per bin" if first else "",
    )


def _colour(chain: int) -> str:
    return CHAINS[chain % len(CHAINS)]
