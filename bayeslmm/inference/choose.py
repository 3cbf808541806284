"""Choose the engine for a model."""

from __future__ import annotations

import pymc as pm

from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.engine import Engine
from bayeslmm.inference.engines import ENGINES


def choose_engine(model: pm.Model, engine: str = "auto") -> tuple[Engine, str]:
    """Return the engine that `fit` will use, and the reason.

    "auto" selects the first of `bayeslmm.inference.engines.ENGINES` that supports the model.

    Raises
    ------
    InputError
        If there is no such engine.
    ModelError
        If the requested engine does not support the model.
    """
    names = [one.name for one in ENGINES]
    if engine not in ("auto", *names):
        listed = f"auto, {', '.join(names[:-1])} or {names[-1]}"
        raise InputError(f"engine {engine!r}", listed, "choose one of them")
    obstacles: list[str] = []
    for one in ENGINES:
        if engine not in ("auto", one.name):
            continue
        obstacle = one.why_not(model)
        if obstacle is None:
            reasons = [one.serves, *obstacles] if one.serves else obstacles
            return one, "asked for" if engine != "auto" else f"auto: {'; '.join(reasons)}"
        if engine == one.name:
            other = next(other for other in ENGINES if other.why_not(model) is None)
            advice = f"Use engine='{other.name}'"
            raise ModelError(f"the {engine} engine cannot serve this model: {obstacle}. {advice}")
        obstacles.append(f"not {one.name}, because {obstacle}")
    raise ModelError(f"no engine serves this model: {'; '.join(obstacles)}")
