"""Columns of PLINK's tables, read with Arrow; each function returns None where a line is irregular.

The caller then reads the file line by line, and that accepts it or raises an error with the line.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bayeslmm.genotypes.plink_lines import FAM_MISSING, PSAM_HEADER, PVAR_HEADER, header_of
from bayeslmm.individuals import NO_FAMILY
from bayeslmm.system.files import PathArg
from bayeslmm.tables.columns import (
    FLOAT,
    TEXT,
    arrow_columns,
    finite,
    printable_text,
    regular_individuals,
    series,
    single_blanks,
)

_MISSING = {
    "".join(w) for word in FAM_MISSING for w in product(*zip(word, word.upper(), strict=True))
}


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of a regular table.

    Parameters
    ----------
    text
        The rows.
    separator
        What separates their fields.
    width
        How many fields the first row has.
    header
        The names of the columns, or None.
    """

    text: bytes
    separator: str
    width: int
    header: list[str] | None = None

    def columns(
        self, types: dict[int, pa.DataType], missing: Collection[str] = ()
    ) -> dict[int, Any] | None:
        """Return columns by position, as `arrow_columns` does."""
        return arrow_columns(self.text, self.separator, self.width, types, missing)


def regular_rows(path: PathArg, names: tuple[str, ...] = ()) -> Rows | None:
    """Return the rows of a printable file.

    Parameters
    ----------
    path
        The file.
    names
        What the header may begin with; default the file has neither header nor comments.

    Raises
    ------
    InputError
        If the header begins with another name.
    """
    text = printable_text(path)
    if text is None or not text[text.rfind(b"\n", 0, -1) + 1 :].strip():
        return None  # a blank line at the end would not be seen below
    start, before = 0, list[str]()
    while names and text.startswith(b"#", start):
        if (end := text.find(b"\n", start)) < 0:
            return None
        before.append(text[start:end].decode())
        start = end + 1
        if not before[-1].startswith("##"):
            break
    header = header_of(path, before, names)[1]
    rows, separator = single_blanks(text[start:])
    width = rows.partition(b"\n")[0].count(separator.encode()) + 1
    return Rows(rows, separator, width, header) if header is None or width == len(header) else None


def regular_fam(path: PathArg) -> pd.MultiIndex | None:
    """Index the individuals of a ``.fam``."""
    rows = regular_rows(path)
    return None if rows is None else _fam(rows, least=6)


def regular_fam_phenotypes(path: PathArg) -> pd.DataFrame | None:
    """Return the phenotypes of a ``.fam`` by individual, NaN where missing."""
    rows = regular_rows(path)
    if rows is None or not (places := range(5, rows.width)):
        return None
    found = rows.columns({0: TEXT, 1: TEXT} | dict.fromkeys(places, FLOAT), _MISSING)
    individuals = None if found is None else regular_individuals(found[0], found[1])
    if found is None or individuals is None:
        return None
    data: dict[str, NDArray[np.float64]] = {}
    for k, place in enumerate(places):
        if (values := finite(found[place])) is None:
            return None
        data[f"pheno{k + 1}"] = np.where(values == -9, np.nan, values)
    return pd.DataFrame(data, index=individuals)


def regular_psam(path: PathArg) -> pd.MultiIndex | None:
    """Index the individuals of a ``.psam``; without a FID it is "0"."""
    rows = regular_rows(path, PSAM_HEADER)
    if rows is None or rows.header is None:
        return None if rows is None else _fam(rows, least=5)
    if "IID" not in rows.header:
        return None
    iid = rows.header.index("IID")
    if (found := rows.columns({0: TEXT, iid: TEXT})) is None:
        return None
    return regular_individuals(found[0] if rows.header[0] == "FID" else NO_FAMILY, found[iid])


def regular_bim(path: PathArg) -> pd.DataFrame | None:
    """Return the variants of a ``.bim``."""
    rows = regular_rows(path)
    return None if rows is None else _bim(rows, (6,))


def regular_pvar(path: PathArg) -> pd.DataFrame | None:
    """Return the variants of a ``.pvar``: ALT is A1, REF is A0."""
    rows = regular_rows(path, PVAR_HEADER)
    if rows is None or rows.header is None:
        return None if rows is None else _bim(rows, (5, 6))
    names = ("CHROM", "POS", "ID", "ALT", "REF")
    if not {*names} <= {*rows.header}:
        return None
    return _variants(rows, [rows.header.index(name) for name in names])


def _fam(rows: Rows, *, least: int) -> pd.MultiIndex | None:
    if rows.width < least or (found := rows.columns({0: TEXT, 1: TEXT})) is None:
        return None
    return regular_individuals(found[0], found[1])


def _bim(rows: Rows, widths: Collection[int]) -> pd.DataFrame | None:
    """Return the variants of rows as in a ``.bim``, CM perhaps left out."""
    k = rows.width
    return _variants(rows, (0, k - 3, 1, k - 2, k - 1)) if k in widths else None


def _variants(rows: Rows, order: Sequence[int]) -> pd.DataFrame | None:
    """Return the variants whose CHROM, POS, ID, A1 and A0 are in these columns."""
    if (found := rows.columns(dict.fromkeys(order, TEXT))) is None:
        return None
    chromosome, position, name, a1, a0 = (found[place] for place in order)
    whole = pc.match_substring_regex(position, "^-?[0-9]{1,18}$")  # Arrow alone reads 0x10, too
    if pc.any(pc.equal(chromosome, "")).as_py() or not pc.all(whole).as_py():
        return None
    return pd.DataFrame(
        {
            "CHROM": series(chromosome),
            "POS": pc.cast(position, pa.int64()).to_numpy(),
            "ID": series(name),
            "A1": series(a1),
            "A0": series(a0),
        }
    )
