"""The same seed gives the same bits, whatever the number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from gallery_runs import write_data

from bayeslmm.inference.laplace.target import run

MODELS = ["pedigree", "snp_effects", "file", "repeated", "maternal", "gxe", "bivariate"]
CODE = """
import contextlib, hashlib, io, json, sys
from pathlib import Path
import numpy as np
import xarray as xr
from gallery_runs import RUNS
import bayeslmm.report
from bayeslmm.cli import main
from bayeslmm.genotypes.genotypes import from_array, read_genotypes
from bayeslmm.relationship.genomic import grm
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.numerics.threads import blas_threads

data, out, *names = sys.argv[1:]
found = {"threads": blas_threads()}

def note(name, array):
    found[name] = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()

def call(*words):
    with contextlib.redirect_stdout(io.StringIO()):
        main([*words])

bayeslmm.report.render = lambda tree, **more: "<html></html>"
for name in names:
    prefix = out + name
    words = [word.format(d=data) for word in RUNS[name][0].split()]
    call("h2", *words, "--draws", "200", "--out", prefix)
    for file in (prefix + ".h2.tsv", prefix + ".predictions.tsv"):
        if Path(file).exists():
            found[file.removeprefix(out)] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    with xr.open_datatree(prefix + ".nc", engine="h5netcdf") as tree:
        for node in tree.subtree:
            for variable, value in node.data_vars.items():
                if value.dtype.kind == "f":
                    note(f"{name}{node.path}/{variable}", value.to_numpy())

call("compare", "--bfile", data + "/sim", "--pheno", data + "/sim.pheno", "--pheno-name", "A",
     "--models", "fixed,additive,dominance", "--draws", "200", "--out", out + "c")
found["compare"] = hashlib.sha256(Path(out + "c.compare.tsv").read_bytes()).hexdigest()

rng = np.random.default_rng(1)
large = from_array(rng.integers(0, 3, (2100, 600)).astype(np.int8))  # more than grms.SMALL
G = grm(large).matrix
note("large GRM", G)
spectrum = decompose(G, np.ones((2100, 1)))
note("large eigenvalues", spectrum.eigenvalues)
note("large eigenvectors", spectrum.basis.columns)
print(json.dumps(found))
"""


def test_files_in_numbers_out_by_one_thread_and_by_two(tmp_path: Path) -> None:
    """GRM, decomposition, engines, checks, tables, comparison: every float, to its last bit."""
    write_data(tmp_path, 300)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(tmp_path), str(tmp_path / threads), *MODELS],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
            | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")},
        )
        for threads in ("1", "2")
    ]
    found = []
    for process in started:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        found.append(json.loads(output.splitlines()[-1]))
    one, two = found
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    assert (one.pop("threads"), two.pop("threads")) == (1, min(2, cores))
    assert len(one) > 300
    assert {name.split("/")[0] for name in one} >= {*MODELS, "compare", "large GRM"}
    assert [name for name in one if one[name] != two[name]] == []


def test_an_evaluation_at_a_time_or_several() -> None:
    """`run` gives each evaluation one BLAS thread and keeps the order."""
    rng = np.random.default_rng(1)
    A = rng.standard_normal((300, 300))

    def norm(k: int) -> float:
        return float(np.linalg.eigvalsh(A @ A.T + k)[-1])

    assert run(norm, range(6), workers=1) == run(norm, range(6), workers=3)
