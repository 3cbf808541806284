"""Columns of a regular table and its lines give the same frame, whatever the table holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identical_frames import assert_identical

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.tables import columns, phenotypes
from bayeslmm.tables.columns import printable_text, single_blanks
from bayeslmm.tables.phenotypes import read_columns, read_covariates, read_ids, read_phenotypes
from bayeslmm.tables.regular import read_regular

type Read = Callable[[Path], pd.DataFrame]

NUMBERS = [
    *(
        "0",
        "-0",
        "1.5",
        "-9",
        "-9.0",
        "+1",
        "1e5",
        "1E+05",
        ".5",
        "5.",
        "007",
        "1e-320",
        "4.9e-324",
    ),
    *("2.2250738585072011e-308", "9007199254740993", "0.1234567890123456789", "1e22", "1e23"),
    *("179769313486231580793e289", "8.5e-17", "123456789012345678"),
]
MISSING = ["NA", "na", "NaN", "nan", "NAN", ".", ""]
ODD = [
    *("1e999", "-1e400", "1e-400", "inf", "-Infinity", "Nan", "-nan", "nan(1)", "0x10", "1_000"),
    *("1,5", "1e", "--1", "١", "−1", "True", "é", "'1'", '"1"', '"', "1 2", " 1", "1 ", "a\\"),
    *("\u00a0", "\u200b1", "\x07", "#1", "##x", "1d5", "N A", "IID", "FID", "-"),
]
NAMES = ["i1", "i2", "007", "1.0", "NA", "nan", "1e5", "FID", "#FID", "IID", "##c", "é", "", "i 1"]
SEPARATORS = ["\t", " ", ",", "  ", " \t", "\t "]
ENDS = ["\n", "\r\n", "\r", "\n\n", " \n", "\t\n", "\n ", ""]
HEADERS = ["FID IID", "#FID IID", "fid iid", "IID", "#IID", "#FID IID SID", "FID", "ID x"]

usual = st.sampled_from([*NUMBERS[:4], "NA", "2", "3.25", "1e5"])
value = st.one_of(
    usual,
    st.sampled_from([*NUMBERS, *MISSING, *ODD]),
    st.floats().map(repr),
    st.text(st.characters(codec="utf-8"), max_size=3),
)


@st.composite
def regular_tables(draw: st.DrawFn) -> bytes:
    """A table that should be read by columns, if its column of text is not read as numbers."""
    separator = draw(st.sampled_from(SEPARATORS))
    fid = draw(st.booleans())
    words = [word for word in MISSING if word or separator in "\t,"]
    cells = st.one_of(st.sampled_from([*NUMBERS, *words]), st.floats(-1e300, 1e300).map(repr))
    texts = cells if draw(st.integers(0, 3)) else st.sampled_from(["x", "é", '"', "1_0", "x"])
    names = draw(st.lists(st.sampled_from(NAMES[:7]), min_size=1, max_size=6, unique=True))
    rows = [[name, draw(texts), draw(cells)] for name in names]
    if fid:
        rows = [[draw(st.sampled_from(["F", "0", "NA", "007"])), *row] for row in rows]
    head = [name for name in HEADERS[:5] if ("FID" in name.upper()) == fid]
    if draw(st.booleans()):
        rows.insert(0, [*draw(st.sampled_from(head)).split(), "a", "b"])
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = draw(st.sampled_from(["", "##c" + end])) + end.join(map(separator.join, rows))
    start = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return start + (text + end * draw(st.integers(0, 2))).encode()


@st.composite
def odd_tables(draw: st.DrawFn) -> bytes:
    """A table with whatever may be wrong in one."""
    names = draw(st.lists(st.sampled_from(NAMES), max_size=5))
    width = draw(st.integers(1, 3))
    cells = value if draw(st.booleans()) else usual
    rows = [[name, *(draw(cells) for _ in range(width))] for name in names]
    if draw(st.booleans()):
        rows = [[draw(st.sampled_from(["F", "0", "NA", "007"])), *row] for row in rows]
    if draw(st.booleans()):
        rows.insert(0, [*draw(st.sampled_from(HEADERS)).split(), *"abcd"[:width]])
    separator = draw(st.sampled_from(SEPARATORS))
    ends = [draw(st.sampled_from(["\n", *ENDS])) for _ in rows]
    comment = draw(st.sampled_from(["", "", "", "##c\n", "##c\n##F\n", "\n"]))
    text = comment + "".join(separator.join(row) + e for row, e in zip(rows, ends, strict=True))
    content = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"])) + text.encode()
    if content and draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(content) - 1))
        content = content[:at] + draw(st.binary(max_size=2)) + content[at + 1 :]
    return content


@st.composite
def spoiled_tables(draw: st.DrawFn) -> bytes:
    """A regular table with one character in another's place, or one more."""
    content = draw(regular_tables()).decode()
    at = draw(st.integers(0, len(content) - 1))
    marks = ["\t", " ", ",", "\n", "\r", "", "é", "\u2003", "-", "e", "_", "#", '"', "\0", "\x85"]
    return (
        content[:at] + draw(st.sampled_from(marks)) + content[at + draw(st.integers(0, 1)) :]
    ).encode()


