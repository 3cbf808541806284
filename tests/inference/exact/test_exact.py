"""Many traits with the exact engine where their rows of the grid cannot or can be shared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_oracles import Data, effects_prior, gram, sibships, simulated
from numpy.typing import NDArray
from own_models import own_model
from scipy.special import expit
from scipy.stats import multivariate_normal

from bayeslmm.distributions.phenotype import require_marginal, set_phenotype
from bayeslmm.inference.exact import exact
from bayeslmm.inference.exact.coordinates import Coordinates
from bayeslmm.inference.exact.exact import SharedRows
from bayeslmm.inference.exact.marginal import marginal
from bayeslmm.inference.graph import EffectsPrior
from bayeslmm.likelihood.decompose import compress, decompose
from bayeslmm.likelihood.fixed_effects import integrate_beta
from bayeslmm.likelihood.kernel_marginal import KernelMarginal

type Floats = NDArray[np.float64]

BOUNDED = """
from bayeslmm.modelling import phenotype_unit
h = pm.Uniform('h2', 0, 1 / (1 + phenotype_unit(cohort)))
t = pm.Uniform('total_sd', 0, 9 * phenotype_unit(cohort))
u, e = h * t**2, (1 - h) * t**2
"""


def traits(data: Data) -> Floats:
    """Three phenotypes on three scales."""
    rng = np.random.default_rng(41)
    root = np.linalg.cholesky(0.5 * data.K + 0.5 * np.eye(data.n))
    noise = root @ rng.standard_normal((data.n, 2))
    return np.column_stack([data.y, 5 + 0.1 * noise[:, 0], 2 + 4.0 * noise[:, 1]])


def require_as_alone(model: Any, values: Floats) -> list[exact.Exact]:
    """Every trait as if it were fitted alone."""
    together = exact.fit_many(model, values, 16, seed=5)
    for j, found in enumerate(together):
        set_phenotype(model, values[:, j])
        alone, _ = exact.fit_one(model, 16, np.random.default_rng(1))
        assert found.log_evidence == pytest.approx(alone.log_evidence, abs=1e-7)
        assert found.share.moments() == pytest.approx(alone.share.moments(), abs=1e-7)
        assert found.share.hdi(0.9) == pytest.approx(alone.share.hdi(0.9), abs=1e-5)
    return together


def test_traits_with_bounds_of_their_own_do_not_share_rows(tmp_path: Path) -> None:
    """h² is uniform up to 1 / (1 + sd(y | X)): the support differs from trait to trait."""
    data = simulated(60, 2, 0.5, seed=40, K=sibships(60, 6))
    values = traits(data)
    found = require_as_alone(own_model(tmp_path, BOUNDED, data), values)
    for j, one in enumerate(found):
        unit = Data(values[:, j], data.X, data.K).unit
        assert one.share.quantile(1.0) == pytest.approx(1 / (1 + unit), abs=1e-6)


def test_traits_with_flat_effects_share_rows() -> None:
    data = simulated(60, 2, 0.5, seed=42, K=sibships(60, 6))
    require_as_alone(data.model(beta="flat()"), traits(data))


def test_rows_serve_the_same_prior_up_to_rounding_only() -> None:
    model = simulated(30, 2, 0.5, seed=43).model()
    spectrum = require_marginal(model).spectrum
    assert spectrum is not None

    def prior(factor: Floats | None) -> EffectsPrior:
        return EffectsPrior(np.zeros(2), factor, np.zeros(2), np.eye(2))

    whole, half = Coordinates(), Coordinates((0.0, 0.5))
    normal = np.diag([1e3, 1.0])
    rows = SharedRows(spectrum, prior(normal), whole)
    assert rows.serves(prior(normal + 1e-8), whole)
    assert not rows.serves(prior(normal + 1e-4), whole)
    assert not rows.serves(prior(normal), half)
    assert not rows.serves(prior(None), whole)
    flat = SharedRows(spectrum, prior(None), whole)
    assert flat.serves(prior(None), whole)
    assert not flat.serves(prior(normal), whole)


@pytest.mark.parametrize("beta", ["normal(0, 10)", "flat()"])
def test_a_kernel_of_few_variants_has_few_nodes_and_the_same_posterior(beta: str) -> None:
    """Eight eigenvalues and a node for zero, against all 57: everything but the draws to 1e-9."""
    K = gram(60, 8, np.random.default_rng(44))
    data = simulated(60, 3, 0.5, seed=44, K=K)
    model = data.model(beta=beta)
    split, whole = marginal(model), decompose(data.K, data.X)
    merged = compress(whole)
    assert (merged.nodes, whole.nodes) == (9, 57)
    assert merged.basis.columns.shape == (60, 11)
    few, all_of_them = (
        exact.solve(
            replace(split, spectrum=spectrum),
            spectrum.rotate(data.y),
            tuple(split.data.values()),
            400,
            np.random.default_rng(1),
        )
        for spectrum in (merged, whole)
    )
    for name in ("log_evidence", "log_evidence_at_zero"):
        assert getattr(few, name) == pytest.approx(getattr(all_of_them, name), abs=1e-9)
    assert few.share.moments() == pytest.approx(all_of_them.share.moments(), abs=1e-10)
    assert few.share.hdi(0.95) == pytest.approx(all_of_them.share.hdi(0.95), abs=1e-8)
    for name in ("z", "t", "beta", "log_likelihood"):  # of the same random numbers
        found, wanted = getattr(few.draws, name), getattr(all_of_them.draws, name)
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    if beta != "flat()":
        h, t = expit(few.draws.z), few.draws.t
        b0, B = effects_prior(data)
        for i in (0, 200, 399):
            V = np.exp(2 * t[i]) * (h[i] * data.K + (1 - h[i]) * np.eye(60)) + data.X @ B @ data.X.T
            dense = multivariate_normal(data.X @ b0, V).logpdf(data.y)
            density = KernelMarginal(merged, 1, ("g",), matrices=False)
            at = density.quadratic(data.y)([np.exp(2 * t[i]) * np.array([h[i], 1 - h[i]])])
            assert at is not None
            found = integrate_beta(at, few.effects.mean, few.effects.factor)
            assert found == pytest.approx(dense, abs=1e-8)
