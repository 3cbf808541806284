"""``bayeslmm compare``: several models of the same records, by leave-one-out and by evidence."""

from __future__ import annotations

import sys
import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslmm import models
from bayeslmm.cli.analysis import parse_priors
from bayeslmm.cli.cohorts import build_cohorts
from bayeslmm.cli.record import Clock, command_line, record
from bayeslmm.cli.source import Source, limited, open_source
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.outputs import (
    Writer,
    check_outputs,
    json_text,
    output_paths,
    records,
    stale,
    write_table,
    write_together,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bayeslmm.cohort import Cohort
    from bayeslmm.report.compare import Fit
    from bayeslmm.terminal import Terminal

TABLE = ".compare.tsv"
OUTPUTS = (TABLE, ".compare.html", ".compare.run.json")
TABLES = ("pheno", "covar", "fam", "keep", "remove", "extract", "exclude")
NULL = "fixed"  # not "null", which pandas reads as a missing value
FAMILY = "FID"
FAMILY_WORDS = (
    "The groups are the families of the FID column. Members of a family share genes as well as an "
    "environment, and what a family shares need not be a home or a cage: read this component with "
    "that in mind."
)
LOO_DRAWS = 500


@dataclass(frozen=True, slots=True)
class _Together:
    """What a cohort needs so that every one of several models can be fitted to it."""

    name: str
    columns: tuple[str, ...]
    optional_columns: tuple[str, ...]
    several_traits: bool = False


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command; 0 if every posterior is healthy, else 1."""
    clock = Clock()
    files = _load(args)
    tables = [Path(value) for name in TABLES if (value := getattr(args, name)) is not None]
    matrices = [text.rpartition("=")[2] for text in args.grm or ()]
    named = [Path(name) for name in (args.pedigree, args.by, *matrices) if name is not None]
    paths = output_paths(args.out, OUTPUTS)
    check_outputs(paths.values(), [*tables, *named])
    with limited(args.threads):
        source = open_source(args, terminal)
        cohort, groups = _cohort(args, source, files)
        lines = str(cohort.ledger).split("\n")
        for step, line in zip(cohort.ledger.steps, lines, strict=True):
            if step.dropped:
                terminal.say(f"  {line}")
        kernels = _kernels(source, files, cohort)
        fits = _fit_all(args, terminal, files, cohort, kernels, groups)
        from bayeslmm.comparison.table import weigh_models

        left_out = {}
        for one in fits:
            with terminal.step(f"{one.name}: leaving out each of {cohort.n} records"):
                left_out[one.name] = _leave_out(args, terminal, one)
        with terminal.step("marginal likelihoods and the comparison"), _warnings(terminal, ""):
            comparison = weigh_models(
                {one.name: one.tree for one in fits},
                seed=args.seed,
                cores=args.threads,
                left_out=left_out,
            )
        if FAMILY in groups:
            comparison = replace(comparison, notes=(*comparison.notes, FAMILY_WORDS))
        with terminal.step("Bayes factors of nested models"), _warnings(terminal, ""):
            zeros = _zeros(args, fits)
        from bayeslmm.report.compare import render_comparison

        page = render_comparison(
            comparison, fits, zeros, cohort, command=command_line(args), prob=args.prob
        )
        own = [file.path for file in files.values() if file is not None]
        inputs = [*source.files, *tables, *own]
        facts = {
            "trait": cohort.trait,
            "n": cohort.n,
            "covariates": list(cohort.covariates),
            "models": {one.name: one.facts() for one in fits},
            "comparison": records(comparison.table),
        }
        outputs: dict[Path, Writer] = {
            paths[TABLE]: partial(write_table, comparison.table),
            paths[".compare.html"]: lambda path: path.write_text(
                page, encoding="utf-8", newline="\n"
            ),
        }
        with terminal.step("writing the results"):
            write_together(
                outputs, (paths[".compare.run.json"], record(args, terminal, clock, inputs, facts))
            )
    for left in stale(args.out, list(paths.values())):
        terminal.warn(f"{left} is of an earlier run, not of this one")
    if args.json:
        content = {
            "command": command_line(args),
            "comparison": records(comparison.table),
            "warnings": list(terminal.warnings),
            "outputs": {suffix.removeprefix("."): str(path) for suffix, path in paths.items()},
        }
        sys.stdout.write(json_text(content, ascii_only=True))
    else:
        print(comparison.table.to_string(index=False, float_format=lambda x: f"{x:.4g}"))
        print(f"report: {paths['.compare.html']}")
        print(f"table: {paths[TABLE]}")
    return 0 if all(one.diagnosis.ok for one in fits) else 1


def _load(args: Namespace) -> dict[str, models.ModelFile | None]:
    """The model files by the name they are shown with; None for the fixed effects alone."""
    if args.pheno is None:
        raise InputError("no --pheno FILE", "a phenotype file: FID IID and a column a trait",
                         "add --pheno FILE")  # fmt: skip
    if args.covar is None and args.id_column is None:
        for option in ("covar_name", "cat_covar", "formula"):
            if getattr(args, option) is not None:
                shown = "--" + option.replace("_", "-")
                raise InputError(f"{shown} without --covar", "a covariate file", "add --covar FILE")
    if len(args.models) < 2:
        raise InputError(
            f"--models {args.models[0]}", "two models or more", "for instance additive,dominance"
        )
    files: dict[str, models.ModelFile | None] = {}
    for text in args.models:
        file = None if text == NULL else models.load(text)
        name = NULL if file is None else file.name
        if name in files:
            raise InputError(f"two models called {name}", "different names", "drop one of them")
        files[name] = file
    known = [file for file in files.values() if file is not None]
    if several := [file.name for file in known if file.several_traits]:
        raise InputError(
            f"the model {several[0]}, of several traits", "models of one trait", "leave it out"
        )
    priors = {name: None for file in known for name in file.priors()}
    for name in parse_priors(args.prior):
        if name not in priors:
            raise InputError(
                f"no prior '{name}' in {', '.join(files)}",
                f"one of {', '.join(priors)}",
                "see: bayeslmm models show NAME",
            )
    takes = [_takes_groups(file) for file in known]
    if args.group_column is not None and not any(takes):
        raise InputError(
            "--group-column without a model of shared environments",
            "a model that takes groups beside its kernels",
            "add household to --models, or leave --group-column out",
        )
    return files


def _takes_groups(file: models.ModelFile) -> bool:
    """Does a model take groups beside the kernels that it names, as household does?"""
    return file.more() is not None and bool(file.matrices())


def _cohort(
    args: Namespace, source: Source, files: Mapping[str, models.ModelFile | None]
) -> tuple[Cohort, dict[str, Any]]:
    """The records that have what any model needs, and the groups that --group-column names."""
    from bayeslmm.covariance import Grouping

    wanted = list(args.group_column or ())
    plain = Namespace(**vars(args))
    plain.group_column = [name for name in wanted if name != FAMILY] or None
    known = [file for file in files.values() if file is not None]
    needs = _Together(
        " or ".join(files),
        tuple(dict.fromkeys(column for file in known for column in file.columns)),
        tuple(dict.fromkeys(column for file in known for column in file.optional_columns)),
    )
    found = build_cohorts(plain, source, needs)  # type: ignore[arg-type]
    if len(found) != 1:
        raise InputError(
            f"{len(found)} traits ({', '.join(one.trait for one in found[:3])}, ...)",
            "one trait at a time",
            f"add --pheno-name {found[0].trait}",
        )
    cohort = found[0]
    groups = {}
    for name in wanted:
        if name == FAMILY:
            labels = [str(label) for label in cohort.individuals.get_level_values(FAMILY)]
        else:
            labels = cohort.column_text(name)
        groups[name] = Grouping(name, tuple(labels))
    return cohort, groups


def _kernels(
    source: Source, files: Mapping[str, models.ModelFile | None], cohort: Cohort
) -> dict[str, dict[str, Any]]:
    """Kernels by model; those that several models name are computed once."""
    known = {name: file for name, file in files.items() if file is not None}
    named = list(dict.fromkeys(kernel for file in known.values() for kernel in file.matrices()))
    rest = [name for name, file in known.items() if file.more() is not None and not file.matrices()]
    people = cohort.people
    if cohort.columns is not None and "dam" in cohort.columns:
        from bayeslmm.covariance import dam_index

        people = people.append(dam_index(cohort)).unique()
    shared = source.kernels(named, False, people) if named else {}
    further = source.kernels([], True, people) if rest else {}
    return {
        name: further if name in rest else {kernel: shared[kernel] for kernel in file.matrices()}
        for name, file in known.items()
    }


def _fit_all(
    args: Namespace,
    terminal: Terminal,
    files: Mapping[str, models.ModelFile | None],
    cohort: Cohort,
    kernels: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Any],
) -> list[Fit]:
    """Fit every model."""
    from bayeslmm.comparison.table import null_model
    from bayeslmm.diagnostics import diagnose
    from bayeslmm.engines import fit
    from bayeslmm.report.compare import Fit

    priors = parse_priors(args.prior)
    found = []
    for name, file in files.items():
        with terminal.step(f"{name}: posterior of {cohort.n} records"), _warnings(terminal, name):
            if file is None:
                model, tree = null_model(cohort), None
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", BayesLMMWarning)  # h² is not in this model
                    tree = fit(model, "auto", draws=args.draws, seed=args.seed, cores=args.threads)
                tree.attrs["model"] = NULL
            else:
                given = {**kernels[name], **(groups if _takes_groups(file) else {})}
                own = {key: text for key, text in priors.items() if key in file.priors()}
                model = file.build(cohort, given, own)
                tree = fit(model, args.engine, draws=args.draws, seed=args.seed,
                           cores=args.threads)  # fmt: skip
        diagnosis = diagnose(tree)
        if not diagnosis.ok:
            terminal.warn(f"{name}: {diagnosis.verdict}")
        found.append(Fit(name, tree, model, diagnosis))
    return found


def _leave_out(args: Namespace, terminal: Terminal, one: Fit) -> Any:
    from bayeslmm.leave_one_out.elpd import loo

    few = "quadrature" not in one.tree.children
    draws = args.loo_draws or (min(LOO_DRAWS, args.draws) if few else None)
    with _warnings(terminal, one.name):
        return loo(one.tree, one.model, draws=draws, seed=args.seed, cores=args.threads)


def _zeros(args: Namespace, fits: Sequence[Fit]) -> dict[str, Any]:
    """Tests of zero shares, by model."""
    from bayeslmm.comparison.zero_tests import weigh_zeros
    from bayeslmm.errors import ModelError

    out = {}
    for one in fits:
        if one.name == NULL:
            continue
        try:
            out[one.name] = weigh_zeros(one.tree, one.model, seed=args.seed, workers=args.threads)
        except ModelError:  # g is a parameter: nothing can be integrated out
            out[one.name] = []
    return out


@contextmanager
def _warnings(terminal: Terminal, name: str) -> Iterator[None]:
    """Say our warnings on the terminal, with the model's name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BayesLMMWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, BayesLMMWarning):
            terminal.warn(f"{name}: {warning.message}" if name else str(warning.message))
