"""Genetic values given the parameters: draws and expectations, for one or several traits.

In the canonical basis Φ of a draw's G and R (`bayeslmm.likelihood.canonical`) the traits are
independent: each is a one-trait problem with variances (h, 1 - h), and ``U = U'Φᵀ`` transforms
back. With one trait Φ is the total standard deviation. Matheron's rule turns a prior draw into a
draw given the records::

    u' = u* + h K (h K + (1 - h) I)⁻¹ (y' - Xβ' - u* - ε*)

which costs O(p) per node, draw and trait in the eigenbasis of K.

References
----------
Doucet (2010) A note on efficient conditional simulation of Gaussian distributions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.likelihood.canonical import canonical_bases
from bayeslmm.likelihood.one_kernel_solve import shrink
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.likelihood.spectrum import Spectrum

NEGATIVE = 1e-8  # largest relative size of negative eigenvalues due to rounding


def draw_genetic(
    rotated: Floats,
    beta: Floats,
    genetic: Floats,
    residual: Floats,
    spectrum: Spectrum,
    rng: np.random.Generator,
    block: int = 250,
) -> Iterator[tuple[slice, Floats]]:
    """Draw U given Y and the parameters exactly, in rotated coordinates ``Wᵀu_t``.

    Parameters
    ----------
    rotated
        ``WᵀY`` (p + k, T).
    beta
        Draws of β, stacked trait by trait (draws, pT).
    genetic, residual
        Draws of G and R (draws, T, T).
    spectrum
        Spectrum of K and X.
    rng
        Source of randomness.
    block
        Number of draws per block.

    Yields
    ------
    slice, array (draws of the block, T, p + k)
        The genetic values of trait t are ``spectrum.unrotate(array[:, t].T)``.

    Raises
    ------
    InputError
        If G or R of a draw is not a covariance matrix, or G + R is singular.
    """
    for start in range(0, beta.shape[0], block):
        part = slice(start, min(start + block, beta.shape[0]))
        basis, r, a, b = canonical_problem(
            rotated, beta[part], genetic[part], residual[part], spectrum, start
        )
        prior = np.sqrt(a) * draw_unit_genetic(spectrum, rng, r.shape[0])
        noise = np.sqrt(b) * rng.standard_normal(r.shape)
        yield part, back_to_traits(basis, prior + shrink(spectrum, r - prior - noise, a, b))


def genetic_mean(
    rotated: Floats, beta: Floats, genetic: Floats, residual: Floats, spectrum: Spectrum
) -> Floats:
    """Compute E[U | Y, β, G, R] (draws, T, p + k) in rotated coordinates; see `draw_genetic`."""
    basis, r, a, b = canonical_problem(rotated, beta, genetic, residual, spectrum, 0)
    return back_to_traits(basis, shrink(spectrum, r, a, b))


def canonical_problem(
    rotated: Floats,
    beta: Floats,
    genetic: Floats,
    residual: Floats,
    spectrum: Spectrum,
    number: int,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return Φ (draws, T, T), canonical residuals (draws T, p + k) and variances (draws T, 1)."""
    draws, T = genetic.shape[:2]
    p = spectrum.p
    basis, inverse, shares = canonical_draws(genetic, residual, number)
    r = np.tile(rotated.T, (draws, 1, 1))
    r[:, :, :p] -= beta.reshape(draws, T, p) @ spectrum.triangle.T
    a, b = (shares[:, :, k].reshape(draws * T, 1) for k in range(2))
    return basis, (inverse @ r).reshape(draws * T, -1), a, b


def canonical_draws(
    genetic: Floats, residual: Floats, number: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Compute Φ, Φ⁻¹ (draws, T, T) and the shares (draws, T, 2) of draws of G and R.

    Raises
    ------
    InputError
        If a draw has no canonical basis; it names the draw, counted from `number`.
    """
    pair = [np.ascontiguousarray(A, dtype=np.float64) for A in (genetic, residual)]
    first, basis, inverse, shares = canonical_bases(*pair)
    if first >= 0:
        raise InputError(
            f"G and R of draw {number + first} are {genetic[first].tolist()} and "
            f"{residual[first].tolist()}",
            "two covariance matrices whose sum is positive definite",
            "draw them from the posterior, or build them as LLᵀ",
        )
    return basis, inverse, shares


def back_to_traits(basis: Floats, values: Floats) -> Floats:
    """Transform canonical values (draws T, any) to the traits (draws, T, any)."""
    draws, T = basis.shape[:2]
    return np.asarray(basis @ values.reshape(draws, T, -1))


def draw_unit_genetic(spectrum: Spectrum, rng: np.random.Generator, size: int = 0) -> Floats:
    """Draw Wᵀg for g ~ N(0, K): (p + k,), or (size, p + k)."""
    p, k = spectrum.p, spectrum.nodes
    z = rng.standard_normal((max(size, 1), p + k))
    root_s = np.sqrt(spectrum.eigenvalues)
    scaled = np.divide(spectrum.coupling, root_s, out=np.zeros((p, k)), where=root_s > 0)
    top = z[:, :p] @ root(spectrum.schur).T + z[:, p:] @ scaled.T
    out = np.hstack([top, root_s * z[:, p:]])
    return out if size else out[0]


def root(A: Floats) -> Floats:
    """Compute F (..., T, T) with FFᵀ = A, for covariances that may be singular.

    Raises
    ------
    LinAlgError
        If an eigenvalue is negative.
    """
    values, vectors = np.linalg.eigh(0.5 * (A + np.swapaxes(A, -1, -2)))
    if not (values >= -NEGATIVE * values[..., -1:]).all():
        raise np.linalg.LinAlgError(
            f"a covariance with the eigenvalue {values.min():.3g} is not positive semidefinite"
        )
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :])
