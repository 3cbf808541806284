"""Simulate individuals and their dosages: allele frequencies, LD, Mendelian transmission."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.individuals import NO_FAMILY

CHROMOSOMES = 22
BASES = 120_000_000  # length of each chromosome in base pairs
MORGAN_PER_BASE = 1e-8  # 1 centimorgan per megabase
MIN_MAF = 0.02  # lowest minor allele frequency in the population
LD_VARIANTS = 10.0  # mean number of variants that a haplotype copies from one ancestor
REARRANGE = 0.25  # chance that the arc of a variant begins elsewhere than the previous one
CHILDREN = 3  # per family

type Haplotypes = NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class Families:
    """Individuals and their parents.

    Parameters
    ----------
    fid, iid, father, mother
        (n,) identifiers; "0" where there is no parent.
    sex
        (n,) 1 male, 2 female.
    father_at, mother_at
        (n,) positions of the parents, which precede their children; -1 for founders.
    """

    fid: list[str]
    iid: list[str]
    father: list[str]
    mother: list[str]
    sex: NDArray[np.int64]
    father_at: NDArray[np.int64]
    mother_at: NDArray[np.int64]

    @property
    def child(self) -> NDArray[np.bool_]:
        """(n,) whether the parents are among the individuals."""
        return self.father_at >= 0


def unrelated(n: int, rng: np.random.Generator) -> Families:
    """Make n founders; FID and IID are "I1", "I2", ..."""
    names = [f"I{k + 1}" for k in range(n)]
    none = np.full(n, -1)
    no_parent = [NO_FAMILY] * n
    return Families(names, names, no_parent, no_parent, rng.integers(1, 3, n), none, none)


def nuclear_families(n: int, rng: np.random.Generator) -> Families:
    """Make families of father, mother and three children; the last may have fewer members."""
    place = np.arange(n) % (2 + CHILDREN)
    first = np.arange(n) - place
    child = place >= 2
    sex = np.where(child, rng.integers(1, 3, n), place + 1)
    fid = [f"F{k + 1}" for k in np.arange(n) // (2 + CHILDREN)]
    iid = [f"{family}_{k + 1}" for family, k in zip(fid, place, strict=True)]
    father = [f"{f}_1" if c else "0" for f, c in zip(fid, child, strict=True)]
    mother = [f"{f}_2" if c else "0" for f, c in zip(fid, child, strict=True)]
    father_at, mother_at = np.where(child, first, -1), np.where(child, first + 1, -1)
    return Families(fid, iid, father, mother, sex, father_at, mother_at)


def simulate_dosages(
    people: Families, m: int, rng: np.random.Generator
) -> tuple[NDArray[np.int8], pd.DataFrame]:
    """Simulate dosages of A1 on 22 chromosomes.

    Parameters
    ----------
    people
        n founders, or families.
    m
        Number of variants, spread evenly over the chromosomes.
    rng
        Source of randomness.

    Returns
    -------
    dosages
        (m, n) int8: 0, 1, 2.
    variants
        (m,) rows: CHROM, POS, ID, A1, A0.
    """
    founders = np.flatnonzero(~people.child)
    children = np.flatnonzero(people.child)
    dosages = np.empty((m, len(people.iid)), dtype=np.int8)
    tables = []
    for number, part in enumerate(np.array_split(np.arange(m), CHROMOSOMES), 1):
        if not part.size:
            continue
        position = np.sort(rng.choice(BASES, len(part), replace=False)) + 1
        haplotypes = np.empty((2, len(part), len(people.iid)), dtype=np.int8)
        pool = founder_haplotypes(len(part), 2 * len(founders), rng)
        haplotypes[:, :, founders] = pool.reshape(len(part), 2, -1).transpose(1, 0, 2)
        for side, parent in enumerate((people.father_at, people.mother_at)):
            haplotypes[side][:, children] = transmit(
                haplotypes[:, :, parent[children]], position, rng
            )
        dosages[part[0] : part[-1] + 1] = haplotypes.sum(axis=0, dtype=np.int8)
        tables.append(
            pd.DataFrame(
                {
                    "CHROM": str(number),
                    "POS": position,
                    "ID": [f"{number}:{k}" for k in position],
                    "A1": "A",
                    "A0": "G",
                }
            )
        )
    return dosages, pd.concat(tables, ignore_index=True)


def founder_haplotypes(m: int, count: int, rng: np.random.Generator) -> Haplotypes:
    """Simulate haplotypes of one chromosome by Markov copying of ancestral lineages.

    Ancestors are the points of a circle. A haplotype copies one of them and switches to another at
    each variant with probability 1/`LD_VARIANTS`. The ancestors with A1 at a variant (or, as often,
    with the other allele) form an arc whose length is their frequency, and neighbouring variants
    mostly share the beginning of their arcs. So LD falls with distance, its sign differs from pair
    to pair, and the allele frequencies are the drawn ones.

    Returns
    -------
    haplotypes
        (m, count) int8, 1 for A1.
    """
    frequency = allele_frequencies(m, rng)
    ancestor = rng.random(count, dtype=np.float32)
    haplotypes = np.empty((m, count), dtype=np.int8)
    flipped = rng.random(m) < 0.5  # whether the arc carries A0 instead of A1
    length = np.where(flipped, 1 - frequency, frequency)
    start = np.float32(0)
    for variant in range(m):
        switch = np.flatnonzero(rng.random(count, dtype=np.float32) < 1 / LD_VARIANTS)
        ancestor[switch] = rng.random(len(switch), dtype=np.float32)
        if rng.random() < REARRANGE:
            start = np.float32(rng.random())
        on_arc = (ancestor - start) % 1 < length[variant]
        haplotypes[variant] = on_arc != flipped[variant]
    return haplotypes


def allele_frequencies(m: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw frequencies of A1 (m,): U-shaped, Beta(1/2, 1/2) truncated to (0.02, 0.98)."""
    # Beta(1/2, 1/2) is the arcsine law, so its truncation has a closed form
    low = np.arcsin(np.sqrt(MIN_MAF))
    angle = rng.uniform(low, np.pi / 2 - low, m)
    frequencies: NDArray[np.float64] = np.sin(angle) ** 2
    return frequencies


def transmit(
    parents: Haplotypes, position: NDArray[np.int64], rng: np.random.Generator
) -> Haplotypes:
    """Transmit gametes: mosaics of a parent's two haplotypes with Haldane crossovers.

    Parameters
    ----------
    parents
        (2, m, c) both haplotypes of each child's parent, on one chromosome.
    position
        (m,) base pairs, increasing.

    Returns
    -------
    gametes
        (m, c) one haplotype for each child.
    """
    distance = np.diff(position) * MORGAN_PER_BASE
    recombination = np.append(0.5, -0.5 * np.expm1(-2 * distance))
    crossover = rng.random((len(position), parents.shape[2])) < recombination[:, None]
    second = np.logical_xor.accumulate(crossover, axis=0)
    gametes: Haplotypes = np.where(second, parents[1], parents[0])
    return gametes
