"""X chromosome: brute force over pairs, dosage compensation, sexes, heterozygous males."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.genotypes.genotypes import Genotypes, from_array, read_genotypes, write_plink1
from bayeslmm.relationship.genomic import compute_grms, grm
from bayeslmm.relationship.variant_sets import by_chromosome
from bayeslmm.relationship.x_chromosome import MaleCalls, males, on_x

N = 40


def people(m: int = 200, *, missing: float = 0.02, seed: int = 1) -> tuple[Genotypes, np.ndarray]:
    """Half of the variants on X; males have 0 and 2 there. And the sexes."""
    rng = np.random.default_rng(seed)
    sex = rng.integers(1, 3, N)
    p = rng.uniform(0.1, 0.9, m)
    dosages = rng.binomial(2, p, (N, m)).astype(float)
    x = np.arange(m) % 2 == 1
    his = 2.0 * rng.binomial(1, p, (N, m))
    dosages[np.ix_(sex == 1, x)] = his[np.ix_(sex == 1, x)]
    dosages[rng.random((N, m)) < missing] = np.nan
    table = {"CHROM": np.where(x, "X", "1"), "POS": np.arange(1, m + 1)}
    table |= {"ID": [f"v{k}" for k in range(m)], "A1": "A", "A0": "C"}
    return from_array(dosages, variants=pd.DataFrame(table)), sex


def brute_force(genotypes: Genotypes, sex: np.ndarray, how: str) -> np.ndarray:
    """Yang et al. 2011, pair by pair: male pairs × 2 or ½, mixed ones × √2 or √½."""
    x = np.concatenate([block for _, block in genotypes.blocks(dtype=np.float64)])
    x = x[(genotypes.variants["CHROM"] == "X").to_numpy()]
    male = sex == 1
    alleles = np.where(male, x / 2, x)  # of A1: 0 or 1 in males
    copies = np.where(np.isnan(x), 0, np.where(male, 1, 2))
    p = np.nansum(alleles, axis=1) / copies.sum(axis=1)
    K = np.zeros((N, N))
    weight = {"full": 2.0, "equal": 1.0, "none": 0.5}[how]
    for i in range(N):
        for j in range(N):
            terms = np.ones(len(p))
            for k in (i, j):
                count = 1 if male[k] else 2
                centred = alleles[:, k] - count * p
                terms *= np.where(np.isnan(centred), 0, centred)
                terms /= np.sqrt(count * p * (1 - p))
            both = int(male[i]) + int(male[j])
            K[i, j] = terms.mean() * weight ** (both / 2)
    return K


@pytest.mark.parametrize("how", ["full", "none", "equal"])
def test_equals_brute_force(how: str) -> None:
    genotypes, sex = people()
    found = compute_grms(genotypes, ["x"], sex=sex, dosage_compensation=how)["x"]  # type: ignore[arg-type]
    expected = brute_force(genotypes, sex, how)
    np.testing.assert_allclose(found.matrix, expected, rtol=0, atol=1e-12)
    assert (found.name, found.estimator, found.n_variants) == ("x", f"x-{how}", 100)


def test_the_variance_of_males_is_twice_or_half_or_the_same() -> None:
    genotypes, sex = people(6000, missing=0.0)
    for how, ratio in (("full", 2.0), ("equal", 1.0), ("none", 0.5)):
        K = compute_grms(genotypes, ["x"], sex=sex, dosage_compensation=how)["x"].matrix  # type: ignore[arg-type]
        diagonal = np.diagonal(K)
        found = diagonal[sex == 1].mean() / diagonal[sex == 2].mean()
        assert found == pytest.approx(ratio, rel=0.03)  # 3000 variants × 20 people a sex


def test_females_alone_have_the_autosomal_formula() -> None:
    genotypes, _ = people(missing=0.0)
    table = genotypes.variants
    x = genotypes.select(variants=(table["CHROM"] == "X").to_numpy())
    found = compute_grms(x, ["x"], sex=np.full(N, 2))["x"].matrix
    np.testing.assert_allclose(found, grm(x).matrix, rtol=0, atol=1e-12)


def test_in_one_pass_with_the_autosomes() -> None:
    genotypes, sex = people()
    found = compute_grms(genotypes, ["additive", "x", "dominance"], sex=sex, block=17)
    assert list(found) == ["additive", "x", "dominance"]
    alone = compute_grms(genotypes, ["x"], sex=sex)["x"]
    np.testing.assert_allclose(found["x"].matrix, alone.matrix, rtol=0, atol=1e-13)
    autosomes = genotypes.select(variants=(genotypes.variants["CHROM"] == "1").to_numpy())
    np.testing.assert_allclose(found["additive"].matrix, grm(autosomes).matrix, rtol=0, atol=1e-13)
    with pytest.raises(InputError, match="no variant for the kernel 'chrX'"):
        compute_grms(genotypes, ["additive", "x"], by_chromosome(genotypes), sex=sex)


def test_the_allele_counted_does_not_matter_nor_real_dosages() -> None:
    genotypes, sex = people()
    X = np.concatenate([block for _, block in genotypes.blocks(dtype=np.float64)]).T
    flipped = from_array(2 - X, variants=genotypes.variants)
    real = from_array(np.where(X == 2, 1.999, X), variants=genotypes.variants)
    expected = compute_grms(genotypes, ["x"], sex=sex)["x"].matrix
    np.testing.assert_allclose(
        compute_grms(flipped, ["x"], sex=sex)["x"].matrix, expected, rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        compute_grms(real, ["x"], sex=sex)["x"].matrix, expected, rtol=0, atol=0.02
    )


@pytest.mark.parametrize("real", [False, True])
def test_few_heterozygous_males_count_as_missing(real: bool) -> None:
    genotypes, sex = people(m=400, missing=0.0)
    X = np.concatenate([block for _, block in genotypes.blocks(dtype=np.float64)]).T
    him = int(np.flatnonzero(sex == 1)[0])
    wrong, absent = X.copy(), X.copy()
    wrong[him, 1:20:2], absent[him, 1:20:2] = 1.05 if real else 1.0, np.nan
    made = {
        name: from_array(x, variants=genotypes.variants)
        for name, x in (("wrong", wrong), ("absent", absent))
    }
    with pytest.warns(BayesLMMWarning, match=r"10 of \d+ calls of males on X are heterozygous"):
        found = compute_grms(made["wrong"], ["x"], sex=sex)["x"].matrix
    expected = compute_grms(made["absent"], ["x"], sex=sex)["x"].matrix
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert wrong[him, 1] > 0  # the caller's array is as it was


def test_many_heterozygous_males_are_an_error() -> None:
    genotypes, sex = people()
    with pytest.raises(InputError, match=r"calls of males on X are heterozygous \(.*split-par"):
        compute_grms(genotypes, ["x"], sex=3 - sex)


def test_sexes_of_files(tmp_path: Path) -> None:
    genotypes, sex = people()
    fam = pd.DataFrame({"SEX": sex}, index=genotypes.individuals)
    write_plink1(genotypes, tmp_path / "x", fam=fam)
    read = read_genotypes(tmp_path / "x")
    assert (males(read) == (sex == 1)).all()
    chosen = np.arange(3, N, 4)
    assert (males(read.select(individuals=chosen)) == (sex[chosen] == 1)).all()
    expected = compute_grms(genotypes, ["x"], sex=sex)["x"].matrix
    np.testing.assert_allclose(compute_grms(read, ["x"])["x"].matrix, expected, rtol=0, atol=1e-12)
    for number in (4, 9):
        sex[number] = 0
    write_plink1(genotypes, tmp_path / "x", fam=pd.DataFrame({"SEX": sex}, index=fam.index))
    with pytest.raises(InputError, match="2 of 40 individuals have no sex: 5, 10 ->"):
        males(read_genotypes(tmp_path / "x"))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("#FID\tIID\tSEX", "0\t{iid}\t{sex}"),
        ("#IID\tSEX\tAGE", "{iid}\t{sex}\t3"),
        ("", "0 {iid} 0 0 {sex}"),
        ("##note\n#IID\tPAT\tMAT\tSEX", "{iid}\t0\t0\t{word}"),
    ],
)
def test_sexes_of_a_psam(tmp_path: Path, header: str, row: str) -> None:
    genotypes, sex = people(20)
    write_plink1(genotypes, tmp_path / "x")
    (tmp_path / "x.bed").rename(tmp_path / "x.pgen")  # which a .bed may be
    (tmp_path / "x.bim").rename(tmp_path / "x.pvar")
    words = {1: "M", 2: "female"}
    rows = [row.format(iid=k + 1, sex=sex[k], word=words[sex[k]]) for k in range(N)]
    (tmp_path / "x.psam").write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    read = read_genotypes(tmp_path / "x", kind="pfile")
    assert (males(read) == (sex == 1)).all()


def test_a_psam_without_sexes_and_an_array_have_none(tmp_path: Path) -> None:
    genotypes, sex = people(20)
    with pytest.raises(InputError, match="pass sex="):
        males(genotypes)
    with pytest.raises(InputError, match=r"sex of shape \(3,\)"):
        males(genotypes, sex[:3])
    write_plink1(genotypes, tmp_path / "x")
    (tmp_path / "x.bed").rename(tmp_path / "x.pgen")
    (tmp_path / "x.bim").rename(tmp_path / "x.pvar")
    (tmp_path / "x.psam").write_text("#IID\n" + "".join(f"{k + 1}\n" for k in range(N)))
    with pytest.raises(InputError, match=r"40 of 40 individuals have no sex: 1, 2, .*\.\.\."):
        males(read_genotypes(tmp_path / "x", kind="pfile"))


def test_names_of_x() -> None:
    names = pd.Series(["X", "chrX", "23", "chr23", "x", "XY", "25", "22", "PAR1", "Y", "20"])
    assert on_x(names).tolist() == [True] * 5 + [False] * 6
    assert on_x(names, 19).tolist() == [True, True, False, False, True] + [False] * 5 + [True]


def test_nobody_male_and_nothing_called() -> None:
    calls = MaleCalls(np.zeros(3, bool))
    block = np.array([[0, 1, 2]], np.int8)
    np.testing.assert_array_equal(calls.clean(block), block)
    calls.report("file")
