"""Analysis of the traits: models, fits, breeding values."""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslmm.errors import BayesLMMError, BayesLMMWarning, InputError, ModelError
from bayeslmm.models.file import ModelFile

if TYPE_CHECKING:
    import pandas as pd
    import pymc as pm
    import xarray as xr

    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.inference.diagnostics import Diagnosis


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The posterior of one trait with its summary and diagnosis.

    Parameters
    ----------
    cohort
        The records.
    tree
        Result of `fit`.
    table
        Its rows of `bayeslmm.posterior.summary.heritability`.
    diagnosis
        Its diagnosis.
    breeding_values
        ``FID IID trait mean sd``, or None.
    predicted
        Result of `bayeslmm.posterior.prediction.prediction_table`, or None.
    """

    cohort: Cohort
    tree: xr.DataTree
    table: pd.DataFrame
    diagnosis: Diagnosis
    breeding_values: pd.DataFrame | None
    predicted: pd.DataFrame | None = None


def parse_priors(texts: Sequence[str]) -> dict[str, str]:
    """Parse priors by name from ``["h2=beta(1,1); total_sd=half_t(3, 2.5)", ...]``.

    Examples
    --------
    >>> parse_priors(["h2=beta(1,1); total_sd = half_t(3, 2.5)"])
    {'h2': 'beta(1,1)', 'total_sd': 'half_t(3, 2.5)'}
    """
    priors: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(";") if part.strip()):
        name, sign, prior = (piece.strip() for piece in part.partition("="))
        if not (name and sign and prior):
            raise InputError(
                f"--prior {part.strip()!r}", "NAME=FAMILY(numbers)", 'for instance "h2=beta(1,1)"'
            )
        if name in priors:
            raise InputError(f"two priors of {name}", "one prior each", "drop one")
        priors[name] = prior
    return priors


def check_priors(model: ModelFile, priors: Mapping[str, str]) -> None:
    """Raise `InputError` for a prior that the model file does not have, before any computation."""
    known = model.priors()
    for name in priors:
        if name not in known:
            shown = ", ".join(f"{key}={value}" for key, value in known.items()) or "none"
            raise InputError(
                f"no prior '{name}' in the model {model.name}",
                f"one of its priors (with their defaults): {shown}",
                f"see: bayeslmm models show {model.name}",
                path=model.path,
            )


def fit_all(
    args: Namespace,
    terminal: Terminal,
    cohorts: Sequence[Cohort],
    kernels: Mapping[str, Any],
    model: ModelFile,
    left_out: dict[str, BayesLMMError],
) -> list[Result]:
    """Fit the traits in the order given.

    Traits of the same individuals and design share kernels, spectrum and compiled model. A trait
    that cannot be fitted is entered in `left_out`, with its error, if another one can.
    """
    import xarray as xr

    from bayeslmm.cli.fit_checks import check_fit, refuse_external
    from bayeslmm.cli.inputs.groups import check_group_names, groupings
    from bayeslmm.cohort.cohort import group_by_individuals
    from bayeslmm.likelihood.decompose import spectrum
    from bayeslmm.relationship.relationship import Relationship

    done: dict[str, Result] = {}
    groups = group_by_individuals(cohorts)
    for group in groups:
        first = group[0]
        check_group_names(args.group_column or (), kernels)
        matrices = {**kernels, **groupings(args, first)}
        between = [k for k in matrices.values() if isinstance(k, Relationship)]
        shown = min(between, key=lambda k: k.kind != "genetic", default=None)
        aligned = None if shown is None else shown.on(first.people)
        of_model = dict(matrices)
        if (
            shown is not None
            and aligned is not None
            and len(aligned.individuals) == len(shown.individuals)
        ):
            # scaled once for all; otherwise a model may need the rows of others, such as dams
            of_model = {name: aligned if k is shown else k for name, k in matrices.items()}
        if args.spectrum is not None and aligned is not None:
            path = Path(args.spectrum)
            if len(groups) > 1:
                path = path.with_name(f"{path.stem}.{first.trait}{path.suffix}")
            with terminal.step(f"spectrum of {first.n} individuals ({path})"):
                spectrum(first, aligned, path=path)
        built: pm.Model | None = None
        trees: dict[str, xr.DataTree] = {}
        for one in group:
            try:
                built = prepare(args, terminal, one, of_model, model, built)
                refuse_external(args, built)
                result = fit_one(args, terminal, one, matrices, built)
            except BayesLMMError as error:
                if len(cohorts) == 1:
                    raise
                left_out[one.trait] = error
                continue
            if not args.no_report:
                check_fit(args, terminal, one, result.tree, aligned)
            done[one.trait] = result
            trees[one.trait] = result.tree
        if aligned is not None and trees and not args.no_report:
            from bayeslmm.report import add_relatedness

            joined = xr.DataTree.from_dict(trees)
            add_relatedness(joined, aligned)
            for trait in trees:
                done[trait] = replace(done[trait], tree=joined.children[trait].copy())
    if not done:
        raise left_out[cohorts[0].trait]
    return [done[one.trait] for one in cohorts if one.trait in done]


def prepare(
    args: Namespace,
    terminal: Terminal,
    cohort: Cohort,
    matrices: Mapping[str, Any],
    model: ModelFile,
    built: pm.Model | None,
) -> pm.Model:
    """Build the model of a trait, or replace the phenotype in the model of the trait before."""
    with (
        terminal.step(f"{cohort.trait}: model of {cohort.n} records"),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always", BayesLMMWarning)
        if built is None:
            built = model.build(cohort, matrices, parse_priors(args.prior))
        else:
            model.exchange(built, cohort, matrices)
    for warning in caught:
        terminal.warn(f"{cohort.trait}: {warning.message}")
    return built


def fit_one(
    args: Namespace,
    terminal: Terminal,
    cohort: Cohort,
    matrices: Mapping[str, Any],
    model: pm.Model,
) -> Result:
    """Fit one trait with its model."""
    from bayeslmm.inference.checkpoint import unit_name
    from bayeslmm.inference.diagnostics import diagnose
    from bayeslmm.inference.fit import fit
    from bayeslmm.posterior.summary import heritability
    from bayeslmm.system.memory import require_memory

    if args.breeding_values:
        needed = 3 * 8 * cohort.n * args.draws
        require_memory(needed, f"{args.draws} draws of breeding values", "use fewer --draws")
    kept = getattr(args, "checkpoint", None)
    checkpoint = None if kept is None else Path(kept) / unit_name(cohort.trait)
    with terminal.step(f"{cohort.trait}: posterior of {cohort.n} records"):
        tree = fit(
            model,
            args.engine,
            draws=args.draws,
            seed=args.seed,
            cores=args.threads,
            genetic_values=args.breeding_values,
            checkpoint=checkpoint,
        )
    predicted = None
    if args.predict:
        from bayeslmm.likelihood.terms import Grouping
        from bayeslmm.posterior.prediction import prediction_table

        kernels = {k: v for k, v in matrices.items() if not isinstance(v, Grouping)}
        with terminal.step(f"{cohort.trait}: prediction"):
            predicted = prediction_table(model, tree, cohort, kernels, args.prob, args.seed)
    values = pop_breeding_values(tree, cohort) if args.breeding_values else None
    table, diagnosis = heritability(tree, args.prob), diagnose(tree)
    warn_of(terminal, cohort.trait, tree, diagnosis)
    return Result(cohort, tree, table, diagnosis, values, predicted)


def pop_breeding_values(tree: xr.DataTree, cohort: Cohort) -> pd.DataFrame:
    """Summarise every genetic value by mean and sd, and remove its draws from the tree."""
    import pandas as pd

    posterior = tree["posterior"].to_dataset()
    if cohort.records is not None:
        raise InputError(
            "--breeding-values where individuals have several records or traits",
            "one record of each",
            "use --predict, which gives every individual's value",
        )
    if "g" not in posterior:
        raise ModelError(
            "this model has no genetic values g -> a spectral_normal phenotype, or g and design "
            "in the model -> leave out --breeding-values"
        )
    g = posterior["g"]
    tree["posterior"].dataset = posterior.drop_vars(["g", "individual"])
    return pd.DataFrame(
        {
            "FID": cohort.individuals.get_level_values("FID"),
            "IID": cohort.individuals.get_level_values("IID"),
            "trait": cohort.trait,
            "mean": g.mean(("chain", "draw")).to_numpy(),
            "sd": g.std(("chain", "draw"), ddof=1).to_numpy(),
        }
    )


def warn_of(terminal: Terminal, trait: str, tree: xr.DataTree, diagnosis: Diagnosis) -> None:
    """Warn if a posterior is not healthy, or if the data are weak."""
    from bayeslmm.posterior.summary import weakly_informed

    if not diagnosis.ok:
        terminal.warn(f"{trait}: {diagnosis.verdict}")
    if (problem := weakly_informed(tree)) is not None:
        terminal.warn(f"{trait}: {problem}")
