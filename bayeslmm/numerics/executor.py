"""Run a function at many arguments, some at a time; results come in the order of the arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from bayeslmm.numerics.threads import one_thread


def run[A, T](function: Callable[[A], T], arguments: Sequence[A], workers: int = 1) -> list[T]:
    """Return ``[function(a) for a in arguments]``, by threads with one BLAS thread each."""
    with one_thread():
        if workers <= 1 or len(arguments) < 2:
            return [function(argument) for argument in arguments]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(function, arguments))
