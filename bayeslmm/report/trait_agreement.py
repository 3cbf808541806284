"""Comparison of the posterior of several traits with other estimates: table, figure, sentences."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from bayeslmm.checks.agreement_traits import TraitEstimate, estimates, estimates_of
from bayeslmm.checks.disagreement import trait_disagreements
from bayeslmm.report import svg
from bayeslmm.report.drawing import FULL
from bayeslmm.report.facts import Facts
from bayeslmm.report.names import name
from bayeslmm.report.numbers import number, span
from bayeslmm.report.plots import Interval, interval_figure


def trait_agreement_section(facts: Facts, key: str) -> dict[str, Any] | None:
    """Make table, figure and sentences; None if the fit stores no estimates."""
    if not facts.traits or not estimates_of(facts.tree):
        return None
    found = estimates(facts.tree, prob=facts.prob)
    return {
        "figure": trait_agreement_figure(found, key),
        "rows": [_row(one) for one in found],
        "sentences": _sentences(found),
        "warnings": [svg.clean(message) for message in trait_disagreements(found)],
    }


def _row(one: TraitEstimate) -> dict[str, str | Markup]:
    known = math.isfinite(one.estimate)
    return {
        "quantity": name(one.quantity),
        "source": name(one.source),
        "estimate": number(one.estimate, one.se, 3) if known else "–",
        "se": number(one.se, one.se) if math.isfinite(one.se) else "–",
        "interval": span(one.lower, one.upper, one.se) if math.isfinite(one.lower) else "–",
        "note": svg.clean(one.note),
    }


def trait_agreement_figure(found: list[TraitEstimate], key: str) -> Markup:
    """Draw every estimate with its interval, cut well outside the possible range."""
    rows = []
    for one in found:
        if math.isfinite(one.estimate):
            lower = one.lower if math.isfinite(one.lower) else one.estimate
            upper = one.upper if math.isfinite(one.upper) else one.estimate
            label = svg.clean(f"{one.quantity}, {one.source}")
            faint = one.source != "posterior"
            rows.append(Interval(label, one.estimate, lower, upper, faint=faint))
    correlations = any(one.quantity.startswith("r_g") for one in found)
    least = -1.01 if correlations else -0.01
    low = min([least, *(max(row.lower, least - 0.5) for row in rows)])
    high = max([1.01, *(min(row.upper, 1.5) for row in rows)])
    return interval_figure(
        rows,
        f"{key}-trait-agreement",
        "Heritabilities and genetic correlations by the posterior and by other estimates",
        xlabel="h² and genetic correlation",
        limits=(low, high),
        width=FULL,
        zero=True,
    )


def _sentences(found: list[TraitEstimate]) -> list[str]:
    """Explain the estimates, and why they may differ."""
    out = [
        "REML and Haseman-Elston regression are estimates of other methods from the same records, "
        "as a check of ours; their intervals are ± 1.96 standard errors, which assumes a symmetric "
        "likelihood. This fails near 0 and 1, and for correlations near ±1 or of traits with "
        "little genetic variance."
    ]
    if any(one.note.startswith("the trait by itself") for one in found):
        out.append(
            "Some individuals lack some traits. The posterior uses all records together; these "
            "methods use each trait by itself, and for a correlation the individuals with both."
        )
    return out
