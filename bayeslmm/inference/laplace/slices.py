"""Initial margins: the density along one line per coordinate through the mode (Geweke 1989).

Along coordinate i the others follow their regression on it, u = mode + Σ_i t / √Σ_ii. For a normal
density the values on this line are the marginal density; for a share with mass near zero they show
the long left tail. In such a tail the others no longer depend on the coordinate. So beyond two
standard deviations a second line, on which they are constant, is also evaluated, and the larger
density is used.
"""

from __future__ import annotations

import numpy as np

from bayeslmm.inference.laplace import margins
from bayeslmm.inference.laplace.margins import Margins
from bayeslmm.inference.laplace.mode import Mode
from bayeslmm.inference.laplace.target import Target, evaluate
from bayeslmm.numerics.arrays import Floats

FOLLOW = 2.0  # standard deviations beyond which the others may be constant
DEEP = 9.0  # decrease of log p at which a slice ends
PLACES = (0.4, 0.9, 1.5, 2.2, 3.0, 4.0, 6.0, 9.0, 14.0, 22.0)  # in standard deviations


def slice_margins(target: Target, mode: Mode, workers: int = 1) -> tuple[Margins, int]:
    """Compute margins from slices through the mode; also return the number of evaluations.

    Each side is evaluated outwards until log p has fallen by 9 (10-20 evaluations per coordinate).
    """
    d = mode.point.size
    sd = np.sqrt(np.diag(mode.covariance))
    found: list[dict[float, float]] = [{0.0: mode.log_density} for _ in range(d)]
    open_ = [(i, side) for i in range(d) for side in (-1.0, 1.0)]
    spent = 0
    alone = 1.0 / (np.diag(np.linalg.inv(mode.covariance)) * sd**2) > 0.9  # hardly correlated
    for places in (PLACES[:3], *((p,) for p in PLACES[3:])):
        todo = [
            (i, side, side * p, follow)
            for i, side in open_
            for p in places
            for follow in ((p,) if p < FOLLOW or alone[i] else (p, FOLLOW))
        ]
        if not todo:
            break
        lines = np.array([_line_point(mode, sd, i, t, follow) for i, _, t, follow in todo])
        values = evaluate(target, lines, workers)
        spent += len(todo)
        for (i, _, t, _), value in zip(todo, values, strict=True):
            found[i][t] = max(found[i].get(t, -np.inf), float(value))
        open_ = [
            (i, side) for i, side in open_ if found[i][side * places[-1]] > mode.log_density - DEEP
        ]
    found = [{t: v for t, v in table.items() if np.isfinite(v)} for table in found]
    x = np.empty((d, margins.LEVELS.size))
    edge = mode.log_density - DEEP
    for i, table in enumerate(found):
        if min(table) == 0.0:  # zero density already at the nearest node: a steep boundary
            table[-0.2] = edge
        if max(table) == 0.0:
            table[0.2] = edge
        line = np.array(sorted(table))
        heights = np.array([table[place] for place in sorted(table)])
        x[i] = mode.point[i] + sd[i] * margins.from_log_density(line, heights)
    return margins.from_knots(x, np.broadcast_to(margins.LEVELS, x.shape).copy()), spent


def _line_point(mode: Mode, sd: Floats, i: int, t: float, follow: float) -> Floats:
    """Return the point t sd along coordinate i; the others follow up to `follow` sd."""
    point: Floats = mode.point + mode.covariance[i] / sd[i] * np.copysign(follow, t)
    point[i] = mode.point[i] + sd[i] * t
    return point
