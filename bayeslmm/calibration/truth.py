"""Truths of a model: parameters from its priors, random effects, y.

    θ ~ p(θ),   u ~ p(u | θ),   y = Xβ + Σ W u + ε

Everything is read off the PyMC graph. Where the phenotype is one of our marginal distributions the
random effects, which such a model integrates out, are drawn forward, so that what is realised in a
simulation (the PVE) is known; otherwise y is drawn from the graph itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
from pymc.pytensorf import compile as compile_graph
from pymc.pytensorf import find_rng_nodes, reseed_rngs
from pytensor.graph.basic import Constant
from pytensor.graph.traversal import ancestors

from bayeslmm.distributions.dense_normal import DenseNormalRV
from bayeslmm.distributions.multi_trait_normal import MultiTraitNormalRV
from bayeslmm.distributions.polygenic import kernel_cholesky
from bayeslmm.distributions.spectral_normal import SpectralNormalRV
from bayeslmm.errors import ModelError
from bayeslmm.inference.effects import prior_draw
from bayeslmm.inference.laplace.hyper import covariance_inputs
from bayeslmm.inference.tree import PYTHON, Variables, chain_draw, improper_priors
from bayeslmm.likelihood.genetic_values import draw_unit_genetic, realised_pve
from bayeslmm.likelihood.genetic_values_traits import root
from bayeslmm.numerics.arrays import Floats
from bayeslmm.priors.components import set_phenotype

type Parts = tuple[Floats, list[Floats], Floats, Floats]  # what `realised_pve` takes, of a trait

UNITS = ("phenotype_unit", "phenotype_centre")
MARGINAL = (DenseNormalRV, MultiTraitNormalRV, SpectralNormalRV)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """One simulation.

    Parameters
    ----------
    variables
        θ and everything that the model derives from it, one draw: (1, 1, ...) by name.
    y
        (n,) phenotype.
    pve
        Realised PVE, one draw, as `bayeslmm.inference.pve.add_genetic` names them; empty where
        the random effects are parameters of the model, or unknown.
    """

    variables: Variables
    y: Floats
    pve: Variables


def exchange(model: pm.Model, y: Floats) -> None:
    """Give a model another phenotype; the units of its priors stay as they are.

    `set_phenotype` takes them from y, and then the prior of the fit would not be the one that the
    truth was drawn from.
    """
    kept = {name: model[name].get_value() for name in UNITS if name in model.named_vars}
    set_phenotype(model, y)
    pm.set_data(kept, model=model)


def simulator(model: pm.Model) -> Callable[[np.random.SeedSequence], Truth]:
    """A function that draws a truth from a seed; what it compiles it compiles once.

    Raises
    ------
    ModelError
        For a model that cannot be drawn from: a prior without a distribution (``flat()``).
    """
    if flat := improper_priors(model):
        raise ModelError(
            f"the prior of {', '.join(flat)} is improper: there is nothing to draw a truth from -> "
            "give every parameter a proper prior"
        )
    phenotype = model["phenotype"]
    named = [*model.free_RVs, *model.deterministics]
    marginal = isinstance(phenotype.owner.op, MARGINAL)
    outputs = [*named, *(covariance_inputs(model) if marginal else [phenotype])]
    _freeze(outputs)
    function = compile_graph([], outputs, random_seed=False, mode=PYTHON)
    streams = find_rng_nodes(outputs)
    forward = _forward(model) if marginal else None

    def draw(seed: np.random.SeedSequence) -> Truth:
        first, second = seed.generate_state(4).tolist(), seed.generate_state(8)[4:].tolist()
        reseed_rngs(streams, first)
        found = [np.array(value, dtype=np.float64) for value in function()]
        values = {rv.name: found[k][None] for k, rv in enumerate(named)}
        variables = chain_draw(model, values, 1)
        if forward is None:
            return Truth(variables, found[-1], {})
        rng = np.random.default_rng(second)
        y, traits = forward(values["beta"], found[len(named) :], rng)
        return Truth(variables, y, _realised(traits))

    return draw


def _freeze(outputs: list[Any]) -> None:
    """Make the constants of a graph read-only.

    nutpie makes them so when it compiles the model. A function compiled before has writeable views
    of some of them, which NumPy cannot broadcast any more from then on.
    """
    for variable in ancestors(outputs):
        if isinstance(variable, Constant) and isinstance(variable.data, np.ndarray):
            variable.data.flags.writeable = False


def _forward(model: pm.Model) -> Callable[..., tuple[Floats, list[Parts]]]:
    op = model["phenotype"].owner.op
    if isinstance(op, DenseNormalRV):
        return _dense(op)
    return _spectral(op)


def _spectral(op: Any) -> Callable[..., tuple[Floats, list[Parts]]]:
    """One kernel, one or several traits, in the rotated coordinates of the spectrum."""
    S = op.spectrum
    ones = S.rotate(np.full(S.n, 1 / np.sqrt(S.n)))
    several = isinstance(op, MultiTraitNormalRV)

    def draw(
        beta: Floats, inputs: list[Floats], rng: np.random.Generator
    ) -> tuple[Floats, list[Parts]]:
        G, R = inputs if several else (inputs[0][:1, None], inputs[0][1:, None])
        T = len(G)
        g = root(G) @ draw_unit_genetic(S, rng, T)
        fixed = np.zeros((T, S.n))
        fixed[:, : S.p] = beta.reshape(T, S.p) @ S.triangle.T
        y = fixed + g + root(R) @ rng.standard_normal((T, S.n))
        traits: list[Parts] = [(fixed[t : t + 1], [g[t : t + 1]], y[t], ones) for t in range(T)]
        return np.asarray(S.unrotate(y.T).T.ravel()), traits

    return draw


def _dense(op: DenseNormalRV) -> Callable[..., tuple[Floats, list[Parts]]]:
    """Any terms: their effects at their levels, and where they enter the records."""
    form, covariance = op.form, op.form.covariance
    roots = [None if t.kernel is None else kernel_cholesky(t.kernel) for t in covariance.terms]
    incidence = [[t.incidence(j) for j in range(t.k)] for t in covariance.terms]
    index = op.trait_index
    traits_of = np.zeros(form.n, dtype=np.intp) if index is None else np.asarray(index)
    groups = [np.flatnonzero(traits_of == t) for t in range(int(traits_of.max()) + 1)]

    def draw(
        beta: Floats, inputs: list[Floats], rng: np.random.Generator
    ) -> tuple[Floats, list[Parts]]:
        sigmas, residual = covariance.unpack(inputs[0][None])
        fixed = beta @ form.design.T
        parts, genetic = [], np.zeros((1, form.n))
        for term, L, W, S in zip(covariance.terms, roots, incidence, sigmas, strict=True):
            u = prior_draw(term, L, S, rng)
            for j in range(term.k):
                parts.append(np.asarray(u[:, j] @ W[j].T))
                genetic += parts[-1] if term.genetic else 0.0
        y = fixed + np.sum(parts, axis=0)
        if covariance.residual is not None:
            sd = np.sqrt(residual)[:, covariance.residual]
            y = y + sd * rng.standard_normal(y.shape)
        shown = [genetic] if len(groups) > 1 else parts
        traits: list[Parts] = [
            (
                fixed[:, rows],
                [part[:, rows] for part in shown],
                y[0, rows],
                np.full(rows.size, 1 / np.sqrt(rows.size)),
            )
            for rows in groups
        ]
        return np.asarray(y[0]), traits

    return draw


def _realised(traits: list[Parts]) -> Variables:
    """Realised PVE of one draw, in the shape of `bayeslmm.inference.pve.add_genetic`."""
    found = [realised_pve(*trait) for trait in traits]
    out: Variables = {}
    for name in found[0]:
        values = np.stack([one[name] for one in found], axis=1)[None]  # (1, 1, traits, ...)
        several = ("trait",) if len(traits) > 1 else ()
        last = ("pve_part",) if name == "pve_share" else ()
        out[name] = (("chain", "draw", *several, *last), values if several else values[:, :, 0])
    return out
