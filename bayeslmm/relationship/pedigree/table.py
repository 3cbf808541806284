"""Read the text of a pedigree file: individuals, and sires and dams as written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bayeslmm.errors import InputError
from bayeslmm.individuals import NO_FAMILY, name_of
from bayeslmm.system.files import PathArg
from bayeslmm.tables.text import read_rows
from bayeslmm.tables.values import MISSING

NAMES = {  # names of the columns, in lower case
    "FID": ("fid", "family", "famid", "family_id"),
    "individual": ("id", "iid", "animal", "animalid", "animal_id", "individual", "ind"),
    "sire": ("sire", "sireid", "sire_id", "father", "fatherid", "father_id", "pat", "dad"),
    "dam": ("dam", "damid", "dam_id", "mother", "motherid", "mother_id", "mat", "mom", "mum"),
    "sex": ("sex", "gender"),
}
RULE = (
    "a header with columns for the individual (id, IID, animal), its sire (sire, father, PAT) and "
    "its dam (dam, mother, MAT); or no header and the three columns id, sire, dam; or a .fam file"
)
UNKNOWN = MISSING | {"0", "*"}  # words for unknown parents
SUSPECT = frozenset({"-9", "-1", "unknown", "unk", "none", "null", "missing", "?", "-"})
SEXES = {"1": 1, "m": 1, "male": 1, "2": 2, "f": 2, "female": 2}


class Key(NamedTuple):
    """Identifiers of an individual."""

    fid: str
    iid: str


@dataclass(frozen=True, slots=True, eq=False)
class PedigreeTable:
    """Rows of a pedigree file, parents still as text.

    Parameters
    ----------
    keys
        The individual of each row.
    sires, dams
        Parents as written; None where unknown.
    sexes
        1 male, 2 female, 0 unknown or without a column of sexes.
    lines
        1-based line of each row.
    path
        The file.
    """

    keys: list[Key]
    sires: list[str | None]
    dams: list[str | None]
    sexes: list[int]
    lines: list[int]
    path: str


def read_pedigree_table(path: PathArg) -> PedigreeTable:
    """Read a pedigree's text; see `read_pedigree` for the formats.

    Raises
    ------
    InputError
        If a column is absent or occurs twice, an identifier is empty, or a parent's name looks like
        a code for "missing". The message names file and line.
    """
    header, body, lines = _cells(path)
    places = _places(header, body, path, lines[0])
    individual, sire, dam = places["individual"], places["sire"], places["dam"]
    _check_one_header(body[1:], lines[1:], places, path)
    family, sex = places.get("FID"), places.get("sex")
    if header is not None:
        body, lines = body[1:], lines[1:]
    if not body:
        raise InputError("a header and no rows", "one row per individual", "check it", path=path)
    keys = []
    for row, line in zip(body, lines, strict=True):
        fid = NO_FAMILY if family is None else row[family]
        for text, column in ((fid, "FID"), (row[individual], "id")):
            _check_identifier(text, column, path, line)
        keys.append(Key(fid, row[individual]))
    return PedigreeTable(
        keys=keys,
        sires=[_parent(row[sire], "sire", path, n) for row, n in zip(body, lines, strict=True)],
        dams=[_parent(row[dam], "dam", path, n) for row, n in zip(body, lines, strict=True)],
        sexes=[0 if sex is None else SEXES.get(row[sex].lower(), 0) for row in body],
        lines=lines,
        path=str(path),
    )


def check_repeated(table: PedigreeTable) -> list[int]:
    """Return the rows that repeat an earlier row, with the same parents and sex.

    Raises
    ------
    InputError
        If an individual has two rows that disagree.
    """
    first: dict[Key, int] = {}
    repeated = []
    for row, key in enumerate(table.keys):
        before = first.setdefault(key, row)
        if before == row:
            continue
        for what, values in (
            ("sire", table.sires),
            ("dam", table.dams),
            ("sex", [sex or None for sex in table.sexes]),
        ):
            if values[row] != values[before]:
                raise InputError(
                    f"{name_of(*key)} has the {what} {values[row] or 'unknown'} here and "
                    f"{values[before] or 'unknown'} in line {table.lines[before]}",
                    "one row per individual (or rows that agree)",
                    "keep the correct row",
                    path=table.path,
                    line=table.lines[row],
                )
        repeated.append(row)
    return repeated


def _cells(path: PathArg) -> tuple[list[str] | None, list[list[str]], list[int]]:
    """Return the header in lower case or None, all rows (with the header), and their lines."""
    rows = read_rows(path, "column")
    body = [
        [fid, iid, *values]
        for fid, iid, values in zip(rows.fids, rows.iids, rows.values, strict=True)
    ]
    if rows.header:  # it begins with FID IID or IID
        first = ["fid", "iid", *(name.lower() for name in rows.names)]
        return first, [first, *body], [rows.lines[0] - 1, *rows.lines]
    first = [text.lower().removeprefix("#") for text in body[0]]
    known = {name for names in NAMES.values() for name in names}
    found = [name for name in first if name in known]
    separated = not any(name.endswith((",", ";")) for name in first)
    if len(set(found)) == 1 and separated and Path(path).suffix != ".fam":
        raise InputError(
            f"one known column name, {found[0]!r}, in the first line",
            RULE,
            "name the other columns too, or add a header above if the line is an individual",
            path=path,
            line=rows.lines[0],
        )
    return first if found and len(set(found)) > 1 else None, body, rows.lines


def _places(
    header: list[str] | None, body: Sequence[Sequence[str]], path: PathArg, line: int
) -> dict[str, int]:
    """Return the column of each kind of field."""
    if header is None:
        return _places_without_header(len(body[0]), path, line)
    places: dict[str, int] = {}
    for what, names in NAMES.items():
        found = [i for i, name in enumerate(header) if name in names]
        if len(found) > 1:
            shown = " and ".join(f"'{header[i]}'" for i in found)
            raise InputError(
                f"the columns {shown} can all be the {what}",
                f"one column for the {what}",
                "rename or remove the others",
                path=path,
                line=line,
            )
        if found:
            places[what] = found[0]
        elif what in ("individual", "sire", "dam"):
            raise InputError(
                f"no column for the {what} among {', '.join(header)}",
                RULE,
                f"name it {names[0]}",
                path=path,
                line=line,
            )
    return places


def _check_one_header(
    rows: Sequence[Sequence[str]], lines: Sequence[int], places: dict[str, int], path: PathArg
) -> None:
    """Raise `InputError` for a header below the first line, as in joined or sorted files."""
    for row, line in zip(rows, lines, strict=True):
        if all(row[places[what]].lower() in NAMES[what] for what in ("individual", "sire", "dam")):
            raise InputError(
                f"a header ({' '.join(row)[:60]}) below the first line",
                "one header, in the first line",
                "remove the line, or move it to the top",
                path=path,
                line=line,
            )


def _places_without_header(columns: int, path: PathArg, line: int) -> dict[str, int]:
    if Path(path).suffix == ".fam" and columns >= 5:
        return {"FID": 0, "individual": 1, "sire": 2, "dam": 3, "sex": 4}
    if columns == 3:
        return {"individual": 0, "sire": 1, "dam": 2}
    raise InputError(
        f"{columns} columns without a known header",
        RULE,
        "add a header line, for instance: id sire dam (or FID IID PAT MAT SEX)",
        path=path,
        line=line,
    )


def _check_identifier(text: str, column: str, path: PathArg, line: int) -> None:
    fields = len(text.split()) == 1 and not text.endswith((",", ";"))
    if text in MISSING or not text.isprintable() or not fields:
        raise InputError(
            f"the identifier {text!r}",
            "printable text without blanks, not missing, no comma at its end",
            "correct it or remove the row; columns are separated by tabs, by blanks or by commas",
            path=path,
            line=line,
            column=column,
        )


def _parent(text: str, column: str, path: PathArg, line: int) -> str | None:
    if text in UNKNOWN:
        return None
    if text.lower() in SUSPECT:
        raise InputError(
            f"a {column} named {text!r}",
            "an identifier, or NA, 0, ., * or an empty field where it is unknown",
            "write NA if it means unknown; rename the individual if it is a name",
            path=path,
            line=line,
            column=column,
        )
    _check_identifier(text, column, path, line)
    return text
