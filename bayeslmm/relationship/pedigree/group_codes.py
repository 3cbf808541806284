"""Codes of groups written as parents: phantom parents, genetic groups, codes for "unknown".

Programs such as BLUPF90 and ASReml take codes of genetic groups (UPG1, UPG2) in the place of
unknown parents. Read as animals they make all base animals siblings, which raises h². An animal
without a row of its own is a founder; it may have many offspring, but rarely most of a pedigree's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from bayeslmm.errors import InputError
from bayeslmm.relationship.pedigree.table import PedigreeTable

FEWEST = 10  # offspring from which on a parent without a row may be a code
MOST = 0.5  # share of the base animals that one code has, or pairs of codes have together
EACH = 0.1  # share of the base animals that each of a pair of codes has


def group_codes(table: PedigreeTable) -> list[str]:
    """Return the parents without a row that look like codes of groups, as written.

    Base animals are those with a parent without a row. A code is the parent of at least 10 of
    them, and of half of them; or both parents are codes of a tenth each, for half of them.
    """
    own = {key.iid for key in table.keys}
    pairs = [
        tuple(None if parent in own else parent for parent in both)
        for both in zip(table.sires, table.dams, strict=True)
    ]
    base = [pair for pair in pairs if pair != (None, None)]
    count = Counter(name for pair in base for name in dict.fromkeys(pair) if name is not None)
    alone = {name for name, times in count.items() if times >= max(FEWEST, MOST * len(base))}
    many = {name for name, times in count.items() if times >= max(FEWEST, EACH * len(base))}
    both = [pair for pair in base if None not in pair and many.issuperset(pair)]
    together = {name for pair in both for name in pair} if len(both) >= MOST * len(base) else set()
    return [str(name) for name in count if name in alone | together]


def require_animals(table: PedigreeTable) -> None:
    """Raise `InputError` if parents without a row look like codes of groups."""
    codes = group_codes(table)
    if not codes:
        return
    parents = list(zip(table.sires, table.dams, strict=True))
    rows = [k for k, pair in enumerate(parents) if {*pair} & {*codes}]
    shown = ", ".join(codes[:5]) + (", ..." if len(codes) > 5 else "")
    raise InputError(
        f"parents without a row of their own have {len(rows)} of {len(table.keys)} individuals as "
        f"offspring: {shown}: codes of groups, or of unknown parents?",
        "parents that are animals; as animals, codes make all base animals siblings",
        "write 0 or NA for unknown parents; or say which they are: --genetic-groups (codes: the "
        "parents are unknown) or --founders (animals)",
        path=table.path,
        line=table.lines[rows[0]],
    )


def without_codes(table: PedigreeTable, codes: Collection[str]) -> tuple[PedigreeTable, str]:
    """Set parents that are codes to unknown; return the table and a note.

    Raises
    ------
    InputError
        If a code has a row of its own, or is no parent.
    """
    own = {key.iid: line for key, line in zip(table.keys, table.lines, strict=True)}
    for code in codes:
        if code in own:
            raise InputError(
                f"the genetic group {code!r} has a row of its own",
                "codes that are parents only",
                "leave its row out, or leave it out of --genetic-groups",
                path=table.path,
                line=own[code],
            )
        if code not in table.sires and code not in table.dams:
            raise InputError(
                f"the genetic group {code!r} is no parent", "codes in the columns of parents",
                "check the spelling", path=table.path,
            )  # fmt: skip
    if not codes:
        raise InputError(
            "--genetic-groups, and no parent looks like a code of a group",
            "codes in the columns of parents, without rows of their own",
            "name them (--genetic-groups UPG1,UPG2), or leave the option out",
            path=table.path,
        )
    sires, dams = (
        [None if parent in codes else parent for parent in parents]
        for parents in (table.sires, table.dams)
    )
    note = (
        "codes of genetic groups are read as unknown parents: "
        f"{', '.join(sorted(codes)[:5])}{', ...' if len(codes) > 5 else ''} (differences between "
        "groups are not fitted; a group as a fixed effect is a covariate)"
    )
    return replace(table, sires=sires, dams=dams), note
