"""The model fitted again to the records outside a block, where importance sampling fails.

By the exact engine (one kernel), or by NUTS on the marginal density (otherwise). The priors are
those of the full data: their units, which are taken from y, stay as they are, so that leaving a
record out does not change the prior.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayeslmm.comparison.loo.dense import Dense
from bayeslmm.comparison.loo.model import Fitted, efficiency
from bayeslmm.distributions.spectral_normal import SpectralNormalRV
from bayeslmm.inference.exact import exact
from bayeslmm.inference.exact.marginal import marginal, why_not_exact
from bayeslmm.inference.gaussian import Gaussian
from bayeslmm.inference.laplace.hmc import sample as sample_hmc
from bayeslmm.inference.laplace.hyper import Hyper
from bayeslmm.inference.laplace.laplace import target_of
from bayeslmm.inference.laplace.mode import Mode
from bayeslmm.inference.laplace.target import Target
from bayeslmm.likelihood.dense import beta_quadratic, dense_form, marginal_gradient
from bayeslmm.likelihood.fixed_effects import BetaQuadratic
from bayeslmm.likelihood.spectrum import Spectrum, decompose
from bayeslmm.likelihood.terms import Covariance
from bayeslmm.numerics.arrays import Codes, Floats

DRAWS = 4000  # of a refit with one kernel
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
    efficiency
        Effective over actual number of draws.
    """

    inputs: list[Floats]
    evidence: tuple[float, float] | None
    efficiency: float = 1.0


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
) -> Refit:
    """Draws of the (co)variances by NUTS: for several kernels with the gradient of the others.

    Chains that did not mix have a small effective number of draws, hence a large Monte Carlo
    standard error, which tells that the block is not resolved.
    """
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
    return Refit(split.parameters(points, *split.data)[1], None, efficiency(chains.log_density))


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
