"""``bayeslmm h2``: files in, posterior of heritability and PVE out."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslmm import models
from bayeslmm.cli.analysis import Result, check_priors, fit_all, parse_priors
from bayeslmm.cli.fit_checks import check_external, match_external
from bayeslmm.cli.inputs.cohorts import build_cohorts
from bayeslmm.cli.inputs.individuals import Source, named_matrix, open_source, thread_limit
from bayeslmm.cli.outputs import (
    BREEDING_VALUES,
    PREDICTIONS,
    RESULTS,
    SENSITIVITY,
    Writer,
    check_outputs,
    join_traits,
    json_text,
    output_paths,
    records,
    stale,
    write_table,
    write_together,
    write_tree,
)
from bayeslmm.cli.record import Clock, command_line, record
from bayeslmm.cli.start import FIT, import_libraries
from bayeslmm.cli.terminal import trait_summary
from bayeslmm.errors import BayesLMMError, InputError
from bayeslmm.models.family import recorded_family

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.genotypes.frequency_check import FrequencyCheck
    from bayeslmm.inference.diagnostics import Diagnosis
    from bayeslmm.ledger import Ledger

REPORT = (SENSITIVITY, ".html")  # outputs that --no-report omits
TABLES = ("pheno", "covar", "fam", "keep", "remove", "extract", "exclude", "reference_freq")


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command; return 0 if every posterior is healthy, else 1."""
    clock = Clock()
    _check_options(args)
    tables = [Path(value) for name in TABLES if (value := getattr(args, name)) is not None]
    tables += check_external(args)
    suffixes = [name for name in RESULTS if not (args.no_report and name in REPORT)]
    suffixes += [BREEDING_VALUES] * args.breeding_values + [PREDICTIONS] * args.predict
    paths = output_paths(args.out, suffixes)
    check_outputs(paths.values(), [*tables, *_sources(args)])
    model = models.load(args.model)
    _check_kernel_options(args, model)
    with thread_limit(args.threads):
        source = open_source(args, terminal)
        import_libraries(FIT)
        left_out: dict[str, BayesLMMError] = {}
        cohorts = build_cohorts(args, source, model, left_out)
        match_external(args, cohorts)
        _print_dropped(terminal, [one.ledger for one in cohorts])
        if source.frequency_check is not None:  # a step without drops
            terminal.say(f"  {source.frequency_check}")
        check_priors(model, parse_priors(args.prior))
        kernels = source.kernels(model.matrices(), model.more() is not None,
                                 _needed(args, source, cohorts))  # fmt: skip
        warn_of_relationships(terminal, kernels)
        results = fit_all(args, terminal, cohorts, kernels, model, left_out)
        for trait, error in left_out.items():
            terminal.warn(f"{trait} is left out: {error}")
        inputs = [*source.files, *tables, *([model.path] if args.model.endswith(".py") else [])]
        with terminal.step("writing the results"):
            reasons = {trait: str(error) for trait, error in left_out.items()}
            _write(args, terminal, clock, paths, results, reasons, inputs, source.frequency_check)
    for left in stale(args.out, list(paths.values())):
        terminal.warn(f"{left} is of an earlier run, not of this one")
    _print(args, terminal, results, reasons, paths)
    return 0 if not left_out and all(result.diagnosis.ok for result in results) else 1


