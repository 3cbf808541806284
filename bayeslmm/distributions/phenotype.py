"""The phenotype of a model: get its density, read its values, replace them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm

from bayeslmm.distributions.marginal import MarginalRV
from bayeslmm.distributions.variables import operation, parameters
from bayeslmm.errors import InputError, ModelError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.priors.units import units

if TYPE_CHECKING:
    from bayeslmm.likelihood.marginal import Marginal


def marginal_of(model: pm.Model) -> Marginal | None:
    """Return the density of a model's phenotype; None if random effects are parameters."""
    op = operation(model["phenotype"])
    return op.handle() if isinstance(op, MarginalRV) else None


def require_marginal(model: pm.Model) -> Marginal:
    """Return `marginal_of` the model; raise `ModelError` if it is None."""
    found = marginal_of(model)
    if found is None:
        raise ModelError("the phenotype is not a marginal normal distribution: g is a parameter")
    return found


def parameters_of(model: pm.Model) -> list[Any]:
    """Return the inputs of the phenotype's density except β, as variables of the graph."""
    return parameters(model["phenotype"])[1:]


def observed_phenotype(model: pm.Model) -> Floats:
    """Return the current y (n,) of a model."""
    value = model.rvs_to_values[model["phenotype"]]
    data = value.get_value() if hasattr(value, "get_value") else value.eval()
    return np.asarray(data)


def set_phenotype(model: pm.Model, y: Floats) -> None:
    """Replace the phenotype of a model; individuals, X and kernel do not change.

    Nothing is recompiled, because y, its rotation and the units of the priors are data of the
    model.

    Parameters
    ----------
    model
        A model with a marginal density or an observed ``pm.Data("phenotype_observed")``.
    y
        The new phenotype (n,), finite, in the order of the cohort.

    Raises
    ------
    ModelError
        If the model holds y as a constant.
    InputError
        If y has another shape or values that are not finite.
    """
    data = {name: model[name] for name in model.named_vars if name.startswith("phenotype_")}
    if "phenotype_observed" not in data:
        raise ModelError(
            "the model holds y as a constant; observe pm.Data('phenotype_observed', y) to "
            "replace the trait"
        )
    y = np.asarray(y, dtype=np.float64)
    if y.shape != (n := data["phenotype_observed"].get_value().shape) or not np.isfinite(y).all():
        raise InputError(
            f"a phenotype of shape {y.shape} with {int((~np.isfinite(y)).sum())} non-finite values",
            f"finite values of the shape {n}, in the order of the cohort",
            "build a model for the individuals that have this trait",
        )
    marginal = marginal_of(model)
    values: dict[str, Any] = {"phenotype_observed": y}
    if marginal is not None:
        values["phenotype_rotated"] = marginal.rotate(y)
    if "phenotype_unit" in data:
        if "design" in model.named_vars:
            X = np.asarray(model["design"].get_value())
        else:
            X = require_marginal(model).design
        several = marginal is not None and "trait" in model.coords
        unit, centre = units(y, X, marginal.trait_index if marginal and several else None)
        values["phenotype_unit"], values["phenotype_centre"] = unit, centre
    pm.set_data(values, model=model)
