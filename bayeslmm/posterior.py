"""Draws in, draws out: genetic values given the other parameters, and the realised PVE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bayeslmm.spectrum import Spectrum

type Floats = NDArray[np.float64]

SHARES = ("fixed", "random", "covariance", "residual")


def genetic_values(
    spectrum: Spectrum,
    rotated: Floats,
    beta: Floats,
    variance: Floats,
    rng: np.random.Generator,
    block: int = 250,
) -> Iterator[tuple[slice, Floats]]:
    """Exact draws of g given y, β and the variances, in rotated coordinates ``Wᵀg``.

    A draw (g*, ε*) from the prior is corrected by the covariance with y (Matheron's rule)::

        g = g* + σ²_u K V⁻¹ (y - Xβ - g* - ε*)

    which costs O(n p) a draw in the eigenbasis.

    Parameters
    ----------
    spectrum
        Spectrum of K and X.
    rotated
        ``Wᵀy`` (n,).
    beta, variance
        Draws of β (draws, p) and of (σ²_u, σ²_e) (draws, 2).
    rng
        Source of randomness.
    block
        Draws at a time.

    Yields
    ------
    slice, array (draws of the block, n)
        `Spectrum.unrotate` of the transposed array gives g itself.

    References
    ----------
    Doucet (2010) A note on efficient conditional simulation of Gaussian distributions.
    """
    from bayeslmm.distributions import draw_unit_genetic

    p = spectrum.p
    for start in range(0, beta.shape[0], block):
        part = slice(start, min(start + block, beta.shape[0]))
        a, b = variance[part, :1], variance[part, 1:]
        count = a.shape[0]
        prior = np.sqrt(a) * draw_unit_genetic(spectrum, rng, count)
        noise = np.sqrt(b) * rng.standard_normal((count, spectrum.n))
        residual = rotated - prior - noise
        residual[:, :p] -= beta[part] @ spectrum.triangle.T
        yield part, prior + _shrink(spectrum, residual, a, b)


def blup(spectrum: Spectrum, rotated: Floats, beta: Floats, variance: Floats) -> Floats:
    """E[g | y, β, σ²] in rotated coordinates (draws, n): ``σ²_u K V⁻¹ (y - Xβ)``."""
    residual = np.tile(rotated, (beta.shape[0], 1))
    residual[:, : spectrum.p] -= beta @ spectrum.triangle.T
    return _shrink(spectrum, residual, variance[:, :1], variance[:, 1:])


def _shrink(spectrum: Spectrum, r: Floats, a: Floats, b: Floats) -> Floats:
    """``a K (a K + b I)⁻¹ r`` for rows r (draws, n) and variances a, b (draws, 1)."""
    s, C, T, p = spectrum.eigenvalues, spectrum.coupling, spectrum.schur, spectrum.p
    if b.min() <= 0.0:
        b = np.maximum(b, np.finfo(float).tiny)
    d = a * s + b
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    i, j = np.tril_indices(p)
    packed = a * b * ((1.0 / d) @ (C[i] * C[j] * inverse).T)
    S = b[:, :, None] * np.eye(p) + a[:, :, None] * T
    S[:, i, j] += packed
    S[:, j, i] = S[:, i, j]
    rc = r[:, p:]
    x1 = np.linalg.solve(S, (r[:, :p] - a * ((rc / d) @ C.T))[:, :, None])[:, :, 0]
    xc = (rc - a * (x1 @ C)) / d
    K11 = T + (C * inverse) @ C.T
    return np.asarray(a * np.hstack([x1 @ K11 + xc @ C.T, x1 @ C + xc * s]))


def realised_pve(fixed: Floats, g: Floats, y: Floats, ones: Floats) -> dict[str, Floats]:
    """Realised proportions of variance explained, draw by draw.

    Parameters
    ----------
    fixed, g
        Xβ and g (draws, n), in any orthonormal coordinates of the individuals.
    y
        Phenotype (n,) in the same coordinates.
    ones
        ``1/√n`` (n,) in the same coordinates: what the sample mean is taken with.

    Returns
    -------
    dict
        ``pve_fixed``, ``pve_random``, ``pve_total``: var(Xβ), var(g), var(Xβ + g), each over
        var(y) (sample variances; the three need not add up). ``pve_share`` (draws, 4): var(Xβ),
        var(g), 2 cov(Xβ, g) and var(ε) over their sum, which add to one in every draw.
    """

    def centred(u: Floats) -> Floats:
        return np.asarray(u - (u @ ones)[..., None] * ones)

    residual = y - fixed - g
    y, fixed, g, residual = centred(y), centred(fixed), centred(g), centred(residual)
    var_y, var_f, var_g, var_e = ((u * u).sum(axis=-1) for u in (y, fixed, g, residual))
    var_f = np.where(var_f < 1e-14 * var_y, 0.0, var_f)  # an intercept alone explains nothing
    twice = np.where(var_f == 0.0, 0.0, 2.0 * (fixed * g).sum(axis=-1))
    parts = np.stack([var_f, var_g, twice, var_e], axis=-1)
    return {
        "pve_fixed": var_f / var_y,
        "pve_random": var_g / var_y,
        "pve_total": (var_f + var_g + twice) / var_y,
        "pve_share": parts / parts.sum(axis=-1, keepdims=True),
    }
