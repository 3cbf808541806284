"""The record of a run: options, versions, input files, dropped individuals and variants."""

from __future__ import annotations

import os
import platform
import shlex
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bayeslmm.cli.outputs import checksums, json_text
from bayeslmm.cli.terminal import Terminal

PACKAGES = (
    "bayeslmm", "pymc", "pytensor", "nutpie", "arviz", "numba", "numpy", "scipy", "pandas",
    "xarray", "h5netcdf", "pgenlib", "formulaic",
)  # fmt: skip


class Clock:
    """A timer that starts with a run."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._start = time.monotonic()

    def seconds(self) -> float:
        """Return the wall time since the start."""
        return round(time.monotonic() - self._start, 3)


def command_line(args: Namespace) -> str:
    """Return the command, quoted for a shell."""
    return shlex.join(["bayeslmm", *args.arguments])


def record(
    args: Namespace,
    terminal: Terminal,
    clock: Clock,
    inputs: Iterable[str | os.PathLike[str]],
    facts: dict[str, Any],
) -> Callable[[dict[str, str]], str]:
    """Return a function from the outputs' checksums to the text of ``.run.json``.

    Parameters
    ----------
    args
        Options, with every default resolved.
    terminal
        Holds the warnings.
    clock
        Timer of the run.
    inputs
        Files that were read.
    facts
        Facts of the command.
    """
    content: dict[str, Any] = {
        "command": command_line(args),
        "working_directory": os.getcwd(),
        "options": {k: v for k, v in vars(args).items() if k not in ("module", "arguments")},
        "seed": getattr(args, "seed", None),
        "started_at": clock.started_at,
        "versions": {"python": platform.python_version(), **_versions()},
        "platform": platform.platform(),
        "inputs": checksums(dict.fromkeys(inputs)),
        **facts,
        "warnings": list(terminal.warnings),
    }

    def text(outputs: dict[str, str]) -> str:
        last = {"wall_seconds": clock.seconds(), "outputs_sha256": outputs}
        return json_text(content | last)

    return text


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
