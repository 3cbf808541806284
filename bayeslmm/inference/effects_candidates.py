"""Random effects of all candidates: also of individuals with a kernel and without a record.

The terms of a model are extended from the people who have records to all N of the relationships.
Given β and the (co)variances, with x = V⁻¹(y - Xβ) and a draw (u*, ε*) from the prior::

    u = m + d     m = A Σ_l Σ[j, l] W_lᵀ x     d = u* - A Σ_l Σ[j, l] W_lᵀ V⁻¹ (Σ W u* + ε*)

m = E[u | y, β, Σ]; d has mean zero and does not depend on y. A is the kernel of all N and u* is
drawn for all N at once, so that nothing is inverted but V, and singular kernels need no cut-off.
It is the same as ``u_new | u_old ~ N(K_no K_oo⁺ u_old, σ²(K_nn - K_no K_oo⁺ K_on))``, because y
depends on u_old alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pymc as pm
import scipy.linalg

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.errors import ModelError
from bayeslmm.inference.effects import covariance_draws, flat
from bayeslmm.inference.tree import Variables
from bayeslmm.likelihood.candidates import (
    Candidates,
    extend,
    find_candidates,
    missing_relationship,
)
from bayeslmm.likelihood.marginal import BLOCK, Prediction
from bayeslmm.likelihood.terms import Term, kernel_term
from bayeslmm.numerics.arrays import Codes, Floats
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort

PINV = 1e-10  # eigenvalues of K_oo below this share of the largest count as zero (latent g only)


@dataclass(frozen=True, slots=True, eq=False)
class Extended:
    """The random effects of a model, extended to all candidates.

    Parameters
    ----------
    model
        The model.
    everyone
        All individuals.
    terms
        With all candidates as levels, where their kernel is known.
    residual
        (n,) class of the residual variance of each record; the trait of several; None if a term
        stands for the residual.
    """

    model: pm.Model
    everyone: Candidates
    terms: tuple[Term, ...]
    residual: Codes | None

    def sigmas(self, variables: Variables) -> tuple[list[Floats], Floats]:
        """Draws of Σ_t (draws, k, k) of every term, and of the residual variances (draws, any)."""
        marginal = marginal_of(self.model)
        if marginal is not None:
            return marginal.sigmas(covariance_draws(self.model, variables))
        variance = flat(variables, "variance")
        return [variance[:, 0, None, None]], variance[:, 1:]

    def draws(
        self, variables: Variables, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[Prediction]:
        """m and d of every effect at the posterior draws (chain, draw, ...), block by block."""
        marginal = marginal_of(self.model)
        if marginal is None:
            return _latent(self, variables, rng, block)
        y, beta = observed_phenotype(self.model), flat(variables, "beta")
        c = covariance_draws(self.model, variables)
        return marginal.predict(y, beta, c, self.terms, rng, block)


def extended(
    model: pm.Model,
    cohort: Cohort,
    relationships: Mapping[str, Relationship | Variants],
    individuals: pd.MultiIndex | None = None,
) -> Extended:
    """Extend the random effects of a model to everybody whom its relationships know.

    Parameters
    ----------
    model
        Built for the cohort.
    cohort
        The records.
    relationships
        By the name of the term, see `bayeslmm.likelihood.candidates`; `Variants` stand for their
        GRM, "additive".
    individuals
        Whom to add to the people of the records; default everybody.

    Raises
    ------
    InputError
        A genetic term without its relationship; one that is not the model's.
    """
    known: dict[str, Relationship] = {}
    for name, one in relationships.items():
        if isinstance(one, Variants):
            known["additive"] = one.relationship()
        else:
            known[name] = one
    marginal = marginal_of(model)
    if marginal is None:
        name = str(model.coords["component"][0]).split(":")[0]
        if name not in known:
            raise missing_relationship(name, known)
        terms: tuple[Term, ...] = (kernel_term(cohort, known[name], name),)
        residual: Codes | None = np.zeros(cohort.n, dtype=np.intp)
    else:
        terms, residual = marginal.terms(cohort, known)
    for term in terms:
        if term.genetic and term.name not in known:
            raise missing_relationship(term.name, known)
    everyone = find_candidates(cohort, terms, known, individuals)
    wider = [extend(term, everyone, cohort, known.get(term.name)) for term in terms]
    return Extended(model, everyone, tuple(wider), residual)


def _latent(
    wide: Extended, variables: Variables, rng: np.random.Generator, block: int
) -> Iterator[Prediction]:
    """``g_new | g``, for a model that draws g itself."""
    if "g" not in variables:
        raise ModelError(
            "the posterior holds no genetic values g -> this model has them as parameters, and "
            "they were not kept -> fit(..., genetic_values=True), or a model that integrates them "
            "out (additive)"
        )
    term = wide.terms[0]
    g = flat(variables, "g")
    n = g.shape[1]
    kernel = term.kernel
    assert kernel is not None
    values, vectors = scipy.linalg.eigh(kernel[:n, :n])
    kept = values > PINV * values[-1]
    half = kernel[n:, :n] @ vectors[:, kept]
    B = (half / values[kept]) @ vectors[:, kept].T  # K_no K_oo⁺
    rest = kernel[n:, n:] - (half / values[kept]) @ half.T
    scale, root = np.linalg.eigh(0.5 * (rest + rest.T))
    root = root * np.sqrt(np.maximum(scale, 0.0))
    sd = np.sqrt(flat(variables, "variance")[:, :1])
    for start in range(0, len(g), block):
        part = slice(start, min(start + block, len(g)))
        m = np.hstack([g[part], g[part] @ B.T])
        d = np.zeros_like(m)
        d[:, n:] = sd[part] * (rng.standard_normal((len(m), len(rest))) @ root.T)
        yield Prediction(np.arange(part.start, part.stop), {term.name: m}, {term.name: d})
