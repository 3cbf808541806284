"""One simulation: draw a truth and data, fit them, rank the truth among the posterior draws.

Simulation i takes its random numbers from the i-th child of the seed and keeps no state. So the
result does not depend on the order of the simulations, on the number of processes
(`bayeslmm.calibration.processes`), or on where a run was interrupted.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pymc as pm
from threadpoolctl import threadpool_limits

from bayeslmm.calibration.parts import Unit
from bayeslmm.calibration.problem import Problem
from bayeslmm.calibration.quantities import distinct, log_likelihood_at, quantities_at
from bayeslmm.calibration.truth import Truth, replace_phenotype, simulator
from bayeslmm.errors import BayesLMMWarning
from bayeslmm.inference.choose import choose_engine
from bayeslmm.inference.engine import Replicate, Sampler
from bayeslmm.inference.tree import Variables, chain_draw
from bayeslmm.models.file import ModelFile
from bayeslmm.numerics.arrays import Floats

PILOTS = 12  # truths that show which quantities vary and differ
PILOT = 2**31  # spawn key of the first, beyond all simulations


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """Everything that a process needs to build the model and to run simulations.

    Parameters
    ----------
    model
        A model, or a model file with its problem and priors.
    problem, priors
        Data and priors of a model file.
    engine
        Its name, or a function that draws (`bayeslmm.inference.engine.Replicate`).
    draws, seed
        Number of draws among which a truth is ranked; seed.
    """

    model: pm.Model | ModelFile
    problem: Problem | None
    priors: Mapping[str, str]
    engine: str | Sampler
    draws: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A model that is ready to be simulated and fitted.

    Parameters
    ----------
    setup, model
        Its setup; the built model.
    names
        (q,) the quantities.
    engine, reason
        The engine, and the reason for its choice.
    simulate, sample
        Functions that draw a truth and a posterior.
    """

    setup: Setup
    model: pm.Model
    names: tuple[str, ...]
    engine: str
    reason: str
    simulate: Callable[[np.random.SeedSequence], Truth] = field(repr=False)
    sample: Sampler = field(repr=False)


def build(setup: Setup) -> pm.Model:
    """The model."""
    if not isinstance(setup.model, ModelFile):
        return setup.model
    assert setup.problem is not None
    return setup.model.build(setup.problem.cohort, setup.problem.matrices, setup.priors)


def prepare(setup: Setup, model: pm.Model | None = None) -> Study:
    """Build the model, choose the engine, find the quantities.

    Raises
    ------
    BayesLMMError
        If the model cannot be built, its prior not drawn from, or the engine not used.
    """
    with threadpool_limits(limits=1):
        model = build(setup) if model is None else model
        if callable(setup.engine):
            name, reason, sample = "yours", "asked for", setup.engine
        else:
            chosen, reason = choose_engine(model, setup.engine)
            name, sample = chosen.name, chosen.replicate
        simulate = simulator(model)
        pilots = []
        for k in range(PILOTS):
            seed = np.random.SeedSequence(setup.seed, spawn_key=(PILOT + k,))
            truth = simulate(seed)
            replace_phenotype(model, truth.y)
            likelihood = log_likelihood_at(model, truth.variables)
            rng = np.random.default_rng(seed.spawn(1)[0])
            found = quantities_at(model, truth.variables, likelihood, rng, truth.pve)
            pilots.append(found)
        return Study(setup, model, tuple(distinct(pilots)), name, reason, simulate, sample)


def simulate_one(study: Study, index: int) -> Unit:
    """Run one simulation: draw a truth and data, fit them, rank the truth."""
    start = time.perf_counter()
    seeds = np.random.SeedSequence(study.setup.seed, spawn_key=(index,)).spawn(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesLMMWarning)  # problems are counted in the result
        truth = study.simulate(seeds[0])
        replace_phenotype(study.model, truth.y)
        drawn = study.sample(study.model, study.setup.draws, np.random.default_rng(seeds[1]))
        found = _compare(study, truth, drawn, np.random.default_rng(seeds[2]))
    u, z = ranked([found[name] for name in study.names], np.random.default_rng(seeds[3]))
    size = len(found[study.names[0]]) - 1
    seconds = round(time.perf_counter() - start, 4)
    return Unit(index, size, tuple(u.tolist()), tuple(z.tolist()), float(drawn.pareto_k),
                drawn.fell_back, drawn.problem, seconds)  # fmt: skip


def _compare(
    study: Study, truth: Truth, drawn: Replicate, rng: np.random.Generator
) -> dict[str, Floats]:
    """Compute the quantities (1 + draws,) of the truth, which is first, and of the draws."""
    draws = chain_draw(study.model, drawn.values, 1)
    joined: Variables = {
        name: (dims, np.concatenate([value, draws[name][1]], axis=1))
        for name, (dims, value) in truth.variables.items()
        if name in draws
    }
    own = drawn.log_likelihood
    if own is None:
        likelihood = log_likelihood_at(study.model, joined)
    else:
        likelihood = np.append(log_likelihood_at(study.model, truth.variables), own)
    return quantities_at(study.model, joined, likelihood, rng, truth.pve)


def ranked(columns: Iterable[Floats], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Compute the normalised rank u and z of the first value of each column among the others.

    u is nan if a value is nan or the truth is infinite, z also if a draw is infinite or all draws
    are equal.

    Ties are broken at random, and u is drawn uniformly within its rank. So a calibrated u is
    uniform on (0, 1) for any number of draws.
    """
    u, z = [], []
    for values in columns:
        truth, draws = values[0], values[1:]
        ties = int(np.count_nonzero(draws == truth))
        rank = np.count_nonzero(draws < truth) + rng.integers(0, ties + 1)
        known = np.isfinite(truth) and not np.isnan(draws).any()
        place = (rank + rng.random()) / (draws.size + 1)
        u.append(place if known else np.nan)
        finite = known and bool(np.isfinite(draws).all()) and draws.size > 1
        sd = float(draws.std(ddof=1)) if finite else 0.0
        z.append((truth - draws.mean()) / sd if sd > 0 else np.nan)
    return np.array(u), np.array(z)
