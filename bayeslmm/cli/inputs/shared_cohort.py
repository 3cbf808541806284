"""The records shared by several models, and the groups among them.

A model may need columns that another does not (a dam, an environment, a cage). elpd and marginal
likelihood are comparable only between fits of the same records. So the cohort holds the records
that are complete for all models.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bayeslmm.cli.compare_models import model_files, takes_groups
from bayeslmm.cli.inputs.cohorts import ROLES, build_cohorts, check_group_names, column_roles
from bayeslmm.errors import InputError

if TYPE_CHECKING:
    from bayeslmm.cli.compare_models import Files
    from bayeslmm.cli.inputs.individuals import Source
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.likelihood.terms import Grouping

FAMILY = "FID"
FAMILY_NOTE = (
    "The groups are the families of the FID column. Members of a family share genes as well as an "
    "environment, and what a family shares need not be a home or a cage: read this component with "
    "that in mind."
)


@dataclass(frozen=True, slots=True)
class _Together:
    """The union of the columns that several models need, in place of a model file."""

    name: str
    columns: tuple[str, ...]
    optional_columns: tuple[str, ...]
    several_traits: bool = False


def shared_cohort(
    args: Namespace, source: Source, files: Files
) -> tuple[Cohort, dict[str, Grouping]]:
    """Build the cohort of records complete for all models, and the groups of --group-column.

    Raises
    ------
    InputError
        If a column that a model needs is not named, if there are several traits, or if a group has
        the name of the intercept, the residual or a kernel.
    """
    plain = Namespace(**vars(args))
    plain.group_column = [name for name in args.group_column or () if name != FAMILY] or None
    _check_columns(plain, source, files)
    found = build_cohorts(plain, source, _together(files))  # type: ignore[arg-type]
    if len(found) != 1:
        traits = ", ".join(one.trait for one in found[:3]) + (", ..." if len(found) > 3 else "")
        raise InputError(
            f"{len(found)} traits ({traits})",
            "one trait at a time",
            f"add --pheno-name {found[0].trait}",
        )
    return found[0], _groups(args, found[0], files)


def _check_columns(args: Namespace, source: Source, files: Files) -> None:
    """Check that each model finds its columns; the error names the model."""
    for file in model_files(files):
        own = Namespace(**vars(args))
        for role, option in ROLES.items():
            if role not in (*file.columns, *file.optional_columns):
                setattr(own, option, None)
        column_roles(own, source, file)


def _together(files: Files) -> _Together:
    every = model_files(files)
    return _Together(
        " or ".join(files),
        tuple(dict.fromkeys(column for file in every for column in file.columns)),
        tuple(dict.fromkeys(column for file in every for column in file.optional_columns)),
    )


def _groups(args: Namespace, cohort: Cohort, files: Files) -> dict[str, Grouping]:
    from bayeslmm.likelihood.terms import Grouping

    wanted = list(dict.fromkeys(args.group_column or ()))
    kernels = {
        name for file in model_files(files) if takes_groups(file) for name in file.matrices()
    }
    check_group_names(wanted, kernels)
    groups = {}
    for name in wanted:
        if name == FAMILY:
            labels = [str(label) for label in cohort.individuals.get_level_values(FAMILY)]
        else:
            labels = cohort.column_text(name)
        groups[name] = Grouping(name, tuple(labels))
    return groups
