"""`fit`: a PyMC model in, an `xarray.DataTree` out, whatever the engine."""

from __future__ import annotations

import json
from contextlib import nullcontext
from zlib import crc32

import numpy as np
import pymc as pm
import xarray as xr
from scipy.special import expit

from bayeslmm.distributions.phenotype import observed_phenotype
from bayeslmm.errors import InputError, warn_user
from bayeslmm.estimates.boundary import spectrum_problem
from bayeslmm.inference import nuts
from bayeslmm.inference.checkpoint import Checkpoint, open_checkpoint
from bayeslmm.inference.choose import Engine, choose_engine
from bayeslmm.inference.densities import log_densities
from bayeslmm.inference.diagnostics import latent_health
from bayeslmm.inference.exact import exact
from bayeslmm.inference.fitted import remember
from bayeslmm.inference.laplace import laplace
from bayeslmm.inference.pve import add_genetic
from bayeslmm.inference.tree import (
    Variables,
    add_named_quantities,
    chain_draw,
    constant_data,
    dataset,
    improper_priors,
    prior_draws,
    provenance,
)
from bayeslmm.numerics.arrays import Floats
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
    engine: Engine = "auto",
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
    """Posterior of a model.

    Parameters
    ----------
    model
        A model that keeps the contract of the model files (see ``models/README.md``).
    engine
        "exact" (quadrature, independent draws), "laplace" (importance sampling of few
        hyperparameters, near-independent draws), "nuts" (nutpie), or "auto": the first of these
        that can serve the model. The choice and the reason stand in the attributes ``engine`` and
        ``engine_reason``.
    draws
        Draws kept, over all chains; a multiple of `chains`.
    chains
        Number of chains. The exact engine's draws are independent; they are dealt out to as many
        "chains" so that every ArviZ function works on them.
    seed
        The same seed gives the same numbers, with the exact and the Laplace engine to the last bit
        whatever the number of threads; traits of different names get different draws.
    tune, cores, progress
        For NUTS: warm-up draws per chain, chains at a time, progress bar. `cores` is also the
        number of density evaluations at a time of the Laplace engine.
    genetic_values
        Keep the draws of g (n numbers each) in the posterior.
    checkpoint
        A folder of this fit alone, where parts that are done are kept: every Markov chain of NUTS
        and, in the end, the posterior. The same call goes on from there after a crash, and gives
        the draws, bit for bit, of a call that was not interrupted. The exact and the Laplace
        engine have one part, the posterior. It may be deleted when all is done.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` (with h2, sigma2_u, sigma2_e, beta, variance, pve_fixed, pve_random,
        pve_total, pve_share), ``sample_stats``, ``observed_data``, ``constant_data``, ``prior``,
        ``log_prior``, ``log_likelihood``, and ``quadrature`` (exact engine: the density of h² and
        its moments, log evidence). With the Laplace engine the attributes of ``sample_stats`` hold
        ``pareto_k``, ``ess_importance`` and ``log_evidence``. Provenance in the attributes.

    Raises
    ------
    InputError, ModelError
        Impossible options; a model that breaks the contract or that the engine cannot serve; a
        checkpoint of another fit (what differs is named), or of a full disk.
    """
    if draws < 4 * chains or chains < 1 or draws % chains:
        raise InputError(
            f"draws = {draws}, chains = {chains}",
            "at least 4 draws a chain, and a multiple of the number of chains",
            "for instance draws=4000, chains=4",
        )
    chosen, reason = choose_engine(model, engine)
    options = {"draws": draws, "chains": chains, "seed": seed, "tune": tune}
    kept, tree = None, None
    if checkpoint is not None:
        settings = {"engine": chosen, **options, "genetic_values": genetic_values}
        kept = open_checkpoint(checkpoint, model, settings)
        tree = kept.load_tree(ORDER)
    if tree is None:
        with nullcontext() if chosen == "nuts" else one_thread():
            groups, step = _posterior(
                model,
                chosen,
                **options,
                cores=cores,
                genetic_values=genetic_values,
                progress=progress,
                kept=kept,
            )
        tree = xr.DataTree.from_dict({name: groups[name] for name in ORDER if name in groups})
        tree.attrs = provenance(model, engine=chosen, engine_reason=reason + step, **options)
        if kept is not None:
            kept.save_tree(tree)
    _say_problems(tree)
    remember(tree, model)
    return tree


def _say_problems(tree: xr.DataTree) -> None:
    """Say that a kernel can hardly tell anything."""
    if "eigenvalue" in tree["constant_data"]:
        values = tree["constant_data"]["eigenvalue"].to_numpy()
        problem = spectrum_problem(values, tree["observed_data"]["phenotype"].size)
        if problem is not None:
            warn_user(problem)


