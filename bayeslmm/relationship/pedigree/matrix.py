"""Relationships from a pedigree: A, its sparse inverse, inbreeding, dominance.

A is the numerator relationship matrix, ``A = T D Tᵀ``. T traces the flow of genes; row i of
``T⁻¹ = I - M`` has -½ at the parents of i. D is diagonal with the Mendelian sampling variances
``d_i = ½ - ¼(F_s + F_d)`` with both parents known, ``¾ - ¼F_s`` with one, 1 with none (Henderson
1976, Biometrics 32:69; Quaas 1976, Biometrics 32:949). A is not scaled, so σ²_u is the additive
variance of the base population, in which founders are unrelated and not inbred.
"""

from __future__ import annotations

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array

from bayeslmm.errors import InputError, warn_user
from bayeslmm.numerics.arrays import Floats
from bayeslmm.relationship.pedigree.checks import Positions
from bayeslmm.relationship.pedigree.pedigree import Pedigree, pruned
from bayeslmm.relationship.relationship import Relationship, mirror, name_some, row_blocks
from bayeslmm.system.memory import require_memory

BLOCK = 1 << 23  # numbers in a block of columns (64 MiB)
FEWER = "give only the individuals to be analysed, or use the sparse invert_relationship"


def inbreeding(pedigree: Pedigree) -> Floats:
    """Compute inbreeding coefficients ``F_i = a_ii - 1``.

    Row i of T is traced from i to its ancestors, ``a_ii = Σ_j t_ij² d_j``, once for full sibs
    (Meuwissen & Luo 1992, Genet Sel Evol 24:305).

    Returns
    -------
    F
        (q,) in the order of `Pedigree.individuals`; zero where a parent is unknown.

    Examples
    --------
    >>> from bayeslmm.individuals import individual_index
    >>> four = individual_index("0000", "abcd")
    >>> inbreeding(Pedigree(four, np.array([-1, -1, 0, 0]), np.array([-1, -1, 1, 2])))
    array([0.  , 0.  , 0.  , 0.25])
    """
    sire, dam = _renumbered(pedigree)
    families, family = np.unique((sire + 1) * (pedigree.n + 1) + dam, return_inverse=True)
    ordered = _inbreeding(sire, dam, family, families.size)
    F = np.empty(pedigree.n)
    F[pedigree.order] = ordered
    return F


def mendelian_variances(pedigree: Pedigree, F: Floats | None = None) -> Floats:
    """Return Mendelian sampling variances (q,) in units of the base additive variance."""
    own = np.append(inbreeding(pedigree) if F is None else F, -1.0)  # -1: parent unknown
    d: Floats = 0.5 - 0.25 * (own[pedigree.sire] + own[pedigree.dam])
    return d


def invert_relationship(pedigree: Pedigree) -> csr_array:
    """Compute the sparse inverse of A by Henderson's rules, ``A⁻¹ = (I - M)ᵀ D⁻¹ (I - M)``.

    Returns
    -------
    inverse
        (q, q) in the order of `Pedigree.individuals`, at most nine numbers per individual.

    Raises
    ------
    InputError
        If parents are completely inbred, because their offspring have no Mendelian sampling.

    Examples
    --------
    >>> from bayeslmm.individuals import individual_index
    >>> trio = individual_index("000", ["sire", "dam", "calf"])
    >>> invert_relationship(Pedigree(trio, np.array([-1, -1, 0]), np.array([-1, -1, 1]))).toarray()
    array([[ 1.5,  0.5, -1. ],
           [ 0.5,  1.5, -1. ],
           [-1. , -1. ,  2. ]])
    """
    q = pedigree.n
    d = mendelian_variances(pedigree)
    flat = np.flatnonzero(d < 1e-10)
    if flat.size:
        raise InputError(
            f"{flat.size} individuals with completely inbred parents: "
            f"{name_some(pedigree.individuals, flat)}",
            "a positive Mendelian sampling variance for every individual; otherwise A has no "
            "inverse",
            "use the dense additive_relationship, which needs no inverse",
            path=pedigree.path or None,
        )
    child = np.concatenate([np.flatnonzero(parent >= 0) for parent in _parents(pedigree)])
    parent = np.concatenate([parent[parent >= 0] for parent in _parents(pedigree)])
    flow = csr_array((np.full(child.size, 0.5), (child, parent)), shape=(q, q))
    tracing = csr_array(eye_array(q, format="csr") - flow)
    weighted = csr_array(tracing.multiply(1.0 / d[:, None]))
    inverse = csr_array(tracing.T @ weighted)
    inverse.sort_indices()
    return inverse


