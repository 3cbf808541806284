"""Samplers with a bug each, for the tests that calibration sees it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pymc as pm
from numpy.typing import NDArray
from scipy.special import expit, logit

from bayeslmm.inference.engine import Replicate
from bayeslmm.inference.exact.exact import EXACT
from bayeslmm.inference.exact.marginal import marginal
from bayeslmm.inference.tree import prior_draws

type Floats = NDArray[np.float64]


def drawn_at(model: pm.Model, z: Floats, t: Floats, beta: Floats) -> Replicate:
    """All variables of a model of one kernel at logit h², log τ and β; the density is computed."""
    split = marginal(model)
    data = tuple(split.data.values())
    values = split.variables(z, t, beta, split.effects_prior(*data), *data)
    values.pop("log_prior")
    return Replicate(values)


def parameters(found: Replicate) -> tuple[Floats, Floats, Floats]:
    values = found.values
    return logit(values["h2"]), np.log(values["total_sd"]), np.asarray(values["beta"])


def wider(model: pm.Model, draws: int, rng: np.random.Generator, by: float = 1.8) -> Replicate:
    """Draws of h² and β spread about their mean."""
    z, t, beta = parameters(EXACT.replicate(model, draws, rng))
    stretched = [x.mean(axis=0) + by * (x - x.mean(axis=0)) for x in (z, t, beta)]
    return drawn_at(model, *stretched)


def narrower(model: pm.Model, draws: int, rng: np.random.Generator) -> Replicate:
    return wider(model, draws, rng, by=1 / 1.8)


@cache
def _prior(key: int) -> dict[str, Any]:
    variables = prior_draws(_MODELS[key], 20_000, 3)
    assert variables is not None
    return {name: np.asarray(value)[0] for name, (_, value) in variables.items()}


_MODELS: dict[int, pm.Model] = {}


def ignores_the_data(model: pm.Model, draws: int, rng: np.random.Generator) -> Replicate:
    """The posterior is the prior."""
    _MODELS[id(model)] = model
    prior = _prior(id(model))
    chosen = rng.integers(0, len(prior["h2"]), draws)
    return Replicate({name: values[chosen] for name, values in prior.items()})


def n_for_n_minus_p(model: pm.Model, draws: int, rng: np.random.Generator) -> Replicate:
    """τ^-n where τ^-(n - p) belongs: exact draws, resampled with weights τ^-p."""
    z, t, beta = parameters(EXACT.replicate(model, 20 * draws, rng))
    log_weights = -beta.shape[1] * t
    weights = np.exp(log_weights - log_weights.max())
    chosen = rng.choice(t.size, draws, p=weights / weights.sum())
    return drawn_at(model, z[chosen], t[chosen], beta[chosen])


def shifted(model: pm.Model, draws: int, rng: np.random.Generator) -> Replicate:
    """h² a little too large."""
    z, t, beta = parameters(EXACT.replicate(model, draws, rng))
    return drawn_at(model, logit(expit(z) ** 0.7), t, beta)


def fails_now_and_then(model: pm.Model, draws: int, rng: np.random.Generator) -> Replicate:
    found = EXACT.replicate(model, draws, rng)
    problem = "did not converge" if rng.random() < 0.2 else None
    return Replicate(found.values, found.log_likelihood, problem=problem)
