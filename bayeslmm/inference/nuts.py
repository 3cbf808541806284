"""NUTS engine: nutpie on the same model file."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from arviz_stats.base import array_stats
from numpy.typing import NDArray

from bayeslmm.inference.checkpoint import Checkpoint
from bayeslmm.inference.densities import log_densities
from bayeslmm.inference.engine import Drawn, Engine, Replicate, Request
from bayeslmm.inference.tree import Variables, model_data
from bayeslmm.numerics.arrays import Floats
from bayeslmm.system.memory import available_cores

CHAINS, TUNE, LENGTH = 2, 500, 500  # for calibration, at the first try
LONGER = 4  # times as long at the second
RHAT, LEAST_ESS = 1.05, 20.0
LATENT = 10  # entries beyond which a variable is not judged one by one

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


def draw(model: pm.Model, request: Request) -> Drawn:
    """Markov chains for a fit, with the log densities at their draws."""
    variables, stats = sample(
        model,
        request.draws // request.chains,
        request.chains,
        request.seed,
        tune=request.tune,
        cores=request.cores,
        progress=request.progress,
        checkpoint=request.checkpoint,
    )
    log_prior, log_likelihood = log_densities(model, variables)
    return Drawn(variables, log_prior, log_likelihood, stats)


def replicate(model: pm.Model, draws: int, rng: np.random.Generator) -> Replicate:
    """Draws for calibration, thinned to near-independence; a longer run where one is too short."""
    problem: str | None = None
    values: dict[str, Any] = {}
    for longer in (1, LONGER):
        seed = int(rng.integers(2**31))
        variables, _ = sample(model, longer * LENGTH, CHAINS, seed, tune=longer * TUNE, cores=1)
        chosen, problem = _thinned(_judged(model, variables), draws)
        values = {
            name: np.asarray(array).reshape(-1, *array.shape[2:])[chosen]
            for name, (_, array) in variables.items()
        }
        if problem is None:
            break
    return Replicate(values, problem=problem)


def _judged(model: pm.Model, variables: Variables) -> list[Floats]:
    """Draws (chain, draw) of the variances, and of every entry that varies of a short parameter."""
    out: list[Floats] = []
    for rv in (model["variance"], *model.free_RVs):
        array = np.asarray(variables[rv.name][1], dtype=np.float64)
        flat = np.moveaxis(array.reshape(*array.shape[:2], -1), 2, 0)
        if len(flat) <= LATENT or rv.name == "variance":
            out += [x for x in flat if np.ptp(x) > 0 or rv.name == "variance"]
    return out


def _thinned(columns: list[Floats], draws: int) -> tuple[NDArray[np.intp], str | None]:
    """Which draws (of chains × draws, flat) to keep: as many as they are worth, at most `draws`."""
    axes = {"chain_axis": 0, "draw_axis": 1}
    moved = all(np.ptp(column) > 0 for column in columns)
    ess = min(float(array_stats.ess(c, method="bulk", **axes)) for c in columns) if moved else 0.0
    rhat = max(float(array_stats.rhat(c, **axes)) for c in columns) if moved else np.inf
    problem = None
    if not (rhat < RHAT and ess >= LEAST_ESS):
        problem = f"NUTS did not converge: R-hat {rhat:.2f}, ESS {ess:.0f}"
    total = columns[0].size
    count = int(np.clip(ess if np.isfinite(ess) else 1.0, 1, min(draws, total)))
    return ((np.arange(count) + 0.5) * total / count).astype(np.intp), problem


def _serves_all(model: pm.Model) -> None:
    """NUTS needs no more than the model."""


NUTS = Engine("nuts", "", _serves_all, draw, replicate, threads=True)
