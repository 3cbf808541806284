"""Leave-one-out written out: conditionals by dense matrices, and the exact engine refitted."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import sbc_models
import xarray as xr
from engine_oracles import Data, simulated
from numpy.typing import NDArray
from scipy import stats

from bayeslmm import fit, models
from bayeslmm.comparison.loo.model import Fitted
from bayeslmm.distributions.phenotype import require_marginal
from bayeslmm.inference.exact import exact
from bayeslmm.inference.exact.marginal import marginal
from bayeslmm.inference.graph import EffectsPrior
from bayeslmm.likelihood.blocks import Blocks, Conditionals
from bayeslmm.likelihood.decompose import compress, decompose
from bayeslmm.likelihood.dense_marginal import DenseMarginal
from bayeslmm.likelihood.kernel_marginal import KernelMarginal

type Floats = NDArray[np.float64]

N = 60
MERGED = ", few nodes"
OUTLIER = 4


def data(outlier: float = 0.0) -> Data:
    """Sixty individuals with two covariates; record `OUTLIER` moved by so many sd of 3."""
    one = simulated(N, 3, 0.5, seed=3)
    y = one.y.copy()
    y[OUTLIER] += 3 * outlier
    return Data(y, one.X, one.K)


@cache
def fitted_tree(outlier: float = 0.0) -> tuple[Data, Any, xr.DataTree]:
    """Data, model and exact fit."""
    one = data(outlier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the outlier
        model = one.model()
    return one, model, fit(model)


@cache
def refitted(outlier: float = 0.0) -> Floats:
    """log p(y_i | y_-i) (n,): the exact engine refitted to all records but one, n times.

    The difference of two log evidences, both by quadrature: no draws and no conditionals.
    """
    one, model, _ = fitted_tree(outlier)
    everybody = np.arange(N)
    whole = log_evidence(model, one, everybody)
    return np.array([whole - log_evidence(model, one, np.delete(everybody, i)) for i in everybody])


def log_evidence(model: Any, one: Data, stay: Any) -> float:
    """log p(y) of the records `stay` under the priors of all, by quadrature."""
    split = marginal(model)
    values = tuple(split.data.values())
    spectrum = decompose(one.K[np.ix_(stay, stay)], one.X[stay])
    found = exact.solve(
        replace(split, spectrum=spectrum),
        spectrum.rotate(one.y[stay]),
        values,
        100,
        np.random.default_rng(1),
        at_zero=False,
    )
    return found.log_evidence


@cache
def gallery_tree(name: str) -> tuple[Any, xr.DataTree]:
    """A model of the gallery on its problem in `sbc_models`, with a phenotype of noise, fitted."""
    cohort, matrices = sbc_models.problem(name)
    y = 3 + np.random.default_rng(5).standard_normal(cohort.n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few variants
        model = models.load(name.partition(",")[0])(replace(cohort, y=y), *matrices)
        return model, fit(model, draws=1000)


def kernel_tree(name: str) -> tuple[Any, xr.DataTree, Any]:
    """`gallery_tree`, and what turns a `Fitted` into one of few nodes where `name` says so."""
    model, tree = gallery_tree(name.removesuffix(MERGED))
    return model, tree, merged if name.endswith(MERGED) else lambda found: found


def merged(found: Fitted) -> Fitted:
    """The same without the eigenvectors of the eigenvalue zero."""
    whole = found.marginal
    assert isinstance(whole, KernelMarginal)
    few = compress(whole.nodes).together(whole.traits)
    assert few.nodes < 0.6 * whole.nodes.nodes
    return replace(found, marginal=replace(whole, nodes=few))


def covariance(model: Any, inputs: list[Floats], s: int) -> Floats:
    """V of draw s, by known matrices."""
    density = require_marginal(model)
    if isinstance(density, DenseMarginal):
        return np.asarray(density.covariance.dense(inputs[0][s]))
    assert isinstance(density, KernelMarginal)
    S, W = density.nodes, density.nodes.basis.columns
    kept = slice(S.basis.nodes, None)  # the kernel is zero in the others
    eigenvalues, coupling = S.eigenvalues[kept], S.coupling[:, kept]
    positive = eigenvalues > 0
    s_inverse = np.divide(1.0, eigenvalues, out=np.zeros(positive.size), where=positive)
    rotated = np.zeros((W.shape[1], W.shape[1]))
    rotated[: S.p, : S.p] = S.schur + (coupling * s_inverse) @ coupling.T
    rotated[: S.p, S.p :] = coupling
    rotated[S.p :, : S.p] = coupling.T
    rotated[S.p :, S.p :] = np.diag(eigenvalues)
    K = W @ rotated @ W.T
    if density.matrices:
        return np.asarray(np.kron(inputs[0][s], K) + np.kron(inputs[1][s], np.eye(S.n)))
    a, b = inputs[0][s]
    return np.asarray(a * K + b * np.eye(S.n))


def dense_error(
    found: Conditionals,
    blocks: Blocks,
    s: int,
    V: Floats,
    X: Floats,
    prior: EffectsPrior,
    y: Floats,
) -> float:
    """Greatest difference between draw s and SciPy's conditionals of N(Xβ, V), β ~ prior.

    A flat prior is taken as the limit: the other records' generalised least squares.
    """
    worst = 0.0
    for g, F in enumerate(blocks.members):
        rest = np.setdiff1d(np.arange(len(y)), F)
        inverse = np.linalg.inv(V[np.ix_(rest, rest)])
        gain = V[np.ix_(F, rest)] @ inverse
        information = X[rest].T @ inverse @ X[rest]
        score = X[rest].T @ inverse @ y[rest]
        if prior.factor is not None:
            precision = np.linalg.inv(prior.factor @ prior.factor.T)
            information, score = information + precision, score + precision @ prior.mean
        beta = np.linalg.solve(information, score)
        mean = X[F] @ beta + gain @ (y[rest] - X[rest] @ beta)
        left = X[F] - gain @ X[rest]
        C = V[np.ix_(F, F)] - gain @ V[np.ix_(rest, F)]
        C = C + left @ np.linalg.solve(information, left.T)
        here = slice(blocks.starts[g], blocks.starts[g + 1])
        log_density = stats.multivariate_normal(mean, 0.5 * (C + C.T)).logpdf(y[F])
        worst = max(
            worst,
            float(np.abs(found.mean[s, here] - mean).max()),
            float(np.abs(found.sd[s, here] - np.sqrt(np.diag(C))).max()),
            abs(float(found.log_density[s, g] - log_density)),
        )
    return worst
