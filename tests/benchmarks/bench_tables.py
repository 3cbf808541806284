"""Speed of reading tables at the size of biobanks, as a ratio to pandas.read_csv in the same run.

    python tests/benchmarks/bench_tables.py [--repeats 5]

Phenotypes and covariates: 200 000 rows, 10 columns of six digits, 1 % missing, with tabs and with
blanks. Variants: 1 000 000 rows. Individuals: 500 000 rows. pandas infers types and checks
neither fields, characters nor repeated identifiers. The files are written to a temporary folder;
seconds are CPU seconds (all run on one thread, and other programs do not count), the minimum, ours
and pandas' turn by turn; MiB are the growth of the peak memory of a process that reads the table
once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.genotypes.plink_tables import read_bim, read_fam, read_psam, read_pvar
from bayeslmm.tables.phenotypes import read_covariates, read_phenotypes

TRAITS, COLUMNS, VARIANTS, PEOPLE = 200_000, 10, 1_000_000, 500_000
READERS: dict[str, Callable[[Path], Any]] = {
    "phenotypes": read_phenotypes,
    "covariates": lambda path: read_covariates(path, categorical=["v10"]),
    "bim": read_bim,
    "pvar": read_pvar,
    "fam": read_fam,
    "psam": read_psam,
}


def write_traits(path: Path, separator: str) -> None:
    """Write FID, IID and the columns v1 ... v10, the last one a whole number."""
    rng = np.random.default_rng(1)
    values = np.char.mod("%.6g", rng.standard_normal((TRAITS, COLUMNS)))
    values[:, -1] = rng.integers(20, size=TRAITS).astype("U2")
    values[rng.random(values.shape) < 0.01] = "NA"
    names = [f"v{k + 1}" for k in range(COLUMNS)]
    rows = [["FID", "IID", *names]]
    rows += [[f"F{k // 2}", f"I{k:07}", *row] for k, row in enumerate(values.tolist())]
    path.write_text("".join(f"{separator.join(row)}\n" for row in rows))


def write_variants(path: Path, *, pvar: bool) -> None:
    """Write variants on 22 chromosomes."""
    k = np.arange(VARIANTS)
    rows = zip((k * 22 // VARIANTS + 1).tolist(), (1000 + 37 * k).tolist(), strict=True)
    form = "{0}\t{1}\trs{2}\tG\tA\n" if pvar else "{0}\trs{2}\t0\t{1}\tA\tG\n"
    with path.open("w") as file:
        file.write("#CHROM\tPOS\tID\tREF\tALT\n" if pvar else "")
        file.writelines(form.format(*row, i) for i, row in enumerate(rows))


def write_people(path: Path, *, psam: bool) -> None:
    """Write individuals, two in a family."""
    form = "F{0}\tI{1:07}\t1\n" if psam else "F{0} I{1:07} 0 0 1 -9\n"
    with path.open("w") as file:
        file.write("#FID\tIID\tSEX\n" if psam else "")
        file.writelines(form.format(k // 2, k) for k in range(PEOPLE))


def seconds(runs: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Shortest CPU time of each, turn by turn."""
    best = [np.inf] * len(runs)
    for _ in range(repeats):
        for k, run in enumerate(runs):
            start = time.process_time()
            run()
            best[k] = min(best[k], time.process_time() - start)
    return best


def peak_growth(reader: str, path: Path) -> float:
    """MiB by which the peak memory of a fresh process grows when it reads the table."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", reader, str(path)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout)


def peak() -> int:
    """KiB of this process at most so far (ru_maxrss is inherited from the parent)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def read_once(reader: str, path: Path) -> None:
    """Print the growth of the peak memory of this process."""
    before = peak()
    READERS[reader](path)
    print((peak() - before) / 1024)


def main() -> None:
    """Write the files, read them, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("READER", "FILE"))
    args = parser.parse_args()
    if args.one:
        return read_once(args.one[0], Path(args.one[1]))
    heads = f"{'ours':>8}{'pandas':>8}{'ratio':>8}{'file, MiB':>11}{'peak, MiB':>11}"
    print(f"{'CPU seconds (minimum)':<36}{heads}")
    with tempfile.TemporaryDirectory() as folder:
        for reader, sep, rows, write in (
            ("phenotypes", "\t", TRAITS, lambda path: write_traits(path, "\t")),
            ("phenotypes", " ", TRAITS, lambda path: write_traits(path, " ")),
            ("covariates", "\t", TRAITS, lambda path: write_traits(path, "\t")),
            ("bim", "\t", VARIANTS, lambda path: write_variants(path, pvar=False)),
            ("pvar", "\t", VARIANTS, lambda path: write_variants(path, pvar=True)),
            ("fam", " ", PEOPLE, lambda path: write_people(path, psam=False)),
            ("psam", "\t", PEOPLE, lambda path: write_people(path, psam=True)),
        ):
            path = Path(folder) / "table"
            write(path)
            header = None if reader in ("bim", "fam") else 0
            ours, pandas = seconds(
                [
                    lambda reader=reader, path=path: READERS[reader](path),
                    lambda path=path, sep=sep, header=header: pd.read_csv(
                        path, sep=sep, header=header
                    ),
                ],
                args.repeats,
            )
            size = path.stat().st_size / 2**20
            what = f"  {reader}, {rows} rows, {'blanks' if sep == ' ' else 'tabs'}"
            numbers = f"{ours:>8.2f}{pandas:>8.2f}{ours / pandas:>8.2f}{size:>11.0f}"
            print(f"{what:<36}{numbers}{peak_growth(reader, path):>11.0f}", flush=True)
    return None


if __name__ == "__main__":
    main()
