"""The coordinate x in which a null hypothesis "these shares are zero" is x = 0.

The Savage-Dickey ratio needs a coordinate x whose prior is known and independent of the parameters
that remain under the null hypothesis. If all kernels are tested, x = e, the share explained,
~ Beta(a, b); this is h² where all kernels are genetic. Otherwise x = Σ w_k, the tested kernels'
fraction of the share explained, ~ Beta(|S|α, (K - |S|)α). A share s_k = e w_k itself is not
suitable: its density is infinite at 0, because e may be 0 too. With priors of other forms the prior
of the remaining parameters given x = 0 differs from their prior in the reduced model, so the ratio
is not its Bayes factor (Verdinelli & Wasserman 1995). Such priors are refused.

References
----------
Verdinelli & Wasserman (1995) J Am Stat Assoc 90:614.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaln, gammaln

from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    import xarray as xr


TINY = 1e-300


@dataclass(frozen=True, slots=True)
class SharesPrior:
    """Prior of shares, ``s = (e w, 1 - e)``, e ~ Beta(a, b), w ~ Dirichlet(α, ..., α)."""

    a: float
    b: float
    alpha: float

    def of_coordinate(self, tested: int, count: int) -> tuple[float, float]:
        """Return the Beta parameters of x with `tested` of `count` kernels tested."""
        if tested == count:
            return self.a, self.b
        return tested * self.alpha, (count - tested) * self.alpha


def read_prior(tree: xr.DataTree) -> SharesPrior | None:
    """Recover the prior of the shares from its log density at the draws; None for other forms.

    ``log p(s) = constant + (a - Kα) log e + (b - 1) log(1 - e) + (α - 1) Σ log s_k`` is linear in
    its parameters, so a few draws determine them exactly.
    """
    if "log_prior" not in tree.children or "share" not in tree["log_prior"]:
        return None
    posterior = tree["posterior"].to_dataset()
    if "share" not in posterior or posterior["share"].dims[2:] != ("component",):
        return None
    shares = posterior["share"].to_numpy().reshape(-1, posterior.sizes["component"])
    log_p = tree["log_prior"]["share"].to_numpy().ravel()
    with np.errstate(divide="ignore"):
        logs = np.log(shares)
        explained = np.log(shares[:, :-1].sum(axis=1))
    inside = np.isfinite(log_p) & np.all(logs > np.log(TINY) / 2, axis=1)
    count = shares.shape[1] - 1
    if inside.sum() < 20:
        return None
    table = np.column_stack([np.ones(inside.sum()), explained[inside], logs[inside, -1]])
    if count > 1:
        table = np.column_stack([table, logs[inside, :-1].sum(axis=1)])
    found, *_ = np.linalg.lstsq(table, log_p[inside], rcond=None)
    alpha = float(found[3]) + 1.0 if count > 1 else 1.0
    a, b = float(found[1]) + count * alpha, float(found[2]) + 1.0
    if min(a, b, alpha) <= 0:
        return None
    constant = gammaln(count * alpha) - count * gammaln(alpha) - betaln(a, b)
    miss = np.abs(table @ found - log_p[inside]).max() + abs(float(found[0]) - constant)
    rounded = (round(value, 9) for value in (a, b, alpha))
    return SharesPrior(*rounded) if miss < 1e-6 else None


def coordinate(shares: Floats, tested: Collection[int]) -> Floats:
    """Compute x (N,) from shares (N, K + 1): e if all kernels are tested, else their part of e."""
    explained = shares[:, :-1].sum(axis=1)
    if len(tested) == shares.shape[1] - 1:
        return np.asarray(explained)
    some = shares[:, sorted(tested)].sum(axis=1)
    return np.asarray(some / np.maximum(explained, TINY))


def zero_shares(shares: Floats, tested: Collection[int]) -> Floats:
    """Set the tested shares of (N, K + 1) to zero; keep e and the proportions of the others."""
    out, gone = shares.copy(), sorted(tested)
    explained = shares[:, :-1].sum(axis=1)
    out[:, gone] = 0.0
    left = out[:, :-1].sum(axis=1)
    if len(gone) == shares.shape[1] - 1:
        out[:, -1] = 1.0
        return out
    out[:, :-1] *= (explained / np.maximum(left, TINY))[:, None]
    return out


def regressors(shares: Floats, tested: Collection[int]) -> Floats:
    """Return the remaining parameters as regressors (N, r): logit e and log-ratios of shares."""
    count, gone = shares.shape[1] - 1, set(tested)
    floor = 1e-6  # smaller shares carry no more information on x
    stay = [k for k in range(count) if k not in gone] or list(range(count))
    logs = np.log(np.maximum(shares, floor))
    columns = [logs[:, k] - logs[:, stay[-1]] for k in stay[:-1]]
    if len(gone) < count:
        columns.append(np.log(np.maximum(shares[:, :-1].sum(axis=1), floor)) - logs[:, -1])
    return np.column_stack([np.ones(len(shares)), *columns])
