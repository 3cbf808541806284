"""Simulated families and a pedigree for calibration: genotypes, kernels, parents."""

from __future__ import annotations

import numpy as np

from bayeslmm.numerics.arrays import Floats

N = 48
VARIANTS = 20
FAMILY = 4  # two parents, two children
SIRES, DAMS = 6, 12  # parents of the pedigree for maternal effects, before the N offspring


def standardised_families(n: int, seed: int, variants: int = VARIANTS) -> Floats:
    """Simulate standardised dosages (n, variants) of families of two parents and two children."""
    rng = np.random.default_rng([seed, 2022])
    frequency = rng.uniform(0.2, 0.8, variants)
    haplotypes = (rng.random((n, 2, variants)) < frequency).astype(np.float64)
    for i in range(n):
        if i % FAMILY >= 2:  # a child gets one haplotype of either parent, variant by variant
            for k in range(2):
                which = rng.integers(0, 2, variants)
                parent = i - i % FAMILY + k
                haplotypes[i, k] = haplotypes[parent, which, np.arange(variants)]
    dosages = haplotypes.sum(axis=1)
    centred = dosages - dosages.mean(axis=0)
    return np.asarray(centred / np.maximum(centred.std(axis=0, ddof=1), 1e-9))


def family_kernel(n: int, seed: int) -> Floats:
    """Compute the relationship of such families (n, n): the mean of zzᵀ over the variants."""
    W = standardised_families(n, seed)
    return np.asarray(W @ W.T / VARIANTS)


def sire_of(k: int) -> int:
    """Return the sire of offspring k, 0, ..., SIRES - 1."""
    return (k // FAMILY + k % 2) % SIRES


def dam_of(k: int) -> int:
    """Return the dam of offspring k, 0, ..., DAMS - 1."""
    return k // FAMILY % DAMS


def pedigree_kernel() -> Floats:
    """Compute A of 6 sires, 12 dams and 48 offspring, four a dam by two sires (Henderson 1976)."""
    founders = SIRES + DAMS
    A = np.eye(founders + N)
    for k in range(N):
        i, parents = founders + k, [sire_of(k), SIRES + dam_of(k)]
        A[i, :i] = A[:i, i] = A[parents, :i].mean(axis=0)
    return A