def left_out_rows(reasons: Mapping[str, str], model: str) -> pd.DataFrame:
    """Tabulate the traits that could not be analysed, with the reason as their one quantity."""
    import pandas as pd

    from bayeslmm.posterior.summary import COLUMNS

    rows = [
        {"trait": trait, "model": model, "engine": "", "quantity": f"left out: {reason}", "n": 0}
        for trait, reason in reasons.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _sources(args: Namespace) -> list[Path]:
    """Return the files of the relationship that the options name."""
    matrices = [named_matrix(text)[1] for text in args.grm or ()]
    return [Path(name) for name in (args.pedigree, args.by, *matrices) if name is not None]


def _check_options(args: Namespace) -> None:
    """Raise `InputError` for wrong options before any file is read."""
    if args.pheno is None:
        prefix = args.bfile or "P"
        raise InputError(
            "no --pheno FILE",
            "a phenotype file: FID IID and one column per trait (the .fam's sixth column is not "
            "used)",
            "to use it, make one, and add --missing-code -9: "
            f"awk 'BEGIN {{print \"FID IID y\"}} {{print $1, $2, $6}}' {prefix}.fam > y.pheno",
        )
    if args.covar is None and args.id_column is None:
        for name in ("covar_name", "cat_covar", "formula"):
            if getattr(args, name) is not None:
                option = "--" + name.replace("_", "-")
                raise InputError(
                    f"{option} without --covar", "a covariate file", "add --covar FILE"
                )
    if args.formula is not None and args.covar_name is not None:
        raise InputError(
            "--formula and --covar-name", "one of the two", "put the names into the formula"
        )
    if args.no_report and args.external is not None:
        raise InputError(
            "--external with --no-report",
            "the report, which compares estimates of other programs with ours",
            "leave one of the two out",
        )
    parse_priors(args.prior)


def _check_kernel_options(args: Namespace, model: models.ModelFile) -> None:
    """Raise `InputError` for options that add kernels to a model with a fixed set of kernels."""
    for name, use in (("by", "partitioned"), ("group_column", "household or partitioned")):
        if getattr(args, name) is not None and model.more() is None:
            option = "--" + name.replace("_", "-")
            advice = f"use --model {use}, or leave {option} out"
            if name == "group_column" and args.id_column not in (None, *args.group_column):
                both = ",".join([args.id_column, *args.group_column])
                advice += (
                    f"; --model household --group-column {both} has the permanent environment of "
                    "individuals with several records, too"
                )
            raise InputError(
                f"{option} with the model {model.name}", "a model of any number of kernels", advice
            )


def _print_dropped(terminal: Terminal, ledgers: list[Ledger]) -> None:
    """Print the steps that dropped individuals or variants, each once."""
    lines: dict[str, None] = {}
    for ledger in ledgers:
        for step, line in zip(ledger.steps, str(ledger).split("\n"), strict=True):
            if step.dropped:
                lines[line] = None
    for line in lines:
        terminal.say(f"  {line}")


def _needed(args: Namespace, source: Source, cohorts: list[Cohort]) -> pd.MultiIndex:
    """Return the individuals of the kernels: all for prediction, else those analysed and dams."""
    if args.predict:
        return source.individuals
    needed = cohorts[0].people
    for one in cohorts:
        needed = needed.append(one.people)
        if one.columns is not None and "dam" in one.columns:
            from bayeslmm.likelihood.terms import dam_index

            needed = needed.append(dam_index(one))
    return needed.unique()


def warn_of_relationships(terminal: Terminal, kernels: Mapping[str, Any]) -> None:
    """Warn of unusual values in the relationships."""
    from bayeslmm.relationship.relatedness import relationship_warnings
    from bayeslmm.relationship.relationship import Relationship

    for kernel in kernels.values():  # too many messages for many parts
        usual = ("gcta", "sample", "centred", "file", "pedigree")
        if isinstance(kernel, Relationship) and kernel.estimator in usual and len(kernels) <= 4:
            for text in relationship_warnings(kernel):
                terminal.warn(text)


def _write(
    args: Namespace,
    terminal: Terminal,
    clock: Clock,
    paths: dict[str, Path],
    results: list[Result],
    reasons: Mapping[str, str],
    inputs: list[Path],
    check: FrequencyCheck | None,
) -> None:
    import pandas as pd

    tree = join_traits({result.cohort.trait: result.tree for result in results})
    tree.attrs |= {"command": command_line(args), "prob": args.prob}
    tree.attrs["warnings"] = json.dumps(terminal.warnings)
    table = pd.concat([result.table for result in results], ignore_index=True)
    whole = table
    if reasons:
        missing = left_out_rows(reasons, str(table["model"].iloc[0]))
        whole = pd.concat([table, missing], ignore_index=True)
    files: dict[Path, Writer] = {paths[".h2.tsv"]: partial(write_table, whole)}
    if not args.no_report:
        diagnoses = {result.cohort.trait: result.diagnosis for result in results}
        files |= _report(args, paths, tree, table, diagnoses)
    files[paths[".nc"]] = partial(write_tree, tree)
    values = [r.breeding_values for r in results if r.breeding_values is not None]
    if values:
        files[paths[BREEDING_VALUES]] = partial(write_table, pd.concat(values))
    predicted = [r.predicted for r in results if r.predicted is not None]
    if predicted:
        files[paths[PREDICTIONS]] = partial(write_table, pd.concat(predicted))
    facts: dict[str, Any] = {"traits": {one.cohort.trait: _facts(one) for one in results}}
    if reasons:
        facts["left_out"] = dict(reasons)
    if check is not None:
        facts["frequency_check"] = check.facts()
    text = record(args, terminal, clock, inputs, facts)
    write_together(files, (paths[".run.json"], text))


def _report(
    args: Namespace,
    paths: dict[str, Path],
    tree: xr.DataTree,
    table: pd.DataFrame,
    diagnoses: dict[str, Diagnosis],
) -> dict[Path, Writer]:
    """Make the page and the table of prior sensitivity that it shows."""
    from bayeslmm.checks.sensitivity import prior_sensitivity
    from bayeslmm.report import render

    sensitivity = prior_sensitivity(tree, args.prob)
    page = render(tree, summary=table, prob=args.prob, sensitivity=sensitivity, diagnoses=diagnoses)
    return {
        paths[SENSITIVITY]: partial(write_table, sensitivity),
        paths[".html"]: lambda path: path.write_text(page, encoding="utf-8", newline="\n"),
    }


def _facts(result: Result) -> dict[str, Any]:
    """Return the facts of a trait for the record of the run."""
    attrs = dict(result.tree.attrs)
    nested = ("priors", "relationships", "ledger")
    kept = (
        *("model", "model_file", "model_sha256", "family", "scale"),
        *("engine", "engine_reason", "draws", "chains"),
    )
    return {
        "n": result.cohort.n,
        "covariates": list(result.cohort.covariates),
        **{name: attrs[name] for name in kept if name in attrs},
        "ok": result.diagnosis.ok,
        "verdict": result.diagnosis.verdict,
        "problems": list(result.diagnosis.problems),
        **{name: json.loads(attrs[name]) for name in nested if name in attrs},
    }


def _print(
    args: Namespace,
    terminal: Terminal,
    results: list[Result],
    reasons: Mapping[str, str],
    paths: dict[str, Path],
) -> None:
    """Print the summary on stdout."""
    if args.json:
        sys.stdout.write(json_text(_json(args, terminal, results, reasons, paths), ascii_only=True))
        return
    from bayeslmm.posterior.summary import why_no_bayes_factor

    for result in results:
        reason = str(result.tree.attrs.get("engine_reason", ""))
        rows = result.table.to_dict(orient="records")
        verdict, on_scale = result.diagnosis.verdict, recorded_family(result.tree.attrs).on_scale
        named = [{str(k): v for k, v in row.items()} for row in rows]
        no_factor = why_no_bayes_factor(result.tree)
        print(trait_summary(named, verdict, reason, on_scale, no_factor))
    if ".html" in paths:
        print(f"report: {paths['.html']}")
    print("tables and draws: " + ", ".join(str(p) for s, p in paths.items() if s != ".html"))


def _json(
    args: Namespace,
    terminal: Terminal,
    results: list[Result],
    reasons: Mapping[str, str],
    paths: dict[str, Path],
) -> dict[str, Any]:
    common = ["trait", "model", "engine", "n"]
    return {
        "command": command_line(args),
        "traits": [
            {
                **{name: result.table[name].tolist()[0] for name in common},
                **recorded_family(result.tree.attrs).record(),
                "engine_reason": str(result.tree.attrs.get("engine_reason", "")),
                "ok": result.diagnosis.ok,
                "verdict": result.diagnosis.verdict,
                "problems": list(result.diagnosis.problems),
                "quantities": records(result.table.drop(columns=common)),
            }
            for result in results
        ],
        "left_out": dict(reasons),
        "warnings": list(terminal.warnings),
        "outputs": {suffix.removeprefix("."): str(path) for suffix, path in paths.items()},
    }
