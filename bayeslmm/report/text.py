"""Sentences of the report; each states its number with kind and level of the interval."""

from __future__ import annotations

import json
import math

from markupsafe import Markup

from bayeslmm.estimates.boundary import WEAK, expected_se
from bayeslmm.posterior.summary import why_no_bayes_factor
from bayeslmm.report.engine_text import importance_card
from bayeslmm.report.facts import Facts
from bayeslmm.report.names import listed, name, sample, some, title
from bayeslmm.report.numbers import decimals, number, p_value, percent, probability, sign
from bayeslmm.report.parts import Part, parts_of
from bayeslmm.report.several import below
from bayeslmm.report.svg import clean

EDGE = 1e-3  # an interval with a bound this close to 0 or 1 is reported to reach it
FEW_TRAITS = 3  # largest number of traits named in the headline


def byline(facts: Facts) -> Markup:
    """State model, engine, sample and date in one line."""
    return Markup("{} model · {} engine · {} · {}").format(
        name(facts.attrs.get("model", "")),
        clean(facts.engine),
        sample(facts),
        clean(str(facts.attrs.get("created_at", ""))[:10]),
    )


def headline(facts: Facts) -> Markup:
    """State the result in one sentence."""
    if facts.traits:
        return several_headline(facts)
    return Markup(
        "h² of {}{} is <strong>{}</strong>, {} <strong>{}</strong> (posterior mean; mode {})."
    ).format(
        name(facts.trait),
        facts.family.on_scale,
        two(facts.number("h2"), facts),
        facts.interval,
        two_span(facts),
        two(facts.number("h2", "mode"), facts),
    )


def several_headline(facts: Facts) -> Markup:
    """State h² of the first traits, and the genetic correlation of the first two."""
    rows = list(facts.h2_rows.items())
    each = [
        Markup("<strong>{}</strong> for {} ({} <strong>{}</strong>)").format(
            two(facts.number(quantity), facts, quantity),
            name(trait),
            facts.interval,
            two_span(facts, quantity),
        )
        for trait, quantity in rows[:FEW_TRAITS]
    ]
    if len(rows) > FEW_TRAITS:
        each.append(Markup("in the table for {} more").format(len(rows) - FEW_TRAITS))
    a, b = facts.traits[:2]
    correlation = f"r_g[{a},{b}]"
    return Markup(
        "h²{} is {}. The genetic correlation{} is <strong>{}</strong> ({} <strong>{}</strong>). "
        '<span class="small">Posterior means.</span>'
    ).format(
        facts.family.on_scale,
        listed(each),
        "" if len(rows) == 2 else Markup(" of {} and {}").format(name(a), name(b)),
        two(facts.number(correlation), facts, correlation),
        facts.interval_of(correlation),
        two_span(facts, correlation),
    )


def two(value: float, facts: Facts, quantity: str = "h2") -> str:
    """Format a share to two decimals, or more if the posterior is narrower."""
    return sign(f"{value:.{max(2, decimals(facts.number(quantity, 'sd'), 1))}f}")


def two_span(facts: Facts, quantity: str = "h2") -> str:
    """Format the interval of h² or a correlation with the decimals of `two`."""
    lower, upper = (facts.number(quantity, column) for column in ("lower", "upper"))
    between = " to " if lower < 0 else "–"
    return f"{two(lower, facts, quantity)}{between}{two(upper, facts, quantity)}"


def meaning(facts: Facts) -> Markup:
    """Explain the headline, and state if the interval reaches an edge."""
    given = " given the covariates" if len(facts.covariates) > max(len(facts.traits), 1) else ""
    if facts.traits:
        return Markup(
            "Of the variance of {}{} among the {}{}, these shares follow how the individuals are "
            "related; the genetic correlation is the correlation of the genetic values of two "
            "traits."
        ).format(title(facts), facts.family.on_scale, sample(facts), given)
    out = Markup("Of the variance of {}{} among the {}{}, about {} ").format(
        name(facts.trait), facts.family.on_scale, sample(facts), given, percent(facts.number("h2"))
    )
    out += one_kernel(facts) if len(facts.components) == 2 else several_components(facts)
    if facts.number("h2", "lower") < EDGE:
        out += Markup(
            " The interval reaches down to 0: these data do not show that the trait is heritable, "
            "and near 0 the mean lies above the mode because h² cannot be negative."
        )
    if facts.number("h2", "upper") > 1 - EDGE:
        out += Markup(" The interval reaches up to 1: look at the mode as well as the mean.")
    return out


def one_kernel(facts: Facts) -> Markup:
    """Name the only kernel as the source of h²."""
    return Markup("follows how they are related (kernel {}).").format(name(facts.components[0]))


