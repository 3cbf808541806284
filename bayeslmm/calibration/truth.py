"""Draw from the prior predictive of a model: parameters, random effects, y.

    θ ~ p(θ),   u ~ p(u | θ),   y = Xβ + Σ W u + ε

θ is drawn from the PyMC graph. If the phenotype is one of our marginal distributions, u and y are
simulated from the marginal, so that the realised PVE is known; otherwise y is drawn from the graph.
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

from bayeslmm.distributions.phenotype import marginal_of, parameters_of, set_phenotype
from bayeslmm.errors import ModelError
from bayeslmm.inference.compiled import OFTEN
from bayeslmm.inference.tree import Variables, chain_draw, improper_priors
from bayeslmm.likelihood.realised import TraitParts, realised_pve
from bayeslmm.numerics.arrays import Floats

UNITS = ("phenotype_unit", "phenotype_centre")


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """One simulation.

    Parameters
    ----------
    variables
        One draw of θ and of all deterministics, (1, 1, ...) by name.
    y
        (n,) phenotype.
    pve
        One draw of the realised PVE, with the names of `bayeslmm.inference.pve.add_genetic`; empty
        if the random effects are parameters of the model, or unknown.
    """

    variables: Variables
    y: Floats
    pve: Variables


def replace_phenotype(model: pm.Model, y: Floats) -> None:
    """Replace the phenotype of a model, and keep the units of its priors.

    `set_phenotype` would take the units from y, so that the prior of the fit would differ from the
    prior of the truth.
    """
    kept = {name: model[name].get_value() for name in UNITS if name in model.named_vars}
    set_phenotype(model, y)
    pm.set_data(kept, model=model)


def simulator(model: pm.Model) -> Callable[[np.random.SeedSequence], Truth]:
    """Compile a function that draws a truth from a seed.

    Raises
    ------
    ModelError
        If a prior is improper (``flat()``).
    """
    if flat := improper_priors(model):
        raise ModelError(
            f"the prior of {', '.join(flat)} is improper: there is nothing to draw a truth from -> "
            "give every parameter a proper prior"
        )
    phenotype = model["phenotype"]
    named = [*model.free_RVs, *model.deterministics]
    marginal = marginal_of(model)
    outputs = [*named, *(parameters_of(model) if marginal is not None else [phenotype])]
    _freeze(outputs)
    function = compile_graph([], outputs, random_seed=False, mode=OFTEN)
    streams = find_rng_nodes(outputs)

    def draw(seed: np.random.SeedSequence) -> Truth:
        first, second = seed.generate_state(4).tolist(), seed.generate_state(8)[4:].tolist()
        reseed_rngs(streams, first)
        found = [np.array(value, dtype=np.float64) for value in function()]
        values = {rv.name: found[k][None] for k, rv in enumerate(named)}
        variables = chain_draw(model, values, 1)
        if marginal is None:
            return Truth(variables, found[-1], {})
        rng = np.random.default_rng(second)
        y, traits = marginal.simulate(values["beta"][0], found[len(named) :], rng)
        return Truth(variables, y, _realised(traits))

    return draw


def _freeze(outputs: list[Any]) -> None:
    """Make the constants of a graph read-only.

    nutpie does the same when it compiles the model. Functions compiled before that hold writeable
    views of some constants, which NumPy cannot broadcast afterwards.
    """
    for variable in ancestors(outputs):
        if isinstance(variable, Constant) and isinstance(variable.data, np.ndarray):
            variable.data.flags.writeable = False


def _realised(traits: list[TraitParts]) -> Variables:
    """Compute the realised PVE of one draw, shaped as in `bayeslmm.inference.pve.add_genetic`."""
    found = [realised_pve(*trait) for trait in traits]
    out: Variables = {}
    for name in found[0]:
        values = np.stack([one[name] for one in found], axis=1)[None]  # (1, 1, traits, ...)
        several = ("trait",) if len(traits) > 1 else ()
        last = ("pve_part",) if name == "pve_share" else ()
        out[name] = (("chain", "draw", *several, *last), values if several else values[:, :, 0])
    return out
