"""What the command line says: progress, warnings and errors on stderr, the summary on stdout."""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from bayeslmm.errors import BayesLMMWarning

type Row = Mapping[str, Any]
type Progress = Callable[[int, int], None]

INTERVALS = {"hdi": "HDI", "eti": "equal-tailed interval"}


class Terminal:
    """Voice of one command: plain lines on stderr; a moving percentage where that is a terminal.

    Parameters
    ----------
    stream
        Where to speak; default ``sys.stderr``.

    Attributes
    ----------
    warnings
        Every warning that was shown, once.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._moving = self._stream.isatty()
        self._line = ""
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        """One line."""
        self._write(f"{text}\n")

    def warn(self, text: str) -> None:
        """One warning; the same text is shown once."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.say(f"warning: {text}")

    def error(self, text: str) -> None:
        """One error."""
        self.say(f"error: {text}")

    @contextmanager
    def step(self, text: str) -> Iterator[Progress]:
        """Announce a piece of work and say how long it took.

        Yields
        ------
        progress
            ``progress(done, total)`` moves the percentage, where stderr is a terminal.
        """
        start = time.monotonic()
        shown = -1

        def progress(done: int, total: int) -> None:
            nonlocal shown
            percent = 100 * done // max(total, 1)
            if percent != shown:
                shown = percent
                self._move(f"{text} {percent}%")

        self._move(f"{text} ...")
        yield progress
        self.say(f"{text}: {time.monotonic() - start:.1f} s")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Show Python's warnings in our way, each once: bayeslmm's, and those about numbers.

        Those of other libraries about themselves are shown with BAYESLMM_DEBUG=1.
        """

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, BayesLMMWarning):
                self.warn(str(message))
            elif issubclass(category, RuntimeWarning) or os.environ.get("BAYESLMM_DEBUG"):
                self.warn(f"{category.__name__}: {message}")

        with warnings.catch_warnings():
            warnings.simplefilter("always", BayesLMMWarning)
            warnings.showwarning = show
            yield

    def _move(self, text: str) -> None:
        if self._moving:
            self._write(text, end=False)

    def _write(self, text: str, *, end: bool = True) -> None:
        back = f"\r{' ' * len(self._line)}\r" if self._line else ""
        self._line = "" if end else text
        self._stream.write(back + text)
        self._stream.flush()


def trait_summary(rows: Sequence[Row], verdict: str, engine_reason: str) -> str:
    """The result of one trait in sentences with numbers.

    Parameters
    ----------
    rows
        Rows of `bayeslmm.summary.heritability` of this trait, as dictionaries.
    verdict
        Verdict of `bayeslmm.diagnostics.diagnose`.
    engine_reason
        Why this engine was chosen.
    """
    found = {str(row["quantity"]): row for row in rows}
    h2 = found["h2"]
    lines = [
        f"{h2['trait']}: n = {h2['n']}, model {h2['model']}, engine {h2['engine']}"
        f" ({engine_reason})",
        f"  h2 = {number(h2['mean'])} (mean; sd {number(h2['sd'])}, median {number(h2['median'])}, "
        f"mode {number(h2['mode'])}), {interval(h2)}",
    ]
    for title, names in (
        ("variance", ("sigma2_u", "sigma2_e")),
        ("PVE (share of var(y))", ("pve_fixed", "pve_random", "pve_total")),
        ("effects", [name for name in found if name.startswith("beta[")]),
    ):
        parts = [f"{n} {number(found[n]['mean'])} {bounds(found[n])}" for n in names if n in found]
        if parts:
            kind = interval_kind(found[next(n for n in names if n in found)])
            lines.append(f"  {title}, mean and {kind}: " + ", ".join(parts))
    values = {name: number(row["mean"]) for name, row in found.items()}
    unknown = "not available"
    lines += [
        f"  P(h2 < 0.01) = {values.get('p_h2_below_0.01', unknown)}; "
        f"log10 Bayes factor in favour of h2 = 0: {values.get('log10_bf_h2_0', unknown)}; "
        f"restricted LRT of h2 = 0: p = {values.get('p_rlrt', unknown)}; "
        f"expected SE of h2: {values.get('se_expected', unknown)}",
        f"  {verdict}",
    ]
    return "\n".join(lines)


def interval(row: Row) -> str:
    """Interval of a quantity in words: kind, level and bounds."""
    return f"{interval_kind(row)} {number(row['lower'])} to {number(row['upper'])}"


def interval_kind(row: Row) -> str:
    """Level and kind of an interval: "95% HDI"."""
    return f"{100 * float(row['prob']):g}% {INTERVALS.get(row['interval'], row['interval'])}"


def bounds(row: Row) -> str:
    """Bounds of an interval: "[0.1, 0.3]"."""
    return f"[{number(row['lower'])}, {number(row['upper'])}]"


def number(value: float) -> str:
    """A number for reading: three decimals, more digits where it is small, fewer where large.

    Examples
    --------
    >>> [number(x) for x in (0.52345, 0.00012345, 1234.56, float("nan"))]
    ['0.523', '0.000123', '1235', 'not available']
    """
    if math.isnan(value):
        return "not available"
    if value == 0 or 0.1 <= abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"
