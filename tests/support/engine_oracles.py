"""Dense, independent answers to what the engines compute: n × n covariances, no spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logsumexp

from bayeslmm import models
from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.inference.fit import fit
from bayeslmm.relationship.relationship import Relationship

type Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """y, X and K of one data set; K is used as it is (kernel_scale "none")."""

    y: Floats
    X: Floats
    K: Floats

    @property
    def n(self) -> int:
        return self.y.size

    @property
    def unit(self) -> float:
        """sd(y | X) by ordinary least squares."""
        residual = self.y - self.X @ np.linalg.lstsq(self.X, self.y, rcond=None)[0]
        return float(np.sqrt(residual @ residual / (self.n - self.X.shape[1])))

    def cohort(self) -> Cohort:
        return cohort_from_arrays(self.y, self.X, quantitative=True)

    def relationship(self) -> Relationship:
        return Relationship(self.K, self.cohort().individuals, kernel_scale="none")

    def model(self, name: str = "additive", **priors: str) -> Any:
        return models.load(name)(self.cohort(), self.relationship(), **priors)


def sibships(n: int, size: int = 4, within: float = 0.5) -> Floats:
    """Relationship of unrelated families of `size` siblings."""
    family = np.arange(n) // size
    return np.where(family[:, None] == family, within, 0.0) + (1 - within) * np.eye(n)


def simulated(
    n: int = 60, p: int = 2, h2: float = 0.5, *, seed: int, K: Floats | None = None
) -> Data:
    """A data set with intercept and p - 1 covariates, y of sd about 3 and mean about 7."""
    rng = np.random.default_rng(seed)
    if K is None:
        K = gram(n, 3 * n, rng)
    X = np.column_stack([np.ones(n), 2.0 + 1.5 * rng.standard_normal((n, p - 1))])
    V = h2 * K + (1 - h2) * np.eye(n)
    root = np.linalg.cholesky(V + 1e-12 * np.eye(n))
    y = X @ np.concatenate([[7.0], np.full(p - 1, 0.6)]) + 3.0 * root @ rng.standard_normal(n)
    return Data(y, X, K)


def gram(n: int, variants: int, rng: np.random.Generator) -> Floats:
    """A centred GRM (rank at most n - 1) with average semivariance 1."""
    Z = rng.binomial(2, rng.uniform(0.1, 0.9, variants), (n, variants)).astype(float)
    Z = (Z - Z.mean(axis=0)) / np.maximum(Z.std(axis=0, ddof=1), 1e-9)
    K = Z @ Z.T
    return K / (np.trace(K) / (n - 1))


def effects_prior(data: Data, sd: float = 10.0) -> tuple[Floats, Floats]:
    """Mean (p,) and covariance (p, p) of β under the default prior, written out from its words."""
    mean, spread = data.X.mean(axis=0)[1:], data.X.std(axis=0, ddof=1)[1:]
    p = data.X.shape[1]
    J = np.zeros((p, p))  # β = b₀ + J γ
    for j in range(1, p):
        J[j, j] = data.unit / spread[j - 1]
        J[0, j] = -J[j, j] * mean[j - 1]
    J[0, 0] = data.unit
    b0 = np.zeros(p)
    b0[0] = data.y.mean()
    return b0, sd**2 * J @ J.T


def reml(data: Data, h: Floats) -> tuple[Floats, Floats]:
    """Dense REML pieces at h (r,): log|H| + log|XᵀH⁻¹X| - log|XᵀX| and yᵀPy."""
    logs, rss = np.empty(h.size), np.empty(h.size)
    for i, value in enumerate(h):
        H = value * data.K + (1 - value) * np.eye(data.n)
        W = np.linalg.solve(H, np.column_stack([data.X, data.y]))
        A, b = data.X.T @ W[:, :-1], data.X.T @ W[:, -1]
        logs[i] = np.linalg.slogdet(H)[1] + np.linalg.slogdet(A)[1]
        rss[i] = data.y @ W[:, -1] - b @ np.linalg.solve(A, b)
    return logs - np.linalg.slogdet(data.X.T @ data.X)[1], rss


def contrasts(data: Data) -> tuple[Floats, Floats]:
    """Eigenvalues of K among the error contrasts and the contrasts of y, by a null space."""
    basis = np.linalg.svd(data.X, full_matrices=True)[0][:, data.X.shape[1] :]
    xi, V = np.linalg.eigh(basis.T @ data.K @ basis)
    return np.maximum(xi, 0.0), V.T @ (basis.T @ data.y)


def flat_grid(data: Data, points: int = 20_000) -> tuple[Floats, Floats]:
    """Midpoints of h² and posterior weights: flat β, p(σ²) ∝ 1/σ², flat h² (reliability A1)."""
    h = (np.arange(points) + 0.5) / points
    xi, eta = contrasts(data)
    log_p = np.empty(points)
    for part in np.array_split(np.arange(points), 20):
        d = h[part, None] * xi + (1 - h[part])[:, None]
        log_p[part] = -0.5 * (xi.size * np.log((eta**2 / d).sum(1)) + np.log(d).sum(1))
    w = np.exp(log_p - log_p.max())
    return h, w / w.sum()


def explained(data: Data, directions: int) -> Data:
    """The same, K and y without variance along some contrasts: as pairs of copies have it."""
    basis = np.linalg.svd(data.X, full_matrices=True)[0][:, data.X.shape[1] :]
    xi, V = np.linalg.eigh(basis.T @ data.K @ basis)
    B = basis @ V
    lost = B[:, :directions]
    kept = B * np.where(np.arange(xi.size) < directions, 0.0, xi)
    return Data(data.y - lost @ (lost.T @ data.y), data.X, kept @ B.T)


# Priors of the total sd (in units of sd(y | X)) and of h², by SciPy.
SCALE_PRIORS: dict[str, Any] = {
    "half_t(3, 2.5)": lambda x: np.log(2) + stats.t.logpdf(x, 3, scale=2.5),
    "half_normal(1)": lambda x: stats.halfnorm.logpdf(x),
    "half_normal(0.01)": lambda x: stats.halfnorm.logpdf(x, scale=0.01),
    "half_cauchy(1)": lambda x: stats.halfcauchy.logpdf(x),
    "exponential(2)": lambda x: stats.expon.logpdf(x, scale=2),
    "gamma(2, 1.5)": lambda x: stats.gamma.logpdf(x, 2, scale=1 / 1.5),
    "inverse_gamma(3, 2)": lambda x: stats.invgamma.logpdf(x, 3, scale=2),
    "lognormal(0, 1)": lambda x: stats.lognorm.logpdf(x, 1),
    "lognormal(3, 0.1)": lambda x: stats.lognorm.logpdf(x, 0.1, scale=np.exp(3)),
    "uniform(0, 4)": lambda x: stats.uniform.logpdf(x, 0, 4),
}


def beta_logit(a: float, b: float) -> Any:
    """log density of z = logit h² for h² ~ Beta(a, b), accurate in both tails."""
    constant = stats.beta.logpdf(0.5, a, b) - (a + b - 2) * np.log(0.5)
    return lambda z: constant + a * -np.logaddexp(0, -z) + b * -np.logaddexp(0, z)


@dataclass(frozen=True)
class Brute:
    """Dense posterior on a grid of (z, t): log p(y | z, t), β integrated out."""

    z: Floats
    t: Floats
    log_like: Floats
    at_zero: Floats  # log p(y | h² = 0, t)
    unit: float

    def posterior(self, h2: Any, total_sd: Any) -> dict[str, float]:
        """Moments of h² and log τ, log evidence, and that at h² = 0."""
        log_tau = total_sd(np.exp(self.t) / self.unit) - np.log(self.unit) + self.t
        cell = np.log(self.z[1] - self.z[0]) + np.log(self.t[1] - self.t[0])
        log_p = self.log_like + h2(self.z)[:, None] + log_tau + cell
        evidence = logsumexp(log_p)
        w = np.exp(log_p - evidence)
        h, t = expit(self.z), self.t
        mean, tau = w.sum(1) @ h, w.sum(0) @ t
        return {
            "mean": float(mean),
            "sd": float(np.sqrt(w.sum(1) @ (h - mean) ** 2)),
            "log_tau": float(tau),
            "log_evidence": float(evidence),
            "log_evidence_h2_0": float(
                logsumexp(self.at_zero + log_tau + np.log(self.t[1] - self.t[0]))
            ),
        }


def log_marginal(data: Data, z: Floats, t: Floats, sd: float = 10.0) -> Floats:
    """log N(y; Xb₀, τ² [h² K + (1 - h²) I] + X B Xᵀ) for arrays of z = logit h² and t = log τ."""
    b0, B = effects_prior(data, sd)
    h, rest, scale = expit(z), expit(-z), np.exp(2 * t)
    V = (scale * h)[:, None, None] * data.K + (scale * rest)[:, None, None] * np.eye(data.n)
    L = np.linalg.cholesky(V + data.X @ B @ data.X.T)
    r = np.linalg.solve(L, np.broadcast_to((data.y - data.X @ b0)[:, None], (z.size, data.n, 1)))
    half = np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
    return np.asarray(
        -0.5 * data.n * np.log(2 * np.pi) - half - 0.5 * (r[:, :, 0] ** 2).sum(axis=1)
    )


@cache
def small() -> Data:
    """Twelve individuals, a covariate, a centred singular GRM: the tables of `brute`."""
    return simulated(12, 2, 0.6, seed=5, K=gram(12, 60, np.random.default_rng(55)))


@cache
def brute() -> Brute:
    """The dense grid of `small`: 161 × 300 Cholesky factors of 12 × 12."""
    data = small()
    z = np.linspace(-40, 40, 161)
    t = np.log(data.unit) + np.linspace(-3.5, 5.5, 300)
    log_like = np.stack([log_marginal(data, np.full(t.size, value), t) for value in z])
    at_zero = log_marginal(data, np.full(t.size, -800.0), t)
    return Brute(z, t, log_like, at_zero, data.unit)


def family_data() -> Data:
    """80 individuals in families of eight: both models mix well on it."""
    return simulated(80, 2, 0.4, seed=8, K=sibships(80, 8))


@cache
def family_model() -> Any:
    """`additive` on `family_data`: compiled once for the whole test run."""
    return family_data().model()


@cache
def exact_tree() -> xr.DataTree:
    """Exact fit of `family_model`, g kept."""
    return fit(family_model(), "exact", genetic_values=True)


@cache
def nuts_tree() -> xr.DataTree:
    """NUTS fit of `family_model`."""
    return fit(family_model(), "nuts", draws=2000, chains=4, tune=500, cores=2, seed=3)


def dense_blup(data: Data, beta: Floats, u: float, e: float) -> tuple[Floats, Floats]:
    """E[g | y, β, σ²] and Var[g | y, β, σ²] by n × n matrices."""
    V = u * data.K + e * np.eye(data.n)
    gain = np.linalg.solve(V, u * data.K).T
    return gain @ (data.y - data.X @ beta), u * data.K - gain @ (u * data.K)
