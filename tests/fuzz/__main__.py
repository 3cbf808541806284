"""Run the fuzzer: ``uv run python -m tests.fuzz --cases 10000``; exit code 1 if it finds a bug."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .formats import BY_NAME
from .run import BAD, Tally, fuzz, mutant, write


def table(tallies: dict[str, Tally]) -> str:
    """Counts of every outcome as Markdown."""
    columns = ("read", "refused", "guarded", *BAD)
    heads = ["format", "mutants", *columns, "names a line", "slowest, ms", "memory, MiB"]
    rows = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, one in tallies.items():
        counts = [one.counts[kind] for kind in columns]
        cells = [name, one.counts.total(), *counts, one.lines]
        cells += [f"{1000 * one.slowest:.0f}", f"{one.memory / 2**20:.0f}"]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


def main() -> int:
    """Parse the arguments, run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="mutants of each format")
    parser.add_argument("--start", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--formats", default=",".join(BY_NAME), help="formats, parted by commas")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--show", type=int, metavar="K", help="write mutant K into ./mutant")
    args = parser.parse_args()
    names = args.formats.split(",")
    if args.show is not None:
        folder = Path("mutant")
        folder.mkdir()
        files, changed = mutant(BY_NAME[names[0]], args.show)
        write(files, folder)
        print(f"{folder}: changed {', '.join(sorted(changed))}")
        return 0
    start = time.monotonic()
    shares = [names[k :: args.jobs] for k in range(args.jobs)]
    with ThreadPoolExecutor(args.jobs) as pool:
        parts = list(pool.map(lambda share: fuzz(share, args.cases, args.start), shares))
    found = {name: tally for part in parts for name, tally in part.items()}
    tallies = {name: found[name] for name in names}
    print(table(tallies))
    print(f"\n{time.monotonic() - start:.0f} s", file=sys.stderr)
    bad = [one for tally in tallies.values() for one in tally.bad]
    for one in bad[:200]:
        print(f"{one.format} {one.number}: {one.kind}: {one.detail}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