def additive_relationship(
    pedigree: Pedigree, individuals: pd.MultiIndex | None = None
) -> Relationship:
    """Compute the additive relationship matrix A of individuals, with diagonal ``1 + F_i``.

    Columns are ``A e = T (D (Tᵀ e))``, up the pedigree and down again (Colleau 2002, Genet Sel Evol
    34:409). So time and memory grow with the number of individuals asked for.

    Parameters
    ----------
    pedigree
        The pedigree; all ancestors count.
    individuals
        (n,) FID and IID. Default: all individuals of the pedigree.

    Returns
    -------
    Relationship
        Unscaled (`kernel_scale` "none"), so σ²_u is the base population's additive variance.

    Raises
    ------
    InputError
        If individuals are not in the pedigree, or memory is too small.
    """
    wanted = pedigree.individuals if individuals is None else individuals
    return Relationship(
        _additive(pedigree, wanted),
        wanted,
        name="additive",
        estimator="pedigree",
        kernel_scale="none",
        source=pedigree.path,
    )


def dominance_relationship(
    pedigree: Pedigree, individuals: pd.MultiIndex | None = None
) -> Relationship:
    """Compute the dominance relationship matrix of individuals that are not inbred.

    ``d_ij = ¼ (a(s_i, s_j) a(d_i, d_j) + a(s_i, d_j) a(d_i, s_j))`` for individuals with both
    parents known, 0 if a parent is unknown, ``d_ii = 1`` (Cockerham 1954, Genetics 39:859;
    Mrode 2014, equation 12.1). Among inbred individuals it is an approximation, with a warning,
    because dominance then needs several variances and inbreeding depression.

    Parameters
    ----------
    pedigree, individuals
        As in `additive_relationship`.

    Returns
    -------
    Relationship
        Unscaled, so σ²_u is the base population's dominance variance.

    Raises
    ------
    InputError
        If individuals are not in the pedigree, or memory is too small.
    """
    wanted = pedigree.individuals if individuals is None else individuals
    position = pedigree.positions(wanted)
    inbred = int((inbreeding(pedigree)[position] > 1e-8).sum())
    if inbred:
        warn_user(
            f"{inbred} of {len(wanted)} individuals are inbred: the dominance relationship assumes "
            "no inbreeding, and dominance effects of inbred individuals differ from it"
        )
    known, (sire, dam) = _parents_among(pedigree, position)
    n, p = len(wanted), known.size
    require_memory(
        8 * n * n + 8 * (p + 1) ** 2, f"the dominance relationship of {n} individuals", FEWER
    )
    A = np.zeros((p + 1, p + 1))  # the last row, of unknown parents, is zero
    if p:
        A[:p, :p] = _additive(pedigree, pedigree.individuals[known])
    D = np.empty((n, n))
    for rows in row_blocks(n, 128):
        of_sire, of_dam = A[sire[rows]], A[dam[rows]]
        D[rows] = of_sire[:, sire] * of_dam[:, dam] + of_sire[:, dam] * of_dam[:, sire]
    D *= 0.25
    np.fill_diagonal(D, 1.0)
    return Relationship(
        D,
        wanted,
        name="dominance",
        estimator="pedigree",
        kernel_scale="none",
        source=pedigree.path,
    )


