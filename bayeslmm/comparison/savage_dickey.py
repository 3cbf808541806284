"""Bayes factors for a share of exactly zero, from the posterior near zero (Savage-Dickey).

    BF₀ = p(y | share = 0) / p(y) = lim_{x → 0} p(x | y) / p(x)

"Share zero" is said of a coordinate x whose prior is known and independent of everything else that
the model without the kernel still has: h² itself where all kernels are genetic (x = e, the share
explained, Beta(a, b)), and otherwise the part x = Σ w_k of the kernels concerned in what the
kernels explain, Beta(|S|α, (K - |S|)α). A share s_k = e w_k itself would not do: its density is
infinite at 0, because e may be 0 too. For a prior of another form the prior of the rest given
x = 0 is not that of the model without the kernel, and the ratio is not its Bayes factor
(Verdinelli & Wasserman 1995): those are refused.

Two estimates. From draws alone: posterior over prior density as a straight line near 0, fitted to
the draws there. With the model: for any density q(x | rest) (Chen 1994)::

    BF₀ = E_posterior [ q(x | rest) / p(x) · p(y | x = 0, rest) / p(y | x, rest) ]

which needs two evaluations a draw, no draws near zero, and knows its Monte Carlo error.

References
----------
Dickey (1971) Ann Math Stat 42:204; Verdinelli & Wasserman (1995) J Am Stat Assoc 90:614; Chen
(1994) J Am Stat Assoc 89:818.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from arviz_stats.base import array_stats
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betainc, betaln, expit, gammaln, log_ndtr
from scipy.stats import beta as beta_law

from bayeslmm.engines.share_likelihood import ShareLikelihood
from bayeslmm.engines.target import run

if TYPE_CHECKING:
    import xarray as xr

type Floats = NDArray[np.float64]

FEW = 20  # draws near zero below which nothing is said
WIDEST = 0.1  # "near" zero ends here at most
KHAT = 0.5  # of the terms of Chen's mean: above, their variance is infinite
NARROW = 0.9  # q is narrower than what is fitted, so that q/p is bounded
TINY = 1e-300


@dataclass(frozen=True, slots=True)
class SharesPrior:
    """Prior of shares, ``s = (e w, 1 - e)``, e ~ Beta(a, b), w ~ Dirichlet(α, ..., α)."""

    a: float
    b: float
    alpha: float

    def of_coordinate(self, left_out: int, count: int) -> tuple[float, float]:
        """Beta parameters of x for `left_out` kernels of `count`."""
        if left_out == count:
            return self.a, self.b
        return left_out * self.alpha, (count - left_out) * self.alpha


@dataclass(frozen=True, slots=True)
class Ratio:
    """log₁₀ BF₀ in favour of zero and its Monte Carlo standard error; nan where too far away."""

    log10: float
    mcse: float


NOTHING = Ratio(float("nan"), float("nan"))


def read_prior(tree: xr.DataTree) -> SharesPrior | None:
    """The prior of the shares, from its log density at the draws; None if it is of another form.

    ``log p(s) = constant + (a - Kα) log e + (b - 1) log(1 - e) + (α - 1) Σ log s_k`` is linear in
    its parameters, so that few draws determine them without error.
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


def coordinate(shares: Floats, left_out: Collection[int]) -> Floats:
    """x (N,) of shares (N, K + 1): e if all kernels are left out, else their part in e."""
    explained = shares[:, :-1].sum(axis=1)
    if len(left_out) == shares.shape[1] - 1:
        return np.asarray(explained)
    some = shares[:, sorted(left_out)].sum(axis=1)
    return np.asarray(some / np.maximum(explained, TINY))


def ratio_at_zero(x: Floats, a: float, b: float, effective: float | None = None) -> Ratio:
    """BF₀ from draws x (N,) in [0, 1] whose prior is Beta(a, b); nan if too few lie near 0.

    The ratio r(x) of posterior to prior density is taken as r₀ + r₁ x on [0, h] and fitted to the
    moments ``∫₀ʰ xʲ r(x) p(x) dx`` = mean of xʲ of the draws there, j = 0, 1.

    Parameters
    ----------
    x
        Draws.
    a, b
        Prior.
    effective
        What the draws are worth; default N.
    """
    h = max(0.01, float(np.quantile(x, 0.05)))
    inside = x < h
    if h > WIDEST or np.count_nonzero(inside) < FEW:
        return NOTHING
    moments = [
        float(np.exp(betaln(a + j, b) - betaln(a, b)) * betainc(a + j, b, h)) for j in range(3)
    ]
    system = np.array([moments[:2], moments[1:]])
    weights = np.linalg.solve(system, [1.0, 0.0])
    terms = np.where(inside, weights[0] + weights[1] * x, 0.0)
    mean = float(terms.mean())
    error = float(terms.std(ddof=1) / np.sqrt(x.size if effective is None else effective))
    if mean <= 2.0 * error:
        return NOTHING
    return Ratio(float(np.log10(mean)), error / mean / float(np.log(10)))


