"""The likelihood in β at the edges of the (co)variances: no density, or a number, never NaN."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_models import compiled
from engine_oracles import log_marginal as dense_log_marginal
from engine_oracles import small
from model_cases import case
from numpy.typing import NDArray

from bayeslmm.engines.gaussian import gaussian, log_marginal, spectral_quadratic
from bayeslmm.engines.hyper import hyper

type Floats = NDArray[np.float64]

SEVERAL = case("bivariate", "2 traits")


def correlated(r: float, scale: float = 1.0) -> Floats:
    return scale * np.array([[1.0, r], [r, 1.0]])


def test_covariances_that_are_not_definite_have_no_density() -> None:
    quadratic = gaussian(compiled(SEVERAL).model).quadratic
    good = correlated(0.5)
    assert quadratic([good, good]) is not None
    for pair in ([-good, good], [good, -good], [good, 0 * good], [good, correlated(1.5)]):
        assert quadratic(pair) is None
    assert log_marginal(None, np.zeros(4), np.eye(4)) == -np.inf


def test_correlations_next_to_one_give_a_number_or_no_density() -> None:
    """Correlations within 1e-17 to 0.1 of ±1, on scales 1e-10 to 1e10."""
    model = compiled(SEVERAL).model
    quadratic, split = gaussian(model).quadratic, hyper(model)
    effects = split.effects_prior(*split.data)
    rng = np.random.default_rng(61)
    impossible = 0
    for _ in range(300):
        gap, scale = 1 - 10 ** rng.uniform(-17, -1, 2), 10 ** rng.uniform(-10, 10, 2)
        signs = rng.choice([-1, 1], 2)
        G, R = (correlated(s * g, x) for s, g, x in zip(signs, gap, scale, strict=True))
        value = log_marginal(quadratic([G, R]), effects.mean, effects.factor)
        assert not np.isnan(value)
        assert value < np.inf
        impossible += value == -np.inf
        assert value > -np.inf or gap.max() > 1 - 1e-4  # only next to an edge
    assert impossible > 10


def test_one_kernel_has_no_density_where_its_covariance_is_not_definite() -> None:
    data = small()
    model = data.model()
    rotated = np.asarray(model["phenotype_rotated"].get_value())
    spectrum = model["phenotype"].owner.op.spectrum
    split = hyper(model)
    effects = split.effects_prior(*split.data)
    for variance in ((0.0, 0.0), (1.0, 0.0), (1.0, -1.0), (-9.0, 1.0)):
        assert spectral_quadratic(spectrum, rotated, np.array(variance)) is None
    found = spectral_quadratic(spectrum, rotated, np.array([4.0, 4.0]))
    value = log_marginal(found, effects.mean, effects.factor)
    t = np.array([0.5 * np.log(8.0)])
    assert value == pytest.approx(dense_log_marginal(data, np.zeros(1), t)[0], abs=1e-9)
