"""Turn the parents of a pedigree table into positions, by identifier or by row number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index, name_of
from bayeslmm.relationship.pedigree.checks import Defect, Positions, first_defect
from bayeslmm.relationship.pedigree.table import Key, PedigreeTable

type Parent = Sequence[Key | None]  # of each row


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """A pedigree before its checks.

    Parameters
    ----------
    keys
        (q,) individuals with a row, in the order of the rows, then parents without a row.
    sire, dam
        (q,) positions, -1 where unknown.
    sex
        (q,) 1 male, 2 female, 0 unknown.
    lines
        (q,) 1-based lines, 0 for parents without a row.
    notes
        What was added or left out, in words.
    path
        The file.
    """

    keys: list[Key]
    sire: Positions
    dam: Positions
    sex: NDArray[np.int8]
    lines: Positions
    notes: tuple[str, ...]
    path: str

    def individuals(self) -> pd.MultiIndex:
        """Return FID and IID (q,)."""
        return individual_index([key.fid for key in self.keys], [key.iid for key in self.keys])

    def defect(self, allow_selfing: bool) -> Defect | None:
        """Return the first defect, or None."""
        names = [name_of(*key) for key in self.keys]
        return first_defect(names, self.sire, self.dam, self.sex, allow_selfing=allow_selfing)


def by_names(table: PedigreeTable) -> tuple[Parent, Parent]:
    """Return sire and dam of each row, read as identifiers within the row's family."""
    sire, dam = (
        [
            None if parent is None else Key(key.fid, parent)
            for key, parent in zip(table.keys, side, strict=True)
        ]
        for side in (table.sires, table.dams)
    )
    return sire, dam


def by_rows(table: PedigreeTable) -> tuple[Parent, Parent]:
    """Return sire and dam of each row, read as 1-based row numbers below the header.

    Raises
    ------
    InputError
        If a parent is not a row number.
    """
    return _by_rows(table, table.sires, "sire"), _by_rows(table, table.dams, "dam")


def _by_rows(table: PedigreeTable, parents: list[str | None], column: str) -> Parent:
    q = len(table.keys)
    for parent, line in zip(parents, table.lines, strict=True):
        if parent is not None and not (is_whole(parent) and 1 <= int(parent) <= q):
            raise InputError(
                f"the {column} {parent!r}, read as a row number",
                f"a whole number from 1 to {q}, or NA",
                "if parents are identifiers, use --pedigree-parents names",
                path=table.path,
                line=line,
                column=column,
            )
    return [None if parent is None else table.keys[int(parent) - 1] for parent in parents]


def consistent_rows(
    table: PedigreeTable, repeated: Sequence[int], allow_selfing: bool
) -> Links | None:
    """Read parents as row numbers; return None if the result is not a pedigree."""
    try:
        links = linked(table, by_rows(table), repeated)
    except InputError:
        return None
    return None if links.defect(allow_selfing) is not None else links


def linked(table: PedigreeTable, parents: tuple[Parent, Parent], repeated: Sequence[int]) -> Links:
    """Give individuals and parents positions.

    Parameters
    ----------
    table
        The rows.
    parents
        Sire and dam of each row.
    repeated
        Rows that repeat an earlier row.
    """
    dropped = set(repeated)
    rows = [row for row in range(len(table.keys)) if row not in dropped]
    where = {table.keys[row]: i for i, row in enumerate(rows)}
    named = dict.fromkeys(key for side in parents for key in side if key is not None)
    added = [key for key in named if key not in where]
    _check_decimals(added, where, table.path)
    where |= {key: len(rows) + i for i, key in enumerate(added)}
    notes = []
    if added:
        shown = ", ".join(name_of(*key) for key in added[:5]) + (", ..." if len(added) > 5 else "")
        notes.append(f"{len(added)} parents without a row are founders: {shown}")
    if repeated:
        notes.append(f"{len(repeated)} rows repeat an earlier row and are left out")
    none = len(added)
    sire, dam = (
        [-1 if (key := side[row]) is None else where[key] for row in rows] for side in parents
    )
    return Links(
        keys=list(where),
        sire=np.array(sire + [-1] * none, dtype=np.intp),
        dam=np.array(dam + [-1] * none, dtype=np.intp),
        sex=np.array([*(table.sexes[row] for row in rows), *[0] * none], dtype=np.int8),
        lines=np.array([*(table.lines[row] for row in rows), *[0] * none], dtype=np.intp),
        notes=tuple(notes),
        path=table.path,
    )


def _check_decimals(added: list[Key], where: dict[Key, int], path: str) -> None:
    """Raise `InputError` for a parent 12.0 where 12 has a row: numbers read as decimals."""
    for key in added:
        if key.iid.endswith(".0") and Key(key.fid, key.iid[:-2]) in where:
            raise InputError(
                f"the parent {key.iid!r} has no row, but {key.iid[:-2]!r} has one",
                "parents written in the same way as individuals",
                "write the parents as text or whole numbers (pandas: astype('Int64'))",
                path=path,
            )


def is_whole(text: str) -> bool:
    """Tell whether the text is a whole number without sign, as a row number is."""
    return text.isascii() and text.isdigit() and len(text) < 19
