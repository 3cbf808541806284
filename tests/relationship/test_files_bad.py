"""Relationship files that are damaged, hostile or do not belong together."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

import bayeslmm.system.memory
from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.files import read_grm, write_grm
from bayeslmm.relationship.relationship import Relationship

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
    with pytest.raises(InputError, match=r"x\.grm\.id: a file that accompanies a matrix"):
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
    monkeypatch.setattr(bayeslmm.system.memory, "available_memory", lambda: 2**30)
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
    monkeypatch.setattr(bayeslmm.system.memory, "available_memory", lambda: 100)
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
        (PAIRS[:-1], "20 pairs; the first missing pair is 6 6 (F3 é and F3 é) -> 21 pairs"),
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
