"""Variance components of a model file, with priors on their shares and on the total sd.

Each function registers ordinary PyMC variables in the model on the stack.
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
from bayeslmm.priors.prior import Prior, require_support
from bayeslmm.priors.shares import LogRatio, shares
from bayeslmm.priors.units import phenotype_unit

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


def variance_shares(
    cohort: Cohort,
    h2: str | Prior = "beta(1, 1)",
    total_sd: str | Prior = "half_t(3, 2.5)",
) -> Any:
    """Register σ²_u and σ²_e by the share h² and the total standard deviation::

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

    Raises
    ------
    InputError
        If a prior does not fit its quantity.
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
    """Register the variances of several components by their shares and the total sd::

        σ²_k = s_k τ²        s = (e w, 1 - e)        h² = Σ s_k over the genetic components

    Parameters
    ----------
    cohort
        Gives sd(y | X), the unit of `total_sd`.
    genetic
        Names of the components that count toward h². The model's coordinate `dims` names all
        components, the residual last.
    explained
        Beta prior of e, the share that all components but the residual explain together.
    parts
        Prior of w, the parts of e by component: "dirichlet(α)"; α = 1 is uniform.
    total_sd
        Prior of τ, in units of sd(y | X).
    name, dims
        Name and dimension of the variances. Change them where the variances are parts of a
        covariance matrix and not yet the model's ``variance``.

    Returns
    -------
    TensorVariable
        ``variance`` (K + 1,), dimension ``component``. Also registers ``share``, ``total_sd`` and
        ``h2``.

    Raises
    ------
    InputError
        If a prior does not fit its quantity.
    ModelError
        If a name in `genetic` is not a component.
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
        f"its split among them is {split.words()}"
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
    """Register h² and the total sd of every trait; return its genetic and residual sd.

        σ_u[t] = τ[t] √h²[t]        σ_e[t] = τ[t] √(1 - h²[t])

    Parameters
    ----------
    cohort
        Gives sd(y | X) of every trait, the unit of `total_sd`.
    h2
        Prior of every trait's h², on [0, 1].
    total_sd
        Prior of every trait's τ, in units of its sd(y | X).

    Returns
    -------
    TensorVariable, TensorVariable
        σ_u and σ_e, (T,) each. Registers ``h2`` and ``total_sd``, dimension ``trait``.

    Raises
    ------
    InputError
        If a prior does not fit its quantity.
    """
    share_prior = require_support("h2", Prior.parse(h2), "unit")
    scale_prior = require_support("total_sd", Prior.parse(total_sd), "positive")
    share = share_prior.variable("h2", dims="trait")
    share.tag.words = share_prior.words()
    total = scale_prior.variable("total_sd", unit=phenotype_unit(cohort), dims="trait")
    total.tag.words = scale_prior.words("sd(y | X) of the trait")
    return total * pt.sqrt(share), total * pt.sqrt(1 - share)


def correlation_matrix(name: str, size: int, eta: str | float = 1.0) -> Any:
    """Register a correlation matrix C with an LKJ prior, ``p(C) ∝ |C|^(η-1)``.

    For two traits (1 + r)/2 is Beta(η, η).

    Parameters
    ----------
    name
        Name of the variable.
    size
        T, the number of traits.
    eta
        η; 1 (the default) is uniform.

    Returns
    -------
    TensorVariable
        (T, T), dimensions ``trait`` and ``other_trait``.

    Raises
    ------
    InputError
        If η is not a positive, finite number.
    """
    text = str(eta)
    try:
        eta = float(eta)
    except ValueError:
        eta = np.nan
    if not 0 < eta < np.inf:
        raise InputError(f"eta = {text}", "a positive number", "1 for a uniform prior")
    lkj = "uniform on the correlation matrices" if eta == 1 else f"LKJ with η = {eta:g}"
    if size == 2:
        half = pm.Beta(f"{name}_place", np.float64(eta), np.float64(eta))
        half.tag.words = f"{name} is uniform between -1 and 1" if eta == 1 else f"{name} is {lkj}"
        r = 2 * half - 1
        matrix = pt.stack([pt.stack([1.0, r]), pt.stack([r, 1.0])])
    else:
        factor = pm.LKJCorr(f"{name}_factor", n=size, eta=np.float64(eta))  # L, lower triangular
        factor.tag.words = lkj
        matrix = factor @ factor.T
    return pm.Deterministic(name, matrix, dims=("trait", "other_trait"))


def residual_by_group(
    cohort: Cohort, variance: Any, column: str = "group"
) -> tuple[Any, NDArray[np.intp]]:
    """Register a residual variance for each group; their mean over the records is σ²_e::

        σ²_e[k] = σ²_e ρ_k / f_k        ρ ~ Dirichlet(2 K f),   f_k: share of records in group k

    Parameters
    ----------
    cohort
        Its column `column` names the groups. Without such a column there is one group.
    variance
        σ²_e.
    column
        Name of the column; default "group".

    Returns
    -------
    TensorVariable, array
        The variances (K,), or σ²_e itself for one group; and the group of every record (n,).
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
