"""Make the eigenvalues of the four designs of the coverage tables: eigenvalues_<design>.txt.

    uv run --with msprime python tests/calibration/coverage_designs.py [DESIGN ...]

All have about 1000 individuals (the panel 400 lines), an intercept, and a kernel scaled to
average semivariance one. msprime is needed for the design of that name only, and is no dependency.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bayeslmm.likelihood.decompose import decompose
from bayeslmm.relationship.relationship import average_semivariance
from bayeslmm.simulation.genotypes import nuclear_families
from bayeslmm.study.eigenvalues import marchenko_pastur

FOLDER = Path(__file__).resolve().parent

type Floats = np.ndarray

WORDS = {
    "families": "200 families of 2 parents and 3 children, 4000 unlinked variants",
    "unrelated": "1000 unrelated people, 50000 effective segments (Marchenko-Pastur)",
    "msprime": "1000 diploids of a coalescent population (Ne 10000), 6 chromosomes of 20 Mb",
    "inbred": "400 recombinant inbred lines (sib mating, two founders), 20 chromosomes of 1 Morgan",
}


def families() -> Floats:
    """Gene dropping of unlinked variants with allele frequencies from 0.05 to 0.5."""
    rng = np.random.default_rng(1)
    people = nuclear_families(1000, rng)
    p = rng.uniform(0.05, 0.5, 4000)
    alleles = rng.random((1000, 2, p.size)) < p
    child = np.flatnonzero(people.child)
    for side, parent in enumerate((people.father_at, people.mother_at)):
        chosen = rng.integers(0, 2, (child.size, p.size))
        rows = alleles[parent[child]]
        alleles[child, side] = np.take_along_axis(rows, chosen[:, None, :], axis=1)[:, 0]
    return of_dosages(alleles.sum(axis=1).astype(float))


def unrelated() -> Floats:
    """Nobody's relatives: the law of Marchenko and Pastur."""
    return marchenko_pastur(1000, 50_000)


def msprime() -> Floats:
    """Coalescent with recombination; the few close relatives and the LD are the model's own."""
    import msprime as ms

    dosages = []
    for chromosome in range(1, 7):
        trees = ms.sim_ancestry(
            1000,
            sequence_length=20e6,
            recombination_rate=1e-8,
            population_size=10_000,
            random_seed=chromosome,
        )
        trees = ms.sim_mutations(trees, rate=1e-8, random_seed=100 + chromosome)
        found = trees.genotype_matrix()
        found = found[(found <= 1).all(axis=1)]
        dosages.append(found[:, ::2] + found[:, 1::2])
    joined = np.concatenate(dosages).T.astype(float)
    frequency = joined.mean(axis=0) / 2
    return of_dosages(joined[:, np.minimum(frequency, 1 - frequency) >= 0.01])


def inbred() -> Floats:
    """A Markov chain along each chromosome: R = 4r/(1 + 6r) between markers of a line."""
    rng = np.random.default_rng(4)
    r = 0.5 * -np.expm1(-2 * 0.01)  # Haldane, a marker each centimorgan
    lines = []
    for _ in range(20):
        switch = rng.random((400, 101)) < 4 * r / (1 + 6 * r)
        switch[:, 0] = rng.random(400) < 0.5
        lines.append(np.logical_xor.accumulate(switch, axis=1))
    return of_dosages(2.0 * np.concatenate(lines, axis=1))


def of_dosages(dosages: Floats) -> Floats:
    """Eigenvalues (n - 1,) of the GRM of dosages (n, variants)."""
    n = len(dosages)
    Z = dosages - dosages.mean(axis=0)
    Z = Z[:, Z.any(axis=0)]
    Z /= Z.std(axis=0)
    K = Z @ Z.T / Z.shape[1]
    return decompose(K / average_semivariance(K), np.ones((n, 1))).eigenvalues


def main(names: list[str]) -> None:
    for name in names or list(WORDS):
        s = np.sort(globals()[name]())
        se = np.sqrt(2 / (s.size * s.var()))
        lines = [f"# {WORDS[name]}", "# eigenvalues among the error contrasts; made by:"]
        lines.append(f"# uv run --with msprime python tests/calibration/coverage_designs.py {name}")
        lines += [f"{value:.6g}" for value in s]
        (FOLDER / f"eigenvalues_{name}.txt").write_text("\n".join(lines) + "\n")
        print(f"{name}: {s.size} from {s[0]:.3g} to {s[-1]:.3g}, SE(0) = {se:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
