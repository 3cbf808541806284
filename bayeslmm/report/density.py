"""Densities of h² on [0, 1] for figures, from the quadrature or from draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.report.facts import Facts


POINTS = 401
EDGE = 1e-5


def bounded_density(draws: Floats, x: Floats) -> Floats:
    """Estimate the density of draws in [0, 1] at x by a kernel, reflected at both ends.

    The kernel is normal with Silverman's width ``0.9 min(sd, IQR/1.34) n^(-1/5)``. Reflection keeps
    the mass in [0, 1] and the density at the edges finite.

    Parameters
    ----------
    draws, x
        (n,) and (k,).

    Returns
    -------
    array (k,)

    References
    ----------
    Silverman (1986) Density estimation for statistics and data analysis, 2.10 and 3.4.2.
    """
    low, high = np.quantile(draws, [0.25, 0.75])
    spread = min(float(draws.std()), float(high - low) / 1.34) or float(draws.std()) or 1e-3
    width = 0.9 * spread * draws.size**-0.2
    counts, edges = np.histogram(draws, bins=2000, range=(0.0, 1.0))
    centres = 0.5 * (edges[1:] + edges[:-1])
    kept = counts > 0
    centres, weight = centres[kept], counts[kept] / draws.size
    total = np.zeros_like(x)
    for mirrored in (centres, -centres, 2.0 - centres):
        z = (x[:, None] - mirrored) / width
        total += np.exp(-0.5 * z * z) @ weight
    return np.asarray(total / (width * np.sqrt(2 * np.pi)))


def posterior_density(facts: Facts, x: Floats) -> Floats:
    """Compute the posterior density of h² at x (k,), exact if the fit has a quadrature."""
    exact = quadrature(facts, "density")
    if exact is None:
        return bounded_density(facts.draws("h2").ravel(), x)
    return np.interp(x, *exact)


def prior_density(facts: Facts, x: Floats) -> Floats | None:
    """Compute the prior density of h² at x (k,), or None if the fit has no prior.

    The quadrature holds the prior only where the posterior has mass. Beyond it the density comes
    from prior draws, or is nan without any.
    """
    draws = facts.prior("h2")
    from_draws = None if draws is None else bounded_density(draws, x)
    exact = quadrature(facts, "prior_density")
    if exact is None or not np.all(np.isfinite(exact[1])):
        return from_draws
    grid, density = exact
    if np.ptp(density) < 1e-3 * density.max():  # uniform
        return np.full_like(x, float(density.mean()))
    outside = (x < grid[0] - EDGE) | (x > grid[-1] + EDGE)
    return np.where(
        outside, np.nan if from_draws is None else from_draws, np.interp(x, grid, density)
    )


def quadrature(facts: Facts, name: str) -> tuple[Floats, Floats] | None:
    """Return the nodes h² (k,) and a density there, without nodes within `EDGE` of 0 or 1.

    The excluded part is invisible in a figure. There the density of h² is a small difference of
    large numbers on the logit scale.
    """
    if "quadrature" not in facts.tree.children:
        return None
    group = facts.tree["quadrature"]
    grid = np.asarray(group["h2"].to_numpy(), dtype=np.float64)
    density = np.asarray(group[name].to_numpy(), dtype=np.float64)
    inside = (grid > EDGE) & (grid < 1.0 - EDGE)
    kept = inside if np.count_nonzero(inside) > 1 else np.ones_like(inside)
    return grid[kept], density[kept]


def zoom(lower: float, upper: float) -> tuple[float, float]:
    """Return the part of [0, 1] that shows an interval with as much room around it."""
    width = max(upper - lower, 1e-4)
    return max(lower - 0.6 * width, 0.0), min(upper + 0.6 * width, 1.0)
