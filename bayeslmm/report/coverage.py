"""Coverage and power of a planned study as text and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.estimates.boundary import WEAK
from bayeslmm.report.numbers import percent, plain, sign
from bayeslmm.report.page import fill
from bayeslmm.report.svg import clean

if TYPE_CHECKING:
    import pandas as pd

NAMES = {"hdi": "HDI", "eti": "equal-tailed", "reml_wald": "REML ± z SE"}


def coverage_lines(table: pd.DataFrame, facts: Mapping[str, Any], *, prob: float) -> list[str]:
    """Format coverage as sentences and a text table, for the terminal."""
    lines = [*map(clean, _coverage_lead(table, facts, prob)), ""]
    groups = [NAMES[method] for method in dict.fromkeys(table["method"])]
    lines.append(" " * 7 + "".join(f"{name:^25}" for name in groups).rstrip())
    lines.append(f"{'h²':>6} " + "  coverage  width    bias" * len(groups))
    for h2, rows in table.groupby("h2", sort=False):
        text = "".join(
            f"{row['coverage']:10.3f}{row['width']:7.3f}{row['bias']:+8.3f}" for row in _rows(rows)
        )
        lines.append(f"{_share(h2):>6} {text}")
    return [*lines, ""]


def power_lines(table: pd.DataFrame, facts: Mapping[str, Any], *, prob: float) -> list[str]:
    """Format power as sentences and a text table, for the terminal."""
    lines = [*map(clean, _power_lead(table, facts, prob)), ""]
    lines.append("      n    h²  expected SE  width  P(interval excludes 0)  P(test rejects 0)")
    lines += [
        f"{row['n']:7d}{row['h2']:6.2g}{plain(row['se_expected']):>13}{row['width']:7.3f}"
        f"{row['p_excludes_0']:24.3f}{row['p_rlrt']:19.3f}"
        for row in _rows(table)
    ]
    return [*lines, ""]


def coverage_page(
    table: pd.DataFrame, facts: Mapping[str, Any], *, prob: float, command: str | None = None
) -> str:
    """Render the page of ``bayeslmm coverage``.

    Parameters
    ----------
    table
        Result of `bayeslmm.study.coverage.estimate_coverage`.
    facts
        kernel (a phrase), n, expected_se_at_0, priors.
    prob
        Probability of the intervals.
    command
        The command that made the table.
    """
    from bayeslmm.report.coverage_plots import coverage_figure

    rows = [
        (_share(row["h2"]), NAMES[row["method"]], f"{row['coverage']:.3f}",
         f"{row['width']:.3f}", sign(f"{row['bias']:+.3f}"), f"{row['n_reps']:,}")
        for row in _rows(table)
    ]  # fmt: skip
    return fill(
        "coverage.html.jinja",
        kind="coverage of intervals",
        title="How often do intervals of h² hold the truth?",
        lead=_coverage_lead(table, facts, prob),
        figures=[coverage_figure(table, prob, "coverage")],
        notes=_COVERAGE_NOTES,
        columns=("true h²", "interval", "coverage", "mean width", "mean error", "data sets"),
        rows=rows,
        command=command,
    )


def power_page(
    table: pd.DataFrame, facts: Mapping[str, Any], *, prob: float, command: str | None = None
) -> str:
    """Render the page of ``bayeslmm power``; arguments as for `coverage_page`."""
    from bayeslmm.report.coverage_plots import power_figure

    rows = [
        (f"{row['n']:,}", f"{row['h2']:g}", plain(row["se_expected"]), f"{row['width']:.3f}",
         f"{row['p_excludes_0']:.3f}", f"{row['p_rlrt']:.3f}", f"{row['n_reps']:,}")
        for row in _rows(table)
    ]  # fmt: skip
    return fill(
        "coverage.html.jinja",
        kind="power of a study",
        title="What could this study say about h²?",
        lead=_power_lead(table, facts, prob),
        figures=[power_figure(table, "power")],
        notes=_POWER_NOTES,
        columns=("n", "true h²", "expected SE", "mean width", "P(interval excludes 0)",
                 "P(test rejects h² = 0)", "data sets"),
        rows=rows,
        command=command,
    )  # fmt: skip


def _rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict(orient="records")


def _share(h2: object) -> str:
    return h2 if isinstance(h2, str) else f"{h2:g}"


def _coverage_lead(table: pd.DataFrame, facts: Mapping[str, Any], prob: float) -> list[str]:
    reps = int(table["n_reps"].max())
    error = np.sqrt(prob * (1 - prob) / reps)
    h2, total = (facts["priors"][name] for name in ("h2", "total_sd"))
    lead = [
        f"From {facts['kernel']} of {facts['n']:,} individuals, {_sets(reps)} for each true h² "
        f"{'was' if reps == 1 else 'were'} fitted; the coverage of a {percent(prob)} interval has "
        f"a Monte Carlo error of {error:.3f}. Priors: h2 = {h2}, total_sd = {total}.",
    ]
    average = table[table["h2"] == "prior"].set_index("method")["coverage"]
    if len(average):
        lead.append(
            f"Averaged over the prior of h², our highest density interval (HDI) holds the truth in "
            f"{_of(average['hdi'])} of the data sets, the equal-tailed one in "
            f"{_of(average['eti'])}, REML ± z SE in {_of(average['reml_wald'])}."
        )
    fixed = table[(table["h2"] != "prior") & (table["method"] == "hdi")]
    if len(fixed):
        worst = min(_rows(fixed), key=lambda row: row["coverage"])
        lead.append(
            f"At one fixed h² the HDI has its lowest coverage at h² = {worst['h2']:g}: "
            f"{_of(worst['coverage'])}."
        )
    se = float(facts["expected_se_at_0"])
    if se > WEAK:
        lead.append(
            f"The expected standard error of h² near 0 is {se:.2g}: data of this size say little, "
            "and the prior matters."
        )
    return lead


def _power_lead(table: pd.DataFrame, facts: Mapping[str, Any], prob: float) -> list[str]:
    lead = [
        f"From {facts['kernel']}, {_sets(int(table['n_reps'].max()))} for each h²; "
        f"intervals are {percent(prob)} highest density intervals."
    ]
    for n, rows in table.groupby("n", sort=True):
        enough = rows[(rows["p_excludes_0"] >= 0.8) & (rows["h2"] > 0)]
        middle = min(_rows(rows), key=lambda row: abs(row["h2"] - 0.5))
        shown = (
            f"the interval excludes 0 with a probability of 80 % or more from h² = "
            f"{enough['h2'].min():g} on"
            if len(enough)
            else "at none of these h² does the interval exclude 0 with a probability of 80 %"
        )
        lead.append(
            f"{n:,} individuals: {shown}; at h² = {middle['h2']:g} the interval is "
            f"{middle['width']:.2g} wide (expected standard error {plain(middle['se_expected'])})."
        )
    return lead


def _sets(reps: int) -> str:
    return f"{reps:,} simulated data set{'' if reps == 1 else 's'}"


def _of(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


_COVERAGE_NOTES = (
    "Averaged over the prior, an exact posterior interval has its nominal coverage; this checks "
    "the computation. At one fixed h² the coverage may be higher or lower, most of all near 0 and "
    "1 and where the data are weak.",
    "An equal-tailed interval excludes a tail on both sides, so it never holds h² = 0 or h² = 1, "
    "and its line falls to zero there; the HDI, which our results give, can hold them. The grey "
    "band is the Monte Carlo error around the nominal coverage.",
    "REML ± z SE is the restricted maximum likelihood estimate between 0 and 1 with its standard "
    "error by average information, cut to 0 and 1, as in GCTA. z is 1.96 for 95 %.",
    "The mean error refers to the posterior mean, or to the REML estimate. Near 0 and 1 the "
    "posterior mean is shrunk inwards: also look at the mode and at the interval.",
    "All of this depends on the eigenvalues of the relationship matrix only, not on the phenotype, "
    "as long as it is Gaussian.",
)
_POWER_NOTES = (
    "The interval excludes 0 if the shortest interval of its probability begins above 0. The test "
    "of h² = 0 is the exact restricted likelihood ratio test at 5 %; at h² = 0 it rejects in 5 % "
    "by construction.",
    "The expected standard error of REML comes from the information of the eigenvalues at the "
    "true h². It is too large near 0 and 1, where estimates cannot spread to both sides.",
    "A smaller number of individuals is a random sample from the matrix. A larger one, or any "
    "number with --me, stands for unrelated individuals with the same effective number of segments "
    "(1 / variance of the relationships), whose eigenvalues follow the Marchenko-Pastur law.",
)
