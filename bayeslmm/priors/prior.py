"""Priors by name and parameters: parse, describe, and make PyMC variables.

A prior on a standard deviation, a variance or an effect counts in units of sd(y | X), the residual
standard deviation of ordinary least squares on the covariates. A prior on a share (h²) has no unit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayeslmm.errors import InputError

_FORM = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(?:\(\s*([^()]*?)\s*\))?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Prior:
    """A prior distribution by name and parameters, for instance ``Prior("beta", (1, 1))``.

    Parameters
    ----------
    family
        One of `FAMILIES`: beta, uniform, half_t, half_normal, half_cauchy, exponential, gamma,
        inverse_gamma, lognormal, normal, dirichlet, flat.
    parameters
        Its parameters; scales, rates and shapes are positive.

    Raises
    ------
    InputError
        If the family is unknown, or a parameter is absent or out of range.
    """

    family: str
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        family = FAMILIES.get(self.family)
        if family is None:
            raise InputError(
                f"prior family {self.family!r}",
                "one of " + ", ".join(sorted(FAMILIES)),
                "for instance h2=beta(1,1) or total_sd=half_t(3, 2.5)",
            )
        if len(self.parameters) != len(family.parameters):
            raise InputError(
                f"prior {self} has {len(self.parameters)} parameters",
                f"{self.family}({', '.join(family.parameters)})",
                "give each parameter",
            )
        for name, value in zip(family.parameters, self.parameters, strict=True):
            free = name in ("mean", "mu", "lower", "upper")
            if not math.isfinite(value) or (not free and value <= 0):
                rule = "a finite number" if free else "a positive, finite number"
                raise InputError(f"{name} = {value:g} in prior {self}", rule, "change it")
        if self.family == "uniform" and self.parameters[0] >= self.parameters[1]:
            raise InputError(f"prior {self}", "lower < upper", "swap the bounds")

    def __str__(self) -> str:
        return f"{self.family}({', '.join(f'{value:g}' for value in self.parameters)})"

    @classmethod
    def parse(cls, text: str | Prior) -> Prior:
        """Parse text such as ``"half_t(3, 2.5)"``; a `Prior` is returned unchanged.

        Examples
        --------
        >>> Prior.parse("beta(1, 1)")
        Prior(family='beta', parameters=(1.0, 1.0))
        """
        if isinstance(text, Prior):
            return text
        match = _FORM.fullmatch(text)
        if match is None:
            raise InputError(f"prior {text!r}", "family(number, ...)", "for instance beta(1,1)")
        numbers = match[2].split(",") if match[2] else []
        try:
            values = tuple(float(part) for part in numbers)
        except ValueError:
            raise InputError(
                f"prior {text!r}", "numbers between the brackets", "for instance beta(1,1)"
            ) from None
        return cls(match[1], values)

    def words(self, unit: str = "") -> str:
        """Describe the prior; `unit` names the unit of its scale."""
        return FAMILIES[self.family].describe(*self.parameters) + (
            f", in units of {unit}" * bool(unit)
        )

    def variable(self, name: str, *, unit: Any = 1.0, dims: str | None = None) -> Any:
        """Register the PyMC variable; `unit` multiplies its scale."""
        import pymc as pm

        build = FAMILIES[self.family].variable
        double = map(np.float64, self.parameters)  # PyTensor takes a plain 2.5 as float32
        return build(pm, name, unit, *double, **({"dims": dims} if dims else {}))


@dataclass(frozen=True, slots=True)
class Family:
    """One family of priors: its parameters, description and PyMC variable."""

    parameters: tuple[str, ...]
    describe: Callable[..., str]
    variable: Callable[..., Any]
    support: str  # "unit", "positive", "real" or "simplex"


def _no_scalar(name: str) -> Any:
    """Raise `InputError`, because a Dirichlet is a prior of several shares at once."""
    raise InputError(
        f"prior {name}=dirichlet(...)", "a prior of one quantity", "a Dirichlet only for parts"
    )


FAMILIES: dict[str, Family] = {
    "beta": Family(
        ("a", "b"),
        lambda a, b: "uniform between 0 and 1" if a == b == 1 else f"Beta({a:g}, {b:g})",
        lambda pm, name, unit, a, b, **kw: pm.Beta(name, a, b, **kw),
        "unit",
    ),
    "uniform": Family(
        ("lower", "upper"),
        lambda a, b: f"uniform between {a:g} and {b:g}",
        lambda pm, name, unit, a, b, **kw: pm.Uniform(name, a * unit, b * unit, **kw),
        "positive",
    ),
    "half_t": Family(
        ("nu", "scale"),
        lambda nu, s: f"half-t with {nu:g} degrees of freedom and scale {s:g}",
        lambda pm, name, unit, nu, s, **kw: pm.HalfStudentT(name, nu=nu, sigma=s * unit, **kw),
        "positive",
    ),
    "half_normal": Family(
        ("scale",),
        lambda s: f"half-normal with scale {s:g}",
        lambda pm, name, unit, s, **kw: pm.HalfNormal(name, sigma=s * unit, **kw),
        "positive",
    ),
    "half_cauchy": Family(
        ("scale",),
        lambda s: f"half-Cauchy with scale {s:g}",
        lambda pm, name, unit, s, **kw: pm.HalfCauchy(name, beta=s * unit, **kw),
        "positive",
    ),
    "exponential": Family(
        ("mean_scale",),
        lambda s: f"exponential with mean {s:g}",
        lambda pm, name, unit, s, **kw: pm.Exponential(name, scale=s * unit, **kw),
        "positive",
    ),
    "gamma": Family(
        ("shape", "rate"),
        lambda a, r: f"gamma with shape {a:g} and rate {r:g}",
        lambda pm, name, unit, a, r, **kw: pm.Gamma(name, alpha=a, beta=r / unit, **kw),
        "positive",
    ),
    "inverse_gamma": Family(
        ("shape", "scale"),
        lambda a, s: f"inverse gamma with shape {a:g} and scale {s:g}",
        lambda pm, name, unit, a, s, **kw: pm.InverseGamma(name, alpha=a, beta=s * unit, **kw),
        "positive",
    ),
    "lognormal": Family(
        ("mu", "sigma"),
        lambda m, s: f"log-normal with median {math.exp(m):g} and log-scale sd {s:g}",
        lambda pm, name, unit, m, s, **kw: pm.LogNormal(
            name, mu=m + pm.math.log(unit), sigma=s, **kw
        ),
        "positive",
    ),
    "normal": Family(
        ("mean", "sd"),
        lambda m, s: f"normal with mean {m:g} and sd {s:g}",
        lambda pm, name, unit, m, s, **kw: pm.Normal(name, mu=m * unit, sigma=s * unit, **kw),
        "real",
    ),
    "dirichlet": Family(
        ("concentration",),
        lambda a: "uniform on the simplex" if a == 1 else f"Dirichlet with concentration {a:g}",
        lambda pm, name, *_, **__: _no_scalar(name),
        "simplex",
    ),
    "flat": Family(
        (),
        lambda: "flat (improper)",
        lambda pm, name, unit, **kw: pm.Flat(name, **kw),
        "real",
    ),
}


def require_support(name: str, prior: Prior, support: str) -> Prior:
    """Return the prior; raise `InputError` unless it fits a share, a scale or an effect."""
    a_share = prior.family == "uniform" and 0 <= prior.parameters[0] < prior.parameters[1] <= 1
    a_scale = prior.family == "uniform" and prior.parameters[0] >= 0
    family = FAMILIES[prior.family].support
    fits = {
        "unit": family == "unit" or a_share,
        "positive": family == "positive" and (prior.family != "uniform" or a_scale),
        "real": family == "real",
        "simplex": family == "simplex",
    }[support]
    if not fits:
        ranges = {
            "unit": "between 0 and 1",
            "positive": "on positive numbers",
            "real": "on reals",
            "simplex": "on shares that sum to one",
        }
        examples = {
            "unit": "beta(1,1)",
            "positive": "half_t(3, 2.5)",
            "real": "normal(0, 10)",
            "simplex": "dirichlet(1)",
        }
        raise InputError(
            f"prior {name}={prior}", f"a distribution {ranges[support]}", f"try {examples[support]}"
        )
    return prior
