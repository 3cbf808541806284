"""Draws in, draws out for several traits: genetic values of every trait given the parameters.

In the canonical basis Φ of a draw's G and R (`bayeslmm.likelihood.canonical`) the traits are
independent: each is a one-trait problem of `bayeslmm.likelihood.genetic_values`, and ``U = U'Φᵀ``
takes the values back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.likelihood.canonical import canonical_bases
from bayeslmm.likelihood.genetic_values import draw_unit_genetic, shrink
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.likelihood.spectrum import Spectrum


def draw_genetic(
    rotated: Floats,
    beta: Floats,
    genetic: Floats,
    residual: Floats,
    spectrum: Spectrum,
    rng: np.random.Generator,
    block: int = 250,
) -> Iterator[tuple[slice, Floats]]:
    """Exact draws of U given Y and the parameters, in rotated coordinates ``Wᵀu_t``.

    A draw from the prior is corrected by the covariance with Y, trait by canonical trait
    (Matheron's rule, `bayeslmm.likelihood.genetic_values.genetic_values`)::

        u' = u* + h K (h K + (1 - h) I)⁻¹ (y' - Xβ' - u* - ε*)

    Parameters
    ----------
    rotated
        ``WᵀY`` (n, T).
    beta
        Draws of β, stacked trait by trait (draws, pT).
    genetic, residual
        Draws of G and R (draws, T, T).
    spectrum
        Spectrum of K and X.
    rng
        Source of randomness.
    block
        Draws at a time.

    Yields
    ------
    slice, array (draws of the block, T, n)
        The genetic values of trait t are ``spectrum.unrotate(array[:, t].T)``.

    Raises
    ------
    InputError
        If G or R of a draw is no covariance, or G + R is singular.
    """
    for start in range(0, beta.shape[0], block):
        part = slice(start, min(start + block, beta.shape[0]))
        basis, r, a, b = canonical_problem(
            rotated, beta[part], genetic[part], residual[part], spectrum, start
        )
        prior = np.sqrt(a) * draw_unit_genetic(spectrum, rng, r.shape[0])
        noise = np.sqrt(b) * rng.standard_normal(r.shape)
        yield part, back_to_traits(basis, prior + shrink(spectrum, r - prior - noise, a, b))


def blup_multi(
    rotated: Floats, beta: Floats, genetic: Floats, residual: Floats, spectrum: Spectrum
) -> Floats:
    """E[U | Y, β, G, R] in rotated coordinates (draws, T, n): the mean of `draw_genetic`."""
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
    """Φ (draws, T, T), canonical residuals (draws T, n) and their variances, two (draws T, 1)."""
    draws, T = genetic.shape[:2]
    n, p = spectrum.n, spectrum.p
    contiguous = (np.ascontiguousarray(A, dtype=np.float64) for A in (genetic, residual))
    first, basis, inverse, shares = canonical_bases(*contiguous)
    if first >= 0:
        raise InputError(
            f"G and R of draw {number + first} are {genetic[first].tolist()} and "
            f"{residual[first].tolist()}",
            "two covariance matrices whose sum is positive definite",
            "draw them from the posterior, or build them as LLᵀ",
        )
    r = np.tile(rotated.T, (draws, 1, 1))
    r[:, :, :p] -= beta.reshape(draws, T, p) @ spectrum.triangle.T
    a, b = (shares[:, :, k].reshape(draws * T, 1) for k in range(2))
    return basis, (inverse @ r).reshape(draws * T, n), a, b


def back_to_traits(basis: Floats, values: Floats) -> Floats:
    """Canonical values (draws T, n) as those of the traits (draws, T, n)."""
    draws, T = basis.shape[:2]
    return np.asarray(basis @ values.reshape(draws, T, -1))


def draw_phenotypes(
    spectrum: Spectrum, beta: Floats, genetic: Floats, residual: Floats, rng: np.random.Generator
) -> Floats:
    """One draw of y (nT,), stacked trait by trait, from N(Xβ, G ⊗ K + R ⊗ I): O(n² T).

    Any covariances will do, also singular ones.
    """
    T = genetic.shape[0]
    rotated = root(genetic) @ draw_unit_genetic(spectrum, rng, T)
    rotated += root(residual) @ rng.standard_normal((T, spectrum.n))
    rotated[:, : spectrum.p] += beta.reshape(T, spectrum.p) @ spectrum.triangle.T
    return spectrum.unrotate(rotated.T).T.ravel()


def root(A: Floats) -> Floats:
    """F (T, T) with FFᵀ = A, a covariance that may be singular."""
    values, vectors = np.linalg.eigh(0.5 * (A + A.T))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
