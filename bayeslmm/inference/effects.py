"""Exact draws of every random effect given y and draws of the other parameters.

A draw (u*, ε*) from the prior is corrected by the covariance with y (Matheron's rule)::

    x = V⁻¹ (y - Xβ - Σ W u* - ε*)        u_j = u*_j + A Σ_l Σ[j, l] W_lᵀ x

Draws with the same (co)variances, as importance resampling gives them, share one factorisation.

References
----------
Doucet (2010) A note on efficient conditional simulation of Gaussian distributions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.replace import vectorize_graph

from bayeslmm.distributions.dense_normal import DenseNormalRV
from bayeslmm.distributions.multi_trait_normal import MultiTraitNormalRV
from bayeslmm.distributions.polygenic import kernel_cholesky
from bayeslmm.distributions.spectral_normal import SpectralNormalRV
from bayeslmm.inference.laplace.hyper import covariance_inputs
from bayeslmm.inference.laplace.target import run
from bayeslmm.inference.tree import PYTHON, Variables
from bayeslmm.likelihood.dense import DenseForm
from bayeslmm.likelihood.genetic_values import genetic_values
from bayeslmm.likelihood.genetic_values_traits import draw_genetic, root
from bayeslmm.likelihood.incomplete import IncompleteTraits, solve_each
from bayeslmm.likelihood.terms import Term
from bayeslmm.numerics import lapack
from bayeslmm.numerics.arrays import Floats
from bayeslmm.system.memory import available_cores

type Effects = dict[str, Floats]

BLOCK = 250
TOGETHER = 125  # draws whose systems of equations are solved side by side


def random_effects(
    model: pm.Model, variables: Variables, rng: np.random.Generator, block: int = BLOCK
) -> Iterator[tuple[NDArray[np.intp], Effects]]:
    """Draws of the random effects of a marginal model, a block of posterior draws at a time.

    Parameters
    ----------
    model
        Its phenotype is a `spectral_normal`, a `multi_trait_normal` or a `dense_normal`.
    variables
        Posterior draws (chain, draw, ...) of the free variables and of β.
    rng
        Source of randomness.
    block
        Draws at a time.

    Yields
    ------
    array, dict
        Which draws these are (of chain × draw, flat), and by component the effects (draws of the
        block, levels): for a `dense_normal` those of every `Term` column at its levels; otherwise
        the genetic values g of the individuals, of several traits as "additive:TRAIT".
    """
    op = model["phenotype"].owner.op
    chains, draws = variables["beta"][1].shape[:2]
    beta = np.asarray(variables["beta"][1]).reshape(chains * draws, -1)
    inputs = covariance_draws(model, variables)
    rotated = np.ascontiguousarray(model["phenotype_rotated"].get_value())
    if isinstance(op, DenseNormalRV):
        yield from _dense(op, rotated, beta, inputs[0], rng, block)
    else:
        names = effect_names(model)
        for where, u in rotated_effects(model, rotated, beta, inputs, rng, block):
            yield where, {name: op.spectrum.unrotate(u[:, k].T).T for k, name in enumerate(names)}


def effect_names(model: pm.Model) -> list[str]:
    """Components of the random effects that a marginal model integrates out."""
    op = model["phenotype"].owner.op
    if isinstance(op, DenseNormalRV):
        return [name for term in op.form.covariance.terms for name in term.columns]
    if isinstance(op, MultiTraitNormalRV):
        return [f"additive:{trait}" for trait in model.coords["trait"]]
    return [str(model.coords["component"][0])]


def rotated_effects(
    model: pm.Model,
    rotated: Floats,
    beta: Floats,
    inputs: list[Floats],
    rng: np.random.Generator,
    block: int = BLOCK,
) -> Iterator[tuple[NDArray[np.intp], Floats]]:
    """Genetic values of a model with a spectrum: (draws of the block, traits, n), rotated."""
    op = model["phenotype"].owner.op
    if isinstance(op, MultiTraitNormalRV):
        for part, u in draw_genetic(rotated, beta, inputs[0], inputs[1], op.spectrum, rng, block):
            yield np.arange(part.start, part.stop), u
    elif isinstance(op, SpectralNormalRV):
        for part, g in genetic_values(op.spectrum, rotated, beta, inputs[0], rng, block):
            yield np.arange(part.start, part.stop), g[:, None]
    else:
        raise TypeError("random effects are drawn for marginal models only")


def covariance_draws(model: pm.Model, variables: Variables) -> list[Floats]:
    """The inputs of the phenotype's distribution beyond β, at draws (chains × draws, ...)."""
    wanted = covariance_inputs(model)
    function = getattr(model, "bayeslmm_covariance", None)
    if function is None:
        points = [pt.tensor(dtype=v.dtype, shape=(None, *v.type.shape)) for v in model.free_RVs]
        given = dict(zip(model.free_RVs, points, strict=True))
        graphs = vectorize_graph(wanted, given)
        function = pytensor.function(points, graphs, mode=PYTHON, on_unused_input="ignore")
        model.bayeslmm_covariance = function
    flat = []
    for rv in model.free_RVs:
        array = np.asarray(variables[rv.name][1])
        flat.append(array.reshape(-1, *array.shape[2:]))
    count = len(flat[0])
    return [
        np.broadcast_to(x, (count, *x.shape)) if x.ndim == w.ndim else np.asarray(x)
        for x, w in zip(function(*flat), wanted, strict=True)
    ]