def _parents(pedigree: Pedigree) -> tuple[Positions, Positions]:
    return pedigree.sire, pedigree.dam


def _renumbered(pedigree: Pedigree) -> tuple[Positions, Positions]:
    """Return parents as positions in `Pedigree.order`, in that order; -1 where unknown."""
    rank = np.full(pedigree.n + 1, -1, dtype=np.intp)
    rank[pedigree.order] = np.arange(pedigree.n)
    return rank[pedigree.sire[pedigree.order]], rank[pedigree.dam[pedigree.order]]


def _parents_among(
    pedigree: Pedigree, position: Positions
) -> tuple[Positions, tuple[Positions, Positions]]:
    """Return distinct parents (p,), and each one's sire and dam among them; p if unknown."""
    sides = pedigree.sire[position], pedigree.dam[position]
    both = np.concatenate(sides)
    known = np.unique(both[both >= 0])
    sire, dam = (np.where(s >= 0, np.searchsorted(known, s), known.size) for s in sides)
    return known, (sire, dam)


def _additive(pedigree: Pedigree, individuals: pd.MultiIndex) -> Floats:
    """Compute A of the individuals (n, n), exactly symmetric."""
    small = pruned(pedigree, individuals)
    n, q = len(individuals), small.n
    width = min(max(BLOCK // q, 1), n)
    require_memory(8 * n * n + 16 * q * width, f"the pedigree's A of {n} individuals", FEWER)
    sire, dam = _renumbered(small)
    d = mendelian_variances(small)[small.order]
    rank = np.empty(q, dtype=np.intp)
    rank[small.order] = np.arange(q)
    place = rank[small.positions(individuals)]
    A = np.empty((n, n))
    for columns in row_blocks(n, width):
        X = np.zeros((q, columns.stop - columns.start))
        X[place[columns], np.arange(X.shape[1])] = 1.0
        _multiply_by_A(sire, dam, d, X)
        A[:, columns] = X[place]
    mirror(A)
    return A


@numba.njit(cache=True, nogil=True)
def _inbreeding(
    sire: Positions, dam: Positions, family: NDArray[np.intp], n_families: int
) -> Floats:
    """Compute F in ancestral order; `family` numbers the pairs of parents."""
    q = sire.size
    F, d, share = np.zeros(q), np.ones(q), np.zeros(q)
    of_family = np.full(n_families, -1.0)
    for i in range(q):
        for parent in (sire[i], dam[i]):
            if parent >= 0:
                d[i] -= 0.25 * (1.0 + F[parent])
        if sire[i] < 0 or dam[i] < 0:
            continue
        if of_family[family[i]] >= 0.0:
            F[i] = of_family[family[i]]
            continue
        share[sire[i]] += 0.5
        share[dam[i]] += 0.5
        total = d[i]
        for j in range(max(sire[i], dam[i]), -1, -1):
            if share[j] != 0.0:
                total += share[j] * share[j] * d[j]
                for parent in (sire[j], dam[j]):
                    if parent >= 0:
                        share[parent] += 0.5 * share[j]
                share[j] = 0.0
        F[i] = max(total - 1.0, 0.0)
        of_family[family[i]] = F[i]
    return F


@numba.njit(cache=True, nogil=True)
def _multiply_by_A(sire: Positions, dam: Positions, d: Floats, X: Floats) -> None:
    """Set ``X ← A X`` in place, X (q, k), with everything in ancestral order."""
    q = X.shape[0]
    for i in range(q - 1, -1, -1):
        for parent in (sire[i], dam[i]):
            if parent >= 0:
                X[parent] += 0.5 * X[i]
    for i in range(q):
        X[i] *= d[i]
        for parent in (sire[i], dam[i]):
            if parent >= 0:
                X[i] += 0.5 * X[parent]
