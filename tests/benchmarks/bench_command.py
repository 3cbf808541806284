"""How fast a command is as a whole, start-up and writing counted, and where its time goes.

One command prints the tables, each ratio from one run::

    uv run python tests/benchmarks/bench_command.py [--repeats 5] [--threads 2] [--n 4000 --m 40000]

- ``bayeslmm h2 --grm`` of the mouse data (n = 1410, CD8, with its report) against importing its two
  main libraries: at most 2 times as long;
- ``bayeslmm grm`` of n x m genotypes against ``plink2 --make-grm-bin``: at least 2.3 times as fast.

The contenders take turns, and the minimum of each counts. Bytecode is cached by a run before.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench_grm import write_bfile

MOUSE = Path(__file__).resolve().parents[3] / "shared" / "data" / "mouse_hs1940" / "mouse_hs1940"
STAGES = Path(__file__).with_name("stages.py")
BAYESLMM = [sys.executable, "-m", "bayeslmm"]
IMPORTS = [sys.executable, "-c", "import pymc, arviz"]


@dataclass(frozen=True, slots=True)
class Took:
    """Wall time of a command, as a user sees it, and its CPU time, user and system, in seconds."""

    wall: float
    cpu: float


def seconds(command: list[str]) -> Took:
    """Run a command."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def race(contenders: dict[str, list[str]], repeats: int) -> dict[str, Took]:
    """The minimum of each contender; they take turns."""
    found: dict[str, list[Took]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, command in contenders.items():
            took = seconds(command)
            if turn:  # the first turn caches bytecode
                found[name].append(took)
    return {
        name: Took(min(took.wall for took in every), min(took.cpu for took in every))
        for name, every in found.items()
    }


def row(name: str, took: Took, words: str = "") -> str:
    """A line of a table."""
    return f"  {name:<23}{took.wall:8.2f}{took.cpu:8.2f}   {words}".rstrip()


def stages(arguments: list[str]) -> str:
    """The stages of a command, the longest first."""
    done = subprocess.run(
        [sys.executable, str(STAGES), *arguments], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stderr.splitlines()[-1])
    rows = sorted(found.items(), key=lambda item: -item[1])
    return "\n".join(f"    {name:<16}{took:8.2f}" for name, took in rows if took >= 0.005)


def h2_table(folder: Path, repeats: int) -> str:
    """`bayeslmm h2 --grm` against importing PyMC and ArviZ."""
    kernel, out = folder / "mouse", folder / "cd8"
    making = ["grm", "--bfile", str(MOUSE), "--chr-set", "19", "--out", str(kernel)]
    seconds([*BAYESLMM, *making])
    arguments = ["h2", "--grm", str(kernel), "--pheno", f"{MOUSE}.pheno.tsv"]
    arguments += ["--pheno-name", "CD8", "--out", str(out)]
    bare = [*arguments[:-1], str(folder / "bare"), "--no-report"]
    commands = {"h2": [*BAYESLMM, *arguments], "bare": [*BAYESLMM, *bare], "imports": IMPORTS}
    found = race(commands, repeats)
    times = {name: f"{took.wall / found['imports'].wall:.2f} x" for name, took in found.items()}
    return "\n".join(
        [
            f"bayeslmm h2 --grm, n = 1410 mice, minimum of {repeats}     wall     CPU, s",
            row("import pymc, arviz", found["imports"]),
            row("with its report", found["h2"], f"{times['h2']} (at most 2)"),
            row("--no-report", found["bare"], times["bare"]),
            "  where the time of the first goes:",
            stages(arguments),
        ]
    )


def grm_table(folder: Path, n: int, m: int, repeats: int, threads: int) -> str:
    """`bayeslmm grm` against plink2, both from the files to the files."""
    prefix = folder / "all"
    write_bfile(prefix, n, m)
    arguments = ["grm", "--bfile", str(prefix), "--threads", str(threads)]
    arguments += ["--out", str(folder / "ours")]
    commands = {"grm": [*BAYESLMM, *arguments]}
    if shutil.which("plink2"):
        plink2 = ["plink2", "--bfile", str(prefix), "--make-grm-bin", "--threads", str(threads)]
        commands["plink2"] = [*plink2, "--out", str(folder / "theirs")]
    found = race(commands, repeats)
    lines = [
        f"bayeslmm grm of {n} x {m}, {threads} threads, minimum of {repeats}     wall     CPU, s",
        row("bayeslmm grm", found["grm"]),
    ]
    if "plink2" in found:
        ratio = found["plink2"].wall / found["grm"].wall
        words = f"{ratio:.2f} x ours (at least 2.3)"
        lines.append(row("plink2 --make-grm-bin", found["plink2"], words))
    return "\n".join([*lines, "  where our time goes:", stages(arguments)])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("n", 4000), ("m", 40_000), ("repeats", 5), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(h2_table(folder, options.repeats))
        print(grm_table(folder, options.n, options.m, options.repeats, options.threads))


if __name__ == "__main__":
    main()
