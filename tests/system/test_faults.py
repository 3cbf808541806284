"""Kills and full disks: what is there is old or new and whole, and nothing is left lying about."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayeslmm.cli.outputs import check_outputs, read_tree, write_together, write_tree
from bayeslmm.errors import InputError
from bayeslmm.relationship.files import read_grm, write_grm
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.system import atomic
from bayeslmm.system.atomic import atomic_path, atomic_paths, require_space, scratch_folder
from bayeslmm.system.files import read_bytes, write_text

WRITERS = Path(__file__).parents[1] / "support" / "killed_writers.py"


def killed(folder: Path, *arguments: str) -> dict[str, int]:
    """What `killed_writers` counts; it fails if a file is partial or something is left behind."""
    done = subprocess.run(
        [sys.executable, str(WRITERS), str(folder), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


@pytest.mark.parametrize(("kind", "count"), [("single", 80), ("set", 120)])
def test_killed_at_200_random_times(tmp_path: Path, kind: str, count: int) -> None:
    found = killed(tmp_path, kind, "random", str(count), "2026")
    assert found["kills"] == count
    assert found["mixed and taken for whole"] == 0
    # the kills fall before, into and after the writing; how many depends on how busy the machine is
    assert min(found[which] for which in ("old", "new", "temporary left")) > 0
    assert kind == "set" or found["mixed"] == 0


@pytest.mark.parametrize("kind", ["single", "set"])
def test_killed_at_every_step(tmp_path: Path, kind: str) -> None:
    """At each thing that the writer asks of the system, in turn: between any two renames, too."""
    found = killed(tmp_path, kind, "steps")
    assert found["kills"] >= (10 if kind == "single" else 40)
    assert found["mixed and taken for whole"] == 0
    if kind == "set":
        assert found["mixed"] == 3  # four renames
        assert found["refused"] >= found["mixed"]
    else:
        assert found["mixed"] == found["refused"] == 0


def test_files_of_two_runs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between two renames: the matrix is new, the IDs are old, the reader says so."""
    ids = pd.MultiIndex.from_product([["f"], ["1", "2", "3"]], names=["FID", "IID"])
    write_grm(Relationship(np.eye(3), ids, n_variants=1), tmp_path / "x")
    real, calls = os.replace, []

    def stops(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)

    monkeypatch.setattr(os, "replace", stops)
    with pytest.raises(InputError, match="Input/output error"):
        write_grm(Relationship(2 * np.eye(3), ids[::-1], n_variants=1), tmp_path / "x")
    with pytest.raises(InputError, match=r"interrupted run was putting in place.*run it again"):
        read_grm(tmp_path / "x")
    monkeypatch.setattr(os, "replace", real)
    write_grm(Relationship(2 * np.eye(3), ids[::-1], n_variants=1), tmp_path / "x")
    assert read_grm(tmp_path / "x").individuals.equals(ids[::-1])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"x.grm.bin", "x.grm.id", "x.grm.N.bin"}


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_path(target) as mine:
        with atomic_path(target) as other:  # a second writer of the same file
            other.write_text("second")
        check_outputs([target])
        assert mine.exists()
        mine.write_text("first")
    assert target.read_text(encoding="utf-8") == "first"
    name = f".a.txt.{atomic._HOST}-"
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    left = {
        "dead": tmp_path / f"{name}{gone}-abcd.tmp.txt",
        "alive": tmp_path / f"{name}{os.getppid()}-abcd.tmp.txt",
        "elsewhere": tmp_path / ".a.txt.zzzzzz-1-abcd.tmp.txt".replace("z", "0"),
        "elsewhere, old": tmp_path / ".a.txt.000000-2-abcd.tmp.txt",
        "another's": tmp_path / f".b.txt.{atomic._HOST}-{gone}-abcd.tmp.txt",
    }
    for path in left.values():
        path.write_text("", encoding="utf-8")
    os.utime(left["elsewhere, old"], (0, 0))
    check_outputs([target])
    assert {key for key, path in left.items() if path.exists()} == {
        "alive", "elsewhere", "another's",
    }  # fmt: skip


