"""The Laplace engine where its weights fail, and where the density is zero."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from compiled_models import compiled
from model_cases import case

from bayeslmm.diagnostics import convergence
from bayeslmm.engines import fit, laplace
from bayeslmm.engines.hyper import hyper
from bayeslmm.engines.laplace import target_of
from bayeslmm.errors import BayesLMMWarning


def test_where_weights_fail_a_dense_likelihood_goes_on_to_nuts_on_its_marginal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The posterior that importance sampling gives, by chains with their own statistics."""
    model = compiled(case("dominance")).model
    wanted = fit(model, "laplace", draws=2000, seed=6)
    usual = laplace.importance_sample
    monkeypatch.setattr(
        laplace, "importance_sample", lambda *a, **k: replace(usual(*a, **k), ok=False)
    )
    monkeypatch.setattr(laplace, "sample_hmc", partial(laplace.sample_hmc, tune=200))
    words = r"importance sampling failed .* NUTS on the marginal density instead"
    with pytest.warns(BayesLMMWarning, match=words):
        tree = fit(model, "laplace", draws=800, chains=4, seed=6, cores=2)
    assert "; NUTS on the marginal density, because k̂ = " in tree.attrs["engine_reason"]
    stats = tree["sample_stats"]
    assert stats["diverging"].shape == stats["energy"].shape == (4, 200)
    assert not {"ess_importance", "log_evidence"} & set(stats.attrs)  # the weights' own
    assert {"ess_importance", "log_evidence"} <= set(wanted["sample_stats"].attrs)
    for name in ("h2", "total_sd"):
        found, other = tree["posterior"][name].to_numpy(), wanted["posterior"][name].to_numpy()
        health = convergence(found)
        assert health["ess_bulk"] > 100
        error = np.hypot(health["mcse"], other.std() / np.sqrt(500))
        assert abs(found.mean() - other.mean()) < 4 * error
    lp = sum(tree["log_prior"][name] for name in tree["log_prior"].data_vars)
    lp = lp + tree["log_likelihood"]["phenotype"]
    np.testing.assert_allclose(stats["lp"], lp, rtol=1e-10)


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
