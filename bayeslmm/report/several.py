"""Multi-trait models in the report: h² of each trait, genetic and residual correlations."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from markupsafe import Markup

from bayeslmm.inference.quantities import trait_of
from bayeslmm.report.drawing import FULL
from bayeslmm.report.facts import Facts
from bayeslmm.report.names import name
from bayeslmm.report.numbers import number, percent, probability, sign, span
from bayeslmm.report.part_plots import Segment, correlation_figure, stack_figure
from bayeslmm.report.plots import Interval, interval_figure
from bayeslmm.report.svg import clean

EDGE = 1e-3
BOUNDARY = 0.99  # an interval with a bound beyond ± this is reported to reach ±1
NEAR_BOUNDARY = 0.2  # smallest P(|r| > 0.95) that is reported; 0.05 under a uniform prior
VAGUE = 1.5  # width from which on the interval of a correlation is reported as uninformative
KINDS = {"r_g": "genetic", "r_e": "residual"}


def traits_section(facts: Facts, key: str) -> dict[str, Any] | None:
    """Make tables and figures of a multi-trait model; None for one trait."""
    if not facts.traits:
        return None
    rows = facts.h2_rows
    pairs = list(combinations(facts.traits, 2))
    return {
        "interval": facts.interval,
        "rows": [_h2_row(facts, trait, quantity) for trait, quantity in rows.items()],
        "forest": interval_figure(
            [_interval(facts, quantity, trait, mode=True) for trait, quantity in rows.items()],
            f"{key}-h2",
            "Heritability of each trait, posterior mean, mode and interval",
            xlabel=f"h²: mean (dot), mode (diamond), {facts.interval} (line)",
            limits=(-0.01, 1.01),
            width=FULL,
        ),
        "stack": stack_figure(
            [(clean(trait), _segments(facts, trait)) for trait in facts.traits],
            f"{key}-stack",
            "Posterior means of the shares of the variance of each trait",
        ),
        "zero": [_reaches_zero(facts, *row) for row in rows.items() if _near_zero(facts, row[1])],
        "correlations": correlations(facts, pairs),
        "correlation_interval": facts.interval_of(f"r_g[{pairs[0][0]},{pairs[0][1]}]"),
        "correlation_figure": _correlation_figure(facts, pairs, key),
        "notes": [note for pair in pairs for kind in KINDS for note in notes(facts, kind, pair)],
    }


def _h2_row(facts: Facts, trait: str, quantity: str) -> dict[str, str]:
    sd = facts.number(quantity, "sd")
    return {
        "label": clean(trait),
        "mean": number(facts.number(quantity), sd),
        "mode": number(facts.number(quantity, "mode"), sd),
        "sd": number(sd, sd),
        "interval": span(facts.number(quantity, "lower"), facts.number(quantity, "upper"), sd),
        "below": probability(below(facts, trait)),
    }


def below(facts: Facts, trait: str, limit: float = 0.01) -> float:
    """Return P(h² < limit) of one of several traits."""
    return float((facts.draws("h2")[..., facts.traits.index(trait)] < limit).mean())


def _interval(facts: Facts, quantity: str, label: str, *, mode: bool = False) -> Interval:
    mean, lower, upper = (facts.number(quantity, c) for c in ("mean", "lower", "upper"))
    high = facts.number(quantity, "mode") if mode else float("nan")
    return Interval(clean(label), mean, lower, upper, high)


def _segments(facts: Facts, trait: str) -> list[Segment]:
    """Make the segments of one trait's variance, labelled without the trait."""
    mine = [one for one in facts.components if trait_of(one, facts.traits) == trait]
    return [
        Segment(
            clean(one.removesuffix(f":{trait}")),
            facts.number(f"share[{one}]"),
            "residual" if one.startswith("residual:") else "genetic",
        )
        for one in mine
    ]


def _near_zero(facts: Facts, quantity: str) -> bool:
    return facts.number(quantity, "lower") < EDGE


def _reaches_zero(facts: Facts, trait: str, quantity: str) -> Markup:
    return Markup(
        "The interval of h² of {} reaches down to 0 (P(h² < 0.01) = {}): these data do not show "
        "that it is heritable, so its genetic correlations have little meaning."
    ).format(name(trait), probability(below(facts, trait)))


def correlations(facts: Facts, pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Format a row for each correlation of each pair, genetic ones first."""
    rows = []
    for kind, word in KINDS.items():
        for a, b in pairs:
            quantity = f"{kind}[{a},{b}]"
            sd = facts.number(quantity, "sd")
            rows.append(
                {
                    "kind": word,
                    "label": f"{clean(a)}, {clean(b)}",
                    "mean": sign(number(facts.number(quantity), sd)),
                    "sd": number(sd, sd),
                    "interval": span(
                        facts.number(quantity, "lower"), facts.number(quantity, "upper"), sd
                    ),
                    "negative": probability(facts.number(f"p_{kind}_below_0[{a},{b}]")),
                    "edge": probability(facts.number(f"p_abs_{kind}_above_0.95[{a},{b}]")),
                }
            )
    return rows


def _correlation_figure(facts: Facts, pairs: list[tuple[str, str]], key: str) -> Markup:
    """Draw the densities of r_g and r_e of one pair, or the intervals of several pairs."""
    if len(pairs) == 1:
        return correlation_figure(
            {kind: facts.draws(kind)[..., 0, 1].ravel() for kind in KINDS},
            f"{key}-correlations",
            f"Posterior densities of the genetic and the residual correlation of "
            f"{clean(pairs[0][0])} and {clean(pairs[0][1])}",
        )
    return interval_figure(
        [
            _interval(facts, f"{kind}[{a},{b}]", f"{kind}  {a}, {b}")
            for kind in KINDS
            for a, b in pairs
        ],
        f"{key}-correlations",
        "Genetic and residual correlations of the traits with their intervals",
        xlabel=f"correlation: mean, {facts.interval_of(f'r_g[{pairs[0][0]},{pairs[0][1]}]')}",
        limits=(-1.02, 1.02),
        width=FULL,
        zero=True,
    )


def notes(facts: Facts, kind: str, pair: tuple[str, str]) -> list[Markup]:
    """Return notes on a correlation: constant, at ±1, or hardly known."""
    quantity = f"{kind}[{pair[0]},{pair[1]}]"
    lower, upper = facts.number(quantity, "lower"), facts.number(quantity, "upper")
    edge = facts.number(f"p_abs_{kind}_above_0.95[{pair[0]},{pair[1]}]")
    symbol, word = Markup("r<sub>{}</sub>").format(kind[-1]), KINDS[kind]
    names = (name(pair[0]), name(pair[1]))
    out = []
    if lower == upper:
        return [
            Markup("{} of {} and {} is the same in every draw: it has not been estimated.").format(
                symbol, *names
            )
        ]
    ends = [end for end, there in (("−1", lower < -BOUNDARY), ("1", upper > BOUNDARY)) if there]
    if ends or edge > NEAR_BOUNDARY:
        end = " and ".join(ends) or ("1" if facts.number(quantity) > 0 else "−1")
        out.append(
            Markup(
                "The posterior of {} of {} and {} reaches {}: the {} parts of the two traits may "
                "be the same except for sign and scale (P(|{}| > 0.95) = {})."
            ).format(symbol, *names, end, word, symbol, probability(edge))
        )
    if upper - lower > VAGUE:
        out.append(
            Markup(
                "{} of {} and {} is hardly known: its interval covers {} of the range −1 to 1."
            ).format(symbol, *names, percent((upper - lower) / 2))
        )
    return out
