"""The report: one self-contained HTML file with numbers, plots, diagnostics and provenance.

No script, no remote request; every name from the data is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.errors import InputError
from bayeslmm.report.facts import read_facts
from bayeslmm.report.relatedness import Relatedness, add_relatedness, relatedness
from bayeslmm.system.files import PathArg, write_text

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from bayeslmm.inference.diagnostics import Diagnosis

__all__ = ["Relatedness", "add_relatedness", "relatedness", "render", "report"]


def report(
    tree: xr.DataTree,
    path: PathArg,
    *,
    command: str | None = None,
    relatedness: Relatedness | None = None,
    summary: pd.DataFrame | None = None,
    prob: float = 0.95,
) -> Path:
    """Write the report of a fit.

    Parameters
    ----------
    tree
        Result of `bayeslmm.fit`, or several traits in one tree.
    path
        The HTML file; written atomically. A missing folder is created.
    command
        The command that reproduces the fit. Default: the tree's attribute ``command``.
    relatedness
        Histogram of the relationship matrix. Default: the one stored by `add_relatedness`.
    summary
        Result of `bayeslmm.heritability` for the tree. Default: computed.
    prob
        Probability of the intervals if `summary` is not given.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    InputError
        If the tree holds no posterior, or the file cannot be written.
    """
    text = render(tree, command=command, relatedness=relatedness, summary=summary, prob=prob)
    write_text(path, text)
    return Path(path)


def render(
    tree: xr.DataTree,
    *,
    command: str | None = None,
    relatedness: Relatedness | None = None,
    summary: pd.DataFrame | None = None,
    prob: float = 0.95,
    sensitivity: pd.DataFrame | None = None,
    diagnoses: Mapping[str, Diagnosis] | None = None,
) -> str:
    """Render the report of a fit as the text of an HTML page; arguments as for `report`.

    `sensitivity` is the result of `bayeslmm.prior_sensitivity`, and `diagnoses` are results of
    `bayeslmm.diagnose` by trait; by default both are computed. The same tree and arguments give
    the same text.
    """
    from bayeslmm.posterior.summary import heritability, trait_trees
    from bayeslmm.report.overview import overview
    from bayeslmm.report.page import fill
    from bayeslmm.report.sections import section

    if not trait_trees(tree):
        raise InputError(
            "no posterior in the tree",
            "a result of bayeslmm.fit, or the PREFIX.nc of bayeslmm h2",
            "check that this is the file you meant",
        )
    table = heritability(tree, prob) if summary is None else summary
    facts = read_facts(tree, table, diagnoses)
    kept = (
        command if command is not None else tree.attrs.get("command", facts[0].attrs.get("command"))
    )
    return fill(
        "report.html.jinja",
        overview=overview(facts) if len(facts) > 1 else None,
        sections=[
            section(one, f"trait-{number}", relatedness, _rows_of(sensitivity, trait))
            for number, (trait, one) in enumerate(zip(trait_trees(tree), facts, strict=True), 1)
        ],
        command=None if kept is None else str(kept),
        warnings=json.loads(str(tree.attrs.get("warnings", "[]"))),
    )


def _rows_of(table: pd.DataFrame | None, trait: str) -> pd.DataFrame | None:
    """Select the rows of one trait."""
    return None if table is None else table[table["trait"].astype(str) == trait]
