"""The verdict on a posterior: each rule alone must be able to break it."""

from __future__ import annotations

import json

import arviz as az
import numpy as np
import pytest
import xarray as xr
from engine_oracles import exact_tree, nuts_tree

from bayeslmm.inference.diagnostics import columns, convergence, diagnose, latent_health

RNG = np.random.default_rng(1)
GOOD = np.random.default_rng(0).standard_normal((4, 1000))


def tree_of(
    draws: np.ndarray, engine: str = "nuts", latent: dict | None = None, **stats: np.ndarray
) -> xr.DataTree:
    posterior = xr.Dataset({"h2": (("chain", "draw"), draws)})
    sample_stats = xr.Dataset({name: (("chain", "draw"), value) for name, value in stats.items()})
    sample_stats.attrs["latent"] = json.dumps(latent or {})
    tree = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": sample_stats})
    tree.attrs["engine"] = engine
    return tree


def quiet(**stats: np.ndarray) -> dict[str, np.ndarray]:
    usual = {"diverging": np.zeros((4, 1000), bool), "energy": RNG.standard_normal((4, 1000))}
    return usual | stats


def autocorrelated(rho: float) -> np.ndarray:
    x = RNG.standard_normal((4, 1000))
    for i in range(1, 1000):
        x[:, i] = rho * x[:, i - 1] + np.sqrt(1 - rho**2) * x[:, i]
    return x


def test_a_good_posterior() -> None:
    found = diagnose(tree_of(GOOD, **quiet()))
    assert found.ok
    assert found.problems == ()
    assert found.divergences == 0
    assert found.e_bfmi is not None
    assert found.e_bfmi > 1.5  # white energies: E-BFMI is about 2
    assert found.verdict.startswith("Healthy: R-hat at most 1.0")
    assert found.verdict.endswith(", 0 divergences.")


def test_chains_that_disagree_without_a_divergence_are_not_healthy() -> None:
    shifted = GOOD + 0.5 * np.arange(4)[:, None]
    found = diagnose(tree_of(shifted, **quiet()))
    assert not found.ok
    assert found.divergences == 0
    assert any(problem.startswith("R-hat of h2 is 1.") for problem in found.problems)
    assert found.verdict.startswith("NOT healthy, do not use these numbers")
    assert "engine='exact'" in found.verdict


def test_r_hat_counts_from_1_01_on() -> None:
    """One chain moved just so much that R-hat crosses 1.01."""
    for shift in np.linspace(0.0, 0.5, 26):
        draws = GOOD.copy()
        draws[0] += shift
        r_hat = convergence(draws)["r_hat"]
        words = [p for p in diagnose(tree_of(draws, **quiet())).problems if "R-hat" in p]
        assert bool(words) == (r_hat >= 1.01)


def test_low_bulk_ess() -> None:
    slow = autocorrelated(0.97)
    found = diagnose(tree_of(slow, **quiet()))
    bulk = convergence(slow)["ess_bulk"]
    assert bulk < 400
    assert f"bulk ESS of h2 is {bulk:.0f}; it must be at least 400" in found.problems
    assert not found.ok


def test_low_tail_ess_alone() -> None:
    """A chain whose spread changes slowly: the centre mixes, the tails do not."""
    spread = np.exp(1.2 * autocorrelated(0.995))
    draws = spread * RNG.standard_normal((4, 1000))
    stats = convergence(draws)
    assert stats["ess_tail"] < 400 < stats["ess_bulk"]
    found = diagnose(tree_of(draws, **quiet()))
    assert any(problem.startswith("tail ESS of h2") for problem in found.problems)
    assert not any(problem.startswith("bulk") for problem in found.problems)
    assert not found.ok


def test_one_divergence_is_too_many() -> None:
    diverging = np.zeros((4, 1000), bool)
    diverging[2, 17] = True
    found = diagnose(tree_of(GOOD, **quiet(diverging=diverging)))
    assert found.problems == ("1 divergent transitions; there must be none",)
    assert found.divergences == 1
    assert not found.ok


def test_a_pareto_k_of_0_7_is_too_large_where_draws_are_weighted() -> None:
    for k, problems in ((0.69, ()), (0.71, ("Pareto k̂ is 0.71; it must be below 0.7",))):
        tree = tree_of(GOOD, engine="laplace")
        tree["sample_stats"].attrs |= {"pareto_k": k, "ess_importance": 3000.0}
        assert diagnose(tree).problems == problems


