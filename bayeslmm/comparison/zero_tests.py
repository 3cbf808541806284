"""Tests that a share of the variance is zero: two Bayes factors and a likelihood ratio test.

For every component of a fitted model, and for h² (all genetic components together):

- the ratio of marginal likelihoods, p(y | the model without it) / p(y | the model);
- the Savage-Dickey ratio, from the posterior near zero (`bayeslmm.comparison.zero_ratio`);
- the p-value of the restricted likelihood ratio test (`bayeslmm.estimates.boundary` and
  `bayeslmm.comparison.rlrt`).

The two Bayes factors concern the same hypothesis and agree within their Monte Carlo errors. If zero
is far from all draws, the second is not available. The p-value uses no prior and answers another
question: how often do data without this component give so large a ratio?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.comparison.evidence import Evidence, estimate_evidence
from bayeslmm.comparison.rlrt import component_lrt
from bayeslmm.comparison.savage_dickey import UNAVAILABLE, Ratio, exact_ratio
from bayeslmm.comparison.zero_ratio import ratio_with_model
from bayeslmm.distributions.phenotype import marginal_of
from bayeslmm.errors import ModelError
from bayeslmm.estimates.boundary import restricted_lrt
from bayeslmm.inference.fitted import model_of
from bayeslmm.inference.laplace.nested import Parts, nested_evidence, parts_of
from bayeslmm.inference.laplace.share_likelihood import share_likelihood
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run
from bayeslmm.numerics.threads import one_thread
from bayeslmm.system.memory import available_cores

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr


MOST = 4  # largest number of kernels with a test of each; with more only h² is tested
DRAWS = 200  # posterior draws for the Savage-Dickey ratio if the density is expensive, else 400
FITTED = 1000  # draws to which its conditional density q is fitted


@dataclass(frozen=True, slots=True)
class ZeroTest:
    """Results for a null hypothesis "the share of these components is zero".

    Parameters
    ----------
    components
        The components absent under the null hypothesis.
    of_h2
        Whether they are all components of h², so that the hypothesis is h² = 0.
    by_evidence, by_density
        log₁₀ of the Bayes factor in favour of zero, by marginal likelihoods and by Savage-Dickey,
        with Monte Carlo standard errors; nan where not available.
    p_value
        p-value of the restricted likelihood ratio test; nan where not available.
    """

    components: tuple[str, ...]
    of_h2: bool
    by_evidence: Ratio
    by_density: Ratio
    p_value: float


@one_thread()
def weigh_zeros(
    tree: xr.DataTree,
    model: pm.Model | None = None,
    *,
    seed: int = 1,
    workers: int | None = None,
) -> list[ZeroTest]:
    """Test every share of a fitted model, and h², against zero.

    Parameters
    ----------
    tree
        Result of `bayeslmm.fit` with the exact or the Laplace engine.
    model
        Its model, if the tree is a copy or was read from a file.
    seed, workers
        Seed of importance sampling and simulations; number of concurrent evaluations.

    Returns
    -------
    list of ZeroTest
        h² first, and h² alone for more than four kernels. Empty if no kernel can be left out on its
        own (`bayeslmm.inference.laplace.nested.parts_of`); `why_no_zeros` gives the reason.
    """
    if "quadrature" in tree.children:
        return [_test_one_kernel(tree, seed)]
    model = model_of(tree, model)
    try:
        parts = parts_of(model)
    except ModelError:
        return []
    whole = estimate_evidence(tree, model, seed=seed, workers=workers)
    at_once = (workers or available_cores()) if parts.expensive else 1
    count = len(parts.components)
    genetic = tuple(k for k in range(count) if parts.genetic[k])
    sets = [genetic] if genetic else []
    if count <= MOST:
        sets += [(k,) for k in range(count) if (k,) != genetic]
    by_density = _by_density(tree, model, at_once)
    return [
        ZeroTest(
            tuple(parts.components[k] for k in chosen),
            chosen == genetic,
            _evidence_ratio(parts, chosen, whole, seed, at_once),
            by_density(chosen),
            component_lrt(model, chosen, seed=seed),
        )
        for chosen in sets
    ]


def _by_density(
    tree: xr.DataTree, model: pm.Model, workers: int
) -> Callable[[tuple[int, ...]], Ratio]:
    """Return ``components → Savage-Dickey ratio``, not available unless variances are shares."""
    try:
        shares = share_likelihood(model)
    except ModelError:
        return lambda chosen: UNAVAILABLE
    draws = _draws(tree, DRAWS if shares.expensive else 400)
    log_density = np.array(run(lambda k: shares.log_density(draws[k]), range(len(draws)), workers))
    fitted = _draws(tree, FITTED)
    return lambda chosen: ratio_with_model(
        shares, draws, chosen, log_density=log_density, fitted=fitted, workers=workers
    )


def why_no_zeros(tree: xr.DataTree, model: pm.Model | None = None) -> str:
    """Return why no share of a fitted model can be tested against zero; "" if some can.

    Parameters
    ----------
    tree, model
        As for `weigh_zeros`.
    """
    if "quadrature" in tree.children:
        return str(tree["quadrature"].attrs.get("why_no_h2_0", ""))
    model = model_of(tree, model)
    try:
        parts_of(model)
    except ModelError as error:
        marginal = marginal_of(model)
        groups = () if marginal is None or marginal.complete else marginal.effect_groups
        correlated = [" and ".join(names) for names in groups if len(names) > 1]
        if correlated:
            return (
                f"the effects {', '.join(correlated)} are correlated; if the variance of one is "
                "zero, their correlation is undefined, so the model without it is not this model "
                "with one share less"
            )
        return str(error)
    return ""


def _test_one_kernel(tree: xr.DataTree, seed: int) -> ZeroTest:
    attrs, data = tree["quadrature"].attrs, tree["constant_data"].to_dataset()
    log10 = float((attrs["log_evidence_h2_0"] - attrs["log_evidence"]) / np.log(10))
    s, e = data["eigenvalue"].to_numpy(), data["contrasts"].to_numpy()
    names = tuple(str(x) for x in tree["posterior"]["component"].to_numpy()[:-1])
    p = restricted_lrt(s, e, seed=seed).p_value
    return ZeroTest(names, True, Ratio(log10, 0.0), exact_ratio(tree), p)


def _evidence_ratio(
    parts: Parts, chosen: tuple[int, ...], whole: Evidence, seed: int, workers: int
) -> Ratio:
    names = [parts.components[k] for k in chosen]
    try:
        found = nested_evidence(parts, names, seed=seed, workers=workers)
    except ModelError:  # importance sampling of the smaller model failed
        return UNAVAILABLE
    error = float(np.hypot(found.mcse, whole.mcse)) / np.log(10)
    return Ratio((found.log_evidence - whole.log_ml) / np.log(10), error)


def _draws(tree: xr.DataTree, most: int) -> Floats:
    """Return the shares (N, K + 1) of at most `most` draws, evenly spaced."""
    share = tree["posterior"]["share"].to_numpy()
    flat = share.reshape(-1, share.shape[-1])
    return np.asarray(flat[np.linspace(0, len(flat) - 1, min(most, len(flat))).astype(np.intp)])
