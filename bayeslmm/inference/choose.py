"""Which engine serves a model, and why."""

from __future__ import annotations

from typing import Literal

import pymc as pm

from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.exact.marginal import why_not_exact
from bayeslmm.inference.laplace.hyper import why_not_laplace

type Engine = Literal["auto", "exact", "laplace", "nuts"]
type Chosen = Literal["exact", "laplace", "nuts"]

EXACT = "one kernel in spectral form, two variance parameters, normal prior on β"
LAPLACE = "few hyperparameters, normal prior on β, random effects integrated out"


def choose_engine(model: pm.Model, engine: Engine = "auto") -> tuple[Chosen, str]:
    """The engine that `fit` will use, and why.

    "auto" takes the exact engine where it serves the model, else the Laplace engine, else NUTS.

    Raises
    ------
    InputError
        If there is no such engine.
    ModelError
        If an engine is asked for that cannot serve the model.
    """
    if engine not in ("auto", "exact", "laplace", "nuts"):
        raise InputError(f"engine {engine!r}", "auto, exact, laplace or nuts", "choose one of them")
    if engine == "nuts":
        return "nuts", "asked for"
    if engine == "laplace":
        if (obstacle := why_not_laplace(model)) is not None:
            raise ModelError(
                f"the Laplace engine cannot serve this model: {obstacle}. Use engine='nuts'"
            )
        return "laplace", "asked for"
    obstacle = why_not_exact(model)
    if obstacle is None:
        return "exact", "asked for" if engine == "exact" else f"auto: {EXACT}"
    if engine == "exact":
        other = "laplace" if why_not_laplace(model) is None else "nuts"
        raise ModelError(
            f"the exact engine cannot serve this model: {obstacle}. Use engine='{other}'"
        )
    further = why_not_laplace(model)
    if further is None:
        return "laplace", f"auto: {LAPLACE}; not exact, because {obstacle}"
    return "nuts", f"auto: not exact, because {obstacle}; not laplace, because {further}"
