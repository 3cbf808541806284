"""Warnings that point at the user's line, however deep in the package they arise."""

from __future__ import annotations

import warnings
from pathlib import Path

from bayeslmm.errors import BayesLMMWarning

_PACKAGE = str(Path(__file__).parent)


def caution(message: str) -> None:
    """Warn with a `BayesLMMWarning` located at the first caller outside the package."""
    warnings.warn(message, BayesLMMWarning, skip_file_prefixes=(_PACKAGE,))
