"""Laplace engine: mode, Hessian, importance sampling of the hyperparameters, exact β.

The posterior of the few hyperparameters, with β and all random effects integrated out, is sampled
by importance sampling from a fitted proposal (`bayeslmm.inference.laplace.importance`); each
density evaluation is one Cholesky factorisation. β is then drawn exactly given each point. If the
importance weights are unreliable (k̂ > 0.7) the engine warns and continues with NUTS on the same
marginal density, preconditioned by the Hessian (`bayeslmm.inference.laplace.hmc`), or on the model
itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from bayeslmm.errors import warn_user
from bayeslmm.inference import nuts
from bayeslmm.inference.engine import Drawn, Engine, Replicate, Request, joint
from bayeslmm.inference.graph import EffectsPrior
from bayeslmm.inference.laplace.hmc import sample as sample_hmc
from bayeslmm.inference.laplace.hyper import Hyper, hyper, why_not_laplace
from bayeslmm.inference.laplace.importance import KHAT, Weighted, importance_sample, resample
from bayeslmm.inference.laplace.target import Target
from bayeslmm.inference.tree import Variables, chain_draw, dataset
from bayeslmm.likelihood.fixed_effects import BetaQuadratic, draw_beta, integrate_beta
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run
from bayeslmm.system.memory import available_cores

type Quadratics = dict[bytes, BetaQuadratic | None]  # by the bytes of u

ESS = 1000.0  # smallest importance ESS to aim for, for any number of draws


@dataclass(frozen=True, slots=True, eq=False)
class Laplace:
    """Posterior draws of one trait (or set of traits).

    Parameters
    ----------
    values
        Draws (draws, ...) of every variable of the model, and ``"log_prior"`` of every free one.
    log_likelihood
        log p(y | β, parameters) (draws,).
    weighted
        The importance sample of the draws.
    step
        The step that gave the draws, in words.
    chains
        Whether the draws are consecutive Markov chains (NUTS); False: near-independent draws.
    stats
        Sample statistics of NUTS (chains, draws), empty otherwise.
    """

    values: dict[str, Any]
    log_likelihood: Floats
    weighted: Weighted
    step: str
    chains: bool
    stats: dict[str, Floats]


def target_of(split: Hyper, effects: EffectsPrior, kept: Quadratics | None = None) -> Target:
    """Build the target log p(u, y), β integrated out; store the likelihood in β in `kept`."""
    mean, factor = effects.mean, effects.factor
    known: Quadratics = {} if kept is None else kept

    def prepare(points: Floats) -> Callable[[int], float]:
        log_prior, parameters = split.parameters(points, *split.data)

        def at(i: int) -> float:
            if not np.isfinite(log_prior[i]):
                return -np.inf
            quadratic = split.quadratic([x[i] for x in parameters])
            if kept is not None:
                known[points[i].tobytes()] = quadratic
            if quadratic is None:
                return -np.inf
            return float(log_prior[i]) + integrate_beta(quadratic, mean, factor)

        return at

    def log_density(u: Floats) -> float:
        return prepare(u[None])(0)

    likelihood_gradient = split.likelihood_gradient
    if likelihood_gradient is None:
        return Target(split.names, split.start, log_density, prepare=prepare)

    def gradient(u: Floats) -> tuple[float, Floats]:
        log_prior, parameters = split.parameters(u, *split.data)
        value, slopes = likelihood_gradient([x[0] for x in parameters], mean, factor)
        if not np.isfinite(value + log_prior[0]):
            return -np.inf, np.zeros(u.size)
        return float(log_prior[0]) + value, split.pull(u, slopes, *split.data)

    return Target(split.names, split.start, log_density, gradient, prepare)


def fit_one(
    model: pm.Model,
    draws: int,
    chains: int,
    rng: np.random.Generator,
    workers: int | None = None,
) -> Laplace | None:
    """Draw from the posterior of a model's current phenotype.

    Return None, with a warning, if the weights are unreliable and PyMC computes the gradient of the
    likelihood in microseconds: NUTS on the model itself is then faster.

    Parameters
    ----------
    model
        A model for which `bayeslmm.inference.laplace.hyper.why_not_laplace` returns None.
    draws, chains
        Number of draws, and number of chains if NUTS is needed.
    rng
        Source of randomness.
    workers
        Number of concurrent density evaluations; default the number of cores.
    """
    split = hyper(model)
    effects = split.effects_prior(*split.data)
    kept: Quadratics = {}
    target = target_of(split, effects, kept)
    cores = workers or available_cores()
    at_once = cores if split.expensive else 1
    seed = np.random.SeedSequence([int(x) for x in rng.integers(0, 2**32, 4)])
    weighted = importance_sample(target, ess=min(ESS, draws), seed=seed, workers=at_once)
    stats: dict[str, Floats] = {}
    if weighted.ok:
        points = weighted.points[resample(weighted, draws, rng)]
        step = f"importance sampling, k̂ = {weighted.pareto_k:.2f}"
    else:
        on_model = target.gradient is None and not split.expensive
        warn_user(
            f"importance sampling failed (k̂ = {weighted.pareto_k:.2f}, it must be below {KHAT}; "
            f"ESS {weighted.ess:.0f}): the draws come from NUTS on the "
            f"{'model' if on_model else 'marginal density'} instead"
        )
        if on_model:
            return None
        found = sample_hmc(
            target,
            draws=draws // chains,
            chains=chains,
            seed=int(rng.integers(2**31)),
            workers=at_once,
            mode=weighted.mode,
        )
        points = found.points.reshape(-1, len(target.names))
        stats = {"diverging": found.diverging.astype(np.float64), "energy": found.energy}
        step = f"NUTS on the marginal density, because k̂ = {weighted.pareto_k:.2f}"
    beta, log_likelihood = conditional_beta(split, effects, points, rng, at_once, kept)
    values = split.variables(points, beta, effects, *split.data)
    return Laplace(values, log_likelihood, weighted, step, bool(stats), stats)


def conditional_beta(
    split: Hyper,
    effects: EffectsPrior,
    points: Floats,
    rng: np.random.Generator,
    workers: int,
    kept: Quadratics,
) -> tuple[Floats, Floats]:
    """Draw β given y for every point (draws, d); also return log p(y | β, u).

    Points whose density has been evaluated before (`kept`) need no new factorisation.
    """
    new = np.unique([u for u in points if u.tobytes() not in kept] or points[:0], axis=0)
    if len(new):
        _, parameters = split.parameters(new, *split.data)
        found = run(
            lambda i: split.quadratic([x[i] for x in parameters]),
            range(len(new)),
            workers,
        )
        kept |= {u.tobytes(): quadratic for u, quadratic in zip(new, found, strict=True)}
    z = rng.standard_normal((len(points), len(effects.mean)))
    beta, logp = np.empty_like(z), np.empty(len(points))
    for k, u in enumerate(points):
        quadratic = kept[u.tobytes()]
        assert quadratic is not None  # the density is positive
        beta[k] = draw_beta(quadratic, effects.mean, effects.factor, z[k])
        logp[k] = quadratic.at(beta[k])
    return beta, logp


def draw(model: pm.Model, request: Request) -> Drawn:
    """Draw for a fit; by NUTS on the model if the weights fail and gradients are cheap."""
    chains = request.chains
    found = fit_one(model, request.draws, chains, request.rng, request.cores)
    if found is None:
        step = "; NUTS on the model, because importance sampling failed"
        return replace(nuts.draw(model, request), step=step)
    log_prior = chain_draw(model, found.values.pop("log_prior"), chains, names=False)
    likelihood = {"phenotype": found.log_likelihood}
    log_likelihood = chain_draw(model, likelihood, chains, names=False)
    return Drawn(
        chain_draw(model, found.values, chains),
        log_prior,
        log_likelihood,
        importance_group(found, joint(log_prior, log_likelihood)),
        step=f"; {found.step}",
    )


def replicate(model: pm.Model, draws: int, rng: np.random.Generator, ess: float = ESS) -> Replicate:
    """Draw for calibration; by NUTS on the model if the weights fail.

    `ess` is the importance ESS, by default as in `fit`. All draws of a fit share the error of its
    weights, which adds ½/ESS to each outer tail of the ranks. With an ESS of 150 a 95 % interval
    covers 0.6 % less, which a thousand simulations just detect. If the weights fail, `fit` may run
    NUTS on the marginal density by finite differences for minutes; NUTS on the model draws from the
    same posterior in seconds. There is no time limit, so the same seed gives the same numbers.
    """
    split = hyper(model)
    effects = split.effects_prior(*split.data)
    kept: Quadratics = {}
    target = target_of(split, effects, kept)
    seed = np.random.SeedSequence([int(x) for x in rng.integers(0, 2**32, 4)])
    weighted = importance_sample(target, ess=ess, seed=seed, workers=1)
    if not weighted.ok:
        found = nuts.replicate(model, draws, rng)
        return replace(found, pareto_k=weighted.pareto_k, fell_back=True)
    points = weighted.points[resample(weighted, draws, rng)]
    beta, log_likelihood = conditional_beta(split, effects, points, rng, 1, kept)
    values = split.variables(points, beta, effects, *split.data)
    values.pop("log_prior")
    return Replicate(values, log_likelihood, weighted.pareto_k)


def importance_group(found: Laplace, lp: Floats) -> xr.Dataset:
    """Return the sample statistics of the Laplace engine."""
    variables: Variables = {"lp": (("chain", "draw"), lp)}
    variables |= {name: (("chain", "draw"), value) for name, value in found.stats.items()}
    out = dataset(variables, {})
    weighted = found.weighted
    out.attrs |= {
        "pareto_k": weighted.pareto_k,
        "evaluations": weighted.evaluations,
        "rounds": json.dumps(list(weighted.rounds)),
        "step": found.step,
    }
    if not found.chains:
        out.attrs["ess_importance"] = weighted.ess
        out.attrs |= {"log_evidence": weighted.log_evidence, "log_evidence_mcse": weighted.mcse}
    return out


LAPLACE = Engine(
    "laplace",
    "few hyperparameters, normal prior on β, random effects integrated out",
    why_not_laplace,
    draw,
    replicate,
)
