"""Inject every bug of the catalogue into a copy of the code and see the tests kill it.

    uv run python tests/mutations/run_mutations.py [--only TEXT] [--jobs 2] [--table FILE]

A mutation is killed when a test fails; an error on import or on collecting tests is no kill, and
neither is a run of the same tests on the unchanged copy that fails (it is run first). Exit code 1
if any mutation survives.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mutation_catalogue import CATALOGUE, Mutation

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("bayeslmm", "models", "tests", "notebooks", "pyproject.toml", "README.md", "CHANGELOG.md")
LIMIT = 900.0  # seconds; a mutation that makes the tests hang longer counts as a survivor


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutation: whether it was killed, by which test, in how many seconds."""

    name: str
    killed: bool
    by: str
    seconds: float


def copy_tree(to: Path) -> Path:
    """A copy of the repository that finds the shared data where the original does."""
    work = to / "main"
    work.mkdir(parents=True)
    for name in PARTS:
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
        if source.is_dir():
            shutil.copytree(source, work / name, ignore=ignored)
        elif source.exists():
            shutil.copy2(source, work / name)
    shared = ROOT.parent / "shared"
    if shared.is_dir():
        (to / "shared").symlink_to(shared)
    return work


def apply(mutation: Mutation, work: Path) -> None:
    """Edit a copy; the old text has to stand there exactly once."""
    path = work / mutation.where
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.name}: its text stands there {text.count(mutation.old)} times")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


def pytest(work: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Exit code and output of the tests on a copy; 124 where they took longer than `LIMIT`."""
    environment = os.environ | {"PYTHONPATH": str(work), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-n0", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return 124, ""
    return done.returncode, done.stdout


def unharmed(tests: tuple[str, ...]) -> Outcome:
    """The tests have to pass on the code as it is."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        code, output = pytest(copy_tree(Path(folder)), tests)
    seconds = time.perf_counter() - start
    return Outcome(" ".join(tests), code != 0, output.strip().rpartition("\n")[2], seconds)


def attempt(mutation: Mutation) -> Outcome:
    """Inject one bug and run its tests."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        work = copy_tree(Path(folder))
        apply(mutation, work)
        code, output = pytest(work, mutation.tests)
    seconds = time.perf_counter() - start
    found = re.search(r"^FAILED (.+?)(?: - |$)", output, re.MULTILINE)
    if code == 1 and found is not None:
        return Outcome(mutation.name, True, found[1].replace("tests/", "", 1), seconds)
    return Outcome(mutation.name, False, f"pytest's exit code {code}", seconds)


def main() -> int:
    """Run the catalogue; 1 if a mutation survives."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="mutations whose name has this text")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--table", type=Path, help="write the table; rows not tried again stay")
    parser.add_argument("--no-baseline", action="store_true", help="do not test the code as it is")
    given = parser.parse_args()
    chosen = [one for one in CATALOGUE if given.only in one.name]
    with ThreadPoolExecutor(given.jobs) as pool:
        if not given.no_baseline:
            sound = list(pool.map(unharmed, dict.fromkeys(one.tests for one in chosen)))
            if sick := [one for one in sound if one.killed]:
                for one in sick:
                    print(f"fails on the unchanged code: {one.name}: {one.by}")
                return 1
        rows = known_rows(given.table)
        killed = 0
        for outcome in pool.map(attempt, chosen):
            killed += outcome.killed
            by = f"`{outcome.by}`" if outcome.killed else f"**survives** ({outcome.by})"
            rows[outcome.name] = f"| {outcome.name} | {by} | {outcome.seconds:.0f} |"
            print(rows[outcome.name], flush=True)
    print(f"{killed} of {len(chosen)} mutations killed.")
    if given.table is not None:
        write_table(given.table, rows)
    return 0 if killed == len(chosen) else 1


def known_rows(path: Path | None) -> dict[str, str]:
    """Rows of an earlier table by mutation; those that are not tried again stay."""
    if path is None or not path.exists():
        return {}
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines[2:]}


def write_table(path: Path, rows: dict[str, str]) -> None:
    """The table of all mutations that the catalogue has now."""
    found = [rows[one.name] for one in CATALOGUE if one.name in rows]
    killed = sum("**survives**" not in row for row in found)
    head = ["| bug (file) | killed by | seconds |", "| --- | --- | --- |", *found]
    verdict = f"{killed} of {len(CATALOGUE)} mutations killed."
    text = f"# {(__doc__ or '').strip()}\n\n" + "\n".join(head) + f"\n\n{verdict}\n"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
