"""Simulated cohorts: Mendel, LD, the truth, and the files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import InputError
from bayeslmm.genotypes.genotypes import Genotypes, read_genotypes
from bayeslmm.genotypes.plink_tables import read_fam
from bayeslmm.simulation.cohort import Simulation, simulate, write_simulation
from bayeslmm.simulation.genotypes import transmit


def dosages(genotypes: Genotypes) -> np.ndarray:
    """(m, n)"""
    return np.concatenate([block for _, block in genotypes.blocks()]).astype(float)


def gcta_grm(x: np.ndarray) -> np.ndarray:
    """GRM of (m, n) dosages, written out plainly."""
    x = x[x.std(axis=1) > 0]
    p = x.mean(axis=1, keepdims=True) / 2
    w = (x - 2 * p) / np.sqrt(2 * p * (1 - p))
    grm: np.ndarray = w.T @ w / len(w)
    return grm


@pytest.fixture(scope="module")
def families() -> Simulation:
    return simulate(400, 4000, 0.5, families=True, seed=2)


def test_shape_and_frequencies() -> None:
    simulation = simulate(500, 2000, seed=3)
    genotypes = simulation.genotypes
    x = dosages(genotypes)
    assert x.shape == (2000, 500)
    assert set(np.unique(x)) == {0.0, 1.0, 2.0}
    frequency = x.mean(axis=1) / 2
    # population MAF > 0.02, four standard errors below
    assert np.minimum(frequency, 1 - frequency).min() > 0.02 - 4 * np.sqrt(0.02 * 0.98 / 1000)
    histogram = np.histogram(frequency, 4, (0, 1))[0]
    assert histogram[0] > 1.2 * histogram[1]  # U-shaped
    assert histogram[3] > 1.2 * histogram[2]
    chromosomes = genotypes.variants["CHROM"]
    assert chromosomes.unique().tolist() == [str(k) for k in range(1, 23)]
    assert genotypes.variants["ID"].is_unique
    assert genotypes.variants.groupby("CHROM")["POS"].is_monotonic_increasing.all()
    assert simulation.covariates["sex"].isin([1, 2]).all()
    assert simulation.covariates["age"].between(20, 70).all()
    assert simulation.phenotypes.index.equals(genotypes.individuals)
    assert simulation.covariates.index.equals(genotypes.individuals)


def test_founders_are_in_hardy_weinberg_proportions_and_unrelated() -> None:
    x = dosages(simulate(1000, 1000, seed=4).genotypes)
    p = x.mean(axis=1) / 2
    excess = (x == 1).mean(axis=1) / (2 * p * (1 - p)) - 1
    assert abs(excess.mean()) < 0.01
    grm = gcta_grm(x)
    off = grm[np.triu_indices(1000, 1)]
    assert off.max() < 0.35
    assert abs(off.mean() + 1 / 999) < 1e-3  # centred, so the mean is -1/(n-1)


def test_linkage_disequilibrium_decays_and_ends_with_the_chromosome() -> None:
    genotypes = simulate(1000, 2200, seed=5).genotypes
    x = dosages(genotypes)
    z = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    chromosome = genotypes.variants["CHROM"].to_numpy()

    def r2(lag: int, same: bool) -> float:
        r = (z[:-lag] * z[lag:]).mean(axis=1)
        return float((r[(chromosome[:-lag] == chromosome[lag:]) == same] ** 2).mean())

    assert r2(1, True) > 0.1
    assert r2(1, True) > 2 * r2(5, True) > 4 * r2(20, True)
    assert r2(1, False) < 5 / 1000
    signs = (z[:-1] * z[1:]).mean(axis=1)
    assert 0.1 < (signs[np.abs(signs) > 0.3] < 0).mean() < 0.9


def test_mendelian_transmission(families: Simulation) -> None:
    x = dosages(families.genotypes).reshape(-1, 80, 5)
    father, mother = x[..., :1], x[..., 1:2]
    child = x[..., 2:]
    # homozygous parents leave no choice; a child has at most what its parents can give
    lowest = (father == 2).astype(int) + (mother == 2)
    highest = (father > 0).astype(int) + (mother > 0)
    assert ((child >= lowest) & (child <= highest)).all()
    assert families.genotypes.individuals[:5].tolist() == [("F1", f"F1_{k}") for k in range(1, 6)]
    table = families.families
    assert table["SEX"].iloc[:2].tolist() == [1, 2]
    assert table[["PAT", "MAT"]].to_numpy()[3].tolist() == ["F1_1", "F1_2"]
    assert (table["PAT"] == "0").sum() == 160


def test_relatedness_in_families(families: Simulation) -> None:
    grm = gcta_grm(dosages(families.genotypes))
    first = 5 * np.arange(80)
    parent_child = [grm[f + a, f + c] for f in first for a in (0, 1) for c in (2, 3, 4)]
    sibs = [grm[f + a, f + b] for f in first for a, b in ((2, 3), (2, 4), (3, 4))]
    spouses = grm[first, first + 1]
    assert np.mean(parent_child) == pytest.approx(0.5, abs=0.02)
    assert np.mean(sibs) == pytest.approx(0.5, abs=0.02)
    assert np.mean(spouses) == pytest.approx(0, abs=0.02)
    # sibs share by chance (about 0.04 in humans), parent and child do not
    assert 1.2 * np.std(parent_child) < np.std(sibs) < 0.12


def test_recombination_rate() -> None:
    """Haldane: adjacent sites 10 cM apart recombine with probability (1 - exp(-0.2))/2."""
    rng = np.random.default_rng(0)
    parents = np.stack([np.zeros((3, 20_000)), np.ones((3, 20_000))]).astype(np.int8)
    gametes = transmit(parents, np.array([1, 10_000_001, 10**12]), rng)
    expected = (1 - np.exp(-0.2)) / 2
    assert (gametes[0] != gametes[1]).mean() == pytest.approx(expected, abs=0.01)
    assert (gametes[1] != gametes[2]).mean() == pytest.approx(0.5, abs=0.015)
    assert gametes.mean() == pytest.approx(0.5, abs=0.01)


def test_expected_variance_of_g_is_h2(families: Simulation) -> None:
    """Over effects, g has mean sample variance h2 and the covariance of the scaled GRM."""
    grm = gcta_grm(dosages(families.genotypes))
    n = len(grm)
    centred = np.eye(n) - 1 / n
    grm /= np.trace(centred @ grm @ centred) / (n - 1)
    draws = []
    for seed in range(60):
        simulation = simulate(60, 300, 0.7, families=seed % 2 == 0, seed=seed)
        fixed = 10 + simulation.covariates.to_numpy() @ [0.3, 0.02]
        total = simulation.phenotypes["y"].to_numpy() - fixed
        draws.append(
            [
                simulation.truth["pve_random"] * simulation.phenotypes["y"].var(),
                total.var(ddof=1),
            ]
        )
    mean, se = np.mean(draws, axis=0), np.std(draws, axis=0) / np.sqrt(60)
    assert abs(mean[0] - 0.7) < 4 * se[0]
    assert abs(mean[1] - 1.0) < 4 * se[1]
    # one cohort under its own kernel: the quadratic form of y is chi-square with n - 1 freedom
    y = families.phenotypes["y"] - 10 - families.covariates.to_numpy() @ [0.3, 0.02]
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, : n - 1]]))[0][:, 1:]
    covariance = basis.T @ (0.5 * grm + 0.5 * np.eye(n)) @ basis
    contrast = basis.T @ y.to_numpy()
    quadratic = contrast @ np.linalg.solve(covariance, contrast)
    assert abs(quadratic - (n - 1)) < 4 * np.sqrt(2 * (n - 1))


def test_truth_is_what_came_out() -> None:
    simulation = simulate(300, 500, 0.4, beta_sex=1.0, beta_age=0.05, intercept=-3, seed=7)
    truth, y = simulation.truth, simulation.phenotypes["y"]
    assert {k: truth[k] for k in ("h2", "sigma2_u", "sigma2_e")} == {
        "h2": 0.4, "sigma2_u": 0.4, "sigma2_e": 0.6,
    }  # fmt: skip
    fixed = -3 + simulation.covariates["sex"] + 0.05 * simulation.covariates["age"]
    assert truth["pve_fixed"] == pytest.approx(fixed.var() / y.var())
    assert truth["beta[age]"] == 0.05
    design = np.column_stack([np.ones(300), simulation.covariates])
    estimate, *_ = np.linalg.lstsq(design, y.to_numpy(), rcond=None)
    assert estimate[1] == pytest.approx(1.0, abs=0.5)
    assert estimate[2] == pytest.approx(0.05, abs=0.02)


def test_both_ends_of_h2_are_exact() -> None:
    none = simulate(100, 200, 0.0, seed=1)
    assert none.truth["pve_random"] == 0.0
    assert none.truth["sigma2_e"] == 1.0
    full = simulate(100, 200, 1.0, families=True, seed=1)
    assert full.truth["pve_total"] == 1.0
    # without residual, y minus its fixed part lies in the span of the genotypes
    x = dosages(simulate(100, 20, 1.0, seed=1).genotypes).T
    y = simulate(100, 20, 1.0, seed=1)
    g = y.phenotypes["y"] - 10 - y.covariates.to_numpy() @ [0.3, 0.02]
    design = np.column_stack([np.ones(100), x])
    fitted = design @ np.linalg.lstsq(design, g.to_numpy(), rcond=None)[0]
    np.testing.assert_allclose(fitted, g, atol=1e-8)


def test_few_causal_variants() -> None:
    simulation = simulate(200, 300, 1.0, n_causal=1, seed=5)
    g = simulation.phenotypes["y"] - 10 - simulation.covariates.to_numpy() @ [0.3, 0.02]
    assert len(np.unique(g.round(9))) <= 3


@pytest.mark.parametrize("families", [False, True])
def test_same_seed_same_data(families: bool) -> None:
    a, b, c = (simulate(30, 100, families=families, seed=seed) for seed in (9, 9, 10))
    np.testing.assert_array_equal(dosages(a.genotypes), dosages(b.genotypes))
    pd.testing.assert_frame_equal(a.phenotypes, b.phenotypes)
    pd.testing.assert_frame_equal(a.covariates, b.covariates)
    assert a.truth == b.truth
    assert not np.array_equal(dosages(a.genotypes), dosages(c.genotypes))


@pytest.mark.parametrize(("n", "m"), [(2, 1), (12, 5), (13, 30), (6, 100)])
@pytest.mark.parametrize("families", [False, True])
def test_small_sizes(n: int, m: int, families: bool) -> None:
    simulation = simulate(n, m, 0.0, families=families)
    assert (simulation.genotypes.n, simulation.genotypes.m) == (n, m)
    assert np.isfinite(simulation.phenotypes["y"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1}, "n = 1 -> 2 individuals or more"),
        ({"m": 0}, "m = 0 -> 1 variant"),
        ({"h2": 1.1}, "h2 = 1.1 -> 0 to 1"),
        ({"h2": float("nan")}, "h2 = nan"),
        ({"m": 5, "n_causal": 6}, "n_causal = 6 -> 1 to m = 5"),
        ({"missing": 1.0}, "missing = 1.0"),
    ],
)
def test_bad_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(**options)  # type: ignore[arg-type]


def test_missing_genotypes() -> None:
    full, holes = (simulate(100, 300, missing=share, seed=4) for share in (0.0, 0.1))
    x = dosages(holes.genotypes)
    assert np.isnan(x).mean() == pytest.approx(0.1, abs=0.01)
    seen = ~np.isnan(x)
    np.testing.assert_array_equal(x[seen], dosages(full.genotypes)[seen])
    pd.testing.assert_frame_equal(full.phenotypes, holes.phenotypes)


def test_files(families: Simulation, tmp_path: Path) -> None:
    paths = write_simulation(families, tmp_path / "sim")
    assert [path.name for path in paths] == [
        "sim.bed", "sim.bim", "sim.fam", "sim.pheno", "sim.covar", "sim.truth.tsv",
    ]  # fmt: skip
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    back = read_genotypes(tmp_path / "sim")
    np.testing.assert_array_equal(dosages(back), dosages(families.genotypes))
    pd.testing.assert_frame_equal(back.variants, families.genotypes.variants)
    assert back.individuals.equals(families.genotypes.individuals)
    pheno = pd.read_csv(tmp_path / "sim.pheno", sep="\t")
    assert pheno.columns.tolist() == ["FID", "IID", "y"]
    np.testing.assert_array_equal(pheno["y"], families.phenotypes["y"])
    covar = pd.read_csv(tmp_path / "sim.covar", sep="\t")
    assert covar.columns.tolist() == ["FID", "IID", "sex", "age"]
    np.testing.assert_array_equal(covar[["sex", "age"]], families.covariates)
    truth = pd.read_csv(tmp_path / "sim.truth.tsv", sep="\t").set_index("quantity")["value"]
    assert truth.to_dict() == families.truth
    assert read_fam(tmp_path / "sim.fam").equals(back.individuals)


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not on PATH")
def test_plink2_accepts_the_files(families: Simulation, tmp_path: Path) -> None:
    write_simulation(families, tmp_path / "sim")
    command = "plink2 --bfile sim --pheno sim.pheno --covar sim.covar --freq --nonfounders"
    subprocess.run(
        [*command.split(), "--out", "out"], check=True, capture_output=True, cwd=tmp_path
    )
    log = (tmp_path / "out.log").read_text()
    assert "160 founders" in log
    frequency = pd.read_csv(tmp_path / "out.afreq", sep="\t")["ALT_FREQS"]
    np.testing.assert_allclose(
        dosages(families.genotypes).mean(axis=1) / 2, frequency, rtol=1e-5, atol=1e-6
    )


def test_no_variation_cannot_be_heritable() -> None:
    seeds = [
        seed for seed in range(20) if np.ptp(dosages(simulate(2, 1, 0.0, seed=seed).genotypes)) == 0
    ]
    with pytest.raises(InputError, match="no causal variant varies"):
        simulate(2, 1, 0.5, seed=seeds[0])
