"""The realised PVE of a user's model that has no genetic values of its own."""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytest
from engine_oracles import simulated

from bayeslmm.inference.pve import add_genetic
from bayeslmm.inference.tree import Variables
from bayeslmm.priors.fixed_effects import fixed_effects
from bayeslmm.priors.variances import variance_shares


@pytest.mark.parametrize("keep", [False, True])
def test_a_model_without_genetic_values_gets_no_proportions(keep: bool) -> None:
    """Siblings by an intercept a family: what is not known is left out, not guessed."""
    data = simulated(20, 2, 0.5, seed=71)
    cohort = data.cohort()
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        beta = fixed_effects(cohort)
        variance = variance_shares(cohort)
        family = pm.Normal("family", 0.0, pm.math.sqrt(variance[0]), shape=5)
        mean = data.X @ beta + family[np.arange(20) // 4]
        pm.Normal("phenotype", mean, pm.math.sqrt(variance[1]), observed=data.y, dims="individual")
    variables: Variables = {
        "beta": (("chain", "draw", "covariate"), np.ones((2, 3, 2))),
        "variance": (("chain", "draw", "component"), np.ones((2, 3, 2))),
        "family": (("chain", "draw", "family_dim_0"), np.ones((2, 3, 5))),
    }
    before = set(variables)
    parts = add_genetic(model, variables, np.random.default_rng(1), keep=keep)
    assert parts == ["fixed", "random", "covariance", "residual"]
    assert set(variables) == before
