"""Matrices with names, as R and pandas write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import InputError
from bayeslmm.relationship.files import read_grm
from bayeslmm.relationship.files_labelled import is_labelled

K = np.array([[1.0, 0.5, 0.25], [0.5, 1.1, 0.125], [0.25, 0.125, 0.9]])
NAMES = ["c1", "b 2", "a3"]
LETTERS = ["c1", "b2", "a3"]


def frame(names: list[str] = LETTERS) -> pd.DataFrame:
    return pd.DataFrame(K, names, names)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def body(mark: str, quote: str, *, corner: str | None, rows: bool, names: list[str]) -> str:
    """What R's write.table writes, with or without a corner and row names."""
    quoted = [f"{quote}{name}{quote}" for name in names]
    head = quoted if corner is None else [corner, *quoted]
    lines = [mark.join(head)]
    for name, row in zip(quoted, K, strict=True):
        lines.append(mark.join([*([name] if rows else []), *map(repr, row.tolist())]))
    return "\n".join(lines) + "\n"


DIALECTS = [
    (mark, quote, corner, rows, names)
    for mark in (",", ";", "\t", " ")
    for quote in ("", '"')
    for corner, rows in (('""', True), (None, True), (None, False), ("id", True))
    for names in (LETTERS, ["7", "5", "6"])
    if quote or corner or rows or names is LETTERS  # else a matrix of numbers, one row too many
]


@pytest.mark.parametrize(("mark", "quote", "corner", "rows", "names"), DIALECTS)
def test_every_dialect(
    tmp_path: Path, mark: str, quote: str, corner: str | None, rows: bool, names: list[str]
) -> None:
    text = body(mark, quote, corner=corner, rows=rows, names=names)
    found = read_grm(written(tmp_path / "K.csv", text))
    np.testing.assert_array_equal(found.matrix, K)
    assert list(found.individuals) == [("0", name) for name in names]


def test_pandas_and_blanks_in_names(tmp_path: Path) -> None:
    frame(NAMES).to_csv(tmp_path / "K.csv")
    found = read_grm(tmp_path / "K.csv")
    np.testing.assert_array_equal(found.matrix, K)
    assert list(found.individuals.get_level_values(1)) == NAMES


def test_matrices_of_numbers_have_no_names(tmp_path: Path) -> None:
    for text in ("\t1\t0\n\t0\t1\n", "1\t\n0\t1\t\n", "1 0\n0 1\n", "7" * 200_000 + " 1\n"):
        assert not is_labelled(written(tmp_path / "K.txt", text))


def test_columns_are_matched_by_name(tmp_path: Path) -> None:
    frame()[["a3", "c1", "b2"]].to_csv(tmp_path / "K.csv")
    np.testing.assert_array_equal(read_grm(tmp_path / "K.csv").matrix, K)


def test_families_from_columns_or_a_fam(tmp_path: Path) -> None:
    table = frame().reset_index(names="IID")
    table.insert(0, "FID", ["f", "g", "g"])
    table.to_csv(tmp_path / "K.tsv", sep="\t", index=False)
    wanted = [("f", "c1"), ("g", "b2"), ("g", "a3")]
    assert list(read_grm(tmp_path / "K.tsv").individuals) == wanted
    frame().to_csv(tmp_path / "K.csv")
    fam = written(tmp_path / "K.fam", "g a3 0 0 0 -9\ng b2 0 0 0 -9\nf c1 0 0 0 -9\n")
    assert list(read_grm(tmp_path / "K.csv", fam=fam).individuals) == wanted
    written(fam, "g a3 0 0 0 -9\ng b2 0 0 0 -9\n")
    with pytest.raises(InputError, match=r"1 names of the matrix are not in .*: c1 .* --fam out"):
        read_grm(tmp_path / "K.csv", fam=fam)
    written(fam, "g a3 0 0 0 -9\ng b2 0 0 0 -9\nf c1 0 0 0 -9\nh c1 0 0 0 -9\n")
    with pytest.raises(InputError, match="an IID in two families"):
        read_grm(tmp_path / "K.csv", fam=fam)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",a,b\na,1,x\nb,0,1\n", "K.csv:2:b: 'x' is not a number -> a relationship in every"),
        (",a,b\na,1,0\nb,0\n", "K.csv:3: 2 fields -> 3 as in the first row"),
        (",a,b\na,1,0\n", "1 rows below 2 names of columns -> a square matrix"),
        (",a,b\na,1,0\nc,0,1\n", "1 rows whose names no column has: c -> the same names"),
        (",a,a\na,1,0\na,0,1\n", "the name 'a' twice -> every individual once"),
        (",a,b,c\na,1\n", "2 fields below a header of 4 -> as many, or one more"),
        (",a,b\n", "a header without rows -> a square matrix"),
        (",a,b\na,1,0.5\nb,0.1,1\n", "is 0.5 in row 1, column 2 but 0.1 in row 2"),
        (",a,b\na,1,NA\nb,0,1\n", "K.csv:2:b: 'NA' is not a number"),
        (",a,b\na,1,0\nb,0,1\nc,0,0\n", "more than 2 rows below 2 names of columns"),
        (",a,b\na,1,0\n,0,1\n", "an empty name -> a name for every row and column"),
        (",a,b\u202e\na,1,0\nb,0,1\n", "K.csv:1:names: 'b\\u202e' in column 'names'"),
        (",a,b\na\x07,1,0\nb,0,1\n", "K.csv:2:names: 'a\\x07' in column 'names'"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_grm(written(tmp_path / "K.csv", text))
    assert message in str(caught.value)
