"""At the edges: h² = 0 and 1, a dozen individuals, few variants, the tutorial's five."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr
from engine_oracles import Data, dense_blup, gram, sibships, simulated, small

from bayeslmm import models
from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.cohort.build import cohort
from bayeslmm.errors import BayesLMMWarning, InputError, ModelError
from bayeslmm.genotypes.genotypes import from_array
from bayeslmm.inference.diagnostics import diagnose
from bayeslmm.inference.fit import fit
from bayeslmm.posterior.summary import heritability, weakly_informed
from bayeslmm.relationship.genomic import grm
from bayeslmm.simulation.cohort import simulate


def table(tree: xr.DataTree) -> Any:
    found = heritability(tree).set_index("quantity")
    numbers = found[["mean", "sd", "median", "mode", "lower", "upper"]]
    drawn = numbers[found["interval"].notna()]
    assert np.isfinite(drawn.to_numpy(dtype=float)).all()
    for name in ("h2", "p_h2_below_0.01", "p_rlrt"):
        assert 0 <= found.loc[name, "mean"] <= 1
    assert 0 <= found.loc["h2", "lower"] < found.loc["h2", "upper"] <= 1
    return found


@pytest.mark.parametrize("h2", [0.0, 1.0])
def test_simulated_families_at_the_ends(h2: float) -> None:
    made = simulate(400, 2000, h2, families=True, seed=11)
    kernel = grm(made.genotypes)
    one = cohort(made.phenotypes, "y", individuals=kernel.individuals, covariates=made.covariates)
    tree = fit(models.load("additive")(one, kernel), genetic_values=True)
    found = table(tree)
    assert diagnose(tree).ok
    row = found.loc["h2"]
    if h2 == 0:
        assert row["lower"] == 0.0
        assert row["mean"] < 0.2
        assert found.loc["p_rlrt", "mean"] > 0.02
        assert found.loc["log10_bf_h2_0", "mean"] > 0
    else:
        assert row["upper"] == 1.0
        assert row["mean"] > 0.85
        assert found.loc["p_rlrt", "mean"] < 1e-6
        assert found.loc["log10_bf_h2_0", "mean"] < -6
    g = tree["posterior"]["g"].to_numpy()
    assert np.isfinite(g).all()
    assert found.loc["pve_share[random]", "mean"] == pytest.approx(
        row["mean"] * (1 - found.loc["pve_share[fixed]", "mean"]), abs=0.15
    )


def test_a_dozen_individuals() -> None:
    tree = fit(small().model(), genetic_values=True)
    found = table(tree)
    assert found.loc["h2", "sd"] > 0.2  # little is learnt
    assert found.loc["se_expected", "mean"] > 0.15
    said = weakly_informed(tree)
    assert said is not None
    assert "n = 12" in said
    beta = tree["posterior"]["beta"].to_numpy().reshape(-1, 2)
    u = tree["posterior"]["sigma2_u"].to_numpy().ravel()
    e = tree["posterior"]["sigma2_e"].to_numpy().ravel()
    wanted = np.mean(
        [dense_blup(small(), beta[i], u[i], e[i])[0] for i in range(0, 4000, 4)], axis=0
    )
    g = tree["posterior"]["g"].to_numpy().reshape(-1, 12)
    assert g.mean(axis=0) == pytest.approx(wanted, abs=5 * g.std(axis=0).max() / np.sqrt(1000))


def test_a_small_cohort_is_warned_of() -> None:
    rng = np.random.default_rng(1)
    with pytest.warns(BayesLMMWarning, match="small sample: n = 9"):
        cohort_from_arrays(rng.standard_normal(9))


def test_fewer_variants_than_individuals_is_warned_of() -> None:
    data = simulated(60, 2, 0.4, seed=3, K=gram(60, 10, np.random.default_rng(3)))
    with pytest.warns(BayesLMMWarning, match="GRM rank 10 of 58"):
        tree = fit(data.model(), genetic_values=True)
    found = table(tree)
    # a residual part that ten variants cannot reach keeps h² away from 1
    assert found.loc["h2", "upper"] < 1
    g = tree["posterior"]["g"].to_numpy().reshape(-1, 60)
    values, vectors = np.linalg.eigh(data.K)
    assert np.abs(g @ vectors[:, values < 1e-10]).max() < 1e-8  # g lies in the span of the variants


def test_the_tutorials_five_individuals() -> None:
    """Rank 3 of 5: an answer, with the warning that it is hardly one."""
    dosages = np.array([[0, 1, 1], [2, 0, 0], [1, 1, 0], [0, 0, 0], [0, 2, 2]], dtype=float)
    y = np.array([-0.273050856641571, 1.56614655382245, 0.0668354074598494, -0.813277501707751,
                  0.239788556186344])  # fmt: skip
    kernel = grm(from_array(dosages), scale="sample")
    G = kernel.matrix
    assert G[0] == pytest.approx(
        [0.23571429, -0.5261905, -0.18095238, -0.02619048, 0.497619], abs=1e-7
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        one = cohort_from_arrays(y, individuals=kernel.individuals)
        tree = fit(models.load("additive")(one, kernel))
    words = " / ".join(str(w.message) for w in said if w.category is BayesLMMWarning)
    assert "small sample: n = 5" in words
    assert "GRM rank 3 of 4" in words
    found = table(tree)
    assert found.loc["h2", "sd"] > 0.15
    assert weakly_informed(tree) is not None


def test_copies_of_individuals_are_an_error_that_names_them() -> None:
    base = simulated(60, 1, 0.5, seed=4)
    K, y = base.K.copy(), base.y.copy()
    for i in (0, 2):
        K[i + 1] = K[i]
        K[:, i + 1] = K[:, i]
        y[i + 1] = y[i]
    with pytest.raises(InputError, match=r"1 and 2; 3 and 4.*every individual once"):
        Data(y, base.X, K).model()


def test_no_residual_and_few_variants_is_an_error_not_an_answer() -> None:
    """h² = 1 exactly and fewer variants than individuals: the posterior is improper."""
    made = simulate(100, 30, 1.0, seed=2, beta_sex=0.0, beta_age=0.0)
    kernel = grm(made.genotypes)
    one = cohort(made.phenotypes, "y", individuals=kernel.individuals)
    with pytest.raises(ModelError, match=r"piles up at 1.*fewer variants than individuals"):
        fit(models.load("additive")(one, kernel))
    with pytest.warns(BayesLMMWarning, match="GRM rank 30 of 99"):
        tree = fit(models.load("additive")(one, kernel, h2="beta(1, 80)"))
    assert np.isfinite(table(tree).loc["h2", "mean"])


def test_the_data_may_be_in_any_unit_and_far_from_zero() -> None:
    base = simulated(60, 2, 0.5, seed=8, K=sibships(60, 6))
    plain = fit(base.model(), draws=400)["quadrature"].attrs
    for factor, shift in ((1e-9, 0.0), (1e9, 1e12), (1.0, 1e5)):
        other = Data(factor * base.y + shift, base.X, base.K)
        found = fit(other.model(), draws=400)["quadrature"].attrs
        for name in ("mean", "sd", "mode"):
            assert found[name] == pytest.approx(plain[name], abs=1e-6)
