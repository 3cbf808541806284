"""Log prior and log likelihood at draws, for the groups used by ArviZ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
from pymc.model.transform.conditioning import remove_value_transforms
from pytensor.graph.replace import vectorize_graph

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.inference.compiled import OFTEN, evaluator, log_densities_of
from bayeslmm.inference.effects import covariance_draws, flat
from bayeslmm.inference.tree import Variables
from bayeslmm.likelihood.marginal import Marginal, Parameters
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run
from bayeslmm.system.memory import available_cores

BLOCK = 500


def log_densities(model: pm.Model, variables: Variables) -> tuple[Variables, Variables]:
    """Compute log p of every free variable and of y at draws of the free variables.

    Parameters
    ----------
    model
        Any model.
    variables
        Draws (chain, draw, ...) of at least the free variables, β and the variances.

    Returns
    -------
    log_prior, log_likelihood
        Summed over the entries of a variable, except the likelihood of independent records, with
        one value per record. A marginal density has one value per draw.
    """
    chains, draws = variables["variance"][1].shape[:2]
    plain = remove_value_transforms(model)
    values = [plain.rvs_to_values[rv] for rv in plain.free_RVs]
    outputs = log_densities_of(plain, plain.free_RVs, jacobian=True)
    marginal = marginal_of(model)
    if marginal is None:
        outputs += [plain.logp(vars=plain.observed_RVs, sum=False)[0]]
    points = [pytensor.tensor.tensor(dtype=v.dtype, shape=(None, *v.type.shape)) for v in values]
    graphs = vectorize_graph(outputs, dict(zip(values, points, strict=True)))
    function = evaluator(points, graphs, OFTEN)
    given = [flat(variables, rv.name, keep=True) for rv in plain.free_RVs]
    starts = range(0, chains * draws, BLOCK)
    blocks = [function(*(value[i : i + BLOCK] for value in given)) for i in starts]
    found = [_join([block[k] for block in blocks], given[0], chains) for k in range(len(outputs))]
    names = [rv.name for rv in plain.free_RVs]
    log_prior: Variables = {
        name: (("chain", "draw"), value) for name, value in zip(names, found, strict=False)
    }
    if marginal is not None:
        y, beta = observed_phenotype(model), flat(variables, "beta")
        c = covariance_draws(model, variables)
        likelihood = log_likelihood_draws(marginal, y, beta, c).reshape(chains, draws)
        return log_prior, {"phenotype": (("chain", "draw"), likelihood)}
    return log_prior, {"phenotype": (("chain", "draw", "individual"), found[-1])}


def _join(blocks: list[Any], like: Floats, chains: int) -> Floats:
    count = like.shape[0]
    if blocks[0].ndim == 0:  # a constant density
        return np.full((chains, count // chains), float(blocks[0]))
    joined = np.concatenate(blocks)
    return joined.reshape(chains, count // chains, *joined.shape[1:])


def log_likelihood_draws(marginal: Marginal, y: Floats, beta: Floats, c: Parameters) -> Floats:
    """Compute log p(y | β, c) (draws,) at draws of β (draws, p) and of c."""
    quadratic = marginal.quadratic(y)
    workers = available_cores() if marginal.expensive else 1

    def one(i: int) -> float:
        at = quadratic([x[i] for x in c])
        return -np.inf if at is None else at.at(beta[i])

    return np.array(run(one, range(len(beta)), workers))
