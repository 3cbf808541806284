"""The prior of the shares of a fit, recovered from the log prior density stored at its draws.

The log prior of a Beta h², or of the shares of several components, is linear in a few logarithms::

    log p(h²) = (a-1) log h² + (b-1) log(1-h²) - log B(a, b)
    log p(s)  = (a-Kα) log e + (b-1) log(1-e) + (α-1) Σ log s_k + const,   e = Σ_k s_k, K kernels

so least squares gives a, b and α to rounding, and the constant confirms them. A prior that does not
fit is reported as unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import betaln, gammaln

from bayeslmm.checks.share_priors import ALTERNATIVES, SharePrior, beta_prior
from bayeslmm.numerics.arrays import Floats

EXACT = 1e-6  # largest error of a recovered log density, nats
LEAST = 1e-290  # smallest share whose logarithm is taken


@dataclass(frozen=True, slots=True, eq=False)
class FittedPrior:
    """The prior of the shares of a fit, and the shares at its draws.

    Parameters
    ----------
    prior
        Prior of each x.
    shares
        (draws, T, K + 1) of T traits with K kernels each, the residual last; x is the sum of all
        but the last.
    concentration
        α of the Dirichlet that splits x among the kernels; 1 for one kernel.
    total_sd
        τ (draws, T); None if the model has no total_sd.
    log_total_sd
        (draws,) log prior density of all τ of a draw; None if the model has no total_sd.
    """

    prior: SharePrior
    shares: Floats
    concentration: float
    total_sd: Floats | None
    log_total_sd: Floats | None

    @property
    def explained(self) -> Floats:
        """Sum x of the shares of the kernels (draws, T)."""
        return np.asarray(self.shares[..., :-1].sum(axis=-1))

    @property
    def rest(self) -> Floats:
        """Residual share 1 - x (draws, T)."""
        return np.asarray(self.shares[..., -1])

    def log_shares(self, prior: SharePrior) -> Floats:
        """Return the log density (draws,) of the shares with x ~ `prior` and the same split."""
        K, alpha = self.shares.shape[-1] - 1, self.concentration
        x = np.maximum(self.explained, LEAST)
        parts = np.maximum(self.shares[..., :-1], LEAST)
        split = gammaln(K * alpha) - K * gammaln(alpha) + (1 - K * alpha) * np.log(x)
        split = split + (alpha - 1) * np.log(parts).sum(axis=-1)
        return np.asarray((prior.log_density(x, self.rest) + split).sum(axis=-1))


def recover_prior(tree: xr.DataTree) -> FittedPrior | None:
    """Recover the prior of the shares of a fit; None unless it is Beta × Dirichlet.

    Parameters
    ----------
    tree
        A fit of one model, with the groups ``posterior`` and ``log_prior``.
    """
    if "log_prior" not in tree.children:
        return None
    posterior, log_prior = tree["posterior"].to_dataset(), tree["log_prior"].to_dataset()
    if "share" in log_prior and "share" in posterior:
        shares = _flat(posterior["share"])[:, None, :]
        density = _density(log_prior["share"])
    elif "h2" in log_prior and "h2" in posterior:
        h2 = _flat(posterior["h2"])
        h2 = h2.reshape(h2.shape[0], -1)
        shares = np.stack([h2, np.maximum(1.0 - h2, 1e-17)], axis=-1)
        density = _density(log_prior["h2"])
    else:
        return None
    found = solve_exponents(shares, density)
    if found is None:
        return None
    total = log_total = None
    if "total_sd" in posterior and "total_sd" in log_prior:
        total = _flat(posterior["total_sd"])
        total, log_total = total.reshape(total.shape[0], -1), _density(log_prior["total_sd"])
    a, b, alpha = found
    by_name = {one.name: one for one in ALTERNATIVES}
    prior = by_name["flat"] if a == b == 1 else beta_prior(a, b)
    return FittedPrior(prior, shares, alpha, total, log_total)


def solve_exponents(shares: Floats, density: Floats) -> tuple[float, float, float] | None:
    """Solve for (a, b, α) from shares (draws, T, K + 1) and log density (draws,), or None."""
    T, K = shares.shape[1], shares.shape[2] - 1
    x, rest, parts = shares[..., :-1].sum(axis=-1), shares[..., -1], shares[..., :-1]
    fine = (parts > 1e-9).all(axis=(1, 2)) & (rest > 1e-9).all(axis=1) & np.isfinite(density)
    columns = [np.ones(fine.sum()), np.log(x[fine]).sum(axis=1), np.log(rest[fine]).sum(axis=1)]
    if K > 1:
        columns.append(np.log(parts[fine]).sum(axis=(1, 2)))
    design, target = np.stack(columns, axis=1), density[fine]
    if len(target) < 10:
        return None
    _, first, second, *third = np.linalg.lstsq(design, target, rcond=None)[0]
    alpha = 1.0 + float(third[0]) if third else 1.0
    a, b = (float(first) + K * alpha if K > 1 else float(first) + 1.0), float(second) + 1.0
    a, b, alpha = (float(np.round(value, 6)) for value in (a, b, alpha))
    if min(a, b, alpha) <= 0:
        return None
    wanted = -betaln(a, b) + gammaln(K * alpha) - K * gammaln(alpha)
    powers = [T * wanted, a - (K * alpha if K > 1 else 1.0), b - 1.0, alpha - 1.0][: len(columns)]
    missed = np.abs(design @ np.array(powers) - target)
    return (a, b, alpha) if float(missed.max()) < 100 * EXACT else None


def _flat(variable: xr.DataArray) -> Floats:
    """Stack the draws of all chains on the first axis: (draws, ...)."""
    values = variable.transpose("chain", "draw", ...).to_numpy()
    return np.asarray(values.reshape(-1, *values.shape[2:]), dtype=np.float64)


def _density(variable: xr.DataArray) -> Floats:
    """Sum the log density of a variable over its entries (draws,)."""
    values = _flat(variable)
    return np.asarray(values.reshape(values.shape[0], -1).sum(axis=1))
