"""The state of a calibration on disk: a line for every simulation that is done.

The first line says what is calibrated; a run with other options does not touch the file. Lines are
appended and flushed to disk one by one, so that a run that is killed loses the simulations in work
and nothing else; half a line at the end is cut off when the run goes on.
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
        Which: its random numbers are the child of this number of the seed.
    size
        Number of near-independent draws that the truth was ranked among.
    u
        (q,) normalised rank of the truth, (rank + uniform)/(size + 1); NaN where it has none.
    z
        (q,) (truth - posterior mean) / posterior sd.
    pareto_k, fell_back, problem
        As of `bayeslmm.inference.engine.Replicate`.
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
    """The simulations that a file holds, and a function that appends one.

    Parameters
    ----------
    path
        The file; it is made if it is not there.
    facts
        Everything that the numbers depend on, for JSON.

    Yields
    ------
    dict, function
        Units by index; ``append(unit)``, on disk when it returns.

    Raises
    ------
    InputError
        A file of another calibration, with what differs; no space.
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
    """The units, and the length of the whole lines; 0 where there is nothing to keep."""
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
    """A whole line; None for half a one."""
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
        said = "; ".join(f"{n} {_short(found.get(n))}, now {_short(wanted[n])}" for n in names[:3])
        raise _other(path, f"simulations of another calibration ({said})")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _other(path: Path, found: str) -> InputError:
    return InputError(
        found,
        "none, or those of the same model, data, engine, draws, seed and versions",
        "choose another --out, or delete the file to start anew",
        path=path,
    )
