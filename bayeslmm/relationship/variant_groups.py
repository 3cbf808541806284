"""Read the file that assigns variants to groups."""

from __future__ import annotations

import pandas as pd

from bayeslmm.errors import InputError
from bayeslmm.system.files import PathArg, read_lines

HEADERS = {"id", "snp", "snpid", "variant", "variant_id", "marker", "rsid", "name"}


def read_groups(path: PathArg, known: pd.Series[str]) -> dict[str, tuple[str, int]]:
    """Read group and 1-based line of each variant ID from a file with columns ID and group.

    Parameters
    ----------
    path
        The file, separated by blanks or tabs. The first line is a header if its first word is
        ``ID``, ``SNP``, ``#ID``, ... and not the ID of a variant in `known`.
    known
        IDs of the variants.

    Raises
    ------
    InputError
        If a line has another number of columns or hidden characters, a variant repeats (the message
        names both lines), or there are no rows.
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
                "write it again",
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
