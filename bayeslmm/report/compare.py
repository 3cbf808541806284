"""The page of a model comparison: one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.report import compare_plots, compare_text, plots
from bayeslmm.report.compare_tables import model_rows, share_rows, untested_rows, zero_rows
from bayeslmm.report.compared_fit import Fit
from bayeslmm.report.drawing import FULL
from bayeslmm.report.names import name
from bayeslmm.report.page import fill
from bayeslmm.report.svg import clean

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.comparison.table import Comparison
    from bayeslmm.comparison.zero_tests import ZeroTest


def render_comparison(
    comparison: Comparison,
    fits: Sequence[Fit],
    zeros: Mapping[str, Sequence[ZeroTest]],
    cohort: Cohort,
    *,
    untested: Mapping[str, str] | None = None,
    command: str | None = None,
    prob: float = 0.95,
) -> str:
    """Render the report of a comparison as the text of an HTML page.

    Parameters
    ----------
    comparison
        Result of `bayeslmm.comparison.table.weigh_models`.
    fits
        The models, each once.
    zeros
        Tests of zero shares by model (`bayeslmm.comparison.zero_tests.weigh_zeros`).
    cohort
        The records.
    untested
        Reason for the absence of such tests, by model
        (`bayeslmm.comparison.zero_tests.why_no_zeros`).
    command
        The command that reproduces the comparison.
    prob
        Probability of the intervals.
    """
    table = comparison.table
    names = [str(one) for one in table["model"]]
    by_name = {one.name: one for one in fits}
    first = comparison.leave_one_out[names[0]]
    best = np.asarray(first.elpd_i)
    differences = {
        one: best - np.asarray(comparison.leave_one_out[one].elpd_i) for one in names[1:]
    }
    shares = share_rows([by_name[one] for one in names], prob)
    return fill(
        "compare.html.jinja",
        trait=name(cohort.trait),
        plain_trait=cohort.trait,
        n=cohort.n,
        people=len(cohort.people),
        covariates=list(cohort.covariates),
        sentences=compare_text.conclusions(comparison),
        limits=compare_text.limits(comparison, repeated=len(cohort.people) < cohort.n),
        sick=[one for one in fits if not one.diagnosis.ok],
        rows=model_rows(comparison),
        elpd=compare_plots.elpd_figure(table, "elpd"),
        pointwise=compare_plots.pointwise_figure(
            cohort.y, differences, names[0], cohort.trait, "pointwise"
        ),
        pointwise_sentence=compare_text.pointwise(differences, names[0]),
        pit=compare_plots.pit_figure(
            {one: np.asarray(comparison.leave_one_out[one].pit) for one in names}, "pit"
        ),
        pit_sentence=compare_text.pits(comparison),
        shares=shares,
        share_figure=plots.interval_figure(
            [row["interval"] for row in shares],
            "shares",
            "Share of variance of each component in each model, posterior mean and interval",
            xlabel=f"share of the variance: mean (dot), {round(100 * prob, 3):g} % HDI (line)",
            limits=(min([-0.01, *(row["interval"].lower - 0.02 for row in shares)]), 1.01),
            width=FULL,
        )
        if shares
        else None,
        covariances=any(row["interval"].lower < 0 for row in shares),
        interval=f"{round(100 * prob, 3):g} % HDI",
        zeros=zero_rows(zeros),
        untested=untested_rows(names, zeros, untested or {}),
        ledger=cohort.ledger.records(),
        provenance=provenance(fits),
        command=command,
    )


def provenance(fits: Sequence[Fit]) -> list[tuple[str, str]]:
    """List engines, files, seeds and versions."""
    rows = []
    for one in fits:
        attrs = one.tree.attrs
        file = f"{attrs.get('model_file', '')}, SHA-256 {str(attrs.get('model_sha256', ''))[:16]}…"
        engine = f"{attrs.get('engine', '')} engine ({attrs.get('engine_reason', '')})"
        rows.append(
            (clean(one.name), clean(engine if one.name == "fixed" else f"{engine}; {file}"))
        )
    attrs = fits[0].tree.attrs
    versions = json.loads(attrs.get("versions", "{}"))
    rows.append(("seed, draws", clean(f"{attrs.get('seed', '–')}, {attrs.get('draws', '–')}")))
    rows.append(
        ("versions", clean(", ".join(f"{package} {one}" for package, one in versions.items())))
    )
    return rows
