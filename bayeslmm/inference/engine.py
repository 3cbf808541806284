"""Interface of an engine: models it supports, draws for a fit, and draws for calibration.

An engine is a file that defines an `Engine`, listed in `bayeslmm.inference.engines.ENGINES`. `fit`,
calibration, comparison, report and command line loop over that tuple and refer to no engine by
name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
import xarray as xr

from bayeslmm.inference.tree import Variables
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.inference.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Request of a fit to an engine.

    Parameters
    ----------
    draws, chains
        Number of draws over all chains, a multiple of the number of chains.
    rng
        Source of randomness.
    seed
        Seed for samplers with their own random numbers.
    tune, cores, progress
        Warm-up draws of a Markov chain, concurrent evaluations or chains, progress bar.
    checkpoint
        Store of completed parts; None for no storage.
    """

    draws: int
    chains: int
    rng: np.random.Generator
    seed: int
    tune: int = 1000
    cores: int | None = None
    progress: bool = False
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Result of an engine for the tree of a fit.

    Parameters
    ----------
    variables
        Draws (chain, draw, ...) of every free and deterministic variable.
    log_prior, log_likelihood
        Log densities of every free variable, and of the records, at the draws.
    sample_stats
        Statistics of the draws, ``lp`` = log p(y, parameters) among them.
    groups
        Further groups of the tree by name.
    step
        Text on the steps of the engine, to follow the reason of its choice.
    """

    variables: Variables
    log_prior: Variables
    log_likelihood: Variables
    sample_stats: xr.Dataset
    groups: dict[str, xr.Dataset] = field(default_factory=dict)
    step: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Replicate:
    """Near-independent draws of a posterior, for calibration.

    Parameters
    ----------
    values
        Draws (draws, ...) of every variable of the model by name.
    log_likelihood
        log p(y | θ) (draws,) from the engine; None if it has to be computed.
    pareto_k
        k̂ of the importance weights; 0 without importance sampling.
    fell_back
        Whether the draws come from NUTS, because importance sampling failed.
    problem
        Why the fit failed; None if it did not.
    """

    values: dict[str, Any]
    log_likelihood: Floats | None = None
    pareto_k: float = 0.0
    fell_back: bool = False
    problem: str | None = None


type Sampler = Callable[[pm.Model, int, np.random.Generator], Replicate]


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """A method to draw from posteriors.

    Parameters
    ----------
    name
        Name of the engine for users.
    serves
        The models it supports, in words.
    why_not
        Function that returns why it does not support a model; None if it does.
    draw
        Function that draws for a fit.
    replicate
        ``(model, draws, rng) → Replicate``: draws of one simulated data set, for calibration.
    threads
        Whether it starts its own threads; otherwise BLAS is limited to one.
    """

    name: str
    serves: str
    why_not: Callable[[pm.Model], str | None]
    draw: Callable[[pm.Model, Request], Drawn]
    replicate: Sampler
    threads: bool = False


def joint(log_prior: Variables, log_likelihood: Variables) -> Floats:
    """Compute log p(y, parameters) of every draw (chain, draw)."""
    parts = [total(value) for _, value in (*log_prior.values(), *log_likelihood.values())]
    return np.asarray(np.sum(parts, axis=0))


def total(value: Floats) -> Floats:
    """Sum over all but (chain, draw)."""
    return np.asarray(value).reshape(*value.shape[:2], -1).sum(axis=-1)
