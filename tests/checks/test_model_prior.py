"""The prior of a fit, read back from its densities at the draws."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayeslmm.checks.model_prior import FittedPrior, recover_prior, solve_exponents
from bayeslmm.checks.share_priors import beta_prior


def draws_of(a: float, b: float, alpha: float, kernels: int, seed: int = 1) -> tuple:
    """Shares from another distribution, and their log density written out with SciPy."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(kernels + 1, 2.0), 200)
    e = shares[:, :-1].sum(axis=1)
    density = stats.beta.logpdf(e, a, b)
    if kernels > 1:
        parts = shares[:, :-1] / e[:, None]
        split = [
            stats.dirichlet.logpdf(part / part.sum(), np.full(kernels, alpha)) for part in parts
        ]
        density = density + np.array(split) - (kernels - 1) * np.log(e)
    return shares, density


@pytest.mark.parametrize(
    ("a", "b", "alpha", "kernels"),
    [(1, 1, 1, 1), (0.5, 2, 1, 1), (1, 1, 1, 2), (2, 3, 0.5, 2), (1, 1, 1, 5), (0.5, 0.5, 4, 3)],
)
def test_beta_and_dirichlet_are_recovered(a: float, b: float, alpha: float, kernels: int) -> None:
    shares, density = draws_of(a, b, alpha, kernels)
    found = solve_exponents(shares[:, None, :], density)
    assert found == pytest.approx((a, b, alpha), abs=1e-5)


def test_traits_share_one_prior() -> None:
    rng = np.random.default_rng(3)
    h2 = rng.random((300, 3))
    density = stats.beta.logpdf(h2, 2, 5).sum(axis=1)
    assert solve_exponents(np.stack([h2, 1 - h2], axis=-1), density) == pytest.approx(
        (2, 5, 1), abs=1e-5
    )


def test_other_priors_are_not_guessed() -> None:
    h2 = np.random.default_rng(3).random(300)
    shares = np.stack([h2, 1 - h2], axis=-1)[:, None, :]
    assert solve_exponents(shares, stats.truncnorm.logpdf(h2, 0, 2, 0, 0.5)) is None
    assert solve_exponents(shares, np.full(300, np.log(2.0))) is None  # uniform on half of [0, 1]
    assert solve_exponents(shares[:5], np.zeros(5)) is None  # too few to tell


def test_the_density_of_shares_is_that_of_the_prior() -> None:
    shares, density = draws_of(2.0, 3.0, 0.5, 3)
    own = FittedPrior(beta_prior(2, 3), shares[:, None, :], 0.5, None, None)
    np.testing.assert_allclose(own.log_shares(own.prior), density, rtol=1e-10)


def test_a_tree_without_densities_has_no_known_prior() -> None:
    posterior = xr.Dataset({"h2": (("chain", "draw"), np.random.default_rng(1).random((2, 50)))})
    assert recover_prior(xr.DataTree.from_dict({"posterior": posterior})) is None
