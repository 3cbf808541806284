"""NUTS engine: nutpie on the model file."""

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
from bayeslmm.inference.compiled import lean
from bayeslmm.inference.densities import log_densities
from bayeslmm.inference.engine import Drawn, Engine, Replicate, Request
from bayeslmm.inference.tree import Variables, model_data
from bayeslmm.numerics.arrays import Floats
from bayeslmm.system.memory import available_cores

CHAINS, TUNE, LENGTH = 2, 500, 500  # first run of a calibration fit
LONGER = 4  # factor of the length of the second run
RHAT, LEAST_ESS = 1.05, 20.0
LATENT = 10  # largest number of entries of a variable whose entries are monitored

type Chain = dict[str, NDArray[Any]]

KEPT = ("diverging", "energy", "depth", "n_steps", "step_size", "step_size_bar")
STATS = {name: name for name in KEPT} | {"logp": "lp"}  # statistics, by nutpie's name


def compiled(model: pm.Model) -> Any:
    """Return the compiled model with its current data; it is compiled once per model."""
    kept = getattr(model, "bayeslmm_nutpie", None)
    if kept is None:
        import nutpie  # only when chains are run: it imports ArviZ with its plots

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            kept = lean(nutpie.compile_pymc_model)(model)
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
    """Run NUTS, every chain with its own seed.

    Parameters
    ----------
    model
        Any PyMC model.
    draws
        Number of draws of each chain after warm-up.
    chains, seed, tune, cores
        Number of chains, seed, warm-up draws of each chain, number of concurrent chains. A chain
        depends only on the seed and its own number.
    target_accept
        Target acceptance rate of the step size adaptation.
    progress
        Show nutpie's progress bar.
    checkpoint
        Stored chains are not run again; each chain is stored as soon as it is complete.

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
            for k, sampler in ended.items():  # while the next chains run
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
    except TimeoutError:  # raised by nutpie while the chain runs
        return False


def _arrays(trace: Any, names: list[str]) -> Chain:
    """Return the arrays (draw, ...) of a complete chain."""
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
    """Run Markov chains for a fit; add the log densities at their draws."""
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
    """Draw for calibration, thinned to near-independence; run longer if the ESS is too small."""
    problem: str | None = None
    values: dict[str, Any] = {}
    for longer in (1, LONGER):
        seed = int(rng.integers(2**31))
        variables, _ = sample(model, longer * LENGTH, CHAINS, seed, tune=longer * TUNE, cores=1)
        chosen, problem = _thin(_monitored_draws(model, variables), draws)
        values = {
            name: np.asarray(array).reshape(-1, *array.shape[2:])[chosen]
            for name, (_, array) in variables.items()
        }
        if problem is None:
            break
    return Replicate(values, problem=problem)


def _monitored_draws(model: pm.Model, variables: Variables) -> list[Floats]:
    """Return draws (chain, draw) of variances and of the varying entries of short parameters."""
    out: list[Floats] = []
    for rv in (model["variance"], *model.free_RVs):
        array = np.asarray(variables[rv.name][1], dtype=np.float64)
        flat = np.moveaxis(array.reshape(*array.shape[:2], -1), 2, 0)
        if len(flat) <= LATENT or rv.name == "variance":
            out += [x for x in flat if np.ptp(x) > 0 or rv.name == "variance"]
    return out


def _thin(columns: list[Floats], draws: int) -> tuple[NDArray[np.intp], str | None]:
    """Select at most ESS and at most `draws` of the draws (flat, of chains × draws)."""
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


def _why_not(model: pm.Model) -> None:
    """Return None: NUTS supports every model."""


NUTS = Engine("nuts", "", _why_not, draw, replicate, threads=True)
