"""A built model's priors in words, and another phenotype in its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm

from bayeslmm.errors import InputError, ModelError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.priors.units import units


def prior_words(model: pm.Model) -> dict[str, str]:
    """Return every prior of a model in words, by the name of its variable."""
    return {
        rv.name: getattr(rv.tag, "words", None) or rv.str_repr().split("~", 1)[-1].strip()
        for rv in model.free_RVs
    }


def set_phenotype(model: pm.Model, y: Floats) -> None:
    """Exchange the phenotype of a model; individuals, X and kernel stay the same.

    Nothing is recompiled, because y, its rotation and the units of the priors are data of the
    model.

    Parameters
    ----------
    model
        A model with a `spectral_normal` or an observed ``pm.Data("phenotype_observed")``.
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
