"""Build the `xarray.DataTree` of a fit from draws."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pymc.distributions.shape_utils import change_dist_size
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.traversal import ancestors

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.distributions.variables import IMPROPER, kind
from bayeslmm.inference.compiled import OFTEN, evaluator, lean, shape_of
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.models.family import family_of

type Variables = dict[str, tuple[tuple[str, ...], Any]]

PACKAGES = ("bayeslmm", "pymc", "pytensor", "arviz", "numpy", "scipy", "xarray", "nutpie")


def prior_descriptions(model: pm.Model) -> dict[str, str]:
    """Return every prior of a model in words, by the name of its variable."""
    return {
        rv.name: getattr(rv.tag, "words", None) or rv.str_repr().split("~", 1)[-1].strip()
        for rv in model.free_RVs
    }


def model_data(model: pm.Model) -> dict[str, Any]:
    """Return the current values of every `pm.Data` of the model."""
    return {v.name: v.get_value() for v in model.data_vars}


def chain_draw(
    model: pm.Model, variables: Mapping[str, Any], chains: int, *, names: bool = True
) -> Variables:
    """Reshape flat draws (draws, ...) to (chain, draw, ...), with the model's dimensions."""
    out: Variables = {}
    for name, value in variables.items():
        array = np.asarray(value)
        shaped = array.reshape(chains, array.shape[0] // chains, *array.shape[1:])
        known = model.named_vars_to_dims.get(name) if names else None
        dims = known or [f"{name}_dim_{i}" for i in range(array.ndim - 1)]
        out[name] = (("chain", "draw", *dims), shaped)
    return out


def add_named_quantities(variables: Variables) -> None:
    """Add h2, sigma2_u and sigma2_e from `variance`, if the model does not define them."""
    dims, variance = variables["variance"]
    if "trait" in variables.get("h2", ((), None))[0]:
        return  # several traits have separate ones
    parts = {"sigma2_u": variance[..., :-1].sum(axis=-1), "sigma2_e": variance[..., -1]}
    parts["h2"] = parts["sigma2_u"] / (parts["sigma2_u"] + parts["sigma2_e"])
    for name, value in parts.items():
        variables.setdefault(name, (dims[:-1], value))


def improper_priors(model: pm.Model, behind: str | None = None) -> list[str]:
    """Return the parameters, of one variable or all, with flat priors on a line or half-line."""
    free = set(model.free_RVs if behind is None else ancestors([model[behind]]))
    flat = [rv for rv in model.free_RVs if kind(rv) in IMPROPER]
    return [rv.name for rv in flat if rv in free]


def prior_draws(model: pm.Model, draws: int, seed: int) -> Variables | None:
    """Draw the parameters from the prior independently; None if the prior cannot be drawn from.

    An improper prior or a `pm.CustomDist` with a density only cannot. Latent vectors (more than 200
    entries, such as g) and their dependents are excluded.
    """
    if improper_priors(model):
        return None
    try:
        return _proper_draws(model, draws, seed)
    except NotImplementedError:
        return None


@lean
def _proper_draws(model: pm.Model, draws: int, seed: int) -> Variables:
    latent = [rv for rv in model.free_RVs if int(np.prod(shape_of(rv))) > 200]
    free = [rv for rv in model.free_RVs if rv not in latent]
    derived = [v for v in model.deterministics if not set(ancestors([v])) & set(latent)]
    nested = any(set(ancestors([rv])) & set(free) - {rv} for rv in free)
    if nested:
        names = [v.name for v in (*free, *derived)]
        drawn = pm.draw([*free, *derived], draws=draws, random_seed=seed, mode=OFTEN)
        return chain_draw(model, dict(zip(names, drawn, strict=True)), 1)
    many = [change_dist_size(rv, (draws,), expand=True) for rv in free]
    values = pm.draw(many, random_seed=seed, mode=OFTEN)
    points = [pt.tensor(dtype=v.dtype, shape=v.shape) for v in values]
    graphs = vectorize_graph(derived, dict(zip(free, points, strict=True)))
    function = evaluator(points, graphs)
    found = {rv.name: value for rv, value in zip(free, values, strict=True)}
    found |= {v.name: value for v, value in zip(derived, function(*values), strict=True)}
    return chain_draw(model, found, 1)


def dataset(variables: Variables, coords: Mapping[str, Any]) -> xr.Dataset:
    """Build a Dataset with the model's coordinates."""
    used = {dim for dims, _ in variables.values() for dim in dims}
    return xr.Dataset(
        {name: (dims, np.asarray(value)) for name, (dims, value) in variables.items()},
        coords={dim: list(values) for dim, values in coords.items() if dim in used}
        | {
            dim: np.arange(size)
            for dim in ("chain", "draw")
            for dims, value in variables.values()
            if dim in dims
            for size in [np.asarray(value).shape[dims.index(dim)]]
        },
    )


def constant_data(model: pm.Model) -> xr.Dataset:
    """Return the model's data and, with a spectrum, eigenvalues and error contrasts of y."""
    skip = {"phenotype_rotated", "phenotype_observed"}
    out: Variables = {
        v.name: (_dims_of(model, v.name, np.ndim(v.get_value())), v.get_value())
        for v in model.data_vars
        if v.name not in skip
    }
    marginal = marginal_of(model)
    if marginal is not None:
        out |= {k: v for k, v in marginal.constant_data(observed_phenotype(model)).items()
                if k not in out}  # fmt: skip
    elif "design" in out and "g" in model.named_vars and hasattr(model["g"].tag, "factor"):
        factor = model["g"].tag.factor
        spectrum = decompose(factor @ factor.T, out["design"][1])
        s, e = spectrum.contrasts(observed_phenotype(model))
        out["eigenvalue"] = (("contrast",), s)
        if family_of(model).gaussian:
            out["contrasts"] = (("contrast",), e)
    return dataset(out, model.coords)


def _dims_of(model: pm.Model, name: str, rank: int) -> tuple[str, ...]:
    known = model.named_vars_to_dims.get(name)
    return tuple(known) if known else tuple(f"{name}_dim_{i}" for i in range(rank))


def provenance(model: pm.Model, **facts: Any) -> dict[str, Any]:
    """Return the attributes of the tree, flat and with JSON for nested values, as netCDF needs."""
    known: dict[str, Any] = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "priors": prior_descriptions(model),
        **family_of(model).record(),
        **getattr(model, "provenance", {}),
        **facts,
    }
    return {
        key: value if isinstance(value, str | int | float) else json.dumps(value)
        for key, value in known.items()
        if value is not None
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "not installed"
