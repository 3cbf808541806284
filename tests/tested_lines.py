"""Which lines and branches the tests run (goal: 95 % and 90 %, of the numerical core all lines).

    uv run python tests/tested_lines.py --table tests/tested_lines.md  # the suite, traced: 15 min
    uv run python tests/tested_lines.py --data DIR --keep              # from data of such a run

Child processes count, those that tests kill apart. Functions that Numba compiles are left out, and
what nutpie calls from threads of its own is not seen.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = "bayeslmm/"
SETTINGS = """
[run]
source = bayeslmm
    models
branch = true
parallel = true
patch = subprocess
    _exit
[report]
exclude_also =
    @numba.njit
    if TYPE_CHECKING:
"""
CORE = (  # where the numbers come from: packages, and modules of others
    *("numerics", "likelihood", "priors", "distributions", "study", "inference", "comparison"),
    *("genotypes/codings", "genotypes/hwe", "relationship/genomic", "relationship/cross_product"),
    *("relationship/derived", "relationship/loco", "relationship/x_chromosome"),
    *("relationship/pedigree/matrix", "estimates/reml", "estimates/traits", "estimates/profile"),
    *("estimates/haseman_elston", "checks/share_priors"),
)


def is_core(path: str) -> bool:
    """Whether a file belongs to the numerical core."""
    return path.removeprefix(PACKAGE).startswith(CORE)


def measure(folder: Path) -> None:
    """Run the suite; every process leaves its data in the folder. It has to pass."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings").write_text(SETTINGS)
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest"]
    if subprocess.run(command, cwd=ROOT, env=environment(folder)).returncode:
        raise SystemExit(f"the suite fails; the data stay: --keep --data {folder}")


def environment(folder: Path) -> dict[str, str]:
    """Where coverage finds its settings, and leaves its data."""
    return os.environ | {
        "COVERAGE_FILE": str(folder / "data"),
        "COVERAGE_RCFILE": str(folder / "settings"),
        "COVERAGE_PROCESS_START": str(folder / "settings"),
        "COVERAGE_CORE": "ctrace",  # sys.monitoring tells no branches before Python 3.14
    }


def read(folder: Path) -> dict[str, Any]:
    """What was run, by file."""
    env, coverage = environment(folder), [sys.executable, "-m", "coverage"]
    if not (folder / "data").exists():  # data of processes that were killed are not readable
        combine = [*coverage, "combine", "-q", "--keep", str(folder)]
        subprocess.run(combine, cwd=ROOT, env=env, check=True, stderr=subprocess.DEVNULL)
    out = folder / "found.json"
    subprocess.run([*coverage, "json", "-q", "-o", out], cwd=ROOT, env=env, check=True)
    found: dict[str, Any] = json.loads(out.read_text())["files"]
    return found


def share(files: dict[str, Any], done: str, of: str) -> str:
    """Covered of all, in per cent."""
    a, b = (sum(one["summary"][key] for one in files.values()) for key in (done, of))
    return f"{100 * a / b:.2f} % ({a} of {b})"


def table(files: dict[str, Any]) -> str:
    """The shares of all and of the core, and the lines that are not run, file by file."""
    rows = ["| | lines | branches |", "|---|---|---|"]
    core = {path: one for path, one in files.items() if is_core(path)}
    for name, some in (("package and models", files), ("numerical core", core)):
        lines = share(some, "covered_lines", "num_statements")
        branches = share(some, "covered_branches", "num_branches")
        rows.append(f"| {name} | {lines} | {branches} |")
    rows += ["", "Lines that are not run, those of the core first:", "", "| file | lines |"]
    rows.append("|---|---|")
    for path, one in sorted(files.items(), key=lambda item: (not is_core(item[0]), item[0])):
        if one["missing_lines"]:
            rows.append(f"| {path} | {', '.join(map(str, one['missing_lines']))} |")
    return "\n".join(rows)


def main() -> None:
    """Print the table; write it below the head of a file with --table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder for the data, or of a run that has ended")
    parser.add_argument("--keep", action="store_true", help="do not run the suite")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    folder = (options.data or Path(tempfile.mkdtemp())).resolve()
    if not options.keep:
        measure(folder)
    found = table(read(folder))
    if options.data is None:
        shutil.rmtree(folder)
    print(found)
    if options.table is not None:
        head = "# Lines and branches that the tests run\n\n`uv run python tests/tested_lines.py"
        options.table.write_text(f"{head} --table {options.table}`\n\n{found}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
