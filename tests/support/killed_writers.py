"""A process whose children write and are killed; what they leave is counted, as JSON on stdout.

``python killed_writers.py FOLDER single|set random N SEED`` kills after a random time;
``... steps`` kills at each thing in turn that the writer asks of the system (audit events).
It forks, so it must not be the test's own process, which has threads.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bayeslmm.cli.outputs import check_outputs, json_text, output_paths, write_together
from bayeslmm.errors import InputError
from bayeslmm.system.files import read_bytes, sha256, write_text

ROWS = 2000
SUFFIXES = (".h2.tsv", ".nc", ".html", ".run.json")
ASKED = ("open", "os.", "shutil.", "tempfile.")


def write_single(folder: Path, version: int) -> None:
    write_text(folder / "a.txt", f"{version:07d}\n" * ROWS)


def write_set(folder: Path, version: int) -> None:
    """The four files of ``bayeslmm h2``, all text here: writers of HDF5 take long to fork."""
    paths = output_paths(folder / "y", SUFFIXES)
    check_outputs(paths.values())
    page = f"{version:07d}\n" * ROWS
    files = {
        paths[suffix]: lambda path: path.write_text(page, encoding="utf-8")
        for suffix in SUFFIXES[:3]
    }
    write_together(files, (paths[".run.json"], json_text))


def versions_single(folder: Path) -> set[int]:
    lines = read_bytes(folder / "a.txt").decode().splitlines()
    assert len(lines) == ROWS, "a partial file"
    return {int(line) for line in lines}


def versions_set(folder: Path) -> set[int]:
    """Versions found in the files; each file must be whole whatever happened to the others."""
    paths = output_paths(folder / "y", SUFFIXES)
    record = json.loads(paths.pop(".run.json").read_text(encoding="utf-8"))
    lines = [path.read_text(encoding="utf-8").splitlines() for path in paths.values()]
    assert all(len(one) == ROWS for one in lines), "a partial file"
    found = {int(line) for one in lines for line in one}
    sums = [record[path.name] == sha256_plain(path) for path in paths.values()]
    return found if all(sums) else found | {-1}  # -1: a record that is not of these files


def sha256_plain(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def readable(folder: Path, kind: str) -> bool:
    """Whether our reader takes the result."""
    try:
        if kind == "single":
            read_bytes(folder / "a.txt")
        else:
            for path in output_paths(folder / "y", SUFFIXES).values():
                sha256(path)
    except InputError as error:
        if "interrupted" not in str(error):
            raise
        return False
    return True


def fork(action: Callable[[], object]) -> int:
    """Run in a child process; its number."""
    if child := os.fork():
        return child
    code = 1
    try:
        action()
        code = 0
    finally:
        os._exit(code)


def die_at(step: int, action: Callable[[], object]) -> None:
    """Run, and be killed at the given request to the system."""
    asked = 0

    def hook(event: str, _: object) -> None:
        nonlocal asked
        if event.startswith(ASKED):
            asked += 1
            if asked == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    action()


def look(folder: Path, kind: str, before: int, counts: Counter[str]) -> int:
    """Judge what a dead writer left; returns the version that is there now."""
    found = versions_single(folder) if kind == "single" else versions_set(folder)
    whole = len(found) == 1
    names = [path.name for path in folder.iterdir()]
    counts["mixed"] += not whole
    counts["mixed and taken for whole"] += (not whole) and readable(folder, kind)
    counts["refused"] += not readable(folder, kind)
    counts["temporary left"] += any(".tmp" in name for name in names)
    known = found - {-1}
    assert known <= {before, before + 1}, (before, found)
    counts["old"] += known == {before} and whole
    counts["new"] += known == {before + 1} and whole
    return max(known)


def main() -> None:
    folder, kind, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    write = write_single if kind == "single" else write_set
    write(folder, 1)
    write(folder, 2)
    version, counts = 2, Counter[str]()
    names = {path.name for path in folder.iterdir()}

    def again() -> None:
        """The next run: it must leave neither temporary files nor markers."""
        nonlocal version
        version += 1
        os.waitpid(fork(partial(write, folder, version)), 0)
        assert {path.name for path in folder.iterdir()} == names, list(folder.iterdir())
        assert readable(folder, kind)

    if how == "steps":
        for step in range(1, 10_000):
            child = fork(partial(die_at, step, partial(write, folder, version + 1)))
            status = os.waitpid(child, 0)[1]
            if not os.WIFSIGNALED(status):
                assert status == 0, status
                break
            version = look(folder, kind, version, counts)
            counts["kills"] += 1
            again()
    else:
        rng, usual = random.Random(int(sys.argv[5])), math.inf
        for _ in range(4):
            start = time.monotonic()
            again()
            usual = min(usual, time.monotonic() - start)
        for _ in range(int(sys.argv[4])):
            child = fork(partial(write, folder, version + 1))
            time.sleep(rng.random() * 2 * usual)  # so that some end before, on a busy machine too
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            version = look(folder, kind, version, counts)
            counts["kills"] += 1
            if not readable(folder, kind):
                again()
        again()
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
