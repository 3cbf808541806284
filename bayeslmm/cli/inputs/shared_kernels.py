"""The kernels of several models of the same records, each computed once."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bayeslmm.cli.commands.h2 import warn_of_relationships
from bayeslmm.cli.compare_models import has_one_kernel, model_files, takes_kernels
from bayeslmm.errors import InputError

if TYPE_CHECKING:
    from bayeslmm.cli.compare_models import Files
    from bayeslmm.cli.inputs.individuals import Source
    from bayeslmm.cli.inputs.kernels import Kernels
    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.cohort.cohort import Cohort


def model_kernels(
    args: Namespace, source: Source, files: Files, cohort: Cohort
) -> dict[str, Kernels]:
    """Compute the kernels of each model: those it names, or all parts or matrices if it takes any.

    Raises
    ------
    InputError
        If a kernel is not available (the message names the model), or if no model takes a matrix.
    """
    every = model_files(files)
    named = list(dict.fromkeys(kernel for file in every for kernel in file.matrices()))
    rest = any(takes_kernels(file) for file in every)
    people = _people(cohort)
    if args.grm is not None:  # all matrices, each under its name
        found = further = source.kernels(named, rest, people)
    else:
        found = source.kernels(named, False, people) if named else {}
        further = source.kernels([], True, people) if rest else {}
    _check_all_there(files, found)
    return {
        file.name: dict(further)
        if takes_kernels(file)
        else {kernel: found[kernel] for kernel in file.matrices()}
        for file in every
    }


def keep_spectrum(args: Namespace, files: Files, cohort: Cohort, kernels: dict[str, Any]) -> None:
    """Read or write the --spectrum of the first model of one kernel."""
    from bayeslmm.likelihood.decompose import spectrum
    from bayeslmm.relationship.relationship import Relationship

    if args.spectrum is None:
        return
    first = next(file for file in model_files(files) if has_one_kernel(file))
    (kernel,) = kernels[first.name].values()
    if isinstance(kernel, Relationship):
        spectrum(cohort, kernel.on(cohort.people), path=args.spectrum)


def warn_of_kernels(terminal: Terminal, kernels: Mapping[str, Kernels]) -> None:
    """Warn of unusual values in the relationships, once per matrix."""
    for found in kernels.values():
        warn_of_relationships(terminal, found)


def _people(cohort: Cohort) -> Any:
    """Return the individuals of the kernels: those with records, and their dams."""
    people = cohort.people
    if cohort.columns is not None and "dam" in cohort.columns:
        from bayeslmm.likelihood.terms import dam_index

        people = people.append(dam_index(cohort)).unique()
    return people


def _check_all_there(files: Files, found: Kernels) -> None:
    for file in model_files(files):
        for name in file.matrices():
            if name in found:
                continue
            if name == "variants":
                raise InputError(
                    f"the model {file.name} without genotypes",
                    "the variants themselves, not a matrix",
                    "give --bfile or --pfile, or leave it out",
                )
            raise InputError(
                f"the model {file.name} asks for the matrix '{name}', which was not given",
                "each matrix that one of the models needs",
                f"give it: --grm {','.join([*(f'{one}=FILE' for one in found), f'{name}=FILE'])}",
            )
