"""Realised PVE and genetic values of a fit, for marginal and for latent models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pymc as pm
from numpy.typing import NDArray

from bayeslmm.distributions import SpectralNormalRV
from bayeslmm.engines.tree import Variables
from bayeslmm.posterior import genetic_values, realised_pve
from bayeslmm.spectrum import Spectrum

type Floats = NDArray[np.float64]

BLOCK = 250


def add_genetic(
    model: pm.Model, variables: Variables, rng: np.random.Generator, *, keep: bool
) -> None:
    """Add pve_fixed, pve_random, pve_total and pve_share, and g itself if it is to be kept.

    Where the model integrates g out, g is drawn exactly given every draw of the other parameters;
    a latent ``g`` (with a ``design``) is taken as it was drawn, and left out with the whitened
    ``g_z`` unless it is to be kept.
    """
    (chains, draws) = variables["variance"][1].shape[:2]
    beta = variables["beta"][1].reshape(chains * draws, -1)
    variance = variables["variance"][1].reshape(chains * draws, -1)
    kept: list[Floats] = []
    pieces: list[dict[str, Floats]] = []
    for piece, give in _pieces(model, variables, beta, variance, rng):
        pieces.append(piece)
        if keep:
            kept.append(give())
    if not keep:
        variables.pop("g", None)
        variables.pop("g_z", None)
    for name in pieces[0] if pieces else ():
        values = np.concatenate([piece[name] for piece in pieces])
        dims = ("chain", "draw", "pve_part") if name == "pve_share" else ("chain", "draw")
        variables[name] = (dims, values.reshape(chains, draws, *values.shape[1:]))
    if kept:
        g = np.concatenate(kept)
        variables["g"] = (("chain", "draw", "individual"), g.reshape(chains, draws, -1))


def _pieces(
    model: pm.Model, variables: Variables, beta: Floats, variance: Floats, rng: np.random.Generator
) -> Iterator[tuple[dict[str, Floats], Callable[[], Floats]]]:
    """Realised PVE of blocks of draws, each with a function that gives g (draws, n)."""
    n = len(model.coords["individual"])
    ones = np.full(n, 1 / np.sqrt(n))
    op = model["phenotype"].owner.op
    if isinstance(op, SpectralNormalRV):
        S = op.spectrum
        y = np.asarray(model["phenotype_rotated"].get_value())
        rotated_ones = S.rotate(ones)
        for part, g in genetic_values(S, y, beta, variance, rng, BLOCK):
            fixed = np.zeros_like(g)
            fixed[:, : S.p] = beta[part] @ S.triangle.T
            yield realised_pve(fixed, g, y, rotated_ones), partial(_unrotated, S, g)
    elif "g" in variables and "design" in model.named_vars:
        X = np.asarray(model["design"].get_value())
        y = np.asarray(model.rvs_to_values[model["phenotype"]].eval())
        latent = variables["g"][1].reshape(-1, n)
        for start in range(0, latent.shape[0], BLOCK):
            g = latent[start : start + BLOCK]
            fixed = beta[start : start + BLOCK] @ X.T
            yield realised_pve(fixed, g, y, ones), partial(np.asarray, g)


def _unrotated(spectrum: Spectrum, g: Floats) -> Floats:
    return spectrum.unrotate(g.T).T
