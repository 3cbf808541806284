"""The posterior without a block of records, for blocks whose importance weights are no good.

Two steps. First the importance sampler of the Laplace engine on the density without the block::

    log p(u, y_-F) = log p(u, y) - log p(y_F | y_-F, u)

which is exact and needs no matrix but those of the full data; it costs about as many density
evaluations as moment matching of the draws (Paananen et al. 2021) would, and fits its proposal to
the target instead of moving the draws. Where its own k̂ is bad the model is fitted again to the
other records: by the exact engine (one kernel), or by NUTS on the marginal density (otherwise).

Then ``log p(y_F | y_-F)`` is the difference of the log evidences with and without the block where
both are known, or bridged between the two sets of draws, whichever has the smaller standard error.

The priors are those of the full data: their units, which are taken from y, stay as they are, so
that leaving a record out does not change the prior.

References
----------
Meng & Wong (1996) Statistica Sinica 6:831; Paananen, Piironen, Bürkner & Vehtari (2021) Stat
Comput 31:16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import Covariance
from bayeslmm.dense import BetaQuadratic, beta_quadratic, dense_form, marginal_gradient
from bayeslmm.distributions import SpectralNormalRV
from bayeslmm.engines import exact
from bayeslmm.engines.effects import EffectsPrior
from bayeslmm.engines.gaussian import Gaussian
from bayeslmm.engines.hmc import sample as sample_hmc
from bayeslmm.engines.hyper import Hyper, hyper
from bayeslmm.engines.importance import importance_sample
from bayeslmm.engines.laplace import target_of
from bayeslmm.engines.marginal import marginal, why_not_exact
from bayeslmm.engines.mode import Mode
from bayeslmm.engines.target import Target
from bayeslmm.errors import InputError, ModelError
from bayeslmm.leave_one_out.blocks import Blocks, Conditionals, join
from bayeslmm.leave_one_out.dense import Dense
from bayeslmm.leave_one_out.model import Fitted
from bayeslmm.leave_one_out.spectral import Spectral
from bayeslmm.leave_one_out.weights import Scores, bridge, scores
from bayeslmm.spectrum import Spectrum, decompose

type Floats = NDArray[np.float64]
type Codes = NDArray[np.intp]
type Method = Literal["importance", "refit"]
type Kept = dict[bytes, Conditionals]

ESS = 2000.0  # importance ESS with one kernel, where evaluations are cheap
ESS_DENSE = 1000.0
DRAWS = 4000  # of a refit with one kernel
APART = 0.3  # standard error of log p(y_F | y_-F) beyond which a bridge is no estimate
DRAWS_HMC, TUNE_HMC = 1000, 500


@dataclass(frozen=True, slots=True, eq=False)
class Refit:
    """Draws without the block.

    Parameters
    ----------
    inputs
        (Co)variances (N, ...), as the likelihood takes them.
    evidence
        log p(y_-F) and its standard error, where known.
    """

    inputs: list[Floats]
    evidence: tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class Redone:
    """A block with its own posterior.

    Parameters
    ----------
    scores
        Of the one block.
    method
        How: "importance" or "refit".
    """

    scores: Scores
    method: Method


def redo(
    fitted: Fitted, members: Codes, within: Floats, seed: np.random.SeedSequence
) -> Redone | None:
    """The scores of a block from its own posterior; None where β cannot be integrated out.

    Parameters
    ----------
    fitted
        Model and draws.
    members
        Records of the block.
    within
        log p(y_F | y_-F, θ) at the draws of the full posterior (S,).
    seed
        Source of randomness.
    """
    if fitted.effects is None:
        return None
    block = Blocks((members,))
    streams = seed.spawn(2)
    try:
        split = hyper(fitted.model)
    except ModelError:
        return None
    dense = isinstance(fitted.likelihood, Dense)
    workers = fitted.workers if dense and len(fitted.y) > 200 else 1
    kept: Kept = {}
    target = target_without(fitted, split, fitted.effects, block, kept)
    ess = ESS_DENSE if dense else ESS
    found = importance_sample(target, ess=ess, seed=streams[0], workers=workers)
    if found.ok:
        alive = found.weights > 0
        at = join([kept[u.tobytes()] for u in found.points[alive]])
        weights = found.weights[alive] / found.weights[alive].sum()
        evidence = (found.log_evidence, found.mcse)
        return Redone(
            _scores(fitted, block, within, at, weights, found.pareto_k, evidence), "importance"
        )
    refit = refit_exactly(fitted, members, streams[1])
    if refit is None:
        inputs = refit_by_nuts(fitted, split, target, members, found.mode, streams[1])
        refit = Refit(inputs, None)
    at = fitted.conditionals(block, refit.inputs)
    equal = np.full(len(at.mean), 1.0 / len(at.mean))
    return Redone(_scores(fitted, block, within, at, equal, 0.0, refit.evidence), "refit")


def _scores(
    fitted: Fitted,
    block: Blocks,
    within: Floats,
    at: Conditionals,
    weights: Floats,
    k: float,
    evidence: tuple[float, float] | None,
) -> Scores:
    elpd, mcse = bridge(within, at.log_density[:, 0], weights)
    if evidence is not None and fitted.evidence is not None:
        error = float(np.hypot(fitted.evidence[1], evidence[1]))
        if error < mcse:
            elpd, mcse = fitted.evidence[0] - evidence[0], error
    if mcse > APART:  # the two posteriors do not overlap: the bridge does not hold
        k = np.inf
    one = scores(at, weights[:, None], np.array([k]), block, fitted.y)
    return replace(one, elpd=np.array([elpd]), mcse=np.array([mcse]))


def target_without(
    fitted: Fitted, split: Hyper, effects: EffectsPrior, block: Blocks, kept: Kept
) -> Target:
    """log p(u, y_-F), β integrated out; `kept` gets y_F given y_-F at every point."""
    likelihood = fitted.likelihood
    if isinstance(likelihood, Spectral):
        prepare = _prepare_spectral(likelihood, split, effects, block, kept)
    else:
        prepare = _prepare_dense(likelihood, split, effects, block, kept)

    def log_density(u: Floats) -> float:
        return prepare(u[None])(0)

    return Target(split.names, split.start, log_density, prepare=prepare)


def _prepare_spectral(
    likelihood: Spectral, split: Hyper, effects: EffectsPrior, block: Blocks, kept: Kept
) -> Callable[[Floats], Callable[[int], float]]:
    whole = target_of(split, effects)

    def take(points: Floats, values: Floats, chosen: Codes) -> None:
        if len(chosen) == 0:
            return
        inputs = split.parameters(points[chosen], *split.data)[1]
        found = likelihood.conditionals(inputs, effects.mean, effects.factor, block)
        values[chosen] -= found.log_density[:, 0]
        for k, i in enumerate(chosen):
            kept[points[i].tobytes()] = found.rows(np.array([k]))

    def prepare(points: Floats) -> Callable[[int], float]:
        at = whole.prepare(points) if whole.prepare is not None else None
        assert at is not None
        values = np.array([at(i) for i in range(len(points))])
        chosen = np.flatnonzero(np.isfinite(values))
        try:
            take(points, values, chosen)
        except (InputError, np.linalg.LinAlgError):  # one of them at an edge
            for i in chosen:
                try:
                    take(points, values, chosen[chosen == i])
                except (InputError, np.linalg.LinAlgError):
                    values[i] = -np.inf
        return lambda i: float(values[i])

    return prepare


def _prepare_dense(
    likelihood: Dense, split: Hyper, effects: EffectsPrior, block: Blocks, kept: Kept
) -> Callable[[Floats], Callable[[int], float]]:
    def prepare(points: Floats) -> Callable[[int], float]:
        log_prior, parameters = split.parameters(points, *split.data)

        def at(i: int) -> float:
            if not np.isfinite(log_prior[i]):
                return -np.inf
            try:
                found = likelihood.without(parameters[0][i], effects.mean, effects.factor, block)
            except (InputError, np.linalg.LinAlgError):
                return -np.inf
            if found is None:
                return -np.inf
            kept[points[i].tobytes()] = found[1]
            return float(log_prior[i]) + found[0]

        return at

    return prepare


def refit_exactly(fitted: Fitted, left: Codes, seed: np.random.SeedSequence) -> Refit | None:
    """Variances drawn by the exact engine from the other records; None where it cannot serve."""
    op = fitted.model["phenotype"].owner.op
    if not isinstance(op, SpectralNormalRV) or why_not_exact(fitted.model) is not None:
        return None
    stay = np.setdiff1d(np.arange(len(fitted.y)), left)
    X = op.design[stay]
    if np.linalg.matrix_rank(X) < X.shape[1]:
        return None
    reduced = decompose(kernel_of(op.spectrum)[np.ix_(stay, stay)], X)
    split = marginal(fitted.model)
    data = tuple(split.data.values())  # units of the full data
    found = exact.solve(
        replace(split, spectrum=reduced),
        reduced.rotate(fitted.y[stay]),
        data,
        DRAWS,
        np.random.default_rng(seed),
        at_zero=False,
    )
    proper = found.effects.factor is not None
    return Refit([exact.variances(found.draws)], (found.log_evidence, 0.0) if proper else None)


def refit_by_nuts(
    fitted: Fitted,
    split: Hyper,
    target: Target,
    left: Codes,
    mode: Mode,
    seed: np.random.SeedSequence,
) -> list[Floats]:
    """Draws of the (co)variances by NUTS: for several kernels with the gradient of the others."""
    likelihood, effects = fitted.likelihood, fitted.effects
    assert effects is not None
    if isinstance(likelihood, Dense):
        stay = np.setdiff1d(np.arange(len(fitted.y)), left)
        reduced = gaussian_of(likelihood, stay)
        if reduced is not None:
            target = target_of(replace(split, gaussian=reduced), effects)
    chains = sample_hmc(
        target,
        draws=DRAWS_HMC // 4,
        tune=TUNE_HMC,
        seed=int(seed.generate_state(1)[0]),
        workers=fitted.workers,
        mode=mode,
    )
    points = chains.points.reshape(-1, len(target.names))
    return split.parameters(points, *split.data)[1]


def gaussian_of(likelihood: Dense, stay: Codes) -> Gaussian | None:
    """The likelihood of the records `stay` alone; None if X has not full column rank there."""
    whole = likelihood.form
    X, y = whole.design[stay], likelihood.y[stay]
    if np.linalg.matrix_rank(X) < X.shape[1]:
        return None
    old = whole.covariance
    terms = tuple(
        replace(term, levels=term.levels[stay], weights=term.weights[stay])
        for term in old.terms
    )  # fmt: skip
    classes = None if old.residual is None else old.residual[stay]
    form = dense_form(Covariance(terms, classes), X)
    rotated, size = form.rotate(y), form.covariance.size  # less where the last class has gone

    def gradient(
        parameters: list[Floats], mean: Floats, factor: Floats | None
    ) -> tuple[float, list[Floats]]:
        c = parameters[0]
        value, slope = marginal_gradient(form, rotated, mean, factor, c[:size])
        return value, [np.concatenate([slope, np.zeros(len(c) - size)])]

    def quadratic(parameters: list[Floats]) -> BetaQuadratic | None:
        return beta_quadratic(form, rotated, parameters[0][:size])

    return Gaussian(quadratic, gradient, form.n > 200)


def kernel_of(spectrum: Spectrum) -> Floats:
    """K (n, n) back from its spectrum."""
    s, C, p = spectrum.eigenvalues, spectrum.coupling, spectrum.p
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    W1, W2 = spectrum.basis[:, :p], spectrum.basis[:, p:]
    cross = W1 @ C @ W2.T
    K = (W2 * s) @ W2.T + cross + cross.T
    K += W1 @ (spectrum.schur + (C * inverse) @ C.T) @ W1.T
    return np.asarray(0.5 * (K + K.T))
