"""What the command line says, on a terminal and elsewhere."""

from __future__ import annotations

import io
import warnings

import pytest

from bayeslmm.errors import BayesLMMWarning
from bayeslmm.terminal import Terminal, interval, number, trait_summary


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with Terminal(stream).step("GRM") as progress:
        progress(1, 2)
        progress(2, 2)
    assert stream.getvalue() == "GRM: 0.0 s\n"


def test_a_moving_percentage_on_a_terminal() -> None:
    stream = Screen()
    terminal = Terminal(stream)
    with terminal.step("GRM") as progress:
        progress(1, 2)
        terminal.warn("look")
    shown = [part.strip() for part in stream.getvalue().replace("\n", "\r").split("\r")]
    assert [part for part in shown if part] == ["GRM ...", "GRM 50%", "warning: look", "GRM: 0.0 s"]


def test_warnings_are_shown_once_and_kept() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    with terminal.listening():
        warnings.simplefilter("always")
        for category in (BayesLMMWarning, BayesLMMWarning, FutureWarning, RuntimeWarning):
            warnings.warn("mind the gap", category, stacklevel=1)
    shown = ["mind the gap", "RuntimeWarning: mind the gap"]
    assert stream.getvalue().splitlines() == [f"warning: {text}" for text in shown]
    assert terminal.warnings == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.52345, "0.523"), (0.0, "0.000"), (0.012345, "0.0123"), (-45.21, "-45.210"),
        (1234.5678, "1235"), (2.5e9, "2.5e+09"), (float("nan"), "not available"),
        (float("-inf"), "-inf"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_the_summary_names_kind_and_level_of_every_interval() -> None:
    common = {"trait": "y", "model": "additive", "engine": "exact", "n": 9, "sd": 0.1, "prob": 0.9}
    numbers = {"median": 0.5, "mode": 0.5, "lower": 0.2, "upper": 0.8}
    rows = [
        {**common, **numbers, "quantity": "h2", "mean": 0.5, "interval": "hdi"},
        {**common, **numbers, "quantity": "sigma2_u", "mean": 1.5, "interval": "eti"},
        {**common, "quantity": "p_rlrt", "mean": 0.01},
    ]
    text = trait_summary(rows, "Healthy.", "asked for")
    assert "h2 = 0.500 (mean; sd 0.100, median 0.500, mode 0.500), 90% HDI 0.200 to 0.800" in text
    assert "variance, mean and 90% equal-tailed interval: sigma2_u 1.500 [0.200, 0.800]" in text
    assert "restricted LRT of h2 = 0: p = 0.01" in text
    assert "expected SE of h2: not available" in text
    assert text.endswith("  Healthy.")
    assert interval(rows[0]) == "90% HDI 0.200 to 0.800"
