"""The models of ``bayeslmm compare``, and the options that they can use."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping

from bayeslmm import models
from bayeslmm.cli.analysis import parse_priors
from bayeslmm.errors import InputError

type Files = Mapping[str, models.ModelFile | None]  # by the name shown; None: fixed effects alone

NULL = "fixed"  # not "null", which pandas reads as a missing value
NULL_PRIORS = ("total_sd", "beta")  # priors that it shares with the other models


def load_models(args: Namespace) -> dict[str, models.ModelFile | None]:
    """Load the model files by the name shown; None stands for the fixed effects alone.

    Raises
    ------
    InputError
        For errors visible before any table is read: options without their file, a single model,
        two models of one name, models of several traits, priors or options that no model has.
    """
    _check_tables(args)
    if len(args.models) < 2:
        raise InputError(
            f"--models {args.models[0]}", "two models or more", "for instance additive,dominance"
        )
    files: dict[str, models.ModelFile | None] = {}
    for text in args.models:
        file = None if text == NULL else models.load(text)
        name = NULL if file is None else file.name
        if file is not None and name == NULL:
            raise InputError(
                f"a model file called {name}",
                f"another name: {NULL} is the model of the fixed effects alone",
                "rename the file",
                path=file.path,
            )
        if name in files:
            raise InputError(
                f"two models called {name}",
                "different names",
                "drop one of them, or rename the file if it is another model",
            )
        files[name] = file
    if several := [file.name for file in model_files(files) if file.several_traits]:
        raise InputError(
            f"the model {several[0]}, of several traits", "models of one trait", "leave it out"
        )
    _check_priors(args, files)
    _check_use(args, files)
    return files


def model_files(files: Files) -> list[models.ModelFile]:
    """Return the models that have a file."""
    return [file for file in files.values() if file is not None]


def takes_groups(file: models.ModelFile) -> bool:
    """Does a model take groups in addition to the kernels that it names, as household does?"""
    return file.more() is not None and bool(file.matrices())


def takes_kernels(file: models.ModelFile) -> bool:
    """Does a model take any number of kernels and name none, as partitioned does?"""
    return file.more() is not None and not file.matrices()


def model_priors(args: Namespace, file: models.ModelFile | None) -> dict[str, str]:
    """Select the priors of --prior that a model has."""
    has = NULL_PRIORS if file is None else tuple(file.priors())
    return {name: text for name, text in parse_priors(args.prior).items() if name in has}


def _check_tables(args: Namespace) -> None:
    """Raise `InputError` without --pheno, and for options that need a missing table."""
    if args.pheno is None:
        raise InputError(
            "no --pheno FILE",
            "a phenotype file: FID IID and one column per trait",
            "add --pheno FILE",
        )
    if args.covar is None and args.id_column is None:
        for option in ("covar_name", "cat_covar", "formula"):
            if getattr(args, option) is not None:
                shown = "--" + option.replace("_", "-")
                raise InputError(f"{shown} without --covar", "a covariate file", "add --covar FILE")
    if args.formula is not None and args.covar_name is not None:
        raise InputError(
            "--formula and --covar-name", "one of the two", "put the names into the formula"
        )


def _check_priors(args: Namespace, files: Files) -> None:
    """Raise `InputError` for a prior that no model has."""
    there = dict.fromkeys(name for file in model_files(files) for name in file.priors())
    for name in parse_priors(args.prior):
        if name not in there:
            raise InputError(
                f"no prior '{name}' in {', '.join(files)}",
                f"one of {', '.join(there)}",
                "see: bayeslmm models show NAME",
            )


def _check_use(args: Namespace, files: Files) -> None:
    """Raise `InputError` for groups, parts or a spectrum that no model uses."""
    every = model_files(files)
    if args.group_column is not None and not any(takes_groups(file) for file in every):
        raise InputError(
            "--group-column without a model of shared environments",
            "a model that takes groups in addition to its kernels",
            "add household to --models, or leave --group-column out",
        )
    if args.by is not None and not any(takes_kernels(file) for file in every):
        raise InputError(
            "--by without a model of any number of kernels",
            "a model that takes kernels of any parts of the genotypes",
            "add partitioned to --models, or leave --by out",
        )
    if args.spectrum is not None and not any(has_one_kernel(file) for file in every):
        raise InputError(
            "--spectrum without a model of one kernel",
            "a model whose kernel is decomposed",
            "add additive to --models, or leave --spectrum out",
        )


def has_one_kernel(file: models.ModelFile) -> bool:
    """Does a model need exactly one matrix, so that its spectrum can be stored?"""
    return len(file.matrices()) == 1 and file.more() is None and file.matrices() != ["variants"]
