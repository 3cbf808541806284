"""Random variant effects: the GRM's model in other words, and its effects against ridge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from kernel_problems import people

from bayeslmm import models
from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.errors import InputError, ModelError
from bayeslmm.genotypes.genotypes import from_array
from bayeslmm.inference.choose import choose_engine
from bayeslmm.inference.compiled import OFTEN
from bayeslmm.inference.fit import fit
from bayeslmm.likelihood.decompose import decompose, decompose_root
from bayeslmm.posterior.blup import compute_blup
from bayeslmm.posterior.prediction import prediction_table
from bayeslmm.posterior.variant_effects import estimate_variant_effects
from bayeslmm.relationship.genomic import grm
from bayeslmm.relationship.variants import Variants, standardise_variants

SIZES = {"m < n": (24, 9), "n < m": (14, 40), "n = m": (12, 12)}


def dosages(n: int, m: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).binomial(2, 0.4, (n, m)).astype(float)


def problem(size: str) -> tuple[Cohort, Variants, Any]:
    n, m = SIZES[size]
    rng = np.random.default_rng(3)
    genotypes = from_array(dosages(n, m), people(n))
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    y = 5 + X[:, 1] + rng.standard_normal(n)
    data = Cohort(y, X, people(n), ("intercept", "age"), "trait")
    return data, standardise_variants(genotypes), genotypes


def points(model: Any, count: int = 10) -> list[dict[str, Any]]:
    point, rng = model.initial_point(random_seed=1), np.random.default_rng(6)
    return [
        {name: value + rng.standard_normal(np.shape(value)) for name, value in point.items()}
        for _ in range(count)
    ]


@pytest.mark.parametrize("size", SIZES)
def test_the_density_is_that_of_the_grm(size: str) -> None:
    data, variants, genotypes = problem(size)
    snp = models.load("snp_effects")(data, variants)
    additive = models.load("additive")(data, grm(genotypes))
    mine, theirs = (m.compile_logp(mode=OFTEN) for m in (snp, additive))
    for point in points(snp):
        expected = float(theirs(point))
        assert float(mine(point)) == pytest.approx(expected, abs=1e-8 * max(1, abs(expected)))
    assert choose_engine(snp)[0].name == "exact"


@pytest.mark.parametrize(
    ("n", "m", "p"), [(12, 5, 1), (12, 5, 3), (9, 9, 2), (8, 20, 2), (12, 1, 2)]
)
def test_the_spectrum_of_a_root_is_that_of_the_kernel(n: int, m: int, p: int) -> None:
    """With one node for all contrasts that W does not reach, and no eigenvectors of them."""
    rng = np.random.default_rng(n + m)
    W = rng.standard_normal((n, m))
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    found, expected = decompose_root(W, X), decompose(W @ W.T, X)
    s, C, B = found.eigenvalues, found.coupling, found.basis.columns
    every = np.repeat(s, found.weights.astype(int))
    np.testing.assert_allclose(every, expected.eigenvalues, atol=1e-12 * s[-1])
    assert (np.diff(s) >= 0).all()
    merged = found.basis.nodes
    assert merged == (m + p < n)
    np.testing.assert_array_equal(s[:merged], 0.0)
    np.testing.assert_array_equal(C[:, :merged], 0.0)
    s, C = s[merged:], C[:, merged:]
    np.testing.assert_allclose(B.T @ B, np.eye(p + s.size), atol=1e-12)
    np.testing.assert_allclose(B[:, :p] @ found.triangle, X, atol=1e-12)
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    top = found.schur + (C * inverse) @ C.T
    K = np.block([[top, C], [C.T, np.diag(s)]])
    np.testing.assert_allclose(B @ K @ B.T, W @ W.T, atol=1e-11)
    np.testing.assert_allclose(found.schur, expected.schur, atol=1e-9)


def fixed_tree(model: Any, beta: Any, h2: float, total_sd: float, draws: int = 1) -> xr.DataTree:
    """A "posterior" of one point."""
    unit = float(model["phenotype_unit"].get_value())
    values = {"h2": h2, "total_sd": total_sd, "beta_std": np.zeros(2), "beta": beta}
    assert unit > 0
    return xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(
                {
                    k: (
                        ("chain", "draw", *(f"{k}_{i}" for i in range(np.ndim(v)))),
                        np.broadcast_to(v, (1, draws, *np.shape(v))),
                    )
                    for k, v in values.items()
                }
            )
        }
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_effects_at_fixed_variances_are_ridge_regression(size: str) -> None:
    data, variants, _ = problem(size)
    model = models.load("snp_effects")(data, variants)
    aligned = variants.on(data.individuals)
    W, s2u, s2e = aligned.W, 0.4 * 1.5**2, 0.6 * 1.5**2
    s2 = s2u / aligned.factor
    closed = compute_blup(model, data, {"variants": variants}, {"additive": s2u, "residual": s2e})
    beta = np.array(closed.attrs["beta"])
    table = estimate_variant_effects(model, fixed_tree(model, beta, 0.4, 1.5), variants, data)
    r = data.y - data.X @ beta
    left = W.T @ W / s2e + np.eye(W.shape[1]) / s2  # m × m: ridge regression
    ridge = np.linalg.solve(left, W.T @ r / s2e)
    np.testing.assert_allclose(table["mean"], ridge, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        table["sd"] ** 2, np.diagonal(np.linalg.inv(left)), rtol=1e-8, atol=1e-12
    )
    np.testing.assert_allclose(W @ table["mean"], closed["mean"], rtol=1e-8, atol=1e-9)
    # one more copy of A1 is `weight` units of W
    x = dosages(*SIZES[size])[:, [int(k[1:]) - 1 for k in table["ID"]]]
    centred = (x - 2 * table["frequency"].to_numpy()) @ table["allele_mean"]
    np.testing.assert_allclose(centred, W @ table["mean"], rtol=1e-8, atol=1e-10)
    ratio = table["allele_sd"] / table["sd"]
    np.testing.assert_allclose(ratio, aligned.weight, rtol=1e-12)


def test_effects_over_the_posterior_add_up_to_the_genetic_values() -> None:
    data, variants, genotypes = problem("n < m")
    model = models.load("snp_effects")(data, variants)
    tree = fit(model, draws=4000)
    table = estimate_variant_effects(model, tree, variants, data)
    values = prediction_table(model, tree, data, {"variants": variants})
    W = variants.on(data.individuals).W
    np.testing.assert_allclose(W @ table["mean"], values["mean"], rtol=1e-8, atol=1e-9)
    posterior = tree["posterior"].to_dataset()
    ratio = posterior["sigma2_u"] / posterior["sigma2_snp"]
    np.testing.assert_allclose(ratio, variants.on(data.individuals).factor, rtol=1e-10)
    again = models.load("additive")(data, grm(genotypes))
    same = estimate_variant_effects(again, tree, variants, data)
    pd.testing.assert_frame_equal(table, same, rtol=1e-8)
    assert table["sd"].to_numpy() == pytest.approx(monte_carlo_sd(data, W, posterior), rel=0.05)


def monte_carlo_sd(data: Cohort, W: Any, posterior: Any) -> Any:
    """sd of the effects by dense formulas, draw by draw, for 400 of the draws."""
    beta = posterior["beta"].to_numpy().reshape(-1, data.p)[::10]
    s2 = posterior["sigma2_snp"].to_numpy().ravel()[::10]
    s2e = posterior["sigma2_e"].to_numpy().ravel()[::10]
    means, variances = [], []
    for b, s, e in zip(beta, s2, s2e, strict=True):
        inverse = np.linalg.inv(W.T @ W / e + np.eye(W.shape[1]) / s)
        means.append(inverse @ W.T @ (data.y - data.X @ b) / e)
        variances.append(np.diagonal(inverse))
    return np.sqrt(np.var(means, axis=0) + np.mean(variances, axis=0))


def test_float32_and_a_subset_of_the_individuals() -> None:
    data, variants, genotypes = problem("m < n")
    narrow = standardise_variants(genotypes, dtype=np.float32)
    assert narrow.W.dtype == np.float32
    few = people(24)[5:17][::-1]
    part = Cohort(data.y[5:17][::-1].copy(), np.ascontiguousarray(data.X[5:17][::-1]), few,
                  data.covariates, "trait")  # fmt: skip
    exact, rounded = (models.load("snp_effects")(part, v) for v in (variants, narrow))
    additive = models.load("additive")(part, grm(genotypes))
    logp = [m.compile_logp(mode=OFTEN) for m in (exact, rounded, additive)]
    for point in points(exact):
        one, two, three = (float(f(point)) for f in logp)
        assert one == pytest.approx(three, abs=1e-8 * max(1, abs(three)))
        assert two == pytest.approx(three, abs=1e-4 * max(1, abs(three)))


def test_new_individuals_are_predicted_by_their_genotypes() -> None:
    data, variants, _ = problem("n < m")
    train = Cohort(data.y[:10], data.X[:10], people(14)[:10], data.covariates, "trait")
    model = models.load("snp_effects")(train, variants)
    tree = fit(model, draws=1000)
    effects = estimate_variant_effects(model, tree, variants, train)
    table = prediction_table(model, tree, train, {"variants": variants})
    assert (~table["phenotyped"]).sum() == 4
    np.testing.assert_allclose(variants.W @ effects["mean"], table["mean"], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("scale", ["gcta", "sample", "centred"])
def test_the_variants_have_the_grm_of_their_scale(scale: Any) -> None:
    x = dosages(10, 30)
    x[2, 3] = np.nan
    x[:, 5] = 1.0  # does not vary
    genotypes = from_array(x, people(10))
    variants = standardise_variants(genotypes, scale, block=7)
    assert variants.m == 29
    assert "v6" not in set(variants.variants["ID"])
    expected = grm(genotypes, scale=scale)
    np.testing.assert_allclose(variants.relationship().matrix, expected.matrix, atol=1e-12)
    factor = expected.on(people(10)[:7]).factor
    assert variants.on(people(10)[:7]).factor / 29 == pytest.approx(factor, rel=1e-12)


def test_the_tutorials_three_variants(shared_data: Path) -> None:
    """The closing remark of the tutorial: its variants' effects as random, on its own numbers."""
    reference = json.loads((shared_data.parent / "reference/tutorial.json").read_text())
    genotypes = from_array(np.array(reference["dosage_of_alternative_allele"], dtype=float))
    variants = standardise_variants(genotypes, "sample")
    assert (variants.q, variants.m) == (5, 3)
    np.testing.assert_allclose(variants.relationship().matrix, reference["GRM"], atol=6e-8)
    y = np.array(reference["y"])
    data = Cohort(y, np.ones((5, 1)), variants.individuals, ("intercept",), "tutorial")
    snp = models.load("snp_effects")(data, variants)
    additive = models.load("additive")(data, grm(genotypes, scale="sample"))
    mine, theirs = (m.compile_logp(mode=OFTEN) for m in (snp, additive))
    for point in points(snp):
        expected = float(theirs(point))
        assert float(mine(point)) == pytest.approx(expected, abs=1e-8 * max(1, abs(expected)))
    variances = {"additive": reference["sigma_u"] ** 2, "residual": reference["sigma_e"] ** 2}
    factor = variants.on(data.individuals).factor
    table = compute_blup(snp, data, {"variants": variants}, variances)
    W, s2 = variants.W, variances["additive"] / factor
    V = s2 * W @ W.T + variances["residual"] * np.eye(5)
    r = y - table.attrs["beta"][0]
    effects = s2 * W.T @ np.linalg.solve(V, r)
    np.testing.assert_allclose(W @ effects, table["mean"], atol=1e-12)


