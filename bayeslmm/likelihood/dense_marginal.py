"""The marginal density for any terms, with a Cholesky factorisation of V at every evaluation.

    y | β, c ~ N(Xβ, Σ_t Σ_ij Σ_t[i, j] W_ti A_t W_tjᵀ + diag(σ²_e))

Implements the verbs of `bayeslmm.likelihood.marginal`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.likelihood.blocks_dense import DenseBlocks
from bayeslmm.likelihood.contrasts import DenseContrasts
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.dense import (
    DenseForm,
    beta_quadratic,
    dense_form,
    dense_logp,
    marginal_gradient,
)
from bayeslmm.likelihood.dense_effects import condition, draw_effects, simulate
from bayeslmm.likelihood.explained import Sums, dense_explained
from bayeslmm.likelihood.fixed_effects import BetaQuadratic
from bayeslmm.likelihood.marginal import (
    BLOCK,
    Effects,
    Gradient,
    Parameters,
    Prediction,
    Quadratic,
)
from bayeslmm.likelihood.pivoted import kernel_cholesky
from bayeslmm.likelihood.realised import Realised, TraitParts
from bayeslmm.likelihood.terms import Covariance, Term
from bayeslmm.numerics import lapack
from bayeslmm.numerics.arrays import Codes, Floats
from bayeslmm.numerics.executor import run
from bayeslmm.system.memory import available_cores

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.likelihood.blocks import Blocks, Conditionals
    from bayeslmm.likelihood.spectrum import Spectrum
    from bayeslmm.relationship.relationship import Relationship

ZERO = 1e-10  # relative size up to which entries of a trait's design are zero
FEWEST = 10  # smallest number of error contrasts for an estimate
LARGE = 200  # smallest number of records at which an evaluation is worth a thread


@dataclass(frozen=True, eq=False)
class DenseMarginal:
    """Marginal normal density of records with any terms of random effects.

    Parameters
    ----------
    form
        The matrices of the covariance and the design, rotated.
    empty_classes
        Number of residual classes without records after `subset`; their variances have no effect.
    """

    form: DenseForm
    empty_classes: int = field(default=0)

    name = "dense_normal"
    spectrum = None
    compiled = None
    signature = "(p),(c)->(n)"

    @property
    def covariance(self) -> Covariance:
        """V(c) as a sum of known matrices."""
        return self.form.covariance

    @property
    def n(self) -> int:
        """Number of records."""
        return self.form.n

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return self.form.p

    @property
    def design(self) -> Floats:
        """X (n, p)."""
        return self.form.design

    @property
    def trait_index(self) -> Codes:
        """The trait of every record (n,); zeros unless the residual is a term."""
        if self.covariance.residual is not None:
            return np.zeros(self.n, dtype=np.intp)
        return np.asarray(np.argmax(self.covariance.terms[0].weights, axis=1), dtype=np.intp)

    @property
    def traits(self) -> int:
        """Number of traits."""
        return int(self.trait_index.max()) + 1

    @property
    def effect_groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of the effects of each term, which share a covariance matrix."""
        return tuple(tuple(term.columns) for term in self.covariance.terms)

    @property
    def effect_names(self) -> tuple[str, ...]:
        """Names of all effects."""
        return tuple(name for group in self.effect_groups for name in group)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of the random parts: one for every effect; with several traits also residuals."""
        return ("random",) if self.covariance.residual is None else self.effect_names

    @property
    def expensive(self) -> bool:
        """Whether an evaluation is worth a thread."""
        return self.n > LARGE

    def rotate(self, y: Floats) -> Floats:
        """Compute ``Wᵀy`` (n,)."""
        return self.form.rotate(y)

    def logp_gradient(self, rotated: Floats, beta: Floats, *c: Floats) -> tuple[Any, ...]:
        """Compute log p(y | β, c) and its gradients from one factorisation."""
        return dense_logp(self.form, rotated, beta, c[0])

    def quadratic(self, y: Floats) -> Quadratic:
        """Return ``c → log p(y | β, c)`` as a quadratic in β."""
        rotated, size = self.rotate(y), self.covariance.size

        def at(c: Parameters) -> BetaQuadratic | None:
            return beta_quadratic(self.form, rotated, np.ascontiguousarray(c[0][:size]))

        return at

    def gradient(self, y: Floats) -> Gradient | None:
        """Return ``(c, mean, factor) → log p(y | c)`` with its gradient."""
        rotated, size = self.rotate(y), self.covariance.size

        def at(c: Parameters, mean: Floats, factor: Floats | None) -> tuple[float, list[Floats]]:
            value, slope = marginal_gradient(self.form, rotated, mean, factor, c[0][:size])
            return value, [np.concatenate([slope, np.zeros(self.empty_classes)])]

        return at

    def solve(self, c: Parameters, r: Floats) -> Floats:
        """Compute ``V(c)⁻¹ r`` for rows r (draws, n); factorise equal c once."""
        distinct, which = np.unique(c[0], axis=0, return_inverse=True)
        which = which.ravel()
        rotated = np.ascontiguousarray(r @ self.form.basis)
        groups = [np.flatnonzero(which == one) for one in range(len(distinct))]

        def solve(rows: Codes) -> None:
            L = self.form.factor(distinct[which[rows[0]]])
            if L is None:
                raise np.linalg.LinAlgError("the covariance of a posterior draw is not definite")
            part = np.ascontiguousarray(rotated[rows])
            lapack.solve_lower(L, part)
            lapack.solve_lower(L, part, transpose=True)
            rotated[rows] = part

        run(solve, groups, available_cores() if self.expensive else 1)
        return np.asarray(rotated @ self.form.basis.T)

    def random_effects(
        self, y: Floats, beta: Floats, c: Parameters, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[tuple[Codes, Effects]]:
        """Draw the effects of every term at its levels."""
        covariance, X = self.covariance, self.design
        return draw_effects(covariance, self.solve, y, X, beta, c[0], rng, block)

    def realised(
        self, y: Floats, beta: Floats, c: Parameters, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[Realised]:
        """Draw the contributions of the effects to the records."""
        terms, X = self.covariance.terms, self.design
        incidence = {x: term.incidence(j) for term in terms for j, x in enumerate(term.columns)}
        genetic = [name for term in terms if term.genetic for name in term.columns]
        groups = [np.flatnonzero(self.trait_index == t) for t in range(self.traits)]
        for where, effects in self.random_effects(y, beta, c, rng, block):
            parts = {name: np.asarray(u @ incidence[name].T) for name, u in effects.items()}
            g = sum((parts[name] for name in genetic), np.zeros((len(where), y.size)))
            fixed = beta[where] @ X.T
            shown = [g] if self.covariance.residual is None else list(parts.values())
            traits = [
                TraitParts(
                    fixed[:, rows],
                    [part[:, rows] for part in shown],
                    y[rows],
                    np.full(rows.size, 1 / np.sqrt(rows.size)),
                )
                for rows in groups
            ]
            yield Realised(where, traits, partial(np.asarray, g))

    def genetic_mean(self, y: Floats, beta: Floats, c: Parameters) -> list[Floats]:
        """Compute E[g | y, β, c], (draws, records) for each trait."""
        x = self.solve(c, y - beta @ self.design.T)
        sigmas, _ = self.sigmas(c)
        g = np.zeros_like(x)
        for term, S in zip(self.covariance.terms, sigmas, strict=True):
            if term.genetic:
                effects = condition(term, np.zeros((len(x), term.k, term.q)), S, x)
                for j, name in enumerate(term.columns):
                    g += effects[name] @ term.incidence(j).T
        return [g[:, self.trait_index == t] for t in range(self.traits)]

    def simulate(
        self, beta: Floats, c: Parameters, rng: np.random.Generator
    ) -> tuple[Floats, list[TraitParts]]:
        """Simulate y (n,) effect by effect."""
        return simulate(
            self.covariance, self._roots, self.design, self.trait_index, beta, c[0], rng
        )

    @cached_property
    def _roots(self) -> list[Floats | None]:
        kernels = [term.kernel for term in self.covariance.terms]
        return [None if K is None else kernel_cholesky(K) for K in kernels]

    def sigmas(self, c: Parameters) -> tuple[list[Floats], Floats]:
        """Return Σ_t of every term and the residual variances."""
        return self.covariance.unpack(c[0])

    def terms(
        self, cohort: Cohort, relationships: Mapping[str, Relationship]
    ) -> tuple[tuple[Term, ...], Codes | None]:
        """Return the terms of the covariance and the residual classes."""
        return self.covariance.terms, self.covariance.residual

    def predict(
        self,
        y: Floats,
        beta: Floats,
        c: Parameters,
        terms: Sequence[Term],
        rng: np.random.Generator,
        block: int = BLOCK,
    ) -> Iterator[Prediction]:
        """Draw the effects of extended terms, with mean and deviation separate."""
        wide = replace(self.covariance, terms=tuple(terms))
        X = self.design
        return draw_effects(wide, self.solve, y, X, beta, c[0], rng, block, separate=True)

    def explained(
        self, c: Parameters, terms: Sequence[Term], sums: Sums
    ) -> Iterator[dict[str, Floats]]:
        """Yield the variance (levels,) of sums of effects that the records explain, by draw."""
        wide = replace(self.covariance, terms=tuple(terms))
        return dense_explained(wide, self.design, c[0], sums)

    complete = False

    def in_own_basis(self, y: Floats, *traits: int) -> tuple[Spectrum, Floats] | None:
        """Decompose the kernel among the individuals with all of the traits."""
        first, *others = self.covariance.terms
        kernel, people = first.kernel, first.levels[:, 0]
        once = len(np.unique(self.trait_index * first.q + people)) == self.n
        plain = first.genetic and [term.kernel is None for term in others] == [True]
        if kernel is None or self.covariance.residual is not None or not (plain and once):
            return None
        rows = [np.flatnonzero(self.trait_index == t) for t in traits]
        common = people[rows[0]]
        for one in rows[1:]:
            common = np.intersect1d(common, people[one])
        rows = [one[np.isin(people[one], common)] for one in rows]
        rows = [one[np.argsort(people[one], kind="stable")] for one in rows]
        X = self.design
        size = np.abs(X).max(axis=0)
        designs = [X[one] for one in rows]
        designs = [D[:, np.abs(D).max(axis=0, initial=0.0) > ZERO * size] for D in designs]
        own = np.ascontiguousarray(designs[0])
        if len(own) < own.shape[1] + FEWEST or any(
            own.shape != other.shape or not np.allclose(own, other, rtol=0, atol=1e-9)
            for other in designs[1:]
        ):
            return None
        where = people[rows[0]]
        spectrum = decompose(np.ascontiguousarray(kernel[np.ix_(where, where)]), own)
        return spectrum, spectrum.rotate(np.stack([y[one] for one in rows], axis=1))

    def contrasts(self, y: Floats) -> DenseContrasts | None:
        """Return the error contrasts of one trait."""
        return None if self.covariance.residual is None else DenseContrasts(self.form, y)

    def conditionals(
        self,
        y: Floats,
        c: Parameters,
        mean: Floats,
        factor: Floats | None,
        blocks: Blocks,
        workers: int = 1,
    ) -> Conditionals:
        """Compute records given all others, with one factorisation per distinct draw."""
        return DenseBlocks(self.form, y, workers).conditionals(c, mean, factor, blocks)

    def without(
        self,
        y: Floats,
        c: Parameters,
        mean: Floats,
        factor: Floats | None,
        blocks: Blocks,
        workers: int = 1,
    ) -> tuple[Floats, list[Conditionals | None]]:
        """Compute log p(y_-F | c) and y_F given y_-F from one factorisation."""
        data, count = DenseBlocks(self.form, y, 1), len(c[0])
        _ = self.form.stack  # computed here, before several threads need it

        def one(i: int) -> tuple[float, Conditionals | None]:
            try:
                found = data.without(c[0][i], mean, factor, blocks)
            except (InputError, np.linalg.LinAlgError):
                found = None
            return (-np.inf, None) if found is None else found

        found = run(one, range(count), workers)
        return np.array([value for value, _ in found]), [at for _, at in found]

    def subset(self, records: Codes) -> DenseMarginal | None:
        """Return the density of a subset of the records."""
        X = self.design[records]
        if np.linalg.matrix_rank(X) < X.shape[1]:
            return None
        old = self.covariance
        terms = tuple(
            replace(term, levels=term.levels[records], weights=term.weights[records])
            for term in old.terms
        )
        classes = None if old.residual is None else old.residual[records]
        form = dense_form(Covariance(terms, classes), X)
        return DenseMarginal(form, old.size - form.covariance.size)

    def constant_data(self, y: Floats) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Return the design."""
        return {"design": (("individual", "covariate"), self.design)}
