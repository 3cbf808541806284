"""Columns of a regular text file, split by Apache Arrow at the speed of the disk.

Text is regular if it is UTF-8, all its characters are printable but tabs and line ends, no line is
blank and all lines have the same number of fields. Then Arrow finds the fields that Python's
``split`` finds, and the floats that ``float`` finds (both round correctly). Every function here
returns None where that is not certain. The caller then reads the file again line by line, which
accepts it or says what is wrong and where.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from bayeslmm.individuals import individual_index
from bayeslmm.system.files import PathArg, read_bytes

type Values = NDArray[np.float64] | pd.api.extensions.ExtensionArray

TEXT = pa.large_string()
FLOAT = pa.float64()
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\n"
_TAB, _END = ord("\t"), ord("\n")
_BLOCK = 1 << 22  # bytes


def printable_text(path: PathArg) -> bytes | None:
    """Return a file's text with plain line ends and no byte order mark, if it is printable.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    text = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if text.isascii():
        return None if text.translate(None, _PLAIN) else text
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return None
    return text if decoded.replace("\t", "").replace("\n", "").isprintable() else None


def tab_separated(text: bytes) -> bytes:
    """Put one tab in place of every run of blanks, and none at the ends of lines."""
    text = text.replace(b" ", b"\t")
    if _is_single(text):
        return text
    codes = np.frombuffer(b"\n" + text + b"\n", np.uint8)
    blank, end = codes == _TAB, codes == _END
    codes = codes[~np.append(blank[:-1] & (blank | end)[1:], False)]  # one of each run is left
    blank, end = codes == _TAB, codes == _END
    codes = codes[~np.append(False, blank[1:] & end[:-1])]
    return bytes(codes[1:-1])


def arrow_columns(
    text: bytes | memoryview,
    separator: str,
    width: int,
    types: dict[int, pa.DataType],
    missing: Collection[str] = (),
) -> dict[int, Any] | None:
    """Return the columns of a text without header, or None if it is not regular.

    Parameters
    ----------
    text
        Printable text.
    separator
        One character; nothing else separates fields, and quotes mean nothing.
    width
        The number of fields in every line.
    types
        Which columns (0-based) to read as what.
    missing
        What is missing in a column that is not text.

    Returns
    -------
    columns
        Arrow arrays by position. A blank line is a row of empty texts.
    """
    names = [str(position) for position in range(width)]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(
                column_names=names, use_threads=False, block_size=max(_BLOCK, 4096 * width)
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=separator, quote_char=False, ignore_empty_lines=False
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={names[position]: kind for position, kind in types.items()},
                include_columns=[names[position] for position in types],
                null_values=list(missing),
            ),
        )
    except pa.ArrowInvalid:  # a line with more or fewer fields, a text among numbers
        return None
    return {position: table[names[position]].combine_chunks() for position in types}


def finite(column: Any) -> NDArray[np.float64] | None:
    """Return a column of floats, NaN where missing, or None if a value is infinite or NaN."""
    values: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return values if np.isfinite(values).sum() == len(column) - column.null_count else None


def series(column: Any) -> pd.Series[Any]:
    """Return a column of text as a pandas series."""
    found: pd.Series[Any] = column.to_pandas().astype("str")
    return found


def by_distinct(column: Any, convert: Callable[[Sequence[str]], Values]) -> Values:
    """Convert a column of text by its distinct texts, stripped of blanks around them."""
    encoded = column.dictionary_encode()
    values = convert([text.strip() for text in encoded.dictionary.to_pylist()])
    return values.take(encoded.indices.to_numpy())


def regular_individuals(fids: Any, iids: Any) -> pd.MultiIndex | None:
    """Index individuals, or return None if an identifier is empty, has blanks or is repeated.

    Parameters
    ----------
    fids, iids
        Arrow columns of text; the FIDs may also be the one that all have.
    """
    for ids in (fids, iids):
        if not isinstance(ids, str) and (
            pc.any(pc.equal(ids, "")).as_py() or pc.any(pc.match_substring(ids, " ")).as_py()
        ):
            return None
    families = pd.Index([fids], dtype="str").repeat(len(iids)) if isinstance(fids, str) else None
    index = individual_index(
        pd.Index(series(fids)) if families is None else families, pd.Index(series(iids))
    )
    return index if index.is_unique else None


def _is_single(text: bytes) -> bool:
    """Return whether no tab stands beside a tab or at an end of a line."""
    codes = np.frombuffer(text, np.uint8)
    for start in range(0, len(codes), _BLOCK):
        blank = codes[start : start + _BLOCK + 1] == _TAB
        edge = blank | (codes[start : start + _BLOCK + 1] == _END)
        if ((blank[1:] & edge[:-1]) | (edge[1:] & blank[:-1])).any():
            return False
    return not (text.startswith(b"\t") or text.endswith(b"\t"))
