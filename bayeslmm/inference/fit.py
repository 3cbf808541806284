"""`fit`: draw from the posterior of a PyMC model into an `xarray.DataTree`, with any engine."""

from __future__ import annotations

import json
from contextlib import nullcontext
from zlib import crc32

import numpy as np
import pymc as pm
import xarray as xr

from bayeslmm.distributions.phenotype import observed_phenotype
from bayeslmm.errors import InputError, warn_user
from bayeslmm.estimates.boundary import spectrum_problem
from bayeslmm.inference.checkpoint import open_checkpoint
from bayeslmm.inference.choose import choose_engine
from bayeslmm.inference.diagnostics import latent_health
from bayeslmm.inference.engine import Engine, Request
from bayeslmm.inference.fitted import remember
from bayeslmm.inference.pve import add_genetic
from bayeslmm.inference.tree import (
    Variables,
    add_named_quantities,
    constant_data,
    dataset,
    improper_priors,
    prior_draws,
    provenance,
)
from bayeslmm.numerics.threads import one_thread
from bayeslmm.system.atomic import PathArg

ORDER = (
    "posterior",
    "sample_stats",
    "prior",
    "log_prior",
    "log_likelihood",
    "observed_data",
    "constant_data",
    "quadrature",
)


def fit(
    model: pm.Model,
    engine: str = "auto",
    *,
    draws: int = 4000,
    chains: int = 4,
    seed: int = 1,
    tune: int = 1000,
    cores: int | None = None,
    genetic_values: bool = False,
    progress: bool = False,
    checkpoint: PathArg | None = None,
) -> xr.DataTree:
    """Draw from the posterior of a model.

    Parameters
    ----------
    model
        A model that meets the contract of model files (see ``models/README.md``).
    engine
        "exact" (quadrature, independent draws), "laplace" (importance sampling of few
        hyperparameters, near-independent draws), "nuts" (nutpie), or "auto": the first of these
        that supports the model. The attributes ``engine`` and ``engine_reason`` of the result hold
        the choice and its reason.
    draws
        Number of draws over all chains, without warm-up; a multiple of `chains`.
    chains
        Number of chains. Independent draws of the exact engine are distributed over "chains" so
        that all ArviZ functions apply.
    seed
        The same seed, machine and number of threads give the same bits with the exact and the
        Laplace engine. Results with another number of threads agree to 1e-9, or to 1e-7 if the
        Laplace engine fits several traits. Traits with different names get different draws.
    tune, cores, progress
        For NUTS: warm-up draws per chain, number of concurrent chains, progress bar. `cores` is
        also the number of concurrent density evaluations of the Laplace engine.
    genetic_values
        Whether to store the draws of g (n numbers each) in the posterior.
    checkpoint
        A folder for this fit only, to store completed parts: every Markov chain of NUTS and,
        finally, the posterior. After a crash the same call continues from there and gives the same
        draws, bit for bit, as an uninterrupted call. The exact and the Laplace engine have one
        part, the posterior. The folder may be deleted after the fit.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` (with h2, sigma2_u, sigma2_e, beta, variance, pve_fixed, pve_random,
        pve_total, pve_share), ``sample_stats``, ``observed_data``, ``constant_data``, ``prior``,
        ``log_prior``, ``log_likelihood``, and ``quadrature`` (exact engine: the density of h² and
        its moments, log evidence). With the Laplace engine the attributes of ``sample_stats`` hold
        ``pareto_k``, ``ess_importance`` and ``log_evidence``. The tree's attributes hold the
        provenance.

    Raises
    ------
    InputError, ModelError
        If options are invalid, the model breaks the contract or is not supported by the engine,
        the checkpoint belongs to another fit (the message names the difference), or the disk is
        full.
    """
    if draws < 4 * chains or chains < 1 or draws % chains:
        raise InputError(
            f"draws = {draws}, chains = {chains}",
            "at least 4 draws per chain, and a multiple of the number of chains",
            "for instance draws=4000, chains=4",
        )
    chosen, reason = choose_engine(model, engine)
    options: dict[str, int] = {"draws": draws, "chains": chains, "seed": seed, "tune": tune}
    kept, tree = None, None
    if checkpoint is not None:
        settings: dict[str, str | int] = {
            "engine": chosen.name,
            **options,
            "genetic_values": genetic_values,
        }
        kept = open_checkpoint(checkpoint, model, settings)
        tree = kept.load_tree(ORDER)
    if tree is None:
        trait = str(getattr(model, "provenance", {}).get("trait", ""))
        stream = np.random.SeedSequence([seed, crc32(trait.encode())])  # one stream per trait
        request = Request(
            draws,
            chains,
            np.random.default_rng(stream),
            int(stream.generate_state(1)[0]),
            tune,
            cores,
            progress,
            kept,
        )
        with nullcontext() if chosen.threads else one_thread():
            groups, step = _posterior(model, chosen, request, seed, genetic_values)
        tree = xr.DataTree.from_dict({name: groups[name] for name in ORDER if name in groups})
        tree.attrs = provenance(model, engine=chosen.name, engine_reason=reason + step, **options)
        if kept is not None:
            kept.save_tree(tree)
    _warn_of_weak_kernels(tree)
    remember(tree, model)
    return tree


def _warn_of_weak_kernels(tree: xr.DataTree) -> None:
    """Warn of a kernel that hardly informs h²."""
    if "eigenvalue" in tree["constant_data"]:
        values = tree["constant_data"]["eigenvalue"].to_numpy()
        problem = spectrum_problem(values, tree["observed_data"]["phenotype"].size)
        if problem is not None:
            warn_user(problem)


def _posterior(
    model: pm.Model, engine: Engine, request: Request, seed: int, genetic_values: bool
) -> tuple[dict[str, xr.Dataset], str]:
    """Return the groups of the tree, and a note on the steps of the engine."""
    drawn = engine.draw(model, request)
    groups, variables, stats = dict(drawn.groups), drawn.variables, drawn.sample_stats
    add_named_quantities(variables)
    dropped = {} if genetic_values else _latent_health(variables)
    stats.attrs["latent"] = json.dumps(dropped)
    if flat := improper_priors(model, "variance"):
        stats.attrs["improper"] = json.dumps(flat)
    parts = add_genetic(model, variables, request.rng, keep=genetic_values)
    coords = {**model.coords, "pve_part": parts}
    groups["sample_stats"] = stats
    groups["posterior"] = dataset(variables, coords)
    groups["log_prior"] = dataset(drawn.log_prior, coords)
    groups["log_likelihood"] = dataset(drawn.log_likelihood, coords)
    y: Variables = {"phenotype": (("individual",), observed_phenotype(model))}
    groups["observed_data"] = dataset(y, coords)
    groups["constant_data"] = constant_data(model)
    if (prior := prior_draws(model, 1000, seed)) is not None:
        add_named_quantities(prior)
        groups["prior"] = dataset(prior, coords)
    return groups, drawn.step


def _latent_health(variables: Variables) -> dict[str, dict[str, float]]:
    """Return the convergence of a latent g, also if its draws are not stored."""
    latent = {k: np.asarray(v) for k, (_, v) in variables.items() if k == "g"}
    return {name: latent_health(value) for name, value in latent.items()}
