"""Kernels whose variances are not identified beside each other, the residual or the intercept.

With an intercept in the model only ``PKP`` matters, ``P = I - 11ᵀ/n``: the variances of the kernels
K_1, ..., K_k and of the residual are identified only if ``PK_1P, ..., PK_kP, P`` are linearly
independent. The eigenvalues of their Gram matrix, each scaled to unit Frobenius norm, test this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.relationship.relationship import Relationship, name_some, row_blocks

ALIKE = 0.99  # correlation of the entries above which a pair is reported
EQUAL = 1e-9  # 1 - cosine below which two kernels (or a kernel and I) are proportional
DEPENDENT = 1e-10  # smallest eigenvalue of the Gram matrix below which kernels are dependent
CONSTANT = 1e-16  # ‖PKP‖²/‖K‖² below which a kernel is constant
NUMBERS = 1 << 21  # numbers in a block, over all kernels


class Moments(NamedTuple):
    """Products of the entries of k kernels, summed over blocks of rows.

    Parameters
    ----------
    centred
        (k, k) ``⟨PK_aP, PK_bP⟩``.
    traces
        (k,) of PKP.
    norms
        (k,) ``‖K‖²``.
    with_diagonal, without_diagonal
        (k, k) correlation of the entries of the upper triangle.
    """

    centred: Floats
    traces: Floats
    norms: Floats
    with_diagonal: Floats
    without_diagonal: Floats


def check_kernels(relationships: Sequence[Relationship]) -> list[str]:
    """Refuse kernels whose variances are not identified; warn of nearly collinear pairs.

    Parameters
    ----------
    relationships
        Kernels of one model, on the same individuals in the same order.

    Returns
    -------
    warnings
        A sentence for each pair whose entries (upper triangle with the diagonal) correlate above
        0.99.

    Raises
    ------
    InputError
        If individuals differ; if a kernel is constant (collinear with the intercept) or
        proportional to I (the residual); if two are proportional; if three or more, I among them,
        are linearly dependent. Each up to a constant added to a kernel.

    Notes
    -----
    The matrices are passed over by blocks of rows, with a few MiB besides the kernels themselves.
    """
    if not relationships:
        return []
    _check_aligned(relationships)
    names = _names(relationships)
    moments = _moments([relationship.matrix for relationship in relationships])
    for name, squared, norm in zip(names, moments.centred.diagonal(), moments.norms, strict=True):
        if not squared > CONSTANT * norm:
            raise InputError(
                f"the kernel '{name}' is constant: all pairs of individuals are equally related",
                "a kernel with relationships that differ",
                "remove it: the intercept absorbs it",
            )
    cosine = _cosines(moments, relationships[0].n)
    _check_pairs(names, cosine)
    _check_combinations([*names, "I (the residual)"], cosine)
    return _correlated_kernels(names, moments)


def _check_aligned(relationships: Sequence[Relationship]) -> None:
    first = relationships[0]
    for other in relationships[1:]:
        if other.individuals.equals(first.individuals):
            continue
        absent = np.flatnonzero(~other.individuals.isin(first.individuals))
        detail = f"{name_some(other.individuals, absent)} missing" if absent.size else "in order"
        raise InputError(
            f"the kernels '{first.name}' ({first.n} individuals) and '{other.name}' ({other.n}) "
            f"differ in their individuals: {detail}",
            "the same individuals in the same order",
            "align them with Relationship.on(individuals)",
        )


def _names(relationships: Sequence[Relationship]) -> list[str]:
    names = [relationship.name for relationship in relationships]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({i + 1})" for i, name in enumerate(names)]


def _moments(matrices: Sequence[Floats]) -> Moments:
    n, k = matrices[0].shape[0], len(matrices)
    means = np.array([K.mean(axis=1) for K in matrices])  # (k, n)
    grand = means.mean(axis=1)
    full, diagonal, centred = np.zeros((k, k)), np.zeros((k, k)), np.zeros((k, k))
    total, trace, norms = np.zeros(k), np.zeros(k), np.zeros(k)
    for rows in row_blocks(n, max(NUMBERS // (n * k), 1)):
        block = np.stack([K[rows] for K in matrices])  # (k, b, n)
        flat = block.reshape(k, -1)
        norms += np.einsum("ij,ij->i", flat, flat)
        block -= grand[:, None, None]
        full += flat @ flat.T
        total += flat.sum(axis=1)
        own = block[:, np.arange(block.shape[1]), np.arange(rows.start, rows.stop)]
        diagonal += own @ own.T
        trace += own.sum(axis=1)
        block -= (means - grand[:, None])[:, rows, None]
        block -= (means - grand[:, None])[:, None, :]
        centred += flat @ flat.T
    return Moments(
        centred=centred,
        traces=trace - (total / n),
        norms=norms,
        with_diagonal=_correlation(full + diagonal, total + trace, n * (n + 1)),
        without_diagonal=_correlation(full - diagonal, total - trace, n * (n - 1)),
    )


def _correlation(products: Floats, sums: Floats, count: int) -> Floats:
    """Compute correlations from twice the sums over `count` / 2 entries; 0 where the sd is 0."""
    covariance = products - np.outer(sums, sums) / max(count, 1)
    size = covariance.diagonal()
    scale = np.sqrt(np.where(size > 1e-14 * products.diagonal(), size, np.inf))
    correlation: Floats = covariance / np.outer(scale, scale)
    return correlation


def _cosines(moments: Moments, n: int) -> Floats:
    """Compute cosines (k + 1, k + 1) between the PKP and, last, P; ``⟨PKP, P⟩ = trace(PKP)``."""
    gram = np.block(
        [[moments.centred, moments.traces[:, None]], [moments.traces[None, :], np.array(n - 1.0)]]
    )
    length = np.sqrt(gram.diagonal())
    cosine: Floats = gram / np.outer(length, length)
    return cosine


def _check_pairs(names: list[str], cosine: Floats) -> None:
    k = len(names)
    for a in range(k):
        if 1.0 - abs(cosine[a, k]) < EQUAL:
            raise InputError(
                f"the kernel '{names[a]}' is proportional to the identity matrix (up to a "
                "constant): all individuals are equally unrelated",
                "a kernel with relationships that differ",
                "remove it: its variance and the residual variance are not identified",
            )
    for a in range(k):
        for b in range(a):
            if 1.0 - abs(cosine[a, b]) < EQUAL:
                raise InputError(
                    f"the kernels '{names[b]}' and '{names[a]}' are the same up to a factor and "
                    "a constant",
                    "kernels that differ",
                    "remove one of them: their variances are not identified",
                )


def _check_combinations(names: list[str], cosine: Floats) -> None:
    values, vectors = np.linalg.eigh(cosine)
    if values[0] >= DEPENDENT:
        return
    weights = vectors[:, 0] / np.abs(vectors[:, 0]).max()
    involved = _involved(weights)
    shown = " ".join(f"{weights[i]:+.3g} × {names[i]}" for i in involved)
    raise InputError(
        f"{len(involved)} kernels are linearly dependent, up to a constant: {shown} is zero with "
        "each of them at unit norm",
        "kernels of which none is a weighted sum of the others and I",
        "remove one of them: their variances are not identified",
    )


def _involved(weights: Floats) -> NDArray[np.intp]:
    return np.flatnonzero(np.abs(weights) > 1e-3)


def _correlated_kernels(names: list[str], moments: Moments) -> list[str]:
    found = []
    for a in range(len(names)):
        for b in range(a):
            r, off = moments.with_diagonal[a, b], moments.without_diagonal[a, b]
            if not r > ALIKE:
                continue
            why = (
                "the data inform the sum of their variances, but hardly each of them"
                if off > 0.9
                else "both are near the identity matrix, and the data hardly inform either variance"
            )
            found.append(
                f"the entries of the kernels '{names[b]}' and '{names[a]}' correlate by {r:.4f} "
                f"(off the diagonal by {off:.4f}): {why}"
            )
    return found
