"""Named priors of a share: their mass, what they expect, and the joint density of the sds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.special import expit
from scipy.stats import t as student

from bayeslmm.checks.share_priors import (
    ALTERNATIVES,
    HALF_T,
    SharePrior,
    beta_prior,
    half_t_prior,
    log_half_t_shares,
    pc_prior,
)

# reliability.md A1, measured there by simulation and closed forms: P(<.01), P(<.05), P(<.1), P(>.9)
TABLE = {
    "flat": (0.010, 0.050, 0.100, 0.100),
    "beta(0.5,0.5)": (0.064, 0.144, 0.205, 0.205),
    "half-t": (0.079, 0.170, 0.234, 0.235),
    "pc": (0.187, 0.379, 0.500, 0.021),
}


@pytest.mark.parametrize(
    "prior",
    [one for one in ALTERNATIVES if one.name in TABLE],
    ids=lambda one: getattr(one, "description", str(one))[:40],
)
def test_what_a_prior_expects_is_the_published_table(prior: SharePrior) -> None:
    found = prior.below(np.array([0.01, 0.05, 0.1, 0.9]))
    # the table has three decimals, and its PC prior a rounded rate
    assert [*found[:3], 1 - found[3]] == pytest.approx(TABLE[prior.name], abs=1.1e-3)


@pytest.mark.parametrize(
    "prior",
    [*ALTERNATIVES, beta_prior(0.3, 4.0), pc_prior(5.0), half_t_prior(7.0)],
    ids=lambda one: getattr(one, "description", str(one))[:40],
)
def test_densities_integrate_to_the_distribution_function(prior: SharePrior) -> None:
    # over logit x, to 1e-26 of either end; half-t is itself a quadrature of 4000 nodes
    for limit in (0.02, 0.4, 0.97):
        found, _ = quad(
            lambda z: float(
                np.exp(prior.log_density(np.array([expit(z)]), np.array([expit(-z)])))[0]
                * expit(z)
                * expit(-z)
            ),
            -200.0,
            np.log(limit / (1 - limit)),
            limit=400,
            points=[-60.0, -20.0, -5.0],
        )
        assert found == pytest.approx(float(prior.below(np.array(limit))), abs=3e-4)


def test_the_joint_density_of_half_t_sds_is_their_product() -> None:
    unit = 1.7

    def product(sigma: np.ndarray) -> float:
        scale = HALF_T[1] * unit
        return float(np.prod(2 * student.pdf(sigma / scale, HALF_T[0]) / scale))

    shares, tau = np.array([0.2, 0.3, 0.5]), 2.3
    sigma = tau * np.sqrt(shares)

    def variables(s1: float, s2: float, total: float) -> np.ndarray:
        return total * np.sqrt(np.array([s1, s2, 1 - s1 - s2]))

    point, step = np.array([0.2, 0.3, tau]), 1e-6
    jacobian = np.stack(
        [
            (variables(*(point + step * e)) - variables(*(point - step * e))) / (2 * step)
            for e in np.eye(3)
        ]
    )
    wanted = product(sigma) * abs(np.linalg.det(jacobian))  # central differences: 1e-9
    found = float(np.exp(log_half_t_shares(shares, np.array(tau), unit)))
    assert found == pytest.approx(wanted, rel=1e-7)


def test_two_components_induce_the_half_t_prior_of_the_share() -> None:
    mass, _ = dblquad(
        lambda log_tau, x: float(
            np.exp(log_half_t_shares(np.array([x, 1 - x]), np.exp(np.array(log_tau))) + log_tau)
        ),
        0.1,
        0.6,
        -15.0,
        15.0,
        epsabs=1e-7,
    )
    prior = half_t_prior()
    wanted = float(prior.below(np.array(0.6)) - prior.below(np.array(0.1)))
    assert mass == pytest.approx(wanted, abs=1e-5)
