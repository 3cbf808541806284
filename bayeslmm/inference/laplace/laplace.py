"""Laplace engine: mode, Hessian, importance sampling of the hyperparameters, exact β.

The posterior of the few hyperparameters, with β and every random effect integrated out, is sampled
by importance from a proposal that is fitted to it (`bayeslmm.inference.laplace.importance`); each
density evaluation is one Cholesky factorisation. β is then drawn exactly given each point. Where
the importance weights cannot be trusted (k̂ > 0.7) the engine says so and goes on to NUTS on the
same marginal density, preconditioned by the Hessian (`bayeslmm.inference.laplace.hmc`), or on the
model itself.
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

ESS = 1000.0  # importance ESS that is worth computing, whatever the number of draws


@dataclass(frozen=True, slots=True, eq=False)
class Laplace:
    """Posterior draws of one trait (or set of traits).

    Parameters
    ----------
    values
        Draws (draws, ...) of every variable of the model, and ``"log_prior"`` of every free one.
    log_likelihood
        (draws,) log p(y | β, parameters).
    weighted
        The importance sample behind them.
    step
        Which step gave the draws, in words.
    chains
        Draws come as Markov chains, one after the other (NUTS); False: near-independent.
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
    """log p(u, y) with β integrated out; `kept` gets the likelihood in β at every point."""
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
    """Posterior of a model's current phenotype.

    None, with a warning, where the weights cannot be trusted and the likelihood is one of those
    whose gradient PyMC has in microseconds: then NUTS on the model itself is the way to go on.

    Parameters
    ----------
    model
        One that `bayeslmm.inference.laplace.hyper.why_not_laplace` has no objection to.
    draws, chains
        Draws returned, and the number of chains if it comes to NUTS.
    rng
        Source of randomness.
    workers
        Density evaluations at a time; default as many as there are cores.
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
            f"importance sampling failed (k̂ = {weighted.pareto_k:.2f}, it has to be below {KHAT}; "
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
    """A draw of β given y for every point (draws, d), and log p(y | β, u) there.

    Points whose density has been evaluated before (`kept`) cost nothing more.
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
        assert quadratic is not None  # a point of positive density
        beta[k] = draw_beta(quadratic, effects.mean, effects.factor, z[k])
        logp[k] = quadratic.at(beta[k])
    return beta, logp


def draw(model: pm.Model, request: Request) -> Drawn:
    """Draws for a fit; of NUTS on the model where the weights fail and gradients are cheap."""
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
    """Draws for calibration; of NUTS on the model where the weights fail.

    `ess` is the importance ESS, by default that of `fit`. All draws of a fit share the error of
    its weights, which adds ½/ESS to each outer tail of the ranks: with an ESS of 150 a 95 %
    interval covers 0.6 % less, which a thousand simulations begin to see. Where the weights fail
    `fit` may go on to NUTS on the marginal density by finite differences, for minutes; NUTS on the
    model has the same posterior in seconds. Nothing is limited by the clock, so that the same seed
    gives the same numbers.
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
    """Sample statistics of the Laplace engine."""
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
