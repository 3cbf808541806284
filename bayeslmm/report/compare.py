"""The page of a model comparison: one self-contained HTML file, as the report of a fit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from bayeslmm.quantities import component_names, quantities
from bayeslmm.report import compare_plots, compare_words, plots
from bayeslmm.report.names import name
from bayeslmm.report.numbers import number, p_value, plain, probability, sign, span
from bayeslmm.report.page import fill
from bayeslmm.report.svg import FULL, clean
from bayeslmm.summary import describe, exact_share

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr

    from bayeslmm.cohort import Cohort
    from bayeslmm.comparison.savage_dickey import Ratio
    from bayeslmm.comparison.table import Comparison
    from bayeslmm.comparison.zero_tests import ZeroTest
    from bayeslmm.diagnostics import Diagnosis

type Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """One of the models compared.

    Parameters
    ----------
    name
        What it is called in the comparison.
    tree, model
        Fit and model.
    diagnosis
        Health of its draws.
    """

    name: str
    tree: xr.DataTree
    model: pm.Model
    diagnosis: Diagnosis

    def facts(self) -> dict[str, Any]:
        """What the record of the run says of it."""
        attrs = dict(self.tree.attrs)
        kept = ("model", "model_file", "model_sha256", "engine", "engine_reason", "draws", "chains")
        return {
            **{key: attrs[key] for key in kept if key in attrs},
            "ok": self.diagnosis.ok,
            "verdict": self.diagnosis.verdict,
            **{key: json.loads(attrs[key]) for key in ("priors", "relationships") if key in attrs},
        }


def render_comparison(
    comparison: Comparison,
    fits: Sequence[Fit],
    zeros: Mapping[str, Sequence[ZeroTest]],
    cohort: Cohort,
    *,
    command: str | None = None,
    prob: float = 0.95,
) -> str:
    """The report of a comparison as the text of an HTML page.

    Parameters
    ----------
    comparison
        What `bayeslmm.comparison.table.weigh_models` returned.
    fits
        The models, each once.
    zeros
        Tests of zero shares by model (`bayeslmm.comparison.zero_tests.weigh_zeros`).
    cohort
        The records.
    command
        What reproduces it.
    prob
        Probability of the intervals.
    """
    table = comparison.table
    names = [str(one) for one in table["model"]]
    by_name = {one.name: one for one in fits}
    first = comparison.left_out[names[0]]
    best = np.asarray(first.elpd_i)
    differences = {one: best - np.asarray(comparison.left_out[one].elpd_i) for one in names[1:]}
    shares = share_rows([by_name[one] for one in names], prob)
    return fill(
        "compare.html.jinja",
        trait=name(cohort.trait),
        plain_trait=cohort.trait,
        n=cohort.n,
        covariates=list(cohort.covariates),
        words=compare_words.conclusions(comparison),
        limits=compare_words.limits(comparison),
        sick=[one for one in fits if not one.diagnosis.ok],
        rows=model_rows(comparison),
        elpd=compare_plots.elpd_figure(table, "elpd"),
        pointwise=compare_plots.pointwise_figure(
            cohort.y, differences, names[0], cohort.trait, "pointwise"
        ),
        pointwise_words=compare_words.pointwise(differences, names[0]),
        pit=compare_plots.pit_figure(
            {one: np.asarray(comparison.left_out[one].pit) for one in names}, "pit"
        ),
        pit_words=compare_words.pits(comparison),
        shares=shares,
        share_figure=plots.interval_figure(
            [row["interval"] for row in shares],
            "shares",
            "Share of variance of each component in each model, posterior mean and interval",
            xlabel=f"share of the variance: mean (dot), {round(100 * prob, 3):g} % HDI (line)",
            limits=(-0.01, 1.01),
            width=FULL,
        )
        if shares
        else None,
        interval=f"{round(100 * prob, 3):g} % HDI",
        zeros=zero_rows(zeros),
        untested=[one for one in names if one in zeros and not zeros[one]],
        ledger=cohort.ledger.records(),
        provenance=provenance(fits),
        command=command,
    )


def model_rows(comparison: Comparison) -> list[dict[str, str]]:
    """The table of the models."""
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
                "diff_se": plain(row["diff_se"], 2),
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
    """h² and the share of every component, model by model."""
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
    """The tests of zero shares."""
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
                    "verdict": compare_words.strength(test.by_evidence.log10),
                    "p": p_value(test.p_value).removeprefix("= "),
                }
            )
    return rows


def ratio(found: Ratio) -> str:
    """log₁₀ BF with its Monte Carlo standard error."""
    if math.isnan(found.log10):
        return "–"
    if found.mcse < 5e-4:
        return sign(f"{found.log10:.3f}")
    return f"{number(found.log10, found.mcse, 1)} ± {plain(found.mcse, 1)}"


def provenance(fits: Sequence[Fit]) -> list[tuple[str, str]]:
    """Engines, files, seeds and versions."""
    rows = []
    for one in fits:
        attrs = one.tree.attrs
        file = f"{attrs.get('model_file', '')}, SHA-256 {str(attrs.get('model_sha256', ''))[:16]}…"
        words = f"{attrs.get('engine', '')} engine ({attrs.get('engine_reason', '')})"
        rows.append((clean(one.name), clean(words if one.name == "fixed" else f"{words}; {file}")))
    attrs = fits[0].tree.attrs
    versions = json.loads(attrs.get("versions", "{}"))
    rows.append(("seed, draws", clean(f"{attrs.get('seed', '–')}, {attrs.get('draws', '–')}")))
    rows.append(
        ("versions", clean(", ".join(f"{package} {one}" for package, one in versions.items())))
    )
    return rows