def _posterior(
    model: pm.Model,
    chosen: str,
    *,
    draws: int,
    chains: int,
    seed: int,
    tune: int,
    cores: int | None,
    genetic_values: bool,
    progress: bool,
    kept: Checkpoint | None,
) -> tuple[dict[str, xr.Dataset], str]:
    """The groups of the tree, and what the engine did beyond its name."""
    step = ""
    trait = str(getattr(model, "provenance", {}).get("trait", ""))
    stream = np.random.SeedSequence([seed, crc32(trait.encode())])  # its own for every trait
    rng = np.random.default_rng(stream)
    sampler_seed = int(stream.generate_state(1)[0])
    groups: dict[str, xr.Dataset] = {}
    log_prior: Variables
    log_likelihood: Variables
    if chosen == "exact":
        found, values = exact.fit_one(model, draws, rng)
        log_prior = chain_draw(model, values.pop("log_prior"), chains, names=False)
        likelihood = {"phenotype": found.draws.log_likelihood}
        log_likelihood = chain_draw(model, likelihood, chains, names=False)
        variables = chain_draw(model, values, chains)
        groups["quadrature"] = quadrature_group(found)
        log_prior = {k: (("chain", "draw"), _total(v)) for k, (_, v) in log_prior.items()}
    elif chosen == "laplace" and (
        (drawn := laplace.fit_one(model, draws, chains, rng, cores)) is not None
    ):
        log_prior = chain_draw(model, drawn.values.pop("log_prior"), chains, names=False)
        likelihood = {"phenotype": drawn.log_likelihood}
        log_likelihood = chain_draw(model, likelihood, chains, names=False)
        variables = chain_draw(model, drawn.values, chains)
        groups["sample_stats"] = importance_group(drawn, _joint(log_prior, log_likelihood))
        step = f"; {drawn.step}"
    else:
        variables, groups["sample_stats"] = nuts.sample(
            model, draws // chains, chains, sampler_seed, tune=tune, cores=cores,
            progress=progress, checkpoint=kept,
        )  # fmt: skip
        log_prior, log_likelihood = log_densities(model, variables)
        step = "; NUTS on the model, because importance sampling failed" * (chosen == "laplace")
    if "sample_stats" not in groups:
        lp = _joint(log_prior, log_likelihood)
        groups["sample_stats"] = dataset({"lp": (("chain", "draw"), lp)}, {})
    add_named_quantities(variables)
    dropped = {} if genetic_values else _latent_health(variables)
    groups["sample_stats"].attrs["latent"] = json.dumps(dropped)
    if flat := improper_priors(model, "variance"):
        groups["sample_stats"].attrs["improper"] = json.dumps(flat)
    parts = add_genetic(model, variables, rng, keep=genetic_values)
    coords = {**model.coords, "pve_part": parts}
    groups["posterior"] = dataset(variables, coords)
    groups["log_prior"] = dataset(log_prior, coords)
    groups["log_likelihood"] = dataset(log_likelihood, coords)
    y = observed_phenotype(model)
    groups["observed_data"] = dataset({"phenotype": (("individual",), y)}, coords)
    groups["constant_data"] = constant_data(model)
    if (prior := prior_draws(model, 1000, seed)) is not None:
        add_named_quantities(prior)
        groups["prior"] = dataset(prior, coords)
    return groups, step


def importance_group(found: laplace.Laplace, lp: Floats) -> xr.Dataset:
    """Sample statistics of the Laplace engine."""
    variables: Variables = {"lp": (("chain", "draw"), lp)}
    variables |= {name: (("chain", "draw"), value) for name, value in found.stats.items()}
    out = dataset(variables, {})
    weighted = found.weighted
    out.attrs |= {
        "pareto_k": weighted.pareto_k,
        "evaluations": weighted.evaluations,
        "rounds": json.dumps(list(weighted.rounds)),
        "step": found.step,
    }
    if not found.chains:
        out.attrs["ess_importance"] = weighted.ess
        out.attrs |= {"log_evidence": weighted.log_evidence, "log_evidence_mcse": weighted.mcse}
    return out


def _latent_health(variables: Variables) -> dict[str, dict[str, float]]:
    """Convergence of a latent g, which is judged even where its draws are not kept."""
    latent = {k: np.asarray(v) for k, (_, v) in variables.items() if k == "g"}
    return {name: latent_health(value) for name, value in latent.items()}


def _joint(log_prior: Variables, log_likelihood: Variables) -> Floats:
    """log p(y, parameters) of every draw."""
    parts = [_total(value) for _, value in (*log_prior.values(), *log_likelihood.values())]
    return np.asarray(np.sum(parts, axis=0))


def _total(value: Floats) -> Floats:
    """Sum over all but (chain, draw)."""
    return np.asarray(value).reshape(*value.shape[:2], -1).sum(axis=-1)


def quadrature_group(found: exact.Exact) -> xr.Dataset:
    """The exact marginal of h² and the log evidence, as a group of the tree."""
    share = found.share
    mean, sd = share.moments()
    values = {
        "density": share.density,
        "cdf": share.cdf,
        "prior_density": found.prior_h2,
        "logit_h2": share.z,
    }
    return xr.Dataset(
        {name: (("h2",), value) for name, value in values.items()},
        coords={"h2": expit(share.z)},
        attrs={
            "mean": mean,
            "sd": sd,
            "median": float(share.quantile(0.5)),
            "mode": share.mode(),
            "log_evidence": found.log_evidence,
            "log_evidence_h2_0": found.log_evidence_at_zero,
        },
    )
