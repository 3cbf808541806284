"""Simulation-based calibration of every model of the gallery; the committed table is sbc.md.

    uv run python tests/calibration/sbc.py [--n-sims 1000] [--nuts-sims 200] [MODEL ...]

Every number but the wall time is the same whenever it is run with the same versions. With --folder
simulations are kept there, so that a run that is stopped goes on; with all models named (the
default) and 1 000 simulations the table is written to tests/calibration/sbc.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayeslmm import models
from bayeslmm.calibration.result import Calibration
from bayeslmm.calibration.sbc import calibrate
from bayeslmm.system.files import write_text

TABLE = Path(__file__).with_name("sbc.md")
HEADER = """\
# Simulation-based calibration of every model

`uv run python tests/calibration/sbc.py` makes this table. For each model: data sets simulated from
its priors (`bayeslmm.calibration.problem`), the engine that `fit` chooses, 100 near-independent
draws, ranks of the truth. *Smallest p*: exact p-value of the simultaneous band of the ECDF, over
all quantities of the model, before and after Holm's correction; *in the band*: quantities inside
their own 95 % band. *To NUTS*: fits whose importance weights failed twice. *Failed*: fits left out.
*95 %*: coverage of the central interval, smallest and largest over the quantities.

Each verdict is a test at 5 %, so that one or the other of twelve right models fails in half of all
tables. A model that fails is simulated once more with other random numbers (a second line); both
out is a failure.

"""
COLUMNS = (
    *("model", "engine", "data sets", "quantities", "in the band", "smallest p", "after Holm"),
    *("95 %", "k̂ at most", "to NUTS", "failed", "verdict", "wall time"),
)


def row(found: Calibration, seconds: float) -> str:
    """A line of the table."""
    table = found.table()
    worst = table.iloc[int(np.nanargmin(found.p))]
    share = table["coverage_95"]
    cells = [
        *(found.model, found.engine, found.n_sims, len(table), int(table["inside"].sum())),
        *(f"{worst['p']:.2g} ({worst['quantity']})", f"{worst['p_holm']:.2g}"),
        *(f"{share.min():.3f}-{share.max():.3f}", f"{worst['pareto_k_max']:.2f}"),
        *(worst["n_fell_back"], worst["n_failed"], "calibrated" if found.ok else "NOT CALIBRATED"),
        f"{seconds:.0f} s",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def share_missed(found: Calibration) -> NDArray[np.float64]:
    """(data sets,) the share of the quantities whose truth lies outside of the 95 % interval."""
    ranks = np.stack([found.ranks(name) for name in found.names])
    return np.asarray((np.abs(ranks - 0.5) > 0.475).mean(axis=0))


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=models.names())
    parser.add_argument("--n-sims", type=int, default=1000)
    parser.add_argument("--nuts-sims", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keeps simulations and goes on from them")
    given = parser.parse_args()
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    print("\n".join(lines), flush=True)
    missed: list[NDArray[np.float64]] = []
    wall = 0.0
    for name in given.models:
        for seed in (given.seed, given.seed + 100):  # again only where the first says no
            found = calibrate(
                models.load(name),
                given.nuts_sims if name == "additive_cholesky" else given.n_sims,
                seed=seed,
                workers=given.workers,
                parts=given.folder and given.folder / f"{name}.{seed}.parts",
            )
            wall += (seconds := float(found.seconds.sum()) / given.workers)
            lines.append(row(found, seconds))
            print(lines[-1], flush=True)
            if found.engine == "laplace":
                missed.append(share_missed(found))
            if found.ok:
                break
    total = f"\nWall time: of the simulations, with {given.workers} processes on a busy machine; "
    total += f"together {wall / 60:.0f} minutes.\n"
    if missed:
        each = np.concatenate(missed)
        error = float(each.std(ddof=1) / np.sqrt(each.size))
        total += (
            f"\nOver all quantities of all lines by `laplace` the 95 % interval covers "
            f"{1 - each.mean():.4f} (standard error {error:.4f}, or more: the models share random "
            "numbers). Weights of an ESS of 1 000 are expected to cost 0.001 to 0.003.\n"
        )
    print(total)
    if given.models == models.names() and given.n_sims >= 1000:
        write_text(TABLE, HEADER + "\n".join(lines) + "\n" + total)


if __name__ == "__main__":
    main()
