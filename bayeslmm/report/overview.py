"""Overview of several traits: a table, and their h² in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bayeslmm.report.facts import Facts
from bayeslmm.report.names import name, title
from bayeslmm.report.numbers import number, p_value, probability, span
from bayeslmm.report.plots import forest_figure
from bayeslmm.report.several import below

MOST = 60  # largest number of traits in the figure


def overview(facts: Sequence[Facts]) -> dict[str, Any]:
    """Make the rows and the figure of all traits.

    Parameters
    ----------
    facts
        One for each trait, at least one.
    """
    rows = [
        _row(one, f"trait-{position}", trait, quantity)
        for position, one in enumerate(facts, 1)
        for trait, quantity in one.h2_rows.items()
    ]
    return {
        "interval": facts[0].interval,
        "rows": rows,
        "tested": any(one.family.gaussian for one in facts),
        "figure": forest_figure(facts, "overview-h2", MOST),
        "left_out": max(len(rows) - MOST, 0),
        "sick": [title(one) for one in facts if not one.diagnosis.ok],
    }


def _row(facts: Facts, key: str, trait: str, h2: str) -> dict[str, Any]:
    sd = facts.number(h2, "sd")
    low = below(facts, trait) if facts.traits else facts.number("p_h2_below_0.01")
    return {
        "id": key,
        "trait": name(trait),
        "n": f"{facts.n:,}",
        "mean": number(facts.number(h2), sd),
        "mode": number(facts.number(h2, "mode"), sd),
        "sd": number(sd, sd),
        "interval": span(facts.number(h2, "lower"), facts.number(h2, "upper"), sd),
        "below": probability(low),
        "p": p_value(facts.number("p_rlrt")).removeprefix("= "),
        "engine": str(facts.attrs.get("engine", "")),
        "ok": facts.diagnosis.ok,
    }
