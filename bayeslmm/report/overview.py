"""Several traits at a glance: a table, and h² of all of them in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bayeslmm.report import words
from bayeslmm.report.facts import Facts
from bayeslmm.report.numbers import number, p_value, probability, span
from bayeslmm.report.plots import forest_figure

MOST = 60  # traits that the figure shows


def overview(facts: Sequence[Facts]) -> dict[str, Any]:
    """Rows and figure over all traits.

    Parameters
    ----------
    facts
        One for each trait, at least one.
    """
    return {
        "interval": facts[0].interval,
        "rows": [_row(one, f"trait-{position}") for position, one in enumerate(facts, 1)],
        "figure": forest_figure(facts, "overview-h2", MOST),
        "left_out": max(len(facts) - MOST, 0),
        "sick": [words.name(one.trait) for one in facts if not one.diagnosis.ok],
    }


def _row(facts: Facts, key: str) -> dict[str, Any]:
    sd = facts.number("h2", "sd")
    return {
        "id": key,
        "trait": words.name(facts.trait),
        "n": f"{facts.n:,}",
        "mean": number(facts.number("h2"), sd),
        "mode": number(facts.number("h2", "mode"), sd),
        "sd": number(sd, sd),
        "interval": span(facts.number("h2", "lower"), facts.number("h2", "upper"), sd),
        "below": probability(facts.number("p_h2_below_0.01")),
        "p": p_value(facts.number("p_rlrt")).removeprefix("= "),
        "engine": str(facts.attrs.get("engine", "")),
        "ok": facts.diagnosis.ok,
    }
