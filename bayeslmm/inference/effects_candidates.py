"""Random effects of all candidates, also of individuals in a kernel without a record.

The terms of a model are extended from the individuals with records to all N in the relationships.
Given β and the (co)variances, with x = V⁻¹(y - Xβ) and a draw (u*, ε*) from the prior::

    u = m + d     m = A Σ_l Σ[j, l] W_lᵀ x     d = u* - A Σ_l Σ[j, l] W_lᵀ V⁻¹ (Σ W u* + ε*)

m = E[u | y, β, Σ]; d has mean zero and does not depend on y. A is the kernel of all N individuals
and u* is drawn for all N jointly. So only V is inverted, and singular kernels need no
regularisation. This equals ``u_new | u_old ~ N(K_no K_oo⁺ u_old, σ²(K_nn - K_no K_oo⁺ K_on))``,
because y depends on u_old only.
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
    missing_relationship_error,
)
from bayeslmm.likelihood.explained import Sums, dense_explained
from bayeslmm.likelihood.marginal import BLOCK, Prediction
from bayeslmm.likelihood.terms import Covariance, Term, kernel_term
from bayeslmm.numerics.arrays import Codes, Floats
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort

PINV = 1e-10  # relative size of eigenvalues of K_oo that count as zero (latent g only)


@dataclass(frozen=True, slots=True, eq=False)
class ExtendedEffects:
    """The random effects of a model, extended to all candidates.

    Parameters
    ----------
    model
        The model.
    candidates
        All individuals.
    terms
        The terms, with all candidates as levels if their kernel is known.
    residual
        Residual variance class (n,) of each record, with several traits the trait; None if the
        residual is a term.
    """

    model: pm.Model
    candidates: Candidates
    terms: tuple[Term, ...]
    residual: Codes | None

    def sigmas(self, variables: Variables) -> tuple[list[Floats], Floats]:
        """Return draws of Σ_t (draws, k, k) by term and of residual variances (draws, any)."""
        marginal = marginal_of(self.model)
        if marginal is not None:
            return marginal.sigmas(covariance_draws(self.model, variables))
        variance = flat(variables, "variance")
        return [variance[:, 0, None, None]], variance[:, 1:]

    def draws(
        self, variables: Variables, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[Prediction]:
        """Yield m and d of every effect at the posterior draws (chain, draw, ...), by blocks."""
        marginal = marginal_of(self.model)
        if marginal is None:
            return _latent(self, variables, rng, block)
        y, beta = observed_phenotype(self.model), flat(variables, "beta")
        c = covariance_draws(self.model, variables)
        return marginal.predict(y, beta, c, self.terms, rng, block)

    def explained(
        self, variables: Variables, chosen: Codes, sums: Sums, X: Floats
    ) -> Iterator[dict[str, Floats]]:
        """Yield the variance (N,) of sums of effects that the records explain, at chosen draws."""
        marginal = marginal_of(self.model)
        if marginal is not None:
            c = [x[chosen] for x in covariance_draws(self.model, variables)]
            return marginal.explained(c, self.terms, sums)
        variance = flat(variables, "variance")[chosen]
        return dense_explained(Covariance(self.terms, self.residual), X, variance, sums)


def extend_effects(
    model: pm.Model,
    cohort: Cohort,
    relationships: Mapping[str, Relationship | Variants],
    individuals: pd.MultiIndex | None = None,
) -> ExtendedEffects:
    """Extend the random effects of a model to all individuals in its relationships.

    Parameters
    ----------
    model
        Model of the cohort.
    cohort
        The records.
    relationships
        Relationships by the name of the term, see `bayeslmm.likelihood.candidates`; `Variants`
        represent their GRM, "additive".
    individuals
        Individuals to add to those with records; default all.

    Raises
    ------
    InputError
        If a genetic term has no relationship, or another than the model's.
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
            raise missing_relationship_error(name, known)
        terms: tuple[Term, ...] = (kernel_term(cohort, known[name], name),)
        residual: Codes | None = np.zeros(cohort.n, dtype=np.intp)
    else:
        terms, residual = marginal.terms(cohort, known)
    for term in terms:
        if term.genetic and term.name not in known:
            raise missing_relationship_error(term.name, known)
    candidates = find_candidates(cohort, terms, known, individuals)
    wider = [extend(term, candidates, cohort, known.get(term.name)) for term in terms]
    return ExtendedEffects(model, candidates, tuple(wider), residual)


def _latent(
    wide: ExtendedEffects, variables: Variables, rng: np.random.Generator, block: int
) -> Iterator[Prediction]:
    """Draw ``g_new | g``, for a model with g as a parameter."""
    if "g" not in variables:
        raise ModelError(
            "the posterior has no genetic values g -> this model has them as parameters, and they "
            "were not stored -> fit(..., genetic_values=True), or a model that integrates them out "
            "(additive)"
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
