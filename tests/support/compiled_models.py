"""Models of the gallery as functions of their unconstrained parameters, and points to look at."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from kernel_problems import shares as random_shares
from model_cases import Case
from pytensor.compile.mode import Mode

from bayeslmm.models.gallery import load

PYTHON = Mode(linker="py", optimizer="fast_compile")


class Compiled:
    """A model as functions of its unconstrained parameters, in Python mode, compiled when used.

    `parts` gives log p, the log prior, β, the coefficients of the covariance (and g, if it is a
    parameter), and the gradient; `pull` the gradient of log prior + Σ cotangent · part.
    """

    def __init__(self, model: pm.Model, one: Case) -> None:
        self.model = model
        self.values = model.value_vars
        self.case = one
        self.latent = "g" in model.named_vars

    @cached_property
    def derived(self) -> list[Any]:
        model = self.model
        named = ["beta", *(["g"] if self.latent else []), *self.case.variables]
        found = model.replace_rvs_by_values([model[name] for name in named])
        by_name = dict(zip(named, found, strict=True))
        coefficients = pt.stack(self.case.coefficients(by_name))
        return [by_name["beta"], coefficients, *([by_name["g"]] if self.latent else [])]

    @cached_property
    def _logp(self) -> Any:
        return pytensor.function(self.values, self.model.logp(), mode=PYTHON)

    @cached_property
    def _parts(self) -> Any:
        logp, prior = self.model.logp(), self.model.logp(vars=self.model.free_RVs)
        outputs = [logp, prior, *self.derived, *pt.grad(logp, self.values)]
        return pytensor.function(self.values, outputs, mode=PYTHON)

    @cached_property
    def _pull(self) -> Any:
        cotangents = [pt.dvector() for _ in self.derived]
        prior = self.model.logp(vars=self.model.free_RVs)
        pairs = zip(cotangents, self.derived, strict=True)
        total = prior + sum((c * d).sum() for c, d in pairs)
        inputs = [*self.values, *cotangents]
        return pytensor.function(inputs, pt.grad(total, self.values), mode=PYTHON)

    def logp(self, point: list[Any]) -> float:
        """Log p with all Jacobians."""
        return float(self._logp(*point))

    def parts(self, point: list[Any]) -> tuple[float, float, list[Any], Any]:
        """Log p, log prior, [β, coefficients(, g)], gradient (flat)."""
        logp, prior, *rest = self._parts(*point)
        k = len(self.derived)
        return float(logp), float(prior), rest[:k], flat(rest[k:])

    def pull(self, point: list[Any], cotangents: list[Any]) -> Any:
        """Gradient of the log prior plus the pulled back cotangents (flat)."""
        return flat(self._pull(*point, *(np.asarray(c, dtype=float) for c in cotangents)))

    def points(self, seed: int, count: int) -> list[list[Any]]:
        """Random points, a fifth each at two edges.

        h² of one kernel at 1e-8 and at 1 - 1e-8 (of several traits without a common eigenbasis at
        1e-4, as below); the share of one of several kernels at 1e-8, and those of all of them.
        """
        rng = np.random.default_rng(seed)
        start = self.model.initial_point(1)
        h2 = random_shares(rng, count, 1e-8 if self.case.spectral else 1e-4)
        found = []
        for k in range(count):
            point = {n: v + 0.7 * rng.standard_normal(np.shape(v)) for n, v in start.items()}
            if "h2_logodds__" in point:
                edge = np.log(h2[k]) - np.log1p(-h2[k])
                point["h2_logodds__"] = np.full(np.shape(start["h2_logodds__"]), edge)
            if "share_logratio__" in point:
                u = point["share_logratio__"]
                if k < count // 5:
                    u[k % u.size] = np.log(1e-8)
                elif k < 2 * (count // 5):
                    u += np.log(1e-8)
            found.append([np.asarray(point[v.name], dtype=float) for v in self.values])
        return found


@cache
def compiled(one: Case) -> Compiled:
    """A case's model, compiled once for all tests."""
    return Compiled(load(one.model)(one.cohort, *one.matrices), one)


def flat(arrays: list[Any]) -> Any:
    return np.concatenate([np.ravel(a) for a in arrays])
