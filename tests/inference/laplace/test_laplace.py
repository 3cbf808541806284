"""The density of the Laplace engine where it is zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from compiled_models import compiled
from model_cases import case

from bayeslmm.inference.laplace.hyper import hyper
from bayeslmm.inference.laplace.laplace import target_of


def test_the_gradient_where_the_density_is_zero() -> None:
    """All variances zero: -inf and a slope of zeros, which the sampler takes as a wall."""
    split = hyper(compiled(case("dominance")).model)
    target = target_of(split, split.effects_prior(*split.data))
    assert target.gradient is not None
    nowhere = split.start.copy()
    nowhere[list(split.names).index("total_sd")] = -500.0
    value, slope = target.gradient(nowhere)
    assert value == target.log_density(nowhere) == -np.inf
    assert np.array_equal(slope, np.zeros(split.start.size))
    value, slope = target.gradient(split.start)
    assert np.isfinite(value)
    assert np.all(slope != 0)


def test_no_likelihood_is_asked_for_where_the_prior_is_zero() -> None:
    """A total standard deviation beyond float64, among points that are possible."""
    split = hyper(compiled(case("dominance")).model)

    def refuse(parameters: list[np.ndarray]) -> None:
        assert all(np.isfinite(x).all() for x in parameters)

    target = target_of(replace(split, quadratic=refuse), split.effects_prior(*split.data))
    beyond = split.start.copy()
    beyond[list(split.names).index("total_sd")] = 800.0
    assert target.log_density(beyond) == -np.inf
