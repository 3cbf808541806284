"""LD scores against a dense correlation matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayeslmm.relationship.ld_scores as module
from bayeslmm.errors import InputError
from bayeslmm.genotypes.genotypes import Genotypes, from_array
from bayeslmm.relationship.ld_scores import ld_scores


def correlated(n: int, m: int, *, hard: bool = True, seed: int = 1) -> Genotypes:
    """Dosages with LD between neighbours, two chromosomes, some missing, some without position."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, m))
    for k in range(1, m):
        z[:, k] = 0.8 * z[:, k - 1] + 0.6 * z[:, k]
    dosages = np.digitize(z, [-0.5, 0.8]).astype(float)
    if not hard:
        dosages = np.clip(dosages + rng.uniform(-0.2, 0.2, (n, m)), 0, 2)
    dosages[rng.random((n, m)) < 0.03] = np.nan
    dosages[:, 7] = 1.0
    chromosome = np.where(np.arange(m) < 2 * m // 3, "1", "2")
    position = np.concatenate(
        [np.sort(rng.integers(1, 2_000_000, (chromosome == c).sum())) for c in "12"]
    )
    position[[3, m - 4]] = -9
    table = {"CHROM": chromosome, "POS": position, "ID": [f"v{k}" for k in range(m)]}
    return from_array(dosages, variants=pd.DataFrame(table | {"A1": "A", "A0": "C"}))


def dense(genotypes: Genotypes, window: float) -> np.ndarray:
    """The definition from the correlation matrix of all variants."""
    X = np.concatenate([block for _, block in genotypes.blocks(dtype=np.float64)])
    X = np.where(np.isnan(X), np.nanmean(X, axis=1, keepdims=True), X)
    position, chromosome = genotypes.variants["POS"].to_numpy(), genotypes.variants["CHROM"]
    usable = (X.std(axis=1) > 1e-6) & (position > 0)
    scores = np.full(len(X), np.nan)
    r2 = np.corrcoef(X[usable]) ** 2
    near = np.abs(np.subtract.outer(position[usable], position[usable])) <= window
    near &= np.equal.outer(chromosome[usable].to_numpy(), chromosome[usable].to_numpy())
    terms = r2 - (1 - r2) / (genotypes.n - 2)
    scores[usable] = np.where(near, terms, 0).sum(axis=1)
    return scores


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("window", [1.0, 60.0, 5000.0])
def test_equals_the_dense_correlation_matrix(
    monkeypatch: pytest.MonkeyPatch, block: int, window: float
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    genotypes = correlated(60, 150)
    np.testing.assert_allclose(
        ld_scores(genotypes, window_kb=window), dense(genotypes, 1000 * window), rtol=1e-5
    )


def test_real_valued_dosages() -> None:
    genotypes = correlated(60, 150, hard=False)
    np.testing.assert_allclose(ld_scores(genotypes), dense(genotypes, 200_000), rtol=1e-5)


def test_without_ld_the_mean_score_is_one() -> None:
    rng = np.random.default_rng(1)
    genotypes = from_array(rng.binomial(2, 0.4, (500, 400)))
    scores = ld_scores(genotypes)  # all within one window
    # 400 terms with the sd √2/n each, and r² of neighbours shared by pairs: 0.06 a variant
    assert scores.mean() == pytest.approx(1.0, abs=0.03)


def test_variants_out_of_order_are_named() -> None:
    genotypes = correlated(20, 30)
    table = genotypes.variants.copy()
    table.loc[10, "POS"] = 1
    X = np.concatenate([block for _, block in genotypes.blocks()]).T
    with pytest.raises(InputError, match=r"variant v10 \(1:1\) comes after .*--sort-vars"):
        ld_scores(from_array(X, variants=table))
    table = genotypes.variants.copy()
    table.loc[29, "CHROM"] = "1"
    with pytest.raises(InputError, match=r"variant v29 .*variants of a chromosome together"):
        ld_scores(from_array(X, variants=table))


def test_no_position_no_score_and_bad_options() -> None:
    genotypes = correlated(20, 30)
    table = genotypes.variants.assign(POS=0)
    X = np.concatenate([block for _, block in genotypes.blocks()]).T
    assert np.isnan(ld_scores(from_array(X, variants=table))).all()
    with pytest.raises(InputError, match="window 0 kb"):
        ld_scores(genotypes, window_kb=0)
    with pytest.raises(InputError, match="three or more"):
        ld_scores(genotypes.select(individuals=[0, 1]))


def test_memory_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayeslmm.system.memory.available_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"in a window of 200 kb needs .*smaller window"):
        ld_scores(correlated(20, 30))
