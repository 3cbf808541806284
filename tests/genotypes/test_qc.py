"""Counts and filters, against plain NumPy, enumeration and plink2."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from math import factorial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2 as distribution

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.genotypes.genotypes import Genotypes, from_array, read_genotypes, write_plink1
from bayeslmm.genotypes.hwe import hwe_p_values
from bayeslmm.genotypes.qc import autosomal, quality_control, variant_counts
from bayeslmm.ledger import Step

RNG = np.random.default_rng(11)


def table(chromosomes: list[str], names: list[str] | None = None) -> pd.DataFrame:
    m = len(chromosomes)
    return pd.DataFrame(
        {
            "CHROM": chromosomes,
            "POS": range(m),
            "ID": names or [f"rs{k}" for k in range(m)],
            "A1": "A",
            "A0": "G",
        }
    )


@pytest.fixture
def genotypes() -> Genotypes:
    """100 people; rs0 fine, rs1 rare, rs2 monomorphic, rs3 missing 6 %, rs4 on X, rs5 all het."""
    dosages = RNG.integers(0, 3, (100, 6)).astype(float)
    dosages[:, 1] = 0
    dosages[0, 1] = 1
    dosages[:, 2] = 2
    dosages[:6, 3] = np.nan
    dosages[:, 5] = 1
    return from_array(dosages, variants=table(["1", "1", "2", "2", "X", "22"]))


def kept(genotypes: Genotypes) -> list[str]:
    names: list[str] = genotypes.variants["ID"].tolist()
    return names


# counts


def test_counts_of_hard_calls() -> None:
    dosages = np.array([[0, 1, 2, np.nan], [1, 1, 2, np.nan], [2, np.nan, 2, np.nan]])
    counts = variant_counts(from_array(dosages))
    assert counts["n_hom_a0"].tolist() == [1, 0, 0, 0]
    assert counts["n_het"].tolist() == [1, 2, 0, 0]
    assert counts["n_hom_a1"].tolist() == [1, 0, 3, 0]
    assert counts["n_missing"].tolist() == [0, 1, 0, 3]
    np.testing.assert_array_equal(counts["missing"], [0, 1 / 3, 0, 1])
    np.testing.assert_array_equal(counts["af"], [0.5, 0.5, 1, np.nan])
    np.testing.assert_array_equal(counts["maf"], [0.5, 0.5, 0, np.nan])
    assert list(counts) == [
        "n_hom_a0", "n_het", "n_hom_a1", "n_missing", "af", "missing", "maf", "hwe_p",
    ]  # fmt: skip


def test_counts_of_dosages() -> None:
    dosages = np.array([[0.05, 1.5], [1.0, 0.5], [1.95, np.nan], [0.5, 2.0]])
    counts = variant_counts(from_array(dosages))
    calls = counts[["n_hom_a0", "n_het", "n_hom_a1", "n_missing"]].to_numpy()
    assert calls.tolist() == [[1, 1, 1, 0], [0, 0, 1, 1]]
    np.testing.assert_allclose(counts["af"], [3.5 / 8, 4 / 6], rtol=1e-7)
    assert counts["missing"].tolist() == [0, 0.25]


def test_counts_over_blocks() -> None:
    dosages = RNG.choice([0, 1, 2, np.nan], (37, 3000))
    counts = variant_counts(from_array(dosages), hwe=False)
    np.testing.assert_array_equal(counts["n_het"], (dosages == 1).sum(axis=0))
    np.testing.assert_allclose(counts["af"], np.nanmean(dosages, axis=0) / 2)
    assert counts["hwe_p"].isna().all()


def enumerate_hwe(hom_0: int, het: int, hom_1: int) -> float:
    """Exact rational arithmetic over all tables with the same allele counts."""
    n, copies = hom_0 + het + hom_1, 2 * hom_1 + het
    weights = {}
    for h in range(copies % 2, min(copies, 2 * n - copies) + 1, 2):
        b = (copies - h) // 2
        a = n - h - b
        weights[h] = Fraction(2**h, factorial(a) * factorial(h) * factorial(b))
    chosen = [w for w in weights.values() if w <= weights[het]]
    return float(sum(chosen) / sum(weights.values()))


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=150, deadline=None)
def test_hwe_against_enumeration(hom_0: int, het: int, hom_1: int) -> None:
    (p,) = hwe_p_values([hom_0], [het], [hom_1])
    assert p == pytest.approx(enumerate_hwe(hom_0, het, hom_1), rel=1e-9)


def test_hwe_large_counts() -> None:
    """Published value of SNPHWE(57 het, 14, 50); and half a million people in no time."""
    assert hwe_p_values([14], [57], [50])[0] == pytest.approx(0.8422797565708261, rel=1e-12)
    n, p = 500_000, 0.3
    expected = np.round(n * np.array([(1 - p) ** 2, 2 * p * (1 - p), p**2])).astype(int)
    assert hwe_p_values(*expected[:, None])[0] > 0.99
    shifted = expected + np.array([700, -1400, 700])
    statistic = n * (1 - shifted[1] / (2 * n * p * (1 - p))) ** 2
    assert hwe_p_values(*shifted[:, None])[0] == pytest.approx(
        distribution.sf(statistic, 1), rel=0.05
    )
    assert hwe_p_values([250_000], [0], [250_000])[0] == 0.0


# filters


def test_default_filters(genotypes: Genotypes) -> None:
    chosen = quality_control(genotypes)
    assert kept(chosen) == ["rs0", "rs5"]
    assert chosen.ledger.steps == (
        Step("variants", "not on the autosomes 1 to 22", 1, 5, ("rs4",)),
        Step("variants", "more than 0.05 of the genotypes missing", 1, 4, ("rs3",)),
        Step("variants", "monomorphic", 1, 3, ("rs2",)),
        Step("variants", "minor allele frequency below 0.01", 1, 2, ("rs1",)),
    )


def test_filters_can_be_opened(genotypes: Genotypes) -> None:
    chosen = quality_control(genotypes, maf=0, max_missing=1, autosomes=False)
    assert kept(chosen) == ["rs0", "rs1", "rs3", "rs4", "rs5"]
    assert kept(quality_control(genotypes, chr_set=2, maf=0)) == ["rs0", "rs1"]


def test_hwe_filter(genotypes: Genotypes) -> None:
    chosen = quality_control(genotypes, hwe=1e-20)
    assert kept(chosen) == ["rs0"]
    assert chosen.ledger.steps[-1].reason == "Hardy-Weinberg p-value below 1e-20"


def test_thresholds_are_inclusive() -> None:
    dosages = np.zeros((100, 3))
    dosages[:2, 0] = 1  # maf 0.01 exactly
    dosages[2:, 1] = 2
    dosages[:2, 1] = 1  # maf 0.01 exactly, of the other allele
    dosages[:, 2] = [np.nan] * 5 + [1] * 95  # missing 0.05 exactly
    assert quality_control(from_array(dosages)).m == 3


def test_a_variant_missing_in_everybody_is_dropped() -> None:
    dosages = np.array([[np.nan, 0], [np.nan, 1]])
    chosen = quality_control(from_array(dosages), max_missing=1)
    assert kept(chosen) == ["v2"]


def test_chromosome_names() -> None:
    names = pd.Series(["1", "chr1", "Chr22", "01", "0", "23", "X", "chrX", "XY", "MT", "1_random"])
    assert autosomal(names).tolist() == [True] * 4 + [False] * 7
    assert autosomal(pd.Series(["19", "20", "29"]), 19).tolist() == [True, False, False]
    assert autosomal(pd.Series(["29", "30"]), 29).tolist() == [True, False]


def test_counts_follow_the_individuals_kept(genotypes: Genotypes, tmp_path: Path) -> None:
    """rs3 lacks 6 of 100; without these six it passes, and rs1 has lost its only carrier."""
    (tmp_path / "drop").write_text("".join(f"0 {k}\n" for k in range(1, 7)))
    chosen = quality_control(genotypes, remove=tmp_path / "drop")
    assert chosen.n == 94
    assert kept(chosen) == ["rs0", "rs3", "rs5"]
    assert chosen.ledger.steps[0] == Step(
        "individuals", "in the --remove file", 6, 94, ("1", "2", "3", "4", "5")
    )
    assert [s.dropped for s in chosen.ledger.steps if s.reason == "monomorphic"] == [2]


def test_keep(genotypes: Genotypes, tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("#IID\n9\n7\n8\nnobody\n")
    with pytest.warns(BayesLMMWarning, match="keep: 1 of 4 individuals are not among"):
        chosen = quality_control(genotypes, keep=tmp_path / "keep", max_missing=1)
    assert chosen.individuals.tolist() == [("0", "7"), ("0", "8"), ("0", "9")]
    assert chosen.ledger.steps[0].reason == "not in the --keep file"
    assert chosen.ledger.steps[0].dropped == 97


def test_extract_and_exclude(genotypes: Genotypes, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("rs5\r\nrs0\r\nrs99\r\n")
    (tmp_path / "out").write_text("rs5\n")
    with pytest.warns(BayesLMMWarning, match="in: 1 of 3 variants are not among"):
        chosen = quality_control(genotypes, extract=tmp_path / "in", exclude=tmp_path / "out")
    assert kept(chosen) == ["rs0"]
    assert [(s.reason, s.dropped) for s in chosen.ledger.steps[1:3]] == [
        ("not in the --extract file", 3),
        ("in the --exclude file", 1),
    ]


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("keep", "0 nobody\n", "none of its 1 individuals is among the genotypes"),
        ("remove", "0 nobody\n", "none of its 1 individuals"),
        ("extract", "rs77\n", "none of its 1 variants"),
        ("exclude", "rs77\n", "none of its 1 variants"),
        ("extract", "rs0 rs1\n", "list:1: 2 columns -> one variant ID per line"),
        ("extract", "\n", "no variant IDs"),
        ("remove", "".join(f"0 {k + 1}\n" for k in range(100)), "no individual is left"),
    ],
)
def test_bad_lists(
    genotypes: Genotypes, tmp_path: Path, option: str, text: str, message: str
) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(InputError, match=message):
        quality_control(genotypes, **{option: tmp_path / "list"})  # type: ignore[arg-type]


def test_listed_variants_are_unique(tmp_path: Path) -> None:
    genotypes = from_array(np.eye(3), variants=table(["1"] * 3, ["a", "a", "b"]))
    (tmp_path / "list").write_text("a\n")
    with pytest.raises(InputError, match="a occurs more than once among the variants"):
        quality_control(genotypes, extract=tmp_path / "list")
    (tmp_path / "list").write_text("b\n")
    assert kept(quality_control(genotypes, extract=tmp_path / "list")) == ["b"]


def test_iids_alone_must_tell_people_apart(tmp_path: Path) -> None:
    people = pd.MultiIndex.from_tuples([("f", "a"), ("g", "a"), ("g", "b")], names=["FID", "IID"])
    genotypes = from_array(np.eye(3), people)
    (tmp_path / "list").write_text("#IID\na\n")
    with pytest.raises(InputError, match="IIDs alone do not tell individuals apart"):
        quality_control(genotypes, keep=tmp_path / "list")


def test_other_families_are_matched_by_iid_with_a_warning(tmp_path: Path) -> None:
    people = pd.MultiIndex.from_tuples([("f", "a"), ("g", "b"), ("g", "c")], names=["FID", "IID"])
    (tmp_path / "list").write_text("x a\nx b\n")
    with pytest.warns(BayesLMMWarning, match="matched by IID"):
        chosen = quality_control(from_array(np.eye(3), people), keep=tmp_path / "list")
    assert chosen.individuals.tolist() == [("f", "a"), ("g", "b")]


def test_all_dropped_lists_the_counts() -> None:
    with pytest.raises(InputError) as caught:
        quality_control(from_array(np.full((5, 3), 2.0)))
    assert "no variant is left of 3" in str(caught.value)
    assert "variants: 3 dropped, 0 remain: monomorphic (v1, v2, v3)" in str(caught.value)
    with pytest.raises(InputError, match="no variant is left of 1:\nvariants: 1 dropped"):
        quality_control(from_array(np.eye(2)[:, :1], variants=table(["X"])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maf": 0.6}, "maf 0.6 -> 0 to 0.5 -> correct --maf"),
        ({"maf": float("nan")}, "maf nan"),
        ({"max_missing": -0.1}, "correct --max-missing"),
        ({"hwe": 2}, "hwe 2 -> 0 to 1"),
        ({"chr_set": 0}, "chr_set 0"),
    ],
)
def test_bad_options(genotypes: Genotypes, options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quality_control(genotypes, **options)  # type: ignore[arg-type]


# the mice


@pytest.mark.parametrize("chr_set", [19, 22])
def test_mouse_filters(shared_data: Path, chr_set: int) -> None:
    """GEMMA's filters on all 1940 leave 10 783 of the 12 226 variants."""
    mice = read_genotypes(shared_data / "mouse_hs1940" / "mouse_hs1940")
    chosen = quality_control(mice, chr_set=chr_set)
    assert (mice.n, mice.m, chosen.n, chosen.m) == (1940, 12226, 1940, 10783)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 33, 130])
