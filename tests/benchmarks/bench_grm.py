"""GRM of 4000 × 40000: bayeslmm, the bare ssyrk calls it contains, plink2; six GRMs; peak memory.

One command prints the table, every ratio from one run::

    uv run python tests/benchmarks/bench_grm.py [--n 4000] [--m 40000] [--repeats 3] [--threads 2]

The contenders take turns, and the minimum of each counts, so that other work on the machine
disturbs all of them alike.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import ssyrk
from threadpoolctl import threadpool_limits

from bayeslmm.genotypes.codings import additive, encode, moments
from bayeslmm.genotypes.genotypes import Genotypes, read_genotypes
from bayeslmm.relationship.genomic import compute_grms, grm
from bayeslmm.relationship.variant_sets import VariantSets

BLOCK = 1024
SETS = 3  # scattered, as bins of the allele frequency are; with two codings six GRMs
MEMORY = """
import sys
from bayeslmm.genotypes.genotypes import Genotypes, read_genotypes
from bayeslmm.relationship.genomic import grm

def status(name):  # not ru_maxrss, which a process inherits from its parent
    rows = open("/proc/self/status").read().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(name))

genotypes = read_genotypes(sys.argv[1])
before = status("VmRSS")
grm(genotypes, threads=int(sys.argv[2]))
print(status("VmHWM") - before)
"""


def write_bfile(prefix: Path, n: int, m: int, seed: int = 1) -> None:
    """Random genotypes in Hardy-Weinberg proportions, MAF 0.05-0.5, straight into a .bed file."""
    rng = np.random.default_rng(seed)
    codes = np.array([3, 2, 0], dtype=np.uint8)  # 0, 1, 2 copies of A1
    with open(f"{prefix}.bed", "wb") as file:
        file.write(b"\x6c\x1b\x01")
        for start in range(0, m, 1000):
            p = rng.uniform(0.05, 0.5, (min(1000, m - start), 1)).astype(np.float32)
            u = rng.random((len(p), n), dtype=np.float32)
            code = codes[(u < p * p).astype(np.uint8) + (u < p * p + 2 * p * (1 - p))]
            code = np.pad(code, ((0, 0), (0, -n % 4))).reshape(len(p), -1, 4)
            file.write((code << np.array([0, 2, 4, 6], np.uint8)).sum(2, dtype=np.uint8).tobytes())
    variants = "".join(f"1\tv{k}\t0\t{k + 1}\tA\tC\n" for k in range(m))
    Path(f"{prefix}.bim").write_text(variants)
    Path(f"{prefix}.fam").write_text("".join(f"0\ti{k}\t0\t0\t0\t-9\n" for k in range(n)))


def first_block(genotypes: Genotypes) -> NDArray[np.float32]:
    """The first block of variants, standardised as GCTA does (BLOCK, n)."""
    dosages = next(genotypes.blocks(BLOCK, np.int8))[1]
    mean, about_mean, varies = moments(dosages)
    rows = np.flatnonzero(varies)
    z = np.empty((rows.size, genotypes.n), np.float32)
    encode(z, dosages, rows, additive(mean[rows], about_mean[rows], genotypes.n, "gcta"))
    return z


def bare_ssyrk(prefix: Path, threads: int) -> Callable[[], None]:
    """The same number of ssyrk calls of the same shape, on one block, and nothing else."""
    genotypes = read_genotypes(prefix)
    n, m = genotypes.n, genotypes.m
    z = first_block(genotypes)
    out = np.zeros((n, n), np.float32)

    def run() -> None:
        with threadpool_limits(threads, user_api="blas"):
            for start in range(0, m, BLOCK):
                rows = z[: min(BLOCK, m - start)]
                ssyrk(1.0, rows.T, beta=1.0, c=out.T, overwrite_c=1)

    return run


def six_ssyrk(prefix: Path, threads: int) -> Callable[[], None]:
    """The ssyrk calls of six GRMs, 1024 variants at once, a new matrix each; nothing else."""
    genotypes = read_genotypes(prefix)
    n = genotypes.n
    z = first_block(genotypes)
    counts = np.bincount(scattered(genotypes.m).codes)

    def run() -> None:
        with threadpool_limits(threads, user_api="blas"):
            outs = [np.zeros((n, n), np.float32) for _ in range(2 * SETS)]
            for out, count in zip(outs, [*counts, *counts], strict=True):
                for start in range(0, count, BLOCK):
                    rows = z[: min(BLOCK, count - start)]
                    ssyrk(1.0, rows.T, beta=1.0, c=out.T, overwrite_c=1)

    return run


def scattered(m: int) -> VariantSets:
    """Sets without any order."""
    codes = np.random.default_rng(2).integers(0, SETS, m)
    return VariantSets(tuple(f"s{k}" for k in range(SETS)), codes)


def six_grms(prefix: Path, threads: int) -> None:
    """Additive and dominance kernels of three sets, from the files."""
    genotypes = read_genotypes(prefix)
    kinds = ("additive", "dominance")
    compute_grms(genotypes, kinds, scattered(genotypes.m), block=BLOCK, threads=threads)


def peak_memory(prefix: Path, threads: int) -> float:
    """MiB that `grm` adds to the peak of a fresh process (imports and tables not counted)."""
    command = [sys.executable, "-c", MEMORY, str(prefix), str(threads)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def benchmark(n: int, m: int, repeats: int, threads: int) -> dict[str, float]:
    """Seconds of each contender (minimum over repeats) and MiB at m/4 and m variants."""
    with tempfile.TemporaryDirectory() as folder:
        prefix, quarter = Path(folder) / "all", Path(folder) / "quarter"
        write_bfile(prefix, n, m)
        write_bfile(quarter, n, m // 4)
        plink2 = ["plink2", "--bfile", str(prefix), "--make-grm-bin", "--out", str(prefix)]
        plink2 += ["--threads", str(threads)]
        contenders: dict[str, Callable[[], object]] = {
            "ssyrk": bare_ssyrk(prefix, threads),
            "grm": lambda: grm(read_genotypes(prefix), block=BLOCK, threads=threads),
            "six ssyrk": six_ssyrk(prefix, threads),
            "six": lambda: six_grms(prefix, threads),
        }
        if shutil.which("plink2"):
            contenders["plink2"] = lambda: subprocess.run(plink2, check=True, capture_output=True)
        seconds = dict.fromkeys(contenders, float("inf"))
        for _ in range(repeats):
            for name, run in contenders.items():
                start = time.perf_counter()
                run()
                seconds[name] = min(seconds[name], time.perf_counter() - start)
        seconds["MiB m/4"] = peak_memory(quarter, threads)
        seconds["MiB m"] = peak_memory(prefix, threads)
        return seconds


def table(found: dict[str, float], n: int, m: int) -> str:
    """The results in words."""
    ours = found["grm"]
    rows = [
        f"GRM of {n} x {m}, seconds (minimum), in one run on {os.cpu_count()} cores",
        f"  bare ssyrk calls       {found['ssyrk']:8.2f}",
        f"  bayeslmm grm, from .bed{ours:8.2f}   {ours / found['ssyrk']:.2f} x ssyrk (at most 1.3)",
    ]
    if "plink2" in found:
        ratio = found["plink2"] / ours
        rows.append(
            f"  plink2 --make-grm-bin  {found['plink2']:8.2f}   {ratio:.2f} x ours (at least 2)"
        )
    six = found["six"] / found["six ssyrk"]
    rows += [
        f"  bare ssyrk of six GRMs {found['six ssyrk']:8.2f}",
        f"  six GRMs in one pass   {found['six']:8.2f}   {six:.2f} x their ssyrk (at most 1.3)",
        "peak memory of grm, MiB",
        f"  {m // 4:6} variants        {found['MiB m/4']:8.0f}",
        f"  {m:6} variants        {found['MiB m']:8.0f}"
        f"   {found['MiB m'] / found['MiB m/4']:.3f} x (8 n² bytes = {8 * n * n / 2**20:.0f})",
    ]
    return "\n".join(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("n", 4000), ("m", 40_000), ("repeats", 5), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    found = benchmark(options.n, options.m, options.repeats, options.threads)
    print(table(found, options.n, options.m))


if __name__ == "__main__":
    main()
