"""Exact engine: quadrature over (h², τ), then independent draws of everything.

It applies to one kernel in spectral form, any prior on the two variance parameters, and a normal or
flat prior on β. There is no Markov chain: R-hat is 1 and the ESS is the number of draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from scipy.interpolate import CubicSpline
from scipy.special import expit

from bayeslmm.distributions.phenotype import observed_phenotype
from bayeslmm.errors import ModelError
from bayeslmm.inference.engine import Drawn, Engine, Replicate, Request, joint, total
from bayeslmm.inference.exact import quadrature
from bayeslmm.inference.exact.coordinates import Coordinates
from bayeslmm.inference.exact.draws import Draws, draw_from_grid, share_marginal
from bayeslmm.inference.exact.marginal import Marginal, marginal, why_not_exact
from bayeslmm.inference.exact.share_marginal import ShareMarginal
from bayeslmm.inference.graph import EffectsPrior
from bayeslmm.inference.tree import Variables, chain_draw, dataset
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import sharing


@dataclass(frozen=True, slots=True, eq=False)
class Exact:
    """Exact posterior of one trait.

    Parameters
    ----------
    share
        Marginal posterior of h².
    draws
        Independent draws; z = logit h², t = log τ and β in the unit of y.
    effects
        Prior of β in the unit of y.
    data
        Values of the model's replaceable data, in the order of `Marginal.data`.
    log_evidence, log_evidence_at_zero
        log p(y) and log p(y | h² = 0); with a flat prior on β up to the same constant.
    limit_at_zero
        Whether the model without g is the limit h² → 0: h² and τ are independent under the prior,
        and σ²_e has no prior of its own. Then Savage-Dickey ratios are Bayes factors.
    prior_h2
        Prior density of h² at ``share.z`` (f,).
    why_no_zero
        Why p(y | h² = 0) is unknown, or "".
    """

    share: ShareMarginal
    draws: Draws
    effects: EffectsPrior
    data: tuple[Any, ...]
    log_evidence: float
    log_evidence_at_zero: float
    limit_at_zero: bool
    prior_h2: Floats
    why_no_zero: str = ""


class SharedRows:
    """Rows of the grid shared by traits, for one prior of β in units of sd(y | X).

    The search for a posterior goes from coarse to fine over the same nodes for every trait, so most
    traits use the same rows; the first 200 MB of them are stored.
    """

    def __init__(self, spectrum: Spectrum, effects: EffectsPrior, coordinates: Coordinates) -> None:
        self._model = (spectrum, effects, coordinates)
        self._rows: dict[tuple[float, float], quadrature.KernelRows] = {}
        self._most = max(1, int(2e8 / (8 * quadrature.NODES_Z * spectrum.nodes)))

    def serves(self, effects: EffectsPrior, coordinates: Coordinates) -> bool:
        """Return whether the prior of β and the support of h² match the rows, up to rounding."""
        _, ours, where = self._model
        if where.share != coordinates.share:
            return False
        if ours.factor is None or effects.factor is None:
            return ours.factor is effects.factor
        rounding = 1e-9 * float(np.abs(ours.factor).max())
        return np.allclose(ours.factor, effects.factor, rtol=0.0, atol=rounding)

    def between(self, low: float, high: float) -> quadrature.KernelRows:
        """Return the rows between two values of w."""
        found = self._rows.get((low, high))
        if found is None:
            w = np.linspace(low, high, quadrature.NODES_Z)
            found = quadrature.kernel_rows(w, *self._model)
            if len(self._rows) < self._most:
                self._rows[low, high] = found
        return found


def solve(
    split: Marginal,
    rotated: Floats,
    data: tuple[Any, ...],
    draws: int,
    rng: np.random.Generator,
    *,
    at_zero: bool = True,
    shared: list[SharedRows] | None = None,
) -> Exact:
    """Compute the exact posterior of one phenotype.

    Parameters
    ----------
    split
        The model (`bayeslmm.inference.exact.marginal.marginal`).
    rotated
        ``Wᵀy`` (p + k,).
    data
        Values of the model's replaceable data for this phenotype, in the order of `split.data`.
    draws
        Number of draws.
    rng
        Source of randomness.
    at_zero
        Also compute log p(y | h² = 0) and the induced prior of h².
    shared
        Holds the rows shared by traits; the first trait fills it.
    """
    spectrum = split.spectrum
    e = rotated[spectrum.p :]
    unit = float(np.sqrt(np.sum(e * e) / spectrum.m))
    log_unit = float(np.log(unit))
    effects = split.effects_prior(*data)
    scaled = replace(
        effects,
        mean=effects.mean / unit,
        factor=None if effects.factor is None else effects.factor / unit,
    )

    coordinates = split.coordinates(*data).divided(unit)
    log_shift = 0.0 if coordinates.bounded else log_unit

    def log_prior(w: Floats, v: Floats) -> Floats:
        return split.log_prior(w, v + log_shift, *data)

    y = rotated / unit
    between = None
    if shared is not None:
        if not shared:
            shared.append(SharedRows(spectrum, scaled, coordinates))
        between = shared[0].between if shared[0].serves(scaled, coordinates) else None
    grid = quadrature.posterior_grid(spectrum, y, log_prior, scaled, coordinates, between)
    share = share_marginal(grid)
    found = draw_from_grid(grid, spectrum, scaled, draws, rng, share)
    free = spectrum.n if effects.factor is not None else spectrum.m
    shift = free * log_unit  # from the density of y / unit to the density of y
    zero, prior_h2 = float("nan"), np.array(np.nan)
    limit_at_zero = split.direct or (at_zero and quadrature.factorises(log_prior))
    if at_zero and limit_at_zero:
        zero = quadrature.log_evidence_at_zero(spectrum, y, log_prior, scaled, coordinates)
    if at_zero:
        w = grid.rows.kernel.w
        coarse = np.linspace(w[0], w[-1], 49)
        density = quadrature.prior_density_h2(log_prior, coarse, coordinates)
        log_density = CubicSpline(coarse, np.log(np.maximum(density, 1e-300)))
        prior_h2 = np.exp(log_density(np.linspace(w[0], w[-1], share.z.size)))
    return Exact(
        share,
        Draws(
            found.z,
            found.t + log_unit,
            found.beta * unit,
            found.log_likelihood - spectrum.n * log_unit,
        ),
        effects,
        data,
        grid.log_evidence - shift,
        zero - shift,
        limit_at_zero,
        prior_h2,
    )


def fit_one(model: pm.Model, draws: int, rng: np.random.Generator) -> tuple[Exact, dict[str, Any]]:
    """Fit the model's current phenotype: the exact posterior and every variable's draws."""
    split = marginal(model)
    rotated = split.spectrum.rotate(observed_phenotype(model))
    data = tuple(split.data.values())
    exact = solve(split, rotated, data, draws, rng)
    if not split.direct:
        exact = _without_kernel(model, exact)
    found = exact.draws
    variables = split.variables(found.z, found.t, found.beta, exact.effects, *data)
    return exact, variables


def _without_kernel(model: pm.Model, exact: Exact) -> Exact:
    """Set log p(y | h² = 0) to the evidence of the model without g, if σ²_e has its own prior."""
    from bayeslmm.inference.laplace.nested import nested_evidence
    from bayeslmm.inference.laplace.separate_variances import separate_variances

    try:
        parts = separate_variances(model)
    except ModelError as error:
        return exact if exact.limit_at_zero else replace(exact, why_no_zero=str(error))
    value = nested_evidence(parts, parts.components).log_evidence
    return replace(exact, log_evidence_at_zero=value, limit_at_zero=False)


def fit_many(
    model: pm.Model, phenotypes: Floats, draws: int, seed: int, threads: int = 2
) -> list[Exact]:
    """Fit many phenotypes (n, T) of the same individuals, X and kernel; one random stream each.

    All traits are rotated by one matrix product, and compiled functions are reused.
    """
    split = marginal(model)
    spectrum = split.spectrum
    rotated = spectrum.rotate(phenotypes)
    unit = np.sqrt(np.sum(rotated[spectrum.p :] ** 2, axis=0) / spectrum.m)
    values = {"phenotype_unit": unit, "phenotype_centre": phenotypes.mean(axis=0)}
    streams = np.random.SeedSequence(seed).spawn(phenotypes.shape[1])

    shared: list[SharedRows] = []

    def one(j: int) -> Exact:
        data = tuple(np.asarray(values[name][j]) for name in split.data)
        column = np.ascontiguousarray(rotated[:, j])
        rng = np.random.default_rng(streams[j])
        return solve(split, column, data, draws, rng, at_zero=False, shared=shared)

    with sharing(threads) as share:
        leader = one(0)  # fills `shared`, so results do not depend on the order of threads
        return [leader, *share(one, range(1, phenotypes.shape[1]))]


def variances(found: Draws) -> Floats:
    """Compute (σ²_u, σ²_e) of draws: (draws, 2)."""
    total = np.exp(2 * found.t)
    return np.stack([expit(found.z) * total, expit(-found.z) * total], axis=1)


def draw(model: pm.Model, request: Request) -> Drawn:
    """Draw independently for a fit; the group ``quadrature`` holds the exact marginal of h²."""
    found, values = fit_one(model, request.draws, request.rng)
    chains = request.chains
    prior = chain_draw(model, values.pop("log_prior"), chains, names=False)
    likelihood = {"phenotype": found.draws.log_likelihood}
    log_likelihood = chain_draw(model, likelihood, chains, names=False)
    log_prior: Variables = {k: (("chain", "draw"), total(v)) for k, (_, v) in prior.items()}
    lp: Variables = {"lp": (("chain", "draw"), joint(log_prior, log_likelihood))}
    return Drawn(
        chain_draw(model, values, chains),
        log_prior,
        log_likelihood,
        dataset(lp, {}),
        {"quadrature": quadrature_group(found)},
    )


def replicate(model: pm.Model, draws: int, rng: np.random.Generator) -> Replicate:
    """Draw independently for calibration."""
    found, values = fit_one(model, draws, rng)
    values.pop("log_prior")
    return Replicate(values, found.draws.log_likelihood)


def quadrature_group(found: Exact) -> xr.Dataset:
    """Return the exact marginal of h² and the log evidence as a group of the tree."""
    share = found.share
    mean, sd = share.moments()
    values = {
        "density": share.density,
        "cdf": share.cdf,
        "prior_density": found.prior_h2,
        "logit_h2": share.z,
    }
    return xr.Dataset(
        {name: (("h2",), value) for name, value in values.items()},
        coords={"h2": expit(share.z)},
        attrs={
            "mean": mean,
            "sd": sd,
            "median": float(share.quantile(0.5)),
            "mode": share.mode(),
            "log_evidence": found.log_evidence,
            "log_evidence_h2_0": found.log_evidence_at_zero,
            "limit_at_zero": int(found.limit_at_zero),
            "why_no_h2_0": found.why_no_zero,
        },
    )


EXACT = Engine(
    "exact",
    "one kernel in spectral form, two variance parameters, normal prior on β",
    why_not_exact,
    draw,
    replicate,
)
