"""Building blocks of a model file: fixed effects and shares of variance, with their priors.

Each registers ordinary PyMC variables in the model on the stack. The data behind the priors'
units (`phenotype_centre`, `phenotype_unit`) are `pm.Data`, so that `set_phenotype` can exchange
the trait in a compiled model.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray

from bayeslmm.errors import InputError, ModelError
from bayeslmm.likelihood.terms import codes_of
from bayeslmm.numerics.arrays import Floats
from bayeslmm.priors.prior import Prior, require_support
from bayeslmm.priors.shares import LogRatio, shares

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


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
    """The unit of the priors, sd(y | X), as a `pm.Data` of the model on the stack.

    A number; of several traits one each, (T,).
    """
    model = pm.modelcontext(None)
    if "phenotype_unit" not in model.named_vars:
        unit, centre = units(cohort.y, cohort.X, cohort.trait_index)
        dims = None if cohort.trait_index is None else "trait"
        pm.Data("phenotype_unit", unit, dims=dims)
        pm.Data("phenotype_centre", centre, dims=dims)
    return model["phenotype_unit"]


def units(y: Floats, X: Floats, trait_index: NDArray[np.intp] | None) -> tuple[Any, Any]:
    """sd(y | X) and mean of y, a number each, or (T,) of T traits."""
    if trait_index is None:
        return residual_sd(y, X), float(np.mean(y))
    found = []
    for trait in range(int(trait_index.max()) + 1):
        rows = trait_index == trait
        own = X[np.ix_(rows, _columns(X, rows))]
        found.append((residual_sd(y[rows], own), float(np.mean(y[rows]))))
    return np.array([sd for sd, _ in found]), np.array([mean for _, mean in found])


def _columns(X: Floats, rows: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The fixed effects of the records of one trait; zeros of a design may be rounding."""
    return np.flatnonzero(np.abs(X[rows]).max(axis=0) > 1e-9 * np.abs(X).max(axis=0))


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
    centre = pm.modelcontext(None)["phenotype_centre"]
    T, first, trait = _standardised(cohort)
    if cohort.trait_index is not None:
        unit, centre = unit[trait], centre[trait]
    return pm.Deterministic(
        "beta", centre * first + unit * (pt.constant(T) @ gamma), dims="covariate"
    )


def _standardised(cohort: Cohort) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """`standardised_design` of every trait; which coefficients are intercepts; whose they are."""
    X, traits = cohort.X, cohort.trait_index
    first = np.zeros(X.shape[1])
    if traits is None:
        first[0] = 1.0
        return standardised_design(X), first, np.zeros(X.shape[1], dtype=np.intp)
    T, owner = np.zeros((X.shape[1], X.shape[1])), np.zeros(X.shape[1], dtype=np.intp)
    for trait in range(int(traits.max()) + 1):
        rows = traits == trait
        columns = _columns(X, rows)
        T[np.ix_(columns, columns)] = standardised_design(X[np.ix_(rows, columns)])
        first[columns[0]] = 1.0
        owner[columns] = trait
    return T, first, owner


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


def component_variances(
    cohort: Cohort,
    genetic: Collection[str],
    *,
    explained: str | Prior = "beta(1, 1)",
    parts: str | Prior = "dirichlet(1)",
    total_sd: str | Prior = "half_t(3, 2.5)",
    name: str = "variance",
    dims: str = "component",
) -> Any:
    """Variances of several components by their shares and the total standard deviation::

        σ²_k = s_k τ²        s = (e w, 1 - e)        h² = Σ s_k over the genetic components

    Parameters
    ----------
    cohort
        Gives sd(y | X), the unit of `total_sd`.
    genetic
        Names of the components that count toward h². The
        names of all stand in the coordinate `dims` of the model, the residual last.
    explained
        Prior of e, the share that all components but the residual have together: a Beta.
    parts
        Prior of how they part it, "dirichlet(α)"; α = 1 is uniform.
    total_sd
        Prior of τ, in units of sd(y | X).
    name, dims
        Of the variances, where they are not yet the contract's: parts of a covariance matrix.

    Returns
    -------
    TensorVariable
        ``variance`` (K + 1,), dimension ``component``. Also registers ``share``, ``total_sd`` and
        ``h2``.
    """
    names = [str(one) for one in pm.modelcontext(None).coords[dims]]
    if strange := [one for one in genetic if one not in names[:-1]]:
        raise ModelError(f"no component {', '.join(strange)} among {', '.join(names[:-1])}")
    whole = require_support("explained", Prior.parse(explained), "unit")
    split = require_support("parts", Prior.parse(parts), "simplex")
    if whole.family != "beta":
        raise InputError(f"prior explained={whole}", "a Beta", "for instance beta(1, 1)")
    scale = require_support("total_sd", Prior.parse(total_sd), "positive")
    ends = (whole.parameters[0], whole.parameters[1])
    share = shares("share", ends, split.parameters[0], len(names) - 1, dims)
    share.tag.words = (
        f"the share that {', '.join(names[:-1])} explain together is {whole.words()}; "
        f"how they part it is {split.words()}"
    )
    total = scale.variable("total_sd", unit=phenotype_unit(cohort))
    total.tag.words = scale.words("sd(y | X)")
    if dims == "component":
        pm.Deterministic("h2", share[np.array([one in genetic for one in names])].sum())
    return pm.Deterministic(name, share * total**2, dims=dims)


