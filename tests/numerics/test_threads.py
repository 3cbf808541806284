"""One BLAS thread for a while, also of a BLAS that is loaded late; pieces that threads share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Event, get_ident

import numpy as np
import pytest
import scipy.linalg  # its BLAS is limited, too
from threadpoolctl import threadpool_info, threadpool_limits

import bayeslmm.numerics.threads
from bayeslmm.numerics.threads import ahead, blas_threads, limit_threads, one_thread, sharing


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    with threadpool_limits(2):
        yield


def limits() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_one_thread_is_a_limit_for_a_while() -> None:
    before = limits()
    assert blas_threads() == max(before)
    with one_thread():
        assert limits() == {blas_threads()} == {1}
        with one_thread():
            assert limits() == {1}
        assert limits() == {1}
    assert limits() == before
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert limits() == before


def test_as_a_decorator() -> None:
    @one_thread()
    def inside() -> set[int]:
        return limits()

    assert inside() == inside() == {1}


def test_pieces_are_shared_in_order_by_single_threads() -> None:
    together = Barrier(2, timeout=60)

    def piece(k: int) -> tuple[int, int, set[int]]:
        together.wait()  # passes only if two work at once
        return k, get_ident(), limits()

    with sharing(2) as share:
        found = list(share(piece, range(6)))
    assert [k for k, _, _ in found] == list(range(6))
    assert len({thread for _, thread, _ in found}) == 2
    assert all(seen == {1} for _, _, seen in found)


def test_as_many_as_blas_may_use() -> None:
    count = blas_threads()
    together = Barrier(count, timeout=60)
    with sharing() as share:
        assert list(share(lambda k: together.wait() < count, range(count))) == [True] * count
    with one_thread(), sharing() as share:
        assert len({*share(lambda k: get_ident(), range(20))}) == 1


def test_an_error_in_a_piece_is_raised() -> None:
    before = limits()

    def piece(k: int) -> int:
        return 1 // k

    with pytest.raises(ZeroDivisionError), sharing(2) as share:
        list(share(piece, [1, 0, 2]))
    assert limits() == before


def test_a_limit_for_a_command_is_lifted_with_its_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = limits()

    @limit_threads(1)
    def command() -> None:
        assert limits() == {1}
        assert os.environ["OPENBLAS_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
        raise KeyError

    with pytest.raises(KeyError):
        command()
    assert limits() == before
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


# --- a BLAS that is loaded late ------------------------------------------------------------------

LATE = """
import ctypes, json, sys
from pathlib import Path
import scipy.linalg
from threadpoolctl import threadpool_info
from bayeslmm.numerics.threads import blas_threads, limit_threads, one_thread

def limits():
    return {Path(one["filepath"]).name: one["num_threads"] for one in threadpool_info()}

found = {}
with one_thread():
    found["before"] = limits()
    found["threads"] = blas_threads()
ctypes.CDLL(sys.argv[1])
found["loaded"] = limits()
with one_thread():
    found["inside"] = limits()
    ctypes.CDLL(sys.argv[2])
    found["loaded inside"] = limits()
    found["threads inside"] = blas_threads()
    with one_thread():
        found["again"] = limits()
found["after"] = limits()
with limit_threads(1):
    ctypes.CDLL(sys.argv[3])
    found["under a limit"] = limits()
print(json.dumps(found))
"""


def openblas() -> Path:
    """The OpenBLAS of SciPy's or of NumPy's wheel."""
    for package in (scipy, np):
        folder = Path(package.__file__ or "").parent.with_suffix(".libs")
        for path in folder.glob("lib*openblas*"):
            return path
    pytest.skip("SciPy and NumPy bring no OpenBLAS with them")


def test_a_library_that_is_loaded_late_is_limited(tmp_path: Path) -> None:
    """Copies of OpenBLAS under other names, as PyTensor's first compiled function loads one."""
    copies = [tmp_path / f"libopenblas_{name}.so" for name in ("late", "inside", "limited")]
    for copy in copies:
        shutil.copyfile(openblas(), copy)
    done = subprocess.run(
        [sys.executable, "-c", LATE, *map(str, copies)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    late, inside, limited = (copy.name for copy in copies)
    assert late not in found["before"]
    assert found["threads"] == found["threads inside"] == 1
    free = found["loaded"][late]  # 2, or the only core
    assert set(found["inside"].values()) == {1}
    assert found["inside"].keys() == found["loaded"].keys()
    assert found["loaded inside"][inside] == free  # until the next call
    assert found["again"].keys() == found["loaded inside"].keys()
    assert set(found["again"].values()) == {1}
    assert set(found["after"].values()) == {free}
    assert found["under a limit"][limited] == 1
    assert set(found["under a limit"].values()) == {1}


def test_libraries_are_looked_for_only_when_others_were_loaded() -> None:
    look = bayeslmm.numerics.threads._look
    with one_thread():
        before = look.cache_info().misses
    for _ in range(20):
        with one_thread():
            blas_threads()
    assert look.cache_info().misses == before


@pytest.mark.parametrize("status", [None, "Name:\tpython\n"])
def test_without_proc_the_modules_are_counted(
    status: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "status"
    if status is not None:
        file.write_text(status)
    monkeypatch.setattr(bayeslmm.numerics.threads, "STATUS", file)
    count = bayeslmm.numerics.threads._loaded()
    assert count == len(sys.modules)
    monkeypatch.setitem(sys.modules, "one_more", sys)
    assert bayeslmm.numerics.threads._loaded() == count + 1


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_work_done_ahead_comes_in_order(threads: int, count: int) -> None:
    assert list(ahead(lambda k: k**2, range(count), threads=threads)) == [
        k**2 for k in range(count)
    ]


def test_the_next_piece_is_computed_while_one_is_used() -> None:
    begun = [Event() for _ in range(3)]

    def work(k: int) -> int:
        begun[k].set()
        return get_ident()

    for k, worker in enumerate(ahead(work, range(3))):
        assert worker != get_ident()
        assert begun[min(k + 1, 2)].wait(10)


def test_a_failure_ahead_is_raised_where_its_result_is_asked_for() -> None:
    results = ahead(lambda k: 1 // (2 - k), range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
