"""The family of a model: the distribution of y, and the scale of h².

Several results hold for a Gaussian phenotype only: PVE over var(y), the restricted likelihood ratio
test, the expected standard error, error contrasts, REML beside the posterior. For a Bernoulli or a
count phenotype the variances are on the scale of the linear predictor η = Xβ + g + ε. The
distribution of the model's ``phenotype`` tells the family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.distributions.variables import operation
from bayeslmm.errors import InputError
from bayeslmm.system.files import PathArg

if TYPE_CHECKING:
    import pymc as pm

    from bayeslmm.cohort.cohort import Cohort

GAUSSIAN = "Gaussian"
OWN = "own distribution"  # a `pm.CustomDist`
OBSERVED = "observed scale"
LIABILITY = "liability scale"
LINEAR = "scale of the linear predictor"
NORMALS = {
    *("normal", "multivariate_normal"),
    *("spectral_normal", "dense_normal", "multi_trait_normal"),
}
PROBIT = ("Erf", "Erfc", "Erfcx")  # operations that compute Φ


@dataclass(frozen=True, slots=True)
class Family:
    """Distribution of the phenotype given the linear predictor, and the scale of h².

    Parameters
    ----------
    name
        "Gaussian", or PyMC's name of the distribution: "Bernoulli", "Poisson", "StudentT", ...;
        "own distribution" for a `pm.CustomDist`.
    scale
        Scale of h² and the variances: "observed scale", "liability scale", "scale of the linear
        predictor", or the ``SCALE`` of the model file.
    """

    name: str = GAUSSIAN
    scale: str = OBSERVED

    @property
    def gaussian(self) -> bool:
        """Whether y is Gaussian, so that y = Xβ + g + ε with all three on the scale of y."""
        return self.name == GAUSSIAN

    @property
    def observed(self) -> bool:
        """Whether h² is on the scale of y."""
        return self.scale == OBSERVED

    @property
    def on_scale(self) -> str:
        """Text to follow "h²": " on the liability scale"; empty on the observed scale."""
        return "" if self.observed else f" on the {self.scale}"

    def record(self) -> dict[str, str]:
        """Return the family as attributes of a fit's tree; inverse of `recorded_family`."""
        return {"family": self.name, "scale": self.scale}


def recorded_family(attrs: Mapping[Any, Any]) -> Family:
    """Return the family recorded in the attributes of a fit; Gaussian by default."""
    name = str(attrs.get("family", GAUSSIAN))
    default = OBSERVED if name == GAUSSIAN else LINEAR
    return Family(name, str(attrs.get("scale", default)))


def family_of(model: pm.Model) -> Family:
    """Return the family of a model: as recorded, else from the distribution of ``phenotype``.

    Parameters
    ----------
    model
        A model that meets the contract of model files (`check_contract`).

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model(coords={"individual": ["a", "b"]}) as model:
    ...     eta = pm.Normal("eta", dims="individual")
    ...     y = pm.Bernoulli("phenotype", pm.math.invprobit(eta), observed=[0, 1])
    >>> family_of(model)
    Family(name='Bernoulli', scale='liability scale')
    """
    known = getattr(model, "provenance", {})
    if "family" in known:
        return recorded_family(known)
    name = _name(operation(model["phenotype"]))
    if name == GAUSSIAN:
        return Family()
    return Family(name, LIABILITY if _is_probit(model) else LINEAR)


def require_gaussian(family: Family, what: str) -> None:
    """Raise `InputError` unless a phenotype is Gaussian.

    Parameters
    ----------
    family
        Family of the model or the fit.
    what
        Subject of the message: "REML and Haseman-Elston estimates".
    """
    if not family.gaussian:
        raise InputError(
            f"{what} for a phenotype of the family {family.name}",
            "a Gaussian phenotype: they hold for y = Xβ + g + ε alone",
            f"use the posterior{family.on_scale} itself",
        )


def file_family(model: pm.Model, scale: object, path: PathArg) -> Family:
    """Return the family of a model, with the scale that its file declares as ``SCALE``.

    Parameters
    ----------
    model
        The model, without a recorded family.
    scale
        The constant ``SCALE`` of the file: "liability", "log", ...; None if it has none.
    path
        Path of the file, for the message.

    Raises
    ------
    InputError
        If `scale` is not text.
    """
    family = family_of(model)
    if scale is None:
        return family
    if not isinstance(scale, str) or not scale.strip():
        raise InputError(
            f"SCALE = {scale!r}",
            "the scale of h² in a word",
            'write SCALE = "liability", or leave it out',
            path=path,
        )
    name = " ".join(scale.split())
    return Family(family.name, name if "scale" in name.split() else f"{name} scale")


def observed_scale_notes(cohort: Cohort, family: Family) -> list[str]:
    """Return a warning for each binary trait of a Gaussian model.

    Its h² is a share of the variance of the codes 0 and 1, not of an underlying liability. Nor does
    a conversion of scales correct for ascertainment: at a prevalence of 1 % and half cases REML
    loses a third of a true h² of 0.5 on the liability scale (Golan, Lander & Rosset 2014, PNAS 111,
    E5272).
    """
    found = []
    for trait, (name, coding) in enumerate(zip(cohort.trait_names, cohort.codings, strict=False)):
        if not (family.gaussian and coding):
            continue
        y = cohort.y if cohort.trait_index is None else cohort.y[cohort.trait_index == trait]
        found.append(
            f"the trait '{name}' is binary, coded {coding} ({np.count_nonzero(y == y.max())} of "
            f"{y.size} have the higher value); it is analysed as a quantitative trait, so h2 is on "
            "the observed scale, not on the liability scale; if cases were sampled more often than "
            "they occur in the population (ascertainment), h2 is biased, and no factor computed "
            "from the prevalence corrects it: use a method for ascertained samples, such as PCGC "
            "regression"
        )
    return found


def _name(op: Any) -> str:
    """Return the name of the distribution of an observed variable."""
    if getattr(op, "name", None) in NORMALS:
        return GAUSSIAN
    name = str(getattr(op, "_print_name", (type(op).__name__,))[0])
    return OWN if name.startswith("CustomDist") else name


def _is_probit(model: pm.Model) -> bool:
    """Return whether the phenotype depends on its parameters through Φ."""
    from pytensor.graph.traversal import ancestors

    behind = ancestors([model["phenotype"]], blockers=model.free_RVs)
    ops = (operation(variable) for variable in behind)
    return any(type(getattr(op, "scalar_op", None)).__name__ in PROBIT for op in ops)
