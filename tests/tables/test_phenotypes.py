from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.individuals import (
    as_individuals,
    individual_index,
    labels_of,
    match_individuals,
)
from bayeslmm.tables.phenotypes import read_covariates, read_ids, read_phenotypes, read_table

type Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(content: str | bytes) -> Path:
        path = tmp_path / "table.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


HEADERS = ["FID IID", "#FID IID", "fid iid", "#fid\tIID", "FID\tIID"]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_header_with_fid(write: Write, header: str, end: str, bom: bytes) -> None:
    sep = "\t" if "\t" in header else " "
    lines = [sep.join([header, "a", "b"]), sep.join(["F1", "i1", "1.5", "NA"])]
    lines.append(sep.join(["F2", "i2", "-2e-3", "4"]))
    frame = read_phenotypes(write(bom + end.join([*lines, ""]).encode()))
    assert frame.index.names == ["FID", "IID"]
    assert frame.index.tolist() == [("F1", "i1"), ("F2", "i2")]
    assert list(frame.columns) == ["a", "b"]
    assert all(frame.dtypes == np.float64)
    np.testing.assert_array_equal(frame.to_numpy(), [[1.5, np.nan], [-0.002, 4.0]])


@pytest.mark.parametrize("header", ["IID", "#IID", "iid"])
def test_header_without_fid(write: Write, header: str) -> None:
    frame = read_phenotypes(write(f"{header} a\n001 1\n02 2\n"))
    assert frame.index.tolist() == [("0", "001"), ("0", "02")]  # text, never 1 and 2


def test_no_header_names_columns(write: Write) -> None:
    path = write("  F1  i1\t1 2\n")  # a tab in the first line: columns are parted by tabs
    with pytest.raises(
        InputError, match=r"table.txt:1:1: a blank within .*-> columns separated by"
    ):
        read_phenotypes(path)
    path = write("F1   i1  1 2\n F2 i2 3  4 \n")
    assert list(read_phenotypes(path).columns) == ["pheno1", "pheno2"]
    assert list(read_covariates(path).columns) == ["covar1", "covar2"]
    assert read_table(path, prefix="v").loc[("F2", "i2"), "v2"] == 4


def test_commas_and_plink2_extras(write: Write) -> None:
    assert read_phenotypes(write("FID,IID,a\nF,i,3\n")).iloc[0, 0] == 3
    frame = read_phenotypes(write("##comment\n#FID IID SID a\nF i s 3\n"))
    assert list(frame.columns) == ["a"]


@pytest.mark.parametrize("text", ["NA", "NaN", "nan", ".", "NAN", "na"])
def test_missing(write: Write, text: str) -> None:
    assert read_phenotypes(write(f"FID IID a\nF i {text}\n"))["a"].isna().tolist() == [True]


def test_empty_tab_field_is_missing(write: Write) -> None:
    frame = read_phenotypes(write("FID\tIID\ta\tb\nF\ti\t\t2\n"))
    np.testing.assert_array_equal(frame.to_numpy(), [[np.nan, 2.0]])


def test_trailing_blank_lines_are_harmless(write: Write) -> None:
    assert len(read_phenotypes(write("FID IID a\nF i 1\n\n \n"))) == 1


def test_file_name_stays_with_the_table(write: Write) -> None:
    path = write("FID IID a\nF i 1\n")
    assert read_phenotypes(path).attrs["path"] == str(path)
    assert read_ids(path).attrs["path"] == str(path)


