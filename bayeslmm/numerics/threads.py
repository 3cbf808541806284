"""How many threads BLAS and OpenMP use, and large jobs cut into pieces that threads share.

A sum over threads is a sum in another order. The same seed gives the same bits with the same number
of threads (on one machine, with one BLAS); results with another number agree to rounding.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

STATUS = Path("/proc/self/status")
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS and OpenMP to one thread, in a `with` or as a decorator.

    The limit applies to the process: if several Python threads are inside at once, the first one
    to leave removes it for all. To fit models in threads, set OPENBLAS_NUM_THREADS=1. A library
    loaded inside is limited from the next call on.
    """
    with _libraries().limit(limits=1):
        yield


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Limit BLAS and OpenMP to a number of threads, in libraries that are loaded inside as well.

    For a whole command: it sets environment variables, which other threads may be reading.
    """
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    try:
        with _libraries().limit(limits=threads):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def sharing(threads: int | None = None) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give a `map` whose calls threads share, BLAS with one thread in each; results in order.

    Pieces that depend on the size of the job alone give the same bits with any number of threads.

    Parameters
    ----------
    threads
        Number of threads; default: as many as BLAS may use.
    """
    count = blas_threads() if threads is None else threads
    with one_thread(), ThreadPoolExecutor(count) as pool:
        yield pool.map


def ahead[T, R](
    function: Callable[[T], R], pieces: Iterable[T], *, threads: int = 2
) -> Iterator[R]:
    """Yield the results of `function` in order, each computed while the one before is used.

    Parameters
    ----------
    function
        Called for one piece at a time, in their order, in a thread of its own.
    pieces
        Its arguments.
    threads
        With one thread every result is computed when it is asked for.
    """
    if threads < 2:
        yield from map(function, pieces)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = deque[Future[R]]()
        for piece in pieces:
            waiting.append(pool.submit(function, piece))
            if len(waiting) == 2:
                yield waiting.popleft().result()
        for last in waiting:
            yield last.result()


def blas_threads() -> int:
    """Return how many threads BLAS may use: OPENBLAS_NUM_THREADS, a limit in force, or all cores.

    The smallest number of the libraries that have threads, since a limit does not reach a library
    that is loaded later.
    """
    blas = _libraries().select(user_api="blas").lib_controllers
    threaded = [one for one in blas if getattr(one, "threading_layer", "") != "disabled"]
    return min((int(one.num_threads) for one in threaded), default=1)


def _libraries() -> ThreadpoolController:
    """Return the BLAS and OpenMP libraries of the process, those loaded since included."""
    return _look(_loaded())


@lru_cache(maxsize=1)
def _look(loaded: int) -> ThreadpoolController:
    """Look for the libraries, which takes milliseconds: only if others are `_loaded` by now."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _loaded() -> int:
    """Return a number that changes when the process loads a library, in 0.04 ms.

    The kB of shared libraries in memory; where the system has no /proc, the number of modules of
    Python, among them PyTensor's compiled ones. PyTensor's first one may load another BLAS.
    """
    try:
        status = STATUS.read_bytes()
        return int(status.partition(b"VmLib:")[2].split(maxsplit=1)[0])
    except (OSError, IndexError, ValueError):
        return len(sys.modules)
