"""The tables of a model comparison, formatted as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from bayeslmm.inference.quantities import component_names, quantities
from bayeslmm.posterior.summary import describe, exact_share
from bayeslmm.report import compare_text, plots
from bayeslmm.report.names import name
from bayeslmm.report.numbers import number, p_value, plain, probability, sign, span
from bayeslmm.report.svg import clean

if TYPE_CHECKING:
    from bayeslmm.comparison.savage_dickey import Ratio
    from bayeslmm.comparison.table import Comparison
    from bayeslmm.comparison.zero_tests import ZeroTest
    from bayeslmm.report.compared_fit import Fit


def model_rows(comparison: Comparison) -> list[dict[str, str]]:
    """Format the table of the models."""
    chances = comparison.probabilities
    rows = []
    for row in comparison.table.to_dict(orient="records"):
        one = str(row["model"])
        evidence = comparison.evidence.get(one)
        rows.append(
            {
                "model": clean(one),
                "elpd": number(row["elpd"], row["se"]),
                "se": plain(row["se"], 2),
                "diff": number(row["elpd_diff"], max(row["diff_se"], 0.1)),
                "diff_se": plain(row["diff_se"] if row["diff_se"] > compare_text.ALIKE else 0.0, 2),
                "weight": f"{row['weight']:.2f}",
                "k": f"{sign(f'{row["pareto_k_max"]:.2f}')}",
                "log_ml": "–" if evidence is None else sign(f"{evidence.log_ml:.2f}"),
                "mcse": "–"
                if evidence is None
                else ("exact" if evidence.mcse == 0 else plain(evidence.mcse, 1)),
                "method": "–" if evidence is None else evidence.method,
                "chance": probability(chances.get(one, math.nan)),
            }
        )
    return rows


def share_rows(fits: Sequence[Fit], prob: float) -> list[dict[str, Any]]:
    """Format h² and the share of every component, by model."""
    rows = []
    for one in fits:
        if one.tree.attrs.get("model") == "fixed":
            continue
        posterior = one.tree["posterior"].to_dataset()
        drawn = quantities(posterior)
        components = component_names(posterior)[:-1]
        wanted = ["h2", *(f"share[{k}]" for k in components if len(components) > 1)]
        for label in wanted:
            if label not in drawn or (label != "h2" and np.allclose(drawn[label], drawn["h2"])):
                continue  # one component is all of h²
            found = describe(drawn[label], label, prob)
            exact = exact_share(one.tree)
            if exact is not None:
                mean, sd = exact.moments()
                lower, upper = exact.hdi(prob)
                found |= {"mean": mean, "sd": sd, "lower": lower, "upper": upper}
            shown = "h²" if label == "h2" else label.removeprefix("share[").removesuffix("]")
            rows.append(
                {
                    "model": clean(one.name),
                    "label": clean(shown),
                    "mean": number(found["mean"], found["sd"]),
                    "sd": plain(found["sd"], 2),
                    "span": span(found["lower"], found["upper"], found["sd"]),
                    "interval": plots.Interval(
                        f"{one.name}: {shown}", found["mean"], found["lower"], found["upper"],
                        faint=label != "h2",
                    ),
                }
            )  # fmt: skip
    return rows


def zero_rows(zeros: Mapping[str, Sequence[ZeroTest]]) -> list[dict[str, Any]]:
    """Format the tests of zero shares."""
    rows = []
    for model, tests in zeros.items():
        for test in tests:
            parts = Markup(", ").join(name(one) for one in test.components)
            null = Markup("h² = 0 ({} absent)") if test.of_h2 else Markup("{} absent")
            rows.append(
                {
                    "model": clean(model),
                    "null": null.format(parts),
                    "evidence": ratio(test.by_evidence),
                    "density": ratio(test.by_density),
                    "verdict": compare_text.strength(test.by_evidence.log10),
                    "p": p_value(test.p_value).removeprefix("= "),
                }
            )
    return rows


def untested_rows(
    names: Sequence[str], zeros: Mapping[str, Sequence[ZeroTest]], why: Mapping[str, str]
) -> list[tuple[str, str]]:
    """List the models without tests of zero shares and the reason, in the order of the table."""
    default = "its variances are not shares of one total"
    return [
        (one, why.get(one, default))
        for one in names
        if one in why or (one in zeros and not zeros[one])
    ]


def ratio(found: Ratio) -> str:
    """Format log₁₀ BF with its Monte Carlo standard error."""
    if math.isnan(found.log10):
        return "–"
    if found.mcse < 5e-4:
        return sign(f"{found.log10:.3f}")
    return f"{number(found.log10, found.mcse, 1)} ± {plain(found.mcse, 1)}"
