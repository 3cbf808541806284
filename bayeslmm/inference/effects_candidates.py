"""Random effects of everybody: also of individuals whose kernel is known and whose record is not.

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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pymc as pm
import scipy.linalg

from bayeslmm.distributions.dense_normal import DenseNormalRV
from bayeslmm.distributions.multi_trait_normal import MultiTraitNormalRV
from bayeslmm.distributions.polygenic import kernel_cholesky
from bayeslmm.distributions.spectral_normal import SpectralNormalRV
from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.effects import (
    BLOCK,
    corrected,
    covariance_draws,
    prior_draw,
    solve_records,
)
from bayeslmm.inference.tree import Variables
from bayeslmm.likelihood.candidates import Everybody, everybody, extend, not_the_kernel
from bayeslmm.likelihood.genetic_values_traits import back_to_traits, canonical_problem
from bayeslmm.likelihood.one_kernel_solve import clear_null, kernel_times, spectral_solve
from bayeslmm.likelihood.terms import Term, kernel_term, trait_term
from bayeslmm.numerics.arrays import Codes, Floats
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort

type Effects = dict[str, Floats]

PINV = 1e-10  # eigenvalues of K_oo below this share of the largest count as zero (latent g only)


class Part(NamedTuple):
    """A block of draws: which, and m and d of every effect, each (draws of the block, N)."""

    where: Codes
    mean: Effects
    deviation: Effects


@dataclass(frozen=True, slots=True, eq=False)
class Extended:
    """The random effects of a model, extended to everybody.

    Parameters
    ----------
    model
        The model.
    everyone
        All individuals.
    terms
        With everybody as levels, where their kernel is known.
    residual
        (n,) class of the residual variance of each record; the trait of several; None if a term
        stands for the residual.
    """

    model: pm.Model
    everyone: Everybody
    terms: tuple[Term, ...]
    residual: Codes | None

    def sigmas(self, variables: Variables) -> tuple[list[Floats], Floats]:
        """Draws of Σ_t (draws, k, k) of every term, and of the residual variances (draws, any)."""
        op = self.model["phenotype"].owner.op
        if isinstance(op, DenseNormalRV):
            return op.form.covariance.unpack(covariance_draws(self.model, variables)[0])
        if isinstance(op, MultiTraitNormalRV):
            G, R = covariance_draws(self.model, variables)
            return [G], np.diagonal(R, axis1=1, axis2=2)
        if isinstance(op, SpectralNormalRV):
            variance = covariance_draws(self.model, variables)[0]
        else:
            variance = _flat(variables, "variance")
        return [variance[:, 0, None, None]], variance[:, 1:]

    def draws(
        self, variables: Variables, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[Part]:
        """m and d of every effect at the posterior draws (chain, draw, ...), block by block."""
        op = self.model["phenotype"].owner.op
        if isinstance(op, DenseNormalRV):
            return _dense(self, variables, rng, block)
        if isinstance(op, SpectralNormalRV | MultiTraitNormalRV):
            return _spectral(self, variables, rng, block)
        return _latent(self, variables, rng, block)


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
        By the name of the term; see `bayeslmm.likelihood.candidates.everybody`. `Variants` stand
        for their GRM, "additive".
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
    terms, residual = _base(model, cohort, known)
    for term in terms:
        if term.genetic and term.name not in known:
            raise _missing(term.name, known)
    everyone = everybody(cohort, terms, known, individuals)
    wider = [extend(term, everyone, cohort, known.get(term.name)) for term in terms]
    return Extended(model, everyone, tuple(wider), residual)


def _base(
    model: pm.Model, cohort: Cohort, relationships: Mapping[str, Relationship]
) -> tuple[tuple[Term, ...], Codes | None]:
    op = model["phenotype"].owner.op
    if isinstance(op, DenseNormalRV):
        return op.form.covariance.terms, op.form.covariance.residual
    name = str(model.coords["component"][0]).split(":")[0]
    if name not in relationships:
        raise _missing(name, relationships)
    if isinstance(op, MultiTraitNormalRV):
        term = trait_term(cohort, relationships[name])
        return (replace(term, name=name),), cohort.trait_index
    term = kernel_term(cohort, relationships[name], name)
    if isinstance(op, SpectralNormalRV) and term.kernel is not None:
        v = np.random.default_rng(1).standard_normal(op.spectrum.n)
        expected = kernel_times(op.spectrum, v)
        gap = float(np.linalg.norm(term.kernel @ v - expected))
        if gap > 2e-2 * float(np.linalg.norm(expected)):  # negative eigenvalues were set to zero
            raise not_the_kernel(name)
    return (term,), np.zeros(cohort.n, dtype=np.intp)


def _missing(name: str, relationships: Mapping[str, Relationship]) -> InputError:
    return InputError(
        f"no relationship '{name}' among those given: {', '.join(relationships) or 'none'}",
        "one for every genetic term of the model, by its name",
        "give the one that the model was built with, with everybody in it",
    )


def _flat(variables: Variables, name: str) -> Floats:
    array = np.asarray(variables[name][1])
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def _dense(
    wide: Extended, variables: Variables, rng: np.random.Generator, block: int
) -> Iterator[Part]:
    op = wide.model["phenotype"].owner.op
    form = op.form
    covariance = replace(form.covariance, terms=wide.terms)
    c = covariance_draws(wide.model, variables)[0]
    beta = _flat(variables, "beta")
    roots = [None if t.kernel is None else kernel_cholesky(t.kernel) for t in wide.terms]
    distinct, which = np.unique(c, axis=0, return_inverse=True)
    which = which.ravel()
    order = np.argsort(which, kind="stable")  # equal variances are factorised once
    y = form.unrotate(wide.model["phenotype_rotated"].get_value())
    for start in range(0, len(order), block):
        chosen = order[start : start + block]
        sigmas, residual = covariance.unpack(c[chosen])
        noise = np.zeros((len(chosen), form.n))
        if covariance.residual is not None:
            noise = np.sqrt(residual)[:, covariance.residual] * rng.standard_normal(noise.shape)
        prior = []
        for term, L, S in zip(wide.terms, roots, sigmas, strict=True):
            u = prior_draw(term, L, S, rng)
            prior.append(u)
            for j in range(term.k):
                noise += u[:, j] @ term.incidence(j).T
        right = np.vstack([y - beta[chosen] @ form.design.T, -noise])
        x = solve_records(form, distinct, np.tile(which[chosen], 2), right, op.fast)
        mean: Effects = {}
        deviation: Effects = {}
        for term, u, S in zip(wide.terms, prior, sigmas, strict=True):
            mean |= corrected(term, np.zeros_like(u), S, x[: len(chosen)])
            deviation |= corrected(term, u, S, x[len(chosen) :])
        yield Part(chosen, mean, deviation)


def _spectral(
    wide: Extended, variables: Variables, rng: np.random.Generator, block: int
) -> Iterator[Part]:
    """One kernel, T traits: each canonical trait is a problem of one trait (`canonical_bases`)."""
    term, model = wide.terms[0], wide.model
    spectrum = model["phenotype"].owner.op.spectrum
    kernel = term.kernel
    assert kernel is not None
    own = kernel[:, : spectrum.n] @ spectrum.basis  # (N, n): kernel with the records, rotated
    clear_null(spectrum, own)
    L = kernel_cholesky(kernel)
    first = L[: spectrum.n].T @ spectrum.basis  # (rank, n): to the records, rotated
    rotated = np.ascontiguousarray(model["phenotype_rotated"].get_value())
    rotated = rotated.reshape(spectrum.n, -1)
    beta = _flat(variables, "beta")
    inputs = covariance_draws(model, variables)
    if term.k == 1:
        inputs = [inputs[0][:, 0, None, None], inputs[0][:, 1, None, None]]
    G, R = inputs
    for start in range(0, len(beta), block):
        part = slice(start, min(start + block, len(beta)))
        basis, r, a, b = canonical_problem(rotated, beta[part], G[part], R[part], spectrum, start)
        z = rng.standard_normal((len(r), L.shape[1]))
        noise = np.sqrt(a) * (z @ first) + np.sqrt(b) * rng.standard_normal(r.shape)
        m = a * (spectral_solve(spectrum, r, a, b) @ own.T)
        d = np.sqrt(a) * (z @ L.T) - a * (spectral_solve(spectrum, noise, a, b) @ own.T)
        where = np.arange(part.start, part.stop)
        m, d = back_to_traits(basis, m), back_to_traits(basis, d)
        columns = list(enumerate(term.columns))
        yield Part(where, {c: m[:, j] for j, c in columns}, {c: d[:, j] for j, c in columns})


def _latent(
    wide: Extended, variables: Variables, rng: np.random.Generator, block: int
) -> Iterator[Part]:
    """``g_new | g``, for a model that draws g itself."""
    if "g" not in variables:
        raise ModelError(
            "the posterior holds no genetic values g -> this model has them as parameters, and "
            "they were not kept -> fit(..., genetic_values=True), or a model that integrates them "
            "out (additive)"
        )
    term = wide.terms[0]
    g = _flat(variables, "g")
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
    sd = np.sqrt(_flat(variables, "variance")[:, :1])
    for start in range(0, len(g), block):
        part = slice(start, min(start + block, len(g)))
        m = np.hstack([g[part], g[part] @ B.T])
        d = np.zeros_like(m)
        d[:, n:] = sd[part] * (rng.standard_normal((len(m), len(rest))) @ root.T)
        yield Part(np.arange(part.start, part.stop), {term.name: m}, {term.name: d})
