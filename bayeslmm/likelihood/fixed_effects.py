"""Integrate β out of a likelihood that is normal in β, and draw β given the other parameters.

With ``log p(y | β) = ℓ - ½ ‖w - Aβ‖²`` and β = b + F ξ, ξ ~ N(0, I), the residual r = w - A b and
the factorisation ``[AF; I] = QR``, diagonal of R positive::

    log p(y) = ℓ - ½ ‖(I - QQᵀ) [r; 0]‖² - log|R|          ξ | y ~ N(R⁻¹Qᵀ[r; 0], (RᵀR)⁻¹)

No cross product is formed. So no digits are lost with a prior many orders of magnitude wider than
the likelihood, or with widths that differ by many orders of magnitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bayeslmm.likelihood.one_kernel import LOG_2PI
from bayeslmm.numerics.arrays import Floats


@dataclass(frozen=True, slots=True)
class BetaQuadratic:
    """``log p(y | β) = level - ½ ‖w - Aβ‖²``, A (p, p) regular.

    It is free of cancellation for any mean of y. `rss` is the quadratic form in y within
    ``-2 level``; it scales as 1/k if V is multiplied by k.
    """

    level: float
    A: Floats
    w: Floats
    rss: float = math.nan

    def at(self, beta: Floats) -> float:
        """Compute log p(y | β)."""
        residual = self.w - self.A @ beta
        return float(self.level - 0.5 * residual @ residual)


def integrate_beta(quadratic: BetaQuadratic, mean: Floats, factor: Floats | None) -> float:
    """Compute log ∫ p(y | β) p(β) dβ, β ~ N(mean, factor factorᵀ) or flat (factor None)."""
    if factor is None:
        log_det = np.linalg.slogdet(quadratic.A)[1]
        return float(quadratic.level - log_det + 0.5 * len(quadratic.w) * LOG_2PI)
    Q, R, x = _prior_qr(quadratic, mean, factor)
    left = -Q @ x
    left[: len(quadratic.w)] += quadratic.w - quadratic.A @ mean
    return float(quadratic.level - 0.5 * (left @ left) - np.log(np.diagonal(R)).sum())


def draw_beta(quadratic: BetaQuadratic, mean: Floats, factor: Floats | None, z: Floats) -> Floats:
    """Draw β given y and c from standard normal numbers z (p,)."""
    if factor is None:
        return np.asarray(np.linalg.solve(quadratic.A, quadratic.w + z))
    _, R, x = _prior_qr(quadratic, mean, factor)
    return np.asarray(mean + factor @ np.linalg.solve(R, x + z))


def _prior_qr(
    quadratic: BetaQuadratic, mean: Floats, factor: Floats
) -> tuple[Floats, Floats, Floats]:
    """Compute Q (2p, p), R (p, p) and ``Qᵀ[r; 0]`` (p,) of ``[AF; I] = QR``."""
    p = len(quadratic.w)
    Q, R = np.linalg.qr(np.concatenate([quadratic.A @ factor, np.eye(p)]))
    sign = np.where(np.diagonal(R) < 0.0, -1.0, 1.0)
    Q, R = Q * sign, R * sign[:, None]
    return Q, R, Q[:p].T @ (quadratic.w - quadratic.A @ mean)
