"""Results into files: checked before the work begins, written together at its end or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslmm.errors import InputError, warn_user
from bayeslmm.system.atomic import atomic_path, atomic_paths, remove_abandoned, require_space
from bayeslmm.system.files import PathArg, require_file, sha256
from bayeslmm.system.hdf5 import why_damaged
from bayeslmm.system.netcdf import netcdf_bytes

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

type Writer = Callable[[Path], object]
type Record = Callable[[dict[str, str]], str]

SENSITIVITY = ".sensitivity.tsv"
RESULTS = (".h2.tsv", SENSITIVITY, ".nc", ".html", ".run.json")
BREEDING_VALUES = ".bv.tsv"
PREDICTIONS = ".predict.tsv"
OF_H2 = (*RESULTS, BREEDING_VALUES, PREDICTIONS)


def output_paths(prefix: PathArg, suffixes: Iterable[str] = RESULTS) -> dict[str, Path]:
    """Paths of the outputs by suffix: prefix and suffix joined."""
    return {suffix: Path(os.fspath(prefix) + suffix) for suffix in suffixes}


def check_outputs(paths: Iterable[Path], inputs: Iterable[PathArg] = ()) -> None:
    """Check, before any work, that the outputs can be written; make their folder.

    Temporary files that a killed run left behind for the same outputs are removed.

    Parameters
    ----------
    paths
        The outputs, all in one folder.
    inputs
        Files that are read and must not be overwritten.

    Raises
    ------
    InputError
        A prefix without a name, a folder that cannot be made or written to, an output that is a
        folder or one of the inputs.
    """
    read = {os.path.realpath(path) for path in inputs}
    for path in paths:
        if path.name.startswith("."):
            raise InputError(
                "a prefix without a name", "a path and a name", "for instance --out results/h2",
                path=path.parent,
            )  # fmt: skip
        if path.is_dir() or os.path.realpath(path) in read:
            found = "is a folder" if path.is_dir() else "is an input, and would be overwritten"
            raise InputError(found, "a file to write to", "choose another --out", path=path)
        _require_writable(path)
        remove_abandoned(path)


def _require_writable(path: Path) -> None:
    """Make and remove a temporary file where `path` will be."""
    probe = path.with_name(f"{path.name}.probe")
    try:
        with atomic_path(probe):
            raise _Enough
    except _Enough:
        pass


class _Enough(Exception):
    """Ends an `atomic_path` without a file."""


def write_together(files: Mapping[Path, Writer], record: tuple[Path, Record]) -> None:
    """Write several files: all of them or none.

    Every file is written whole to a temporary name in its folder; only when all are there and on
    disk are they renamed, one right after the other, the record last. A run that is killed between
    two renames leaves markers by which our readers refuse the files
    (`bayeslmm.system.atomic.atomic_paths`), and a record whose checksums are not those of the
    files.

    Parameters
    ----------
    files
        Path of each file, and a function that writes it to the path it is given.
    record
        Path of the record, and a function that gives its text from the SHA-256 of the files by
        name.

    Raises
    ------
    InputError
        No space, no permission; nothing is left behind.
    """
    path, text = record
    with atomic_paths([path, *files]) as (last, *temporaries):
        checksums = {}
        for (target, write), temporary in zip(files.items(), temporaries, strict=True):
            write(temporary)
            checksums[target.name] = sha256(temporary)
        last.write_text(text(checksums), encoding="utf-8", newline="\n")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """A table as tab-separated text: ten significant digits, empty cells for what does not exist.

    Infinite numbers stand as ``inf`` and ``-inf``.
    """
    frame.to_csv(path, sep="\t", index=False, float_format="%.10g", lineterminator="\n")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as dictionaries for JSON: what is not finite is None or text."""
    return [
        {str(name): plain(value) for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def plain(value: Any) -> Any:
    """A number for JSON: NaN becomes None, an infinite one "inf" or "-inf"."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def json_text(value: Any, *, ascii_only: bool = False) -> str:
    """Strict JSON, readable, with a line end; `ascii_only` for a stream of unknown encoding."""
    text = json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=False, default=str)
    return text + "\n"


def checksums(paths: Iterable[PathArg]) -> list[dict[str, Any]]:
    """Path, size and SHA-256 of files."""
    return [
        {"path": os.fspath(path), "bytes": os.path.getsize(path), "sha256": sha256(path)}
        for path in paths
    ]


def join_traits(trees: Mapping[str, xr.DataTree]) -> xr.DataTree:
    """One tree of a single trait as it is; of several traits a group each."""
    import xarray as xr

    if len(trees) == 1:
        return next(iter(trees.values()))
    return xr.DataTree.from_dict(dict(trees))


def write_tree(tree: xr.DataTree, path: PathArg) -> None:
    """Write a result as netCDF-4; ``xarray.open_datatree`` reads it."""
    require_space(path, sum(node.to_dataset().nbytes for node in tree.subtree), "the result")
    Path(path).write_bytes(netcdf_bytes(tree))


def read_tree(path: PathArg) -> xr.DataTree:
    """Read a result into memory and close the file.

    Raises
    ------
    InputError
        A missing file, one that is no netCDF-4, or no result of bayeslmm.
    """
    import xarray as xr

    from bayeslmm.posterior.summary import trait_trees

    file = require_file(path)
    vouched = as_recorded(file)
    if vouched is False:
        warn_user(f"{path}: not the file that {file.with_suffix('.run.json').name} speaks of: "
                "it was changed after bayeslmm wrote it")  # fmt: skip
    if not vouched and (why := why_damaged(file)) is not None:
        raise _no_result(path, why)
    try:
        with xr.open_datatree(file, engine="h5netcdf") as opened:
            tree = opened.load()
    except MemoryError:
        raise
    except Exception as error:  # of three libraries, whatever the damage leads them to
        raise _no_result(path, f"{type(error).__name__}: {error}".splitlines()[0]) from None
    if not trait_trees(tree):
        raise InputError(
            f"no posterior among the groups {list(tree.children)[:10]}",
            "the PREFIX.nc that bayeslmm h2 wrote",
            "check the file",
            path=path,
        )
    return tree


def as_recorded(path: Path) -> bool | None:
    """Whether a file has the checksum that the record beside it gives; None without a record."""
    try:
        record = json.loads(path.with_suffix(".run.json").read_text(encoding="utf-8"))
        known = record["outputs_sha256"][path.name]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return bool(known == sha256(path))


def _no_result(path: PathArg, why: str) -> InputError:
    return InputError(
        f"cannot be read as netCDF-4 ({why})",
        "the PREFIX.nc that bayeslmm h2 wrote",
        "check the file; if it is damaged, run bayeslmm h2 again",
        path=path,
    )


def stale(
    prefix: PathArg,
    written: Sequence[Path],
    suffixes: Sequence[str] = OF_H2,
) -> list[Path]:
    """Outputs of an earlier run under the same prefix that this run did not write anew."""
    known = output_paths(prefix, suffixes).values()
    return [path for path in known if path not in written and path.is_file()]
