"""A regular table with a row an individual, read by columns; `text` reads it line by line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from bayeslmm.individuals import NO_FAMILY
from bayeslmm.system.files import PathArg
from bayeslmm.tables.columns import (
    FLOAT,
    TEXT,
    arrow_columns,
    finite,
    printable_text,
    regular_individuals,
    single_blanks,
)
from bayeslmm.tables.layout import check_first_fields, separator, splitter, table_layout
from bayeslmm.tables.values import MISSING


@dataclass(frozen=True, slots=True, eq=False)
class Regular:
    """Columns of a regular table.

    Parameters
    ----------
    names
        The names of all its columns but the identifiers'.
    individuals
        (n,) FID and IID of each row.
    numbers
        (n,) finite values by name, NaN where missing.
    texts
        (n,) Arrow arrays of text by name.
    """

    names: list[str]
    individuals: pd.MultiIndex
    numbers: dict[str, NDArray[np.float64]]
    texts: dict[str, Any]


def read_regular(
    path: PathArg,
    prefix: str,
    *,
    columns: Sequence[str] | None = None,
    texts: Collection[str] = (),
    ids_only: bool = False,
) -> Regular | None:
    """Read columns of a table, or return None if it must be read line by line.

    Parameters
    ----------
    path
        The file.
    prefix
        Columns without a header are named prefix1, prefix2, ...
    columns
        Which to read; default all. Those in `texts` are read in any case.
    texts
        Which to read as text, the others as numbers.
    ids_only
        Whether to read the identifiers only.
    """
    text = printable_text(path)
    head = None if text is None else _head(text)
    if text is None or head is None:
        return None
    first = splitter(head.line)(head.line)
    check_first_fields(first, path, head.number)
    layout = table_layout(first, prefix, path, head.number, ids_only=ids_only)
    places = {name: layout.n_ids + position for position, name in enumerate(layout.names)}
    wanted = dict.fromkeys([*(layout.names if columns is None else columns), *texts])
    if ids_only:
        wanted.clear()
    if not places.keys() >= wanted.keys():
        return None
    types = {places[name]: TEXT if name in texts else FLOAT for name in wanted}
    types |= dict.fromkeys((layout.iid if layout.fid is None else layout.fid, layout.iid), TEXT)
    found = _fields(text, head.after if layout.header else head.at, head.line, len(first), types)
    if found is None:
        return None
    first_ids, iids = found[0], found[layout.iid]
    again = pc.or_(pc.equal(first_ids, first[0]), pc.starts_with(first_ids, "##"))
    if (layout.header or head.number > 1) and pc.any(again).as_py():
        return None  # the header, or a comment before it, may be there twice
    individuals = regular_individuals(NO_FAMILY if layout.fid is None else first_ids, iids)
    numbers = {name: finite(found[places[name]]) for name in wanted if name not in texts}
    if individuals is None or any(values is None for values in numbers.values()):
        return None
    return Regular(
        layout.names,
        individuals,
        {name: values for name, values in numbers.items() if values is not None},
        {name: found[places[name]] for name in texts},
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """The first line that is no comment, its number (1-based), and where it and the next begin."""

    line: str
    number: int
    at: int
    after: int


def _head(text: bytes) -> _Head | None:
    at, number = 0, 1
    while text.startswith(b"##", at):
        if (end := text.find(b"\n", at)) < 0:
            return None
        at, number = end + 1, number + 1
    end = text.find(b"\n", at)
    line = text[at : end if end >= 0 else len(text)].decode()
    return _Head(line, number, at, at + len(line.encode()) + 1) if line.strip() else None


def _fields(
    text: bytes, start: int, line: str, width: int, types: dict[int, Any]
) -> dict[int, Any] | None:
    """Split the rows as the first line of the table is split; blank lines at the end do no harm."""
    mark = separator(line)
    if mark is None:
        text, mark, start = *single_blanks(text[start:]), 0
    elif mark == "," and b"\t" in text:
        return None
    if text.endswith(b"\n\n"):
        text = text.rstrip(b"\n")
    return arrow_columns(memoryview(text)[start:], mark, width, types, missing=MISSING)
