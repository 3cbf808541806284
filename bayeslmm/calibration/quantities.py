"""Test quantities f(θ, y) of a calibration, computed alike for the truth and for every draw.

They are the parameters (h², shares, variances, correlations, total sd, β), the realised PVE, and

    log p(y | θ)        h² log p(y | θ)        max_i |E[g_i | y, θ]|

The last three depend on the data. They detect a posterior that ignores the data: it has uniform
ranks of every parameter, but not of these (Modrák et al. 2023, Bayesian Anal 20:461).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pymc.logprob.basic import logp
from pytensor.graph.replace import vectorize_graph

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.inference.compiled import OFTEN, evaluator
from bayeslmm.inference.densities import log_likelihood_draws
from bayeslmm.inference.effects import covariance_draws, flat
from bayeslmm.inference.pve import add_genetic
from bayeslmm.inference.quantities import columns, quantities
from bayeslmm.inference.tree import Variables, add_named_quantities, dataset
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.numerics.arrays import Floats

LOG_LIKELIHOOD = "log_likelihood"
MAX_BLUP = "max_blup"
TABULATED = ("variance", "h2", "sigma2", "repeatability", "r_", "residual_variance", "pve_", "beta")
SAME = 1e-7  # quantities a and b are duplicates if a - b, or a - (1 - b), is below this


def quantities_at(
    model: pm.Model,
    variables: Variables,
    log_likelihood: Floats,
    rng: np.random.Generator,
    truth: Variables | None = None,
) -> dict[str, Floats]:
    """Compute every quantity at draws of θ, given the model's current phenotype.

    Parameters
    ----------
    model
        The model.
    variables
        Draws (1, draws, ...) of all its variables.
    log_likelihood
        (draws,) log p(y | θ).
    rng
        Generator for the random effects given y and θ, which the realised PVE needs.
    truth
        Realised PVE of the first draw, (1, 1, ...), if its random effects are known.

    Returns
    -------
    dict
        (draws,) values of each quantity by name.
    """
    found = dict(variables)
    add_named_quantities(found)
    greatest = max_blup(model, found)
    parts = add_genetic(model, found, rng, keep=False)
    for name, (dims, value) in (truth or {}).items():
        found[name] = (dims, np.concatenate([value, found[name][1][:, 1:]], axis=1))
    tabulated = {name: value for name, value in found.items() if name.startswith(TABULATED)}
    out = {
        name: values[0] for name, values in quantities(_dataset(model, tabulated, parts)).items()
    }
    further = {name: found[name] for name in _further(model)}
    out |= {name: values[0] for name, values in columns(_dataset(model, further, [])).items()}
    out[LOG_LIKELIHOOD] = log_likelihood
    if "h2" in out:
        out["h2_log_likelihood"] = out["h2"] * log_likelihood
    out |= greatest
    return dict(sorted(out.items(), key=lambda item: _place(item[0])))


ORDER = (
    *("h2", "share", "sigma2", "total_sd", "r_", "repeatability", "residual", "pve", "beta"),
    *("log", MAX_BLUP),
)


def _place(name: str) -> tuple[int, str]:
    """Return the sort key of a quantity: its kind in `ORDER`, then its name."""
    for k, start in enumerate(ORDER):
        if name.startswith(start) and name != "h2_log_likelihood":
            return k, name
    return len(ORDER), name


def _further(model: pm.Model) -> list[str]:
    """Name the parameters missing in tables: the total sd, and correlations of single effects."""
    names = [rv.name for rv in model.free_RVs]
    return [name for name in names if name == "total_sd" or _correlation(name)]


def _correlation(name: str) -> bool:
    """Is it a correlation of two effects? r_g_place and r_g_factor are auxiliary variables."""
    return name.startswith("r_") and not name.endswith(("_place", "_factor"))


def _dataset(model: pm.Model, variables: Variables, parts: list[str]) -> xr.Dataset:
    return dataset(variables, {**model.coords, "pve_part": parts} if parts else model.coords)


def distinct(samples: list[dict[str, Floats]]) -> list[str]:
    """Return the names of the quantities that vary and do not duplicate another.

    Parameters
    ----------
    samples
        Quantities at one draw for each of several truths.
    """
    kept: dict[str, Floats] = {}
    common = [name for name in samples[0] if all(name in one for one in samples)]
    for name in common:
        values = np.array([float(one[name][0]) for one in samples])
        scale = max(float(np.abs(values).max()), 1e-300)
        if not np.isfinite(values).all() or np.ptp(values) <= 1e-9 * scale:
            continue
        same = any(
            np.abs(values - other).max() <= SAME * scale
            or np.abs(values + other - 1.0).max() <= SAME
            for other in kept.values()
        )
        if not same:
            kept[name] = values
    return list(kept)


def log_likelihood_at(model: pm.Model, variables: Variables) -> Floats:
    """Compute log p(y | θ) (draws,) of any model at draws (chain, draw, ...), y its current one."""
    marginal = marginal_of(model)
    if marginal is not None:
        c = covariance_draws(model, variables)
        return log_likelihood_draws(marginal, observed_phenotype(model), flat(variables, "beta"), c)
    y = observed_phenotype(model)
    points = [np.asarray(variables[rv.name][1]) for rv in model.free_RVs]
    return np.asarray(_density(model)(y, *(x.reshape(-1, *x.shape[2:]) for x in points)))


def _density(model: pm.Model) -> Callable[..., Any]:
    """Compile ``(y, draws of every free variable) → log p(y | θ)``, once per model."""
    function: Any = getattr(model, "bayeslmm_calibration", None)
    if function is None:
        y = pt.vector(dtype="float64")
        total = logp(model["phenotype"], y).sum()
        points = [pt.tensor(dtype=v.dtype, shape=(None, *v.type.shape)) for v in model.free_RVs]
        graph = vectorize_graph(total, dict(zip(model.free_RVs, points, strict=True)))
        function = evaluator([y, *points], graph, OFTEN)
        model.bayeslmm_calibration = function
    return function  # type: ignore[no-any-return]


def max_blup(model: pm.Model, variables: Variables) -> dict[str, Floats]:
    """Compute max |E[g | y, θ]| over the records (draws,), for each trait.

    Empty for a model that neither integrates the random effects out nor has a latent ``g`` with
    the factor of its kernel.
    """
    marginal = marginal_of(model)
    if marginal is not None:
        y, beta = observed_phenotype(model), flat(variables, "beta")
        found = marginal.genetic_mean(y, beta, covariance_draws(model, variables))
        values = [np.abs(g).max(axis=1) for g in found]
    elif "g" in model.named_vars and hasattr(model["g"].tag, "factor") and "design" in model:
        values = _latent_blup(model, variables)
    else:
        return {}
    if len(values) == 1:
        return {MAX_BLUP: values[0]}
    traits = model.coords["trait"]
    return {f"{MAX_BLUP}[{t}]": one for t, one in zip(traits, values, strict=True)}


def _latent_blup(model: pm.Model, variables: Variables) -> list[Floats]:
    """Compute E[g | y, θ] of a latent g from the marginal density of the same model."""
    marginal = getattr(model, "bayeslmm_calibration_marginal", None)
    if marginal is None:
        factor = model["g"].tag.factor
        spectrum = decompose(factor @ factor.T, np.asarray(model["design"].get_value()))
        marginal = KernelMarginal(spectrum, 1, ("additive",), matrices=False)
        model.bayeslmm_calibration_marginal = marginal
    y, variance = observed_phenotype(model), flat(variables, "variance")
    found = marginal.genetic_mean(y, flat(variables, "beta"), [variance])
    return [np.abs(g).max(axis=1) for g in found]
