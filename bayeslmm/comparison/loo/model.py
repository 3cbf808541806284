"""Inputs of leave-one-out from a fitted model: draws of its (co)variances, β integrated out.

β is integrated out if its prior is normal or flat. The importance weights then depend only on the
few (co)variances, which a single record hardly informs, so they vary less (smaller k̂). Under a
flat prior the conditional of the record is still proper, because the other records determine β.
With any other prior the draws of β are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from arviz_stats.base import array_stats

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.effects import covariance_draws
from bayeslmm.inference.laplace.hyper import hyper
from bayeslmm.numerics.arrays import Floats
from bayeslmm.system.memory import available_cores

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr

    from bayeslmm.inference.graph import EffectsPrior
    from bayeslmm.likelihood.blocks import Blocks, Conditionals
    from bayeslmm.likelihood.marginal import Marginal


LEAST = 100  # smallest number of draws


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Draws and likelihood of a fitted model.

    Parameters
    ----------
    model
        The PyMC model.
    marginal
        Its marginal density.
    y
        Records (n,).
    inputs
        Draws of the parameters of the density other than β (S, ...).
    effects
        Prior of β, which is integrated out; None: the draws `beta` are used.
    beta
        Draws of β (S, p).
    evidence
        log p(y) and its standard error, if the engine gives it and the prior of β is proper.
    efficiency
        Effective sample size over number of draws; below one for Markov chains.
    workers
        Cores to use.
    """

    model: pm.Model
    marginal: Marginal
    y: Floats
    inputs: list[Floats]
    effects: EffectsPrior | None
    beta: Floats
    evidence: tuple[float, float] | None
    efficiency: float
    workers: int

    @property
    def draws(self) -> int:
        """Number of draws S."""
        return len(self.beta)

    def conditionals(self, blocks: Blocks, inputs: list[Floats] | None = None) -> Conditionals:
        """Compute the conditionals at every draw, or at other (co)variances (β integrated out)."""
        if self.effects is not None:
            mean, factor = self.effects.mean, self.effects.factor
        elif inputs is None:
            mean, factor = self.beta, np.zeros((self.beta.shape[1], self.beta.shape[1]))
        else:
            raise ModelError("the prior of β is not normal, so β cannot be integrated out")
        return self.marginal.conditionals(
            self.y, inputs or self.inputs, mean, factor, blocks, self.workers
        )


def fitted(
    model: pm.Model, tree: xr.DataTree, draws: int | None, cores: int | None = None
) -> Fitted:
    """Collect model, draws and prior of β for leave-one-out.

    Parameters
    ----------
    model, tree
        Model and posterior.
    draws
        Number of draws used, spread evenly over all draws; None: all.
    cores
        Cores to use; default all.

    Raises
    ------
    InputError
        If the model's random effects are parameters, or the number of draws is invalid.
    """
    marginal = marginal_of(model)
    if marginal is None:
        raise InputError(
            "a model whose genetic values g are parameters",
            "a marginal normal model (spectral_normal, dense_normal, multi_trait_normal)",
            "fit the model that integrates g out: additive instead of additive_cholesky",
        )
    posterior = tree["posterior"]
    total = posterior.sizes["chain"] * posterior.sizes["draw"]
    count = total if draws is None else min(draws, total)
    if count < LEAST:
        raise InputError(f"{count} draws", f"at least {LEAST}", "importance sampling needs them")
    chosen = np.linspace(0, total - 1, count).round().astype(np.intp)
    variables: dict[str, Any] = {}
    for name in {rv.name for rv in model.free_RVs} | {"beta"}:
        array = posterior[name].transpose("chain", "draw", ...).to_numpy()
        flat = array.reshape(total, *array.shape[2:])[chosen]
        variables[name] = (("chain", "draw"), flat[None])
    workers = cores or available_cores()
    effects = effects_prior(model)
    return Fitted(
        model,
        marginal,
        observed_phenotype(model),
        covariance_draws(model, variables),
        effects,
        variables["beta"][1][0],
        None if effects is None or effects.factor is None else evidence_of(tree),
        efficiency_of(tree),
        workers,
    )


def evidence_of(tree: xr.DataTree) -> tuple[float, float] | None:
    """Return log p(y) and its Monte Carlo standard error; None if the engine does not give it."""
    if "quadrature" in tree.children:
        return float(tree["quadrature"].attrs["log_evidence"]), 0.0
    found = tree["sample_stats"].attrs
    if "log_evidence" in found:
        return float(found["log_evidence"]), float(found["log_evidence_mcse"])
    return None


def efficiency_of(tree: xr.DataTree) -> float:
    """Return ESS over number of draws for the log density of a fit; 1 for independent draws."""
    stats = tree["sample_stats"]
    if "diverging" not in stats:
        return 1.0
    return efficiency(stats["lp"].transpose("chain", "draw").to_numpy())


def efficiency(log_density: Floats) -> float:
    """Return ESS over number of draws for log p (chains, draws); almost 0 if undefined."""
    ess = float(array_stats.ess(log_density, chain_axis=0, draw_axis=1))
    return min(1.0, ess / log_density.size) if np.isfinite(ess) else 1e-12


def effects_prior(model: pm.Model) -> EffectsPrior | None:
    """Return the prior of β in the model's current units; None if neither normal nor flat."""
    marginal = marginal_of(model)
    if marginal is not None and marginal.spectrum is not None:
        try:
            from bayeslmm.inference.exact.marginal import marginal as split_exactly

            exact = split_exactly(model)
            return exact.effects_prior(*exact.data.values())
        except ModelError:
            pass  # more than two variance parameters
    try:
        split = hyper(model)
        return split.effects_prior(*split.data)
    except ModelError:
        return None
