"""Realised PVE and genetic values of a fit, for marginal and for latent models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
from numpy.typing import NDArray

from bayeslmm.distributions.dense_normal import DenseNormalRV
from bayeslmm.distributions.multi_trait_normal import MultiTraitNormalRV
from bayeslmm.distributions.spectral_normal import SpectralNormalRV
from bayeslmm.inference.effects import (
    BLOCK,
    covariance_draws,
    random_effects,
    rotated_effects,
)
from bayeslmm.inference.tree import Variables
from bayeslmm.likelihood.genetic_values import realised_pve
from bayeslmm.models.family import family_of
from bayeslmm.numerics.arrays import Floats


class TraitParts(NamedTuple):
    """What `realised_pve` takes for one trait."""

    fixed: Floats
    parts: list[Floats]
    y: Floats
    ones: Floats


class Piece(NamedTuple):
    """A block of draws: which, the parts of every trait, and a function that gives g (draws, n)."""

    where: NDArray[np.intp]
    traits: list[TraitParts]
    genetic: Callable[[], Floats]


def add_genetic(
    model: pm.Model, variables: Variables, rng: np.random.Generator, *, keep: bool
) -> list[str]:
    """Add pve_fixed, pve_random, pve_total and pve_share, and g itself if it is to be kept.

    Where the model integrates the random effects out, they are drawn exactly given every draw of
    the other parameters; a latent ``g`` (with a ``design``) is taken as it was drawn, and left out
    with the whitened ``g_z`` unless it is to be kept. Of several traits each has its own
    proportions.

    Returns
    -------
    list of str
        Names of the parts of ``pve_share``.
    """
    chains, draws = variables["variance"][1].shape[:2]
    found: dict[str, Floats] = {}
    kept: Floats | None = None
    several = False
    for piece in _pieces(model, variables, rng):
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
    return ["fixed", *_part_names(model), "covariance", "residual"]


def _part_names(model: pm.Model) -> list[str]:
    op = model["phenotype"].owner.op
    if not isinstance(op, DenseNormalRV) or "trait" in model.coords:
        return ["random"]
    return [name for term in op.form.covariance.terms for name in term.columns]


def _pieces(model: pm.Model, variables: Variables, rng: np.random.Generator) -> Iterator[Piece]:
    op = model["phenotype"].owner.op
    if isinstance(op, DenseNormalRV):
        return _dense_pieces(model, variables, rng)
    if isinstance(op, SpectralNormalRV | MultiTraitNormalRV):
        return _spectral_pieces(model, variables, rng)
    return _latent_pieces(model, variables)


def _spectral_pieces(
    model: pm.Model, variables: Variables, rng: np.random.Generator
) -> Iterator[Piece]:
    S = model["phenotype"].owner.op.spectrum
    rotated = np.ascontiguousarray(model["phenotype_rotated"].get_value())
    Y = rotated[:, None] if rotated.ndim == 1 else rotated
    ones = S.rotate(np.full(S.n, 1 / np.sqrt(S.n)))
    beta = _flat(variables, "beta")
    inputs = covariance_draws(model, variables)
    for where, u in rotated_effects(model, rotated, beta, inputs, rng):
        traits = []
        for t in range(Y.shape[1]):
            fixed = np.zeros((len(where), S.n))
            fixed[:, : S.p] = beta[where, t * S.p : (t + 1) * S.p] @ S.triangle.T
            traits.append(TraitParts(fixed, [u[:, t]], Y[:, t], ones))
        yield Piece(where, traits, partial(_unrotated, S, u))


def _unrotated(S: Any, u: Floats) -> Floats:
    return np.hstack([S.unrotate(u[:, t].T).T for t in range(u.shape[1])])


def _dense_pieces(
    model: pm.Model, variables: Variables, rng: np.random.Generator
) -> Iterator[Piece]:
    form = model["phenotype"].owner.op.form
    terms = form.covariance.terms
    y = np.asarray(model["phenotype_observed"].get_value())
    X, beta = form.design, _flat(variables, "beta")
    incidence = {name: term.incidence(j) for term in terms for j, name in enumerate(term.columns)}
    genetic = [name for term in terms if term.genetic for name in term.columns]
    index = model["phenotype"].owner.op.trait_index
    index = np.zeros(y.size, dtype=np.intp) if index is None else index
    groups = [np.flatnonzero(index == t) for t in range(int(index.max()) + 1)]
    for where, effects in random_effects(model, variables, rng):
        parts = {name: np.asarray(u @ incidence[name].T) for name, u in effects.items()}
        g = sum((parts[name] for name in genetic), np.zeros((len(where), y.size)))
        fixed = beta[where] @ X.T
        shown = [g] if len(groups) > 1 else list(parts.values())  # R ⊗ I is a term, too
        traits = [
            TraitParts(
                fixed[:, rows],
                [part[:, rows] for part in shown],
                y[rows],
                np.full(rows.size, 1 / np.sqrt(rows.size)),
            )
            for rows in groups
        ]
        yield Piece(where, traits, partial(np.asarray, g))


def _latent_pieces(model: pm.Model, variables: Variables) -> Iterator[Piece]:
    if "g" not in variables or "design" not in model.named_vars:
        return
    if not family_of(model).gaussian:
        return  # shares of var(y) have no meaning
    X = np.asarray(model["design"].get_value())
    y = np.asarray(model.rvs_to_values[model["phenotype"]].eval())
    ones = np.full(y.size, 1 / np.sqrt(y.size))
    beta, latent = _flat(variables, "beta"), _flat(variables, "g")
    for start in range(0, latent.shape[0], BLOCK):
        where = np.arange(start, min(start + BLOCK, len(latent)))
        g = latent[where]
        yield Piece(where, [TraitParts(beta[where] @ X.T, [g], y, ones)], partial(np.asarray, g))


def _flat(variables: Variables, name: str) -> Floats:
    array = np.asarray(variables[name][1])
    return array.reshape(array.shape[0] * array.shape[1], -1)
