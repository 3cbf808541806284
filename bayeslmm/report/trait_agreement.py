"""Several traits: the posterior beside other estimates, in the report: table, figure, words."""

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
    """Table, figure and words; None where the fit has kept no estimates."""
    if not facts.traits or not estimates_of(facts.tree):
        return None
    found = estimates(facts.tree, prob=facts.prob)
    return {
        "figure": trait_agreement_figure(found, key),
        "rows": [_row(one) for one in found],
        "words": _words(found),
        "warnings": [svg.clean(words) for words in trait_disagreements(found)],
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
    """Every estimate with its interval, cut where an interval says nothing any more."""
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


def _words(found: list[TraitEstimate]) -> list[str]:
    """What the estimates are, and why they may differ."""
    out = [
        "REML and Haseman-Elston regression are estimates of other methods from the same records, "
        "as a check of ours; their intervals are ± 1.96 standard errors, which take the likelihood "
        "as symmetric: not so near 0 and 1, and for correlations near ±1 or of traits with little "
        "genetic variance."
    ]
    if any(one.note.startswith("the trait by itself") for one in found):
        out.append(
            "Some individuals miss some traits. The posterior uses all records together; these "
            "methods take each trait by itself, and for a correlation those who have both."
        )
    return out
