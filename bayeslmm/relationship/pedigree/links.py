"""From the text of a pedigree to positions: parents by identifier, or by number of row."""

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
    """A pedigree as read, not checked yet.

    Parameters
    ----------
    keys
        (q,) individuals: those with a row in their order, then parents without one.
    sire, dam
        (q,) positions, -1 unknown.
    sex
        (q,) 1 male, 2 female, 0 unknown.
    lines
        (q,) 1-based lines, 0 for parents without a row.
    notes
        What was added or left out.
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
        """(q,) FID and IID."""
        return individual_index([key.fid for key in self.keys], [key.iid for key in self.keys])

    def defect(self, allow_selfing: bool) -> Defect | None:
        """Return what makes it impossible, if anything."""
        names = [name_of(*key) for key in self.keys]
        return first_defect(names, self.sire, self.dam, self.sex, allow_selfing=allow_selfing)


def by_names(table: PedigreeTable) -> tuple[Parent, Parent]:
    """Sire and dam of each row, as identifiers within the family of the row."""
    sire, dam = (
        [
            None if parent is None else Key(key.fid, parent)
            for key, parent in zip(table.keys, side, strict=True)
        ]
        for side in (table.sires, table.dams)
    )
    return sire, dam


def by_rows(table: PedigreeTable) -> tuple[Parent, Parent]:
    """Sire and dam of each row, as 1-based numbers of the rows below the header.

    Raises
    ------
    InputError
        If one is not the number of a row.
    """
    return _by_rows(table, table.sires, "sire"), _by_rows(table, table.dams, "dam")


def _by_rows(table: PedigreeTable, parents: list[str | None], column: str) -> Parent:
    q = len(table.keys)
    for parent, line in zip(parents, table.lines, strict=True):
        if parent is not None and not (is_whole(parent) and 1 <= int(parent) <= q):
            raise InputError(
                f"the {column} {parent!r}, read as the number of a row",
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
    """Read parents as numbers of rows; None if that makes no pedigree."""
    try:
        links = linked(table, by_rows(table), repeated)
    except InputError:
        return None
    return None if links.defect(allow_selfing) is not None else links


def linked(table: PedigreeTable, parents: tuple[Parent, Parent], repeated: Sequence[int]) -> Links:
    """Give every individual a position, and its parents theirs.

    Parameters
    ----------
    table
        The rows.
    parents
        Sire and dam of each row.
    repeated
        Rows that only repeat an earlier one.
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
        notes.append(f"{len(added)} parents without a row of their own are founders: {shown}")
    if repeated:
        notes.append(f"{len(repeated)} rows repeat an earlier one and are left out")
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
    """Refuse parents such as 12.0 where 12 has a row: a column of numbers with missing ones."""
    for key in added:
        if key.iid.endswith(".0") and Key(key.fid, key.iid[:-2]) in where:
            raise InputError(
                f"the parent {key.iid!r} has no row, {key.iid[:-2]!r} has one",
                "parents written as the individuals are",
                "write the parents as text or whole numbers (pandas: astype('Int64'))",
                path=path,
            )


def is_whole(text: str) -> bool:
    """Whether the text is a whole number without a sign that can be the number of a row."""
    return text.isascii() and text.isdigit() and len(text) < 19
