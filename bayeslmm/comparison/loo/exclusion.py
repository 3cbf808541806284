"""Scores of what is left out: importance weights, then bad blocks by their own posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayeslmm.comparison.loo.model import Fitted, fitted
from bayeslmm.comparison.loo.refit import redo
from bayeslmm.comparison.loo.weights import Scores, good_k, psis
from bayeslmm.distributions.phenotype import marginal_of
from bayeslmm.errors import warn_user
from bayeslmm.likelihood.blocks import Blocks
from bayeslmm.numerics.arrays import Floats
from bayeslmm.system.memory import require_memory

if TYPE_CHECKING:
    import pymc as pm


THINNED = 1000  # draws of several kernels or of groups
COPIES = 12  # arrays of a number for each draw and record, at the peak


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Scores of all blocks, corrected.

    Parameters
    ----------
    scores
        Of every block.
    first_k
        k̂ of every block before correction.
    method
        How each was found: "psis", "importance" or "refit".
    mcse
        Monte Carlo standard error of Σ elpd; that the blocks share their draws is counted.
    unresolved
        Labels of the blocks whose k̂ stayed bad.
    limit
        k̂ above which it is bad.
    """

    scores: Scores
    first_k: Floats
    method: NDArray[Any]
    mcse: float
    unresolved: tuple[str, ...]
    limit: float


def prepared(
    tree: xr.DataTree, model: pm.Model, blocks: Blocks, draws: int | None, cores: int | None
) -> Fitted:
    """The fitted model with its draws: all of them where a draw is cheap, else 1000 by default."""
    marginal = marginal_of(model)
    cheap = marginal is not None and marginal.complete
    all_of_them = draws is None and cheap and blocks.single
    if draws is None and not all_of_them:
        draws = THINNED
    return fitted(model, tree, draws, cores)


def leave_out(data: Fitted, blocks: Blocks, labels: list[str], refit: int, seed: int) -> Found:
    """Scores by PSIS, then those of bad k̂ from their own posterior."""
    size = data.draws * len(blocks.records)
    require_memory(
        COPIES * 8 * size, f"leave-one-out with {data.draws} draws", "use fewer draws: draws=1000"
    )
    found = data.conditionals(blocks)
    one, _ = psis(found, blocks, data.y)
    one.mcse[:] /= np.sqrt(data.efficiency)
    limit, first_k = good_k(data.draws), one.k.copy()
    method = np.full(one.elpd.size, "psis", dtype="<U10")
    bad = np.flatnonzero(one.k > limit)
    bad = bad[np.argsort(-one.k[bad], kind="stable")]
    streams = np.random.SeedSequence(seed).spawn(len(bad))
    for g, stream in zip(bad[: max(refit, 0)], streams, strict=False):
        done = redo(data, blocks.members[g], found.log_density[:, g], stream)
        if done is not None:
            _replace(one, g, blocks, done.scores)
            method[g] = done.method
    left = tuple(labels[g] for g in np.flatnonzero(one.k > limit))
    if left:
        some = ", ".join(left[:5]) + ", ..." * (len(left) > 5)
        warn_user(
            f"leave-one-out: k̂ is above {limit:.2f} for {len(left)} of {len(labels)} ({some}); "
            f"their elpd cannot be trusted, most likely it is too high. Raise refit= (now {refit})"
        )
    shared = one.influence[:, method == "psis"].sum(axis=1)
    own = one.mcse[method != "psis"]
    mcse = float(np.sqrt((shared**2).sum() / data.efficiency + (own**2).sum()))
    return Found(one, first_k, method, mcse, left, limit)


def _replace(one: Scores, g: int, blocks: Blocks, new: Scores) -> None:
    """Put the scores of a block that was redone in the place of the old ones."""
    here = slice(blocks.starts[g], blocks.starts[g + 1])
    one.p[g] += one.elpd[g] - new.elpd[0]
    one.elpd[g], one.k[g], one.mcse[g] = new.elpd[0], new.k[0], new.mcse[0]
    for name in ("records", "pit", "mean", "sd"):
        getattr(one, name)[here] = getattr(new, name)
