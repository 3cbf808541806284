"""Genetic values given the other parameters, and the realised PVE, against dense formulas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from engine_oracles import Data, dense_blup, exact_tree, family_data, sibships, simulated, small
from scipy import stats

from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.genetic_values import blup, genetic_values, realised_pve

# Published: five individuals of the tutorial (reference/tutorial.json)
X1 = np.array([0, 2, 1, 0, 0], dtype=float)
G = np.array([0.138947617910543, -0.0549034803561418, -0.361939370612396, -0.167006355132184,
              0.44490158911121])  # fmt: skip
Y = np.array([-0.273050856641571, 1.56614655382245, 0.0668354074598494, -0.813277501707751,
              0.239788556186344])  # fmt: skip

VARIANCES = [(3.0, 2.0), (1e-9, 4.0), (5.0, 1e-7), (0.02, 6.0)]


def cases() -> list[Data]:
    """A singular centred GRM with a covariate; a regular kernel coupled to X."""
    return [small(), simulated(15, 3, 0.5, seed=2, K=sibships(15, 3))]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("u", "e"), VARIANCES)
def test_blup_equals_the_dense_formula(which: int, u: float, e: float) -> None:
    data = cases()[which]
    S = decompose(data.K, data.X)
    beta = np.linspace(6.0, 0.4, data.X.shape[1])
    found = S.unrotate(blup(S, S.rotate(data.y), beta[None], np.array([[u, e]]))[0])
    wanted, _ = dense_blup(data, beta, u, e)
    assert found == pytest.approx(wanted, abs=1e-8 * max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("u", "e"), VARIANCES)
def test_genetic_values_have_the_dense_conditional_mean_and_covariance(
    which: int, u: float, e: float
) -> None:
    data = cases()[which]
    S = decompose(data.K, data.X)
    beta = np.linspace(6.0, 0.4, data.X.shape[1])
    draws = 20_000
    many = (np.tile(beta, (draws, 1)), np.tile([u, e], (draws, 1)))
    rng = np.random.default_rng(which)
    blocks = list(genetic_values(S, S.rotate(data.y), *many, rng, block=7001))
    assert [part.start for part, _ in blocks] == [0, 7001, 14002]
    g = S.unrotate(np.concatenate([block for _, block in blocks]).T).T
    mean, cov = dense_blup(data, beta, u, e)
    sd = np.sqrt(np.maximum(np.diag(cov), 1e-300))
    assert np.abs((g.mean(axis=0) - mean) / (sd + 1e-9)).max() < 4.5 / np.sqrt(draws)
    scale = np.outer(sd, sd) + 1e-12
    assert np.abs((np.cov(g.T) - cov) / scale).max() < 5 * np.sqrt(2 / draws)
    white = (g[:, 0] - mean[0]) / sd[0]
    assert stats.kstest(white[:4000], "norm").pvalue > 1e-4


def test_kept_genetic_values_of_a_fit_average_to_the_averaged_blup() -> None:
    tree = exact_tree()
    posterior = tree["posterior"]
    data = family_data()
    g = posterior["g"].to_numpy().reshape(4000, -1)
    beta = posterior["beta"].to_numpy().reshape(4000, -1)
    variance = posterior["variance"].to_numpy().reshape(4000, 2)
    S = decompose(data.K, data.X)
    expected = S.unrotate(blup(S, S.rotate(data.y), beta, variance).T).T
    error = g - expected  # mean zero in every draw
    z = error.mean(axis=0) / (error.std(axis=0) / np.sqrt(4000))
    assert np.abs(z).max() < 4.5
    assert list(posterior["g"].coords["individual"].to_numpy()) == list(data.cohort().labels)
    pve = g.var(axis=1, ddof=1) / data.y.var(ddof=1)
    assert posterior["pve_random"].to_numpy().ravel() == pytest.approx(pve, rel=1e-9)
    fixed = beta @ data.X.T
    total = (fixed + g).var(axis=1, ddof=1) / data.y.var(ddof=1)
    assert posterior["pve_total"].to_numpy().ravel() == pytest.approx(total, rel=1e-9)
    pve = fixed.var(axis=1, ddof=1) / data.y.var(ddof=1)
    assert posterior["pve_fixed"].to_numpy().ravel() == pytest.approx(pve, rel=1e-9)


def test_shares_add_to_one_in_every_draw() -> None:
    share = exact_tree()["posterior"]["pve_share"]
    parts = ["fixed", "random", "covariance", "residual"]
    assert share.coords["pve_part"].to_numpy().tolist() == parts
    assert share.sum("pve_part").to_numpy() == pytest.approx(np.ones((4, 1000)), abs=1e-12)
    assert (share.sel(pve_part=["fixed", "random", "residual"]).to_numpy() >= 0).all()
    rng = np.random.default_rng(1)
    y, fixed, g = rng.standard_normal(30), *rng.standard_normal((2, 5, 30))
    found = realised_pve(fixed, [g], y, np.full(30, 30**-0.5))["pve_share"]
    residual = y - fixed - g
    for i in range(5):
        cov = np.cov(np.stack([fixed[i], g[i], residual[i]]))
        parts = np.array([cov[0, 0], cov[1, 1], 2 * cov[0, 1], cov[2, 2]])
        assert found[i] == pytest.approx(parts / parts.sum(), abs=1e-12)


def test_several_parts_are_the_tabulated_covariances() -> None:
    """var(Xβ), each var(g_k), twice all covariances between them, var(ε): of np.cov; a part of
    which nothing is there changes nothing but the number of entries.
    """
    rng = np.random.default_rng(2)
    y, fixed = rng.standard_normal(30), rng.standard_normal((5, 30))
    parts = list(rng.standard_normal((3, 5, 30)))
    found = realised_pve(fixed, parts, y, np.full(30, 30**-0.5))
    for i in range(5):
        residual = y - fixed[i] - sum(part[i] for part in parts)
        cov = np.cov(np.stack([fixed[i], *(part[i] for part in parts), residual]))
        within = cov[:4, :4]
        between = within.sum() - np.trace(within)
        expected = np.array([*np.diag(within), between, cov[4, 4]])
        assert found["pve_share"][i] == pytest.approx(expected / expected.sum(), abs=1e-12)
        assert found["pve_random"][i] == pytest.approx(
            sum(part[i] for part in parts).var() / y.var(), rel=1e-12
        )
    none = np.zeros((5, 30))
    same = realised_pve(fixed, [*parts, none], y, np.full(30, 30**-0.5))
    assert np.delete(same["pve_share"], 4, axis=1) == pytest.approx(found["pve_share"], abs=1e-15)
    assert (same["pve_share"][:, 4] == 0).all()


def test_the_coordinates_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    n = 12
    y, fixed, g, h = rng.standard_normal(n), *rng.standard_normal((3, 4, n))
    ones = np.full(n, n**-0.5)
    W = np.linalg.qr(rng.standard_normal((n, n)))[0]
    plain = realised_pve(fixed, [g, h], y, ones)
    turned = realised_pve(fixed @ W, [g @ W, h @ W], W.T @ y, W.T @ ones)
    for name, value in plain.items():
        assert turned[name] == pytest.approx(value, abs=1e-12)


def test_an_intercept_alone_explains_nothing() -> None:
    rng = np.random.default_rng(4)
    y, g = rng.standard_normal(20), rng.standard_normal((3, 20))
    found = realised_pve(np.full((3, 20), 1e8), [g], y + 1e8, np.full(20, 20**-0.5))
    assert (found["pve_fixed"] == 0).all()
    assert found["pve_total"] == pytest.approx(found["pve_random"], rel=1e-12)


def test_the_tutorials_numbers_to_every_printed_digit() -> None:
    x = (X1 - X1.mean()) / X1.std(ddof=1)
    found = realised_pve(0.8 * x[None], [G[None]], Y, np.full(5, 5**-0.5))
    printed = {name: f"{float(found[f'pve_{name}'][0]):.4g}" for name in ("fixed", "random")}
    assert printed == {"fixed": "0.8187", "random": "0.1212"}
    assert f"{float(found['pve_total'][0]):.2f}" == "0.67"


def test_the_numbers_above_are_the_reference(shared_data: Path) -> None:
    reference = json.loads((shared_data.parent / "reference/tutorial.json").read_text())
    assert reference["y"] == Y.tolist()
    assert reference["g"] == G.tolist()
    assert [row[0] for row in reference["dosage_of_alternative_allele"]] == X1.tolist()