@contextmanager
def by_line() -> Iterator[None]:
    """Read every table line by line."""
    with patch.object(phenotypes, "read_regular", lambda *args, **options: None):
        yield


def outcome(read: Read, path: Path) -> tuple[pd.DataFrame | str, list[str]]:
    """The frame or the message, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found: pd.DataFrame | str = read(path)
        except InputError as error:
            found = str(error)
    assert all(w.category is BayesLMMWarning for w in caught), caught
    return found, [str(w.message) for w in caught]


READS: dict[str, Read] = {
    "all": read_phenotypes,
    "code": lambda path: read_phenotypes(path, missing_code=-9),
    "one": lambda path: read_phenotypes(path, columns=["b", "b"]),
    "levels": lambda path: read_covariates(path, categorical=["a"]),
    "levels, code": lambda path: read_covariates(
        path, columns=["b"], categorical=["a"], missing_code=-9
    ),
    "columns": lambda path: read_columns(path, ["a", "b"], missing_code=-9),
    "without header": lambda path: read_columns(path, ["pheno2", "pheno1"]),
    "ids": read_ids,
}


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.one_of(regular_tables(), spoiled_tables(), odd_tables()),
    name=st.sampled_from(sorted(READS)),
)
def test_columns_and_lines_agree(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / "table.txt"
    path.write_bytes(content)
    found, said = outcome(READS[name], path)
    with by_line():
        expected, said_by_line = outcome(READS[name], path)
    assert said == said_by_line
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
    else:
        assert_identical(found, expected)


REGULAR = {
    "tabs": b"FID\tIID\ta\tb\nF\t1\t1.5\tx y\nF\t2\tNA\t\n",
    "blanks": b"FID IID a b\nF 1 1.5 x\nF 2 NA .\n",
    "padded": b" FID IID   a b\n   F   1 1.5 x \n F 2   NA .\n\n",
    "commas": b"FID,IID,a,b\nF,1, 1.5,x\nF,2,NA,\n",
    "Windows": b"\xef\xbb\xbf##c\r\n#FID IID SID a b\r\nF 1 s 1.5 x\r\nF 2 s NA .\r\n",
    "UTF-8": "IID\ta\tb\n1\t1.5\té ü\n2\t\tλ".encode(),
}


@pytest.mark.parametrize("content", REGULAR.values(), ids=REGULAR.keys())
def test_usual_tables_are_read_by_columns(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.txt"
    path.write_bytes(content)
    assert read_regular(path, "pheno", texts=["b"]) is not None
    frame = read_covariates(path, categorical=["b"])
    assert frame["a"].tolist()[0] == 1.5
    assert frame["a"].isna().tolist() == [False, True]
    with by_line():
        assert_identical(frame, read_covariates(path, categorical=["b"]))


IRREGULAR = {
    "ragged": b"IID\ta\n1\t2\n2\t3\t4\n",
    "ragged, but not with padding as fields": b"IID a b\n1 2 3\n2  4\n",
    "blank line": b"IID\ta\n1\t2\n\n2\t3\n",
    "control character": b"IID\ta\n1\t2\n2\x07\t3\n",
    "mark of direction": "IID\ta\n1\t2\n\u200f2\t3\n".encode(),
    "lone carriage return": b"IID\ta\n1\t2\r2\t3\n",
    "NUL": b"IID\ta\n1\t2\n2\0\t3\n",
    "Latin 1": b"IID\ta\n1\t2\n\xe9\t3\n",
    "repeated": b"IID\ta\n1\t2\n1\t3\n",
    "header again": b"IID a\n1 2\nIID a\n2 3\n",
    "comment again": b"##c 1\n##d 1\n1 a 1\n##d b 1\n",
    "text": b"IID\ta\n1\tx\n",
    "infinite": b"IID\ta\n1\t1e999\n",
    "not a number": b"IID\ta\n1\t-nan\n",
    "hexadecimal": b"IID\ta\n1\t0x10\n",
    "underscore": b"IID\ta\n1\t1_000\n",
    "quotes": b'IID\ta\n1\t"1"\n',
    "tab among commas": b"IID,a,b\n1,2,3\t\n",
    "no identifier": b"IID\ta\n\t2\n",
    "two words": b"IID\ta\ni 1\t2\n",
    "no rows": b"IID\ta\n",
    "nothing": b"##\n",
    "empty": b"",
}


@pytest.mark.parametrize("content", IRREGULAR.values(), ids=IRREGULAR.keys())
def test_what_is_irregular_is_left_to_the_lines(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.txt"
    path.write_bytes(content)
    assert read_regular(path, "pheno") is None


@pytest.mark.parametrize("names", [["c"], ["a", "c"]])
def test_a_column_that_is_not_there_is_left_to_the_lines(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "table.txt"
    path.write_bytes(b"IID\ta\n1\t2\n")
    assert read_regular(path, "pheno", columns=names) is None
    with pytest.raises(InputError, match="no column 'c' -> one of: a"):
        read_phenotypes(path, columns=names)


def test_columns_not_read_may_hold_any_printable_text(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_bytes('IID\ta\tb\n1\t"é, 1\t2\n2\t\t3\n'.encode())
    found = read_regular(path, "pheno", columns=["b"])
    assert found is not None
    assert found.numbers["b"].tolist() == [2, 3]


def test_identifiers_are_text(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    names = ["007", "1.0", "NA", "nan", "1e5", "TRUE", "-", '"', "2020-01-01"]
    path.write_text("IID\ta\n" + "".join(f"{name}\t1\n" for name in names))
    assert read_regular(path, "pheno") is not None
    assert read_phenotypes(path).index.get_level_values("IID").tolist() == names


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1e308, 1e308), min_size=1, max_size=20))
def test_floats_are_those_of_python(
    tmp_path_factory: pytest.TempPathFactory, x: list[float]
) -> None:
    path = tmp_path_factory.mktemp("floats") / "table.txt"
    formats = ("{!r}", "{:.17g}", "{:.15e}", "{:.3f}", "{:.25g}")
    texts = [[form.format(value) for form in formats] for value in x]
    path.write_text("".join(f"F\t{k}\t" + "\t".join(row) + "\n" for k, row in enumerate(texts)))
    found = read_regular(path, "v")
    assert found is not None
    for k in range(len(formats)):
        expected = np.array([float(row[k]) for row in texts])
        assert found.numbers[f"v{k + 1}"].tobytes() == expected.tobytes()


@settings(max_examples=300, deadline=None)
@given(st.text("ab \t\n", max_size=30), st.sampled_from([1, 2, 3, 1 << 18]))
def test_single_blanks_separate_what_split_separates(text: str, block: int) -> None:
    lines = [line.split() for line in text.split("\n")]
    with patch.object(columns, "_CACHE", block):
        found, blank = single_blanks(text.encode())
    assert found.decode().split("\n") == [blank.join(fields) for fields in lines]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.characters(codec="utf-8"), max_size=8))
def test_printable_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(text.encode())
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n")
    printable = all(c.isprintable() or c in "\t\n" for c in plain)
    assert printable_text(path) == (plain.encode() if printable else None)


@pytest.mark.parametrize("separator", "\t ")
def test_files_of_many_blocks(tmp_path: Path, separator: str) -> None:
    """Arrow's blocks begin anywhere in a line."""
    rng = np.random.default_rng(1)
    n, k = 15_000, 18
    values = rng.standard_normal((n, k)).astype("U25")
    path = tmp_path / "table.txt"
    rows = [separator.join([f"F{i // 3}", f"i{i}", *row]) for i, row in enumerate(values.tolist())]
    path.write_text("\n".join(rows))
    assert path.stat().st_size > columns._BLOCK
    assert read_regular(path, "pheno") is not None
    found = read_covariates(path, categorical=["covar3"])
    with by_line():
        assert_identical(found, read_covariates(path, categorical=["covar3"]))
    rows[-1] += separator + "1"
    path.write_text("\n".join(rows))
    with pytest.raises(InputError, match=f":{n}: {k + 3} fields -> {k + 2}, as in the first"):
        read_covariates(path)


def test_wide_tables(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    row = [str(k) for k in range(20_000)]
    path.write_text("".join(f"i{i} {' '.join(row)}\n" for i in range(3)))
    found = read_regular(path, "v")
    assert found is not None
    assert list(found.numbers) == found.names == [f"v{k}" for k in range(1, 20_000)]
    assert [values[2] for values in found.numbers.values()] == list(range(1, 20_000))
