"""Fast start: imports without garbage collection."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

GRM = ("numba", "pandas")
# ArviZ comes first, because its loader searches the source of all modules loaded before.
FIT = ("arviz_base", "arviz_stats", "numba", "pymc")


@contextmanager
def importing() -> Iterator[None]:
    """Disable garbage collection in the block, and exclude its modules from later collections.

    Modules live as long as the process, so that searching them for garbage is useless.
    """
    collecting, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if collecting:
            gc.enable()


def import_libraries(names: tuple[str, ...]) -> None:
    """Import libraries by name; those already imported cost nothing.

    At its exit the process is not searched for garbage either, which saves 0.1 s.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    with importing():
        for name in names:
            import_module(name)
