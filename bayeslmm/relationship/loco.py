"""Leave one chromosome out (LOCO): kernels of the variants on all other chromosomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.system.memory import require_memory


def loco(grms: Mapping[str, Relationship]) -> dict[str, Relationship]:
    """Compute the kernels without each chromosome by subtraction; no genotype is read.

    ``K_-c = (Σ_d m_d K_d - m_c K_c) / (Σ_d m_d - m_c)`` with the m_d variants of chromosome d. This
    is the GRM of the variants on all chromosomes except c.

    Parameters
    ----------
    grms
        Two or more unscaled kernels of disjoint sets of variants, with one estimator and the same
        individuals. `bayeslmm.relationship.genomic.compute_grms` computes them with the sets of
        `bayeslmm.relationship.variant_sets.by_chromosome`.

    Returns
    -------
    dict
        The kernel of all variants ("additive" or "dominance"), then "loco:chr1", ..., each with its
        number of variants.

    Raises
    ------
    InputError
        If there are fewer than two kernels, they do not belong together, or memory is too small.
    """
    parts = list(grms.values())
    _check(parts)
    n, estimator = parts[0].n, parts[0].estimator
    require_memory(
        8 * n * n * (len(parts) + 3), f"{len(parts)} LOCO kernels of {n} individuals",
        "use fewer individuals (--keep)",
    )  # fmt: skip
    counts = [part.n_variants or 0 for part in parts]
    m = sum(counts)
    total = np.zeros((n, n))
    for part, count in zip(parts, counts, strict=True):
        total += count * part.matrix
    name = estimator if estimator == "dominance" else "additive"
    whole = replace(parts[0], matrix=total / m, name=name, n_variants=m)
    found = {name: whole}
    for key, part, count in zip(grms, parts, counts, strict=True):
        name = f"loco:{key}"
        rest = (total - count * part.matrix) / (m - count)
        found[name] = replace(part, matrix=rest, name=name, n_variants=m - count)
    return found


def _check(parts: list[Relationship]) -> None:
    if len(parts) < 2:
        raise InputError(
            f"{len(parts)} kernel", "the kernels of two or more chromosomes", "keep more of them"
        )
    first = parts[0]
    for part in parts:
        if not part.n_variants or part.factor != 1.0:
            raise InputError(
                f"kernel {part.name!r} with {part.n_variants} variants and factor {part.factor:g}",
                "unscaled kernels whose number of variants is known",
                "pass the kernels that compute_grms returns",
            )
        if part.estimator != first.estimator or not part.individuals.equals(first.individuals):
            raise InputError(
                f"kernels {first.name!r} and {part.name!r} of different estimators or individuals",
                "kernels of one estimator and the same individuals in the same order",
                "compute them together, with compute_grms",
            )
