"""Mutants read in worker processes that may die: what happened to each."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from .formats import BY_NAME, GUARDED, Format
from .mutate import mutate
from .seeds import Files

TEXT_FILES = (".bim", ".fam", ".pvar", ".psam", ".id", ".pheno", ".covar", ".keep", ".csv", ".ped")
HANG_CPU = 5.0  # seconds
HANG_WALL = 60.0  # on a busy machine
EXTRA_MEMORY = 200 << 20  # bytes beyond ten times the files
BAD = ("crash", "hang", "memory", "other error", "shape", "no file named")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a mutant led to.

    Parameters
    ----------
    format, number
        Which mutant: `mutant` makes it again.
    kind
        "read", "refused", "guarded" (a child that reads it first dies or is ended, so that the
        file is refused), or one of `BAD`.
    detail
        Message or shape.
    line
        Whether a refusal names a line.
    cpu
        Seconds of processor time.
    memory
        Bytes by which the process grew at its peak.
    """

    format: str
    number: int
    kind: str
    detail: str = ""
    line: bool = False
    cpu: float = 0.0
    memory: int = 0


def mutant(format: Format, number: int) -> tuple[Files, set[str]]:
    """Mutant number `number` of a format, always the same."""
    rng = random.Random(f"{format.name} {number}")
    while True:
        files, changed = mutate(rng, format.seed())
        if changed:
            return files, changed


def write(files: Files, folder: Path) -> None:
    """Write a set into an empty folder."""
    for name, data in files.items():
        (folder / name).write_bytes(data)


def run_one(format: Format, number: int, folder: Path) -> Outcome:
    """Read one mutant in this process."""
    files, changed = mutant(format, number)
    write(files, folder)
    size = sum(len(data) for data in files.values())
    before, start = _reset_peak(), time.process_time()
    kind, detail, line = _read(format, files, changed, folder)
    cpu, grown = time.process_time() - start, _status("VmHWM") - before
    if (folder / GUARDED).exists():
        (folder / GUARDED).unlink()
    if cpu > HANG_CPU:
        kind, detail = "hang", f"{cpu:.1f} s; {kind}: {detail}"
    elif grown > 10 * size + EXTRA_MEMORY:
        kind, detail = "memory", f"{grown >> 20} MiB for {size} bytes; {kind}: {detail}"
    for name in os.listdir(folder):
        (folder / name).unlink()
    return Outcome(format.name, number, kind, detail[:300], line, cpu, grown)


def _read(format: Format, files: Files, changed: set[str], folder: Path) -> tuple[str, str, bool]:
    from bayeslmm.errors import BayesLMMError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape = format.read(folder / "x")
        expected = format.expected(files, changed)
    except BayesLMMError as error:
        text = str(error)
        if str(folder) not in text or "Traceback" in text:
            return "no file named", text, False
        return "refused", text, bool(re.search(re.escape(str(folder)) + r"/[\w.]+:\d+", text))
    except BaseException as error:  # SystemExit, too, is none of ours
        return "other error", f"{type(error).__name__}: {error}", False
    if expected is not None and shape != expected:
        return "shape", f"{shape} instead of {expected}", False
    return "read", str(shape), False


def _status(key: str) -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(1024 * int(row.split()[1]) for row in file if row.startswith(key))


def _reset_peak() -> int:
    """Forget the peak of this process's memory, and return what it has now."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        return _status("VmRSS")
    except OSError:
        return _status("VmHWM")


def _work(pipe: Connection) -> None:
    """Read the mutants that come through the pipe, one after the other."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        for name in BY_NAME:  # what is imported at first use is not the mutant's memory
            write(BY_NAME[name].seed(), Path(folder))
            BY_NAME[name].read(Path(folder) / "x")
            for old in os.listdir(folder):
                (Path(folder) / old).unlink()
        pipe.send(folder)
        while (job := pipe.recv()) is not None:
            name, numbers = job
            for number in numbers:
                pipe.send(run_one(BY_NAME[name], number, Path(folder)))


class Worker:
    """A process that reads mutants; it is started again when it dies."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self.folder = self.pipe.recv()

    def run(self, name: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Outcomes of mutants, in order."""
        left = list(numbers)
        while left:
            self.pipe.send((name, left))
            while left:
                try:
                    if not self._poll():
                        kind, number = self._unless_guarded("hang"), left.pop(0)
                        yield Outcome(name, number, kind, "it does not come to an end")
                        break
                    yield self.pipe.recv()
                    left.pop(0)
                except (EOFError, ConnectionResetError):
                    self.process.join()
                    kind, number = self._unless_guarded("crash"), left.pop(0)
                    yield Outcome(name, number, kind, f"exit code {self.process.exitcode}")
                    break
            else:
                return
            self.close()
            self._start()

    def _poll(self) -> bool:
        """Wait for an outcome: long, but in a guarded piece of code only `HANG_CPU`."""
        if self.pipe.poll(HANG_CPU):
            return True
        if (Path(self.folder) / GUARDED).exists():
            return False
        return self.pipe.poll(HANG_WALL)

    def _unless_guarded(self, kind: str) -> str:
        """The kind of a death, or "guarded" where a child would have died instead."""
        return "guarded" if (Path(self.folder) / GUARDED).exists() else kind

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(slots=True)
class Tally:
    """Counts of the outcomes of a format."""

    counts: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    cpu: float = 0.0
    slowest: float = 0.0
    memory: int = 0
    bad: list[Outcome] = field(default_factory=list)

    def add(self, one: Outcome) -> None:
        """Count an outcome."""
        self.counts[one.kind] += 1
        self.lines += one.line
        self.cpu += one.cpu
        self.slowest = max(self.slowest, one.cpu)
        self.memory = max(self.memory, one.memory)
        if one.kind in BAD:
            self.bad.append(one)


def fuzz(names: Sequence[str], cases: int, start: int = 0) -> dict[str, Tally]:
    """Read `cases` mutants of each format in one worker."""
    tallies = {name: Tally() for name in names}
    worker = Worker()
    try:
        for name in names:
            for one in worker.run(name, range(start, start + cases)):
                tallies[name].add(one)
            print(f"{name}: {tallies[name].cpu:.1f} s of processor time", file=sys.stderr)
    finally:
        worker.close()
    return tallies
