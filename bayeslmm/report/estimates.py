"""Tables and interval plots of estimates: realised proportions, variances, fixed effects."""

from __future__ import annotations

from typing import Any

from bayeslmm.report import plots
from bayeslmm.report.drawing import FULL
from bayeslmm.report.facts import Facts
from bayeslmm.report.numbers import number, span
from bayeslmm.report.svg import clean

VARIANCE = {"sigma2_u": "σ²ᵤ genetic", "sigma2_e": "σ²ₑ residual"}
TOTALS = {"sigma2_u": "all but the residual"}
REALISED = {
    "pve_fixed": {"random": "fixed Xβ", "parts": "fixed Xβ"},
    "pve_random": {"random": "random g", "parts": "all random parts"},
    "pve_total": {"random": "total Xβ + g", "parts": "fixed + random"},
}
SHARES = {
    "fixed": "fixed Xβ",
    "random": "random g",
    "covariance": "2 cov(Xβ, g)",
    "residual": "residual ε",
}
MOST_BARS = 12  # largest number of shares in the figure; the table has all
MOST_EFFECTS = 60  # largest number of fixed effects shown; the table of results has all


def estimate_row(facts: Facts, quantity: str, label: str) -> dict[str, str]:
    """Format a row of a table of estimates."""
    sd = facts.number(quantity, "sd")
    return {
        "label": label,
        "mean": number(facts.number(quantity), sd),
        "sd": number(sd, sd),
        "interval": span(facts.number(quantity, "lower"), facts.number(quantity, "upper"), sd),
    }


def interval_of(facts: Facts, quantity: str, label: str) -> plots.Interval:
    """Make a row of an interval plot."""
    mean, lower, upper = (facts.number(quantity, column) for column in ("mean", "lower", "upper"))
    return plots.Interval(label, mean, lower, upper)


def pve_section(facts: Facts, key: str) -> dict[str, Any] | None:
    """Show the realised PVE relative to var(y) and to the sum of the parts."""
    realised, shares = pve_labels(facts)
    if not realised:
        return None
    bars = [interval_of(facts, f, f"{label} / var(y)") for f, label in realised.items()]
    if len(shares) <= MOST_BARS:
        bars += [interval_of(facts, f, f"{label} / sum") for f, label in shares.items()]
    bars = [bar for bar in bars if bar.lower < bar.upper]
    return {
        "interval": facts.interval_of(next(iter(realised))),
        "realised": [estimate_row(facts, f, label) for f, label in realised.items()],
        "shares": [estimate_row(facts, f, label) for f, label in shares.items()],
        "intercept_only": len(facts.covariates) == max(len(facts.traits), 1),
        "figure": plots.interval_figure(
            bars,
            f"{key}-pve",
            "Realised proportions of variance explained with their intervals",
            xlabel=f"share of variance: mean, {facts.interval_of(next(iter(realised)))}",
            width=FULL,
            zero=True,
        ),
    }


def pve_labels(facts: Facts) -> tuple[dict[str, str], dict[str, str]]:
    """Label the quantities of realised PVE, relative to var(y) and to the sum of the parts."""
    realised, shares = {}, {}
    parts = [one.removeprefix("pve_share[").removesuffix("]") for one in facts.rows("pve_share[")]
    total = "random" if any(one.split(", ")[-1] == "random" for one in parts) else "parts"
    for trait in facts.traits or [""]:
        start, own = (f"{clean(trait)}: ", f"[{trait}]") if trait else ("", "")
        for quantity, label in REALISED.items():
            if f"{quantity}{own}" in facts.table.index:
                realised[f"{quantity}{own}"] = start + label[total]
        for part in parts:
            if trait and not part.startswith(f"{trait}, "):
                continue
            known = SHARES if total == "random" else {**SHARES, "covariance": "2 × covariances"}
            short = part.removeprefix(f"{trait}, ") if trait else part
            shares[f"pve_share[{part}]"] = start + known.get(short, clean(short))
    return realised, shares


def variance_section(facts: Facts, key: str) -> dict[str, Any]:
    """Show the variance components and their sum without the residual."""
    labels = variance_labels(facts)
    interval = facts.interval_of(next(iter(labels)))
    return {
        "interval": interval,
        "rows": [estimate_row(facts, f, label) for f, label in labels.items()],
        "figure": plots.interval_figure(
            [interval_of(facts, f, label) for f, label in labels.items()],
            f"{key}-variance",
            "Variance components with their intervals",
            xlabel=f"variance: mean, {interval}",
            zero=bool(facts.signed),
        ),
    }


def variance_labels(facts: Facts) -> dict[str, str]:
    """Label the quantities of the variance table."""
    if len(facts.components) == 2:
        found = {f: label for f, label in VARIANCE.items() if f in facts.table.index}
        if found:
            return found
    out = {f"sigma2[{one}]": clean(one) for one in facts.components}
    return out | {f: label for f, label in TOTALS.items() if f in facts.table.index}


def effects_section(facts: Facts) -> dict[str, Any]:
    """Show the fixed effects on the scale of the data."""
    quantities = facts.rows("beta[")
    return {
        "interval": facts.interval_of(quantities[0]) if quantities else "",
        "rows": [
            estimate_row(facts, f, clean(f.removeprefix("beta[").removesuffix("]")))
            for f in quantities[:MOST_EFFECTS]
        ],
        "more": max(len(quantities) - MOST_EFFECTS, 0),
    }
