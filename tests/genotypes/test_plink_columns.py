"""Columns and lines of PLINK's tables give the same variants, individuals and messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identical_frames import assert_identical, assert_identical_index

from bayeslmm.errors import InputError
from bayeslmm.genotypes import plink_columns
from bayeslmm.genotypes.plink_columns import (
    regular_bim,
    regular_fam,
    regular_fam_phenotypes,
    regular_psam,
    regular_pvar,
)
from bayeslmm.genotypes.plink_tables import (
    read_bim,
    read_fam,
    read_fam_phenotypes,
    read_psam,
    read_pvar,
)

READS: dict[str, Callable[[Path], Any]] = {
    "bim": read_bim,
    "fam": read_fam,
    "phenotypes": read_fam_phenotypes,
    "psam": read_psam,
    "pvar": read_pvar,
}
HEADERS = {
    "bim": [""],
    "fam": [""],
    "phenotypes": [""],
    "psam": [
        "",
        "#FID IID SEX",
        "#IID SEX PHENO",
        "##c\n#IID",
        "#FID SEX IID",
        "#FID SEX",
        "#IID #",
    ],
    "pvar": ["", "#CHROM POS ID REF ALT", "##c\n##d e\n#CHROM POS ID REF ALT INFO", "#CHROM ID"],
}
NUMBERS = ["1", "-9", "-9.0", "0", "1.5", "NA", "nan", "Na", "1e5", "-0", "+1"]
POSITIONS = ["1", "100", "-5", "007", "999999999999999999"]
ODD = [
    *("", "0x10", "+5", "-", "1.5", "1e3", "1" * 19, "٣", "nAn", "-nan", "inf", "1_000", "x", "é"),
    *("\u200b", "\x07", "#", "##", '"', "A,T", "a b"),
]
NAMES = ["rs1", "rs2", ".", "007", "NA", "1e5", "i3", "F"]
ALLELES = ["A", "G", "T,C", "<DEL>", "0"]


@st.composite
def tables(draw: st.DrawFn, kind: str) -> bytes:
    """A table of this kind, often with one thing or more wrong in it."""
    odd = draw(st.booleans())

    def words(usual: list[str]) -> st.SearchStrategy[str]:
        return st.sampled_from([*usual, *(draw(st.lists(st.sampled_from(ODD), max_size=2)))])

    names = words(NAMES) if odd else st.sampled_from(NAMES)
    numbers = words(NUMBERS) if odd else st.sampled_from(NUMBERS)
    positions = words(POSITIONS) if odd else st.sampled_from(POSITIONS)
    alleles = words(ALLELES) if odd else st.sampled_from(ALLELES)
    header = draw(st.sampled_from(HEADERS[kind]))
    by_name = {"POS": positions, "ID": names, "REF": alleles, "ALT": alleles, "IID": names}
    if header:
        row = [by_name.get(name, numbers) for name in header.split("\n")[-1].split()]
    elif kind in ("bim", "pvar"):
        row = [names, names, numbers, positions, alleles, alleles]
        if kind == "pvar" and draw(st.booleans()):
            del row[2]
    else:
        row = [names, names, *[numbers] * draw(st.sampled_from([3, 4, 4, 5]))]
    separators = ["\t", " ", *(["  ", " \t", ","] if odd else [])]
    separator = draw(st.sampled_from(separators))
    rows = [[draw(cell) for cell in row] for _ in range(draw(st.integers(0 if odd else 1, 4)))]
    ends = ["\n", "\r\n", *(["\n\n", " \n", "\n ", "\r", "x\n", "\t2\n"] if odd else [])]
    end = draw(st.sampled_from(ends[:2]))
    text = "".join(
        separator.join(fields) + (draw(st.sampled_from(ends)) if odd else end) for fields in rows
    )
    head = header.replace(" ", draw(st.sampled_from(["\t", " "]))) + end if header else ""
    content = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + (head + text).encode()
    if odd and content and draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(content) - 1))
        content = content[:at] + draw(st.binary(max_size=2)) + content[at + 1 :]
    return content


def outcome(read: Callable[[Path], Any], path: Path) -> Any:
    try:
        return read(path)
    except InputError as error:
        return str(error)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("kind", READS)
@given(data=st.data())
def test_columns_and_lines_agree(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = tmp_path / "table"
    path.write_bytes(data.draw(tables(kind)))
    found = outcome(READS[kind], path)
    with patch.object(plink_columns, "regular_rows", lambda *args: None):
        expected = outcome(READS[kind], path)
    assert type(found) is type(expected)
    if isinstance(found, tuple):
        np.testing.assert_array_equal(found[1], expected[1])
        found, expected = found[0], expected[0]
    if isinstance(found, pd.DataFrame):
        assert_identical(found, expected)
    elif isinstance(found, pd.Index):
        assert_identical_index(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (regular_bim, b"1\trs1\t0\t5\tA\tG\n1\trs2\t0\t-6\tT\tG"),
        (regular_bim, b"\xef\xbb\xbf 1 rs1  0 5\tA G\r\n1 rs2 0 007 T G \r\n"),
        (regular_pvar, b"1 rs1 5 A G\n1 rs2 6 T G\n"),
        (regular_pvar, b"##c\n#CHROM\tPOS\tID\tREF\tALT\n1\t5\trs1\tG\tA,T\n"),
        (regular_fam, b"F i 0 0 1 -9\nF j 0 0 1 2.5\n"),
        (regular_fam_phenotypes, b"F i 0 0 1 -9 NA\nF j 0 0 1 2.5 nAN\n"),
        (regular_psam, b"F i 0 0 1\nF j 0 0 1\n"),
        (regular_psam, "#IID SEX\ni 1\né 2\n".encode()),
    ],
)
def test_usual_tables_are_read_by_columns(
    tmp_path: Path, read: Callable[[Path], Any], content: bytes
) -> None:
    path = tmp_path / "table"
    path.write_bytes(content)
    assert read(path) is not None


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (regular_bim, b"1\trs1\t0\t5\tA\tG\n\n1\trs2\t0\t6\tT\tG\n"),
        (regular_bim, b"1\trs1\t0\t5\tA\tG\n1\t\t0\t6\tT\tG\n"),
        (regular_bim, b"1\trs1\t0\t0x10\tA\tG\n"),
        (regular_bim, b"1\trs1\t0\t5\tA\tG\x07\n"),
        (regular_bim, b"1\trs1\t0\t5\tA\tG\n "),
        (regular_bim, b""),
        (regular_fam, b"F i 0 0 1 -9\nF i 0 0 1 2.5\n"),
        (regular_fam, b"F i 0 0 1\n"),
        (regular_fam_phenotypes, b"F i 0 0 1 inf\n"),
        (regular_fam_phenotypes, b"F i 0 0 1\n"),
        (regular_psam, b"#FID SEX\ni 1\n"),
        (regular_psam, b"#IID SEX"),
        (regular_pvar, b"#CHROM POS ID REF\n1 1 a G\n"),
    ],
)
def test_what_is_irregular_is_left_to_the_lines(
    tmp_path: Path, read: Callable[[Path], Any], content: bytes
) -> None:
    path = tmp_path / "table"
    path.write_bytes(content)
    assert read(path) is None


def test_a_comment_before_a_headerless_psam_is_no_individual(tmp_path: Path) -> None:
    path = tmp_path / "x.psam"
    path.write_text("##a b c d e\nF i 0 0 1\nF j 0 0 2\n")
    assert read_psam(path).tolist() == [("F", "i"), ("F", "j")]
    with patch.object(plink_columns, "regular_rows", lambda *args: None):
        assert read_psam(path).tolist() == [("F", "i"), ("F", "j")]
