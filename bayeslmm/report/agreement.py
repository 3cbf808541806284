"""Comparison of the posterior with other estimates in the report: table, figure, sentences."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from bayeslmm.checks.agreement import estimates
from bayeslmm.checks.disagreement import disagreements
from bayeslmm.errors import InputError
from bayeslmm.estimates.estimate import Estimate
from bayeslmm.report import svg
from bayeslmm.report.drawing import FULL
from bayeslmm.report.facts import Facts
from bayeslmm.report.names import name
from bayeslmm.report.numbers import number, span
from bayeslmm.report.plots import Interval, interval_figure


def agreement_section(facts: Facts, key: str) -> dict[str, Any] | None:
    """Make table, figure and sentences; None without other estimates."""
    if facts.traits:
        return None
    try:
        found = estimates(facts.tree, prob=facts.prob)
    except InputError:
        return None
    if len(found) < 2:
        return None
    return {
        "figure": agreement_figure(found, key),
        "rows": [agreement_row(one) for one in found],
        "sentences": agreement_sentences(found),
        "warnings": [svg.clean(message) for message in disagreements(found)],
    }


def agreement_row(one: Estimate) -> dict[str, str | Markup]:
    """Format a row of the table."""
    return {
        "source": name(one.source),
        "h2": number(one.h2, one.se, 3),
        "se": number(one.se, one.se),
        "interval": "–" if math.isnan(one.se) else span(one.lower, one.upper, one.se),
        "scale": svg.clean(one.scale),
        "here": "–" if math.isnan(one.h2_here) else number(one.h2_here, one.se_here, 3),
        "note": svg.clean(one.note),
    }


def agreement_figure(found: list[Estimate], key: str) -> Markup:
    """Draw every estimate with its interval, on the posterior's scale."""
    shown = [one for one in found if math.isfinite(one.h2_here)]
    rows = []
    for one in shown:
        lower, upper = (
            one.here(end) if math.isfinite(end) else one.h2_here for end in (one.lower, one.upper)
        )
        faint = one.source != "posterior"
        rows.append(Interval(svg.clean(one.source), one.h2_here, lower, upper, faint=faint))
    low = min([-0.01, *(max(row.lower, -0.5) for row in rows)])
    high = max([1.01, *(min(row.upper, 1.5) for row in rows)])
    return interval_figure(
        rows,
        f"{key}-agreement",
        "Heritability by the posterior and by other estimates, each with its interval",
        xlabel="h² on the scale of this report",
        limits=(low, high),
        width=FULL,
        zero=low < -0.05,
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
        times = f": its standard error is {wide:.1f} times that of REML" * math.isfinite(wide)
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
