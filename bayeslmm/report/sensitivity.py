"""Prior sensitivity in the report: h² under other priors, and power-scaling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from bayeslmm.checks.other_priors import Alternative, reweighted_posteriors
from bayeslmm.checks.sensitivity import SENSITIVE, prior_sensitivity
from bayeslmm.estimates.boundary import WEAK
from bayeslmm.report.facts import Facts
from bayeslmm.report.names import listed, name
from bayeslmm.report.numbers import number, percent, probability, span
from bayeslmm.report.sensitivity_plots import density_figure, forest, row_label
from bayeslmm.report.svg import clean

if TYPE_CHECKING:
    import pandas as pd

type Row = dict[str, Any]

NEVER = 1e-3  # a prior with a smaller P(h² < 0.01) excludes 0 by itself
EDGE = 1e-3  # an interval with a bound below this is reported to reach 0
LITTLE, MUCH = 0.25, 0.75  # small and large shifts of the mean or a bound, in posterior sds


def sensitivity_section(
    facts: Facts, key: str, table: pd.DataFrame | None = None
) -> dict[str, Any]:
    """Make table, figures and sentences.

    Parameters
    ----------
    facts
        The trait.
    key
        Prefix of ids in the page.
    table
        Rows of this trait of `bayeslmm.checks.sensitivity.prior_sensitivity`; computed by default.
    """
    found = prior_sensitivity(facts.tree, facts.prob) if table is None else table
    rows = [{str(k): v for k, v in row.items()} for row in found.to_dict(orient="records")]
    shares = [row for row in rows if math.isfinite(row["mean"])]
    each = reweighted_posteriors(facts.tree) if not facts.traits else []
    return {
        "interval": f"{100 * facts.prob:g}\N{NO-BREAK SPACE}% HDI",
        "rows": [_shown(row, several=bool(facts.traits)) for row in shares],
        "densities": density_figure(each, f"{key}-priors") if len(each) > 1 else None,
        "forest": forest(shares, key, several=bool(facts.traits), prob=facts.prob),
        "sentences": verdicts(facts, shares),
        "notes": notes(facts, each, shares, rows),
        "scaled": [_scaled(row) for row in rows if math.isfinite(row["psense_likelihood"])],
        "by_bf": any(math.isfinite(row["log10_bf_h2_0"]) for row in shares),
    }


def _shown(row: Row, *, several: bool) -> dict[str, Any]:
    """Format a row of the table."""
    sd = row["sd"]
    bf = row["log10_bf_h2_0"]
    return {
        "label": clean(row_label(row, several=several)),
        "fitted": row["fitted"],
        "prior": [
            probability(row[f"prior_p_{limit}"])
            for limit in ("below_0.01", "below_0.05", "above_0.9")
        ],
        "mean": number(row["mean"], sd),
        "sd": number(sd, sd),
        "interval": span(row["lower"], row["upper"], sd),
        "below": probability(row["p_below_0.01"]),
        "bf": "–" if math.isnan(bf) else number(bf, 0.5, 1),
        "khat": "–" if math.isnan(row["pareto_k"]) else number(row["pareto_k"], 0.1),
        "trusted": row["trusted"],
    }


def _scaled(row: Row) -> dict[str, str]:
    """Format a row of the power-scaling table."""
    prior, likelihood = row["psense_prior"], row["psense_likelihood"]
    if prior >= SENSITIVE:
        word = "moves with the prior"
        word += " and the data" if likelihood >= SENSITIVE else ", hardly with the data"
    else:
        word = "follows the data" if likelihood >= SENSITIVE else "hardly moves with either"
    return {
        "label": clean(row["quantity"]),
        "prior": f"{prior:.3f}",
        "likelihood": f"{likelihood:.3f}",
        "word": word,
    }


def verdicts(facts: Facts, rows: list[Row]) -> list[Markup]:
    """Describe the effect of the other priors on each h²."""
    out = []
    for quantity in dict.fromkeys(row["quantity"] for row in rows):
        mine = [row for row in rows if row["quantity"] == quantity]
        fitted = next(row for row in mine if row["fitted"])
        others = [row for row in mine if row["trusted"] and not row["fitted"]]
        if others:
            out.append(_verdict(facts, fitted, others))
    if not out:
        out.append(
            Markup(
                "The prior of the shares is not one that this report can exchange without a new "
                "fit: try another one with --prior."
            )
        )
    return out


def _verdict(facts: Facts, fitted: Row, others: list[Row]) -> Markup:
    moved = shift(fitted, others)
    low, high = (pick(others, key=lambda row: row["mean"]) for pick in (min, max))
    if moved < LITTLE:
        strength = "The prior hardly matters here"
    elif moved < MUCH:
        strength = "The prior matters a little"
    else:
        strength = "The prior matters: what these data say depends on it"
    which = name(fitted["quantity"]) if facts.traits else Markup("h²")
    out = Markup(
        "<strong>{}.</strong> The {:g}\N{NO-BREAK SPACE}% HDI of {} is {} under the prior of this "
        "fit; it goes from {} under {} to {} under {}, and the mean from {} to {}."
    ).format(
        *(strength, 100 * facts.prob, which),
        *(_span(fitted), _span(low), name(low["prior"]), _span(high), name(high["prior"])),
        *(number(row["mean"], row["sd"]) for row in (low, high)),
    )
    return out + _zero(fitted, others) + _weak(facts)


def _span(row: Row) -> str:
    return span(row["lower"], row["upper"], row["sd"])


def shift(fitted: Row, others: list[Row]) -> float:
    """Return the largest shift of the mean or of a bound, in posterior sds of the fit."""
    moves = [
        abs(row[column] - fitted[column]) for row in others for column in ("mean", "lower", "upper")
    ]
    return float(max(moves) / max(fitted["sd"], 1e-12))


def _zero(fitted: Row, others: list[Row]) -> Markup:
    """State whether the prior determines that the interval reaches zero."""
    open_minded = [row for row in (fitted, *others) if not row["prior_p_below_0.01"] < NEVER]
    if not open_minded:
        return Markup("")
    reach = [row["prior"] for row in open_minded if row["lower"] < EDGE]
    clear = [row["prior"] for row in open_minded if row["lower"] >= EDGE]
    if not reach or not clear:
        result = "reaches 0 under every one" if reach else "stays clear of 0 under every one"
        but = "" if len(open_minded) == 1 + len(others) else " that does not rule 0 out by itself"
        return Markup(" It {} of them{}.").format(result, but)
    return Markup(
        " Whether it reaches 0 <strong>depends on the prior</strong>: it does under {}, it does "
        "not under {}."
    ).format(listed(name(one) for one in reach), listed(name(one) for one in clear))


def _weak(facts: Facts) -> Markup:
    """State the prior's part in the posterior if the study is weak."""
    se = facts.number("se_expected")
    if math.isnan(se) or se <= WEAK or math.isnan(facts.prior_share):
        return Markup("")
    return Markup(
        " The data inform h² weakly (expected standard error {}): {} of the prior’s variance is "
        "left in the posterior."
    ).format(number(se, se), percent(facts.prior_share))


def notes(facts: Facts, each: list[Alternative], rows: list[Row], all_rows: list[Row]) -> list[str]:
    """Return notes that explain table and figures."""
    out = []
    named = [one.prior for one in each if one.prior is not None and one.prior.name != "own"]
    if len(named) > 1:
        out.append("; ".join(f"{one.name}: {one.description}" for one in named) + ".")
    if any(one.share is not None for one in each):
        out.append("One kernel: the exact density of h² is reweighted, without Monte Carlo error.")
    elif len(rows) > 1:
        out.append("The draws are reweighted; this is reliable if k̂ is below 0.7.")
    if any(not row["trusted"] for row in rows):
        out.append(
            "A prior marked “fit it” has its mass where this fit has too few draws: give it with "
            "--prior and fit again."
        )
    if any(one.own and one.prior is not None and not one.direct for one in each):
        out.append(
            "The priors apply to the share that all components but the residual explain together; "
            "h² is a part of it."
        )
    alone = len(facts.components) == 2
    if alone and any(row["prior"] == "flat" and row["fitted"] for row in all_rows):
        out.append(
            "Power-scaling cannot detect sensitivity to a flat prior of h², which stays flat under "
            "every power; it detects sensitivity to the other priors. For h² see the priors above."
        )
    return out
