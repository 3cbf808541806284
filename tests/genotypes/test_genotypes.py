"""Genotypes: arrays, selections, blocks, writing."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayeslmm.errors import InputError
from bayeslmm.genotypes.genotypes import Genotypes, from_array, read_genotypes, write_plink1

RNG = np.random.default_rng(5)


def whole(genotypes: Genotypes, dtype: type = np.float32, size: int = 7) -> np.ndarray:
    return np.concatenate([block for _, block in genotypes.blocks(size, dtype)])


def test_from_array_blocks() -> None:
    dosages = np.array([[0.0, 1.5, np.nan], [2.0, 1.05, 0.95]])
    genotypes = from_array(dosages)
    assert (genotypes.n, genotypes.m) == (2, 3)
    np.testing.assert_array_equal(whole(genotypes), dosages.T.astype(np.float32))
    np.testing.assert_array_equal(whole(genotypes, np.float64), dosages.T.astype(np.float32))
    np.testing.assert_array_equal(whole(genotypes, np.int8), [[0, 2], [-9, 1], [-9, 1]])
    assert genotypes.individuals.tolist() == [("0", "1"), ("0", "2")]
    assert genotypes.variants["ID"].tolist() == ["v1", "v2", "v3"]
    assert genotypes.source.name == "array"


def test_hard_calls_within_a_tenth() -> None:
    genotypes = from_array(np.array([[0.1, 0.11, 0.9, 1.1, 1.89, 1.9]], dtype=np.float32))
    np.testing.assert_array_equal(whole(genotypes, np.int8)[:, 0], [0, -9, 1, 1, -9, 2])


@pytest.mark.parametrize("size", [1, 4, 10, 11, 1000])
def test_blocks_cover_the_variants(size: int) -> None:
    dosages = RNG.integers(0, 3, (4, 10))
    seen: list[int] = []
    for where, block in from_array(dosages).blocks(size):
        assert block.shape == (where.stop - where.start, 4)
        assert block.flags.c_contiguous
        assert block.dtype == np.float32
        np.testing.assert_array_equal(block, dosages[:, where].T)
        seen.extend(range(where.start, where.stop))
    assert seen == list(range(10))


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_select_composes(data: st.DataObject) -> None:
    dosages = np.arange(8 * 9).reshape(8, 9) % 3
    genotypes = from_array(dosages)
    rows, columns = np.arange(8), np.arange(9)
    for _ in range(2):
        r = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)).filter(any))
        c = data.draw(
            st.lists(st.integers(0, len(columns) - 1), min_size=1, max_size=5, unique=True)
        )
        genotypes = genotypes.select(np.array(r), c)
        rows, columns = rows[np.array(r)], columns[np.sort(c)]
    np.testing.assert_array_equal(whole(genotypes, np.int8), dosages[np.ix_(rows, columns)].T)
    assert genotypes.individuals.get_level_values("IID").tolist() == [str(k + 1) for k in rows]
    assert genotypes.variants["ID"].tolist() == [f"v{k + 1}" for k in columns]
    assert genotypes.variants.index.equals(pd.RangeIndex(len(columns)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 0], "a position twice"),
        ([-1, 2], "positions -1 to 2 -> 0 to 3"),
        ([4], "positions 4 to 4"),
        ([], "no individuals selected"),
        (np.array([True, False]), r"a mask of shape \(2,\) -> \(4,\)"),
        ([0.5], "float64"),
    ],
)
def test_bad_selections(rows: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_array(np.ones((4, 2))).select(individuals=rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-0.5, 2.5, np.inf, -np.inf, -9.0])
def test_values_outside_the_range_name_individual_and_variant(value: float) -> None:
    dosages = np.ones((3, 1500))
    dosages[1, 1200] = value
    people = pd.MultiIndex.from_tuples([("f", "a"), ("f", "b"), ("f", "c")], names=["FID", "IID"])
    with pytest.raises(InputError, match=rf"dosage {value} of individual f b at v1201 -> 0 to 2"):
        from_array(dosages, people)


def test_integers_may_be_missing_as_minus_nine() -> None:
    genotypes = from_array(np.array([[0, -9], [2, 1]], dtype=np.int8))
    np.testing.assert_array_equal(whole(genotypes), [[0, 2], [np.nan, 1]])
    with pytest.raises(InputError, match=r"dosage -1 of individual 1 at v1"):
        from_array(np.array([[-1, 0]]))


@pytest.mark.parametrize(
    ("dosages", "options", "message"),
    [
        (np.ones(3), {}, r"dosages of shape \(3,\)"),
        (np.ones((0, 3)), {}, r"dosages of shape \(0, 3\)"),
        (np.array([["a"]]), {}, "an array of <U1 -> numbers"),
        (np.ones((2, 3)), {"individuals": ["a"]}, "1 individuals for dosages with 2 rows"),
        (np.ones((2, 3)), {"individuals": ["a", "a"]}, "repeated individuals in the dosages: a"),
        (
            np.ones((2, 3)),
            {"variants": pd.DataFrame({"ID": list("abc")})},
            "3 rows with the columns ID",
        ),
    ],
)
def test_bad_arrays(dosages: np.ndarray, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_array(dosages, **options)  # type: ignore[arg-type]


def test_bad_blocks() -> None:
    genotypes = from_array(np.ones((2, 2)))
    with pytest.raises(InputError, match="dtype int32"):
        next(genotypes.blocks(dtype=np.int32))
    with pytest.raises(InputError, match="blocks of 0 variants"):
        next(genotypes.blocks(0))


def test_bad_kind() -> None:
    with pytest.raises(InputError, match="kind 'vcf'"):
        read_genotypes("x", kind="vcf")  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 11])
def test_write_and_read(tmp_path: Path, n: int) -> None:
    dosages = RNG.choice([0.0, 1.0, 2.0, np.nan], (n, 30))
    dosages[-1, 0] = 0  # a last individual of A1 A1 everywhere is refused
    paths = write_plink1(dosages, tmp_path / "out.v1")
    assert [path.name for path in paths] == ["out.v1.bed", "out.v1.bim", "out.v1.fam"]
    back = read_genotypes(tmp_path / "out.v1")
    np.testing.assert_array_equal(whole(back), dosages.T.astype(np.float32))
    pd.testing.assert_frame_equal(back.variants, from_array(dosages).variants)
    assert back.individuals.equals(from_array(dosages).individuals)


def test_fam_columns_are_matched_by_identifier(tmp_path: Path) -> None:
    genotypes = from_array(np.array([[0, 1], [1, 2], [0, 0]]), ["a", "b", "c"])
    fam = pd.DataFrame(
        {"SEX": [2, 1], "PAT": ["p", "q"]},
        index=pd.MultiIndex.from_tuples([("0", "b"), ("0", "a")], names=["FID", "IID"]),
    )
    write_plink1(genotypes, tmp_path / "x", fam=fam)
    lines = (tmp_path / "x.fam").read_text().splitlines()
    assert [line.split("\t") for line in lines] == [
        ["0", "a", "q", "0", "1", "-9"],
        ["0", "b", "p", "0", "2", "-9"],
        ["0", "c", "0", "0", "0", "-9"],
    ]


def test_nothing_is_left_of_a_failed_write(tmp_path: Path) -> None:
    genotypes = from_array(np.ones((3, 2)))

    def broken(*_: object, **__: object) -> None:
        raise InputError("x", "y", "z")

    reader = type("Broken", (), {"name": "b", "hard_calls": True, "read": broken})()
    source = type(genotypes.source)(reader, None, genotypes.source.variants)
    failing = Genotypes(genotypes.individuals, genotypes.variants, source)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError):
        write_plink1(failing, tmp_path / "out" / "x")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not on PATH")
def test_plink2_reads_what_we_write(tmp_path: Path) -> None:
    dosages = RNG.choice([0.0, 1.0, 2.0, np.nan], (11, 40))
    write_plink1(dosages, tmp_path / "x")
    subprocess.run(
        ["plink2", "--bfile", tmp_path / "x", "--export", "A", "--out", tmp_path / "y"],
        check=True,
        capture_output=True,
    )
    exported = pd.read_csv(tmp_path / "y.raw", sep="\t").iloc[:, 6:]
    # --export A counts the allele named after the underscore, by default the major or A1
    counted = np.array([str(name).rsplit("_", 1)[1] == "1" for name in exported])
    expected = np.where(counted, dosages, 2 - dosages)
    np.testing.assert_array_equal(exported.to_numpy(float), expected)


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not on PATH")
def test_plink2_files_give_what_the_bed_gives(tmp_path: Path) -> None:
    dosages = RNG.choice([0.0, 1.0, 2.0, np.nan], (11, 40))
    write_plink1(dosages, tmp_path / "x")
    subprocess.run(
        ["plink2", "--bfile", tmp_path / "x", "--make-pgen", "--out", tmp_path / "y"],
        check=True,
        capture_output=True,
    )
    bed, pgen = read_genotypes(tmp_path / "x"), read_genotypes(tmp_path / "y")
    np.testing.assert_array_equal(whole(bed), whole(pgen))
    np.testing.assert_array_equal(whole(bed, np.int8), whole(pgen, np.int8))
    pd.testing.assert_frame_equal(bed.variants, pgen.variants)
    assert bed.individuals.equals(pgen.individuals)


def test_memory_is_a_block_whatever_the_number_of_variants(tmp_path: Path) -> None:
    peaks = []
    for m in (2000, 8000):
        dosages = RNG.integers(0, 3, (401, m), dtype=np.int8)
        write_plink1(dosages, tmp_path / f"m{m}")
        genotypes = read_genotypes(tmp_path / f"m{m}")
        del dosages
        tracemalloc.start()
        for _, block in genotypes.blocks(256):
            assert block.shape[1] == 401
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 6 * 256 * 401 * 4