def test_low_e_bfmi() -> None:
    energy = autocorrelated(0.98)
    found = diagnose(tree_of(GOOD, **quiet(energy=energy)))
    wanted = min(np.mean(np.diff(e) ** 2) / e.var() for e in energy)
    assert found.e_bfmi == pytest.approx(wanted)
    assert wanted < 0.3
    assert found.problems == (f"E-BFMI is {wanted:.2f}; it must be at least 0.3",)


def test_e_bfmi_is_arvizs() -> None:
    tree = nuts_tree()
    assert diagnose(tree).e_bfmi == pytest.approx(
        float(np.min(az.bfmi(tree)["energy"].to_numpy())), rel=0.02
    )


def test_a_sick_latent_that_was_not_kept_still_counts() -> None:
    sick = {"g": {"r_hat": 1.2, "ess_bulk": 30.0, "ess_tail": 50.0, "mcse": 0.1}}
    found = diagnose(tree_of(GOOD, latent=sick, **quiet()))
    assert not found.ok
    assert "R-hat of g is 1.200" in found.problems[0]
    assert found.table.loc["g", "ess_bulk"] == 30.0


def test_worst_entry_of_a_latent_vector() -> None:
    draws = np.stack([GOOD, autocorrelated(0.97), GOOD[::-1]], axis=2)
    rows = [convergence(draws[:, :, i]) for i in range(3)]
    found = latent_health(draws)
    assert found["r_hat"] == max(row["r_hat"] for row in rows)
    assert found["ess_bulk"] == min(row["ess_bulk"] for row in rows)
    assert found["ess_tail"] == min(row["ess_tail"] for row in rows)
    assert found["mcse"] == max(row["mcse"] for row in rows)


def test_draws_that_are_not_numbers_are_not_healthy() -> None:
    broken = GOOD.copy()
    broken[1, 5] = np.nan
    found = diagnose(tree_of(broken, **quiet()))
    assert not found.ok
    assert found.problems == ("1 draws of h2 are not finite",)


@pytest.mark.parametrize("engine", ["exact", "nuts"])
def test_numbers_are_arvizs(engine: str) -> None:
    tree = exact_tree() if engine == "exact" else nuts_tree()
    names = ["h2", "sigma2_u", "sigma2_e", "total_sd", "beta", "pve_random"]
    wanted = az.summary(tree, var_names=names, round_to="none")
    found = diagnose(tree)
    for name in ("h2", "sigma2_u", "sigma2_e", "total_sd", "beta[intercept]", "beta[x1]"):
        for kind in ("ess_bulk", "r_hat"):
            assert found.table.loc[name, kind] == pytest.approx(wanted.loc[name, kind], rel=1e-9)
        assert found.table.loc[name, "mcse"] == pytest.approx(wanted.loc[name, "mcse_mean"])
    assert found.ok
    tail = az.ess(tree, var_names=["h2"], method="tail", prob=(0.05, 0.95))  # Vehtari et al.
    tail = tail["posterior"] if "posterior" in getattr(tail, "children", {}) else tail
    assert found.table.loc["h2", "ess_tail"] == pytest.approx(float(tail["h2"]))


def test_independent_draws_say_so() -> None:
    found = diagnose(exact_tree())
    assert found.verdict.endswith("independent draws from the exact posterior.")
    assert found.divergences is None
    assert found.e_bfmi is None
    few = diagnose(tree_of(GOOD[:, :50], engine="exact"))
    assert not few.ok
    assert few.verdict.endswith("What to do: take more draws.")


def test_a_constant_has_no_diagnostics_and_breaks_nothing() -> None:
    tree = tree_of(GOOD, **quiet())
    posterior = tree["posterior"].to_dataset()
    tree["posterior"] = xr.DataTree(
        posterior.assign(pve_fixed=(("chain", "draw"), np.zeros((4, 1000))))
    )
    found = diagnose(tree)
    assert found.ok
    assert found.table.loc["pve_fixed"].isna().all()


def test_columns_are_named_by_their_coordinates() -> None:
    found = columns(exact_tree()["posterior"].to_dataset())
    assert {"h2", "beta[intercept]", "beta[x1]", "pve_share[random]"} <= set(found)
    assert sum(name.startswith("g[") for name in found) == 80
    few = columns(exact_tree()["posterior"].to_dataset(), largest=79)
    assert not any(name.startswith("g[") for name in few)
    assert found["beta[x1]"].shape == (4, 1000)
