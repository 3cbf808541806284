"""Realised PVE and genetic values of a fit, for marginal and for latent models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pymc as pm

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.inference.effects import covariance_draws, flat
from bayeslmm.inference.tree import Variables
from bayeslmm.likelihood.marginal import BLOCK
from bayeslmm.likelihood.realised import Realised, TraitParts, realised_pve
from bayeslmm.models.family import family_of
from bayeslmm.numerics.arrays import Floats


def add_genetic(
    model: pm.Model, variables: Variables, rng: np.random.Generator, *, keep: bool
) -> list[str]:
    """Add pve_fixed, pve_random, pve_total and pve_share, and with `keep` also g.

    If the model integrates the random effects out, they are drawn exactly given every draw of the
    other parameters. A latent ``g`` (with a ``design``) is used as drawn, and removed together with
    the whitened ``g_z`` unless `keep`. Several traits have separate proportions.

    Returns
    -------
    list of str
        Names of the parts of ``pve_share``.
    """
    chains, draws = variables["variance"][1].shape[:2]
    found: dict[str, Floats] = {}
    kept: Floats | None = None
    several = False
    for piece in _realised_parts(model, variables, rng):
        if keep:
            g = piece.genetic()
            kept = np.empty((chains * draws, g.shape[1])) if kept is None else kept
            kept[piece.where] = g
        several = len(piece.traits) > 1
        one = [realised_pve(*trait) for trait in piece.traits]
        for name in one[0]:
            values = np.stack([x[name] for x in one], axis=1)
            if name not in found:
                found[name] = np.empty((chains * draws, *values.shape[1:]))
            found[name][piece.where] = values
    if not keep:
        variables.pop("g", None)
        variables.pop("g_z", None)
    for name, values in found.items():
        shaped = values if several else values[:, 0]
        last = ("pve_part",) if name == "pve_share" else ()
        dims = ("chain", "draw", *(("trait",) if several else ()), *last)
        variables[name] = (dims, shaped.reshape(chains, draws, *shaped.shape[1:]))
    if kept is not None:
        variables["g"] = (("chain", "draw", "individual"), kept.reshape(chains, draws, -1))
    marginal = marginal_of(model)
    parts = ("random",) if marginal is None else marginal.part_names
    return ["fixed", *parts, "covariance", "residual"]


def _realised_parts(
    model: pm.Model, variables: Variables, rng: np.random.Generator
) -> Iterator[Realised]:
    marginal = marginal_of(model)
    if marginal is None:
        return _latent_parts(model, variables)
    beta, c = flat(variables, "beta"), covariance_draws(model, variables)
    return marginal.realised(observed_phenotype(model), beta, c, rng)


def _latent_parts(model: pm.Model, variables: Variables) -> Iterator[Realised]:
    if "g" not in variables or "design" not in model.named_vars:
        return
    if not family_of(model).gaussian:
        return  # shares of var(y) are undefined
    X = np.asarray(model["design"].get_value())
    y = observed_phenotype(model)
    ones = np.full(y.size, 1 / np.sqrt(y.size))
    beta, latent = flat(variables, "beta"), flat(variables, "g")
    for start in range(0, latent.shape[0], BLOCK):
        where = np.arange(start, min(start + BLOCK, len(latent)))
        g = latent[where]
        trait = TraitParts(beta[where] @ X.T, [g], y, ones)
        yield Realised(where, [trait], partial(np.asarray, g))
