"""Terminal output: progress, warnings and errors on stderr, the summary on stdout."""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from bayeslmm.errors import BayesLMMWarning

type Row = Mapping[str, Any]
type Progress = Callable[[int, int], None]

MOST_SHARES = 5  # largest number of components listed
MOST_PAIRS = 3  # largest number of trait pairs listed with probabilities of r_g
AT_ZERO = 0.5  # smallest P(share < 0.01) of a component reported as at zero
INTERVALS = {"hdi": "HDI", "eti": "equal-tailed interval"}


class Terminal:
    """Messages of one command: lines on stderr, and a progress percentage if it is a terminal.

    Parameters
    ----------
    stream
        Output stream; default ``sys.stderr``.

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
        """Show a warning; the same text is shown once."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.say(f"warning: {text}")

    def error(self, text: str) -> None:
        """One error."""
        self.say(f"error: {text}")

    @contextmanager
    def step(self, text: str) -> Iterator[Progress]:
        """Announce a step of the work, and print its wall time at the end.

        Yields
        ------
        progress
            ``progress(done, total)`` updates the percentage if stderr is a terminal.
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
        """Show Python warnings as our warnings, each once: bayeslmm's and numerical ones.

        Other warnings of libraries are shown with BAYESLMM_DEBUG=1.
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


def trait_summary(
    rows: Sequence[Row], verdict: str, engine_reason: str, on_scale: str = "", no_factor: str = ""
) -> str:
    """Summarise the result of one trait, or of several in one model, as text.

    Parameters
    ----------
    rows
        Rows of `bayeslmm.posterior.summary.heritability` of this trait, as dictionaries.
    verdict
        Verdict of `bayeslmm.inference.diagnostics.diagnose`.
    engine_reason
        Reason for the choice of the engine.
    on_scale
        `Family.on_scale`: " on the liability scale", or "" on the observed scale.
    no_factor
        Why there is no Bayes factor, if it is not available
        (`bayeslmm.posterior.summary.why_no_bayes_factor`).
    """
    found = {str(row["quantity"]): row for row in rows}
    first = rows[0]
    lines = [
        f"{first['trait']}: n = {first['n']}, model {first['model']}, engine {first['engine']}"
        f" ({engine_reason})"
    ]
    lines += [
        f"  {name}{on_scale} = {_all_statistics(found[name])}" for name in found if _is_h2(name)
    ]
    shares = [name for name in found if name.startswith("share[")]
    several = "h2" not in found
    groups: list[tuple[str, Iterable[str]]] = []
    if several:
        groups.append((f"variance{on_scale}", _starting(found, "sigma2[")))
    elif len(shares) <= 2:
        groups.append((f"variance{on_scale}", ("sigma2_u", "sigma2_e")))
    if several:
        groups.append(("correlations", _starting(found, "r_g[", "r_e[")))
    lines += _listed(found, groups)
    if len(shares) > 2 and not several:
        lines += _components(found, shares)
    others = ("h2_", "repeatability", "r_", "residual_variance[")
    shown = [name for name in _starting(found, *others) if not name.startswith(("r_g[", "r_e["))]
    pve = _starting(found, "pve_fixed", "pve_random", "pve_total")
    lines += _listed(
        found,
        [
            ("further", shown),
            ("PVE (share of var(y))", pve),
            (f"effects{on_scale}", _starting(found, "beta[")),
        ],
    )
    lines += _tests(found, no_factor)
    return "\n".join([*lines, f"  {verdict}"])


def _is_h2(name: str) -> bool:
    return name == "h2" or name.startswith("h2[")


def _starting(found: Mapping[str, Row], *prefixes: str) -> list[str]:
    """Return the quantities that start with a prefix, in the order of the prefixes."""
    return [name for prefix in prefixes for name in found if name.startswith(prefix)]


def _all_statistics(row: Row) -> str:
    """Format a quantity with mean, sd, median, mode and interval."""
    return (
        f"{number(row['mean'])} (mean; sd {number(row['sd'])}, median {number(row['median'])}, "
        f"mode {number(row['mode'])}), {interval(row)}"
    )


