"""Shares of the variance of a model with several components."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from bayeslmm.report.drawing import FULL
from bayeslmm.report.facts import Facts
from bayeslmm.report.names import listed, name
from bayeslmm.report.numbers import number, percent, probability, span
from bayeslmm.report.part_plots import Kind, Segment, stack_figure
from bayeslmm.report.plots import Interval, interval_figure
from bayeslmm.report.svg import clean

EDGE = 1e-3  # an interval with a bound below this is reported to reach 0
AT_ZERO = 0.5  # smallest P(share < 0.01) of a component reported as at zero


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The posterior of the share of a variance component.

    Parameters
    ----------
    name
        Name of the component.
    share
        Posterior mean of its share of the variance.
    below
        P(share < 0.01).
    lower
        Lower end of the interval of the share.
    kind
        "genetic", "environment", "covariance" (may be negative) or "residual".
    """

    name: str
    share: float
    below: float
    lower: float
    kind: Kind

    @property
    def at_zero(self) -> bool:
        """Most of the posterior lies below 0.01."""
        return self.kind in ("genetic", "environment") and self.below >= AT_ZERO

    @property
    def reaches_zero(self) -> bool:
        """The interval reaches zero, but most of the posterior lies above 0.01."""
        shown = self.kind in ("genetic", "environment") and not self.at_zero
        return shown and self.lower < EDGE


def parts_of(facts: Facts) -> list[Part]:
    """Return the components of one trait, the residual last."""
    signed, genetic, names = facts.signed, facts.genetic, facts.components
    unknown = not genetic  # h² is defined by the model file: its components are unknown
    out = []
    for one in names:
        kind: Kind = "genetic" if one in genetic or unknown else "environment"
        if one in signed:
            kind = "covariance"
        if one == names[-1]:
            kind = "residual"
        quantity = f"share[{one}]"
        draws = facts.draws("variance")
        share = draws[..., names.index(one)] / draws.sum(axis=-1)
        below = float(np.mean(share < 0.01))
        out.append(Part(one, facts.number(quantity), below, facts.number(quantity, "lower"), kind))
    return out


def parts_section(facts: Facts, key: str) -> dict[str, Any] | None:
    """Make table, stacked bar, forest and sentences; None if h² and the residual are all parts."""
    if facts.traits or len(facts.components) == 2:
        return None
    parts = parts_of(facts)
    interval = facts.interval_of(f"share[{facts.components[-1]}]")
    return {
        "interval": interval,
        "rows": [_row(facts, part) for part in parts],
        "sentences": zero_sentences(parts),
        "signed": [name(part.name) for part in parts if part.kind == "covariance"],
        "stack": stack_figure(
            [("", segments(parts))],
            f"{key}-stack",
            "Posterior means of the shares of the variance: "
            + ", ".join(f"{clean(part.name)} {percent(part.share)}" for part in parts),
        ),
        "forest": interval_figure(
            [_interval(facts, part) for part in parts],
            f"{key}-parts",
            "Shares of the variance with their intervals",
            xlabel=f"share of the variance: mean, {interval}; hollow where it reaches zero",
            width=FULL,
            zero=True,
        ),
    }


def segments(parts: Iterable[Part]) -> list[Segment]:
    """Convert the parts to segments of a stacked bar."""
    return [Segment(clean(part.name), part.share, part.kind) for part in parts]


def _row(facts: Facts, part: Part) -> dict[str, str]:
    quantity = f"share[{part.name}]"
    sd = facts.number(quantity, "sd")
    variance = facts.number(f"sigma2[{part.name}]")
    tested = part.kind in ("genetic", "environment")
    word = "at zero" if part.at_zero else "reaches zero" if part.reaches_zero else ""
    return {
        "label": clean(part.name),
        "kind": part.kind,
        "mean": number(part.share, sd),
        "sd": number(sd, sd),
        "interval": span(facts.number(quantity, "lower"), facts.number(quantity, "upper"), sd),
        "variance": number(variance, facts.number(f"sigma2[{part.name}]", "sd")),
        "below": probability(part.below) if tested else "–",
        "word": word,
    }


def _interval(facts: Facts, part: Part) -> Interval:
    upper = facts.number(f"share[{part.name}]", "upper")
    faint = part.kind != "covariance" and (part.at_zero or part.lower < EDGE)
    return Interval(clean(part.name), part.share, part.lower, upper, faint=faint)


def zero_sentences(parts: list[Part]) -> list[Markup]:
    """Name the parts above zero, at zero, and compatible with it, with their probabilities."""
    tested = [part for part in parts if part.kind in ("genetic", "environment")]
    at_zero = [part for part in tested if part.at_zero]
    unclear = [part for part in tested if part.reaches_zero]
    clear = [part for part in tested if not part.at_zero and not part.reaches_zero]
    out = []
    if clear:
        out.append(Markup("Above zero: {}.").format(listed(name(p.name) for p in clear)))
    if at_zero:
        out.append(
            Markup("At zero, P(share < 0.01) at least {}: {}.").format(AT_ZERO, _named(at_zero))
        )
    if unclear:
        out.append(
            Markup(
                "The interval reaches zero, so the data do not show that the component exists"
                " (in brackets P(share < 0.01)): {}."
            ).format(_named(unclear))
        )
    return out


def _named(parts: list[Part]) -> Markup:
    return listed(
        Markup("{} ({})").format(name(part.name), probability(part.below)) for part in parts
    )


MEANINGS = {
    "repeatability": "share of all permanent effects of an individual, genetic or not",
    "h2_direct": "share of the direct genetic effect alone",
    "h2_total": "Willham’s total heritability, (σ²ₐ + 1.5 σₐₘ + 0.5 σ²ₘ) over the total: the share "
    "available to selection",
    "r_direct_maternal": "correlation of direct and maternal genetic effects",
    "r_intercept_slope": "genetic correlation of intercept and slope",
}
OTHERS = ("h2_", "repeatability", "r_", "residual_variance[")


def others_section(facts: Facts) -> list[dict[str, str]]:
    """List further quantities that the model reports, with their meaning."""
    rows = []
    for quantity in [one for prefix in OTHERS for one in facts.rows(prefix)]:
        if quantity.startswith(("r_g[", "r_e[")):
            continue
        sd = facts.number(quantity, "sd")
        rows.append(
            {
                "label": clean(quantity),
                "mean": number(facts.number(quantity), sd),
                "sd": number(sd, sd),
                "interval": span(
                    facts.number(quantity, "lower"), facts.number(quantity, "upper"), sd
                ),
                "kind": facts.interval_of(quantity),
                "meaning": _meaning(facts, quantity),
            }
        )
    return rows


def _meaning(facts: Facts, quantity: str) -> str:
    if quantity.startswith("residual_variance["):
        return "residual variance of this group"
    text = MEANINGS.get(quantity, "")
    if quantity.startswith("r_") and quantity in facts.tree["posterior"]:
        r = facts.draws(quantity)
        signs = f"P(r < 0) = {probability(float(np.mean(r < 0)))}"
        edge = f"P(|r| > 0.95) = {probability(float(np.mean(np.abs(r) > 0.95)))}"
        text = f"{text}; {signs}, {edge}" if text else f"{signs}, {edge}"
    return text
