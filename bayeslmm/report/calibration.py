"""The page of a calibration: verdict, curves with their bands, table, command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from bayeslmm.calibration.ecdf_band import evaluation_points, proportions, simultaneous_band
from bayeslmm.report.drawing import FULL, Area, Axes, Axis, Level, Line, Mark, draw
from bayeslmm.report.names import name as quantity_name
from bayeslmm.report.page import fill
from bayeslmm.report.svg import BLUE, MUTED, ORANGE, clean, short

if TYPE_CHECKING:
    from bayeslmm.calibration.result import Calibration

COLUMNS = 3
MOST = 36  # largest number of curves shown, smallest p first


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table, as text."""

    quantity: Markup
    ranked: str
    p: str
    p_holm: str
    inside: str
    mean_z: str
    coverage_50: str
    coverage_95: str
    ok: bool


def render_calibration(found: Calibration, command: str) -> str:
    """Render the page as one HTML file without scripts."""
    worst = found.table().sort_values("p", kind="stable")["quantity"].tolist()
    shown = set(worst[:MOST])
    names = [name for name in found.names if name in shown]
    return fill(
        "calibration.html.jinja",
        found=found,
        model=clean(found.model),
        description=clean(found.words),
        reason=clean(found.engine_reason),
        verdict=clean(found.verdict().partition(": ")[2]),
        command=clean(command),
        rows=rows(found),
        figure=curves_figure(found, names, "curves"),
        left_out=len(found.names) - len(names),
        failed=int(found.failed.sum()),
        weighted=bool(found.pareto_k.any() or found.fell_back.any()),
        fell_back=int(found.fell_back.sum()),
        pareto_k=f"{found.pareto_k[~found.fell_back].max(initial=0.0):.2f}",
        sizes=_range(int(found.sizes.min()), int(found.sizes.max())),
        minutes=f"{found.seconds.sum() / 60:.1f}",
        error=f"{1.96 * np.sqrt(0.95 * 0.05 / max(found.n_sims, 1)):.3f}",
    )


def rows(found: Calibration) -> list[Row]:
    """Format the table, in the order of the quantities."""
    return [
        Row(
            quantity=quantity_name(str(row["quantity"])),
            ranked=str(row["n_ranked"]),
            p=_p(row["p"]),
            p_holm=_p(row["p_holm"]),
            inside="yes" if row["inside"] else "no",
            mean_z=f"{row['mean_z']:+.3f}",
            coverage_50=f"{row['coverage_50']:.3f}",
            coverage_95=f"{row['coverage_95']:.3f}",
            ok=bool(row["ok"]),
        )
        for row in found.table().to_dict(orient="records")
    ]


def _range(least: int, most: int) -> str:
    return str(most) if least == most else f"{least} to {most}"


def _p(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}" if value < 0.01 else f"{value:.2f}"


def curves_figure(found: Calibration, names: list[str], key: str) -> Markup:
    """Draw the ECDF of the ranks minus the uniform one, with the simultaneous 95 % band.

    Parameters
    ----------
    found
        The calibration.
    names
        The quantities to show.
    key
        As for `bayeslmm.report.drawing.draw`.
    """
    count = max(-(-len(names) // COLUMNS), 1)
    ok = dict(zip(found.table()["quantity"], found.table()["ok"], strict=True))
    charts: list[Axes | None] = [
        _curve(found, name, bool(ok[name]), k % COLUMNS == 0, k + COLUMNS >= len(names))
        for k, name in enumerate(names)
    ]
    charts += [None] * (COLUMNS * count - len(charts))
    bad = [name for name in names if not ok[name]]
    return draw(
        [charts[COLUMNS * k : COLUMNS * (k + 1)] for k in range(count)],
        key,
        f"Empirical distribution of the ranks minus the uniform one, for {len(names)} "
        f"quantities, each with its simultaneous 95 % band; "
        + (f"not uniform: {', '.join(map(clean, bad))}" if bad else "all are uniform"),
        width=FULL,
        height=38 + 168 * count,
    )


def _curve(found: Calibration, name: str, ok: bool, first: bool, last: bool) -> Axes:
    """Draw the curve of one quantity; `first` in its row, `last` in its column."""
    u = found.ranks(name)
    z = evaluation_points()
    ends = np.concatenate([[0.0], z, [1.0]])
    marks: list[Mark] = []
    largest = 1.0
    if u.size:
        band = simultaneous_band(u.size)
        lower, upper = (np.concatenate([[0.0], x - z, [0.0]]) for x in (band.lower, band.upper))
        curve = np.concatenate([[0.0], proportions(u) - z, [0.0]])
        marks.append(Area(ends, lower, upper, MUTED))
        marks.append(Line(ends, curve, BLUE if ok else ORANGE))
        largest = max(float(np.abs(curve).max()), float(upper.max()))
    return Axes(
        [*marks, Level(MUTED, y=0.0)],
        Axis("normalised rank of the truth" if last else "", 0.0, 1.0, numbers=last),
        Axis("difference" if first else "", -1.15 * largest, 1.15 * largest),
        short(name) + ("" if ok else " (not uniform)"),
    )
