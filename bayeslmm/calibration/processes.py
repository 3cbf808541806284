"""Simulations in several processes; each builds the model once and uses one thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for

import cloudpickle  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits

from bayeslmm.calibration.parts import Unit
from bayeslmm.calibration.run import Setup, Study, prepare, simulate_one
from bayeslmm.errors import BayesLMMError, BayesLMMWarning, ModelError

AHEAD = 3  # simulations running or queued per process

_STUDY: Study | None = None  # of a process of the pool


def run_units(
    study: Study, indices: Iterable[int], workers: int, done: Callable[[Unit], None]
) -> None:
    """Run simulations and call `done` with each result, in any order.

    Raises
    ------
    ModelError
        If a process dies, for instance for lack of memory.
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
    """Exit when the parent process is gone: a killed parent cannot end its children."""
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