def _listed(found: Mapping[str, Row], groups: Iterable[tuple[str, Iterable[str]]]) -> list[str]:
    """Format a line for each non-empty group of quantities and each kind of interval in it."""
    lines = []
    for title, names in groups:
        there = [found[name] for name in names if name in found]
        for kind in dict.fromkeys(interval_kind(row) for row in there):
            parts = [
                f"{row['quantity']} {number(row['mean'])} {bounds(row)}"
                for row in there
                if interval_kind(row) == kind
            ]
            lines.append(f"  {title}, mean and {kind}: " + ", ".join(parts))
    return lines


def _components(found: Mapping[str, Row], shares: Sequence[str]) -> list[str]:
    """List the largest shares of the variance, and the number of shares at zero."""
    largest = sorted(shares, key=lambda name: -abs(float(found[name]["mean"])))
    kept = shares if len(shares) <= MOST_SHARES + 1 else largest[:MOST_SHARES]
    lines = _listed(found, [("shares of the variance", kept)])
    below = {name: float(found[f"p_{name.replace('[', '_below_0.01[', 1)}"]["mean"])
             for name in shares[:-1]
             if f"p_{name.replace('[', '_below_0.01[', 1)}" in found}  # fmt: skip
    zero = [name[6:-1] for name, p in below.items() if p >= AT_ZERO and _positive(found[name])]
    left = len(shares) - len(kept)
    notes = [f"the other {left} have {number(_sum(found, shares) - _sum(found, kept))}"] * (
        left > 0
    )
    if zero:
        names = ", ".join(zero[:MOST_SHARES]) + (", ..." if len(zero) > MOST_SHARES else "")
        notes.append(
            f"at zero (P(share < 0.01) >= {AT_ZERO}): {len(zero)} of {len(below)} ({names})"
        )
    return [*lines, f"    {'; '.join(notes)}"] if notes else lines


def _positive(row: Row) -> bool:
    """Is a share a variance, not a covariance?"""
    return float(row["lower"]) >= 0


def _sum(found: Mapping[str, Row], names: Iterable[str]) -> float:
    return sum(float(found[name]["mean"]) for name in names)


def _tests(found: Mapping[str, Row], no_factor: str) -> list[str]:
    """Format probabilities, tests and the quality of the importance weights."""
    values = {name: number(row["mean"]) for name, row in found.items()}
    unknown = "not available"
    lines = []
    if "h2" in found:
        factor = values.get("log10_bf_h2_0", unknown)
        if factor == unknown and no_factor:
            factor += f" ({no_factor})"
        tests = [
            f"P(h2 < 0.01) = {values.get('p_h2_below_0.01', unknown)}",
            f"log10 Bayes factor in favour of h2 = 0: {factor}",
        ]
        one_kernel = len(_starting(found, "share[")) <= 2
        if one_kernel and "p_rlrt" in found:  # of a Gaussian phenotype
            tests += [
                f"restricted LRT of h2 = 0: p = {values.get('p_rlrt', unknown)}",
                f"expected SE of h2: {values.get('se_expected', unknown)}",
            ]
        lines.append(f"  {'; '.join(tests)}")
    lines += [
        f"  P({name} < 0) = {values.get(f'p_r_g_below_0{name[3:]}', unknown)}, "
        f"P(|{name}| > 0.95) = {values.get(f'p_abs_r_g_above_0.95{name[3:]}', unknown)}"
        for name in _starting(found, "r_g[")[:MOST_PAIRS]
    ]
    if "pareto_k" in found:
        k = float(found["pareto_k"]["mean"])
        word = "good" if k < 0.5 else "usable" if k < 0.7 else "failed: draws by NUTS instead"
        lines.append(f"  Pareto k of the importance weights: {k:.2f} ({word})")
    return lines


def interval(row: Row) -> str:
    """Format the interval of a quantity: level, kind and bounds."""
    return f"{interval_kind(row)} {number(row['lower'])} to {number(row['upper'])}"


def interval_kind(row: Row) -> str:
    """Format level and kind of an interval: "95% HDI"."""
    return f"{100 * float(row['prob']):g}% {INTERVALS.get(row['interval'], row['interval'])}"


def bounds(row: Row) -> str:
    """Format the bounds of an interval: "[0.1, 0.3]"."""
    return f"[{number(row['lower'])}, {number(row['upper'])}]"


def number(value: float) -> str:
    """Format a number: three decimals, more for small numbers, fewer for large ones.

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