def trait_shares(
    cohort: Cohort,
    h2: str | Prior = "beta(1, 1)",
    total_sd: str | Prior = "half_t(3, 2.5)",
) -> tuple[Any, Any]:
    """Genetic and residual standard deviations of every trait, by its h² and total sd.

    Returns
    -------
    TensorVariable, TensorVariable
        (T,) each. Registers ``h2`` and ``total_sd``, dimension ``trait``.
    """
    share_prior = require_support("h2", Prior.parse(h2), "unit")
    scale_prior = require_support("total_sd", Prior.parse(total_sd), "positive")
    share = share_prior.variable("h2", dims="trait")
    share.tag.words = share_prior.words()
    total = scale_prior.variable("total_sd", unit=phenotype_unit(cohort), dims="trait")
    total.tag.words = scale_prior.words("sd(y | X) of the trait")
    return total * pt.sqrt(share), total * pt.sqrt(1 - share)


def correlation_matrix(name: str, size: int, eta: str | float = 1.0) -> Any:
    """A correlation matrix (T, T) with an LKJ prior, ``p(C) ∝ |C|^(η-1)``; η = 1 is uniform.

    Registers ``name``, dimensions ``trait`` and ``other_trait``. For two traits (1 + r)/2 is
    Beta(η, η).
    """
    text = str(eta)
    try:
        eta = float(eta)
    except ValueError:
        eta = np.nan
    if not 0 < eta < np.inf:
        raise InputError(f"eta = {text}", "a positive number", "1 for a uniform prior")
    words = "uniform on the correlation matrices" if eta == 1 else f"LKJ with η = {eta:g}"
    if size == 2:
        half = pm.Beta(f"{name}_place", np.float64(eta), np.float64(eta))
        half.tag.words = f"{name} is uniform between -1 and 1" if eta == 1 else f"{name} is {words}"
        r = 2 * half - 1
        matrix = pt.stack([pt.stack([1.0, r]), pt.stack([r, 1.0])])
    else:
        factor = pm.LKJCorr(f"{name}_factor", n=size, eta=np.float64(eta))  # L, lower triangular
        factor.tag.words = words
        matrix = factor @ factor.T
    return pm.Deterministic(name, matrix, dims=("trait", "other_trait"))


def residual_by_group(
    cohort: Cohort, variance: Any, column: str = "group"
) -> tuple[Any, NDArray[np.intp]]:
    """Residual variances by group with the mean σ²_e over the records::

        σ²_e[k] = σ²_e ρ_k / f_k        ρ ~ Dirichlet(2 K f),   f_k: the group's part of the records

    Parameters
    ----------
    cohort
        Its column `column` names the groups; without such a column there is one.
    variance
        σ²_e.
    column
        Of the cohort.

    Returns
    -------
    TensorVariable, array
        The variances (K,) (σ²_e itself if there is one group), and the class of every record (n,).
    """
    if cohort.columns is None or column not in cohort.columns:
        return variance, np.zeros(cohort.n, dtype=np.intp)
    classes, names = codes_of(cohort.column_text(column), "group")
    if len(names) == 1:
        return variance, classes
    part = np.bincount(classes) / cohort.n
    pm.modelcontext(None).add_coord("group", names)
    weights = pm.Dirichlet(
        "residual_part", 2.0 * len(names) * part, dims="group", default_transform=LogRatio()
    )
    weights.tag.words = "Dirichlet in proportion to the records of the groups"
    return pm.Deterministic("residual_variance", variance * weights / part, dims="group"), classes


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
    op = model["phenotype"].owner.op
    values: dict[str, Any] = {"phenotype_observed": y}
    if "phenotype_rotated" in data:
        values["phenotype_rotated"] = op.rotate(y)
    if "phenotype_unit" in data:
        X = np.asarray(model["design"].get_value()) if "design" in model.named_vars else op.design
        unit, centre = units(y, X, getattr(op, "trait_index", None))
        values["phenotype_unit"], values["phenotype_centre"] = unit, centre
    pm.set_data(values, model=model)