def test_errors_say_what_to_give() -> None:
    data, variants, genotypes = problem("m < n")
    n = data.n
    with pytest.raises(InputError, match="one row per individual"):
        Variants(np.zeros((3, 2)), people(4))
    with pytest.raises(InputError, match="not finite"):
        Variants(np.full((3, 2), np.nan), people(3))
    with pytest.raises(InputError, match="repeated individuals"):
        Variants(np.zeros((2, 2)), people(1).append(people(1)))
    with pytest.raises(InputError, match="1 means and 2 weights"):
        Variants(np.zeros((2, 2)), people(2), mean=np.zeros(1))
    with pytest.raises(InputError, match="do not tell"):
        Variants(np.ones((4, 2)), people(4)).on(people(4))
    with pytest.raises(InputError, match=r"have no genotypes: F i24"):
        variants.on(people(n + 1))
    with pytest.raises(InputError, match="none of the 2 variants varies"):
        standardise_variants(from_array(np.ones((4, 2))))
    model = models.load("snp_effects")(data, variants)
    tree = fixed_tree(model, np.zeros(2), 0.5, 1.0)
    with pytest.raises(InputError, match="not the kernel of the model"):
        estimate_variant_effects(model, tree, standardise_variants(genotypes, "centred"), data)
    with pm.Model() as other:
        pm.Normal("phenotype", 0, 1, observed=np.zeros(3))
    with pytest.raises(ModelError, match="spectral_normal"):
        estimate_variant_effects(other, tree, variants, data)


def test_copies_are_refused_as_with_a_grm() -> None:
    """Two individuals entered twice, genotypes and phenotype, make the posterior improper."""
    rng = np.random.default_rng(7)
    dosages = rng.binomial(2, 0.4, (30, 60)).astype(float)
    dosages[[28, 29]] = dosages[[0, 1]]
    y = rng.standard_normal(30)
    y[[28, 29]] = y[[0, 1]]
    cohort = cohort_from_arrays(y, individuals=[f"i{k}" for k in range(30)])
    variants = Variants(dosages - dosages.mean(axis=0), cohort.individuals)
    with pytest.raises(InputError, match=r"2 pairs"):
        models.load("snp_effects")(cohort, variants)
