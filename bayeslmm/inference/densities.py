"""Log prior and log likelihood at draws, for the groups that ArviZ's tools read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
from pymc.model.transform.conditioning import remove_value_transforms
from pytensor.graph.replace import vectorize_graph

from bayeslmm.distributions.spectral_normal import SpectralNormalRV
from bayeslmm.inference.tree import PYTHON, Variables
from bayeslmm.likelihood.one_kernel import spectral_logp_draws
from bayeslmm.numerics.arrays import Floats

BLOCK = 500


def log_densities(model: pm.Model, variables: Variables) -> tuple[Variables, Variables]:
    """log p of every free variable and of y, at draws of the free variables.

    Parameters
    ----------
    model
        Any model.
    variables
        Draws (chain, draw, ...) of at least the free variables, β and the variances.

    Returns
    -------
    log_prior, log_likelihood
        Summed over the entries of a variable, except the likelihood of independent records: one
        number each. A `spectral_normal` is one number a draw.
    """
    chains, draws = variables["variance"][1].shape[:2]
    plain = remove_value_transforms(model)
    values = [plain.rvs_to_values[rv] for rv in plain.free_RVs]
    outputs = [plain.logp(vars=[rv]) for rv in plain.free_RVs]
    op = model["phenotype"].owner.op
    spectral = isinstance(op, SpectralNormalRV)
    if not spectral:
        outputs += [plain.logp(vars=plain.observed_RVs, sum=False)[0]]
    points = [pytensor.tensor.tensor(dtype=v.dtype, shape=(None, *v.type.shape)) for v in values]
    graphs = vectorize_graph(outputs, dict(zip(values, points, strict=True)))
    function = pytensor.function(points, graphs, mode=PYTHON, on_unused_input="ignore")
    flat = [
        np.asarray(variables[rv.name][1]).reshape(chains * draws, *variables[rv.name][1].shape[2:])
        for rv in plain.free_RVs
    ]
    blocks = [
        function(*(value[i : i + BLOCK] for value in flat)) for i in range(0, chains * draws, BLOCK)
    ]
    found = [_join([block[k] for block in blocks], flat[0], chains) for k in range(len(outputs))]
    names = [rv.name for rv in plain.free_RVs]
    log_prior: Variables = {
        name: (("chain", "draw"), value) for name, value in zip(names, found, strict=False)
    }
    if spectral:
        likelihood = _spectral(model, variables).reshape(chains, draws)
        return log_prior, {"phenotype": (("chain", "draw"), likelihood)}
    return log_prior, {"phenotype": (("chain", "draw", "individual"), found[-1])}


def _join(blocks: list[Any], like: Floats, chains: int) -> Floats:
    count = like.shape[0]
    if blocks[0].ndim == 0:  # a constant density
        return np.full((chains, count // chains), float(blocks[0]))
    joined = np.concatenate(blocks)
    return joined.reshape(chains, count // chains, *joined.shape[1:])


def _spectral(model: pm.Model, variables: Variables) -> Floats:
    spectrum = model["phenotype"].owner.op.spectrum
    beta = variables["beta"][1].reshape(-1, spectrum.p)
    variance = variables["variance"][1].reshape(-1, 2)
    return np.asarray(
        spectral_logp_draws(
            np.asarray(model["phenotype_rotated"].get_value()),
            np.ascontiguousarray(beta),
            np.ascontiguousarray(variance),
            spectrum.eigenvalues,
            spectrum.coupling,
            spectrum.schur,
            spectrum.triangle,
        )
    )
