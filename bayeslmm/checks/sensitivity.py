"""Prior sensitivity: power-scaling, and h² under other priors, in one table.

Power-scaling raises the prior, or the likelihood, to a power α near one and measures how far a
marginal posterior moves: its cumulative Jensen-Shannon distance divided by log₂ α. It cannot
detect sensitivity to a flat prior, which every power leaves flat; `reweighted_posteriors` can.

References
----------
Kallioinen et al. (2024) Stat Comput 34:57.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import psense

from bayeslmm.checks.other_priors import Alternative, reweighted_posteriors
from bayeslmm.inference.quantities import LARGEST, quantities
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread
from bayeslmm.posterior.summary import trait_trees

SENSITIVE = 0.05  # power-scaling sensitivity from which on a posterior is reported as sensitive
SCALED = ("h2", "share[", "pve_fixed", "pve_random", "pve_total", "pve_share[")
MOST = 40  # quantities
COLUMNS = [
    *("trait", "quantity", "prior", "fitted", "mean", "sd", "lower", "upper", "prob"),
    *("p_below_0.01", "log10_bf_h2_0", "pareto_k", "trusted"),
    *("prior_p_below_0.01", "prior_p_below_0.05", "prior_p_above_0.9"),
    *("psense_prior", "psense_likelihood"),
]


@one_thread()
def prior_sensitivity(tree: xr.DataTree, prob: float = 0.95) -> pd.DataFrame:
    """Compute h² under other priors, and the power-scaling sensitivity of h² and PVE.

    Parameters
    ----------
    tree
        Result of `bayeslmm.fit`, or several of them in one tree.
    prob
        Probability of the shortest intervals.

    Returns
    -------
    DataFrame
        A row for h² under each prior (`bayeslmm.checks.other_priors`), and a row for each share and
        realised PVE under the prior of the fit. Columns:

        - ``trait quantity prior fitted``: ``fitted`` is true for the prior of the fit;
        - ``mean sd lower upper prob p_below_0.01 log10_bf_h2_0``: the posterior;
        - ``pareto_k``: k̂ of the weights, empty without weights; ``trusted``: false if the weights
          (k̂ above 0.7) or the grid do not cover this prior: fit it instead;
        - ``prior_p_below_0.01 prior_p_below_0.05 prior_p_above_0.9``: prior probabilities of
          h² < 0.01, h² < 0.05 and h² > 0.9; empty if unknown;
        - ``psense_prior psense_likelihood``: power-scaling sensitivity, in rows of the fit's
          prior; above 0.05 the posterior moves with the prior (the likelihood).
    """
    frames = [_one(trait, part, prob) for trait, part in trait_trees(tree).items()]
    return pd.concat(frames, ignore_index=True)


def _one(trait: str, tree: xr.DataTree, prob: float) -> pd.DataFrame:
    scaled = power_scaling(tree)
    rows = [_row(tree, found, prob) for found in reweighted_posteriors(tree)]
    for row in rows:
        if row["fitted"] and row["quantity"] in scaled.index:
            row |= {str(k): v for k, v in scaled.loc[str(row["quantity"])].items()}
    done = {str(row["quantity"]) for row in rows}
    rows += [
        {"quantity": name, "prior": rows[0]["prior"], "fitted": True, **scaled.loc[name].to_dict()}
        for name in scaled.index
        if name not in done
    ]
    return pd.DataFrame([{"trait": trait, **row} for row in rows], columns=COLUMNS)


def _row(tree: xr.DataTree, found: Alternative, prob: float) -> dict[str, object]:
    mean, sd = found.moments()
    lower, upper = found.interval(prob)
    expected = prior_probabilities(tree, found)
    return {
        "quantity": found.quantity,
        "prior": found.name,
        "fitted": found.own,
        "mean": mean,
        "sd": sd,
        "lower": lower,
        "upper": upper,
        "prob": prob,
        "p_below_0.01": found.below(0.01),
        "log10_bf_h2_0": found.log10_bf,
        "pareto_k": found.pareto_k if math.isfinite(found.pareto_k) else math.nan,
        "trusted": found.trusted,
        "prior_p_below_0.01": expected[0],
        "prior_p_below_0.05": expected[1],
        "prior_p_above_0.9": expected[2],
    }


def prior_probabilities(tree: xr.DataTree, found: Alternative) -> tuple[float, float, float]:
    """Return the prior P(h² < 0.01), P(h² < 0.05) and P(h² > 0.9); nan if unknown.

    They are exact if x is h². Otherwise the fit's prior draws give them for the fit's own prior.
    """
    limits = np.array([0.01, 0.05, 0.9])
    if found.prior is not None and found.direct:
        low, middle, high = (float(p) for p in found.prior.below(limits))
        return low, middle, 1.0 - high
    if found.own and "prior" in tree.children and "h2" in tree["prior"]:
        h2 = tree["prior"]["h2"].to_numpy()
        if h2.ndim == 2:
            low, middle, high = (float(np.mean(h2 < limit)) for limit in limits)
            return low, middle, 1.0 - high
    return math.nan, math.nan, math.nan


def power_scaling(tree: xr.DataTree) -> pd.DataFrame:
    """Compute the power-scaling sensitivity of h², shares and realised PVE.

    The priors of all parameters are scaled together. Latent genetic values are left out, because
    their distribution is part of the model. Scaling uses the joint density with β and the variances
    as parameters, so that it does not depend on the variables that an engine integrates out.

    Parameters
    ----------
    tree
        A fit of one model.

    Returns
    -------
    DataFrame
        Columns ``psense_prior psense_likelihood``, one row per quantity that varies; empty unless
        the fit has ``log_prior`` and ``log_likelihood``.
    """
    columns = ["psense_prior", "psense_likelihood"]
    if not {"log_prior", "log_likelihood"} <= set(tree.children):
        return pd.DataFrame(columns=columns)
    drawn = {
        name: draws
        for name, draws in quantities(tree["posterior"].to_dataset()).items()
        if name.startswith(SCALED) and np.ptp(draws) > 0
    }
    drawn = dict(list(drawn.items())[:MOST])
    names = list(drawn)
    stacked = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(
                {"x": (("quantity", "chain", "draw"), np.stack(list(drawn.values())))}
            ),
            "log_prior": xr.Dataset({"all": (("chain", "draw"), _log_prior(tree))}),
            "log_likelihood": xr.Dataset(
                {"all": (("chain", "draw"), _sum(tree, "log_likelihood"))}
            ),
        }
    )
    found = {}
    for group, column in zip(("prior", "likelihood"), columns, strict=True):
        if np.ptp(stacked[f"log_{group}"]["all"].to_numpy()) < 1e-9:
            found[column] = np.zeros(len(names))
        else:
            found[column] = psense(stacked, group=group)["x"].to_numpy()
    return pd.DataFrame(found, index=names)


def _log_prior(tree: xr.DataTree) -> Floats:
    """Sum the log prior density (chain, draw) of all parameters except latent vectors."""
    posterior = tree["posterior"].to_dataset()
    names = [
        str(name)
        for name in tree["log_prior"].data_vars
        if name in posterior and posterior[name].isel(chain=0, draw=0).size <= LARGEST
    ]
    return _sum(tree, "log_prior", names)


def _sum(tree: xr.DataTree, group: str, names: list[str] | None = None) -> Floats:
    """Sum the variables of a group over all their entries (chain, draw)."""
    found = tree[group].to_dataset()
    parts = []
    for name in found.data_vars if names is None else names:
        values = found[name].transpose("chain", "draw", ...).to_numpy()
        parts.append(values.reshape(*values.shape[:2], -1).sum(axis=-1))
    shape = tree["posterior"].sizes["chain"], tree["posterior"].sizes["draw"]
    return np.asarray(np.sum(parts, axis=0) if parts else np.zeros(shape), dtype=np.float64)
