"""Errors that say what was found, what was expected, what to do next, and where."""

from __future__ import annotations

import warnings
from os import PathLike, fspath
from pathlib import Path

_PACKAGE = str(Path(__file__).parent)


class BayesLMMError(Exception):
    """Base of every error that bayeslmm raises on purpose."""


class InputError(BayesLMMError, ValueError):
    """A file, table, option or array that cannot be used as it is.

    Parameters
    ----------
    found
        What was found, with the offending value.
    expected
        The rule that it breaks.
    fix
        What to do next.
    path, line, column
        The file, the 1-based line, and the column's name or 1-based number.

    Notes
    -----
    The message reads ``path:line:column: found -> expected -> fix``.
    """

    def __init__(
        self,
        found: str,
        expected: str,
        fix: str,
        *,
        path: str | PathLike[str] | None = None,
        line: int | None = None,
        column: str | int | None = None,
    ) -> None:
        parts = [fspath(path)] if path is not None else []
        parts += [str(part) for part in (line, column) if part is not None]
        where = ":".join(parts) + ": " if parts else ""
        super().__init__(f"{where}{found} -> {expected} -> {fix}")


class ModelError(BayesLMMError):
    """A model that breaks the contract or that an engine cannot serve."""


class BayesLMMWarning(UserWarning):
    """Something that readers of the results must know."""


def warn_user(message: str) -> None:
    """Warn with a `BayesLMMWarning` located at the first caller outside the package."""
    warnings.warn(message, BayesLMMWarning, skip_file_prefixes=(_PACKAGE,))
