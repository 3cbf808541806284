"""Small data sets for the models of the gallery: 48 records or so, few variants a kernel.

The studies themselves are `bayeslmm.calibration`, whose own problems are in
`bayeslmm.calibration.problem`; these are for tests that need the matrices by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from engine_oracles import gram
from kernel_problems import people, relationship_of_pedigree
from numpy.typing import NDArray

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

type Floats = NDArray[np.float64]

N = 48


def kernel(seed: int, variants: int = 20, n: int = N) -> Floats:
    """A centred GRM of few variants."""
    return gram(n, variants, np.random.default_rng(seed))


def relationship(seed: int, name: str = "additive", n: int = N) -> Relationship:
    return Relationship(kernel(seed, n=n), people(n), name=name)


def grouping(codes: NDArray[Any], name: str) -> Relationship:
    """Shared environment of a grouping, as a kernel."""
    K = (codes[:, None] == codes).astype(np.float64)
    usual = {"kernel_scale": "none", "kind": "environment", "estimator": "group"}
    return Relationship(K, people(len(codes)), name=name, **usual)  # type: ignore[arg-type]


def records(
    who: NDArray[Any], *, several: bool = False, columns: Any = None, trait: str = "trait"
) -> Cohort:
    """Records of the individuals `who`, with a covariate; y only sets the unit of the priors."""
    rng = np.random.default_rng(31)
    n = len(who)
    X = np.column_stack([np.ones(n), 3.0 + rng.standard_normal(n)])
    labels = tuple(f"r{k}" for k in range(n)) if several else None
    table = None if columns is None else pd.DataFrame(columns)
    individuals = people(int(who.max()) + 1)[who]
    return Cohort(30 + 2 * rng.standard_normal(n), X, individuals, ("intercept", "x"), trait,
                  records=labels, columns=table)  # fmt: skip


def problem(model: str) -> tuple[Cohort, tuple[Any, ...]]:
    """Records and matrices for a model of the gallery.

    Raises
    ------
    KeyError
        For a model that has no problem yet: add one.
    """
    alone, rng = records(np.arange(N)), np.random.default_rng(17)
    twice = np.repeat(np.arange(24), 2)
    if model in ("additive", "additive_cholesky"):
        return alone, (relationship(1),)
    if model == "snp_effects":
        return alone, (Variants(rng.standard_normal((N, 20)), people(N)),)
    if model == "dominance":
        return alone, (relationship(1), relationship(2, "dominance"))
    if model == "epistasis":
        names = ("additive", "dominance", "additive_additive", "additive_dominance")
        return alone, tuple(relationship(k, name) for k, name in enumerate(names, 1))
    if model == "partitioned":
        return alone, tuple(relationship(k, f"chr{k}") for k in (1, 2, 3))
    if model == "household":
        return alone, (relationship(1), grouping(np.arange(N) // 4, "household"))
    if model == "repeated":
        who = rng.permutation(np.repeat(np.arange(20), [1, 2, 3, 4] * 5))
        return records(who, several=True), (relationship(1, n=20),)
    if model == "maternal":
        parents = [(-1, -1)] * 18  # 6 sires and 12 dams, each dam with four offspring by two sires
        parents += [((k // 4 + k % 2) % 6, 6 + k // 4) for k in range(N)]
        A = np.asarray(relationship_of_pedigree(parents), dtype=np.float64)
        dams = pd.array([f"i{6 + k // 4}" for k in range(N)], dtype="str")
        K = Relationship(A, people(18 + N), estimator="pedigree", kernel_scale="none")
        return records(18 + np.arange(N), columns={"dam": dams}), (K,)
    if model == "gxe":
        group = pd.array(np.where(np.arange(N) % 3 == 0, "farm", "field"), dtype="str")
        columns = {"environment": rng.standard_normal(N), "group": group}
        return records(twice, several=True, columns=columns), (relationship(1, n=24),)
    if model == "bivariate":
        return stack_traits([records(np.arange(N), trait=t) for t in "ab"]), (relationship(1),)
    if model == "bivariate, some missing":
        present = {"a": np.arange(36), "b": np.arange(12, N)}
        stacked = stack_traits([records(who, trait=t) for t, who in present.items()])
        return stacked, (relationship(1),)
    raise KeyError(f"no problem for the model {model!r}: add one to tests/support/sbc_models.py")
