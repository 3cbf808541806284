"""Output files: checked before the work begins, and written together at its end or not at all."""

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
    """Return the paths of the outputs, prefix + suffix, by suffix."""
    return {suffix: Path(os.fspath(prefix) + suffix) for suffix in suffixes}


def check_outputs(paths: Iterable[Path], inputs: Iterable[PathArg] = ()) -> None:
    """Check, before any work, that the outputs can be written; create their folder.

    Temporary files of a killed run for the same outputs are removed.

    Parameters
    ----------
    paths
        The outputs, all in one folder.
    inputs
        Files that are read and must not be overwritten.

    Raises
    ------
    InputError
        If the prefix has no name, the folder cannot be created or written to, or an output is a
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
    """Leave an `atomic_path` without writing a file."""


def write_together(files: Mapping[Path, Writer], record: tuple[Path, Record]) -> None:
    """Write several files: all of them or none.

    Every file is written to a temporary name in its folder. When all are complete and on disk, they
    are renamed one after the other, the record last. A run killed between two renames leaves
    markers, by which our readers reject the files (`bayeslmm.system.atomic.atomic_paths`), and a
    record with other checksums than the files.

    Parameters
    ----------
    files
        Path of each file, and a function that writes it to a given path.
    record
        Path of the record, and a function that returns its text from the SHA-256 of the files by
        name.

    Raises
    ------
    InputError
        Without space or permission; nothing is left behind.
    """
    path, text = record
    with atomic_paths([path, *files]) as (last, *temporaries):
        checksums = {}
        for (target, write), temporary in zip(files.items(), temporaries, strict=True):
            write(temporary)
            checksums[target.name] = sha256(temporary)
        last.write_text(text(checksums), encoding="utf-8", newline="\n")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as tab-separated text: ten significant digits, missing values as empty cells.

    Infinite numbers are written as ``inf`` and ``-inf``.
    """
    frame.to_csv(path, sep="\t", index=False, float_format="%.10g", lineterminator="\n")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Convert the rows of a table to dictionaries for JSON; non-finite numbers as in `plain`."""
    return [
        {str(name): plain(value) for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def plain(value: Any) -> Any:
    """Convert a number for JSON: NaN to None, infinite ones to "inf" or "-inf"."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def json_text(value: Any, *, ascii_only: bool = False) -> str:
    """Format strict, indented JSON with a line end; `ascii_only` for an unknown encoding."""
    text = json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=False, default=str)
    return text + "\n"


def checksums(paths: Iterable[PathArg]) -> list[dict[str, Any]]:
    """Return path, size and SHA-256 of files."""
    return [
        {"path": os.fspath(path), "bytes": os.path.getsize(path), "sha256": sha256(path)}
        for path in paths
    ]


def join_traits(trees: Mapping[str, xr.DataTree]) -> xr.DataTree:
    """Join the trees of several traits, one group per trait; return a single tree unchanged."""
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
        If the file is missing, is not netCDF-4, or is not a result of bayeslmm.
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
    except Exception as error:  # three libraries raise different errors on damaged files
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
    """Compare the checksum of a file with its record; None without a record."""
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
    """Return outputs of an earlier run with the same prefix that this run did not overwrite."""
    known = output_paths(prefix, suffixes).values()
    return [path for path in known if path not in written and path.is_file()]
