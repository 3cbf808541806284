"""Pedigree: individuals with their sires and dams, in any order of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError, warn_user
from bayeslmm.individuals import match_individuals, names_of
from bayeslmm.relationship.pedigree.checks import Positions, ancestral_order, first_defect
from bayeslmm.relationship.pedigree.group_codes import (
    group_codes,
    require_animals,
    without_codes,
)
from bayeslmm.relationship.pedigree.links import (
    Links,
    by_names,
    by_rows,
    consistent_rows,
    is_whole,
    linked,
)
from bayeslmm.relationship.pedigree.table import PedigreeTable, check_repeated, read_pedigree_table
from bayeslmm.relationship.relationship import name_some
from bayeslmm.system.files import PathArg

type Parents = Literal["auto", "names", "rows"]

ENOUGH = 20  # fewest distinct parents for which "auto" recognises row numbers


@dataclass(frozen=True, slots=True, eq=False)
class Pedigree:
    """Individuals with their sires and dams, checked once, here.

    Parameters
    ----------
    individuals
        (q,) MultiIndex of FID and IID, unique, in any order.
    sire, dam
        (q,) positions among `individuals`, -1 where unknown.
    path
        File that it was read from, or "".
    lines
        (q,) 1-based line of each individual's row, 0 for parents without a row.
    sex
        (q,) 1 male, 2 female, 0 unknown; used only to check sires and dams.
    allow_selfing
        Whether an individual may be sire and dam, also of the same offspring (plants).
    notes
        Remarks of the reader, in words, for every output.

    Attributes
    ----------
    order
        (q,) positions, parents before their offspring.

    Raises
    ------
    InputError
        If an individual is its own parent or ancestor, both sire and dam, or of the wrong sex.
    """

    individuals: pd.MultiIndex
    sire: Positions
    dam: Positions
    path: str = ""
    lines: Positions | None = None
    sex: NDArray[np.int8] | None = None
    allow_selfing: bool = False
    notes: tuple[str, ...] = ()
    order: Positions = field(init=False)

    def __post_init__(self) -> None:
        q = len(self.individuals)
        for name in ("sire", "dam"):
            parent = np.asarray(getattr(self, name), dtype=np.intp)
            if parent.shape != (q,) or (q and not -1 <= parent.min() <= parent.max() < q):
                raise InputError(
                    f"{name} of shape {parent.shape} for {q} individuals",
                    f"{q} positions from -1 (unknown) to {q - 1}",
                    "give the positions of the parents among the individuals",
                )
            object.__setattr__(self, name, parent)
        if self.individuals.has_duplicates:
            raise InputError("repeated individuals", "every (FID, IID) once", "remove the repeats")
        if self.sex is None:
            object.__setattr__(self, "sex", np.zeros(q, dtype=np.int8))
        assert self.sex is not None
        names = names_of(self.individuals)
        defect = first_defect(
            names, self.sire, self.dam, self.sex, allow_selfing=self.allow_selfing
        )
        if defect is not None:
            line = 0 if self.lines is None else int(self.lines[defect.position])
            raise defect.error(self.path, line or None)
        object.__setattr__(self, "order", ancestral_order(self.sire, self.dam))

    @property
    def n(self) -> int:
        """Number of individuals, q."""
        return len(self.individuals)

    def positions(self, individuals: pd.MultiIndex) -> Positions:
        """Find individuals by (FID, IID), or by IID if one side has no families.

        Raises
        ------
        InputError
            If some are not in the pedigree; the message names the first five.
        """
        match = match_individuals(individuals, self.individuals)
        found = np.full(len(individuals), -1) if match.fids_differ else match.positions
        absent = np.flatnonzero(found < 0)
        if absent.size:
            raise InputError(
                f"{absent.size} of {len(individuals)} individuals are not in the pedigree: "
                f"{name_some(individuals, absent)}",
                "every individual to be analysed in the pedigree",
                "add them (with NA for unknown parents), or leave them out",
                path=self.path or None,
            )
        return found.astype(np.intp)


def read_pedigree(
    path: PathArg,
    parents: Parents = "auto",
    *,
    allow_selfing: bool = False,
    founders: bool = False,
    genetic_groups: Sequence[str] | None = None,
) -> Pedigree:
    """Read a table of individuals with their sires and dams.

    A header names the columns, in any order and case: id, IID, animal, individual; sire, father,
    PAT; dam, mother, MAT; also FID and sex (1, M, male; 2, F, female). Without a header the file
    has the three columns id, sire, dam, or is PLINK's ``.fam``. Columns are separated by tabs,
    blanks or commas. Unknown parents are NA, 0, ``.``, ``*`` or empty. Rows may come in any order;
    parents without a row become founders. With FIDs, parents belong to their offspring's family.

    Parameters
    ----------
    path
        The file.
    parents
        How sires and dams are written: as identifiers ("names"), or as 1-based row numbers
        ("rows"), as some R packages do. "auto" (default) reads names. If these are impossible (a
        self-parent, a loop, an individual that is sire and dam), all are whole numbers, there are
        20 parents or more, and row numbers are consistent, it takes row numbers and warns.
    allow_selfing
        Whether an individual may be sire and dam; default False.
    founders
        Take all parents without a row as animals, even if they look like codes of groups
        (`bayeslmm.relationship.pedigree.group_codes`); default False.
    genetic_groups
        Parents that are codes of genetic groups; they are read as unknown. An empty list: those
        that look like codes. Default: None.

    Returns
    -------
    Pedigree
        Individuals in the order of their first rows, then parents without a row.

    Raises
    ------
    InputError
        If parents without a row look like codes of groups, repeated individuals disagree, or an
        individual is its own parent or ancestor, both sire and dam, or of the wrong sex. The
        message names the individual, file and line.
    """
    if parents not in ("auto", "names", "rows"):
        raise InputError(f"parents {parents!r}", "'auto', 'names' or 'rows'", "choose one of them")
    table, notes = read_pedigree_table(path), list[str]()
    if genetic_groups is not None:
        table, note = without_codes(table, list(genetic_groups) or group_codes(table))
        notes.append(note)
    repeated = check_repeated(table)
    if parents == "rows":
        return _built(linked(table, by_rows(table), repeated), allow_selfing)
    rows = consistent_rows(table, repeated, allow_selfing) if parents == "auto" else None
    if not founders and rows is None:
        require_animals(table)
    names = linked(table, by_names(table), repeated)
    if parents == "names":
        return _built(names, allow_selfing, *notes)
    return _chosen(table, names, rows, allow_selfing, *notes)


def pruned(pedigree: Pedigree, individuals: pd.MultiIndex) -> Pedigree:
    """Keep the given individuals and all their ancestors, in the pedigree's order of rows."""
    keep = np.zeros(pedigree.n + 1, dtype=bool)  # the last entry is for unknown parents
    keep[pedigree.positions(individuals)] = True
    for i in pedigree.order[::-1]:
        if keep[i]:
            keep[pedigree.sire[i]] = keep[pedigree.dam[i]] = True
    keep[-1] = False
    kept = np.flatnonzero(keep)
    new = np.full(pedigree.n + 1, -1, dtype=np.intp)
    new[kept] = np.arange(kept.size)
    assert pedigree.sex is not None
    return Pedigree(
        pedigree.individuals[kept],
        new[pedigree.sire[kept]],
        new[pedigree.dam[kept]],
        path=pedigree.path,
        lines=None if pedigree.lines is None else pedigree.lines[kept],
        sex=pedigree.sex[kept],
        allow_selfing=pedigree.allow_selfing,
        notes=pedigree.notes,
    )


