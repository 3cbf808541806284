"""Start fast: what a command imports is made without collecting garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

GRM = ("numba", "scipy.linalg", "pandas")
# ArviZ comes first: its loader searches the source of all modules that there are by then.
FIT = ("arviz_base", "arviz_stats", "numba", "pymc")


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage within the block, and leave the modules made in it out of collections.

    Modules live as long as the process, so that searching them for garbage is in vain.
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
    """Import libraries by name; what is imported already costs nothing."""
    with importing():
        for name in names:
            import_module(name)
