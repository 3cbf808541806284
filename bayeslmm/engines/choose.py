"""Which engine serves a model, and why."""

from __future__ import annotations

from typing import Literal

import pymc as pm

from bayeslmm.engines.marginal import why_not_exact
from bayeslmm.errors import InputError, ModelError

type Engine = Literal["auto", "exact", "nuts"]


def choose_engine(model: pm.Model, engine: Engine = "auto") -> tuple[Literal["exact", "nuts"], str]:
    """The engine that `fit` will use, and why.

    Raises
    ------
    InputError
        If there is no such engine.
    ModelError
        If ``engine="exact"`` is asked for and cannot serve the model.
    """
    if engine not in ("auto", "exact", "nuts"):
        raise InputError(f"engine {engine!r}", "auto, exact or nuts", "choose one of them")
    if engine == "nuts":
        return "nuts", "asked for"
    obstacle = why_not_exact(model)
    if obstacle is None:
        reason = "one kernel in spectral form, two variance parameters, normal prior on β"
        return "exact", "asked for" if engine == "exact" else f"auto: {reason}"
    if engine == "exact":
        raise ModelError(f"the exact engine cannot serve this model: {obstacle}. Use engine='nuts'")
    return "nuts", f"auto: not exact, because {obstacle}"
