"""The same seed gives the same bits, whatever the number of BLAS threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from bayeslmm.cli import main
from bayeslmm.engines.target import run
from bayeslmm.spectrum import decompose
from bayeslmm.threads import SERIAL, one_thread

CODE = """
import contextlib, hashlib, io, json, sys
import numpy as np
from threadpoolctl import threadpool_info
from bayeslmm.cli import main
from bayeslmm.genotypes import read_genotypes
from bayeslmm.grm import grm
from bayeslmm.outputs import read_tree

data, out = sys.argv[1:]
found = {}
def note(name, *arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    found[name] = digest.hexdigest()

note("grm", grm(read_genotypes(data)).matrix)
asked = ["--bfile", data, "--pheno", data + ".pheno", "--covar", data + ".covar", "--draws", "200"]
for model in ("additive", "dominance"):
    with contextlib.redirect_stdout(io.StringIO()):
        main(["h2", *asked, "--model", model, "--out", out + model])
    with open(f"{out}{model}.h2.tsv", "rb") as file:
        found[f"{model}.h2.tsv"] = hashlib.sha256(file.read()).hexdigest()
    tree = read_tree(f"{out}{model}.nc")
    for group in ("posterior", "log_likelihood", "constant_data"):
        for name, value in sorted(tree[group].to_dataset().data_vars.items()):
            if value.dtype.kind == "f":
                note(f"{model}/{group}/{name}", value.to_numpy())
found["threads"] = max(one["num_threads"] for one in threadpool_info())
print(json.dumps(found))
"""


def test_files_in_draws_out_by_one_thread_and_by_two(tmp_path: Path) -> None:
    """GRM, eigendecomposition, exact engine, Laplace engine, the table, every draw."""
    data = str(tmp_path / "s")
    made = ["simulate", "--n", "300", "--m", "400", "--h2", "0.5", "--families", "--seed", "3"]
    assert main([*made, "--out", data]) == 0
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, data, str(tmp_path / threads)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
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
    assert len(one) > 25
    assert [name for name in one if one[name] != two[name]] == []


def test_an_evaluation_at_a_time_or_several() -> None:
    """`run` gives each evaluation one BLAS thread and keeps the order."""
    rng = np.random.default_rng(1)
    A = rng.standard_normal((300, 300))

    def norm(k: int) -> float:
        return float(np.linalg.eigvalsh(A @ A.T + k)[-1])

    assert run(norm, range(6), workers=1) == run(norm, range(6), workers=3)


def blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_one_thread_is_a_limit_for_a_while() -> None:
    before = blas_threads()
    with one_thread():
        assert blas_threads() == {1}
        with one_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == before
    with one_thread(only_if=False):
        assert blas_threads() == before


def test_large_kernels_are_decomposed_by_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []
    real = decompose.__globals__["_split"]

    def look(K: np.ndarray, X: np.ndarray) -> object:
        seen.append(blas_threads())
        return real(K, X)

    monkeypatch.setitem(decompose.__globals__, "_split", look)
    decompose(np.eye(8), np.ones((8, 1)))
    monkeypatch.setitem(decompose.__globals__, "SERIAL", 4)
    decompose(np.eye(8), np.ones((8, 1)))
    assert seen == [{1}, blas_threads()]
    assert SERIAL == 4000
