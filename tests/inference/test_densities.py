"""Log prior and log likelihood at draws of a model that NUTS samples, against SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from compiled_models import PYTHON
from engine_oracles import Data, simulated
from scipy import stats

from bayeslmm.inference.densities import log_densities
from bayeslmm.inference.tree import Variables
from bayeslmm.priors.variances import variance_shares


def draws_of(model: Any, count: int, chains: int) -> Variables:
    """Every free and derived variable at points about the start (chain, draw, ...)."""
    rng = np.random.default_rng(21)
    start = model.initial_point(1)
    named = [*model.free_RVs, *model.deterministics]
    function = pytensor.function(model.value_vars, model.replace_rvs_by_values(named), mode=PYTHON)
    shapes = [np.shape(start[v.name]) for v in model.value_vars]
    starts = [np.asarray(start[v.name]) for v in model.value_vars]
    found = [
        function(*(x + 0.3 * rng.standard_normal(n) for x, n in zip(starts, shapes, strict=True)))
        for _ in range(count)
    ]
    out: Variables = {}
    for k, rv in enumerate(named):
        values = np.stack([np.asarray(one[k]) for one in found])
        out[rv.name] = (("chain", "draw"), values.reshape(chains, -1, *values.shape[1:]))
    return out


@pytest.mark.parametrize("prior", ["normal(0, 10)", "flat()"])
def test_the_densities_of_a_latent_model_are_scipys(prior: str) -> None:
    """A likelihood a record; the log density of a flat prior is zero at every draw."""
    data: Data = simulated(20, 2, 0.5, seed=31)
    model = data.model("additive_cholesky", beta=prior)
    variables = draws_of(model, 6, 2)
    log_prior, log_likelihood = log_densities(model, variables)
    values = {name: np.asarray(value) for name, (_, value) in variables.items()}
    dims, found = log_likelihood["phenotype"]
    assert dims == ("chain", "draw", "individual")
    mean = values["beta"] @ data.X.T + values["g"]
    sd = np.sqrt(values["variance"][..., 1:])
    np.testing.assert_allclose(found, stats.norm.logpdf(data.y, mean, sd), rtol=1e-10)
    assert set(log_prior) == {rv.name for rv in model.free_RVs}
    for name, (dims, value) in log_prior.items():
        assert (name, dims, value.shape) == (name, ("chain", "draw"), (2, 3))
    tau = values["total_sd"] / (2.5 * data.unit)
    expected = np.log(2) + stats.t.logpdf(tau, 3) - np.log(2.5 * data.unit)
    np.testing.assert_allclose(log_prior["total_sd"][1], expected, rtol=1e-9)
    np.testing.assert_allclose(log_prior["h2"][1], 0.0, atol=1e-12)
    gamma = stats.norm.logpdf(values["beta_std"], 0, 10).sum(axis=-1)
    np.testing.assert_allclose(
        log_prior["beta_std"][1], gamma if prior != "flat()" else 0.0, rtol=1e-9, atol=1e-12
    )


def test_a_density_that_is_one_number_is_that_of_every_draw() -> None:
    """A user's improper prior: log p = log 3 wherever the parameter is."""
    data = simulated(20, 2, 0.5, seed=32)
    cohort = data.cohort()
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        level = pm.CustomDist("level", logp=lambda _: pt.constant(np.log(3.0)))
        variance = variance_shares(cohort)
        sd = pm.math.sqrt(variance.sum())
        pm.Normal("phenotype", level, sd, observed=data.y, dims="individual")
    variables = draws_of(model, 6, 2)
    log_prior, log_likelihood = log_densities(model, variables)
    assert log_prior["level"][1].shape == log_prior["h2"][1].shape == (2, 3)
    np.testing.assert_allclose(log_prior["level"][1], np.log(3.0))
    tau = np.asarray(variables["total_sd"][1])[..., None]
    expected = stats.norm.logpdf(data.y, np.asarray(variables["level"][1])[..., None], tau)
    np.testing.assert_allclose(log_likelihood["phenotype"][1], expected, rtol=1e-10)
