"""Which models have shares of one total variance, and why others have none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from engine_oracles import Data, gram, sibships, simulated

from bayeslmm.distributions.dense_normal import dense_normal
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.errors import ModelError
from bayeslmm.inference.laplace.share_likelihood import share_likelihood
from bayeslmm.likelihood.decompose import spectrum
from bayeslmm.likelihood.terms import kernel_term
from bayeslmm.priors.fixed_effects import fixed_effects
from bayeslmm.priors.shares import LogRatio, shares
from bayeslmm.priors.variances import component_variances


def custom(weights: list[float], density: Any) -> Any:
    """Shares drawn as e ~ Beta(1, 1) in Dirichlet parts, with a log density of their own."""

    def draw(first: Any, second: Any, weights: Any, size: Any = None) -> Any:
        e = pm.Beta.dist(first, second, size=size)
        w = pm.Dirichlet.dist(weights, size=size)
        return pt.concatenate([e[..., None] * w, (1 - e)[..., None]], axis=-1)

    return pm.CustomDist(
        "share", np.float64(1), np.float64(1), np.array(weights), dist=draw, logp=density,
        dims="component", transform=LogRatio(), signature="(),(),(k)->(l)",
    )  # fmt: skip


def lopsided() -> Any:
    """Parts that are Dirichlet(1, 3): two kernels that are not alike."""

    def density(value: Any, *_: Any) -> Any:
        total = value[..., :-1].sum(axis=-1)
        return np.log(3.0) + 2 * pt.log(value[..., 1]) - 3 * pt.log(total)

    return custom([1.0, 3.0], density)


def other_density() -> Any:
    """One kernel, a share that looks uniform and has the density 2s."""
    return custom([1.0], lambda value, *_: np.log(2.0) + pt.log(value[..., 0]))


def made(kind: str, data: Data) -> pm.Model:
    cohort, kernel = data.cohort(), data.relationship()
    names = ("additive", "again") if kind == "lopsided" else ("additive",)
    with pm.Model(coords=cohort.coords(*names, "residual")) as model:
        beta = fixed_effects(cohort)
        if kind in ("usual", "spectral"):
            variance = component_variances(cohort, genetic=["additive"])
        else:
            if kind == "lopsided":
                share = lopsided()
            elif kind == "log-ratio":
                share = pm.Dirichlet(
                    "share", np.ones(2), dims="component", default_transform=LogRatio()
                )
            elif kind == "other":
                share = other_density()
            elif kind == "dirichlet":
                share = pm.Dirichlet("share", np.ones(2), dims="component")
            else:
                share = shares("share", (1.0, 1.0), 1.0, 1)
            total: Any
            if kind == "bounded":
                total = pm.Uniform("total_sd", 0, 9)
            elif kind == "improper":
                total = pm.HalfFlat("total_sd")
            else:
                total = pm.HalfNormal("total_sd", 3)
            pm.Deterministic("h2", share[:-1].sum())
            scale = total if kind == "sd" else total**2
            variance = pm.Deterministic("variance", share * scale, dims="component")
        if kind == "spectral":
            spectral_normal("phenotype", beta, variance, spectrum=spectrum(cohort, kernel),
                            observed=cohort.y, dims="individual")  # fmt: skip
        else:
            families = replace(kernel, matrix=sibships(data.n), name="again")
            terms = [
                kernel_term(cohort, one, name)
                for one, name in zip((kernel, families), names, strict=False)
            ]
            parts = [variance[k] for k in range(len(names))]
            dense_normal("phenotype", beta, parts, variance[len(names)], terms=terms,
                         design=cohort.X, observed=cohort.y)  # fmt: skip
    return model


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("spectral", "the phenotype is a spectral_normal, not a dense_normal of one trait"),
        ("dirichlet", "the shares or the total standard deviation have priors of another kind"),
        ("bounded", "the shares or the total standard deviation have priors of another kind"),
        ("lopsided", "the prior of the shares is not Beta times symmetric Dirichlet"),
        ("log-ratio", "the prior of the shares is not Beta times symmetric Dirichlet"),
        ("other", "the prior of the shares is not Beta times symmetric Dirichlet"),
        ("improper", "the prior of total_sd is improper"),
        ("sd", "the variances are not shares of the total variance"),
    ],
)
def test_a_model_without_such_shares_is_told_why(kind: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        share_likelihood(made(kind, simulated(20, 2, 0.5, seed=81)))


def test_what_is_read_off_the_graph_and_where_there_is_no_density() -> None:
    K = gram(20, 2, np.random.default_rng(82))  # of rank two: no V without a residual
    found = share_likelihood(made("usual", simulated(20, 2, 0.5, seed=81, K=K)))
    assert (found.components, found.genetic) == (("additive",), (True,))
    assert (found.explained, found.concentration) == ((1.0, 1.0), 1.0)
    assert not found.flat_effects
    assert not found.expensive
    assert found.log_density(np.array([1.0, 1e-300])) == -np.inf
    assert np.isfinite(found.log_density(np.array([0.5, 0.5])))
