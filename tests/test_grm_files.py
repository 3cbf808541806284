"""Relationship files of GCTA, GEMMA and plink2: round trips, other programs, bad input."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

import bayeslmm.memory
from bayeslmm.errors import InputError
from bayeslmm.genotypes import from_array, read_genotypes, write_plink1
from bayeslmm.grm import grm
from bayeslmm.grm_files import Format, read_grm, read_grm_ids, write_grm
from bayeslmm.individuals import individual_index
from bayeslmm.relationship import Relationship

N = 6
IDS = individual_index(["F1", "F1", "F2", "F2", "0", "F3"], ["a", "b", "a", "c", "d", "é"])
BAD_NUMBERS = ["x", "1,5", "0x1", "--1", "NA"]


def example(n_variants: int | None = 321) -> Relationship:
    Z = np.random.default_rng(1).standard_normal((N, 50))
    return Relationship(Z @ Z.T / 50, IDS, n_variants=n_variants)


def write_ids(path: Path, text: str | None = None) -> None:
    path.write_text(text or "".join(f"{fid}\t{iid}\n" for fid, iid in IDS), encoding="utf-8")


def text_matrix(matrix: np.ndarray) -> str:
    return "".join("\t".join(repr(float(x)) for x in row) + "\n" for row in matrix)


def text_triangle(matrix: np.ndarray) -> str:
    return "".join(
        " ".join(repr(float(x)) for x in row[: i + 1]) + "\n" for i, row in enumerate(matrix)
    )


# round trips


@pytest.mark.parametrize(
    ("format", "tolerance"), [("gcta", 2e-7), ("gemma", 1e-11), ("plink", 1e-11)]
)
def test_what_is_written_is_read_again(tmp_path: Path, format: Format, tolerance: float) -> None:
    relationship = example()
    paths = write_grm(relationship, tmp_path / "x", format)
    assert sorted(tmp_path.iterdir()) == sorted(paths)  # no temporary file is left
    fam = tmp_path / "x.cXX.fam" if format == "gemma" else None
    for path in (paths[0], tmp_path / "x"):
        again = read_grm(path, fam=fam)
        np.testing.assert_allclose(again.matrix, relationship.matrix, rtol=tolerance)
        assert again.individuals.equals(IDS)
        assert (again.estimator, again.factor, again.source) == ("file", 1.0, str(paths[0]))
        assert again.n_variants == (321 if format == "gcta" else None)


def test_gcta_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    matrix = np.array([[1.0, 0.25], [0.25, 2.0]])
    write_grm(Relationship(matrix, IDS[:2], n_variants=7), tmp_path / "x")
    assert (tmp_path / "x.grm.bin").read_bytes() == struct.pack("<3f", 1.0, 0.25, 2.0)
    assert (tmp_path / "x.grm.N.bin").read_bytes() == struct.pack("<3f", 7, 7, 7)
    assert (tmp_path / "x.grm.id").read_bytes() == b"F1\ta\nF1\tb\n"


def test_plink_text_is_that_of_the_format(tmp_path: Path) -> None:
    matrix = np.array([[1.0, 0.25], [0.25, 2.0]])
    write_grm(Relationship(matrix, IDS[:2]), tmp_path / "x", "plink")
    assert (tmp_path / "x.rel").read_text() == "1\t0.25\n0.25\t2\n"
    assert (tmp_path / "x.rel.id").read_text() == "#FID\tIID\nF1\ta\nF1\tb\n"


def test_an_unknown_number_of_variants_leaves_no_file_of_an_earlier_matrix(tmp_path: Path) -> None:
    write_grm(example(), tmp_path / "x")
    paths = write_grm(example(None), tmp_path / "x")
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert read_grm(tmp_path / "x").n_variants is None


@pytest.mark.parametrize("name", ["", "a b", "a\n", "#a"])
def test_ids_that_would_break_the_file_are_refused(tmp_path: Path, name: str) -> None:
    relationship = Relationship(np.eye(2), individual_index(["F", "F"], ["ok", name]))
    with pytest.raises(InputError, match="without blanks"):
        write_grm(relationship, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing_and_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_grm(example(), tmp_path / "x")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bayeslmm.grm_files.write_variant_count", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_grm(Relationship(np.eye(N), IDS, n_variants=1), tmp_path / "x")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'gcta', 'gemma' or 'plink'"):
        write_grm(example(), tmp_path / "x", "emmax")  # type: ignore[arg-type]


# the shapes of plink2's and GEMMA's files


@pytest.mark.parametrize("shape", ["square", "square0", "triangle"])
def test_rel_text(tmp_path: Path, shape: str) -> None:
    matrix = example().matrix
    text = {
        "square": text_matrix(matrix),
        "square0": text_matrix(np.tril(matrix)),
        "triangle": text_triangle(matrix),
    }[shape]
    (tmp_path / "x.rel").write_text(text.replace("\n", "\r\n"))
    write_ids(tmp_path / "x.rel.id")
    np.testing.assert_array_equal(read_grm(tmp_path / "x").matrix, matrix)


@pytest.mark.parametrize("shape", ["square", "square0", "triangle"])
@pytest.mark.parametrize("dtype", ["<f8", "<f4"])
def test_rel_bin(tmp_path: Path, shape: str, dtype: str) -> None:
    matrix = example().matrix
    values = {
        "square": matrix,
        "square0": np.tril(matrix),
        "triangle": np.concatenate([row[: i + 1] for i, row in enumerate(matrix)]),
    }[shape].astype(dtype)
    (tmp_path / "x.rel.bin").write_bytes(values.tobytes())
    write_ids(tmp_path / "x.rel.id")
    found = read_grm(tmp_path / "x.rel.bin").matrix
    np.testing.assert_array_equal(found, matrix.astype(dtype))


def test_gcta_pair_list(tmp_path: Path) -> None:
    matrix = example().matrix
    rows = [
        f"{i + 1}\t{j + 1}\t{100 + i}\t{float(matrix[i, j])!r}\n"
        for i in range(N)
        for j in range(i + 1)
    ]
    rows[3], rows[8] = rows[8], rows[3]  # any order
    (tmp_path / "x.grm.gz").write_bytes(gzip.compress("".join(rows).encode().rstrip()))
    write_ids(tmp_path / "x.grm.id")
    found = read_grm(tmp_path / "x")
    np.testing.assert_array_equal(found.matrix, matrix)
    assert found.n_variants == 105


@pytest.mark.parametrize("name", ["k.cXX.txt", "k.sXX.txt", "kinship.txt"])
def test_gemma_has_the_rows_of_the_fam(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(text_matrix(example().matrix))
    fam = tmp_path / "y.fam"
    fam.write_text("".join(f"{fid} {iid} 0 0 1 -9 NA\n" for fid, iid in IDS), encoding="utf-8")
    with pytest.raises(InputError, match=rf"{name}: a matrix without individual IDs .*--fam FILE"):
        read_grm(tmp_path / name)
    found = read_grm(tmp_path / name, fam=fam)
    np.testing.assert_array_equal(found.matrix, example().matrix)
    assert found.individuals.equals(IDS)
    fam.write_text("\n".join(fam.read_text(encoding="utf-8").split("\n")[1:]), encoding="utf-8")
    with pytest.raises(InputError, match=rf"{name}:1: 6 columns where 5 belong -> 5 x 5"):
        read_grm(tmp_path / name, fam=fam)


def test_a_fam_for_a_matrix_with_ids_is_refused(tmp_path: Path) -> None:
    write_grm(example(), tmp_path / "x")
    with pytest.raises(InputError, match=r"has its own IDs .*x\.grm\.id -> leave --fam out"):
        read_grm(tmp_path / "x", fam=tmp_path / "y.fam")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("F1 a\nF2 b\n", [("F1", "a"), ("F2", "b")]),
        ("F1\ta\r\nF2\tb", [("F1", "a"), ("F2", "b")]),
        ("a\nb\n", [("0", "a"), ("0", "b")]),
        ("#FID\tIID\nF1\ta\nF2\tb\n", [("F1", "a"), ("F2", "b")]),
        ("#IID\na\nb\n", [("0", "a"), ("0", "b")]),
        ("#IID\tSID\na\t1\nb\t2\n", [("0", "a"), ("0", "b")]),
    ],
)
def test_id_files(tmp_path: Path, text: str, expected: list[tuple[str, str]]) -> None:
    write_ids(tmp_path / "x.grm.id", text)
    assert list(read_grm_ids(tmp_path / "x.grm.id")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("F1 a\n\nF2 b\n", "2: a blank line"),
        ("F1 a\nF2\n", "2: 1 columns -> 2 columns as above"),
        ("F1 a 0\n", "1: 3 columns -> FID and IID, or IID"),
        ("F1 a\nF2 a\nF1 a\n", "3: F1 a as in line 1 -> every"),
        ("#FID SID\nF1 a\n", "1: header '#FID SID' -> #FID IID or #IID"),
        ("#FID IID\n", "no individuals"),
        ("\n", "1: a blank line"),
    ],
)
def test_bad_id_files(tmp_path: Path, text: str, message: str) -> None:
    write_ids(tmp_path / "x.grm.id", text)
    with pytest.raises(InputError) as caught:
        read_grm_ids(tmp_path / "x.grm.id")
    assert message in str(caught.value)


# what can be wrong


def test_nothing_and_several_under_a_prefix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x: no relationship matrix -> .*\.grm\.bin, \.grm\.gz"):
        read_grm(tmp_path / "x")
    (tmp_path / "x.rel.zst").touch()
    with pytest.raises(InputError, match="make it again without 'zs'"):
        read_grm(tmp_path / "x")
    write_grm(example(), tmp_path / "x")
    write_grm(example(), tmp_path / "x", "plink")
    with pytest.raises(InputError, match=r"2 matrices: .*x\.grm\.bin, .*x\.rel -> .* full name"):
        read_grm(tmp_path / "x")
    assert read_grm(tmp_path / "x.grm").source.endswith("x.grm.bin")
    with pytest.raises(InputError, match=r"x\.grm\.id: this file only goes with a matrix"):
        read_grm(tmp_path / "x.grm.id")


def test_a_missing_id_file(tmp_path: Path) -> None:
    write_grm(example(), tmp_path / "x")
    (tmp_path / "x.grm.id").unlink()
    with pytest.raises(InputError, match=r"x\.grm\.id: no such file"):
        read_grm(tmp_path / "x")


@pytest.mark.parametrize("suffix", [".grm.bin", ".grm.N.bin"])
@pytest.mark.parametrize("change", [-4, -1, 1, 4])
def test_gcta_sizes_have_to_be_exact(tmp_path: Path, suffix: str, change: int) -> None:
    write_grm(example(), tmp_path / "x")
    file = tmp_path / f"x{suffix}"
    file.write_bytes((file.read_bytes() + bytes(4))[: 84 + change])
    with pytest.raises(InputError, match=rf"{suffix}: {84 + change} bytes -> 84 bytes = 4 x 6 x 7"):
        read_grm(tmp_path / "x")


def test_a_hostile_number_of_ids_is_refused_before_anything_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bayeslmm.memory, "available_memory", lambda: 2**30)
    write_ids(tmp_path / "x.grm.id", "".join(f"i{k}\n" for k in range(30_000)))
    shutil.copy(tmp_path / "x.grm.id", tmp_path / "x.rel.id")
    for suffix in (".grm.bin", ".rel.bin", ".rel"):
        (tmp_path / f"x{suffix}").write_bytes(b"1 2 3\n")
        with pytest.raises(InputError, match=f"{suffix}: 6 bytes -> "):
            read_grm(tmp_path / f"x{suffix}")
    (tmp_path / "x.grm.gz").write_bytes(gzip.compress(b"1 1 1 1\n"))
    with pytest.raises(InputError, match=r"the matrix of 30000 individuals needs 7.5 GiB"):
        read_grm(tmp_path / "x.grm.gz")


def test_memory_is_refused_before_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_grm(example(), tmp_path / "x", format)[0] for format in ("gcta", "plink")]
    monkeypatch.setattr(bayeslmm.memory, "available_memory", lambda: 100)
    for path in paths:
        with pytest.raises(InputError, match="the matrix of 6 individuals needs"):
            read_grm(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_names_the_pair(tmp_path: Path, value: float) -> None:
    write_grm(example(), tmp_path / "x")
    data = np.fromfile(tmp_path / "x.grm.bin", "<f4")
    data[4] = value
    data.tofile(tmp_path / "x.grm.bin")
    with pytest.raises(
        InputError, match=rf"x\.grm\.bin: .*F1 b and F2 a .*row 2, column 3.* {value}"
    ):
        read_grm(tmp_path / "x")


def test_nan_in_text_names_the_pair(tmp_path: Path) -> None:
    write_grm(example(), tmp_path / "x", "plink")
    matrix = np.array(example().matrix)
    matrix[1, 2] = matrix[2, 1] = np.nan
    (tmp_path / "x.rel").write_text(text_matrix(matrix))
    with pytest.raises(InputError, match=r"x\.rel: .*F1 b and F2 a .* is nan"):
        read_grm(tmp_path / "x")


def test_an_asymmetric_text_matrix_names_the_pair(tmp_path: Path) -> None:
    write_grm(example(), tmp_path / "x", "plink")
    matrix = np.array(example().matrix)
    matrix[4, 1] += 0.1
    (tmp_path / "x.rel").write_text(text_matrix(matrix))
    with pytest.raises(InputError, match=r"x\.rel: .*F1 b and d is .* in row 2, column 5 but"):
        read_grm(tmp_path / "x")


@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_text_that_is_no_number_is_located(tmp_path: Path, value: str) -> None:
    write_grm(example(), tmp_path / "x", "plink")
    rows = [row.split("\t") for row in (tmp_path / "x.rel").read_text().splitlines()]
    rows[2][3] = value
    (tmp_path / "x.rel").write_text("\n".join("\t".join(row) for row in rows))
    with pytest.raises(InputError, match=rf"x\.rel:3:4: '{value}' is not a number"):
        read_grm(tmp_path / "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "5 rows -> 6 x 6 numbers"),
        (lambda rows: [*rows, rows[0]], "x.rel:7: more than 6 rows"),
        (lambda rows: [*rows[:3], "", *rows[3:]], "x.rel:4: 0 columns where 6 belong"),
        (lambda rows: [*rows[:3], rows[3] + "\t1", *rows[4:]], "x.rel:4: 7 columns where 6"),
        (lambda rows: ["1" * 600, *rows[1:]], "x.rel:1: a line of more than 384 bytes"),
        (lambda rows: ["1", *rows[1:]], "x.rel:2: 6 columns where 2 belong"),
        (lambda rows: [], "0 bytes -> 6 x 6 numbers"),
    ],
)
def test_text_matrices_of_another_size(tmp_path: Path, change: object, message: str) -> None:
    write_grm(example(), tmp_path / "x", "plink")
    rows = (tmp_path / "x.rel").read_text().splitlines()
    (tmp_path / "x.rel").write_text("\n".join(change(rows)))  # type: ignore[operator]
    with pytest.raises(InputError) as caught:
        read_grm(tmp_path / "x")
    assert message in str(caught.value)


def test_trailing_blank_lines_of_a_text_matrix_are_no_rows(tmp_path: Path) -> None:
    write_grm(example(), tmp_path / "x", "plink")
    with open(tmp_path / "x.rel", "a") as file:
        file.write("\n\n")
    assert read_grm(tmp_path / "x").n == N


def test_rel_bin_of_another_size(tmp_path: Path) -> None:
    (tmp_path / "x.rel.bin").write_bytes(bytes(100))
    write_ids(tmp_path / "x.rel.id")
    with pytest.raises(InputError, match=r"100 bytes -> .* \(288, 168, or with bin4 144, 84 bytes"):
        read_grm(tmp_path / "x")


PAIRS = [f"{i + 1} {j + 1} 9 0.5" for i in range(N) for j in range(i + 1)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (PAIRS[:-1], "20 pairs, the first that is missing is 6 6 (F3 é and F3 é) -> 21 pairs"),
        ([*PAIRS, "3 2 9 0.5"], "22: the pair 3 2 (F2 a and F1 b) a second time"),
        ([*PAIRS, "2 3 9 0.5"], "22: the pair 3 2 (F2 a and F1 b) a second time"),
        ([*PAIRS[:4], "7 1 9 0.5"], "5: '7 1 9 0.5' -> 'i j N value' with i and j from 1 to 6"),
        ([*PAIRS[:4], "0 1 9 0.5"], "5: '0 1 9 0.5' -> "),
        ([*PAIRS[:4], "1.5 1 9 0.5"], "5: '1.5 1 9 0.5' -> "),
        ([*PAIRS[:4], "3 2 9"], "5: '3 2 9' -> "),
        ([*PAIRS[:4], "3 2 9 x"], "5: '3 2 9 x' -> "),
        ([*PAIRS[:4], "3 2 9 nan"], "5: '3 2 9 nan' -> "),
        ([*PAIRS[:4], "", *PAIRS[4:]], "5: '' -> "),
        (["1 1 5", "2 1 5"], "1: '1 1 5' -> "),
        ([], "0 pairs"),
    ],
)
def test_bad_pair_lists(tmp_path: Path, rows: list[str], message: str) -> None:
    text = "".join(f"{row}\n" for row in rows)
    (tmp_path / "x.grm.gz").write_bytes(gzip.compress(text.encode()))
    write_ids(tmp_path / "x.grm.id")
    with pytest.raises(InputError) as caught:
        read_grm(tmp_path / "x")
    assert message in str(caught.value)


def test_damaged_gzip_files(tmp_path: Path) -> None:
    write_ids(tmp_path / "x.grm.id")
    whole = gzip.compress("\n".join(PAIRS).encode())
    for data in (whole[:-12], b"no gzip", whole[:20] + b"\0\0\0" + whole[23:]):
        (tmp_path / "x.grm.gz").write_bytes(data)
        with pytest.raises(InputError, match=r"x\.grm\.gz: damaged after line 0"):
            read_grm(tmp_path / "x")


def test_a_gzip_bomb_does_not_fill_the_memory(tmp_path: Path) -> None:
    write_ids(tmp_path / "x.grm.id")
    (tmp_path / "x.grm.gz").write_bytes(gzip.compress(b"1" * 20_000_000))
    with pytest.raises(InputError, match=r"x\.grm\.gz:1: a line of more than 4194304 bytes"):
        read_grm(tmp_path / "x")


# other programs read what we write


def test_the_files_of_plink2_in_every_shape(tmp_path: Path) -> None:
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is not installed")
    prefix = tmp_path / "x"
    dosages = np.random.default_rng(2).integers(0, 3, (60, 150))
    write_plink1(from_array(dosages.astype(np.int8)), prefix)
    ours = grm(read_genotypes(prefix))
    shapes: list[tuple[list[str], str, float]] = [
        (["--make-rel", "square"], ".rel", 1e-5),
        (["--make-rel", "square0"], ".rel", 1e-5),
        (["--make-rel"], ".rel", 1e-5),
        (["--make-rel", "square", "bin"], ".rel.bin", 1e-12),
        (["--make-rel", "triangle", "bin"], ".rel.bin", 1e-12),
        (["--make-rel", "square0", "bin4"], ".rel.bin", 1e-6),
        (["--make-rel", "triangle", "bin4"], ".rel.bin", 1e-6),
        (["--make-grm-bin"], ".grm.bin", 1e-6),
        (["--make-grm-bin", "id-header"], ".grm.bin", 1e-6),
        (["--make-grm-bin", "iid-only"], ".grm.bin", 1e-6),
    ]
    for k, (options, suffix, tolerance) in enumerate(shapes):
        command = ["plink2", "--bfile", str(prefix), *options, "--out", f"{prefix}{k}"]
        subprocess.run(command, check=True, capture_output=True)
        theirs = read_grm(f"{prefix}{k}")
        assert theirs.source == f"{prefix}{k}{suffix}"
        assert theirs.individuals.equals(ours.individuals)
        np.testing.assert_allclose(theirs.matrix, ours.matrix, atol=tolerance)


def test_gemma_decomposes_what_we_write(tmp_path: Path) -> None:
    if shutil.which("gemma") is None:
        pytest.skip("gemma is not installed")
    prefix = tmp_path / "x"
    dosages = np.random.default_rng(2).integers(0, 3, (60, 150))
    write_plink1(from_array(dosages.astype(np.int8)), prefix)
    fam = prefix.with_suffix(".fam")
    fam.write_text(fam.read_text().replace("\t-9\n", "\t1.5\n"))
    ours = grm(read_genotypes(prefix), scale="centred")
    path = write_grm(ours, tmp_path / "k", "gemma")[0]
    command = ["gemma", "-bfile", prefix, "-k", path, "-eigen", "-outdir", tmp_path, "-o", "e"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    theirs = np.loadtxt(tmp_path / "e.eigenD.txt")
    np.testing.assert_allclose(np.sort(theirs), np.linalg.eigvalsh(ours.matrix), atol=1e-8)
