"""The likelihoods that the Laplace engine knows, in one shape: normal in β given (co)variances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm

from bayeslmm.distributions.dense_normal import DenseNormalRV
from bayeslmm.distributions.multi_trait_normal import MultiTraitNormalRV
from bayeslmm.distributions.spectral_normal import SpectralNormalRV
from bayeslmm.likelihood.dense import beta_quadratic, marginal_gradient
from bayeslmm.likelihood.fixed_effects import BetaQuadratic, integrate_beta
from bayeslmm.likelihood.incomplete import IncompleteTraits, rotated_records
from bayeslmm.likelihood.incomplete import quadratic as incomplete_quadratic
from bayeslmm.likelihood.one_kernel import LOG_2PI
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.likelihood.terms import Covariance
from bayeslmm.likelihood.traits import beta_quadratic as multi_trait_quadratic
from bayeslmm.numerics.arrays import Floats

LIKELIHOODS = (DenseNormalRV, MultiTraitNormalRV, SpectralNormalRV)


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """log p(y | β, parameters) of the data that the model holds now.

    Parameters
    ----------
    quadratic
        ``(parameters) → BetaQuadratic``, None where the covariance is not positive definite.
    gradient
        ``(parameters, mean, factor) → (log p(y | parameters), its gradients)`` with β integrated
        out; None where finite differences are cheaper.
    expensive
        Is an evaluation worth a thread?
    """

    quadratic: Callable[[list[Floats]], BetaQuadratic | None]
    gradient: Callable[[list[Floats], Floats, Floats | None], tuple[float, list[Floats]]] | None
    expensive: bool


def gaussian(model: pm.Model) -> Gaussian:
    """The likelihood of a model with its current phenotype."""
    op = model["phenotype"].owner.op
    if isinstance(op, DenseNormalRV) and op.fast is not None:
        y = np.asarray(model["phenotype_observed"].get_value())
        return _incomplete(op.fast, op.form.covariance, y)
    rotated: Any = np.ascontiguousarray(model["phenotype_rotated"].get_value())
    if isinstance(op, DenseNormalRV):
        form = op.form

        def gradient(
            parameters: list[Floats], mean: Floats, factor: Floats | None
        ) -> tuple[float, list[Floats]]:
            value, slope = marginal_gradient(form, rotated, mean, factor, parameters[0])
            return value, [slope]

        return Gaussian(lambda parameters: beta_quadratic(form, rotated, parameters[0]), gradient,
                        form.n > 200)  # fmt: skip
    spectrum = op.spectrum
    if isinstance(op, SpectralNormalRV):
        return Gaussian(
            lambda parameters: spectral_quadratic(spectrum, rotated, parameters[0]), None, False
        )

    def several(parameters: list[Floats]) -> BetaQuadratic | None:
        level, A, w = multi_trait_quadratic(rotated, parameters[0], parameters[1], spectrum)
        return BetaQuadratic(level, A, w) if np.isfinite(level) else None

    return Gaussian(several, None, False)


def _incomplete(fast: IncompleteTraits, covariance: Covariance, y: Floats) -> Gaussian:
    records = rotated_records(fast, y)

    def quadratic(parameters: list[Floats]) -> BetaQuadratic | None:
        G, R = covariance.unpack(parameters[0])[0]
        return incomplete_quadratic(fast, records, G, R)

    return Gaussian(quadratic, None, len(y) > 200)


def spectral_quadratic(
    spectrum: Spectrum, rotated: Floats, variance: Floats
) -> BetaQuadratic | None:
    """`BetaQuadratic` of one kernel, by the formulas of `bayeslmm.likelihood.one_kernel`."""
    a, b = (float(x) for x in variance)
    s, C, p, m = spectrum.eigenvalues, spectrum.coupling, spectrum.p, spectrum.m
    d = a * s + b
    if d.min() <= 0:
        return None
    e = rotated[p:]
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    S = b * np.eye(p) + a * spectrum.schur + a * b * (C * (inverse / d)) @ C.T
    try:
        L = np.linalg.cholesky(S)
    except np.linalg.LinAlgError:
        return None
    w = np.linalg.solve(L, rotated[:p] - a * (C @ (e / d)))
    log_det = np.log(d).sum() + 2.0 * np.log(np.diagonal(L)).sum()
    level = -0.5 * ((m + p) * LOG_2PI + log_det + (e * e / d).sum())
    return BetaQuadratic(float(level), np.linalg.solve(L, spectrum.triangle), w)


def log_marginal(quadratic: BetaQuadratic | None, mean: Floats, factor: Floats | None) -> float:
    """log p(y | parameters) with β integrated out; -inf where there is no density."""
    return -np.inf if quadratic is None else integrate_beta(quadratic, mean, factor)
