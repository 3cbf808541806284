"""One BLAS thread where the last bit of a number must not depend on how many there are.

Sums over threads are sums in another order. The exact and the Laplace engine, the rotation of a
phenotype and the eigendecomposition of up to `SERIAL` records run in one thread each, so the same
seed gives the same bits whatever the number of threads (on one machine, with one BLAS).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

SERIAL = 4000  # up to so many records one thread decomposes a kernel: about 10 s


@contextmanager
def one_thread(only_if: bool = True) -> Iterator[None]:
    """Limit BLAS and OpenMP to one thread, unless `only_if` is false."""
    if not only_if:
        yield
        return
    with _libraries().limit(limits=1):
        yield


@cache
def _libraries() -> ThreadpoolController:
    """The BLAS and OpenMP libraries of the process; to look for them takes 10 ms."""
    import scipy.linalg  # noqa: F401 (only what is loaded can be limited)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