@pytest.mark.parametrize("some", [False, True])
def test_bits_of_a_bed_are_counted_as_its_dosages(n: int, some: bool, tmp_path: Path) -> None:
    """Of all individuals and variants, and of some."""
    rng = np.random.default_rng(n)
    dosages = rng.choice(np.array([0, 1, 2, -9], np.int8), (50, n), p=[0.4, 0.3, 0.2, 0.1])
    write_plink1(from_array(dosages.T), tmp_path / "x")
    genotypes = read_genotypes(tmp_path / "x")
    if some:
        people, variants = np.arange(n) % 3 != 1, np.arange(50) % 4 != 2
        genotypes = genotypes.select(individuals=people, variants=variants)
        dosages = dosages[variants][:, people]
    found = variant_counts(genotypes)
    pd.testing.assert_frame_equal(found, variant_counts(from_array(dosages.T)))
    for copy, name in enumerate(("n_hom_a0", "n_het", "n_hom_a1")):
        np.testing.assert_array_equal(found[name], (dosages == copy).sum(axis=1))
    np.testing.assert_array_equal(found["n_missing"], (dosages == -9).sum(axis=1))


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not on PATH")
def test_mouse_counts_against_plink2(shared_data: Path, tmp_path: Path) -> None:
    prefix = shared_data / "mouse_hs1940" / "mouse_hs1940"
    report = ["--nonfounders", "--freq", "--hardy", "--missing", "variant-only", "--geno-counts"]
    subprocess.run(
        ["plink2", "--bfile", prefix, *report, "--out", tmp_path / "m"],
        check=True,
        capture_output=True,
    )
    theirs = {
        name: pd.read_csv(tmp_path / f"m.{name}", sep="\t", dtype={"ID": str}).set_index("ID")
        for name in ("afreq", "hardy", "vmiss", "gcount")
    }
    mice = read_genotypes(prefix)
    ours = variant_counts(mice).set_index(mice.variants["ID"])
    ours = ours[(mice.variants["POS"] >= 0).to_numpy()]  # plink2 ignores negative positions
    assert ours.index.equals(theirs["afreq"].index)
    gcount = theirs["gcount"]
    np.testing.assert_array_equal(ours["n_hom_a0"], gcount["HOM_REF_CT"])
    np.testing.assert_array_equal(ours["n_het"], gcount["HET_REF_ALT_CTS"])
    np.testing.assert_array_equal(ours["n_hom_a1"], gcount["TWO_ALT_GENO_CTS"])
    np.testing.assert_array_equal(ours["n_missing"], theirs["vmiss"]["MISSING_CT"])
    np.testing.assert_allclose(ours["af"], theirs["afreq"]["ALT_FREQS"], rtol=1e-5)
    np.testing.assert_allclose(ours["hwe_p"], theirs["hardy"]["P"], rtol=1e-5, atol=1e-300)


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not on PATH")
def test_dosage_frequencies_against_plink2(tmp_path: Path) -> None:
    dummy = ["--dummy", "60", "200", "0.1", "dosage-freq=0.4", "--seed", "3", "--make-pgen"]
    report = ["--freq", "--missing", "variant-only", "vcols=nmissdosage", "--geno-counts"]
    for options in ([*dummy], ["--pfile", tmp_path / "d", "--nonfounders", *report]):
        subprocess.run(
            ["plink2", *options, "--out", tmp_path / "d"], check=True, capture_output=True
        )
    ours = variant_counts(read_genotypes(tmp_path / "d"))
    afreq, vmiss, gcount = (
        pd.read_csv(tmp_path / f"d.{name}", sep="\t") for name in ("afreq", "vmiss", "gcount")
    )
    np.testing.assert_allclose(ours["af"], afreq["ALT_FREQS"], rtol=2e-5)
    np.testing.assert_array_equal(ours["n_missing"], vmiss["MISSING_DOSAGE_CT"])
    np.testing.assert_array_equal(ours["n_het"], gcount["HET_REF_ALT_CTS"])
    np.testing.assert_array_equal(ours["n_hom_a1"], gcount["TWO_ALT_GENO_CTS"])
