"""The same bits whatever the number of threads.

Sums over threads are sums in another order, so BLAS with two threads differs from BLAS with one in
the last bits. Here every product is computed by one BLAS thread, and large jobs are cut into pieces
that depend on their size alone, which threads of Python then share: the same seed gives the same
bits with any number of them (on one machine, with one BLAS).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS and OpenMP to one thread, in a `with` or as a decorator.

    The limit is that of the process: where several threads of Python come here at once, the first
    to leave lifts it for all. Who fits in threads sets OPENBLAS_NUM_THREADS=1 for the same bits.
    """
    with _libraries().limit(limits=1):
        yield


@contextmanager
def sharing(threads: int | None = None) -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map` whose calls threads share, BLAS with one thread in each; results in their order.

    Parameters
    ----------
    threads
        How many; default: as many as BLAS may use.
    """
    count = blas_threads() if threads is None else threads
    with one_thread(), ThreadPoolExecutor(count) as pool:
        yield pool.map


def blas_threads() -> int:
    """Threads that BLAS may use: OPENBLAS_NUM_THREADS, a limit in force, or all cores."""
    blas = _libraries().select(user_api="blas").lib_controllers
    return max((int(library.num_threads) for library in blas), default=1)


@cache
def _libraries() -> ThreadpoolController:
    """The BLAS and OpenMP libraries of the process; to look for them takes 10 ms."""
    import scipy.linalg  # noqa: F401 (only what is loaded can be limited)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
