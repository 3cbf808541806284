"""Comparison of the posterior with other estimates in the report: table, figure, sentences."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from bayeslmm.checks.agreement import estimates, estimates_of
from bayeslmm.checks.disagreement import disagreements
from bayeslmm.errors import InputError
from bayeslmm.estimates.estimate import Estimate
from bayeslmm.report import svg
from bayeslmm.report.drawing import FULL
from bayeslmm.report.facts import Facts
from bayeslmm.report.names import name
from bayeslmm.report.numbers import number, span
from bayeslmm.report.plots import Interval, interval_figure

# titles of the columns, and what of `agreement_row` they show
COLUMNS = {
    "estimate": "source",
    "h²": "value",
    "se": "se",
    "interval": "interval",
    "scale": "scale",
    "h², our scale": "here",
    "note": "note",
}
COLUMNS_OF_TRAITS = {
    "quantity": "quantity",
    "estimate by": "source",
    "value": "value",
    "se": "se",
    "interval": "interval",
    "from": "note",
}
# title of the figure, and label of its axis
ONE_TRAIT = (
    "Heritability by the posterior and by other estimates, each with its interval",
    "h² on the scale of this report",
)
SEVERAL_TRAITS = (
    "Heritabilities and genetic correlations by the posterior and by other estimates",
    "h² and genetic correlation",
)


def agreement_section(facts: Facts, key: str) -> dict[str, Any] | None:
    """Make table, figure and sentences; None without other estimates.

    Estimates of several traits take a while, so only stored ones are shown.
    """
    if facts.traits and not estimates_of(facts.tree):
        return None
    try:
        found = estimates(facts.tree, prob=facts.prob)
    except InputError:
        return None
    if all(one.source == "posterior" for one in found):
        return None
    return {
        **_presentation(found, key, bool(facts.traits)),
        "rows": [agreement_row(one) for one in found],
        "warnings": [svg.clean(message) for message in disagreements(found)],
    }


def _presentation(found: list[Estimate], key: str, several: bool) -> dict[str, Any]:
    """Make id, columns, figure and sentences, for one trait or several."""
    own_id = f"{key}-trait-agreement" if several else f"{key}-agreement"
    title, xlabel = SEVERAL_TRAITS if several else ONE_TRAIT
    return {
        "id": own_id,
        "columns": COLUMNS_OF_TRAITS if several else COLUMNS,
        "figure": agreement_figure(found, own_id, title, xlabel),
        "sentences": traits_sentences(found) if several else agreement_sentences(found),
    }


def agreement_row(one: Estimate) -> dict[str, str | Markup]:
    """Format a row of the table."""
    return {
        "quantity": name(one.quantity),
        "source": name(one.source),
        "value": number(one.value, one.se, 3),
        "se": number(one.se, one.se),
        "interval": "–" if math.isnan(one.se) else span(one.lower, one.upper, one.se),
        "scale": svg.clean(one.scale),
        "here": "–" if math.isnan(one.value_here) else number(one.value_here, one.se_here, 3),
        "note": svg.clean(one.note),
    }


def agreement_figure(found: list[Estimate], own_id: str, title: str, xlabel: str) -> Markup:
    """Draw every estimate with its interval, on the posterior's scale.

    Intervals are cut well outside the possible range.
    """
    rows = []
    for one in found:
        if math.isfinite(one.value_here):
            label = one.source if one.quantity == "h2" else f"{one.quantity}, {one.source}"
            lower, upper = (
                one.here(end) if math.isfinite(end) else one.value_here
                for end in (one.lower, one.upper)
            )
            faint = one.source != "posterior"
            rows.append(Interval(svg.clean(label), one.value_here, lower, upper, faint=faint))
    correlations = any(one.quantity.startswith("r_g") for one in found)
    least, lowest = (-1.01, -1.51) if correlations else (-0.01, -0.5)
    low = min([least, *(max(row.lower, lowest) for row in rows)])
    high = max([1.01, *(min(row.upper, 1.5) for row in rows)])
    zero = low < -0.05
    return interval_figure(
        rows, own_id, title, xlabel=xlabel, limits=(low, high), width=FULL, zero=zero
    )


def agreement_sentences(found: list[Estimate]) -> list[str]:
    """Explain why the estimates shown may differ."""
    sources = {one.source for one in found}
    by_name = {one.source: one for one in found}
    out = ["All but the posterior are estimates of other methods from the same records, as a check "
           "of ours; their intervals are ± 1.96 standard errors."]  # fmt: skip
    if "REML" in sources:
        edge = by_name["REML"].lower < 0.0 or by_name["REML"].upper > 1.0
        out.append(
            "REML maximises the restricted likelihood; under a flat prior this is the posterior "
            "mode. Its interval assumes a symmetric likelihood, which fails near 0 and 1"
            + (": here the interval extends beyond them and is not valid." if edge else ".")
        )
    if "Haseman-Elston" in sources:
        wide = by_name["Haseman-Elston"].se / max(by_name["REML"].se, 1e-12)
        times = f": its standard error is {wide:.1f} times REML's" * math.isfinite(wide)
        out.append(
            "Haseman-Elston regression needs no normal distribution, but weighs all pairs equally, "
            f"although they are not independent{times}. It is not constrained to 0 to 1."
        )
    if any(source.startswith("GCTA") for source in sources):
        out.append(
            "GCTA’s V(G)/Vp is on the scale of its matrix. Here the matrix is divided by its "
            "average semivariance among the individuals analysed, so that σ²ᵤ is the variance of "
            "genetic values among them; V(G) times that number is σ²ᵤ."
        )
    if any(source.startswith("GEMMA") for source in sources):
        out.append(
            "GEMMA’s pve multiplies vg by the mean diagonal of the centred matrix, (n − 1)/n of "
            "its average semivariance: nearly our scale. Its vg and ve are on the scale of its "
            "matrix."
        )
    return out


def traits_sentences(found: list[Estimate]) -> list[str]:
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
