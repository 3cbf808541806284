"""What `bayeslmm h2` does with a fit while its model is at hand: relatives, other estimates."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.errors import InputError
from bayeslmm.models.family import family_of, recorded_family, require_gaussian

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr

    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.relationship.relationship import Relationship


def check_fit(
    args: Namespace,
    terminal: Terminal,
    cohort: Cohort,
    tree: xr.DataTree,
    relationship: Relationship | None,
) -> None:
    """Check a fit on its relatives and against other estimates; the tree keeps what is found.

    All of these checks are about a Gaussian phenotype; a fit of another one is left as it is.
    """
    from bayeslmm.checks.agreement import add_agreement
    from bayeslmm.checks.disagreement import disagreements
    from bayeslmm.report.relatives import add_relative_checks, alarms

    if not recorded_family(tree.attrs).gaussian:
        return
    if tree["posterior"]["h2"].dims != ("chain", "draw"):
        _check_traits(args, terminal, tree)
        return
    with terminal.step(f"{cohort.trait}: checks of relatives, other estimates"):
        checks = add_relative_checks(
            tree, relationship, levels=cohort.levels, people=cohort.people, seed=args.seed
        )
        found = add_agreement(tree, external_of(args, cohort.trait), prob=args.prob)
    for words in [*(alarms(checks) if checks is not None else ()), *disagreements(found)]:
        terminal.warn(f"{cohort.trait}: {words}")


def _check_traits(args: Namespace, terminal: Terminal, tree: xr.DataTree) -> None:
    """Other estimates of several traits, where their model is one that REML knows."""
    from bayeslmm.checks.agreement_traits import add_trait_agreement
    from bayeslmm.checks.disagreement import trait_disagreements

    with terminal.step("other estimates of the traits"):
        try:
            found = add_trait_agreement(tree, prob=args.prob)
        except InputError:
            return
    for words in trait_disagreements(found):
        terminal.warn(words)


def external_files(args: Namespace) -> list[tuple[str, Path]]:
    """(trait, file) of every entry of --external; trait "" where none is named."""
    found = []
    for text in getattr(args, "external", None) or ():
        trait, sign, file = text.partition("=")
        found.append((trait, Path(file)) if sign and not Path(text).exists() else ("", Path(text)))
    return found


def external_of(args: Namespace, trait: str) -> list[Path]:
    """Files of --external that are about a trait."""
    return [file for named, file in external_files(args) if named in ("", trait)]


def check_external(args: Namespace) -> list[Path]:
    """Read the files of --external, before anything is computed, and give their paths.

    Raises
    ------
    InputError
        A file that is missing or cannot be read.
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
    """Refuse files of --external that cannot be told to be about one of the traits.

    Raises
    ------
    InputError
        A file without a trait where there are several; a trait that is not analysed; a model of
        several traits.
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
                "the trait that the file is about",
                f"write --external {traits[0]}={file}",
                path=file,
            )
