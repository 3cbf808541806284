"""Power-scaling against dense integrals, and the table of prior sensitivity."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from engine_oracles import Data, effects_prior, exact_tree, family_data
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from bayeslmm.checks.sensitivity import COLUMNS, power_scaling, prior_sensitivity
from bayeslmm.inference.fit import fit

type Floats = NDArray[np.float64]


def scaled_means(data: Data, log_powers: tuple[float, float]) -> tuple[float, float]:
    """E[h²] when the likelihood p(y | β, h², τ) is raised to exp(log_powers), β integrated.

    ``N(y; Xβ, V)^α ∝ |V|^((1-α)/2) N(y; Xβ, V/α)``, and β ~ N(b, B) adds XBXᵀ to V/α.
    """
    b, B = effects_prior(data)
    z, t = np.linspace(-9, 9, 61), np.log(data.unit) + np.linspace(-1.2, 1.5, 61)
    h = expit(z)
    values, vectors = np.linalg.eigh(data.K)
    r = vectors.T @ (data.y - data.X @ b)
    rotated = vectors.T @ data.X
    out = []
    for power in np.exp(log_powers):
        log_p = np.empty((z.size, t.size))
        for i, j in np.ndindex(log_p.shape):
            d = np.exp(2 * t[j]) * (h[i] * np.maximum(values, 0) + 1 - h[i])
            V = np.diag(d / power) + rotated @ B @ rotated.T
            _, log_det = np.linalg.slogdet(V)
            log_p[i, j] = (
                0.5 * (1 - power) * np.log(d).sum()
                - 0.5 * log_det
                - 0.5 * r @ np.linalg.solve(V, r)
            )
        log_p += np.log(h * (1 - h))[:, None] + t
        log_p += stats.t.logpdf(np.exp(t) / (2.5 * data.unit), 3)
        w = np.exp(log_p - log_p.max()).sum(axis=1)
        out.append(float(w @ h / w.sum()))
    return out[0], out[1]


def test_the_likelihood_is_scaled_where_beta_is_explicit() -> None:
    data, tree = family_data(), exact_tree()
    low, high = scaled_means(data, (-0.02, 0.02))
    slope = (high - low) / 0.04
    h2 = tree["posterior"]["h2"].to_numpy().ravel()
    log_likelihood = tree["log_likelihood"]["phenotype"].to_numpy().ravel()
    # d E[h²] / d log α = Cov(h², log p(y | β, h², τ)) at α = 1
    products = (h2 - h2.mean()) * (log_likelihood - log_likelihood.mean())
    error = products.std() / np.sqrt(products.size)
    assert abs(products.mean() - slope) < 4.5 * error
    assert abs(slope) > 10 * error  # the check has something to see


def toy(scale: float, draws: int = 8000, seed: int = 1) -> xr.DataTree:
    """h² and PVE of a made posterior: h² follows the prior alone, PVE the likelihood alone."""
    rng = np.random.default_rng(seed)
    u, v = rng.standard_normal((2, 4, draws // 4))
    dims = ("chain", "draw")
    h2, pve = stats.norm.cdf(u), stats.norm.cdf(v)
    variance = np.stack([h2, 1 - h2], axis=-1)
    posterior = xr.Dataset(
        {
            "h2": (dims, h2),
            "variance": ((*dims, "component"), variance),
            "pve_random": (dims, pve),
            "flatly": (dims, h2),
            "g": ((*dims, "individual"), rng.standard_normal((4, draws // 4, 300))),
        },
        coords={"component": ["additive", "residual"]},
    )
    latent = 50.0 * v  # a latent vector's density: not a prior to be scaled
    log_prior = xr.Dataset({"flatly": (dims, -0.5 * scale * u**2), "g": (dims, latent)})
    log_likelihood = xr.Dataset({"phenotype": (dims, -0.5 * scale * v**2)})
    return xr.DataTree.from_dict(
        {"posterior": posterior, "log_prior": log_prior, "log_likelihood": log_likelihood}
    )


def test_a_quantity_is_sensitive_to_what_it_follows() -> None:
    found = power_scaling(toy(1.0))
    assert found.loc["h2", "psense_prior"] > 0.05
    assert found.loc["h2", "psense_likelihood"] < 0.03
    assert found.loc["pve_random", "psense_likelihood"] > 0.05
    assert found.loc["pve_random", "psense_prior"] < 0.03
    assert found.loc["share[residual]", "psense_prior"] == pytest.approx(
        found.loc["h2", "psense_prior"], rel=0.2
    )


def test_a_flat_prior_has_no_sensitivity() -> None:
    found = power_scaling(toy(0.0))
    assert (found["psense_prior"] == 0).all()
    assert (found["psense_likelihood"] == 0).all()


def test_a_strong_prior_shows_in_power_scaling() -> None:
    data = family_data()
    strong = power_scaling(fit(data.model(h2="beta(40, 10)"), "exact"))
    weak = power_scaling(exact_tree())
    # over 24 seeds: 0.138 (sd 0.009), 0.047 (0.006), 0.0027 (0.0001) and 0.094 (0.005)
    assert strong.loc["h2", "psense_prior"] > 0.1
    assert strong.loc["pve_random", "psense_prior"] > 0.02
    assert weak.loc["h2", "psense_prior"] < 0.01
    assert weak.loc["h2", "psense_likelihood"] > 0.065


def test_the_table_tells_h2_under_each_prior_and_pve_under_the_own() -> None:
    table = prior_sensitivity(exact_tree(), 0.9)
    assert list(table.columns) == COLUMNS
    h2 = table[table["quantity"] == "h2"]
    assert list(h2["prior"]) == ["flat", "beta(0.5,0.5)", "beta(2,2)", "half-t", "pc"]
    assert list(h2["fitted"]) == [True, False, False, False, False]
    assert h2[["mean", "sd", "lower", "upper", "p_below_0.01"]].notna().all(axis=None)
    assert (h2["prob"] == 0.9).all()
    # flat: reliability.md A1
    expected = h2[["prior_p_below_0.01", "prior_p_below_0.05", "prior_p_above_0.9"]].iloc[0]
    assert list(expected) == pytest.approx([0.01, 0.05, 0.1])
    pve = table[table["quantity"].isin(["pve_fixed", "pve_random", "pve_total"])]
    assert len(pve) == 3
    assert pve["psense_likelihood"].notna().all()
    assert h2["psense_likelihood"].notna().tolist() == [True, False, False, False, False]


def test_several_traits_have_their_rows() -> None:
    tree = xr.DataTree.from_dict({"A": exact_tree(), "B": exact_tree()})
    table = prior_sensitivity(tree)
    assert list(table["trait"].unique()) == ["A", "B"]


def test_a_tree_without_densities_has_the_own_row_alone() -> None:
    groups = {name: group.to_dataset() for name, group in exact_tree().children.items()}
    for name in ("log_prior", "log_likelihood", "quadrature"):
        del groups[name]
    table = prior_sensitivity(xr.DataTree.from_dict(groups))
    assert list(table["quantity"]) == ["h2"]
    assert list(table["prior"]) == ["own"]
    assert table["prior_p_below_0.01"].notna().all()  # from the prior draws
    assert table["psense_prior"].isna().all()