BAD = [
    ("FID IID a\nF i abc\n", r":2:a: 'abc' in column 'a' -> a finite number, or NA where missing"),
    ("FID IID a\nF i 1,5\n", r":2:a: '1,5' in column 'a' -> a finite number"),
    ("FID IID a\nF i 1_0\n", r":2:a: '1_0' in column 'a'"),
    ("FID IID a\nF i 1\nF j inf\n", r":3:a: 'inf' in column 'a' -> a finite number"),
    ("FID IID a\nF i 1\nF j -Infinity\n", r":3:a: '-Infinity'"),
    ("FID IID a\nF i 1e999\n", r":2:a: '1e999'"),
    ("FID IID a\nF i -nan\n", r":2:a: '-nan'"),
    ("FID IID a\nF i 1\nF j 1 2\n", r":3: 4 fields -> 3, as in the first line -> complete the"),
    ("FID IID a\nF i 1\nF j\n", r":3: 2 fields -> 3, as in the first line"),
    ("FID IID a\nF i 1\n\nF j 1\n", r":3: a blank line -> a row for each individual -> remove"),
    ("FID IID a a\nF i 1 2\n", r":1:a: the column 'a' occurs twice -> different names -> rename"),
    ("FID\tIID\ta\t\nF\ti\t1\t\n", r":1:4: the column name '' -> a printable name"),
    ("FID IID\nF i\n", r":1: 2 columns -> FID, IID and at least one more"),
    ("FID a IID\nF 1 i\n", r":1: a header with FID but without IID after it -> a header that"),
    ("FID IID a\n", r":1: a header and no rows -> a row for each individual"),
    ("", r": an empty file -> a row for each individual"),
    ("\n\n", r": an empty file"),
    ("ID SEX a\nF 1 2\n", r":1:pheno1: 'a' in .*; if line 1 is a header, write a header that"),
    ('"FID" "IID" "a"\n"F" "i" 1\n', r":1:1: a quoted field \"FID\" -> fields without quotes"),
    ("FID IID\ta\nF i\t1\n", r":1:1: a blank within 'FID IID' -> columns separated by tabs only"),
    ("FID\tIID\ta\nF\t\t1\n", r":2:IID: the identifier '' -> printable text without blanks"),
    ("FID\tIID\ta\nF\ti j\t1\n", r":2:IID: the identifier 'i j'"),
    ("FID IID a\nF i\x07 1\n", r":2:IID: the identifier 'i\\x07'"),
    ("FID IID a\nF i 1\x00\n", r":2: a NUL byte at offset 15 -> a plain text file"),
    (b"FID IID a\nF \xe9 1\n", r":2: byte 0xe9 at offset 12 is not UTF-8 -> UTF-8 text"),
    (
        "FID IID a\nF i 1\nF j 1\nF i 2\nF j 3\n",
        r":4: 2 repeated individuals: F i \(lines 2 and 4\), F j \(lines 3 and 5\) -> one row per",
    ),
    ("IID a\ni 1\ni 2\n", r":3: 1 repeated individuals: i \(lines 2 and 3\)"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_bad_tables_are_errors_that_say_where(
    write: Write, content: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match="table.txt" + message):
        read_phenotypes(write(content))


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no.txt: no such file -> an existing file"):
        read_phenotypes(tmp_path / "no.txt")


def test_only_five_repeated_are_shown(write: Write) -> None:
    path = write("IID a\n" + "".join(f"i{k} 1\n" for k in range(9)) * 2)
    with pytest.raises(InputError, match="9 repeated individuals") as caught:
        read_phenotypes(path)
    assert str(caught.value).count("lines") == 5


def test_minus_nine_is_a_number_with_a_warning(write: Write) -> None:
    path = write("FID IID a b\nF i -9 1\nF j 2 -9.0\nF k -9 3\n")
    message = r"3 values equal -9 are used as numbers \(2 in 'a', 1 in 'b'\); .* --missing-code -9"
    with pytest.warns(BayesLMMWarning, match=message):
        frame = read_phenotypes(path)
    assert frame.iloc[0, 0] == -9
    frame = read_phenotypes(path, missing_code=-9)  # no warning
    assert frame.isna().to_numpy().sum() == 3


def test_warning_points_at_the_caller(write: Write) -> None:
    path = write("FID IID a\nF i -9\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_phenotypes(path)
    assert caught[0].filename == __file__


def test_chosen_columns_only(write: Write) -> None:
    path = write("FID IID site age\nF i Oslo 1\nF j Bergen 2\n")
    assert list(read_phenotypes(path, columns=["age"]).columns) == ["age"]
    with pytest.raises(
        InputError, match=r"table.txt: no column 'bmi' -> one of: site, age -> corr"
    ):
        read_phenotypes(path, columns=["bmi"])


def test_text_covariate_names_the_option(write: Write) -> None:
    path = write("FID IID age site\nF i 1 Oslo\nF j 2 NA\n")
    with pytest.raises(InputError, match=r":2:site: 'Oslo' .* add --cat-covar site"):
        read_covariates(path)
    frame = read_covariates(path, categorical=["site"])
    assert frame["site"].iloc[0] == "Oslo"
    assert frame["site"].isna().tolist() == [False, True]
    assert list(read_covariates(path, columns=["age"], categorical=["site"])) == ["age", "site"]
    with pytest.raises(InputError, match="no column 'centre'"):
        read_covariates(path, categorical=["centre"])


def test_categorical_missing_code(write: Write) -> None:
    frame = read_covariates(write("FID IID s\nF i -9\nF j 1\n"), categorical=["s"], missing_code=-9)
    assert frame["s"].isna().tolist() == [True, False]


def test_formula_chooses_columns(write: Write) -> None:
    path = write("FID IID note age batch\nF i x y 1 b1\n".replace("x y", "xy"))
    frame = read_covariates(path, formula="~ log(age) + C(batch)")
    assert list(frame.columns) == ["age", "batch"]
    assert frame["batch"].iloc[0] == "b1"


def test_read_ids(write: Write) -> None:
    expected = [("F", "i"), ("G", "j")]
    for content in ("F i\nG j\n", "FID IID\nF i\nG j\n", "#FID\tIID\tx\nF\ti\t?\nG\tj\t?\n"):
        frame = read_ids(write(content))
        assert frame.index.tolist() == expected
        assert frame.shape == (2, 0)
    for content in ("i\nj\n", "#IID\ni\nj\n", "IID other\ni 1\nj 2\n"):
        assert read_ids(write(content)).index.tolist() == [("0", "i"), ("0", "j")]
    with pytest.raises(InputError, match=":2: 1 fields -> 2, as in the first line"):
        read_ids(write("F i\nG\n"))


def test_mouse_table(shared_data: Path) -> None:
    path = shared_data / "mouse_hs1940" / "mouse_hs1940.pheno.tsv"
    frame = read_phenotypes(path)
    expected = pd.read_csv(path, sep="\t", dtype={"FID": str, "IID": str})
    pd.testing.assert_frame_equal(frame, expected.set_index(["FID", "IID"]), check_exact=True)


def test_table_without_our_header(shared_data: Path) -> None:
    with pytest.raises(
        InputError, match=r"phenotypes.tsv:1:pheno1: 'BYEAR'.*if line 1 is a header"
    ):
        read_phenotypes(shared_data / "gryphon" / "phenotypes.tsv")


cell = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != -9), st.none()
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=8), st.sampled_from("\t "))
def test_round_trip(write: Write, rows: list[tuple[float | None, float | None]], sep: str) -> None:
    lines = [sep.join(["FID", "IID", "a", "b"])]
    for k, row in enumerate(rows):
        lines.append(sep.join(["F", f"i{k}", *("NA" if v is None else repr(v) for v in row)]))
    frame = read_phenotypes(write("\n".join(lines)))
    expected = np.array(rows, dtype=np.float64)
    np.testing.assert_array_equal(frame.to_numpy(), expected)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_mutated_tables_never_crash(write: Write, data: st.DataObject) -> None:
    content = bytearray(b"FID\tIID\ta\tb\nF\ti\t1.5\tNA\nF\tj\t-3\t2\nG\tk\t0\t1e3\n")
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BayesLMMWarning)
            frame = read_phenotypes(write(bytes(content)))
    except InputError as error:
        message = str(error)
        assert "table.txt" in message
    else:
        assert not np.isinf(frame.to_numpy()).any()
        assert frame.index.is_unique


