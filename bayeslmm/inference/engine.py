"""What an engine is: why it cannot serve a model, draws for a fit, and draws for calibration.

An engine is a file with an `Engine` in it, and a place in `bayeslmm.inference.engines.ENGINES`.
`fit`, calibration, comparison, report and command line loop over that tuple and know no engine by
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
    """What a fit asks of an engine.

    Parameters
    ----------
    draws, chains
        Draws over all chains, a multiple of the number of chains.
    rng
        Source of randomness.
    seed
        For samplers with random numbers of their own.
    tune, cores, progress
        Warm-up draws of a Markov chain, evaluations or chains at a time, progress bar.
    checkpoint
        Where parts that are done are kept; None: nowhere.
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
    """What the tree needs of an engine.

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
        What the engine did beyond its name, in words that follow the reason of its choice.
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
        (draws, ...) of every variable of the model by name.
    log_likelihood
        (draws,) log p(y | θ), as the engine says; None: to be computed.
    pareto_k
        k̂ of the importance weights; 0 where there are none.
    fell_back
        Did importance sampling fail, so that the draws come from NUTS?
    problem
        Why the fit counts as failed; None if it does not.
    """

    values: dict[str, Any]
    log_likelihood: Floats | None = None
    pareto_k: float = 0.0
    fell_back: bool = False
    problem: str | None = None


type Sampler = Callable[[pm.Model, int, np.random.Generator], Replicate]


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """One way to a posterior.

    Parameters
    ----------
    name
        What users call it.
    serves
        Which models, in words.
    why_not
        The reason why it cannot serve a model; None if it can.
    draw
        Draws for a fit.
    replicate
        ``(model, draws, rng) → Replicate``: draws of one simulated data set, for calibration.
    threads
        Does it bring threads of its own? Otherwise BLAS is limited to one.
    """

    name: str
    serves: str
    why_not: Callable[[pm.Model], str | None]
    draw: Callable[[pm.Model, Request], Drawn]
    replicate: Sampler
    threads: bool = False


def joint(log_prior: Variables, log_likelihood: Variables) -> Floats:
    """log p(y, parameters) of every draw (chain, draw)."""
    parts = [total(value) for _, value in (*log_prior.values(), *log_likelihood.values())]
    return np.asarray(np.sum(parts, axis=0))


def total(value: Floats) -> Floats:
    """Sum over all but (chain, draw)."""
    return np.asarray(value).reshape(*value.shape[:2], -1).sum(axis=-1)
