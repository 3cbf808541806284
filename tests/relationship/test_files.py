"""Relationship files of GCTA, GEMMA and plink2: round trips, other programs, bad input."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bayeslmm.errors import InputError
from bayeslmm.genotypes.genotypes import from_array, read_genotypes, write_plink1
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.files import Format, read_grm, read_grm_ids, write_grm
from bayeslmm.relationship.genomic import grm
from bayeslmm.relationship.relationship import Relationship

N = 6
IDS = individual_index(["F1", "F1", "F2", "F2", "0", "F3"], ["a", "b", "a", "c", "d", "é"])


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

    monkeypatch.setattr("bayeslmm.relationship.files.write_variant_count", full)
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
        ("F1 a\nF2 a\nF1 a\n", "3: 1 repeated individuals: F1 a (lines 1 and 3) -> every"),
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
