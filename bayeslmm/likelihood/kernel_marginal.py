"""The marginal density with one kernel, for one or several traits, in the kernel's eigenbasis.

    y | β, G, R ~ N((I ⊗ X) β, G ⊗ K + R ⊗ I)

It needs no factorisation. With one trait G and R are the variances (σ²_u, σ²_e). Implements the
verbs of `bayeslmm.likelihood.marginal`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.likelihood.blocks_kernel import KernelBlocks
from bayeslmm.likelihood.candidates import missing_relationship_error, wrong_kernel_error
from bayeslmm.likelihood.contrasts import KernelContrasts
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.fixed_effects import BetaQuadratic, integrate_beta
from bayeslmm.likelihood.genetic_values import (
    back_to_traits,
    canonical_draws,
    canonical_problem,
    draw_genetic,
    draw_unit_genetic,
    genetic_mean,
    root,
)
from bayeslmm.likelihood.marginal import BLOCK, Effects, Parameters, Prediction, Quadratic
from bayeslmm.likelihood.one_kernel import spectral_logp
from bayeslmm.likelihood.one_kernel_solve import LEAST, clear_null, kernel_times, spectral_solve
from bayeslmm.likelihood.pivoted import kernel_cholesky
from bayeslmm.likelihood.realised import Realised, TraitParts
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.likelihood.terms import Term, kernel_term, trait_term
from bayeslmm.likelihood.traits import multi_trait_quadratic, stacked_logp
from bayeslmm.numerics.arrays import Codes, Floats

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.likelihood.blocks import Blocks, Conditionals
    from bayeslmm.likelihood.explained import Sums
    from bayeslmm.relationship.relationship import Relationship


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class KernelMarginal:
    """Marginal normal density of T complete traits of n/T individuals with one kernel.

    Parameters
    ----------
    nodes
        Spectrum of K and X among the individuals.
    traits
        Number of traits T.
    effects
        Names of the genetic values, one for each trait.
    matrices
        Whether the parameters are G and R (T, T); else they are (σ²_u, σ²_e) of one trait.
    """

    nodes: Spectrum
    traits: int
    effects: tuple[str, ...]
    matrices: bool

    expensive = False

    @property
    def name(self) -> str:
        """Name of the density in model files."""
        return "multi_trait_normal" if self.matrices else "spectral_normal"

    @property
    def n(self) -> int:
        """Number of records of all traits."""
        return self.nodes.n * self.traits

    @property
    def p(self) -> int:
        """Number of fixed effects of all traits."""
        return self.nodes.p * self.traits

    @property
    def design(self) -> Floats:
        """``I_T ⊗ X`` (n, p)."""
        X = self.nodes.design
        return X if self.traits == 1 else np.asarray(np.kron(np.eye(self.traits), X))

    @property
    def trait_index(self) -> Codes:
        """The trait of every record (n,)."""
        return np.repeat(np.arange(self.traits), self.nodes.n)

    @property
    def effect_groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of the genetic values, which share a covariance matrix."""
        return (self.effects,)

    @property
    def effect_names(self) -> tuple[str, ...]:
        """Names of the genetic values."""
        return self.effects

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of the random parts: one part."""
        return ("random",)

    @property
    def spectrum(self) -> Spectrum | None:
        """The spectrum, if the density has one trait with two variances; else None."""
        return None if self.matrices else self.nodes

    @property
    def signature(self) -> str:
        """Shapes of the parameters."""
        return "(b),(t,t),(t,t)->(m)" if self.matrices else "(p),(c)->(n)"

    @property
    def compiled(self) -> tuple[str, tuple[Floats, ...]]:
        """Name of the Numba density, and its constants."""
        return ("traits" if self.matrices else "one_trait"), self.nodes.arrays

    def rotate(self, y: Floats) -> Floats:
        """Compute ``Wᵀy`` (p + k,); with several traits ``WᵀY`` (p + k, T)."""
        return self.nodes.rotate(self._columns(y) if self.matrices else y)

    def logp_gradient(self, rotated: Floats, beta: Floats, *c: Floats) -> tuple[Any, ...]:
        """Compute log p(y | β, c) and its gradients."""
        density = stacked_logp if self.matrices else spectral_logp
        given = [np.ascontiguousarray(x, dtype=np.float64) for x in (rotated, beta, *c)]
        return tuple(density(*given, *self.nodes.arrays))

    def quadratic(self, y: Floats) -> Quadratic:
        """Return ``c → log p(y | β, c)`` as a quadratic in β."""
        rotated = self._rotated(y)

        def at(c: Parameters) -> BetaQuadratic | None:
            G, R = (A[0] for A in self._pair([x[None] for x in c]))
            level, A, w = multi_trait_quadratic(rotated, G, R, *self.nodes.arrays)
            return BetaQuadratic(float(level), A, w) if np.isfinite(level) else None

        return at

    def gradient(self, y: Floats) -> None:
        """Return None: finite differences are cheaper."""

    def solve(self, c: Parameters, r: Floats) -> Floats:
        """Compute ``V⁻¹ r`` for rows r (draws, n)."""
        (G, R), S, T = self._pair(c), self.nodes, self.traits
        _, psi, shares = canonical_draws(G, R)
        columns = r.reshape(len(r) * T, S.n)
        rotated = S.basis.project(columns.T).T.reshape(len(r), T, -1)
        a, b = (shares[:, :, k].reshape(-1, 1) for k in range(2))
        solved = spectral_solve(S, (psi @ rotated).reshape(len(columns), -1), a, b)
        out = self._unrotated(np.swapaxes(psi, 1, 2) @ solved.reshape(rotated.shape))
        if S.basis.nodes:  # where the kernel is zero
            outside = S.basis.outside(columns.T).T.reshape(len(r), T, -1)
            out += np.linalg.solve(R, outside).reshape(out.shape)
        return out

    def random_effects(
        self, y: Floats, beta: Floats, c: Parameters, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[tuple[Codes, Effects]]:
        """Draw the genetic values of the individuals, by the name for each trait."""
        for where, u in self._rotated_draws(y, beta, c, rng, block):
            found = {name: self.nodes.unrotate(u[:, t].T).T for t, name in enumerate(self.effects)}
            yield where, found

    def realised(
        self, y: Floats, beta: Floats, c: Parameters, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[Realised]:
        """Draw the contributions of genetic values to the records, in rotated coordinates."""
        Y, ones = self._rotated(y), self._ones()
        for where, u in self._rotated_draws(y, beta, c, rng, block):
            fixed = self._fixed(beta[where])
            traits = [TraitParts(fixed[:, t], [u[:, t]], Y[:, t], ones) for t in range(self.traits)]
            yield Realised(where, traits, partial(self._unrotated, u))

    def genetic_mean(self, y: Floats, beta: Floats, c: Parameters) -> list[Floats]:
        """Compute E[g | y, β, c], (draws, individuals) for each trait."""
        u = genetic_mean(self._rotated(y), beta, *self._pair(c), self.nodes)
        return [self.nodes.unrotate(u[:, t].T).T for t in range(self.traits)]

    def simulate(
        self, beta: Floats, c: Parameters, rng: np.random.Generator
    ) -> tuple[Floats, list[TraitParts]]:
        """Simulate y (n,); the covariances may be singular."""
        G, R = (A[0] for A in self._pair([x[None] for x in c]))
        S, T = self.nodes, self.traits
        g = root(G) @ draw_unit_genetic(S, rng, T)
        fixed = self._fixed(beta[None])[0]
        if S.basis.nodes:  # residuals also in the directions in which the kernel is zero
            noise = root(R) @ rng.standard_normal((T, S.n))
            y = self._unrotated((fixed + g)[None])[0] + noise.ravel()
            rotated = self._rotated(y).T
        else:
            rotated = fixed + g + root(R) @ rng.standard_normal((T, S.n))
            y = np.asarray(S.unrotate(rotated.T).T.ravel())
        ones = self._ones()
        parts = [TraitParts(fixed[t : t + 1], [g[t : t + 1]], rotated[t], ones) for t in range(T)]
        return y, parts

    def sigmas(self, c: Parameters) -> tuple[list[Floats], Floats]:
        """Return G (draws, T, T) and the residual variances (draws, T)."""
        G, R = self._pair(c)
        return [G], np.diagonal(R, axis1=1, axis2=2)

    def terms(
        self, cohort: Cohort, relationships: Mapping[str, Relationship]
    ) -> tuple[tuple[Term, ...], Codes | None]:
        """Return the term of the kernel, rebuilt from its relationship."""
        name = self.effects[0].split(":")[0]
        if name not in relationships:
            raise missing_relationship_error(name, relationships)
        if self.traits > 1:
            term = trait_term(cohort, relationships[name])
            return (replace(term, name=name),), cohort.trait_index
        term = kernel_term(cohort, relationships[name], name)
        if term.kernel is not None:
            v = np.random.default_rng(1).standard_normal(self.nodes.n)
            expected = kernel_times(self.nodes, v)
            gap = float(np.linalg.norm(term.kernel @ v - expected))
            if gap > 2e-2 * float(np.linalg.norm(expected)):  # as negative eigenvalues are set to 0
                raise wrong_kernel_error(name)
        return (term,), np.zeros(cohort.n, dtype=np.intp)

    def predict(
        self,
        y: Floats,
        beta: Floats,
        c: Parameters,
        terms: Sequence[Term],
        rng: np.random.Generator,
        block: int = BLOCK,
    ) -> Iterator[Prediction]:
        """Draw genetic values of all levels of the term, individuals with records first."""
        (term,), S = terms, self.nodes
        kernel = term.kernel
        assert kernel is not None
        own = np.ascontiguousarray(S.basis.project(kernel[:, : S.n].T).T)
        clear_null(S, own)
        L = kernel_cholesky(kernel)
        first = np.ascontiguousarray(S.basis.project(L[: S.n]).T)
        rotated = self._rotated(y)
        G, R = self._pair(c)
        for start in range(0, len(beta), block):
            part = slice(start, min(start + block, len(beta)))
            basis, r, a, b = canonical_problem(rotated, beta[part], G[part], R[part], S, start)
            z = rng.standard_normal((len(r), L.shape[1]))
            noise = np.sqrt(a) * (z @ first) + np.sqrt(b) * rng.standard_normal(r.shape)
            m = a * (spectral_solve(S, r, a, b) @ own.T)
            d = np.sqrt(a) * (z @ L.T) - a * (spectral_solve(S, noise, a, b) @ own.T)
            m, d = back_to_traits(basis, m), back_to_traits(basis, d)
            names = list(enumerate(term.columns))
            where = np.arange(part.start, part.stop)
            yield Prediction(where, {x: m[:, t] for t, x in names}, {x: d[:, t] for t, x in names})

    def explained(
        self, c: Parameters, terms: Sequence[Term], sums: Sums
    ) -> Iterator[dict[str, Floats]]:
        """Yield the variance (levels,) of sums of effects that the records explain, by draw.

        P is diagonal in the basis of the contrasts and of the canonical traits.
        """
        (term,), S = terms, self.nodes
        assert term.kernel is not None
        own = clear_null(S, np.ascontiguousarray(S.basis.project(term.kernel[:, : S.n].T).T))
        squares = np.square(own[:, S.p :])
        basis, _, shares = canonical_draws(*self._pair(c))
        for Phi, one in zip(basis, shares, strict=True):
            a, b = one[:, :1], one[:, 1:]
            d = np.maximum(a * S.eigenvalues + b, LEAST)
            each = squares @ (a * a / d).T  # of the canonical traits
            found = {x: each @ np.square(Phi[t]) for t, x in enumerate(term.columns)}
            yield {name: np.sum([found[x] for x in effects], 0) for name, effects in sums.items()}

    complete = True

    def in_own_basis(self, y: Floats, *traits: int) -> tuple[Spectrum, Floats]:
        """Return the spectrum and the rotated columns of the traits."""
        S = self.nodes.together(len(traits))
        Y = self._columns(y) if self.matrices else y[:, None]
        rotated = S.rotate(np.ascontiguousarray(Y[:, list(traits)]))
        return S, rotated

    def contrasts(self, y: Floats) -> KernelContrasts | None:
        """Return the error contrasts of one trait."""
        return None if self.matrices else KernelContrasts(self.nodes, y)

    def conditionals(
        self,
        y: Floats,
        c: Parameters,
        mean: Floats,
        factor: Floats | None,
        blocks: Blocks,
        workers: int = 1,
    ) -> Conditionals:
        """Compute the distribution of records given all others."""
        Y = self._columns(y) if self.matrices else y[:, None]
        data = KernelBlocks(self.nodes, y, self._rotated(y), self.nodes.basis.outside(Y))
        return data.conditionals(*self._pair(c), mean, factor, blocks)

    def without(
        self,
        y: Floats,
        c: Parameters,
        mean: Floats,
        factor: Floats | None,
        blocks: Blocks,
        workers: int = 1,
    ) -> tuple[Floats, list[Conditionals | None]]:
        """Compute log p(y_-F | c) and y_F given y_-F, at all draws at once."""
        quadratic, count = self.quadratic(y), len(c[0])
        values = np.full(count, -np.inf)
        found: list[Conditionals | None] = [None] * count
        for i in range(count):
            whole = quadratic([x[i] for x in c])
            if whole is not None:
                values[i] = integrate_beta(whole, mean, factor)

        def take(chosen: Codes) -> None:
            if len(chosen):
                at = self.conditionals(y, [x[chosen] for x in c], mean, factor, blocks)
                values[chosen] -= at.log_density.sum(axis=1)
                for k, i in enumerate(chosen):
                    found[i] = at.rows(np.array([k]))

        chosen = np.flatnonzero(np.isfinite(values))
        try:
            take(chosen)
        except (InputError, np.linalg.LinAlgError):  # a draw is on the boundary
            for i in chosen[[found[i] is None for i in chosen]]:
                try:
                    take(np.array([i]))
                except (InputError, np.linalg.LinAlgError):
                    values[i] = -np.inf
        return values, found

    def subset(self, records: Codes) -> KernelMarginal | None:
        """Return the density of a subset of one trait's records, by a new decomposition."""
        if self.traits > 1:
            return None
        X = self.design[records]
        if np.linalg.matrix_rank(X) < X.shape[1]:
            return None
        K = self.nodes.kernel()[np.ix_(records, records)]
        return replace(self, nodes=decompose(K, X))

    def constant_data(self, y: Floats) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Return the design and, for one trait, eigenvalues and contrasts."""
        s, e = self.nodes.contrasts(y if not self.matrices else self._columns(y))
        out: dict[str, tuple[tuple[str, ...], Any]] = {"eigenvalue": (("contrast",), s)}
        if not self.matrices:
            out["contrasts"] = (("contrast",), e)
        return out | {"design": (("individual", "covariate"), self.design)}

    # inside

    def _columns(self, y: Floats) -> Floats:
        """Reshape y (n,), stacked trait by trait, to Y (n/T, T)."""
        return y.reshape(self.traits, -1).T

    def _rotated(self, y: Floats) -> Floats:
        """Compute ``WᵀY`` (p + k, T)."""
        rotated = self.rotate(y)
        return np.ascontiguousarray(rotated if rotated.ndim == 2 else rotated[:, None])

    def _pair(self, c: Parameters) -> tuple[Floats, Floats]:
        """Return draws of G and R (draws, T, T)."""
        if self.matrices:
            return c[0], c[1]
        return c[0][:, :1, None], c[0][:, 1:, None]

    def _fixed(self, beta: Floats) -> Floats:
        """Compute ``WᵀXB`` (draws, T, p + k) from draws of β (draws, pT)."""
        S, T = self.nodes, self.traits
        fixed = np.zeros((len(beta), T, S.p + S.nodes))
        fixed[:, :, : S.p] = beta.reshape(-1, T, S.p) @ S.triangle.T
        return fixed

    def _ones(self) -> Floats:
        """Compute ``Wᵀ1/√n`` (p + k,)."""
        S = self.nodes
        return S.basis.project(np.full(S.n, 1 / np.sqrt(S.n)))

    def _rotated_draws(
        self, y: Floats, beta: Floats, c: Parameters, rng: np.random.Generator, block: int
    ) -> Iterator[tuple[Codes, Floats]]:
        drawn = draw_genetic(self._rotated(y), beta, *self._pair(c), self.nodes, rng, block)
        for part, u in drawn:
            yield np.arange(part.start, part.stop), u

    def _unrotated(self, u: Floats) -> Floats:
        """Rotate values (draws, T, p + k) back to records (draws, n), trait by trait."""
        return np.hstack([self.nodes.unrotate(u[:, t].T).T for t in range(u.shape[1])])
