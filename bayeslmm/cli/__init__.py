"""The command ``bayeslmm``: parse, call, print; exit codes 0, 1, 2.

0: done. 1: ran, but the result is not healthy, or an internal failure. 2: bad input or usage.
130: interrupted. Only `main` is public; heavy modules are imported by the commands.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bayeslmm.cli.parser import build_parser
from bayeslmm.cli.start import importing

if TYPE_CHECKING:
    from argparse import Namespace

    from bayeslmm.cli.terminal import Terminal

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv
        Arguments without the program's name; default ``sys.argv[1:]``.

    Returns
    -------
    int
        Exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # β in a Latin-1 terminal
    try:
        args = build_parser().parse_args(arguments)
    except SystemExit as stop:  # --help, --version, wrong usage
        return int(stop.code or 0)
    args.arguments = arguments
    from bayeslmm.cli.terminal import Terminal

    terminal = Terminal()
    try:
        with _terminable(), terminal.listening():
            return _run(args, terminal)
    except KeyboardInterrupt:
        terminal.error("interrupted; no half-written output is left")
        return INTERRUPTED
    except SystemExit as stop:
        return int(stop.code or 0)


def _run(args: Namespace, terminal: Terminal) -> int:
    """Call the command, and turn errors into messages and exit codes."""
    from bayeslmm.errors import BayesLMMError

    try:
        with importing():
            command = import_module(f"bayeslmm.cli.commands.{args.module}")
        code: int = command.run(args, terminal)
        sys.stdout.flush()
        return code
    except BayesLMMError as error:
        terminal.error(str(error))
        return BAD_INPUT
    except BrokenPipeError:  # the reader of stdout has exited: head, less
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except MemoryError:
        terminal.error("out of memory -> use fewer individuals (--keep), draws or threads")
        return FAILED
    except Exception as error:
        if os.environ.get("BAYESLMM_DEBUG"):
            traceback.print_exc()
        terminal.error(
            f"internal failure: {type(error).__name__}: {error} ({_location(error.__traceback__)}) "
            "-> please report it; run with BAYESLMM_DEBUG=1 for the traceback"
        )
        return FAILED


def _location(trace: TracebackType | None) -> str:
    """Return ``file:line`` of the innermost code of bayeslmm or of a model file."""
    frames = traceback.extract_tb(trace)
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    own = [f for f in ours if not f.filename.startswith((os.__file__.removesuffix("os.py"), "<"))]
    frame = (own or ours)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
