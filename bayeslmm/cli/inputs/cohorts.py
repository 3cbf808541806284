"""Cohorts of the traits from the tables named by the options of ``h2``."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.cli.inputs.groups import groups_read
from bayeslmm.errors import BayesLMMError, InputError

if TYPE_CHECKING:
    import pandas as pd

    from bayeslmm.cli.inputs.individuals import Source
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.ledger import Unit
    from bayeslmm.models.file import ModelFile

ROLES = {"dam": "dam_column", "environment": "environment_column", "group": "residual_column"}


def build_cohorts(
    args: Namespace,
    source: Source,
    model: ModelFile,
    left_out: dict[str, BayesLMMError] | None = None,
) -> list[Cohort]:
    """Build one cohort per trait, with its own missing values, or one for a multi-trait model.

    Traits that cannot be analysed are entered in `left_out`, with their error, if it is given and
    the model is of one trait.
    """
    from bayeslmm.cohort.traits import stack_traits

    roles = column_roles(args, source, model)
    read = _records if args.id_column else _rows
    found = read(args, source, roles, None if model.several_traits else left_out)
    found = [_with_roles(one, roles, source) for one in found]
    if model.several_traits:
        if len(found) < 2:
            raise InputError(
                f"the model {model.name} with one trait",
                "two or more",
                "name them: --pheno-name A,B",
            )
        return [stack_traits(found)]
    if len(found) > 1 and any(one.trait == "posterior" for one in found):
        raise InputError(
            "a trait called 'posterior' beside others",
            "names other than the groups of the result file",
            "rename the column",
            path=args.pheno,
        )
    return found


def column_roles(args: Namespace, source: Source, model: ModelFile) -> dict[str, str]:
    """Map each role ("dam") and group to its column of --pheno; "" for the pedigree's dam."""
    roles = {role: name for role, option in ROLES.items() if (name := getattr(args, option))}
    for role in roles:
        if role not in (*model.columns, *model.optional_columns):
            raise InputError(
                f"--{ROLES[role].replace('_', '-')} with the model {model.name}",
                "a model that uses it",
                "leave it out, or say COLUMNS in your model's file (models/README.md)",
            )
    for role in model.columns:
        if role not in roles:
            if role == "dam" and source.pedigree is not None:
                roles[role] = ""
                continue
            raise InputError(
                f"no {role} for the model {model.name}",
                "a column of --pheno",
                f"name it: --{ROLES.get(role, role).replace('_', '-')} COLUMN",
            )
    return roles | {name: name for name in groups_read(args)}


def _rows(
    args: Namespace,
    source: Source,
    roles: dict[str, str],
    left_out: dict[str, BayesLMMError] | None,
) -> list[Cohort]:
    """Build cohorts from tables with one row per individual."""
    from bayeslmm.cohort.build import cohorts
    from bayeslmm.tables.phenotypes import read_columns, read_phenotypes

    phenotypes = read_phenotypes(
        args.pheno, columns=_traits(args, roles), missing_code=args.missing_code
    )
    further = list(dict.fromkeys(name for name in roles.values() if name))
    extra = read_columns(args.pheno, further, missing_code=args.missing_code) if further else None
    return cohorts(
        phenotypes,
        args.pheno_name,
        individuals=source.individuals,
        covariates=_covariates(args),
        covariate_names=args.covar_name,
        categorical=args.cat_covar or (),
        formula=args.formula,
        columns=further,
        extra=extra,
        ledger=source.ledger,
        quantitative=args.quantitative,
        keep_values=args.keep_values,
        allow_few_matches=args.allow_few_matches,
        left_out=left_out,
    )


def _traits(args: Namespace, roles: dict[str, str]) -> list[str] | None:
    """Return the traits to read; None for all columns, unless some columns have other roles."""
    names: list[str] | None = args.pheno_name
    if names is None and any(roles.values()):
        raise InputError(
            "no --pheno-name, and columns of --pheno that are not traits",
            "the traits by name",
            "add --pheno-name A,B",
        )
    return names


def _records(
    args: Namespace,
    source: Source,
    roles: dict[str, str],
    left_out: dict[str, BayesLMMError] | None,
) -> list[Cohort]:
    """Build cohorts from a table with one row per record."""
    from bayeslmm.cohort.records import read_records, record_cohorts

    if args.pheno_name is None:
        raise InputError("--id-column without --pheno-name", "the traits by name", "name them")
    records = read_records(args.pheno, args.id_column, args.missing_code)
    same = args.covar is None or os.path.realpath(args.covar) == os.path.realpath(args.pheno)
    return record_cohorts(
        records,
        args.pheno_name,
        individuals=source.individuals,
        covariates=None if same else _covariates(args),
        covariate_names=args.covar_name,
        categorical=args.cat_covar or (),
        formula=args.formula,
        columns=list(dict.fromkeys(name for name in roles.values() if name)),
        ledger=source.ledger,
        quantitative=args.quantitative,
        keep_values=args.keep_values,
        allow_few_matches=args.allow_few_matches,
        left_out=left_out,
    )


def _covariates(args: Namespace) -> pd.DataFrame | None:
    from bayeslmm.tables.phenotypes import read_covariates

    if args.covar is None:
        return None
    return read_covariates(
        args.covar,
        columns=args.covar_name,
        categorical=args.cat_covar or (),
        formula=args.formula,
        missing_code=args.missing_code,
    )


def _with_roles(cohort: Cohort, roles: dict[str, str], source: Source) -> Cohort:
    """Rename the further columns of a cohort to the names that model files use."""
    import pandas as pd

    if not roles:
        return cohort
    dams: list[str] = []
    if roles.get("dam") == "":
        cohort, dams = pedigree_dams(cohort, source)
    columns: dict[str, Any] = {
        role: cohort.column(name).to_numpy() if name else dams for role, name in roles.items()
    }
    return replace(cohort, columns=pd.DataFrame(columns))


def pedigree_dams(cohort: Cohort, source: Source) -> tuple[Cohort, list[str]]:
    """Drop the records without a dam in the pedigree; also return the dams' IIDs."""
    pedigree = source.pedigree
    assert pedigree is not None
    dams = pedigree.dam[pedigree.positions(cohort.individuals)]
    known = dams >= 0
    if not known.all():
        cohort = select_records(cohort, known, "dam unknown")
        dams = dams[known]
    return cohort, pedigree.individuals.get_level_values(1)[dams].tolist()


def select_records(cohort: Cohort, kept: NDArray[np.bool_], reason: str) -> Cohort:
    """Select some of the records, and enter the others in the ledger."""
    from bayeslmm.individuals import names_of

    lost = cohort.individuals[~kept].unique()
    unit: Unit = "individuals" if cohort.records is None else "records"
    if int(kept.sum()) <= cohort.p:
        raise InputError(
            f"{int(kept.sum())} records left ({reason})", f"more than {cohort.p} covariates",
            "check the table",
        )  # fmt: skip
    X = np.ascontiguousarray(cohort.X[kept])
    if np.linalg.matrix_rank(X) < cohort.p:
        raise InputError(
            f"covariates that do not vary among the {len(X)} records left ({reason})",
            "covariates of full rank",
            "leave some of them out",
        )
    return replace(
        cohort,
        y=np.ascontiguousarray(cohort.y[kept]),
        X=X,
        individuals=cohort.individuals[kept],
        records=None if cohort.records is None else tuple(np.array(cohort.records)[kept].tolist()),
        columns=None if cohort.columns is None else cohort.columns[kept].reset_index(drop=True),
        ledger=cohort.ledger.add(unit, reason, names_of(lost), remaining=int(kept.sum())),
    )
