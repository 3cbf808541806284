"""Memory of a model up to its posterior, and what fewer variants than individuals save.

One command prints both tables, each ratio from one run::

    uv run python tests/benchmarks/bench_memory.py [--n 5000 10000] [--few 5000 500] [--threads 2]

- the peak of `models.additive` at each n, K included, in numbers of n² doubles (at most 4.5), as
  NumPy allocates them, and with the modules resident in the process; from it, n = 20 000 in GiB;
- n individuals with few variants, their kernel kept by its root against the same kernel as a dense
  matrix with all its eigenvectors: bytes behind the kernel (at most 1/10), the difference of the
  density (at most 1e-10 of it), and seconds of ``bayeslmm h2`` as a whole command, with and without
  its report, from the variants and from the matrix (at least 4 times as fast).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from bench_grm import write_bfile

from bayeslmm import models
from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.distributions.phenotype import require_marginal
from bayeslmm.genotypes.genotypes import read_genotypes
from bayeslmm.likelihood.spectrum import SPECTRA
from bayeslmm.relationship.genomic import grm

REPEATS = 3  # of the commands, in turns
PEAK = """
import sys, tracemalloc, warnings
import numpy as np
import bayeslmm as bl

def status(name):
    rows = open("/proc/self/status").read().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(name))

def build(n):
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((n, n + 50), dtype=np.float32)
    K = np.array(Z @ Z.T, dtype=np.float64)
    K /= n + 50
    del Z
    ids = [f"i{k}" for k in range(n)]
    cohort = bl.cohort_from_arrays(rng.standard_normal(n), individuals=ids[::-1])
    kernel = bl.Relationship(K, cohort.individuals[::-1])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    model = bl.models.additive(cohort, kernel)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return 1 + peak / (8 * n * n)

warnings.simplefilter("ignore")
build(100)
n = int(sys.argv[1])
base = status("VmRSS")
peak = build(n)
print(peak, (status("VmHWM") - base) * 1024 / (8 * n * n))
"""


def peak_table(sizes: list[int]) -> str:
    """Peaks of building a model, each in a process of its own."""
    lines = ["models.additive, K included               peak, n²    RSS, n²   peak, GiB   seconds"]
    for n in sizes:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(n)], check=True, capture_output=True, text=True
        )
        peak, resident = (float(word) for word in done.stdout.split())
        took = time.perf_counter() - start
        lines.append(
            f"  n = {n:<36}{peak:8.2f}{resident:11.2f}{peak * 8 * n * n / 2**30:12.2f}{took:10.0f}"
        )
    lines.append(f"  n = 20000 (by the last peak){'':36}{peak * 8 * 4e8 / 2**30:12.2f}")
    return "\n".join(lines)


def seconds(command: list[str]) -> float:
    """Run a command with cached bytecode."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def few_table(folder: Path, n: int, m: int, threads: int) -> str:
    """The kernel of few variants by its root and as a dense matrix."""
    prefix = folder / "few"
    write_bfile(prefix, n, m)
    genotypes = read_genotypes(f"{prefix}")
    root = grm(genotypes)
    dense = replace(root, root=None)
    rng = np.random.default_rng(2)
    assert root.root is not None
    y = root.root @ rng.standard_normal(root.root.shape[1]) + rng.standard_normal(n)
    cohort = cohort_from_arrays(y, individuals=root.individuals)
    size, density = {}, {}
    for name, kernel in (("root", root), ("dense", dense)):
        SPECTRA.clear()
        with patch("bayeslmm.likelihood.decompose.compress", lambda whole: whole):
            model = models.additive(cohort, kernel)
        marginal = require_marginal(model)
        quadratic = marginal.quadratic(y)
        assert marginal.spectrum is not None
        size[name] = marginal.spectrum.nbytes
        points = [np.array([a, b]) for a, b in ((0.5, 0.5), (1.0, 0.01), (0.01, 1.0))]
        found = [quadratic([point]) for point in points]
        density[name] = np.array([one.at(np.array([0.1])) for one in found if one is not None])
        del model, marginal, quadratic, found
    SPECTRA.clear()
    apart = float(np.max(np.abs(density["root"] / density["dense"] - 1)))

    pheno = folder / "y.tsv"
    ids = root.individuals.to_frame(index=False)
    ids.assign(y=y).to_csv(pheno, sep="\t", index=False)
    ours = [sys.executable, "-m", "bayeslmm"]
    usual = ["--pheno", str(pheno), "--threads", str(threads), "--out"]
    making = ["grm", "--bfile", str(prefix), "--out", str(folder / "k")]
    seconds([*ours, *making])
    inputs = {"root": ["--bfile", str(prefix)], "dense": ["--grm", str(folder / "k")]}
    took: dict[str, list[float]] = {name: [np.inf, np.inf] for name in inputs}
    for _ in range(REPEATS):  # in turns; the minimum counts
        for name, given in inputs.items():
            for k, report in enumerate(([], ["--no-report"])):
                command = [*ours, "h2", *given, *usual, str(folder / name), *report]
                took[name][k] = min(took[name][k], seconds(command))
    ratio = [slow / fast for fast, slow in zip(*took.values(), strict=True)]
    return "\n".join(
        [
            f"{m} variants of {n} individuals             MiB   h2, seconds  --no-report",
            *(
                f"  {name:<36}{size[name] / 2**20:9.1f}{whole:14.1f}{bare:13.1f}"
                for name, (whole, bare) in took.items()
            ),
            f"  ratio (at most 0.1; at least 4)     {size['root'] / size['dense']:9.3f}"
            f"{ratio[0]:14.1f}{ratio[1]:13.1f}",
            f"  log density, relative difference    {apart:9.1e}",
        ]
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="*", default=[2000, 5000, 10_000])
    parser.add_argument("--few", type=int, nargs=2, default=[5000, 500])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(few_table(Path(name), *options.few, options.threads), flush=True)
    if options.n:
        print(peak_table(options.n))


if __name__ == "__main__":
    main()
