"""Records and matrices for the calibration of a model file, as its file requires.

By default they are 48 individuals in 12 families of two parents and two children, with 20 unlinked
variants for each kernel that the model names. So few variants make the kernels distinguishable and
h² well estimated in spite of the few records. The phenotype of a problem only sets the units of the
priors: every simulation replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.calibration.simulated_families import (
    DAMS,
    FAMILY,
    SIRES,
    VARIANTS,
    N,
    dam_of,
    family_kernel,
    pedigree_kernel,
    standardised_families,
)
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index
from bayeslmm.likelihood.terms import Grouping
from bayeslmm.models.file import ModelFile
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

COLUMNS = ("dam", "environment", "group", "household")
TRAITS = ("a", "b")


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Data set for the calibration of a model.

    Parameters
    ----------
    cohort
        The records: an intercept, a covariate, and the columns that the model needs.
    matrices
        Relationships, variants and groupings, by their names in the model.
    description
        A phrase for the report.
    """

    cohort: Cohort
    matrices: Mapping[str, Any]
    description: str


def small_problem(file: ModelFile, *, several: bool = False) -> Problem:
    """Simulate a small problem for a model file.

    Parameters
    ----------
    file
        The model; its `COLUMNS`, `OPTIONAL_COLUMNS`, `SEVERAL_TRAITS` and matrices determine the
        data.
    several
        Two records of each of 24 individuals instead of one of each of 48.

    Raises
    ------
    InputError
        If the model needs a column other than dam, environment, group or household.
    """
    _check_columns(file)
    names = file.matrices()
    if "dam" in file.columns:
        A = pedigree_kernel()
        people = _people(len(A))
        usual: Any = {"estimator": "pedigree", "kernel_scale": "none"}
        relationships = {name: Relationship(A, people, name=name, **usual) for name in names}
        offspring = np.arange(SIRES + DAMS, len(A))
        cohort = _records(file, people, offspring)
        description = f"{N} offspring of {SIRES} sires and {DAMS} dams, with their pedigree"
        return Problem(cohort, relationships, description)
    q = N // 2 if several else N
    people = _people(q)
    who = np.repeat(np.arange(q), N // q)
    matrices: dict[str, Any] = {}
    for seed, name in enumerate(names, 1):
        if name == "variants":
            matrices[name] = Variants(standardised_families(q, seed), people)
        else:
            matrices[name] = Relationship(family_kernel(q, seed), people, name=name)
    if file.more() is not None and not names:
        kernels = {f"part{k}": family_kernel(q, k) for k in (1, 2, 3)}
        matrices = {name: Relationship(K, people, name=name) for name, K in kernels.items()}
    cohort = _records(file, people, who)
    description = f"{q} simulated individuals in families of {FAMILY}"
    if len(who) > q:
        description += f", {len(who) // q} records each"
    if file.more() is not None and names:
        matrices |= _household(cohort)
        description += ", who also share households"
    if file.several_traits:
        description += f", {len(TRAITS)} traits"
    return Problem(cohort, matrices, f"{description}; {VARIANTS} variants per kernel")


def given_problem(
    file: ModelFile,
    relationships: Mapping[str, Relationship],
    *,
    n: int | None = None,
    seed: int = 1,
    several: bool = False,
) -> Problem:
    """Make a problem with the user's relationships.

    Parameters
    ----------
    file
        The model.
    relationships
        Relationship matrices, by their names in the model.
    n
        Number of individuals, a random sample of those in all matrices; default all.
    seed
        Seed of the sample.
    several
        Two records of each individual instead of one.

    Raises
    ------
    InputError
        If there are fewer than `n` individuals, if the model needs dams, which a matrix does not
        hold, or if it needs an unknown column.
    """
    _check_columns(file)
    if "dam" in file.columns:
        raise InputError(
            f"the model {file.name} needs the dam of every record, which a matrix does not hold",
            "the simulated pedigree",
            "leave out --grm",
            path=file.path,
        )
    if not relationships:
        raise InputError("no relationship", "one or more", "give them by name")
    people = next(iter(relationships.values())).individuals
    for one in relationships.values():
        people = people[people.isin(one.individuals)]
    if len(people) < (least := n or 4):
        raise InputError(
            f"{len(people)} individuals are in all matrices",
            f"at least {least}",
            "choose a smaller --n",
        )
    if n is not None and n < len(people):
        chosen = np.random.default_rng([seed, 48]).choice(len(people), n, replace=False)
        people = people[np.sort(chosen)]
    who = np.repeat(np.arange(len(people)), 2 if several else 1)
    cohort = _records(file, people, who)
    matrices: dict[str, Any] = dict(relationships)
    description = f"{len(people)} individuals of your matrices {', '.join(relationships)}"
    if set(file.matrices()) == set(relationships) and file.more() is not None and file.matrices():
        matrices |= _household(cohort)
        description += ", in simulated households"
    if several:
        description += ", two records each"
    return Problem(cohort, matrices, description)


def _check_columns(file: ModelFile) -> None:
    if unknown := [name for name in file.columns if name not in COLUMNS]:
        raise InputError(
            f"the model {file.name} needs the column '{unknown[0]}', whose meaning is unknown",
            f"columns among {', '.join(COLUMNS)}",
            "calibrate it from Python, with your own cohort: "
            "bayeslmm.calibration.sbc.calibrate(file(cohort, ...), n_sims=1000)",
            path=file.path,
        )


def _records(file: ModelFile, people: pd.MultiIndex, who: NDArray[np.intp]) -> Cohort:
    """Make records of the individuals `who`: y, intercept, covariate x, the model's columns."""
    rng = np.random.default_rng(31)
    n = len(who)
    X = np.column_stack([np.ones(n), 3.0 + rng.standard_normal(n)])
    y = 30.0 + 2.0 * rng.standard_normal(n)
    made: dict[str, Any] = {
        "environment": rng.standard_normal(n),
        "group": pd.array(np.where(np.arange(n) % 3 == 0, "farm", "field"), dtype="str"),
        "household": pd.array([f"h{k // FAMILY}" for k in range(n)], dtype="str"),
    }
    if "dam" in file.columns:
        dams = [str(people[SIRES + dam_of(k)][1]) for k in range(n)]
        made["dam"] = pd.array(dams, dtype="str")
    wanted = [name for name in (*file.columns, *file.optional_columns) if name in made]
    table = pd.DataFrame({name: made[name] for name in wanted}) if wanted else None
    labels = tuple(f"r{k}" for k in range(n)) if len(set(who.tolist())) < n else None
    one = Cohort(y, X, people[who], ("intercept", "x"), "trait", records=labels, columns=table)
    if not file.several_traits:
        return one
    return stack_traits([replace(one, trait=trait) for trait in TRAITS])


def _household(cohort: Cohort) -> dict[str, Grouping]:
    """Group the records into households of four that are crossed with the families."""
    groups = max(2, cohort.n // FAMILY)
    return {"household": Grouping("household", tuple(f"h{k % groups}" for k in range(cohort.n)))}


def _people(n: int) -> pd.MultiIndex:
    return individual_index(["F"] * n, [f"i{k}" for k in range(n)])