def test_scratch_folders_are_removed_also_after_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, sys; from bayeslmm.system.atomic import scratch_folder\n"
        "with scratch_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'large').write_text('x'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.run.json")])
    assert done.returncode == -9
    assert len(list(tmp_path.rglob("large"))) == 1
    with scratch_folder(tmp_path / "x.run.json") as folder:
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert not list(tmp_path.iterdir())


FULL = """
import resource, signal, sys
import numpy as np, xarray as xr
from pathlib import Path
from bayeslmm.cli.outputs import json_text, write_together, write_tree
from bayeslmm.system.files import write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
folder, large = Path(sys.argv[1]), np.arange(400_000.0)
tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"h2": ("x", large)})})
files = {folder / "y.tsv": lambda p: p.write_text("new"), folder / "y.nc": lambda p: write_tree(tree, p)}
for action in (
    lambda: write_together(files, (folder / "y.run.json", json_text)),
    lambda: write_text(folder / "y.tsv", "x" * 4_000_000),
):
    try:
        action()
    except Exception as error:
        print(type(error).__name__, error)
"""  # noqa: E501


def test_no_more_room_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails in the middle."""
    write_together(
        {tmp_path / "y.tsv": lambda p: p.write_text("old")}, (tmp_path / "y.run.json", str)
    )
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    together, alone = done.stdout.splitlines()
    names = r"y\.run\.json, y\.tsv, y\.nc"
    needed = r"\(more than .* MiB are needed, and .* are free in .*\) -> enough space"
    assert re.match(rf"InputError .*: {names}: writing failed: File too large {needed}", together)
    assert re.match(r"InputError .*y\.tsv: writing failed: File too large \(more than", alone)
    assert "no half-written file is left, and older files are unchanged" in alone
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def fail_in_the_middle(path: Path, failure: Exception) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(bytes(1 << 20))
        raise failure


def test_no_space_left_names_what_is_needed_and_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC by hand, in Python's own writing and in HDF5's."""
    write_text(tmp_path / "a.txt", "old")
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10 << 20, 8 << 20, 2 << 20))
    hdf5 = RuntimeError("Can't decrement id ref count (errno = 28, error message = 'No space')")
    for failure in (OSError(errno.ENOSPC, "No space left on device"), hdf5):
        with pytest.raises(InputError, match="No space left on device") as caught:
            fail_in_the_middle(tmp_path / "a.txt", failure)
        assert "(more than 1.0 MiB are needed, and 3.0 MiB are free in" in str(caught.value)
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
        assert read_bytes(tmp_path / "a.txt") == b"old"
    with pytest.raises(RuntimeError, match="something else"), atomic_path(tmp_path / "a.txt"):
        raise RuntimeError("something else")
    with pytest.raises(InputError, match=r"the matrix needs 3.0 MiB on disk, and 2.0 MiB are free"):
        require_space(tmp_path / "new" / "x", 3 << 20, "the matrix")
    require_space(tmp_path / "new" / "x", 1 << 20, "the matrix")
    assert not (tmp_path / "new").exists()


def test_space_is_looked_at_before_large_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 90, 10))
    ids = pd.MultiIndex.from_product([["f"], ["1", "2", "3"]], names=["FID", "IID"])
    with pytest.raises(InputError, match=r"needs .* on disk, and .* are free"):
        write_grm(Relationship(np.eye(3), ids), tmp_path / "x")
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"h2": ("x", np.zeros(100))})})
    with pytest.raises(InputError, match=r"needs .* on disk, and .* are free"):
        write_tree(tree, tmp_path / "x.nc")
    assert not list(tmp_path.iterdir())


def test_a_result_of_an_interrupted_run_is_no_result(tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({
        "posterior": xr.Dataset({"h2": (("chain", "draw"), np.zeros((1, 4)))}),
    })  # fmt: skip
    with atomic_paths([tmp_path / "y.run.json", tmp_path / "y.nc"]) as (record, result):
        record.write_text("{}")
        write_tree(tree, result)
    read_tree(tmp_path / "y.nc")
    (tmp_path / "y.nc.incomplete").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"may belong to two runs -> .* -> run it again"):
        read_tree(tmp_path / "y.nc")
