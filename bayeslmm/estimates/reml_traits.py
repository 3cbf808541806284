"""REML of several traits and one kernel: starting values by EM, the mode by BFGS.

The error contrasts e (m, T) of the traits in the basis of the spectrum are independent rows,
``e_k ~ N(0, s_k G + R)``. So `bayeslmm.likelihood.traits` without fixed effects gives the
restricted likelihood. Its mode is also the posterior mode under flat priors on β, G and R.

References
----------
Patterson & Thompson (1971) Biometrika 58:545; Dempster, Laird & Rubin (1977) JRSS B 39:1;
Meyer (1985) Biometrics 41:153.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.optimize

from bayeslmm.errors import InputError
from bayeslmm.likelihood.canonical import canonical_basis
from bayeslmm.likelihood.traits import multi_trait_logp
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.likelihood.spectrum import Spectrum


@dataclass(frozen=True, slots=True, eq=False)
class RemlMode:
    """The maximum of the restricted likelihood.

    Parameters
    ----------
    genetic, residual
        G and R (T, T).
    log_likelihood
        Log density of the orthonormal error contrasts at the maximum.
    gradient
        Largest slope left per standardised parameter; about 1e-4 or less at a mode.
    """

    genetic: Floats
    residual: Floats
    log_likelihood: float
    gradient: float


def spectral_start(rotated: Floats, spectrum: Spectrum, steps: int = 20) -> tuple[Floats, Floats]:
    """Find starting values of G and R: halves of the residual covariance, then EM steps.

    Every EM step raises the restricted likelihood and keeps G and R positive definite::

        G ← mean_k (û_k û_kᵀ + Var(u_k | e_k)) / s_k        R ← mean_k (ε̂_k ε̂_kᵀ + Var(ε_k | e_k))

    Parameters
    ----------
    rotated
        ``WᵀY`` (n, T).
    spectrum
        Spectrum of K and X.
    steps
        Number of EM steps, O(n T²) each.

    Returns
    -------
    G, R
        (T, T) each, positive definite.

    Raises
    ------
    InputError
        If the traits are linearly dependent given the covariates, or K is zero.
    """
    s, e = spectrum.expanded(rotated)
    R = 0.5 * _total(rotated, spectrum)
    if not spectrum.rank:
        raise InputError("a kernel of zeros", "a kernel with variance", "check the relationships")
    G = R * (s.size / s.sum())
    seen = s > 0
    for _ in range(steps):
        possible, basis, inverse, shares, _ = canonical_basis(G, R)
        if not possible:
            break
        a, b = shares.T
        x = e @ inverse.T
        d = s[:, None] * a + b
        u, noise = (a * x / d)[seen], b * x / d  # û/s, as û = a s x/d
        weight = s[seen, None]
        G = (u * weight).T @ u + np.diag((a * b / d[seen]).sum(axis=0))
        R = noise.T @ noise + np.diag((a * b * s[:, None] / d).sum(axis=0))
        G = basis @ G @ basis.T / weight.size
        R = basis @ R @ basis.T / s.size
    return G, R


def _total(rotated: Floats, spectrum: Spectrum) -> Floats:
    """Return the mean square of the contrasts (T, T); raise `InputError` if it is singular."""
    e = rotated[spectrum.p :]
    total = np.asarray(e.T @ e / spectrum.m)
    scale = np.sqrt(np.diag(total))
    explained = scale <= 1e-10 * np.sqrt((rotated**2).mean(axis=0))
    if explained.any() or np.linalg.eigvalsh(total / np.outer(scale, scale))[0] < 1e-10:
        raise InputError(
            "traits that are linear combinations of each other and of the covariates",
            "traits that are linearly independent given the covariates",
            "leave out the trait that the others determine",
        )
    return total


def restricted_logp(
    rotated: Floats, G: Floats, R: Floats, spectrum: Spectrum
) -> tuple[float, Floats, Floats]:
    """Compute the log density of the error contrasts and its gradients in G and R (T, T)."""
    e = np.ascontiguousarray(rotated[spectrum.p :])
    k, T = e.shape
    nothing = (np.zeros((0, k)), np.zeros((0, 0)), np.zeros((0, 0)))
    nodes = (spectrum.eigenvalues, spectrum.weights)
    value, _, dG, dR = multi_trait_logp(e, np.zeros((0, T)), G, R, *nodes, *nothing)
    return float(value), dG, dR


def reml_mode(rotated: Floats, spectrum: Spectrum) -> RemlMode:
    """Maximise the restricted likelihood over the covariances G and R.

    BFGS starts from `spectral_start`. Its parameters are two lower triangles A with
    ``G = U A Aᵀ Uᵀ``, likewise for R, where UUᵀ is the residual covariance of the traits. So a
    singular G or R is an ordinary point.

    Parameters
    ----------
    rotated
        ``WᵀY`` (n, T).
    spectrum
        Spectrum of K and X.
    """
    T = rotated.shape[1]
    unit = np.linalg.cholesky(_total(rotated, spectrum))
    lower = np.tril_indices(T)
    half = lower[0].size

    def covariances(theta: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        factors = np.zeros((2, T, T))
        factors[0][lower], factors[1][lower] = theta[:half], theta[half:]
        A_G, A_R = unit @ factors
        return A_G, A_R, A_G @ A_G.T, A_R @ A_R.T

    def objective(theta: Floats) -> tuple[float, Floats]:
        A_G, A_R, G, R = covariances(theta)
        value, dG, dR = restricted_logp(rotated, G, R, spectrum)
        slopes = (2.0 * unit.T @ D @ A for D, A in ((dG, A_G), (dR, A_R)))
        return -value, -np.concatenate([slope[lower] for slope in slopes])

    roots = np.linalg.cholesky(np.stack(spectral_start(rotated, spectrum)))
    start = np.concatenate([np.linalg.solve(unit, L)[lower] for L in roots])
    found = scipy.optimize.minimize(
        objective, start, jac=True, method="BFGS", options={"gtol": 1e-6, "maxiter": 500}
    )
    _, _, G, R = covariances(found.x)
    return RemlMode(G, R, -float(found.fun), float(np.abs(objective(found.x)[1]).max()))
