"""Convergence diagnostics of a posterior: R-hat, ESS, MCSE, divergences, E-BFMI, and a verdict."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats

from bayeslmm.inference.quantities import columns
from bayeslmm.numerics.arrays import Floats

R_HAT = 1.01
ESS = 400.0
E_BFMI = 0.3
PARETO_K = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """Convergence diagnostics of one posterior.

    Parameters
    ----------
    ok
        False if any R-hat >= 1.01, any bulk or tail ESS < 400, divergences, an E-BFMI below 0.3, a
        Pareto k̂ of 0.7 or more, or draws that are not finite: the numbers must not be used.
    verdict
        The same in words, with advice.
    problems
        One sentence for each rule violated.
    table
        ``r_hat ess_bulk ess_tail mcse`` by quantity.
    divergences
        Number of divergent transitions; None for independent draws.
    e_bfmi
        Smallest energy Bayesian fraction of missing information; None except for NUTS.
    pareto_k
        k̂ of the importance weights; None without importance sampling.
    """

    ok: bool
    verdict: str
    problems: tuple[str, ...]
    table: pd.DataFrame
    divergences: int | None
    e_bfmi: float | None
    pareto_k: float | None = None


def convergence(draws: Floats, most: float = np.inf) -> dict[str, float]:
    """Compute R-hat, bulk and tail ESS and MCSE of the mean for draws (chain, draw).

    All are nan for a constant (for instance the PVE of the fixed effects with an intercept only).
    `most` is the importance ESS of resampled draws, an upper bound of the other ESS.
    """
    if np.ptp(draws) == 0.0 or not np.all(np.isfinite(draws)):
        return dict.fromkeys(("r_hat", "ess_bulk", "ess_tail", "mcse"), float("nan"))
    axes = {"chain_axis": 0, "draw_axis": 1}
    bulk = float(array_stats.ess(draws, method="bulk", **axes))
    tail = float(array_stats.ess(draws, method="tail", prob=(0.05, 0.95), **axes))
    mcse = float(array_stats.mcse(draws, method="mean", **axes))
    return {
        "r_hat": float(array_stats.rhat(draws, **axes)) if draws.shape[0] > 1 else float("nan"),
        "ess_bulk": min(bulk, most),
        "ess_tail": min(tail, most),
        "mcse": max(mcse, float(draws.std() / np.sqrt(most))),
    }


def importance_ess(tree: xr.DataTree) -> float:
    """Return the importance ESS of the draws of a fit; infinite for other draws."""
    return float(tree["sample_stats"].attrs.get("ess_importance", np.inf))


def diagnose(tree: xr.DataTree) -> Diagnosis:
    """Diagnose the posterior of one trait.

    Parameters
    ----------
    tree
        Result of `bayeslmm.fit`.

    Returns
    -------
    Diagnosis

    References
    ----------
    Vehtari et al. (2021) Bayesian Anal 16:667 (R-hat, ESS); Betancourt (2016) arXiv:1604.00695
    (E-BFMI).
    """
    draws = columns(tree["posterior"].to_dataset())
    most = importance_ess(tree)
    rows = {name: convergence(x, most) for name, x in draws.items()}
    stats = tree["sample_stats"].to_dataset()
    rows |= json.loads(stats.attrs.get("latent", "{}"))
    table = pd.DataFrame.from_dict(rows, orient="index")
    lost = {name: int(np.count_nonzero(~np.isfinite(x))) for name, x in draws.items()}
    problems = [f"{k} draws of {name} are not finite" for name, k in lost.items() if k]
    worst = float(table["r_hat"].max()) if table["r_hat"].notna().any() else 1.0
    if worst >= R_HAT and not np.isfinite(most):  # resampled draws are in random order
        name = table["r_hat"].idxmax()
        problems.append(f"R-hat of {name} is {worst:.3f}; it must be below {R_HAT}")
    for kind in ("bulk", "tail"):
        ess = table[f"ess_{kind}"]
        if ess.notna().any() and ess.min() < ESS:
            problems.append(
                f"{kind} ESS of {ess.idxmin()} is {ess.min():.0f}; it must be at least {ESS:.0f}"
            )
    divergences = e_bfmi = None
    pareto_k = stats.attrs.get("pareto_k")
    if pareto_k is not None and np.isfinite(most) and pareto_k >= PARETO_K:
        problems.append(f"Pareto k̂ is {pareto_k:.2f}; it must be below {PARETO_K}")
    if "diverging" in stats:
        divergences = int(stats["diverging"].sum())
        if divergences:
            problems.append(f"{divergences} divergent transitions; there must be none")
    if "energy" in stats:
        energy = stats["energy"].to_numpy()
        gain = (np.diff(energy, axis=1) ** 2).mean(axis=1)
        e_bfmi = float((gain / energy.var(axis=1)).min())
        if e_bfmi < E_BFMI:
            problems.append(f"E-BFMI is {e_bfmi:.2f}; it must be at least {E_BFMI}")
    return Diagnosis(
        not problems,
        _verdict(problems, table, divergences, "quadrature" in tree.children, pareto_k),
        tuple(problems),
        table,
        divergences,
        e_bfmi,
        None if pareto_k is None else float(pareto_k),
    )


def _verdict(
    problems: list[str],
    table: pd.DataFrame,
    divergences: int | None,
    independent: bool,
    pareto_k: float | None,
) -> str:
    if problems:
        advice = (
            "take more draws"
            if divergences is None or pareto_k is not None
            else "take more draws, or a marginal model with engine='exact' or 'laplace'"
        )
        return (
            f"NOT healthy, do not use these numbers: {'; '.join(problems)}. What to do: {advice}."
        )
    least = min(float(table["ess_bulk"].min()), float(table["ess_tail"].min()))
    verdict = f"Healthy: R-hat at most {float(table['r_hat'].max()):.3f}, ESS at least {least:.0f}"
    if independent:
        return verdict + ", independent draws from the exact posterior."
    if divergences is not None:
        verdict += f", {divergences} divergences"
        if pareto_k is not None:
            verdict += f", by NUTS, because importance sampling had k̂ = {pareto_k:.2f}"
    elif pareto_k is not None:
        verdict += f", Pareto k̂ {pareto_k:.2f}"
    return verdict + "."


def latent_health(draws: Floats) -> dict[str, float]:
    """Return the worst R-hat and ESS over the entries of a latent vector (chain, draw, k)."""
    rows = pd.DataFrame([convergence(draws[:, :, i]) for i in range(draws.shape[2])])
    return {
        "r_hat": float(rows["r_hat"].max()),
        "ess_bulk": float(rows["ess_bulk"].min()),
        "ess_tail": float(rows["ess_tail"].min()),
        "mcse": float(rows["mcse"].max()),
    }
