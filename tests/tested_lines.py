"""Which lines and branches the tests run (goal: 95 % and 90 %, of the numerical core all).

    uv run python tests/tested_lines.py --table tests/tested_lines.md  # the suite: 16 min
    uv run python tests/tested_lines.py --data DIR                      # the report alone

Child processes are traced too; ``[tool.coverage]`` in pyproject.toml says how. Not traced are
functions that Numba compiles, and Python that nutpie calls from threads of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = "bayeslmm/"
CORE = (  # where the numbers come from
    *("canonical", "codings", "covariance", "cross_product", "dense", "dense_distribution"),
    *("distributions", "eigen", "grm", "grms", "haseman_elston", "hwe", "incomplete", "kernels"),
    *("lapack", "likelihood", "loco", "monotone_cubic", "multitrait", "multitrait_distribution"),
    *("multitrait_posterior", "multitrait_reml", "pedigree_matrix", "posterior", "priors"),
    *("profile_likelihood", "reml", "residual_contrasts", "share_priors", "shares"),
    *("spectral_solve", "spectrum", "spectrum_svd", "threads", "trait_estimates"),
    *("x_chromosome", "engines", "comparison", "leave_one_out", "coverage"),
)


def is_core(path: str) -> bool:
    """Whether a file belongs to the numerical core."""
    return path.startswith(PACKAGE) and Path(path).parts[1].removesuffix(".py") in CORE


def measure(folder: Path) -> None:
    """Run the suite; every process leaves its data in the folder."""
    environment = os.environ | {
        "COVERAGE_FILE": str(folder / "data"),
        "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"),
    }
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def read(folder: Path) -> dict[str, Any]:
    """What was run, by file."""
    environment = os.environ | {"COVERAGE_FILE": str(folder / "data")}
    coverage = [sys.executable, "-m", "coverage"]
    if not (folder / "data").exists():
        combine = [*coverage, "combine", "-q", str(folder)]
        subprocess.run(combine, cwd=ROOT, env=environment, check=True)
    out = folder / "found.json"
    subprocess.run([*coverage, "json", "-q", "-o", out], cwd=ROOT, env=environment, check=True)
    found: dict[str, Any] = json.loads(out.read_text())["files"]
    return found


def share(files: dict[str, Any], done: str, of: str) -> str:
    """Covered of all, in per cent."""
    a, b = (sum(one["summary"][key] for one in files.values()) for key in (done, of))
    return f"{100 * a / b:.2f} % ({a} of {b})"


def table(files: dict[str, Any]) -> str:
    """The shares of all and of the core, and what is not run, file by file."""
    rows = ["| | lines | branches |", "|---|---|---|"]
    core = {path: one for path, one in files.items() if is_core(path)}
    for name, some in (("package and models", files), ("numerical core", core)):
        lines = share(some, "covered_lines", "num_statements")
        branches = share(some, "covered_branches", "num_branches")
        rows.append(f"| {name} | {lines} | {branches} |")
    rows += ["", "Not run, of the core first:", ""]
    rows += ["| file | lines | branches (from → to) |", "|---|---|---|"]
    for path, one in sorted(files.items(), key=lambda item: (not is_core(item[0]), item[0])):
        lines = one["missing_lines"]
        branches = [(a, b) for a, b in one["missing_branches"] if {a, b}.isdisjoint(lines)]
        if lines or branches:
            arrows = ", ".join(f"{a} → {'end' if b < 0 else b}" for a, b in branches)
            rows.append(f"| {path} | {', '.join(map(str, lines))} | {arrows} |")
    return "\n".join(rows)


def main() -> None:
    """Print the table; write it below the head of a file with --table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of a run that has ended")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.data or Path(temporary)
        if options.data is None:
            measure(folder)
        found = table(read(folder))
    print(found)
    if options.table is not None:
        head = "# Lines and branches that the tests run\n\n`uv run python tests/tested_lines.py"
        options.table.write_text(f"{head} --table {options.table}`\n\n{found}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
