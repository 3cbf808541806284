"""From the options of ``h2`` to the posteriors of the traits."""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.errors import BayesLMMWarning, InputError, ModelError
from bayeslmm.models import ModelFile

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from bayeslmm.cli.source import Source
    from bayeslmm.cohort import Cohort
    from bayeslmm.diagnostics import Diagnosis
    from bayeslmm.relationship import Relationship
    from bayeslmm.terminal import Terminal


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The posterior of one trait, summarised and judged.

    Parameters
    ----------
    cohort
        Whose it is.
    tree
        What `fit` returned.
    table
        Its rows of `bayeslmm.summary.heritability`.
    diagnosis
        Its health.
    breeding_values
        ``FID IID trait mean sd``, or None.
    """

    cohort: Cohort
    tree: xr.DataTree
    table: pd.DataFrame
    diagnosis: Diagnosis
    breeding_values: pd.DataFrame | None


def read_tables(args: Namespace) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The phenotypes and the covariates that the options name."""
    from bayeslmm.tables import read_covariates, read_phenotypes

    phenotypes = read_phenotypes(
        args.pheno, columns=args.pheno_name, missing_code=args.missing_code
    )
    if args.covar is None:
        return phenotypes, None
    covariates = read_covariates(
        args.covar,
        columns=args.covar_name,
        categorical=args.cat_covar or (),
        formula=args.formula,
        missing_code=args.missing_code,
    )
    return phenotypes, covariates


def build_cohorts(args: Namespace, source: Source) -> list[Cohort]:
    """One cohort a trait, each with its own missing values."""
    from bayeslmm.cohort import cohorts

    phenotypes, covariates = read_tables(args)
    found = cohorts(
        phenotypes,
        args.pheno_name,
        individuals=source.individuals,
        covariates=covariates,
        covariate_names=args.covar_name,
        categorical=args.cat_covar or (),
        formula=args.formula,
        ledger=source.ledger,
        quantitative=args.quantitative,
        allow_few_matches=args.allow_few_matches,
    )
    if len(found) > 1 and any(one.trait == "posterior" for one in found):
        raise InputError(
            "a trait called 'posterior' beside others",
            "names that are not those of the result file's own groups",
            "rename the column",
            path=args.pheno,
        )
    return found


def parse_priors(texts: Sequence[str]) -> dict[str, str]:
    """Priors by name from ``["h2=beta(1,1); total_sd=half_t(3, 2.5)", ...]``.

    Examples
    --------
    >>> parse_priors(["h2=beta(1,1); total_sd = half_t(3, 2.5)"])
    {'h2': 'beta(1,1)', 'total_sd': 'half_t(3, 2.5)'}
    """
    priors: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(";") if part.strip()):
        name, sign, words = (piece.strip() for piece in part.partition("="))
        if not (name and sign and words):
            raise InputError(
                f"--prior {part.strip()!r}", "NAME=FAMILY(numbers)", 'for instance "h2=beta(1,1)"'
            )
        if name in priors:
            raise InputError(f"two priors of {name}", "one prior each", "drop one")
        priors[name] = words
    return priors


def check_priors(model: ModelFile, priors: Mapping[str, str]) -> None:
    """Refuse priors that the model file does not have, before anything is computed."""
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
    relationship: Relationship,
    model: ModelFile,
) -> list[Result]:
    """Fit every trait, in the order given; traits of the same individuals share a spectrum."""
    import xarray as xr

    from bayeslmm.cohort import group_by_individuals
    from bayeslmm.report import add_relatedness
    from bayeslmm.spectrum import spectrum

    done: dict[str, Result] = {}
    groups = group_by_individuals(cohorts)
    for group in groups:
        aligned = relationship.on(group[0].individuals)
        if args.spectrum is not None:
            path = Path(args.spectrum)
            if len(groups) > 1:
                path = path.with_name(f"{path.stem}.{group[0].trait}{path.suffix}")
            with terminal.step(f"spectrum of {group[0].n} individuals ({path})"):
                spectrum(group[0], aligned, path=path)
        found = [fit_one(args, terminal, one, aligned, model) for one in group]
        trees = xr.DataTree.from_dict({result.cohort.trait: result.tree for result in found})
        add_relatedness(trees, aligned)
        for result in found:
            trait = result.cohort.trait
            done[trait] = replace(result, tree=trees.children[trait].copy())
    return [done[one.trait] for one in cohorts]


def fit_one(
    args: Namespace,
    terminal: Terminal,
    cohort: Cohort,
    relationship: Relationship,
    model: ModelFile,
) -> Result:
    """Fit one trait with a relationship that is aligned and scaled."""
    from bayeslmm.diagnostics import diagnose
    from bayeslmm.engines import fit
    from bayeslmm.memory import require_memory
    from bayeslmm.summary import heritability

    if args.breeding_values:
        needed = 3 * 8 * cohort.n * args.draws
        require_memory(needed, f"{args.draws} draws of breeding values", "use fewer --draws")
    with terminal.step(f"{cohort.trait}: posterior of {cohort.n} individuals"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", BayesLMMWarning)
            built = model.build(cohort, {"additive": relationship}, parse_priors(args.prior))
        for warning in caught:
            terminal.warn(f"{cohort.trait}: {warning.message}")
        tree = fit(
            built,
            args.engine,
            draws=args.draws,
            seed=args.seed,
            cores=args.threads,
            genetic_values=args.breeding_values,
        )
        values = take_breeding_values(tree, cohort) if args.breeding_values else None
        table, diagnosis = heritability(tree, args.prob), diagnose(tree)
    warn_of(terminal, cohort.trait, tree, diagnosis)
    return Result(cohort, tree, table, diagnosis, values)


def take_breeding_values(tree: xr.DataTree, cohort: Cohort) -> pd.DataFrame:
    """Mean and sd of every genetic value; the draws leave the tree."""
    import pandas as pd

    posterior = tree["posterior"].to_dataset()
    if "g" not in posterior:
        raise ModelError(
            "this model gives no genetic values g -> a spectral_normal phenotype, or g and design "
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
    """Say loudly that a posterior is not healthy, or that the data say little."""
    from bayeslmm.summary import weakly_informed

    if not diagnosis.ok:
        terminal.warn(f"{trait}: {diagnosis.verdict}")
    if (words := weakly_informed(tree)) is not None:
        terminal.warn(f"{trait}: {words}")