def ratio_with_model(
    shares: ShareLikelihood,
    draws: Floats,
    left_out: Collection[int],
    *,
    known: Floats | None = None,
    effective: float | None = None,
    fitted: Floats | None = None,
    workers: int = 1,
) -> Ratio:
    """BF₀ by Chen's identity; nan where k̂ of its terms is above 0.5: zero is too far away.

    Parameters
    ----------
    shares
        The model.
    draws
        Shares (N, K + 1) of the posterior at which the density is evaluated.
    left_out
        Positions of the kernels whose shares are zero under the null hypothesis.
    known
        log p(y | shares) (N,) at `draws`, where computed before.
    effective
        What the draws are worth; default N.
    fitted
        Draws to which q is fitted; default `draws`. More of them make a better q.
    workers
        Evaluations at a time.
    """
    count = len(shares.components)
    prior = SharesPrior(*shares.explained, shares.concentration)
    x = coordinate(draws, left_out)
    distinct, where = np.unique(draws, axis=0, return_inverse=True)
    where = where.ravel()
    first = np.array([np.flatnonzero(where == k)[0] for k in range(len(distinct))])
    if known is None:
        at = run(lambda k: shares.log_density(distinct[k]), range(len(distinct)), workers)
    else:
        at = list(known[first])
    nothing = without(distinct, left_out)
    if len(left_out) == count:
        below = [shares.log_density(nothing[0])] * len(distinct)
    else:
        below = run(lambda k: shares.log_density(nothing[k]), range(len(distinct)), workers)
    table = draws if fitted is None else fitted
    log_q = conditional_density(
        coordinate(table, left_out), rest(table, left_out), x[first], rest(distinct, left_out)
    )
    log_p = beta_law.logpdf(x[first], *prior.of_coordinate(len(left_out), count))
    log_terms = (log_q - log_p + np.array(below) - np.array(at))[where]
    return mean_of_terms(log_terms, where, effective)


def mean_of_terms(log_terms: Floats, cluster: NDArray[np.intp], effective: float | None) -> Ratio:
    """log₁₀ of a mean, its error by clusters of equal draws; nan where its k̂ is above 0.5."""
    finite = np.isfinite(log_terms)
    if finite.sum() < FEW:
        return NOTHING
    top = float(log_terms[finite].max())
    terms = np.where(finite, np.exp(np.maximum(log_terms - top, -700.0)), 0.0)
    if np.ptp(log_terms[finite]) > 1e-9:
        k = float(array_stats.psislw(-np.maximum(log_terms - top, -700.0))[1])
        if not k < KHAT:
            return NOTHING
    n, mean = terms.size, float(terms.mean())
    sums = np.bincount(cluster, weights=terms - mean)
    variance = float(np.sum(sums**2)) / n**2
    if effective is not None:
        variance = max(variance, float(terms.var(ddof=1)) / effective)
    return Ratio((np.log(mean) + top) / np.log(10), np.sqrt(variance) / mean / np.log(10))


def without(shares: Floats, left_out: Collection[int]) -> Floats:
    """Shares (N, K + 1) with those of `left_out` zero, and the others' parts of e as they were."""
    out, gone = shares.copy(), sorted(left_out)
    explained = shares[:, :-1].sum(axis=1)
    out[:, gone] = 0.0
    left = out[:, :-1].sum(axis=1)
    if len(gone) == shares.shape[1] - 1:
        out[:, -1] = 1.0
        return out
    out[:, :-1] *= (explained / np.maximum(left, TINY))[:, None]
    return out


def rest(shares: Floats, left_out: Collection[int]) -> Floats:
    """What stays, as regressors (N, r): logit e and the log-ratios of the parts that stay."""
    count, gone = shares.shape[1] - 1, set(left_out)
    floor = 1e-6  # what lies beyond says no more about x
    stay = [k for k in range(count) if k not in gone] or list(range(count))
    logs = np.log(np.maximum(shares, floor))
    columns = [logs[:, k] - logs[:, stay[-1]] for k in stay[:-1]]
    if len(gone) < count:
        columns.append(np.log(np.maximum(shares[:, :-1].sum(axis=1), floor)) - logs[:, -1])
    return np.column_stack([np.ones(len(shares)), *columns])


def conditional_density(x: Floats, table: Floats, at: Floats, given: Floats) -> Floats:
    """log q(at | given) (m,): a normal distribution cut to [0, 1], its mean linear in `given`.

    Fitted by maximum likelihood to x (N,) and the regressors `table` (N, r).
    """
    scale = np.maximum(table.std(axis=0), 1e-12)
    scale[0] = 1.0
    centre = np.append(0.0, table[:, 1:].mean(axis=0))
    Z, given = (table - centre) / scale, (given - centre) / scale
    start = np.linalg.lstsq(Z, x, rcond=None)[0]
    spread = max(float(np.std(x - Z @ start)), 1e-6)

    def loss(parameters: Floats) -> float:
        return -float(np.mean(_cut_normal(x, Z @ parameters[:-1], np.exp(parameters[-1]))))

    found = minimize(
        loss, np.append(start, np.log(spread)), method="Nelder-Mead",
        options={"maxiter": 400 * len(start), "xatol": 1e-4, "fatol": 1e-6, "adaptive": True},
    ).x  # fmt: skip
    return _cut_normal(at, given @ found[:-1], NARROW * np.exp(found[-1]))


def _cut_normal(x: Floats, mean: Floats, sd: float) -> Floats:
    """Log density of N(mean, sd²) cut to [0, 1]."""
    low, high = (0.0 - mean) / sd, (1.0 - mean) / sd
    # log[Φ(high) - Φ(low)], by the tail that does not cancel
    flip = low > 0
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    log_b, log_a = log_ndtr(b), log_ndtr(a)
    mass = log_b + np.log1p(-np.exp(np.minimum(log_a - log_b, -1e-15)))
    z = (x - mean) / sd
    return np.asarray(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - np.log(sd) - mass)


def exact_ratio(tree: xr.DataTree) -> Ratio:
    """BF₀ of h² = 0 from the exact engine's densities at 0; nan where its grid ends before 0."""
    group = tree["quadrature"].to_dataset()
    near = float(expit(group["logit_h2"].to_numpy()[0]))
    posterior, prior = (float(group[name].to_numpy()[0]) for name in ("density", "prior_density"))
    if near > 1e-5 or not (posterior > 0 and prior > 0):
        return NOTHING
    return Ratio(float(np.log10(posterior / prior)), 0.0)
