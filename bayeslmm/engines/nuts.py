"""NUTS engine: nutpie on the same model file."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import nutpie
import pymc as pm
import xarray as xr

from bayeslmm.engines.tree import model_data


def compiled(model: pm.Model) -> Any:
    """The compiled model with its current data; compiled once and kept with the model."""
    kept = getattr(model, "bayeslmm_nutpie", None)
    if kept is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            kept = nutpie.compile_pymc_model(model)
        model.bayeslmm_nutpie = kept
        return kept
    known = {variable.name for variable in kept.shared_var_keys}
    return kept.with_data(**{k: v for k, v in model_data(model).items() if k in known})


def sample(
    model: pm.Model,
    draws: int,
    chains: int,
    seed: int,
    *,
    tune: int = 1000,
    cores: int | None = None,
    target_accept: float = 0.9,
    progress: bool = False,
) -> tuple[dict[str, tuple[tuple[str, ...], Any]], xr.Dataset]:
    """Run NUTS.

    Parameters
    ----------
    model
        Any PyMC model.
    draws
        Draws kept in each chain.
    chains, seed, tune, cores
        Number of chains, seed, warm-up draws of each chain, chains at a time.
    target_accept
        Target acceptance rate of the step size adaptation.
    progress
        Show nutpie's progress bar.

    Returns
    -------
    dict, Dataset
        Posterior variables by name (dimensions, array (chain, draw, ...)), and sample statistics.
    """
    sampler = nutpie.sample(
        compiled(model),
        draws=draws,
        tune=tune,
        chains=chains,
        cores=cores,
        seed=seed,
        save_warmup=False,
        progress_bar=progress,
        target_accept=target_accept,
        blocking=False,
    )
    try:
        trace = sampler.wait()
    except BaseException:  # Ctrl-C: nutpie's own wait gives the draws so far as if they were all
        sampler.cancel()
        raise
    posterior = trace["posterior"].to_dataset()
    names = [rv.name for rv in (*model.free_RVs, *model.deterministics)]
    variables = {
        name: (("chain", "draw", *_dims(model, name)), np.asarray(posterior[name].values))
        for name in names
        if name in posterior
    }
    stats = trace["sample_stats"].to_dataset()
    wanted = ["diverging", "energy", "depth", "n_steps", "step_size", "step_size_bar", "logp"]
    stats = stats[[name for name in wanted if name in stats]]
    return variables, stats.rename({"logp": "lp"}) if "logp" in stats else stats


def _dims(model: pm.Model, name: str) -> tuple[str, ...]:
    dims = model.named_vars_to_dims.get(name)
    rank = model[name].ndim
    return (
        tuple(d or f"{name}_dim_{i}" for i, d in enumerate(dims))
        if dims
        else tuple(f"{name}_dim_{i}" for i in range(rank))
    )
