"""Building blocks of a model file: fixed effects and shares of variance, with their priors.

Each registers ordinary PyMC variables in the model on the stack. The data behind the priors'
units (`phenotype_centre`, `phenotype_unit`) are `pm.Data`, so that `set_phenotype` can exchange
the trait in a compiled model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray

from bayeslmm.errors import InputError, ModelError
from bayeslmm.priors import Prior, require_support

if TYPE_CHECKING:
    from bayeslmm.cohort import Cohort

type Floats = NDArray[np.float64]


def residual_sd(y: Floats, X: Floats) -> float:
    """sd(y | X): root mean squared residual of ordinary least squares on n - p degrees.

    Raises
    ------
    InputError
        If the covariates explain y exactly: the unit of the priors would be zero.
    """
    n, p = X.shape
    residual = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    if n <= p or residual @ residual <= 1e-20 * (y @ y):
        raise InputError(
            f"the {p} covariates explain the phenotype of the {n} individuals exactly",
            "a phenotype that varies among individuals with the same covariates",
            "check the phenotype, or leave covariates out",
        )
    return float(np.sqrt(residual @ residual / (n - p)))


def phenotype_unit(cohort: Cohort) -> Any:
    """The unit of the priors, sd(y | X), as a `pm.Data` of the model on the stack."""
    model = pm.modelcontext(None)
    if "phenotype_unit" not in model.named_vars:
        pm.Data("phenotype_unit", residual_sd(cohort.y, cohort.X))
        pm.Data("phenotype_centre", float(np.mean(cohort.y)))
    return model["phenotype_unit"]


def standardised_design(X: Floats) -> Floats:
    """T (p, p) with β = b₀ + unit · T γ: γ are effects in sd of y per sd of x, at the mean of x.

    The first column of X is the intercept; γ₀ is the mean of y at the mean of the covariates, so
    that the prior does not depend on where a covariate has its zero.
    """
    p = X.shape[1]
    mean, sd = X.mean(axis=0)[1:], X.std(axis=0, ddof=1)[1:]
    T = np.zeros((p, p))
    T[0, 0] = 1.0
    T[0, 1:] = -mean / sd
    T[np.arange(1, p), np.arange(1, p)] = 1.0 / sd
    return T


def fixed_effects(cohort: Cohort, prior: str | Prior = "normal(0, 10)") -> Any:
    """β of the cohort's covariates, with the intercept first.

    The prior is on the standardised effects γ (``beta_std``), in sd(y | X) per sd of the
    covariate; γ of the intercept is the distance of the mean from the sample mean of y::

        β_j = γ_j sd(y | X) / sd(x_j)         β_0 = mean(y) + γ_0 sd(y | X) - Σ_j β_j mean(x_j)

    Parameters
    ----------
    cohort
        Gives y, X and the names of the covariates.
    prior
        Normal (default: mean 0, sd 10, which is weak) or ``"flat()"``.

    Returns
    -------
    TensorVariable
        ``beta`` (p,), dimension ``covariate``.
    """
    parsed = require_support("beta", Prior.parse(prior), "real")
    unit = phenotype_unit(cohort)
    gamma = parsed.variable("beta_std", dims="covariate")
    gamma.tag.words = (
        f"each standardised effect is {parsed.words()}, in sd(y | X) per sd of the covariate"
    )
    origin = np.zeros(cohort.X.shape[1])
    origin[0] = 1.0
    centre = pm.modelcontext(None)["phenotype_centre"]
    T = standardised_design(cohort.X)
    return pm.Deterministic(
        "beta", centre * origin + unit * (pt.constant(T) @ gamma), dims="covariate"
    )


def variance_shares(
    cohort: Cohort,
    h2: str | Prior = "beta(1, 1)",
    total_sd: str | Prior = "half_t(3, 2.5)",
) -> Any:
    """σ²_u and σ²_e by the share h² and the total standard deviation::

        σ²_u = h² τ²        σ²_e = (1 - h²) τ²

    Parameters
    ----------
    cohort
        Gives sd(y | X), the unit of `total_sd`.
    h2
        Prior of h² = σ²_u/(σ²_u + σ²_e) on [0, 1].
    total_sd
        Prior of τ = √(σ²_u + σ²_e), in units of sd(y | X).

    Returns
    -------
    TensorVariable
        ``variance`` (2,), dimension ``component``, the residual last. Also registers ``h2``,
        ``total_sd``, ``sigma2_u`` and ``sigma2_e``.
    """
    share_prior = require_support("h2", Prior.parse(h2), "unit")
    scale_prior = require_support("total_sd", Prior.parse(total_sd), "positive")
    share = share_prior.variable("h2")
    share.tag.words = share_prior.words()
    total = scale_prior.variable("total_sd", unit=phenotype_unit(cohort))
    total.tag.words = scale_prior.words("sd(y | X)")
    sigma2_u = pm.Deterministic("sigma2_u", share * total**2)
    sigma2_e = pm.Deterministic("sigma2_e", (1 - share) * total**2)
    return pm.Deterministic("variance", pt.stack([sigma2_u, sigma2_e]), dims="component")


def prior_words(model: pm.Model) -> dict[str, str]:
    """Every prior of a model in words, by the name of its variable."""
    return {
        rv.name: getattr(rv.tag, "words", None) or rv.str_repr().split("~", 1)[-1].strip()
        for rv in model.free_RVs
    }


def set_phenotype(model: pm.Model, y: Floats) -> None:
    """Exchange the trait of a model built for the same individuals, X and kernel.

    Nothing is recompiled: y, its rotation and the units of the priors are data of the model.

    Parameters
    ----------
    model
        A model with a `spectral_normal` or an observed ``pm.Data("phenotype_observed")``.
    y
        The new trait (n,), finite, in the order of the cohort.
    """
    data = {name: model[name] for name in model.named_vars if name.startswith("phenotype_")}
    if "phenotype_observed" not in data:
        raise ModelError(
            "the model holds y as a constant; observe pm.Data('phenotype_observed', y) to "
            "exchange the trait"
        )
    y = np.asarray(y, dtype=np.float64)
    if y.shape != (n := data["phenotype_observed"].get_value().shape) or not np.isfinite(y).all():
        raise InputError(
            f"a phenotype of shape {y.shape} with {int((~np.isfinite(y)).sum())} non-finite values",
            f"finite values of the shape {n}, in the order of the cohort",
            "build a model for the individuals that have this trait",
        )
    values: dict[str, Any] = {"phenotype_observed": y}
    if "phenotype_rotated" in data:
        rotated = model["phenotype"].owner.op.spectrum.rotate(values["phenotype_observed"])
        values["phenotype_rotated"] = rotated
    if "phenotype_unit" in data:
        values["phenotype_unit"] = residual_sd(values["phenotype_observed"], _design(model))
        values["phenotype_centre"] = float(np.mean(values["phenotype_observed"]))
    pm.set_data(values, model=model)


def _design(model: pm.Model) -> Floats:
    if "design" in model.named_vars:
        return np.asarray(model["design"].get_value())
    spectrum = model["phenotype"].owner.op.spectrum
    return np.asarray(spectrum.basis[:, : spectrum.p] @ spectrum.triangle)
