"""A fit with g among the parameters: what its tree holds, and the quantities of calibration."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from engine_oracles import Data, simulated
from numpy.typing import NDArray
from scipy import stats

from bayeslmm.calibration.quantities import MAX_BLUP, log_likelihood_at, max_blup
from bayeslmm.inference.fit import fit
from bayeslmm.likelihood.decompose import decompose

type Floats = NDArray[np.float64]

pytestmark = pytest.mark.filterwarnings("ignore:small sample")


@cache
def latent() -> tuple[Data, Any, Any]:
    data = simulated(40, 2, 0.5, seed=11)
    model = data.model("additive_cholesky")
    options = {"draws": 60, "chains": 2, "tune": 80, "seed": 3, "genetic_values": True}
    return data, model, fit(model, "nuts", **options)


def drawn(name: str) -> Floats:
    """All draws of a variable, (draws, ...)."""
    value = latent()[2]["posterior"][name].transpose("chain", "draw", ...).to_numpy()
    return np.asarray(value.reshape(-1, *value.shape[2:]))


def variables() -> dict[str, Any]:
    """Draws as the engines hand them on; z, of g = Lz, is not kept but follows from g."""
    _, model, tree = latent()
    posterior = tree["posterior"].to_dataset()
    known = {name: (v.dims, v.to_numpy()) for name, v in posterior.data_vars.items()}
    factor = np.asarray(model["g"].tag.factor)
    for rv in model.free_RVs:
        if rv.name not in known:
            sd = np.sqrt(posterior["sigma2_u"].to_numpy())[..., None]
            z = np.linalg.lstsq(factor, (posterior["g"].to_numpy() / sd).reshape(-1, len(factor)).T)
            known[rv.name] = (("chain", "draw", "z"), z[0].T.reshape(2, -1, factor.shape[1]))
    return known


def test_log_likelihood_is_that_of_each_record_given_g() -> None:
    data, _, tree = latent()
    found = tree["log_likelihood"]["phenotype"].transpose("chain", "draw", "individual")
    mean = drawn("beta") @ tree["constant_data"]["design"].to_numpy().T + drawn("g")
    wanted = stats.norm.logpdf(data.y, mean, np.sqrt(drawn("sigma2_e"))[:, None])
    np.testing.assert_allclose(found.to_numpy().reshape(wanted.shape), wanted, atol=1e-8)


def test_spectrum_is_kept_for_the_checks_of_the_report() -> None:
    """Contrasts of close eigenvalues may turn; the densities that they give do not."""
    data, _, tree = latent()
    spectrum = decompose(data.K, data.X)
    s = tree["constant_data"]["eigenvalue"].to_numpy()
    e = tree["constant_data"]["contrasts"].to_numpy()
    np.testing.assert_allclose(s, spectrum.eigenvalues, atol=1e-8)
    wanted = spectrum.rotate(data.y)[spectrum.p :]
    for h2 in (0.0, 0.4, 0.9):
        d = h2 * spectrum.eigenvalues + 1 - h2
        assert np.sum(e**2 / d) == pytest.approx(np.sum(wanted**2 / d), rel=1e-6)


def test_quantities_of_calibration() -> None:
    """log p(y | θ), and the largest E[g | y, β, σ²] by the dense formula."""
    data, model, tree = latent()
    each = tree["log_likelihood"]["phenotype"].transpose("chain", "draw", "individual")
    total = each.to_numpy().sum(axis=2).ravel()
    np.testing.assert_allclose(log_likelihood_at(model, variables()), total, atol=1e-7)
    found = max_blup(model, variables())[MAX_BLUP]
    X = tree["constant_data"]["design"].to_numpy()
    for k in range(0, found.size, 17):
        a, b = drawn("sigma2_u")[k], drawn("sigma2_e")[k]
        V = a * data.K + b * np.eye(data.n)
        g = a * data.K @ np.linalg.solve(V, data.y - X @ drawn("beta")[k])
        assert found[k] == pytest.approx(np.abs(g).max(), rel=1e-6)
