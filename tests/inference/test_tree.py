"""Parts of the tree: draws from the prior, data of a latent model, versions."""

from __future__ import annotations

import json

import numpy as np
import pymc as pm
import pytest
from engine_oracles import contrasts, family_model, gram, simulated
from scipy import stats

from bayeslmm.inference import tree
from bayeslmm.inference.tree import constant_data, prior_draws, provenance


def test_draws_of_a_hierarchical_prior_belong_together() -> None:
    """b | s is half-normal of scale s; the derived variance is of the same draw."""
    with pm.Model() as model:
        s = pm.HalfNormal("s", 2.0)
        b = pm.HalfNormal("b", s)
        pm.Deterministic("variance", pm.math.stack([s**2, b**2]))
    drawn = prior_draws(model, 2000, seed=91)
    assert drawn is not None
    found = {name: np.asarray(value)[0] for name, (_, value) in drawn.items()}
    assert {name: x.shape for name, x in found.items()} == {
        "s": (2000,), "b": (2000,), "variance": (2000, 2),
    }  # fmt: skip
    assert stats.kstest(found["s"], stats.halfnorm(scale=2.0).cdf).pvalue > 1e-3
    assert stats.kstest(found["b"] / found["s"], stats.halfnorm.cdf).pvalue > 1e-3
    np.testing.assert_allclose(found["variance"], np.stack([found["s"], found["b"]], axis=1) ** 2)
    again = prior_draws(model, 2000, seed=91)
    assert again is not None
    assert np.array_equal(again["b"][1], drawn["b"][1])


def test_a_latent_model_keeps_the_eigenvalues_of_its_kernel() -> None:
    """Those among the contrasts, and the squares of y's contrasts, by a null space of Xᵀ."""
    data = simulated(24, 2, 0.5, seed=92, K=gram(24, 90, np.random.default_rng(1)))
    group = constant_data(data.model("additive_cholesky"))
    eigenvalues, eta = contrasts(data)
    found = group["eigenvalue"].to_numpy()
    order = np.argsort(found)
    assert group["eigenvalue"].dims == group["contrasts"].dims == ("contrast",)
    np.testing.assert_allclose(found[order], eigenvalues, atol=1e-8)
    np.testing.assert_allclose(group["contrasts"].to_numpy()[order] ** 2, eta**2, atol=1e-5)
    np.testing.assert_allclose(group["design"].to_numpy(), data.X)


def test_a_package_that_is_absent_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "PACKAGES", ("pymc", "no-such-package"))
    versions = json.loads(provenance(family_model())["versions"])
    assert versions == {"pymc": pm.__version__, "no-such-package": "not installed"}