def _dense(
    op: DenseNormalRV,
    rotated: Floats,
    beta: Floats,
    c: Floats,
    rng: np.random.Generator,
    block: int,
) -> Iterator[tuple[NDArray[np.intp], Effects]]:
    form, covariance = op.form, op.form.covariance
    roots = [None if t.kernel is None else kernel_cholesky(t.kernel) for t in covariance.terms]
    distinct, where = np.unique(c, axis=0, return_inverse=True)
    order = np.argsort(where.ravel(), kind="stable")
    y, X = form.unrotate(rotated), form.design
    for start in range(0, len(order), block):
        chosen = order[start : start + block]
        sigmas, residual = covariance.unpack(c[chosen])
        noise = np.zeros((len(chosen), form.n))
        if covariance.residual is not None:
            sd = np.sqrt(residual)[:, covariance.residual]
            noise = sd * rng.standard_normal(noise.shape)
        prior = []
        for term, L, S in zip(covariance.terms, roots, sigmas, strict=True):
            u = prior_draw(term, L, S, rng)
            prior.append(u)
            for j in range(term.k):
                noise += u[:, j] @ term.incidence(j).T
        x = y - beta[chosen] @ X.T - noise
        x = solve_records(form, distinct, where.ravel()[chosen], x, op.fast)
        out: Effects = {}
        for term, u, S in zip(covariance.terms, prior, sigmas, strict=True):
            out |= corrected(term, u, S, x)
        yield chosen, out


def prior_draw(term: Term, L: Floats | None, S: Floats, rng: np.random.Generator) -> Floats:
    """u* (draws, k, q) from N(0, S ⊗ A)."""
    rank = term.q if L is None else L.shape[1]
    z = rng.standard_normal((len(S), term.k, rank))
    if L is not None:
        z = _times(z, L.T)
    halves = np.stack([root(one) for one in S]) if term.k > 1 else np.sqrt(S)
    return np.asarray(halves @ z)


def _times(rows: Floats, matrix: Floats) -> Floats:
    """Rows (draws, k, a) times a matrix (a, b): one product, not one a draw."""
    flat = rows.reshape(-1, rows.shape[-1]) @ matrix
    return np.asarray(flat.reshape(*rows.shape[:-1], -1))


def solve_records(
    form: DenseForm,
    distinct: Floats,
    which: NDArray[np.intp],
    r: Floats,
    fast: IncompleteTraits | None = None,
) -> Floats:
    """``V(c)⁻¹ r`` for rows r (draws, n); equal c are factorised once."""
    if fast is not None:
        return _solve_incomplete(form, fast, distinct[which], r)
    rotated = np.ascontiguousarray(r @ form.basis)
    groups = [np.flatnonzero(which == one) for one in np.unique(which)]

    def solve(rows: NDArray[np.intp]) -> None:
        L = form.factor(distinct[which[rows[0]]])
        if L is None:
            raise np.linalg.LinAlgError("the covariance of a posterior draw is not definite")
        part = np.ascontiguousarray(rotated[rows])
        lapack.solve_lower(L, part)
        lapack.solve_lower(L, part, transpose=True)
        rotated[rows] = part

    run(solve, groups, available_cores())
    return np.asarray(rotated @ form.basis.T)


def _solve_incomplete(form: DenseForm, fast: IncompleteTraits, c: Floats, r: Floats) -> Floats:
    """The same by blocks of draws of one size, whatever the number of cores."""
    G, R = form.covariance.unpack(c)[0]
    blocks = [slice(start, start + TOGETHER) for start in range(0, len(r), TOGETHER)]
    solved = run(
        lambda rows: solve_each(fast, G[rows], R[rows], r[rows]), blocks, available_cores()
    )
    return np.concatenate(solved)


def corrected(term: Term, u: Floats, S: Floats, x: Floats) -> Effects:
    """``u_j + A Σ_l S[j, l] W_lᵀ x`` by column."""
    back = np.stack([x @ term.incidence(j) for j in range(term.k)], axis=1)  # (draws, k, q)
    pulled = S @ back
    if term.kernel is not None:
        pulled = _times(pulled, term.kernel)
    total: Any = u + pulled
    return {name: total[:, j] for j, name in enumerate(term.columns)}
