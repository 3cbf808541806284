"""Import what a fit needs, as fast as it goes."""

from __future__ import annotations

import gc
import sys


def import_libraries() -> None:
    """Import the libraries that every fit needs, if that has not been done.

    Modules live as long as the process, so nothing is collected while they are made and their
    objects are left out of later collections. ArviZ comes first: its loader searches the source of
    all modules that there are by then.
    """
    if "pymc" in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        import arviz_base  # noqa: F401
        import arviz_stats  # noqa: F401
        import numba  # noqa: F401
        import pymc  # noqa: F401
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
