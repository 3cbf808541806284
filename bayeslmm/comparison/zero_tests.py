"""Is a share of the variance zero? Bayes factors by two ways, and a restricted likelihood ratio.

For every component of a fitted model, and for h² (all genetic components together):

- the ratio of marginal likelihoods, p(y | the model without it) / p(y | the model);
- the Savage-Dickey ratio, from the posterior near zero (`bayeslmm.comparison.zero_ratio`);
- the p-value of the restricted likelihood ratio test (`bayeslmm.estimates.boundary` and
  `bayeslmm.comparison.rlrt`).

The two Bayes factors are of the same hypothesis and agree within their Monte Carlo errors; where
zero is far from all draws, the second is not available. The p-value has no prior and answers
another question: how often would data without this component give so large a ratio?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.comparison.evidence import Evidence, estimate_evidence
from bayeslmm.comparison.nested import nested_evidence
from bayeslmm.comparison.rlrt import component_lrt
from bayeslmm.comparison.savage_dickey import NOTHING, Ratio, exact_ratio
from bayeslmm.comparison.zero_ratio import ratio_with_model
from bayeslmm.distributions.phenotype import marginal_of
from bayeslmm.errors import ModelError
from bayeslmm.estimates.boundary import restricted_lrt
from bayeslmm.inference.fitted import model_of
from bayeslmm.inference.laplace.share_likelihood import ShareLikelihood, share_likelihood
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run
from bayeslmm.numerics.threads import one_thread
from bayeslmm.system.memory import available_cores

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr


MOST = 4  # kernels of which each is tested; of more only h²
DRAWS = 200  # posterior draws of the Savage-Dickey ratio where a density is expensive, else 400
FITTED = 1000  # draws to which its conditional density is fitted


@dataclass(frozen=True, slots=True)
class ZeroTest:
    """A null hypothesis "the share of these components is zero".

    Parameters
    ----------
    components
        The components that are absent under it.
    of_h2
        Are they all that h² counts, so that it says h² = 0?
    by_evidence, by_density
        log₁₀ of the Bayes factor in favour of zero, by marginal likelihoods and by Savage-Dickey,
        with Monte Carlo standard errors; nan where not available.
    p_value
        Of the restricted likelihood ratio test; nan where not available.
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
        What `bayeslmm.fit` returns, of the exact or the Laplace engine.
    model
        Its model, where the tree is a copy or was read from a file.
    seed, workers
        Of importance sampling and simulations; evaluations at a time.

    Returns
    -------
    list of ZeroTest
        h² first. Empty for a model whose variances are not shares of one total
        (`bayeslmm.inference.laplace.share_likelihood`; `why_no_zeros` says why); h² alone for more
        than four kernels.
    """
    if "quadrature" in tree.children:
        return [_of_one_kernel(tree, seed)]
    model = model_of(tree, model)
    try:
        shares = share_likelihood(model)
    except ModelError:
        return []
    whole = estimate_evidence(tree, model, seed=seed, workers=workers)
    at_once = (workers or available_cores()) if shares.expensive else 1
    count = len(shares.components)
    genetic = tuple(k for k in range(count) if shares.genetic[k])
    sets = [genetic] if genetic else []
    if count <= MOST:
        sets += [(k,) for k in range(count) if (k,) != genetic]
    near = _draws(tree, DRAWS if shares.expensive else 400)
    known = np.array(run(lambda k: shares.log_density(near[k]), range(len(near)), at_once))
    return [
        ZeroTest(
            tuple(shares.components[k] for k in chosen),
            chosen == genetic,
            _by_evidence(shares, chosen, whole, seed, at_once),
            ratio_with_model(
                shares, near, chosen, known=known, fitted=_draws(tree, FITTED), workers=at_once
            ),
            component_lrt(model, chosen, seed=seed),
        )
        for chosen in sets
    ]


def why_no_zeros(tree: xr.DataTree, model: pm.Model | None = None) -> str:
    """Why no share of a fitted model can be tested against zero, in words; "" if some can.

    Parameters
    ----------
    tree, model
        As for `weigh_zeros`.
    """
    if "quadrature" in tree.children:
        return ""
    model = model_of(tree, model)
    try:
        share_likelihood(model)
    except ModelError as error:
        marginal = marginal_of(model)
        groups = () if marginal is None or marginal.complete else marginal.effect_groups
        correlated = [" and ".join(names) for names in groups if len(names) > 1]
        if correlated:
            return (
                f"the effects {', '.join(correlated)} are correlated, and where the variance of "
                "one is zero there is no correlation left, so that the model without it is not "
                "this model with one share less"
            )
        return str(error)
    return ""


def _of_one_kernel(tree: xr.DataTree, seed: int) -> ZeroTest:
    attrs, data = tree["quadrature"].attrs, tree["constant_data"].to_dataset()
    log10 = float((attrs["log_evidence_h2_0"] - attrs["log_evidence"]) / np.log(10))
    s, e = data["eigenvalue"].to_numpy(), data["contrasts"].to_numpy()
    names = tuple(str(x) for x in tree["posterior"]["component"].to_numpy()[:-1])
    p = restricted_lrt(s, e, seed=seed).p_value
    return ZeroTest(names, True, Ratio(log10, 0.0), exact_ratio(tree), p)


def _by_evidence(
    shares: ShareLikelihood, chosen: tuple[int, ...], whole: Evidence, seed: int, workers: int
) -> Ratio:
    names = [shares.components[k] for k in chosen]
    try:
        found = nested_evidence(shares, names, seed=seed, workers=workers)
    except ModelError:  # importance sampling of the smaller model failed
        return NOTHING
    error = float(np.hypot(found.mcse, whole.mcse)) / np.log(10)
    return Ratio((found.log_evidence - whole.log_ml) / np.log(10), error)


def _draws(tree: xr.DataTree, most: int) -> Floats:
    """Shares (N, K + 1) of at most `most` draws, evenly spaced."""
    share = tree["posterior"]["share"].to_numpy()
    flat = share.reshape(-1, share.shape[-1])
    return np.asarray(flat[np.linspace(0, len(flat) - 1, min(most, len(flat))).astype(np.intp)])
