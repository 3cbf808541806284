"""Bayes factors for a share of exactly zero, from the posterior near zero (Savage-Dickey).

    BF₀ = p(y | share = 0) / p(y) = lim_{x → 0} p(x | y) / p(x)

x is the coordinate of `bayeslmm.comparison.share_coordinate`. This module needs only draws: it fits
the ratio of posterior to prior density near 0 as a linear function of x. With the model
`bayeslmm.comparison.zero_ratio` gives a better estimate.

References
----------
Dickey (1971) Ann Math Stat 42:204. Verdinelli & Wasserman (1995) J Am Stat Assoc 90:614.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betainc, betaln, expit

from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    import xarray as xr


FEW = 20  # fewest draws near zero for an estimate
WIDEST = 0.1  # largest x that counts as near zero


@dataclass(frozen=True, slots=True)
class Ratio:
    """log₁₀ BF₀ in favour of zero, with Monte Carlo standard error; nan if zero is too far away."""

    log10: float
    mcse: float


UNAVAILABLE = Ratio(float("nan"), float("nan"))


def ratio_at_zero(x: Floats, a: float, b: float, effective: float | None = None) -> Ratio:
    """Estimate BF₀ from draws x (N,) in [0, 1] with prior Beta(a, b); nan if too few are near 0.

    The ratio of posterior to prior density is r(x) = r₀ + r₁ x on [0, h], fitted by moments:
    ``∫₀ʰ xʲ r(x) p(x) dx = mean(xʲ 1[x < h])``, j = 0, 1.

    Parameters
    ----------
    x
        Posterior draws.
    a, b
        Parameters of the prior.
    effective
        Effective sample size; default N.
    """
    h = max(0.01, float(np.quantile(x, 0.05)))
    inside = x < h
    if h > WIDEST or np.count_nonzero(inside) < FEW:
        return UNAVAILABLE
    moments = [
        float(np.exp(betaln(a + j, b) - betaln(a, b)) * betainc(a + j, b, h)) for j in range(3)
    ]
    if moments[2] < 1e-300:  # the prior excludes zero
        return UNAVAILABLE
    system = np.array([moments[:2], moments[1:]])
    weights = np.linalg.solve(system, [1.0, 0.0])
    terms = np.where(inside, weights[0] + weights[1] * x, 0.0)
    mean = float(terms.mean())
    error = float(terms.std(ddof=1) / np.sqrt(x.size if effective is None else effective))
    if mean <= 2.0 * error:
        return UNAVAILABLE
    return Ratio(float(np.log10(mean)), error / mean / float(np.log(10)))


def exact_ratio(tree: xr.DataTree) -> Ratio:
    """Return BF₀ of h² = 0 from the exact engine's densities at 0.

    It is nan if the grid ends above 0, or if the model without g is not the limit h² → 0: the ratio
    is then not the Bayes factor (Verdinelli & Wasserman 1995).
    """
    group = tree["quadrature"].to_dataset()
    if not group.attrs.get("limit_at_zero"):
        return UNAVAILABLE
    near = float(expit(group["logit_h2"].to_numpy()[0]))
    posterior, prior = (float(group[name].to_numpy()[0]) for name in ("density", "prior_density"))
    if near > 1e-5 or not (posterior > 0 and prior > 0):
        return UNAVAILABLE
    return Ratio(float(np.log10(posterior / prior)), 0.0)
