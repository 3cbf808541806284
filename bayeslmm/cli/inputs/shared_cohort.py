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
from bayeslmm.cli.inputs.cohorts import ROLES, build_cohorts, column_roles
from bayeslmm.cli.inputs.groups import check_group_names, groupings
from bayeslmm.errors import InputError

if TYPE_CHECKING:
    from bayeslmm.cli.compare_models import Files
    from bayeslmm.cli.inputs.individuals import Source
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.likelihood.terms import Grouping


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
    _check_columns(args, source, files)
    found = build_cohorts(args, source, _together(files))  # type: ignore[arg-type]
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
    kernels = {
        name for file in model_files(files) if takes_groups(file) for name in file.matrices()
    }
    check_group_names(args.group_column or (), kernels)
    return groupings(args, cohort)
