"""The first line of a table: separator, header, and which columns name the individual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bayeslmm.errors import InputError
from bayeslmm.system.files import PathArg

HEADER_RULE = "a header that starts with FID IID, #FID IID, #IID or IID, or none at all"


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What the first line says of a table with one row per individual.

    Parameters
    ----------
    first
        The fields of the first line.
    header
        Whether they are names.
    fid
        The position of the FID, or None if there is none.
    n_ids
        How many columns name the individual.
    names
        The names of the others.
    """

    first: list[str]
    header: bool
    fid: int | None
    n_ids: int
    names: list[str]

    @property
    def iid(self) -> int:
        """The position of the IID."""
        return 0 if self.fid is None else 1


def table_layout(
    first: list[str], prefix: str, path: PathArg, line: int, *, ids_only: bool = False
) -> Layout:
    """Return the layout of a table by its first fields.

    Parameters
    ----------
    first
        The fields of the first line.
    prefix
        Columns without a header are named prefix1, prefix2, ...
    path, line
        Where the fields stand (1-based), for the messages.
    ids_only
        Whether only the identifiers matter.
    """
    keys = [field.lower().removeprefix("#") for field in first[:2]]
    header = keys[0] in ("fid", "iid")
    if header and keys[0] == "fid" and keys[1:] != ["iid"]:
        raise InputError(
            "a header with FID but without IID after it", HEADER_RULE, "add IID", path=path, line=1
        )
    has_fid = keys[0] == "fid" if header else not (ids_only and len(first) == 1)
    n_ids = 2 if has_fid else 1
    if (
        header
        and first[0].startswith("#")
        and [f.lower() for f in first[n_ids : n_ids + 1]] == ["sid"]
    ):
        n_ids += 1
    if not ids_only and len(first) <= n_ids:
        raise InputError(
            f"{len(first)} columns",
            "FID, IID and at least one more",
            HEADER_RULE,
            path=path,
            line=line,
        )
    names = (
        column_names(first[n_ids:], path, line, n_ids)
        if header and not ids_only
        else [f"{prefix}{i + 1}" for i in range(len(first) - n_ids)]
    )
    return Layout(first, header, 0 if has_fid else None, n_ids, names)


def separator(line: str) -> str | None:
    """Return a tab if the first line has one, else None (blanks) if it has any, else a comma."""
    if "\t" in line:
        return "\t"
    return "," if "," in line and " " not in line.strip() else None


def splitter(line: str) -> Callable[[str], list[str]]:
    """Return the function that splits a line of the table that begins with this one."""
    mark = separator(line)
    if mark is None:
        return str.split
    return lambda text: [field.strip() for field in text.split(mark)]


def check_first_fields(first: list[str], path: PathArg, line: int) -> None:
    """Raise `InputError` if the first line is quoted or has two kinds of separators."""
    if first and first[0][:1] in ("'", '"'):
        raise InputError(
            f"a quoted field {first[0]}",
            "fields without quotes",
            "write the table without quotes (R: write.table(..., quote = FALSE))",
            path=path,
            line=line,
            column=1,
        )
    if any(len(field.split()) > 1 for field in first[:2]):
        raise InputError(
            f"a blank within {first[0]!r}",
            "columns separated by tabs only, or by blanks only",
            "write the table with one kind of separator",
            path=path,
            line=line,
            column=1,
        )


def column_names(names: list[str], path: PathArg, line: int, before_them: int = 0) -> list[str]:
    """Return the names; raise `InputError` unless they are printable and different."""
    before = set[str]()
    for position, name in enumerate(names):
        if not name or not name.isprintable():
            raise InputError(
                f"the column name {name!r}",
                "a printable name",
                "rename the column",
                path=path,
                line=line,
                column=before_them + position + 1,
            )
        if name in before:
            raise InputError(
                f"the column '{name}' occurs twice",
                "different names",
                "rename one of them",
                path=path,
                line=line,
                column=name,
            )
        before.add(name)
    return names
