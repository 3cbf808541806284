"""Read allele frequencies of a reference panel from files of plink2, plink 1.9 and GCTA.

The header names the columns, in any order, separated by blanks or tabs:

- plink2 ``--freq`` (``.afreq``): ``#CHROM ID REF ALT ALT_FREQS OBS_CT``; for several alternative
  alleles ALT and ALT_FREQS are lists separated by commas.
- plink 1.9 ``--freq`` (``.frq``): ``CHR SNP A1 A2 MAF NCHROBS``; MAF is the frequency of A1.
- GCTA 1.9 ``--freq``: ``CHR SNP POS A1 A2 AF NCHROBS``; AF is the frequency of A1.
- GCTA 1.2 ``--freq`` (``.freq``): no header, three columns: variant, A1, frequency of A1.

``NA``, ``nan`` and ``.`` mean an unknown frequency; ``0`` and ``.`` mean an unknown allele.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from bayeslmm.errors import InputError
from bayeslmm.system.files import PathArg, read_lines, require_file

UNKNOWN = "0"  # an unknown allele
NO_FREQUENCY = frozenset({"NA", "na", "NaN", "nan", "-nan", "."})
ROUNDING = 1e-3  # printed frequencies may sum to 1 + this
COMPRESSED = {b"\x1f\x8b": "gunzip", b"\x28\xb5": "zstd -d"}  # first bytes -> command that unpacks

# columns of variant, counted alleles, remaining allele, frequencies
FORMATS = (
    ("ID", "ALT", "REF", "ALT_FREQS"),
    ("SNP", "A1", "A2", "MAF"),
    ("SNP", "A1", "A2", "AF"),
)
EXPECTED = (
    "a header with ID REF ALT ALT_FREQS (plink2), SNP A1 A2 MAF (plink 1.9) or SNP A1 A2 AF "
    "(GCTA), or no header and three columns: variant, allele, its frequency"
)
REMAKE = "make the file with plink2 --freq or plink --freq"


class Row(NamedTuple):
    """A variant of the reference.

    Parameters
    ----------
    line
        1-based line of the file.
    name
        ID of the variant.
    alleles
        Counted alleles, then the remaining allele, in capitals; `UNKNOWN` if not named.
    frequencies
        Frequencies of the counted alleles, in [0, 1]; NaN where the file has none.
    """

    line: int
    name: str
    alleles: tuple[str, ...]
    frequencies: tuple[float, ...]


class _Columns(NamedTuple):
    """Positions of the fields, from 0; `other` is None if there is no such column."""

    width: int
    name: int
    alleles: int
    other: int | None
    frequencies: int
    label: str | int


def reference_rows(path: PathArg) -> Iterator[Row]:
    """Read a file of allele frequencies, one line at a time.

    Parameters
    ----------
    path
        The file: UTF-8 with or without a byte order mark, any line ends, not compressed. Lines
        before the header that begin with ## are skipped.

    Yields
    ------
    row
        A variant, in the order of the file, also without ID (".").

    Raises
    ------
    InputError
        If the file is compressed, binary or empty, the header is unknown, a line is blank or has
        another number of fields, an ID or allele is not printable, a frequency is not a number in
        [0, 1], there is not one frequency for each alternative allele, or frequencies sum to more
        than one. The message names file, line and column.
    """
    columns, blank, rows = None, 0, 0
    for number, line in enumerate(_lines(path), 1):
        if columns is None and line.startswith("##"):
            continue
        fields = line.split()
        if not fields:
            blank = blank or number
            continue
        if blank:
            raise InputError(
                "a blank line", "a variant in every line", "delete it", path=path, line=blank
            )
        if columns is None:
            columns, header = _columns(fields, path, number)
            if header:
                continue
        rows += 1
        yield _row(fields, columns, path, number)
    if rows == 0:
        found = "no variant" if columns is not None else "an empty file"
        raise InputError(found, "a row for each variant of the reference", REMAKE, path=path)


def _lines(path: PathArg) -> Iterator[str]:
    """Yield lines one at a time, because a panel can be of any size."""
    file = require_file(path)
    try:
        with open(file, "rb") as start:
            tool = COMPRESSED.get(start.read(2))
        if tool is not None:
            raise InputError(
                "a compressed file", "text", f"unpack it first: {tool} {path}", path=path
            )
        with open(file, encoding="utf-8-sig") as text:
            for line in text:
                if "\0" in line:
                    read_lines(path)  # raises, with the line
                yield line
    except UnicodeDecodeError:
        read_lines(path)  # raises, with the line
        raise
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", "a readable file", "check it", path=path
        ) from None


def _columns(fields: list[str], path: PathArg, line: int) -> tuple[_Columns, bool]:
    """Find the fields in the first line, and tell whether it is a header."""
    names = [fields[0].removeprefix("#"), *fields[1:]]
    for wanted in FORMATS:
        if not set(wanted) <= set(names):
            continue
        if twice := [name for name in wanted if names.count(name) > 1]:
            raise InputError(
                f"the column '{twice[0]}' occurs twice", "once", "remove one", path=path, line=line,
                column=twice[0],
            )  # fmt: skip
        name, alleles, other, frequencies = map(names.index, wanted)
        return _Columns(len(names), name, alleles, other, frequencies, wanted[-1]), True
    if len(fields) == 3 and (fields[2] in NO_FREQUENCY or _is_number(fields[2])):
        return _Columns(3, 0, 1, None, 2, 3), False
    shown = " ".join(fields)
    raise InputError(
        f"the first line '{shown[:60]}{'...' if len(shown) > 60 else ''}'",
        EXPECTED,
        REMAKE,
        path=path,
        line=line,
    )


def _row(fields: list[str], columns: _Columns, path: PathArg, line: int) -> Row:
    """Check a line and parse its fields."""
    if len(fields) != columns.width:
        raise InputError(
            f"{len(fields)} fields", f"{columns.width}, as in the first line", "repair the line",
            path=path, line=line,
        )  # fmt: skip
    name, text = fields[columns.name], fields[columns.frequencies]
    counted = fields[columns.alleles].upper().split(",")
    other = UNKNOWN if columns.other is None else fields[columns.other].upper()
    for word in (name, *counted, other):
        if not word.isprintable() or not word:
            raise InputError(
                f"the name {word[:60]!r}", "printable text, not empty", "correct it",
                path=path, line=line,
            )  # fmt: skip
    parts = text.split(",")
    if len(parts) != len(counted) and text not in NO_FREQUENCY:
        raise InputError(
            f"{len(parts)} frequencies of {len(counted)} alleles", "one for each allele", REMAKE,
            path=path, line=line, column=columns.label,
        )  # fmt: skip
    frequencies = tuple(_frequency(part, columns.label, path, line) for part in parts)
    if sum(frequencies) > 1 + ROUNDING:
        raise InputError(
            f"frequencies {text} that add to {sum(frequencies):g}", "at most 1", REMAKE,
            path=path, line=line, column=columns.label,
        )  # fmt: skip
    if len(parts) != len(counted):  # one word for all alleles
        frequencies = (math.nan,) * len(counted)
    alleles = tuple(UNKNOWN if one == "." else one for one in (*counted, other))
    return Row(line, name, alleles, frequencies)


def _frequency(text: str, label: str | int, path: PathArg, line: int) -> float:
    if text in NO_FREQUENCY:
        return math.nan
    if _is_number(text) and 0 <= (value := float(text)) <= 1:
        return value
    shown = repr(text if len(text) <= 40 else text[:37] + "...")
    raise InputError(
        f"the frequency {shown}", "a number from 0 to 1, or NA", REMAKE, path=path, line=line,
        column=label,
    )  # fmt: skip


def _is_number(text: str) -> bool:
    """Tell whether text is a finite decimal number; Python's 1_000 is not accepted."""
    if not text.isascii() or "_" in text:
        return False
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
