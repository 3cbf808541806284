"""Draws in, draws out: genetic values given the other parameters, and the realised PVE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.likelihood.spectrum import Spectrum


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
    p = spectrum.p
    for start in range(0, beta.shape[0], block):
        part = slice(start, min(start + block, beta.shape[0]))
        a, b = variance[part, :1], variance[part, 1:]
        count = a.shape[0]
        prior = np.sqrt(a) * draw_unit_genetic(spectrum, rng, count)
        noise = np.sqrt(b) * rng.standard_normal((count, spectrum.n))
        residual = rotated - prior - noise
        residual[:, :p] -= beta[part] @ spectrum.triangle.T
        yield part, prior + shrink(spectrum, residual, a, b)


def blup(spectrum: Spectrum, rotated: Floats, beta: Floats, variance: Floats) -> Floats:
    """E[g | y, β, σ²] in rotated coordinates (draws, n): ``σ²_u K V⁻¹ (y - Xβ)``."""
    residual = np.tile(rotated, (beta.shape[0], 1))
    residual[:, : spectrum.p] -= beta @ spectrum.triangle.T
    return shrink(spectrum, residual, variance[:, :1], variance[:, 1:])


def shrink(spectrum: Spectrum, r: Floats, a: Floats, b: Floats) -> Floats:
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


def realised_pve(
    fixed: Floats, parts: Sequence[Floats], y: Floats, ones: Floats
) -> dict[str, Floats]:
    """Realised proportions of variance explained, draw by draw.

    Parameters
    ----------
    fixed
        Xβ (draws, n), in any orthonormal coordinates of the records.
    parts
        The random parts g_k of the records, each (draws, n), in the same coordinates.
    y
        Phenotype (n,) in the same coordinates.
    ones
        ``1/√n`` (n,) in the same coordinates: what the sample mean is taken with.

    Returns
    -------
    dict
        ``pve_fixed``, ``pve_random``, ``pve_total``: var(Xβ), var(Σ g_k), var(Xβ + Σ g_k), each
        over var(y) (sample variances; the three need not add up). ``pve_share`` (draws, k + 3):
        var(Xβ), every var(g_k), twice the covariances between them, and var(ε) over their sum,
        which add to one in every draw.
    """

    def centred(u: Floats) -> Floats:
        return np.asarray(u - (u @ ones)[..., None] * ones)

    def square(u: Floats) -> Floats:
        return np.asarray((u * u).sum(axis=-1))

    random = parts[0] if len(parts) == 1 else np.sum(parts, axis=0)
    residual = square(centred(y - fixed - random))
    y, fixed, random = centred(y), centred(fixed), centred(random)
    var_y, var_f, var_g = square(y), square(fixed), square(random)
    none = var_f < 1e-14 * var_y  # an intercept alone explains nothing
    var_f = np.where(none, 0.0, var_f)
    twice = np.where(none, 0.0, 2.0 * (fixed * random).sum(axis=-1))
    total = var_f + var_g + twice
    alone = [var_g] if len(parts) == 1 else [square(centred(part)) for part in parts]
    between = twice + (var_g - np.sum(alone, axis=0) if len(parts) > 1 else 0.0)
    shares = np.stack([var_f, *alone, between, residual], axis=-1)
    return {
        "pve_fixed": var_f / var_y,
        "pve_random": var_g / var_y,
        "pve_total": total / var_y,
        "pve_share": shares / shares.sum(axis=-1, keepdims=True),
    }


def draw_phenotype(
    spectrum: Spectrum, beta: Floats, variance: Floats, rng: np.random.Generator
) -> Floats:
    """One draw of y (n,) from N(Xβ, σ²_u K + σ²_e I), O(n²)."""
    a, b = variance
    p = spectrum.p
    g = np.sqrt(a) * draw_unit_genetic(spectrum, rng)
    rotated = g + np.sqrt(b) * rng.standard_normal(spectrum.n)
    rotated[:p] += spectrum.triangle @ beta
    return spectrum.unrotate(rotated)


def draw_unit_genetic(spectrum: Spectrum, rng: np.random.Generator, size: int = 0) -> Floats:
    """Wᵀg for g ~ N(0, K): (n,), or (size, n)."""
    p, m = spectrum.p, spectrum.m
    z = rng.standard_normal((max(size, 1), p + m))
    root = np.sqrt(spectrum.eigenvalues)
    scaled = np.divide(spectrum.coupling, root, out=np.zeros((p, m)), where=root > 0)
    values, vectors = np.linalg.eigh(spectrum.schur)
    half = vectors * np.sqrt(np.maximum(values, 0.0))
    top = z[:, :p] @ half.T + z[:, p:] @ scaled.T
    out = np.hstack([top, root * z[:, p:]])
    return out if size else out[0]
