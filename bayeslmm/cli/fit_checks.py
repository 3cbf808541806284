"""Checks of a fit in `bayeslmm h2` while its model is in memory: relatives, other estimates."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.errors import InputError
from bayeslmm.models.family import family_of, recorded_family, require_gaussian

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr

    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.estimates.estimate import Estimate
    from bayeslmm.relationship.relationship import Relationship


def check_fit(
    args: Namespace,
    terminal: Terminal,
    cohort: Cohort,
    tree: xr.DataTree,
    relationship: Relationship | None,
) -> None:
    """Check a fit on its relatives and against other estimates, and store the results in the tree.

    All of these checks need a Gaussian phenotype; other fits are not changed.
    """
    from bayeslmm.checks.agreement import add_agreement
    from bayeslmm.checks.disagreement import disagreements
    from bayeslmm.estimates.external import read_external
    from bayeslmm.report.relatives import add_relative_checks, alarms

    if not recorded_family(tree.attrs).gaussian:
        return
    given = [one for file in external_of(args, cohort.trait) for one in read_external(file)]
    found: list[Estimate] = []
    relatives = "" if cohort.traits else "checks of relatives, "  # which are of one trait
    with terminal.step(f"{cohort.trait}: {relatives}other estimates"):
        checks = add_relative_checks(
            tree, relationship, levels=cohort.levels, people=cohort.people, seed=args.seed
        )
        with suppress(InputError):  # several traits, of a model without a REML estimate
            found = add_agreement(tree, given, prob=args.prob)
    for words in [*(alarms(checks) if checks is not None else ()), *disagreements(found)]:
        terminal.warn(f"{cohort.trait}: {words}")


def external_files(args: Namespace) -> list[tuple[str, Path]]:
    """Return (trait, file) of every entry of --external; trait "" if none is named."""
    found = []
    for text in getattr(args, "external", None) or ():
        trait, sign, file = text.partition("=")
        found.append((trait, Path(file)) if sign and not Path(text).exists() else ("", Path(text)))
    return found


def external_of(args: Namespace, trait: str) -> list[Path]:
    """Return the files of --external for a trait."""
    return [file for named, file in external_files(args) if named in ("", trait)]


def check_external(args: Namespace) -> list[Path]:
    """Check that the files of --external can be read, before any computation; return their paths.

    Raises
    ------
    InputError
        If a file is missing or cannot be read.
    """
    from bayeslmm.estimates.external import read_external

    files = [file for _, file in external_files(args)]
    for file in files:
        read_external(file)
    return files


def refuse_external(args: Namespace, model: pm.Model) -> None:
    """Raise `InputError` for --external with a phenotype that is not Gaussian."""
    if external_files(args):
        require_gaussian(family_of(model), "--external: estimates of other programs")


def match_external(args: Namespace, cohorts: Sequence[Cohort]) -> None:
    """Check that every file of --external belongs to one of the traits.

    Raises
    ------
    InputError
        If a file has no trait and there are several, if a trait is not analysed, or for a
        multi-trait model.
    """
    traits = [one.trait for one in cohorts]
    for named, file in external_files(args):
        if any(one.traits for one in cohorts):
            raise InputError(
                "--external with a model of several traits",
                "a model of one trait",
                "analyse the traits one by one, or leave --external out",
                path=file,
            )
        if named and named not in traits:
            raise InputError(
                f"--external for the trait '{named}'",
                f"one of those analysed: {', '.join(traits[:10])}",
                "write TRAIT=FILE with one of them",
                path=file,
            )
        if not named and len(traits) > 1:
            raise InputError(
                f"--external without a trait, and {len(traits)} traits are analysed",
                "the trait of the file",
                f"write --external {traits[0]}={file}",
                path=file,
            )
