"""REML and Haseman-Elston estimates of several traits and one kernel, with standard errors.

The error contrasts e (m, T) of T traits in the eigenbasis of the kernel are independent rows,
``e_k ~ N(0, V_k)``, ``V_k = s_k G + R``. With D_a the symmetric matrix of one (co)variance a and
w_k = s_k for G, 1 for R::

    REML              (G, R) at the top of l = Σ log N(e_k; 0, V_k)
                      observed information  -∂²l/∂a∂b, as in GEMMA; at the edge the expected,
                      ½ Σ_k w_ak w_bk tr(V_k⁻¹D_a V_k⁻¹D_b)
    Haseman-Elston    regression of e_ki e_kj on s_k, with intercept, for every pair of traits
                      Cov(e_ki e_kj, e_kl e_km) = V_il V_jm + V_im V_jl

The delta method gives standard errors of h²_t and of ``r_g = G_tu / √(G_tt G_uu)``.

References
----------
Meyer (1985) Biometrics 41:153 (REML of several traits); Sodini et al. (2018) Genetics 209:941
(genetic correlations by Haseman-Elston regression).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bayeslmm.estimates.reml import inverse_information
from bayeslmm.estimates.reml_traits import reml_mode, restricted_logp
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats

EDGE = 1e-5  # G or R with an eigenvalue below this is singular, traits in units of their sd
CONVERGED = 1e-2  # largest gradient at an accepted maximum of the restricted likelihood


@dataclass(frozen=True, slots=True, eq=False)
class TraitCovariances:
    """Estimates of G and R of T traits.

    Parameters
    ----------
    genetic, residual
        G and R (T, T).
    sampling_covariance
        Sampling covariance (T(T + 1), T(T + 1)) of the lower triangle of G, row by row, then of R.
    at_edge
        Whether G or R is singular. There, estimate ± 1.96 standard errors is not a confidence
        interval.
    converged
        Whether the search ended at a maximum.
    """

    genetic: Floats
    residual: Floats
    sampling_covariance: Floats
    at_edge: bool = False
    converged: bool = True

    def h2(self, t: int) -> tuple[float, float]:
        """Return h² of trait t and its standard error; nan where its variance is not positive."""
        total = float(self.genetic[t, t] + self.residual[t, t])
        if total <= 0.0:
            return math.nan, math.nan
        h2 = float(self.genetic[t, t]) / total
        half = len(self.sampling_covariance) // 2
        return h2, self._error({_place(t, t): (1 - h2) / total, half + _place(t, t): -h2 / total})

    def r_g(self, t: int, u: int) -> tuple[float, float]:
        """Return the genetic correlation of two traits and its standard error.

        Both are nan where G_tt or G_uu is not positive. The standard error is nan where REML puts
        r_g at ±1 or a genetic variance nearly at zero.
        """
        G = self.genetic
        if G[t, t] <= 0.0 or G[u, u] <= 0.0:
            return math.nan, math.nan
        size = math.sqrt(G[t, t] * G[u, u])
        r = float(G[t, u]) / size
        nothing = any(G[k, k] < EDGE * self.residual[k, k] for k in (t, u))
        if self.at_edge and (nothing or abs(r) > 1.0 - EDGE):
            return r, math.nan
        slope = {_place(t, t): -r / 2 / G[t, t], _place(u, u): -r / 2 / G[u, u]}
        return r, self._error(slope | {_place(t, u): 1 / size})

    def _error(self, slopes: dict[int, float]) -> float:
        slope = np.zeros(len(self.sampling_covariance))
        slope[list(slopes)] = list(slopes.values())
        return float(np.sqrt(max(float(slope @ self.sampling_covariance @ slope), 0.0)))


def _place(t: int, u: int) -> int:
    """Return the position of (t, u) in the lower triangle, row by row."""
    t, u = max(t, u), min(t, u)
    return t * (t + 1) // 2 + u


def reml_traits(spectrum: Spectrum, rotated: Floats) -> TraitCovariances:
    """Fit several traits of the same individuals by REML.

    Parameters
    ----------
    spectrum
        Spectrum of K and X; X is the same for every trait.
    rotated
        ``WᵀY`` (n, T).

    Raises
    ------
    InputError
        If traits are linear combinations of each other and the covariates, or the kernel is zero.
    """
    found = reml_mode(rotated, spectrum)
    G, R, s = found.genetic, found.residual, spectrum.expanded(rotated)[0]
    unit = 1.0 / np.sqrt(np.diag(G + R))
    least = min(float(np.linalg.eigvalsh(A * np.outer(unit, unit))[0]) for A in (G, R))
    information = _expected(s, G, R)
    if least >= 10 * EDGE:  # farther from the edge than the steps of the differences
        observed = _observed(spectrum, rotated, G, R)
        if np.linalg.eigvalsh(observed / np.sqrt(np.outer(*[np.diag(information)] * 2)))[0] > 0:
            information = observed
    covariance = inverse_information(information)
    return TraitCovariances(G, R, covariance, least < EDGE, found.gradient < CONVERGED)


def _observed(spectrum: Spectrum, rotated: Floats, G: Floats, R: Floats) -> Floats:
    """Compute the observed information by central differences of 1e-5, with error about 1e-9."""
    rows, columns = np.tril_indices(len(G))
    double = np.where(rows == columns, 1.0, 2.0)
    sd = np.sqrt(np.diag(G + R))
    unit = np.tile(sd[rows] * sd[columns], 2)

    def slope(step: Floats) -> Floats:
        both = np.stack([G, R])
        for A, part in zip(both, np.split(step, 2), strict=True):
            A[rows, columns] += part
            A[columns, rows] = A[rows, columns]
        _, *slopes = restricted_logp(rotated, both[0], both[1], spectrum)
        return np.concatenate([double * D[rows, columns] for D in slopes])

    steps = 1e-5 * np.diag(unit)
    found = np.array([slope(-h) - slope(h) for h in steps]) / (2e-5 * unit[:, None])
    return np.asarray(0.5 * (found + found.T))


def _expected(s: Floats, G: Floats, R: Floats) -> Floats:
    """Compute the expected information (2a, 2a) of the a = T(T + 1)/2 entries of G, then R."""
    rows, columns = np.tril_indices(len(G))
    D = np.zeros((rows.size, *G.shape))
    D[np.arange(rows.size), rows, columns] = D[np.arange(rows.size), columns, rows] = 1.0
    floor = 1e-12 * np.diag(np.diag(G + R))  # at the edge V_k may be singular
    inverse = np.linalg.inv(s[:, None, None] * G + R + floor)
    M = np.einsum("kij,ajl->kail", inverse, D)
    left = M.reshape(s.size, rows.size, -1)
    right = M.transpose(0, 1, 3, 2).reshape(s.size, rows.size, -1)
    blocks = [0.5 * np.einsum("k,kai,kbi->ab", s**power, left, right) for power in (2, 1, 0)]
    return np.block([[blocks[0], blocks[1]], [blocks[1].T, blocks[2]]])


def haseman_elston_traits(eigenvalues: Floats, contrasts: Floats) -> TraitCovariances:
    """Regress several traits of the same individuals by Haseman-Elston.

    Parameters
    ----------
    eigenvalues, contrasts
        s (m,) and e (m, T) of `bayeslmm.likelihood.spectrum.Spectrum`.
    """
    s, e = np.asarray(eigenvalues), np.asarray(contrasts)
    rows, columns = np.tril_indices(e.shape[1])
    K = np.stack([s, np.ones_like(s)])
    weights = np.linalg.pinv(K @ K.T) @ K  # (2, m): slope and intercept
    found = np.zeros((2, e.shape[1], e.shape[1]))
    found[:, rows, columns] = weights @ (e[:, rows] * e[:, columns])
    found[:, columns, rows] = found[:, rows, columns]
    G, R = found
    V = s[:, None, None] * _semidefinite(G) + _semidefinite(R)
    products = (
        V[:, rows[:, None], rows] * V[:, columns[:, None], columns]
        + V[:, rows[:, None], columns] * V[:, columns[:, None], rows]
    )  # (m, a, a)
    blocks = [[np.tensordot(v * w, products, axes=1) for w in weights] for v in weights]
    return TraitCovariances(G, R, np.block(blocks))


def _semidefinite(A: Floats) -> Floats:
    """Return the nearest positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(A)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)