def _built(links: Links, allow_selfing: bool, *notes: str) -> Pedigree:
    return Pedigree(
        links.individuals(),
        links.sire,
        links.dam,
        path=links.path,
        lines=links.lines,
        sex=links.sex,
        allow_selfing=allow_selfing,
        notes=(*links.notes, *notes),
    )


def _chosen(
    table: PedigreeTable, names: Links, rows: Links | None, allow_selfing: bool, *notes: str
) -> Pedigree:
    """Read parents as names if possible; as row numbers only if names are impossible."""
    defect = names.defect(allow_selfing)
    distinct = {parent for parent in (*table.sires, *table.dams) if parent is not None}
    option = "--pedigree-parents names|rows"
    if defect is None:
        own = {key.iid for key in table.keys}
        if rows is not None and len(distinct) >= ENOUGH and not distinct & own:
            warn_user(
                f"{table.path}: sires and dams are read as identifiers, although none of the "
                f"{len(distinct)} has a row of its own and all are numbers from 1 to "
                f"{len(table.keys)}, like row numbers; say which they are: {option}"
            )
        return _built(names, allow_selfing, *notes)
    line = int(names.lines[defect.position]) or None
    if rows is None:
        raise defect.error(table.path, line)
    if len(distinct) < ENOUGH or not all(is_whole(key.iid) for key in table.keys):
        hint = "read as row numbers the parents are consistent: --pedigree-parents rows"
        raise defect.error(table.path, line, hint)
    how = "sires and dams are read as row numbers, counted from 1, not as identifiers"
    warn_user(
        f"{table.path}: {how}: as identifiers they are impossible ({defect.found}, line {line}), "
        f"as row numbers all {len(distinct)} parents are consistent; say which they are: "
        f"{option}"
    )
    return _built(rows, allow_selfing, how, *notes)
