"""Model files of a user, written for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine_oracles import (
    Data,
)

from bayeslmm import models

OWN = '''"""A user's model."""
import pymc as pm
import pytensor.tensor as pt
from bayeslmm.modelling import fixed_effects
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.likelihood.decompose import spectrum


def build(cohort, additive):
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        beta = fixed_effects(cohort, BETA)
        VARIANCES
        pm.Deterministic("variance", pt.stack([u, e]), dims="component")
        spectral_normal("phenotype", beta, model["variance"], spectrum=spectrum(cohort, additive),
                        observed=cohort.y, dims="individual")
    return model
'''


def own_model(folder: Path, variances: str, data: Data, beta: str = '"normal(0, 10)"') -> Any:
    lines = variances.strip().replace("\n", "\n        ")
    path = folder / "mine.py"
    path.write_text(OWN.replace("BETA", beta).replace("VARIANCES", lines))
    return models.load(path)(data.cohort(), data.relationship())
