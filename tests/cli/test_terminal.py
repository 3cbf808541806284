"""What the command line says, on a terminal and elsewhere."""

from __future__ import annotations

import io
import warnings

import pytest
import xarray as xr
from report_models import dominance_tree, maternal_tree, partition_tree, traits_tree
from report_trees import made_tree

from bayeslmm.cli.terminal import Terminal, interval, number, trait_summary
from bayeslmm.errors import BayesLMMWarning


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


def summary_of(tree: xr.DataTree) -> str:
    from bayeslmm.inference.diagnostics import diagnose
    from bayeslmm.posterior.summary import heritability

    rows = [{str(k): v for k, v in row.items()} for row in heritability(tree).to_dict("records")]
    return trait_summary(rows, diagnose(tree).verdict, "auto")


def test_one_kernel_names_its_variances_once() -> None:
    text = summary_of(made_tree("exact"))
    assert "sigma2_u" in text
    assert "sigma2[" not in text
    assert "share[" not in text
    assert "expected SE of h2: " in text
    assert "Pareto" not in text


def test_several_components_give_shares_and_how_many_are_at_zero() -> None:
    text = summary_of(dominance_tree())
    assert "shares of the variance, mean and 95% HDI: share[additive] 0.4" in text
    assert "share[residual]" in text
    assert "at zero (P(share < 0.01) >= 0.5): 1 of 2 (dominance)" in text
    assert "the other" not in text
    assert "Pareto k of the importance weights: 0.31 (good)" in text
    assert "restricted LRT" not in text  # there is none without the spectrum of one kernel


def test_twenty_components_stay_short() -> None:
    text = summary_of(partition_tree())
    assert len(text.splitlines()) <= 10
    assert max(len(line) for line in text.splitlines()) < 400
    line = next(line for line in text.splitlines() if "shares of the variance" in line)
    assert line.count("share[") == 5
    assert line.index("residual") < line.index("chr3") < line.index("chr7")  # the largest first
    assert "the other 16 have 0.1" in text
    assert "18 of 20 (chr1, chr2, chr4, chr5, chr6, ...)" in text


def test_a_covariance_has_its_own_interval_and_is_never_at_zero() -> None:
    text = summary_of(maternal_tree())
    assert "mean and 95% equal-tailed interval: share[direct_maternal] -0.0" in text
    assert "at zero" not in text
    assert "h2_direct" in text
    assert "r_direct_maternal" in text


def test_several_traits_have_a_line_each_and_their_correlations() -> None:
    lines = summary_of(traits_tree()).splitlines()
    assert [line.split(" = ")[0] for line in lines[1:3]] == ["  h2[height]", "  h2[weight]"]
    text = "\n".join(lines)
    assert "correlations, mean and 95% equal-tailed interval: r_g[height,weight] 0.60" in text
    assert "P(r_g[height,weight] < 0) = 0.000, P(|r_g[height,weight]| > 0.95) = 0.000" in text
    assert "share[" not in text
    many = summary_of(traits_tree([f"t{k}" for k in range(6)]))
    assert many.count("P(r_g[") == 3


def test_importance_sampling_that_failed_is_said() -> None:
    text = summary_of(dominance_tree(fallen_back=True))
    assert "Pareto k of the importance weights: 1.73 (failed: draws by NUTS instead)" in text
    assert "by NUTS, because importance sampling had k̂ = 1.73" in text
