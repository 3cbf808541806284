"""Sentences of the model comparison: conclusions and limitations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from bayeslmm.numerics.arrays import Floats
from bayeslmm.report.compare_plots import BAND
from bayeslmm.report.names import listed, name
from bayeslmm.report.numbers import number, plain, probability, sign
from bayeslmm.report.svg import clean

if TYPE_CHECKING:
    from bayeslmm.comparison.table import Comparison


CLEAR = 2.0  # a larger elpd difference, in standard errors, is reported as a difference
SMALL = 4.0  # a smaller elpd difference, in nats, is not reported whatever its standard error
ALIKE = 1e-6  # nats; smaller differences are rounding error
CLOSE = math.log(3.0)  # nats; a smaller difference of log evidence is "barely worth mentioning"


def conclusions(comparison: Comparison) -> list[Markup]:
    """State the conclusions by prediction and by evidence, and where the two disagree."""
    table = comparison.table
    best = str(table["model"].to_numpy()[0])
    out = [_of_prediction(comparison)]
    if comparison.probabilities:
        out.append(_of_evidence(comparison))
        logs = {one: found.log_ml for one, found in comparison.evidence.items()}
        likely = max(logs, key=lambda one: logs[one])
        if logs[likely] - logs[best] > CLOSE:
            out.append(
                Markup(
                    "The two criteria put different models first, {} and {}. Prediction hardly "
                    "penalises a component without effect; the marginal likelihood penalises the "
                    "prior mass on values that the data exclude. If they disagree, the additional "
                    "component is at most small."
                ).format(name(best), name(likely))
            )
    return out


def _of_prediction(comparison: Comparison) -> Markup:
    table = comparison.table
    names = [str(one) for one in table["model"]]
    diff = np.abs(table["elpd_diff"].to_numpy(dtype=np.float64))
    se = table["diff_se"].to_numpy(dtype=np.float64)
    out = Markup(
        "<strong>Prediction.</strong> {} predicts a record best from all other records"
    ).format(name(names[0]))
    close = [
        one
        for one, d, s in zip(names[1:], diff[1:], se[1:], strict=True)
        if d < SMALL or d < CLEAR * s
    ]
    worse = [
        (one, d, s)
        for one, d, s in zip(names[1:], diff[1:], se[1:], strict=True)
        if one not in close
    ]
    if worse:
        out += Markup("; {} worse, by more than {:g} standard errors").format(
            listed(
                Markup("{} is {} ± {} nats").format(name(one), number(d, max(s, 0.1)), plain(s, 2))
                for one, d, s in worse
            ),
            CLEAR,
        )
    if close:
        out += Markup(
            ". The data cannot distinguish its predictions from those of {}: the difference is "
            "less than {:g} nats or less than {:g} standard errors"
        ).format(listed(name(one) for one in close), SMALL, CLEAR)
    return out + Markup(".")


def _of_evidence(comparison: Comparison) -> Markup:
    chances = comparison.probabilities
    ordered = sorted(chances, key=lambda one: -chances[one])
    first, second = ordered[0], ordered[1]
    difference = comparison.evidence[first].log_ml - comparison.evidence[second].log_ml
    out = Markup(
        "<strong>Marginal likelihood.</strong> With equal prior probabilities of the {} models, {} "
        "has the posterior probability {}"
    ).format(len(ordered), name(first), probability(chances[first]))
    out += Markup(", {} {}").format(name(second), probability(chances[second]))
    if difference < CLOSE:
        out += Markup(
            ": the two differ by a factor of {} only, which is barely worth mentioning"
        ).format(plain(math.exp(difference), 2))
    return out + Markup(".")


def limits(comparison: Comparison, *, repeated: bool = False) -> list[Markup | str]:
    """State the limitations of the comparison; `repeated`: individuals have several records."""
    out: list[Markup | str] = [
        "No model is shown to be true. Both criteria only rank the models compared, and the best "
        "of them can still describe the data badly. Check that the PIT below is uniform.",
        "Leave-one-out predicts one record from all "
        + (
            "others, including those of the same individual. "
            if repeated
            else "others, including its relatives. "
        )
        + "Success at this says little about new "
        + ("individuals" if repeated else "families")
        + ", and nothing about causes.",
        "The standard errors treat the records as independent. Relatives are not, so the standard "
        "errors are somewhat too small.",
        "Posterior probabilities of the models, and Bayes factors, depend on the priors of the "
        "variances however many data there are. These are the priors of the model files, or those "
        "given.",
    ]
    worst = float(comparison.table["pareto_k_max"].max())
    unresolved = {
        one: len(found.unresolved)
        for one, found in comparison.leave_one_out.items()
        if getattr(found, "unresolved", ())
    }
    if unresolved:
        out.append(
            Markup("k̂ stays above the limit for records of {}: their leave-one-out values are "
                   "uncertain.").format(
                listed(Markup("{} ({})").format(name(one), k) for one, k in unresolved.items())
            )
        )  # fmt: skip
    else:
        shown = sign(f"{worst:.2f}")
        out.append(
            f"Largest Pareto k̂ after correction: {shown}; the leave-one-out values are reliable."
        )
    out += [clean(note) for note in comparison.notes]
    return out


def pointwise(differences: Mapping[str, Floats], best: str) -> Markup:
    """Describe how the difference from the next best model is distributed over the records."""
    second, values = next(iter(differences.items()))
    if np.abs(values).max() < ALIKE:
        return Markup("{} and {} predict every record alike.").format(name(best), name(second))
    total = float(values.sum())
    better = int(np.count_nonzero(values > 0))
    out = Markup("{} predicts {:,} of {:,} records better than {} does. ").format(
        name(best), better, values.size, name(second)
    )
    order = np.sort(np.abs(values))[::-1]
    share = float(order[: max(1, values.size // 100)].sum() / max(order.sum(), 1e-300))
    out += Markup(
        "The sum of the differences is {}; the hundredth of the records with the largest ones "
        "holds {:.0f}\N{NO-BREAK SPACE}% of their absolute sum."
    ).format(plain(total, 3), 100 * share)
    if share > 0.25:
        out += Markup(" A few records decide: look at them before you believe the ranking.")
    return out


def pits(comparison: Comparison) -> Markup:
    """Name the models whose PIT leaves the band."""
    outside = []
    for one, found in comparison.leave_one_out.items():
        values = np.sort(np.asarray(found.pit))
        level = np.arange(1, values.size + 1) / values.size
        distance = float(
            max(np.abs(level - values).max(), np.abs(level - 1 / values.size - values).max())
        )
        if distance > BAND / math.sqrt(values.size):
            outside.append(one)
    if not outside:
        return Markup(
            "A model whose predictions are calibrated gives a uniform PIT, a line near zero. All "
            "lines stay within the band that holds 95\N{NO-BREAK SPACE}% of the lines of "
            "independent uniform values."
        )
    return Markup(
        "A model whose predictions are calibrated gives a uniform PIT, a line near zero. The line "
        "of {} leaves the band that holds 95\N{NO-BREAK SPACE}% of the lines of independent "
        "uniform values: its predictions are too narrow, too wide or not normal."
    ).format(listed(name(one) for one in outside))


def strength(log10: float) -> str:
    """Describe the strength of a Bayes factor (Kass & Raftery 1995)."""
    if math.isnan(log10):
        return "not available"
    word = "barely worth mentioning"
    for threshold, found in ((0.5, "substantial"), (1.0, "strong"), (2.0, "decisive")):
        if abs(log10) >= threshold:
            word = found
    return f"{'for' if log10 > 0 else 'against'} zero: {word}"
