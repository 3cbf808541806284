"""NUTS engine: nutpie on the same model file."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import NDArray

from bayeslmm.inference.checkpoint import Checkpoint
from bayeslmm.inference.tree import model_data
from bayeslmm.system.memory import available_cores

type Chain = dict[str, NDArray[Any]]

KEPT = ("diverging", "energy", "depth", "n_steps", "step_size", "step_size_bar")
STATS = {name: name for name in KEPT} | {"logp": "lp"}  # statistics, by nutpie's name


def compiled(model: pm.Model) -> Any:
    """The compiled model with its current data; compiled once and kept with the model."""
    kept = getattr(model, "bayeslmm_nutpie", None)
    if kept is None:
        import nutpie  # when chains are asked for: it imports ArviZ with its plots

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
    checkpoint: Checkpoint | None = None,
) -> tuple[dict[str, tuple[tuple[str, ...], Any]], xr.Dataset]:
    """Run NUTS, every chain with a seed of its own.

    Parameters
    ----------
    model
        Any PyMC model.
    draws
        Draws kept in each chain.
    chains, seed, tune, cores
        Number of chains, seed, warm-up draws of each chain, chains at a time. A chain depends on
        the seed and its own number alone.
    target_accept
        Target acceptance rate of the step size adaptation.
    progress
        Show nutpie's progress bar.
    checkpoint
        Chains that it has are not run again; each chain is kept there as soon as it is done.

    Returns
    -------
    dict, Dataset
        Posterior variables by name (dimensions, array (chain, draw, ...)), and sample statistics.
    """
    import nutpie

    names = [rv.name for rv in (*model.free_RVs, *model.deterministics)]
    streams = np.random.SeedSequence(seed).spawn(chains)
    done: dict[int, Chain] = {}
    if checkpoint is not None:
        known = {k: checkpoint.load(f"chain-{k}") for k in range(chains)}
        done = {k: chain for k, chain in known.items() if chain is not None}
    waiting = [k for k in range(chains) if k not in done]
    running: dict[int, Any] = {}
    at_once = cores or available_cores()
    function = compiled(model) if waiting else None
    try:
        while waiting or running:
            ended = {k: running.pop(k) for k in list(running) if _finished(running[k])}
            while waiting and len(running) < at_once:
                k = waiting.pop(0)
                running[k] = nutpie.sample(
                    function,
                    draws=draws,
                    tune=tune,
                    chains=1,
                    cores=1,
                    seed=int(streams[k].generate_state(1)[0]),
                    save_warmup=False,
                    progress_bar=progress,
                    target_accept=target_accept,
                    blocking=False,
                )
            for k, sampler in ended.items():  # while the next ones run
                done[k] = _arrays(sampler.wait(), names)
                if checkpoint is not None:
                    checkpoint.save(f"chain-{k}", done[k])
            if not ended:
                time.sleep(0.005)
    finally:  # Ctrl-C, or a full disk
        for one in running.values():
            one.cancel()
    joined = {name: np.stack([done[k][name] for k in range(chains)]) for name in done[0]}
    variables = {
        name: (("chain", "draw", *_dims(model, name)), joined[f"posterior/{name}"])
        for name in names
        if f"posterior/{name}" in joined
    }
    coords = {"chain": np.arange(chains), "draw": np.arange(draws)}
    stats = {
        STATS[name]: (("chain", "draw"), joined[f"stats/{name}"])
        for name in STATS
        if f"stats/{name}" in joined
    }
    return variables, xr.Dataset(stats, coords)


def _finished(sampler: Any) -> bool:
    try:
        return bool(sampler.is_finished)
    except TimeoutError:  # nutpie's word for "not yet"
        return False


def _arrays(trace: Any, names: list[str]) -> Chain:
    """What is kept of a chain (draw, ...); one that stopped before its end is not."""
    posterior, stats = trace["posterior"].to_dataset(), trace["sample_stats"].to_dataset()
    out = {f"posterior/{n}": np.asarray(posterior[n].values)[0] for n in names if n in posterior}
    return out | {f"stats/{n}": np.asarray(stats[n].values)[0] for n in STATS if n in stats}


def _dims(model: pm.Model, name: str) -> tuple[str, ...]:
    dims = model.named_vars_to_dims.get(name)
    rank = model[name].ndim
    return (
        tuple(d or f"{name}_dim_{i}" for i, d in enumerate(dims))
        if dims
        else tuple(f"{name}_dim_{i}" for i in range(rank))
    )
