"""The heritability table: every reported quantity with its uncertainty and diagnostics."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats

from bayeslmm.comparison.savage_dickey import ratio_at_zero
from bayeslmm.comparison.share_coordinate import coordinate, read_prior
from bayeslmm.errors import InputError, ModelError
from bayeslmm.estimates.boundary import WEAK, expected_se, restricted_lrt
from bayeslmm.inference.diagnostics import convergence, importance_ess
from bayeslmm.inference.exact.share_marginal import ShareMarginal
from bayeslmm.inference.fitted import model_of
from bayeslmm.inference.laplace.nested import coordinates_without, nested_evidence, parts_of
from bayeslmm.inference.quantities import SHARES, component_names, correlations, quantities
from bayeslmm.models.family import recorded_family
from bayeslmm.numerics.arrays import Floats

H2 = "h2"
COLUMNS = [
    *("trait", "model", "engine", "quantity", "n"),
    *("mean", "sd", "median", "mode", "lower", "upper", "interval", "prob"),
    *("ess_bulk", "ess_tail", "r_hat", "mcse"),
]


def trait_trees(tree: xr.DataTree) -> dict[str, xr.DataTree]:
    """Return the tree of each trait, by its name, from a tree of one or of several fits."""
    if "posterior" in tree.children:
        return {str(tree.attrs.get("trait", "phenotype")): tree}
    return {name: child for name, child in tree.children.items() if "posterior" in child.children}


def heritability(tree: xr.DataTree, prob: float = 0.95) -> pd.DataFrame:
    """Tabulate heritability, variance components, PVE, effects and tests.

    Parameters
    ----------
    tree
        Result of `bayeslmm.fit`, or several results in one tree.
    prob
        Probability of the intervals.

    Returns
    -------
    DataFrame
        Columns ``trait model engine quantity n mean sd median mode lower upper interval prob
        ess_bulk ess_tail r_hat mcse``, one row for each of `bayeslmm.inference.quantities`.
        ``interval`` is "hdi" for h² and the shares (the shortest interval; an equal-tailed one can
        never contain 0) and "eti" (equal-tailed) for the rest. With the exact engine mean, sd,
        median, mode and interval of h² come from the quadrature, without Monte Carlo error (mcse
        0). Quantities without posterior draws have a value in ``mean`` only:

        - ``p_h2_below_0.01``, ``p_share_below_0.01[COMPONENT]``: posterior probability that h², or
          the share of a component, is below 0.01;
        - ``p_r_g_below_0[A,B]``, ``p_abs_r_g_above_0.95[A,B]`` (and r_e): posterior probability
          that a correlation is negative, or near ±1;
        - ``pareto_k``: k̂ of the importance weights; ``log_evidence``: log marginal likelihood;
        - ``log10_bf_h2_0``, ``log10_bf_share_0[COMPONENT]``: log10 Bayes factor in favour of h² = 0
          and of a zero variance component (`zero_bayes_factors`); nan where not available;
        - ``p_rlrt``: p-value of the exact restricted likelihood ratio test of h² = 0;
        - ``se_expected``: standard error of h² expected from n and the spectrum, at h² = 0.

        The last two, and PVE, exist for a Gaussian phenotype only. h² and the variances are on the
        scale named by the attribute ``scale`` of the tree (`bayeslmm.models.family`).
    """
    if not 0 < prob < 1:
        raise ValueError(f"prob = {prob}: a probability between 0 and 1, for instance 0.95")
    frames = [_trait_table(trait, part, prob) for trait, part in trait_trees(tree).items()]
    return pd.concat(frames, ignore_index=True)


def _trait_table(trait: str, tree: xr.DataTree, prob: float) -> pd.DataFrame:
    posterior = tree["posterior"].to_dataset()
    most = importance_ess(tree)
    rows = [
        {"quantity": name, **describe(draws, name, prob), **convergence(draws, most)}
        for name, draws in quantities(posterior).items()
    ]
    if (exact := exact_share(tree)) is not None:
        genetic, residual = (f"share[{name}]" for name in component_names(posterior))
        known = _describe_exact(exact, prob)
        ends = {"lower": 1 - known["upper"], "upper": 1 - known["lower"]}
        centres = {name: 1 - known[name] for name in ("mean", "median", "mode")}
        rest = known | centres | ends
        for row in rows:
            if row["quantity"] in ("h2", genetic):
                row.update(known)
            elif row["quantity"] == residual:
                row.update(rest)
    rows += [{"quantity": name, "mean": value} for name, value in tests(tree).items()]
    common = {
        "trait": trait,
        "model": tree.attrs.get("model", ""),
        "engine": tree.attrs.get("engine", ""),
        "n": tree["observed_data"].sizes["individual"],
    }
    return pd.DataFrame([{**common, **row} for row in rows], columns=COLUMNS)


def describe(draws: Floats, name: str, prob: float) -> dict[str, Any]:
    """Compute mean, sd, median, mode and interval of draws (chain, draw)."""
    flat = draws.ravel()
    shortest = name.startswith(SHARES) and bool(flat.min() >= 0.0)
    if shortest:
        lower, upper = shortest_interval(flat, prob)
    else:
        lower, upper = (float(q) for q in np.quantile(flat, [(1 - prob) / 2, (1 + prob) / 2]))
    return {
        "mean": float(flat.mean()),
        "sd": float(flat.std(ddof=1)),
        "median": float(np.median(flat)),
        "mode": density_mode(flat),
        "lower": lower,
        "upper": upper,
        "interval": "hdi" if shortest else "eti",
        "prob": prob,
    }


def _describe_exact(share: ShareMarginal, prob: float) -> dict[str, Any]:
    mean, sd = share.moments()
    lower, upper = share.hdi(prob)
    median = float(share.quantile(0.5))
    values = {"mean": mean, "sd": sd, "median": median, "mode": share.mode()}
    return {**values, "lower": lower, "upper": upper, "mcse": 0.0}


def exact_share(tree: xr.DataTree) -> ShareMarginal | None:
    """Return the exact marginal posterior of h²; None unless fitted by the exact engine."""
    if "quadrature" not in tree.children:
        return None
    group = tree["quadrature"].to_dataset()
    arrays = (group[name].to_numpy() for name in ("logit_h2", "cdf", "density"))
    return ShareMarginal(*arrays)


def shortest_interval(draws: Floats, prob: float) -> tuple[float, float]:
    """Compute the shortest interval of a share; extend it to 0 or 1 if it starts at extreme draws.

    If the density decreases from the boundary, the shortest interval starts at random within the
    outermost half per cent of the draws; so these count as the boundary.
    """
    ordered = np.sort(draws)
    count = math.ceil(prob * ordered.size)
    width = ordered[count - 1 :] - ordered[: ordered.size - count + 1]
    best, last = int(np.argmin(width)), ordered.size - count
    if best <= ordered.size // 200:
        return 0.0, float(ordered[count - 1])
    if best >= last - ordered.size // 200:
        return float(ordered[last]), 1.0
    return float(ordered[best]), float(ordered[best + count - 1])


def density_mode(draws: Floats) -> float:
    """Return the mode of a kernel density estimate with boundary correction."""
    if np.ptp(draws) == 0.0:
        return float(draws[0])
    grid, density, _ = array_stats.kde(draws, grid_len=1024)
    return float(grid[int(np.argmax(density))])


def tests(tree: xr.DataTree) -> dict[str, float]:
    """Return probabilities, Bayes factors and tests by name; nan where not available."""
    posterior = tree["posterior"].to_dataset()
    out: dict[str, float] = {}
    if posterior["h2"].dims == ("chain", "draw"):
        out |= _h2_tests(tree)
    names = component_names(posterior)
    if len(names) > 2:
        out |= {
            f"p_share_below_0.01[{name}]": float(np.mean(draws[f"share[{name}]"] < 0.01))
            for draws in [quantities(posterior)]
            for name in names[:-1]
        }
        out |= {
            f"log10_bf_share_0[{name}]": value
            for name, value in zero_bayes_factors(tree).items()
            if name != H2
        }
    for name, r in correlations(posterior).items():
        kind, _, pair = name.partition("[")
        out[f"p_{kind}_below_0[{pair}"] = float(np.mean(r < 0))
        out[f"p_abs_{kind}_above_0.95[{pair}"] = float(np.mean(np.abs(r) > 0.95))
    stats = tree["sample_stats"].attrs
    if "pareto_k" in stats:
        out["pareto_k"] = float(stats["pareto_k"])
    exact = tree["quadrature"].attrs if "quadrature" in tree.children else stats
    if "log_evidence" in exact:
        out["log_evidence"] = float(exact["log_evidence"])
    return out


def _h2_tests(tree: xr.DataTree) -> dict[str, float]:
    h2 = tree["posterior"]["h2"].to_numpy().ravel()
    out = {"p_h2_below_0.01": float(np.mean(h2 < 0.01)), "log10_bf_h2_0": savage_dickey(tree)}
    if (share := exact_share(tree)) is not None:
        out["p_h2_below_0.01"] = share.below(0.01)
    if not recorded_family(tree.attrs).gaussian:
        return out
    out |= {"p_rlrt": float("nan"), "se_expected": float("nan")}
    data = tree["constant_data"].to_dataset()
    if "eigenvalue" in data and "contrasts" in data:
        s, e = data["eigenvalue"].to_numpy(), data["contrasts"].to_numpy()
        out["p_rlrt"] = restricted_lrt(s, e).p_value
        out["se_expected"] = expected_se(s)
    return out


def savage_dickey(tree: xr.DataTree) -> float:
    """Return log10 of the Bayes factor in favour of h² = 0, p(y | h² = 0) / p(y).

    p(y | h² = 0) is the marginal likelihood of the model without genetic values, the other
    variances under their own priors. The exact engine computes it; otherwise `zero_bayes_factors`
    does. If neither can, but h² is a parameter with a prior of its own, the factor is the ratio of
    posterior to prior density at 0 (Savage-Dickey), from draws near 0 weighted by 1/prior density.
    It is nan if there is no such model, or if too few draws are near 0.

    References
    ----------
    Dickey (1971) Ann Math Stat 42:204.
    """
    if "quadrature" in tree.children:
        attrs = tree["quadrature"].attrs
        return float((attrs["log_evidence_h2_0"] - attrs["log_evidence"]) / math.log(10))
    if H2 in (found := zero_bayes_factors(tree)):
        return found[H2]
    if "log_prior" not in tree.children or "h2" not in tree["log_prior"]:
        return float("nan")
    posterior = tree["posterior"]["h2"].to_numpy().ravel()
    width = max(0.01, float(np.quantile(posterior, 0.05)))
    if width > 0.1 or np.count_nonzero(posterior < width) < 20:
        return float("nan")
    prior_density = np.exp(tree["log_prior"]["h2"].to_numpy().ravel())
    return float(np.log10(_edge_density(posterior, width, 1.0 / prior_density)))


def why_no_bayes_factor(tree: xr.DataTree) -> str:
    """Return why `savage_dickey` is nan, for a message."""
    group = "quadrature" if "quadrature" in tree.children else "sample_stats"
    known = str(tree[group].attrs.get("why_no_h2_0", "")) if group in tree.children else ""
    if known:
        return known
    if "log_prior" in tree.children and {"h2", "share"} & {*tree["log_prior"].data_vars}:
        return "too few draws near 0"
    return "this engine gives no marginal likelihood, and h2 is no parameter of the model"


def zero_bayes_factors(tree: xr.DataTree) -> dict[str, float]:
    """Return log10 Bayes factors in favour of zero, for every component and, as "h2", for h².

    If the tree still has its model, and the model without the component has at most one coordinate
    (`bayeslmm.inference.laplace.nested`), the factor is a ratio of marginal likelihoods, which is
    stored with the tree. Otherwise, if the variances are shares of one total, it comes from the
    posterior draws near zero (`bayeslmm.comparison.savage_dickey`), nan if there are too few;
    `bayeslmm compare` computes these cases too. There is none for other variances.
    """
    out = _nested_bayes_factors(tree)
    prior = read_prior(tree)
    if prior is None:
        return out
    posterior = tree["posterior"].to_dataset()
    names = component_names(posterior)[:-1]
    shares = posterior["share"].to_numpy().reshape(-1, len(names) + 1)
    h2 = posterior["h2"].to_numpy().ravel()
    sets = {name: [k] for k, name in enumerate(names)}
    if (genetic := _h2_components(shares, h2)) is not None:
        sets[H2] = genetic
    ess = importance_ess(tree)
    effective = None if math.isinf(ess) else ess
    for name, chosen in sets.items():
        if name not in out:
            ends = prior.of_coordinate(len(chosen), len(names))
            out[name] = ratio_at_zero(coordinate(shares, chosen), *ends, effective).log10
    return out


def _h2_components(shares: Floats, h2: Floats) -> list[int] | None:
    """Return the components whose shares sum to h²; None if there are none."""
    found, *_ = np.linalg.lstsq(shares, h2, rcond=None)
    chosen = [k for k in range(shares.shape[1] - 1) if found[k] > 0.5]
    exact = chosen and np.allclose(shares[:, chosen].sum(axis=1), h2, rtol=1e-9, atol=1e-9)
    return chosen if exact else None


def _nested_bayes_factors(tree: xr.DataTree) -> dict[str, float]:
    """Return log10 Bayes factors by marginal likelihoods of models with at most one coordinate."""
    attrs = tree["sample_stats"].attrs if "sample_stats" in tree.children else {}
    if "log_evidence" not in attrs:
        return {}
    if "log_evidence_nested" not in attrs:
        try:
            parts = parts_of(model_of(tree))
        except (InputError, ModelError) as error:  # no model, or no kernel can be left out
            attrs["why_no_h2_0"] = str(error)
            return {}
        sets: dict[str, tuple[str, ...]] = {name: (name,) for name in parts.components}
        sets[H2] = tuple(
            name for name, mine in zip(parts.components, parts.genetic, strict=True) if mine
        )
        found = {
            name: nested_evidence(parts, without).log_evidence
            for name, without in sets.items()
            if without and coordinates_without(parts, without) <= 1
        }
        attrs["log_evidence_nested"] = json.dumps(found)
    kept = json.loads(attrs["log_evidence_nested"])
    whole = float(attrs["log_evidence"])
    return {name: (float(value) - whole) / math.log(10) for name, value in kept.items()}


def _edge_density(draws: Floats, width: float, weights: Floats | None = None) -> float:
    """Estimate the density at 0 from (weighted) draws, as linear in h² over [0, width]."""
    inside = draws < width
    part = (4.0 - 6.0 * draws[inside] / width) * (1.0 if weights is None else weights[inside])
    return float(max(part.sum() / (draws.size * width), 1e-300))


def weakly_informed(tree: xr.DataTree) -> str | None:
    """Return a warning if the data of one trait hardly inform h²; None otherwise.

    The criterion is an expected standard error of h² (from n and the spectrum, at h² = 0) above
    0.15. The warning gives the ratio of posterior to prior variance.
    """
    if "eigenvalue" not in tree["constant_data"] or not recorded_family(tree.attrs).gaussian:
        return None
    expected = expected_se(tree["constant_data"]["eigenvalue"].to_numpy())
    if expected <= WEAK:
        return None
    n = tree["observed_data"].sizes["individual"]
    share = prior_contribution(tree)
    left = "" if math.isnan(share) else f"; the posterior keeps {share:.0%} of the prior's variance"
    return f"weakly informed: the expected standard error of h² is {expected:.2g} at n = {n}{left}"


def prior_contribution(tree: xr.DataTree) -> float:
    """Return the ratio of posterior to prior variance of h²; 1 if the data are uninformative."""
    posterior = tree["posterior"]["h2"].to_numpy()
    if "prior" not in tree.children or "h2" not in tree["prior"] or posterior.ndim > 2:
        return float("nan")
    return float(posterior.var() / tree["prior"]["h2"].to_numpy().var())