def test_labels() -> None:
    assert labels_of(individual_index(["F", "G"], ["a", "b"])) == ["a", "b"]
    assert labels_of(individual_index(["F", "G"], ["a", "a"])) == ["F a", "G a"]


def test_as_individuals() -> None:
    index = as_individuals(pd.Index([3, 12]))
    assert index.tolist() == [("0", "3"), ("0", "12")]
    with pytest.raises(InputError, match="no identifiers, only row numbers"):
        as_individuals(pd.RangeIndex(3))
    with pytest.raises(InputError, match="index of 3 levels"):
        as_individuals(pd.MultiIndex.from_tuples([("a", "b", "c")]))
    with pytest.raises(InputError, match=r"the identifier 1.5 in the table"):
        as_individuals(pd.Index([1.5]))
    with pytest.raises(InputError, match="1 repeated individuals in the table: b"):
        as_individuals(pd.Index(["b", "b"]))


def test_match_individuals() -> None:
    a = individual_index(["F", "F", "G"], ["1", "2", "1"])
    b = individual_index(["G", "F"], ["1", "2"])
    match = match_individuals(a, b)
    assert match.positions.tolist() == [-1, 1, 0]
    assert (match.by, match.fids_differ) == ("FID and IID", False)
    no_fid = individual_index(["0", "0"], ["2", "1"])
    match = match_individuals(b, no_fid)
    assert match.positions.tolist() == [1, 0]
    assert (match.by, match.fids_differ) == ("IID", False)
    assert match_individuals(no_fid, a).ambiguous  # IID 1 stands twice in a
    other = individual_index(["X", "X"], ["2", "1"])
    match = match_individuals(b, other)
    assert match.positions.tolist() == [1, 0]
    assert match.fids_differ
