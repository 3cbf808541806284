"""The file that says which group a variant belongs to."""

from __future__ import annotations

import pandas as pd

from bayeslmm.errors import InputError
from bayeslmm.system.files import PathArg, read_lines

HEADERS = {"id", "snp", "snpid", "variant", "variant_id", "marker", "rsid", "name"}


def read_groups(path: PathArg, known: pd.Series[str]) -> dict[str, tuple[str, int]]:
    """Group and 1-based line of each variant ID of a file with two columns, ID and group.

    Parameters
    ----------
    path
        Separated by blanks or tabs. The first line is a header if its first word is one
        (``ID``, ``SNP``, ``#ID``, ...) and no variant of `known` has it for a name.
    known
        IDs of the variants.

    Raises
    ------
    InputError
        Another number of columns, hidden characters, a variant a second time (with both lines), no
        rows.
    """
    lines = read_lines(path)
    first = lines[0].split() if lines else []
    word = first[0].lower() if first else ""
    named = word.removeprefix("#") in HEADERS or word.startswith("#")
    header = named and not (known == first[0]).any()
    rows: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines[header:], 1 + header):
        fields = line.split()
        if len(fields) != 2:
            raise InputError(
                f"{len(fields)} columns" if fields else "a blank line",
                "two columns, variant ID and group",
                "repair the line",
                path=path,
                line=number,
            )
        name, group = fields
        if not line.isprintable() and not (name + group).isprintable():
            hidden = group if name.isprintable() else name
            raise InputError(
                f"{hidden[:40]!a}",
                "printable text (no control characters, no marks of writing direction)",
                "write it anew",
                path=path,
                line=number,
            )
        if name in rows:
            raise InputError(
                f"{name} as in line {rows[name][1]}",
                "every variant once, in one group",
                "remove one of the lines",
                path=path,
                line=number,
            )
        rows[name] = (group, number)
    if not rows:
        raise InputError("no rows", "variant ID and group", "check the file", path=path)
    return rows
