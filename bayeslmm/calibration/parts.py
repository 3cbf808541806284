"""Checkpoint file of a calibration: one JSON line per finished simulation.

The first line holds the options; a run with other options does not change the file. Each line is
flushed to disk when it is appended, so that a killed run loses only the simulations in progress.
Resuming removes an incomplete last line.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bayeslmm.errors import InputError
from bayeslmm.system.files import PathArg, write_text

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Unit:
    """One simulation.

    Parameters
    ----------
    index
        Its number i; its random numbers come from child i of the seed.
    size
        Number of near-independent draws among which the truth was ranked.
    u
        (q,) normalised rank of the truth, (rank + uniform)/(size + 1); NaN if undefined.
    z
        (q,) (truth - posterior mean) / posterior sd.
    pareto_k, fell_back, problem
        As in `bayeslmm.inference.engine.Replicate`.
    seconds
        Wall time.
    """

    index: int
    size: int
    u: tuple[float, ...]
    z: tuple[float, ...]
    pareto_k: float
    fell_back: bool
    problem: str | None
    seconds: float


@contextlib.contextmanager
def open_parts(
    path: PathArg, facts: Mapping[str, Any]
) -> Iterator[tuple[dict[int, Unit], Callable[[Unit], None]]]:
    """Open a checkpoint file: read its simulations, and yield a function that appends one.

    Parameters
    ----------
    path
        The file; created if it does not exist.
    facts
        Everything that determines the numbers, JSON-serialisable.

    Yields
    ------
    dict, function
        Units by index; ``append(unit)``, which returns when the unit is on disk.

    Raises
    ------
    InputError
        If the file is of another calibration (the message names the differences), or the disk is
        full.
    """
    path = Path(path)
    header = json.dumps({"calibration": FORMAT, **facts}, ensure_ascii=True, sort_keys=True)
    done, length = _read(path, json.loads(header))
    if length == 0:
        write_text(path, header + "\n")
    with _teaching(path), open(path, "rb+") as file:
        if length:
            file.truncate(length)
        file.seek(0, os.SEEK_END)

        def append(unit: Unit) -> None:
            with _teaching(path):
                file.write(json.dumps(asdict(unit)).encode("ascii") + b"\n")
                file.flush()
                os.fsync(file.fileno())

        yield done, append


@contextlib.contextmanager
def _teaching(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise InputError(
            f"writing failed: {error.strerror}",
            "enough space and permission",
            "free some space and run the same command again: the simulations so far are kept",
            path=path,
        ) from error


def _read(path: Path, header: dict[str, Any]) -> tuple[dict[int, Unit], int]:
    """Read the units; also return the length of the complete lines, 0 without any."""
    if not path.exists():
        return {}, 0
    done: dict[int, Unit] = {}
    length = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            content = _parsed(line)
            if number == 0:
                if content is None:
                    if line.endswith(b"\n"):
                        raise _other(path, "a file that no calibration wrote")
                    return {}, 0
                _check(path, content, header)
            elif content is None or (unit := _unit(content)) is None:
                break
            else:
                done[unit.index] = unit
            length += len(line)
    return done, length


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Parse a line; None if it is incomplete."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _unit(content: dict[str, Any]) -> Unit | None:
    try:
        return Unit(**content | {"u": tuple(content["u"]), "z": tuple(content["z"])})
    except (KeyError, TypeError):
        return None


def _check(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if "calibration" not in found:
        raise _other(path, "a file that no calibration wrote")
    names = [name for name in wanted if found.get(name) != wanted[name]]
    if names:
        differences = "; ".join(
            f"{n} {_short(found.get(n))}, now {_short(wanted[n])}" for n in names[:3]
        )
        raise _other(path, f"simulations of another calibration ({differences})")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _other(path: Path, found: str) -> InputError:
    return InputError(
        found,
        "no file, or simulations of the same model, data, engine, draws, seed and versions",
        "choose another --out, or delete the file to start anew",
        path=path,
    )
