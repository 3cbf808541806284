"""Draws of the random effects of any terms, given y or from the prior.

A draw (u*, ε*) from the prior is corrected by the covariance with y (Matheron's rule)::

    x = V⁻¹ (y - Xβ - Σ W u* - ε*)        u_j = u*_j + A Σ_l Σ[j, l] W_lᵀ x

Draws with equal (co)variances, as after importance resampling, share one factorisation. A term may
have levels without records: u is drawn for all levels jointly. Only V is inverted, so singular
kernels need no regularisation.

References
----------
Doucet (2010) A note on efficient conditional simulation of Gaussian distributions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bayeslmm.likelihood.genetic_values import root
from bayeslmm.likelihood.marginal import Effects, Parameters, Prediction
from bayeslmm.likelihood.pivoted import kernel_cholesky
from bayeslmm.likelihood.realised import TraitParts
from bayeslmm.likelihood.terms import Covariance, Term
from bayeslmm.numerics.arrays import Codes, Floats

type Solve = Callable[[Parameters, Floats], Floats]


def draw_effects(
    covariance: Covariance,
    solve: Solve,
    y: Floats,
    X: Floats,
    beta: Floats,
    c: Floats,
    rng: np.random.Generator,
    block: int,
    *,
    separate: bool = False,
) -> Iterator[Any]:
    """Draw every effect given y (n,) and draws of β (draws, p) and c (draws, K).

    Parameters
    ----------
    covariance
        The terms whose effects are drawn; they may have levels without records.
    solve
        ``(c, r) → V⁻¹r`` of the records.
    y, X, beta, c
        Records, design, and posterior draws.
    rng
        Source of randomness.
    block
        Number of draws per block.
    separate
        Yield `Prediction`, mean and deviation separately (two solves instead of one); else the
        draws by name, as `Marginal.random_effects`.
    """
    roots = [None if t.kernel is None else kernel_cholesky(t.kernel) for t in covariance.terms]
    _, which = np.unique(c, axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")  # to factorise equal variances once
    for start in range(0, len(order), block):
        chosen = order[start : start + block]
        sigmas, residual = covariance.unpack(c[chosen])
        noise = np.zeros((len(chosen), y.size))
        if covariance.residual is not None:
            noise = _deviations(residual)[:, covariance.residual] * rng.standard_normal(noise.shape)
        prior = []
        for term, L, S in zip(covariance.terms, roots, sigmas, strict=True):
            u = prior_draw(term, L, S, rng)
            prior.append(u)
            for j in range(term.k):
                noise += u[:, j] @ term.incidence(j).T
        r = y - beta[chosen] @ X.T
        if not separate:
            x = solve([c[chosen]], r - noise)
            out: Effects = {}
            for term, u, S in zip(covariance.terms, prior, sigmas, strict=True):
                out |= condition(term, u, S, x)
            yield chosen, out
            continue
        x = solve([np.tile(c[chosen], (2, 1))], np.vstack([r, -noise]))
        mean: Effects = {}
        deviation: Effects = {}
        for term, u, S in zip(covariance.terms, prior, sigmas, strict=True):
            mean |= condition(term, np.zeros_like(u), S, x[: len(chosen)])
            deviation |= condition(term, u, S, x[len(chosen) :])
        yield Prediction(chosen, mean, deviation)


def simulate(
    covariance: Covariance,
    roots: Sequence[Floats | None],
    X: Floats,
    traits_of: Codes,
    beta: Floats,
    c: Floats,
    rng: np.random.Generator,
) -> tuple[Floats, list[TraitParts]]:
    """Simulate effects and y (n,) at one β (p,) and c (K,)."""
    sigmas, residual = covariance.unpack(c[None])
    fixed = (X @ beta)[None]
    parts, genetic = [], np.zeros((1, len(X)))
    for term, L, S in zip(covariance.terms, roots, sigmas, strict=True):
        u = prior_draw(term, L, S, rng)
        for j in range(term.k):
            parts.append(np.asarray(u[:, j] @ term.incidence(j).T))
            genetic += parts[-1] if term.genetic else 0.0
    y = fixed + np.sum(parts, axis=0)
    if covariance.residual is not None:
        y = y + _deviations(residual)[:, covariance.residual] * rng.standard_normal(y.shape)
    shown = [genetic] if covariance.residual is None else parts
    found = []
    for t in range(int(traits_of.max()) + 1):
        rows = np.flatnonzero(traits_of == t)
        ones = np.full(rows.size, 1 / np.sqrt(rows.size))
        found.append(TraitParts(fixed[:, rows], [x[:, rows] for x in shown], y[0, rows], ones))
    return np.asarray(y[0]), found


def prior_draw(term: Term, L: Floats | None, S: Floats, rng: np.random.Generator) -> Floats:
    """Draw u* (draws, k, q) from N(0, S ⊗ A), A = LLᵀ."""
    rank = term.q if L is None else L.shape[1]
    z = rng.standard_normal((len(S), term.k, rank))
    if L is not None:
        z = _times(z, L.T)
    return np.asarray(root(S) @ z)


def _deviations(residual: Floats) -> Floats:
    """Return standard deviations (draws, classes) of residual variances."""
    return root(residual[..., None, None])[..., 0, 0]


def condition(term: Term, u: Floats, S: Floats, x: Floats) -> Effects:
    """Condition prior draws u on the records: ``u_j + A Σ_l S[j, l] W_lᵀ x`` by column."""
    back = np.stack([x @ term.incidence(j) for j in range(term.k)], axis=1)  # (draws, k, q)
    pulled = S @ back
    if term.kernel is not None:
        pulled = _times(pulled, term.kernel)
    total: Any = u + pulled
    return {name: total[:, j] for j, name in enumerate(term.columns)}


def _times(rows: Floats, matrix: Floats) -> Floats:
    """Multiply rows (draws, k, a) by a matrix (a, b) in one product."""
    flat = rows.reshape(-1, rows.shape[-1]) @ matrix
    return np.asarray(flat.reshape(*rows.shape[:-1], -1))
