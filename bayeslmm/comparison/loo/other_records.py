"""Refit the model to the records outside a block, if importance sampling fails.

With one kernel the exact engine refits it, otherwise NUTS on the marginal density. The priors keep
the units of the full data, so leaving a record out does not change the prior.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayeslmm.comparison.loo.model import Fitted, efficiency
from bayeslmm.inference.exact import exact
from bayeslmm.inference.exact.marginal import marginal, why_not_exact
from bayeslmm.inference.laplace.hmc import sample as sample_hmc
from bayeslmm.inference.laplace.hyper import Hyper
from bayeslmm.inference.laplace.laplace import target_of
from bayeslmm.inference.laplace.mode import Mode
from bayeslmm.inference.laplace.target import Target
from bayeslmm.numerics.arrays import Codes, Floats

DRAWS = 4000  # draws of a refit with one kernel
DRAWS_HMC, TUNE_HMC = 1000, 500


@dataclass(frozen=True, slots=True, eq=False)
class Refit:
    """Posterior draws given the records outside the block.

    Parameters
    ----------
    inputs
        (Co)variances (N, ...), the arguments of the likelihood.
    evidence
        log p(y_-F) and its standard error, if known.
    efficiency
        Effective sample size over number of draws.
    """

    inputs: list[Floats]
    evidence: tuple[float, float] | None
    efficiency: float = 1.0


def refit_exactly(fitted: Fitted, left: Codes, seed: np.random.SeedSequence) -> Refit | None:
    """Draw variances given the other records by the exact engine; None if it does not apply."""
    if why_not_exact(fitted.model) is not None:
        return None
    stay = np.setdiff1d(np.arange(len(fitted.y)), left)
    reduced = fitted.marginal.subset(stay)
    if reduced is None or reduced.spectrum is None:
        return None
    split = marginal(fitted.model)
    data = tuple(split.data.values())  # units of the full data
    found = exact.solve(
        replace(split, spectrum=reduced.spectrum),
        reduced.rotate(fitted.y[stay]),
        data,
        DRAWS,
        np.random.default_rng(seed),
        at_zero=False,
    )
    proper = found.effects.factor is not None
    return Refit([exact.variances(found.draws)], (found.log_evidence, 0.0) if proper else None)


def refit_by_nuts(
    fitted: Fitted,
    split: Hyper,
    target: Target,
    left: Codes,
    mode: Mode,
    seed: np.random.SeedSequence,
) -> Refit:
    """Draw (co)variances by NUTS; with several kernels it uses the other records' gradient.

    Chains that mix badly have a small effective sample size. The large Monte Carlo standard error
    then marks the block as unresolved.
    """
    effects = fitted.effects
    assert effects is not None
    stay = np.setdiff1d(np.arange(len(fitted.y)), left)
    reduced = None if fitted.marginal.complete else fitted.marginal.subset(stay)
    if reduced is not None:
        y = fitted.y[stay]
        others = replace(
            split, quadratic=reduced.quadratic(y), likelihood_gradient=reduced.gradient(y)
        )
        target = target_of(others, effects)
    chains = sample_hmc(
        target,
        draws=DRAWS_HMC // 4,
        tune=TUNE_HMC,
        seed=int(seed.generate_state(1)[0]),
        workers=fitted.workers,
        mode=mode,
    )
    points = chains.points.reshape(-1, len(target.names))
    return Refit(split.parameters(points, *split.data)[1], None, efficiency(chains.log_density))
