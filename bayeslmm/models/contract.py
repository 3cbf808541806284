"""The contract of a model file: the names and dimensions that all other code relies on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayeslmm.errors import ModelError
from bayeslmm.system.files import PathArg

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


def check_contract(model: Any, cohort: Cohort, path: PathArg) -> None:
    """Check the variables that every model must have: phenotype, variance, beta.

    Raises
    ------
    ModelError
        If a variable is missing or has the wrong dimension; it names the variable.
    """
    import pymc as pm

    if not isinstance(model, pm.Model):
        raise ModelError(f"{path}: build() returned {type(model).__name__}, not a pm.Model")
    wanted = {"phenotype": "individual", "variance": "component", "beta": "covariate"}
    for name, dim in wanted.items():
        if name not in model.named_vars:
            raise ModelError(f"{path}: the model has no variable {name!r} (dims {dim!r})")
        if model.named_vars_to_dims.get(name) != (dim,):
            found = model.named_vars_to_dims.get(name)
            raise ModelError(f"{path}: {name!r} has the dims {found}, the contract says ({dim!r},)")
    if [rv.name for rv in model.observed_RVs] != ["phenotype"]:
        names = [rv.name for rv in model.observed_RVs]
        raise ModelError(f"{path}: observed variables {names}; the contract says ['phenotype']")
    last = str((model.coords.get("component") or ("",))[-1])
    if last != "residual" and not last.startswith("residual:"):
        raise ModelError(f"{path}: the last component of 'variance' must be 'residual'")
    if list(model.coords.get("individual") or ()) != cohort.labels:
        raise ModelError(
            f"{path}: the coordinate 'individual' is not the cohort's individuals in their order; "
            "use coords=cohort.coords(...)"
        )
