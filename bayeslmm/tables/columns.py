"""Columns of a regular text file, split by Apache Arrow at the speed of the disk.

Text is regular if it is UTF-8, all its characters are printable but tabs and line ends, no line is
blank and all lines have the same number of fields. Then Arrow finds the fields that Python's
``split`` finds, and the floats that ``float`` finds (both round correctly). Every function here
returns None where that is not certain. The caller then reads the file again line by line, which
accepts it or says what is wrong and where.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
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
_TABS = bytes.maketrans(b" ", b"\t")
_TAB, _END = ord("\t"), ord("\n")
_BLOCK, _CACHE = 1 << 22, 1 << 18  # bytes that Arrow and that we look at in one go


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
        return text if _is_plain(text) else None
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return None
    return text if decoded.replace("\t", "").replace("\n", "").isprintable() else None


def single_blanks(text: bytes) -> tuple[bytes, str]:
    """Leave one of every run of blanks, and none at the ends of lines; return it with the text.

    The blank is a space if there is no tab, else a tab stands for all blanks.
    """
    blank = "\t" if b"\t" in text else " "
    if blank == "\t" and b" " in text:
        text = text.translate(_TABS)
    if _is_single(text, blank):
        return text, blank
    codes = np.frombuffer(b"\n" + text + b"\n", np.uint8)
    blanks, ends = codes == ord(blank), codes == _END
    codes = codes[~np.append(blanks[:-1] & (blanks | ends)[1:], False)]  # the last of each run
    blanks, ends = codes == ord(blank), codes == _END
    codes = codes[~np.append(False, blanks[1:] & ends[:-1])]
    return bytes(codes[1:-1]), blank


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
    block = min(max(_BLOCK, 4096 * width), 1 << 30)
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(
                column_names=names, use_threads=False, block_size=block
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
    if not all(isinstance(ids, str) or _are_names(ids) for ids in (fids, iids)):
        return None
    names = pd.Index(series(iids))
    families = pd.Index([fids], dtype="str").repeat(len(iids)) if isinstance(fids, str) else None
    index = individual_index(pd.Index(series(fids)) if families is None else families, names)
    return index if index.is_unique else None


def _are_names(ids: Any) -> bool:
    """Return whether no text is empty or has blanks."""
    empty = pc.any(pc.equal(ids, "")).as_py()
    return not (empty or pc.any(pc.match_substring(ids, " ")).as_py())


def _is_plain(text: bytes) -> bool:
    """Return whether ASCII text has no control characters but tabs and line ends."""
    for codes in _blocks(text):
        others = np.count_nonzero(codes - 0x20 >= 0x5F)  # unsigned: control characters wrap around
        if others != np.count_nonzero(codes == _TAB) + np.count_nonzero(codes == _END):
            return False
    return True


def _is_single(text: bytes, blank: str) -> bool:
    """Return whether no blank stands beside another or at an end of a line."""
    for codes in _blocks(text, overlap=1):
        blanks = codes == ord(blank)
        edges = blanks | (codes == _END)
        if ((blanks[1:] & edges[:-1]) | (edges[1:] & blanks[:-1])).any():
            return False
    return not (text.startswith(blank.encode()) or text.endswith(blank.encode()))


def _blocks(text: bytes, overlap: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Yield the bytes in blocks that a processor's cache holds."""
    codes = np.frombuffer(text, np.uint8)
    for start in range(0, len(codes), _CACHE):
        yield codes[start : start + _CACHE + overlap]