def several_components(facts: Facts) -> Markup:
    """Name the components of h², and the other components with their shares."""
    if not facts.genetic:
        return Markup("is h² as the model defines it (see its docstring below).")
    parts = parts_of(facts)
    if len(facts.genetic) == 1:
        out = Markup("is genetic (component {})").format(name(facts.genetic[0]))
    else:
        out = Markup("is genetic: h² is all genetic components together ({})").format(
            some(facts.genetic)
        )
    others = [part for part in parts if part.kind == "environment"]
    out += Markup("; the other components are {}.").format(_shares(others)) if others else "."
    tested = [part for part in parts if part.kind in ("genetic", "environment")]
    at_zero = [part for part in tested if part.at_zero]
    if at_zero:
        out += Markup(" At zero: {} of {} components ({}).").format(
            len(at_zero), len(tested), some([part.name for part in at_zero])
        )
    return out


def _shares(parts: list[Part]) -> Markup:
    return listed(Markup("{} ({})").format(name(p.name), percent(p.share)) for p in parts)


def evidence(facts: Facts) -> list[tuple[str, str, str | Markup]]:
    """List the evidence for h² > 0 and the expected precision: (name, number, note)."""
    if facts.traits:
        return several_evidence(facts)
    se, p = facts.number("se_expected"), facts.number("p_rlrt")
    rows: list[tuple[str, str, str | Markup]] = [
        (
            "P(h² < 0.01)",
            probability(facts.number("p_h2_below_0.01")),
            "posterior probability that next to nothing is heritable",
        ),
        (
            "log₁₀ Bayes factor",
            *bayes_factor(
                facts.number("log10_bf_h2_0"), how_weighed(facts), why_no_bayes_factor(facts.tree)
            ),
        ),
    ]
    if not math.isnan(p):
        note = "exact restricted likelihood ratio test of h² = 0, simulated from the spectrum"
        rows.append(("p-value", p_value(p).removeprefix("= "), note))
    if not math.isnan(se):
        note = (
            "expected standard error of h² in a study with this kernel, at h² = 0"
            f"; {expected_at_mean(facts)} at the posterior mean"
        )
        rows.append(("expected SE", number(se, se), note))
    if (card := importance_card(facts)) is not None:
        rows.append(card)
    return rows


def several_evidence(facts: Facts) -> list[tuple[str, str, str | Markup]]:
    """List the evidence for the first of several traits, and the genetic correlation of two."""
    rows: list[tuple[str, str, str | Markup]] = [
        (
            f"P(h² < 0.01), {clean(trait)}",
            probability(below(facts, trait)),
            "posterior probability that next to nothing is heritable",
        )
        for trait in facts.traits[:FEW_TRAITS]
    ]
    a, b = facts.traits[:2]
    note = Markup("posterior probability that genes which raise {} lower {}").format(
        name(a), name(b)
    )
    rows.append(("P(r_g < 0)", probability(facts.number(f"p_r_g_below_0[{a},{b}]")), note))
    if (card := importance_card(facts)) is not None:
        rows.append(card)
    return rows


def expected_at_mean(facts: Facts) -> str:
    """Format the expected standard error at the posterior mean of h²."""
    s = facts.constant("eigenvalue")
    if s is None:
        return "–"
    value = expected_se(s, min(facts.number("h2"), 1 - 1e-6))
    return number(value, value)


def how_weighed(facts: Facts) -> str:
    """Name the method of the Bayes factor (`bayeslmm.posterior.summary.savage_dickey`)."""
    stats = facts.tree["sample_stats"].attrs if "sample_stats" in facts.tree.children else {}
    nested = json.loads(stats.get("log_evidence_nested", "{}"))
    if "quadrature" in facts.tree.children or "h2" in nested:
        return "marginal likelihoods"
    return "Savage–Dickey, draws near 0"


def bayes_factor(log10: float, how: str, why_not: str = "") -> tuple[str, str]:
    """Format the Bayes factor in favour of h² = 0 and its strength (Kass & Raftery 1995)."""
    if math.isnan(log10):
        return "–", f"in favour of h² = 0, not available: {why_not}"
    strength = "barely worth mentioning"
    for threshold, word in ((0.5, "substantial"), (1.0, "strong"), (2.0, "decisive")):
        if abs(log10) >= threshold:
            strength = word
    side = "against" if log10 < 0 else "for"
    text = f"in favour of h² = 0 ({how}); evidence {side} it: {strength}"
    return sign(f"{log10:.1f}" if abs(log10) < 1e5 else f"{log10:.3g}"), text


def weakly_informed(facts: Facts, limit: float = WEAK) -> Markup | None:
    """Warn if the expected standard error is so large that the prior matters."""
    se = facts.number("se_expected")
    if math.isnan(se) or se <= limit:
        return None
    return Markup(
        "<strong>Weakly informed.</strong> With {:,} individuals and this kernel the expected "
        "standard error of h² is {} (more than {:g}). {} Read the interval, "
        "not the point, and try another prior."
    ).format(facts.n, number(se, se, 3), limit, prior_part(facts))


def prior_part(facts: Facts) -> str:
    """Compare the posterior variance of h² with its prior variance."""
    share = facts.prior_share
    if math.isnan(share):
        return "The contribution of the prior is not known: the fit has no prior draws."
    text = f"The posterior variance of h² is {percent(share)} of the prior variance"
    if share > 0.9:
        return f"{text}: the data added next to nothing to the prior."
    return f"{text} (100\N{NO-BREAK SPACE}% would mean that the data added nothing)."
