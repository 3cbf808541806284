"""A model comparison as text, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayeslmm.report.compare_text import conclusions
from bayeslmm.report.svg import clean

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.comparison.table import Comparison

HEAD = ("elpd", "SE", "difference", "its SE", "weight", "log p(y)", "largest k")


def comparison_lines(comparison: Comparison, cohort: Cohort) -> list[str]:
    """Format the table and the conclusions as lines of text.

    Parameters
    ----------
    comparison
        Result of `bayeslmm.comparison.table.weigh_models`.
    cohort
        The records.
    """
    table = comparison.table
    names = [clean(one) for one in table["model"]]
    width = max(len("model"), *map(len, names))
    n = f"n = {cohort.n}"
    if len(cohort.people) < cohort.n:
        n += f" records of {len(cohort.people)} individuals"
    lines = [f"{clean(cohort.trait)}: {n}, the same for every model", ""]
    lines.append(f"{'model':<{width}}" + "".join(f"{one:>12}" for one in HEAD))
    for shown, row in zip(names, table.to_dict(orient="records"), strict=True):
        values = ("elpd", "se", "elpd_diff", "diff_se", "weight", "log_ml", "pareto_k_max")
        lines.append(f"{shown:<{width}}" + "".join(f"{_number(row[one]):>12}" for one in values))
    lines.append("")
    lines += [one.striptags() for one in conclusions(comparison)]
    return [*lines, *map(clean, comparison.notes)]


def _number(value: float) -> str:
    """Format nats to two decimals; "-" for nan, and zero without a sign."""
    text = f"{value:.2f}"
    return "-" if text == "nan" else text.removeprefix("-") if text == "-0.00" else text
