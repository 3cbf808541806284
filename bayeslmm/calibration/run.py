"""Simulations one by one or in processes: each has its own random numbers, and order is nothing.

Simulation i takes its random numbers from the i-th child of the seed and leaves nothing behind
that another could see, so that the result depends neither on the number of processes nor on where
a run stopped and went on. Every process builds the model once and computes with one thread.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait as wait_for

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pymc as pm
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayeslmm.calibration.fit import Drawn, Engine, Sampler, chain_of, sampler
from bayeslmm.calibration.parts import Unit
from bayeslmm.calibration.problem import Problem
from bayeslmm.calibration.quantities import distinct, log_likelihood_at, quantities_at
from bayeslmm.calibration.truth import Truth, exchange, simulator
from bayeslmm.engines.choose import choose_engine
from bayeslmm.engines.tree import Variables
from bayeslmm.errors import BayesLMMError, BayesLMMWarning, ModelError
from bayeslmm.models import ModelFile

type Floats = NDArray[np.float64]

PILOTS = 12  # truths that tell which quantities vary and differ
PILOT = 2**31  # spawn key of the first, far from the simulations'
AHEAD = 3  # simulations in work or waiting, a process


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """What a process needs to know.

    Parameters
    ----------
    model
        A model, or a model file with its problem and priors.
    problem, priors
        For a model file.
    engine
        Its name, or a function that draws (`bayeslmm.calibration.fit.Drawn`).
    draws, seed
        Draws that a truth is ranked among; seed.
    """

    model: pm.Model | ModelFile
    problem: Problem | None
    priors: Mapping[str, str]
    engine: Engine | Sampler
    draws: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A model that is ready to be simulated and fitted.

    Parameters
    ----------
    setup, model
        What it was made from; the model, built.
    names
        (q,) the quantities.
    engine, reason
        The engine, and why it.
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
        A model that cannot be built, drawn from, or served by the engine.
    """
    with threadpool_limits(limits=1):
        model = build(setup) if model is None else model
        if callable(setup.engine):
            name, reason, sample = "yours", "asked for", setup.engine
        else:
            chosen, reason = choose_engine(model, setup.engine)
            name, sample = chosen, sampler(chosen)
        simulate = simulator(model)
        pilots = []
        for k in range(PILOTS):
            seed = np.random.SeedSequence(setup.seed, spawn_key=(PILOT + k,))
            truth = simulate(seed)
            exchange(model, truth.y)
            likelihood = log_likelihood_at(model, truth.variables)
            rng = np.random.default_rng(seed.spawn(1)[0])
            found = quantities_at(model, truth.variables, likelihood, rng, truth.pve)
            pilots.append(found)
        return Study(setup, model, tuple(distinct(pilots)), name, reason, simulate, sample)


def simulate_one(study: Study, index: int) -> Unit:
    """One simulation: a truth, a posterior, ranks."""
    start = time.perf_counter()
    seeds = np.random.SeedSequence(study.setup.seed, spawn_key=(index,)).spawn(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesLMMWarning)  # what they say is kept and counted
        truth = study.simulate(seeds[0])
        exchange(study.model, truth.y)
        drawn = study.sample(study.model, study.setup.draws, np.random.default_rng(seeds[1]))
        found = _compare(study, truth, drawn, np.random.default_rng(seeds[2]))
    u, z = ranked([found[name] for name in study.names], np.random.default_rng(seeds[3]))
    size = len(found[study.names[0]]) - 1
    seconds = round(time.perf_counter() - start, 4)
    return Unit(index, size, tuple(u.tolist()), tuple(z.tolist()), float(drawn.pareto_k),
                drawn.fell_back, drawn.problem, seconds)  # fmt: skip


def _compare(
    study: Study, truth: Truth, drawn: Drawn, rng: np.random.Generator
) -> dict[str, Floats]:
    """Quantities (1 + draws,): the truth first."""
    draws = chain_of(study.model, drawn)
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
    """Normalised rank u and z of the first value of every column among the others.

    Ties are broken at random; within its rank u is uniform, so that it is uniform on (0, 1)
    whatever the number of draws.
    """
    u, z = [], []
    for values in columns:
        truth, draws = values[0], values[1:]
        ties = int(np.count_nonzero(draws == truth))
        rank = np.count_nonzero(draws < truth) + rng.integers(0, ties + 1)
        known = np.isfinite(truth) and not np.isnan(draws).any()
        place = (rank + rng.random()) / (draws.size + 1)
        u.append(place if known else np.nan)
        sd = float(draws.std(ddof=1)) if draws.size > 1 else 0.0
        ok = known and np.isfinite(sd) and sd > 0
        z.append((truth - draws.mean()) / sd if ok else np.nan)
    return np.array(u), np.array(z)


_STUDY: Study | None = None  # of a process of the pool


def run_units(
    study: Study, indices: Iterable[int], workers: int, done: Callable[[Unit], None]
) -> None:
    """Run simulations; `done` gets each when it is there, in whatever order.

    Raises
    ------
    ModelError
        A process that died, for instance because the memory was full.
    """
    waiting = list(indices)
    if workers <= 1 or len(waiting) <= 1:
        with threadpool_limits(limits=1):
            for index in waiting:
                done(simulate_one(study, index))
        return
    payload = _payload(study.setup)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(workers, len(waiting)), context, initializer=_start, initargs=(payload,)
    )
    try:
        running: set[Future[Unit]] = set()
        while waiting or running:
            while waiting and len(running) < AHEAD * workers:
                running.add(pool.submit(_one, waiting.pop(0)))
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                done(future.result())
    except BrokenProcessPool as error:
        raise ModelError(
            "a process ended unexpectedly -> enough memory for every process -> use fewer "
            "--threads; run the same command again: the simulations so far are kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _payload(setup: Setup) -> bytes:
    try:
        return bytes(cloudpickle.dumps(setup))
    except Exception as error:
        raise ModelError(
            f"the model cannot be sent to other processes ({type(error).__name__}: {error}) -> "
            "workers=1, or a model file"
        ) from error


def _start(payload: bytes) -> None:
    global _STUDY
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(limits=1)  # for good
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesLMMWarning)
        _STUDY = prepare(cloudpickle.loads(payload))


def _end_with_parent() -> None:
    """A parent that is killed cannot end its processes: they end themselves."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _one(index: int) -> Unit:
    assert _STUDY is not None
    try:
        return simulate_one(_STUDY, index)
    except BayesLMMError:
        raise
    except Exception as error:  # an exception that cannot be pickled would break the pool
        raise ModelError(f"simulation {index}: {type(error).__name__}: {error}") from None
