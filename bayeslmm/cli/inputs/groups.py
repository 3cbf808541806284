"""Groups that share an environment: columns of --pheno, families, or the individuals themselves."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from bayeslmm.errors import InputError

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.likelihood.terms import Grouping

FAMILY = "FID"
FAMILY_NOTE = (
    "The groups are the families of the FID column. Members of a family share genes as well as an "
    "environment, and what a family shares need not be a home or a cage: read this component with "
    "that in mind."
)


def id_columns(args: Namespace) -> tuple[str, ...]:
    """Return the columns of --pheno that hold IDs, which any table has and need not be read."""
    if args.id_column is None:
        return FAMILY, "IID"
    return (FAMILY, "IID") if args.id_column == "IID" else (args.id_column,)


def groups_read(args: Namespace) -> list[str]:
    """Return the columns of --group-column that hold no IDs."""
    return [name for name in args.group_column or () if name not in id_columns(args)]


def groupings(args: Namespace, cohort: Cohort) -> dict[str, Grouping]:
    """Make the groupings of --group-column, by name.

    The column of the individuals makes a group of the records of each of them, whose component is
    their permanent environment.

    Raises
    ------
    InputError
        If families are asked for, and the individuals have no family IDs or one for all.
    """
    from bayeslmm.likelihood.terms import Grouping

    found = {}
    for name in dict.fromkeys(args.group_column or ()):
        labels = _labels(cohort, name) if name in id_columns(args) else cohort.column_text(name)
        found[name] = Grouping(name, tuple(labels))
    return found


def check_group_names(groups: Iterable[str], kernels: Collection[str]) -> None:
    """Check that no group has the name of a kernel or of the residual, which it would hide.

    Raises
    ------
    InputError
        If one has; the message states the name.
    """
    for name in groups:
        if name in kernels or name == "residual":
            raise InputError(
                f"--group-column {name}, beside the component '{name}'",
                "another name",
                "rename the column",
            )


def _labels(cohort: Cohort, name: str) -> list[str]:
    """Return the family or the individual of each record."""
    from bayeslmm.individuals import labels_of

    if name != FAMILY:
        return labels_of(cohort.individuals)
    families = [str(label) for label in cohort.individuals.get_level_values(FAMILY)]
    if len(set(families)) == 1:
        raise InputError(
            f"--group-column {FAMILY}, and all {len(families)} records have the FID {families[0]}",
            "two or more families",
            "give the groups in another column of --pheno, or leave it out",
        )
    return families
