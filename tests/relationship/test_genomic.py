"""Several kernels in one pass: definitions in float64, separate calls, partitions, X, the mice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayeslmm.relationship.genomic as module
from bayeslmm.errors import InputError
from bayeslmm.genotypes.genotypes import Genotypes, from_array, read_genotypes, write_plink1
from bayeslmm.genotypes.qc import quality_control
from bayeslmm.relationship.cross_product import CrossProduct
from bayeslmm.relationship.genomic import compute_grms, grm
from bayeslmm.relationship.relationship import average_semivariance
from bayeslmm.relationship.variant_sets import VariantSets, by_chromosome, by_maf

PRECISIONS = [pytest.param(10**9, 1e-12, id="float64"), pytest.param(0, 1e-6, id="float32")]


@pytest.fixture
def small_is(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(module, "SMALL", request.param)


def simulated(n: int = 50, m: int = 400, *, missing: float = 0.03, seed: int = 1) -> np.ndarray:
    """(n, m) dosages; all variants vary."""
    rng = np.random.default_rng(seed)
    dosages = rng.binomial(2, rng.uniform(0.05, 0.95, m), (n, m)).astype(float)
    dosages[0], dosages[1] = 0, 1
    dosages[rng.random((n, m)) < missing] = np.nan
    return dosages


def on_chromosomes(dosages: np.ndarray, chromosomes: np.ndarray) -> Genotypes:
    m = dosages.shape[1]
    table = {"CHROM": chromosomes.astype(str), "POS": np.arange(1, m + 1)}
    table |= {"ID": [f"v{k}" for k in range(m)], "A1": "A", "A0": "C"}
    return from_array(dosages, variants=pd.DataFrame(table))


def scattered(m: int, k: int = 3, seed: int = 5) -> VariantSets:
    """Sets without any order, some variants in none."""
    codes = np.random.default_rng(seed).integers(-1, k, m)
    return VariantSets(tuple(f"s{j}" for j in range(k)), codes)


def dense_dominance(dosages: np.ndarray) -> np.ndarray:
    """Genotype by genotype from the table of Vitezica et al., missing at zero."""
    n, m = dosages.shape
    total = np.zeros((n, n))
    for k in range(m):
        x = dosages[:, k]
        p = np.nanmean(x) / 2
        q = 1 - p
        d = np.select([x == 0, x == 1, x == 2], [-2 * p * p, 2 * p * q, -2 * q * q], 0.0)
        total += np.outer(d, d) / (2 * p * q) ** 2
    return total / m


@pytest.mark.parametrize(("small_is", "tolerance"), PRECISIONS, indirect=["small_is"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_dominance_is_the_published_definition(
    small_is: None, tolerance: float, missing: float
) -> None:
    dosages = simulated(missing=missing)
    found = compute_grms(from_array(dosages), ["dominance"], block=64)["dominance"]
    expected = dense_dominance(dosages)
    scale = np.diagonal(expected).mean()
    np.testing.assert_allclose(found.matrix, expected, rtol=0, atol=tolerance * scale)
    assert (found.name, found.estimator, found.n_variants) == ("dominance", "dominance", 400)
    assert found.kind == "genetic"
    # as published, not centred once more; the average semivariance does not care
    n = found.n
    P = np.eye(n) - 1 / n
    assert average_semivariance(P @ found.matrix @ P) == pytest.approx(
        average_semivariance(found.matrix), rel=1e-10
    )


@pytest.mark.parametrize("hard", [True, False])
def test_dominance_does_not_ask_which_allele_is_counted(hard: bool) -> None:
    dosages = simulated()
    if not hard:
        dosages = np.clip(dosages + np.random.default_rng(2).uniform(-0.3, 0.3, (50, 400)), 0, 2)
    flipped = np.where(np.random.default_rng(3).random(400) < 0.5, 2 - dosages, dosages)
    one, other = (
        compute_grms(from_array(x), ["dominance"])["dominance"].matrix for x in (dosages, flipped)
    )
    # real dosages are read as float32
    np.testing.assert_allclose(other, one, rtol=0, atol=1e-12 if hard else 1e-5)


def test_additive_and_dominance_differ_in_outbred_people() -> None:
    rng = np.random.default_rng(4)
    dosages = rng.binomial(2, rng.uniform(0.1, 0.9, 3000), (60, 3000))
    found = compute_grms(from_array(dosages), ["additive", "dominance"])
    off = np.triu_indices(60, 1)
    a, d = (found[name].matrix[off] for name in ("additive", "dominance"))
    # 1770 pairs: sd of a correlation 0.024
    assert abs(np.corrcoef(a, d)[0, 1]) < 0.1
    assert np.diagonal(found["dominance"].matrix).mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("small_is", "tolerance"), PRECISIONS, indirect=["small_is"])
@pytest.mark.parametrize("block", [13, 1024])
def test_one_pass_equals_separate_calls(small_is: None, tolerance: float, block: int) -> None:
    genotypes = from_array(simulated())
    sets = scattered(400)
    found = compute_grms(genotypes, ("additive", "dominance"), sets, block=block)
    kinds = ("additive", "dominance")
    assert list(found) == [f"{kind}:{name}" for kind in kinds for name in sets.names]
    for kind in kinds:
        for code, name in enumerate(sets.names):
            some = genotypes.select(variants=sets.codes == code)
            (alone,) = compute_grms(some, [kind]).values()  # type: ignore[list-item]
            one = found[f"{kind}:{name}"]
            scale = np.abs(alone.matrix).max()
            np.testing.assert_allclose(one.matrix, alone.matrix, rtol=0, atol=tolerance * scale)
            assert (one.n_variants, one.estimator) == (alone.n_variants, alone.estimator)
            assert one.name == f"{kind}:{name}"
            assert one.factor == 1.0


def test_additive_alone_is_the_grm_and_sets_give_its_names() -> None:
    genotypes = from_array(simulated())
    (name, whole), *_ = compute_grms(genotypes).items()
    assert name == "additive"
    np.testing.assert_array_equal(whole.matrix, grm(genotypes).matrix)
    assert list(compute_grms(genotypes, sets=scattered(400))) == ["s0", "s1", "s2"]
    names = list(compute_grms(genotypes, ["dominance"], scattered(400)))
    assert names == ["dominance:s0", "dominance:s1", "dominance:s2"]


@pytest.mark.parametrize("scale", ["gcta", "sample", "centred"])
@pytest.mark.parametrize(("small_is", "tolerance"), PRECISIONS, indirect=["small_is"])
def test_chromosomes_weighted_by_their_variants_sum_to_the_whole(
    small_is: None, tolerance: float, scale: str
) -> None:
    chromosomes = np.sort(np.random.default_rng(1).integers(1, 6, 400))
    genotypes = on_chromosomes(simulated(), chromosomes)
    parts = compute_grms(genotypes, sets=by_chromosome(genotypes), scale=scale, block=32)  # type: ignore[arg-type]
    assert list(parts) == ["chr1", "chr2", "chr3", "chr4", "chr5"]
    total = sum((one.n_variants or 0) * one.matrix for one in parts.values()) / 400
    whole = grm(genotypes, scale=scale).matrix  # type: ignore[arg-type]
    np.testing.assert_allclose(total, whole, rtol=0, atol=3 * tolerance)


def test_bins_of_frequency_equal_extraction(tmp_path: Path) -> None:
    write_plink1(on_chromosomes(simulated(), np.ones(400, int)), tmp_path / "x")
    genotypes = quality_control(read_genotypes(tmp_path / "x"), maf=0.05)
    sets = by_maf(genotypes, edges=[0.05, 0.2, 0.5])
    found = compute_grms(genotypes, sets=sets)
    for code, name in enumerate(("maf[0.05,0.2]", "maf(0.2,0.5]")):
        listed = genotypes.variants["ID"][sets.codes == code]
        (tmp_path / "ids").write_text("\n".join(listed) + "\n")
        extracted = quality_control(
            read_genotypes(tmp_path / "x"), maf=0.0, extract=tmp_path / "ids"
        )
        np.testing.assert_allclose(found[name].matrix, grm(extracted).matrix, rtol=0, atol=1e-12)


def test_every_block_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    genotypes = from_array(simulated())
    reads: list[slice] = []
    blocks = Genotypes.blocks

    def counted(self: Genotypes, *args: object) -> Iterator[tuple[slice, np.ndarray]]:
        for where, block in blocks(self, *args):  # type: ignore[arg-type]
            reads.append(where)
            yield where, block

    monkeypatch.setattr(Genotypes, "blocks", counted)
    calls: list[tuple[int, int]] = []
    sets = scattered(400)
    compute_grms(
        genotypes,
        ("additive", "dominance"),
        sets,
        block=100,
        progress=lambda done, m: calls.append((done, m)),
    )
    used = int((sets.codes >= 0).sum())  # variants in no set are not read
    assert [where.start for where in reads] == list(range(0, used, 100))
    assert calls[-1] == (used, used)


def test_variants_that_do_not_vary_are_not_counted() -> None:
    dosages = np.hstack([np.full((50, 2), 1.0), simulated()])
    sets = VariantSets(("a", "b"), np.r_[0, 1, np.arange(400) % 2])
    found = compute_grms(from_array(dosages), ["dominance"], sets, block=7)
    assert [one.n_variants for one in found.values()] == [200, 200]


def test_a_set_with_fewer_than_two_varying_variants_is_named() -> None:
    dosages = simulated(20, 10)
    dosages[:, 8] = 2.0
    sets = VariantSets(("many", "flat"), np.r_[np.zeros(8, int), 1, 1])
    with pytest.raises(InputError, match=r"1 of the 2 variants of the set 'flat' vary"):
        compute_grms(from_array(dosages), sets=sets)


def test_wrong_options_are_errors() -> None:
    genotypes = from_array(simulated(10, 20))
    for kinds in ([], ["additive", "additive"], ["epistasis"], "additive"):
        with pytest.raises(InputError, match=r"kinds .* each once"):
            compute_grms(genotypes, kinds)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sets of 5 variants for genotypes with 20"):
        compute_grms(genotypes, sets=VariantSets(("a",), np.zeros(5, int)))
    with pytest.raises(InputError, match="dosage compensation 'half'"):
        compute_grms(genotypes, dosage_compensation="half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no variant for the kernel 'x'"):
        compute_grms(genotypes, ["x"], sex=np.ones(10))


def test_two_kernels_of_one_name_are_refused() -> None:
    genotypes = on_chromosomes(simulated(), np.repeat(["1", "X"], 200))
    sets = VariantSets(("x", "rest"), np.repeat([0, 1], [100, 300]))
    with pytest.raises(InputError, match="two kernels named 'x'"):
        compute_grms(genotypes, ["additive", "x"], sets, sex=np.ones(50))


def test_only_a_sum_in_double_precision_that_was_not_multiplied_has_a_root() -> None:
    dosages, c = np.array([[0, 1, 2], [2, 2, 1], [0, 0, 1]], np.int8), np.ones((3, 3))
    for dtype, width, has_root in (
        (np.float64, 4, True),
        (np.float64, 2, False),
        (np.float32, 4, False),
    ):
        sums = CrossProduct(3, dtype, width)
        sums.add(dosages, np.arange(3), c)
        root = sums.root()
        assert (root is not None) == has_root
        if root is not None:
            np.testing.assert_allclose(root @ root.T, sums.mean(), rtol=1e-14)


def test_memory_is_checked_for_all_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = []
    monkeypatch.setattr(
        "bayeslmm.relationship.genomic_parts.require_memory", lambda *args: needs.append(args)
    )
    monkeypatch.setattr(module, "SMALL", 0)
    genotypes = on_chromosomes(simulated(), np.repeat([1, 2, 3, 4], 100))
    n, block = 50, 10
    compute_grms(genotypes, sets=by_chromosome(genotypes), block=block)
    compute_grms(genotypes, ["additive", "dominance"], scattered(400), block=block)
    # of chromosomes in order two at most share a block, of scattered sets all
    gathered = module.GATHERED * block
    assert needs[0][0] == 4 * 8 * n * n + (2 * 4 + 8) * n * gathered
    assert needs[1][0] == 6 * 8 * n * n + (6 * 4 + 8) * n * gathered
    assert needs[1][1] == "6 kernels of 50 individuals"


def test_two_passes_at_the_same_time_do_not_mix() -> None:
    data = [from_array(simulated(seed=seed)) for seed in (1, 2)]
    alone = [compute_grms(one)["additive"].matrix for one in data]
    together: dict[int, np.ndarray] = {}

    def work(k: int) -> None:
        together[k] = compute_grms(data[k], block=16)["additive"].matrix

    threads = [threading.Thread(target=work, args=(k,)) for k in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in (0, 1):
        np.testing.assert_allclose(together[k], alone[k], rtol=0, atol=1e-12)


def test_the_mice_by_chromosome_and_dominance(shared_data: Path) -> None:
    genotypes = read_genotypes(shared_data / "mouse_hs1940" / "mouse_hs1940")
    genotypes = quality_control(genotypes, chr_set=19)
    genotypes = genotypes.select(variants=np.arange(0, genotypes.m, 6))
    parts = compute_grms(genotypes, sets=by_chromosome(genotypes))
    assert list(parts) == [f"chr{k}" for k in genotypes.variants["CHROM"].unique()]
    assert len(parts) == 19
    whole = compute_grms(genotypes, ["additive", "dominance"])
    total = sum((one.n_variants or 0) * one.matrix for one in parts.values()) / genotypes.m
    np.testing.assert_allclose(total, whole["additive"].matrix, rtol=0, atol=1e-12)
    X = np.concatenate([block for _, block in genotypes.blocks(dtype=np.float64)]).T
    np.testing.assert_allclose(
        whole["dominance"].matrix[:40, :40], dense_dominance_of(X)[:40, :40], rtol=0, atol=1e-11
    )


def dense_dominance_of(X: np.ndarray) -> np.ndarray:
    """Without missing genotypes, in one product."""
    p = X.mean(axis=0) / 2
    d = np.select([X == 0, X == 1], [0.0 * p + np.zeros_like(X), 2 * p + np.zeros_like(X)],
                  4 * p - 2 + np.zeros_like(X))  # fmt: skip
    z = (d - 2 * p**2) / (2 * p * (1 - p))
    return np.asarray(z @ z[:40].T).T / X.shape[1]
