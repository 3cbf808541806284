"""The same seed and number of threads give the same bits; another number, the same to 1e-9."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from gallery_runs import write_data

from bayeslmm.inference.laplace.target import run

MODELS = ["pedigree", "snp_effects", "file", "repeated", "maternal", "gxe", "bivariate"]
CODE = """
import contextlib, io, sys
from pathlib import Path
import numpy as np
import xarray as xr
from gallery_runs import RUNS
import bayeslmm.report
from bayeslmm.cli import main
from bayeslmm.genotypes.genotypes import from_array
from bayeslmm.relationship.genomic import grm
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.numerics.threads import blas_threads

data, out, *names = sys.argv[1:]
found = {"threads": np.array(blas_threads())}

def call(*words):
    with contextlib.redirect_stdout(io.StringIO()):
        main([*words])

bayeslmm.report.render = lambda tree, **more: "<html></html>"
for name in names:
    words = [word.format(d=data) for word in RUNS[name][0].split()]
    call("h2", *words, "--draws", "200", "--out", f"{out}/{name}")
    with xr.open_datatree(f"{out}/{name}.nc", engine="h5netcdf") as tree:
        for node in tree.subtree:
            for variable, value in node.data_vars.items():
                if value.dtype.kind == "f":
                    found[f"{name}{node.path}/{variable}"] = value.to_numpy()

call("compare", "--bfile", data + "/sim", "--pheno", data + "/sim.pheno", "--pheno-name", "A",
     "--models", "fixed,additive,dominance", "--draws", "200", "--no-report", "--out", f"{out}/c")

rng = np.random.default_rng(1)
large = from_array(rng.integers(0, 3, (2100, 600)).astype(np.int8))  # more than genomic.SMALL
G = grm(large).matrix
spectrum = decompose(G[:800, :800], np.ones((800, 1)))
found |= {
    "large GRM": G,
    "large eigenvalues": spectrum.eigenvalues,
    "large basis": spectrum.basis.rows(),
}
np.savez(f"{out}/found.npz", **{name.replace("/", "|"): array for name, array in found.items()})
"""
SEARCHED = "bivariate"  # a Laplace fit in an eigenbasis: its search for the mode magnifies rounding


class Run:
    """What a process has left: arrays by name, and tables by the name of their file."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "found.npz") as found:
            self.arrays = {name.replace("|", "/"): found[name] for name in found.files}
        self.tables = {path.name: path for path in sorted(folder.glob("*.tsv"))}
        self.threads = int(self.arrays.pop("threads"))


def processes(data: Path, **threads: str) -> list[Run]:
    """Run the code once by each number of threads, all at once, in folders of their names."""
    started = []
    for name, count in threads.items():
        (data / name).mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(data), str(data / name), *MODELS],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"OPENBLAS_NUM_THREADS": count, "OMP_NUM_THREADS": count}
            | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")}
            | {"PYTENSOR_FLAGS": f"base_compiledir={data / name / 'c'}"},
        )
        started.append(process)
    for process in started:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    return [Run(data / name) for name in threads]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference, in units of the largest number."""
    assert (np.isfinite(one) == np.isfinite(other)).all()
    known = np.isfinite(one)
    scale = np.abs(one[known]).max(initial=np.finfo(float).tiny)
    return float(np.abs(one - other)[known].max(initial=0.0) / scale)


def same_tables(one: Path, other: Path, rtol: float, atol: float) -> None:
    """Ten digits are printed. R-hat is one of ranks, and rounding decides ties at the median."""
    a, b = (
        pd.read_csv(path, sep="\t").drop(columns="r_hat", errors="ignore") for path in (one, other)
    )
    pd.testing.assert_frame_equal(a, b, rtol=rtol, atol=atol, obj=one.name)


def test_files_in_numbers_out_by_one_thread_and_by_two(tmp_path: Path) -> None:
    """GRM, decomposition, engines, checks, tables, comparison: every float."""
    write_data(tmp_path, 210)  # enough that 73 arrays differ by threads of BLAS, as at 300
    two, again, one = processes(tmp_path, two="2", again="2", one="1")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    assert (one.threads, two.threads, again.threads) == (1, min(2, cores), min(2, cores))
    assert len(one.arrays) > 300
    assert {name.split("/")[0] for name in one.arrays} >= {*MODELS, "large GRM"}
    assert one.tables.keys() >= {f"{name}.h2.tsv" for name in MODELS} | {"c.compare.tsv"}

    # C code took 8 s of the first fit of two kernels on a new machine (`inference.compiled.lean`)
    assert (tmp_path / "two" / "c").is_dir()
    assert [path.name for path in (tmp_path / "two" / "c").rglob("*.so")] == []

    assert two.arrays.keys() == again.arrays.keys() == one.arrays.keys()
    for name, array in two.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array, err_msg=name)
    for name, path in two.tables.items():
        assert again.tables[name].read_bytes() == path.read_bytes(), name

    basis = [run.arrays.pop("large basis") for run in (one, two)]
    reached = slice(800 - 600, None)  # eigenvectors of the variants; the rest is rounding
    assert distance(*(W[:, reached] for W in basis)) < 1e-8
    assert distance(one.arrays["large GRM"], two.arrays["large GRM"]) == 0.0
    far = {name: distance(array, two.arrays[name]) for name, array in one.arrays.items()}
    assert {k: v for k, v in far.items() if v > (1e-7 if SEARCHED in k else 1e-9)} == {}
    for name, path in one.tables.items():
        rtol, atol = (1e-6, 1e-6) if SEARCHED in name else (2e-9, 1e-10)
        same_tables(path, two.tables[name], rtol, atol)


def test_an_evaluation_at_a_time_or_several() -> None:
    """`run` gives each evaluation one BLAS thread and keeps the order."""
    rng = np.random.default_rng(1)
    A = rng.standard_normal((300, 300))

    def norm(k: int) -> float:
        return float(np.linalg.eigvalsh(A @ A.T + k)[-1])

    assert run(norm, range(6), workers=1) == run(norm, range(6), workers=3)
