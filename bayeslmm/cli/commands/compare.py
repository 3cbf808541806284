"""``bayeslmm compare``: compare models of the same records by leave-one-out and by evidence."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.cli.compare_fits import fit_models, leave_out, saying, weigh_all_zeros
from bayeslmm.cli.compare_models import load_models, model_files
from bayeslmm.cli.inputs.groups import FAMILY, FAMILY_NOTE
from bayeslmm.cli.inputs.individuals import named_matrix, open_source, thread_limit
from bayeslmm.cli.inputs.shared_cohort import shared_cohort
from bayeslmm.cli.inputs.shared_kernels import keep_spectrum, model_kernels, warn_of_kernels
from bayeslmm.cli.outputs import (
    OF_H2,
    Writer,
    check_outputs,
    json_text,
    output_paths,
    records,
    stale,
    write_table,
    write_together,
)
from bayeslmm.cli.record import Clock, command_line, record
from bayeslmm.cli.start import FIT, import_libraries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.comparison.table import Comparison
    from bayeslmm.report.compared_fit import Fit

TABLE, PAGE, RECORD = OUTPUTS = (".compare.tsv", ".compare.html", ".compare.run.json")
TABLES = ("pheno", "covar", "fam", "keep", "remove", "extract", "exclude")


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command; return 0 if every posterior is healthy, else 1."""
    clock = Clock()
    files = load_models(args)
    tables = [Path(value) for name in TABLES if (value := getattr(args, name)) is not None]
    matrices = [named_matrix(text)[1] for text in args.grm or ()]
    named = [Path(name) for name in (args.pedigree, args.by, *matrices) if name is not None]
    own = [file.path for file in model_files(files)]
    suffixes = [name for name in OUTPUTS if not (args.no_report and name == PAGE)]
    paths = output_paths(args.out, suffixes)
    check_outputs(paths.values(), [*tables, *named, *own])
    with thread_limit(args.threads):
        source = open_source(args, terminal)
        import_libraries(FIT)
        cohort, groups = shared_cohort(args, source, files)
        _print_dropped(terminal, cohort)
        kernels = model_kernels(args, source, files, cohort)
        warn_of_kernels(terminal, kernels)
        keep_spectrum(args, files, cohort, kernels)
        fits = fit_models(args, terminal, files, cohort, kernels, groups)
        comparison = _compare(args, terminal, fits)
        if FAMILY in groups:
            comparison = replace(comparison, notes=(*comparison.notes, FAMILY_NOTE))
        outputs: dict[Path, Writer] = {paths[TABLE]: partial(write_table, comparison.table)}
        if not args.no_report:
            page = _page(args, terminal, cohort, fits, comparison)
            outputs[paths[PAGE]] = lambda path: path.write_text(
                page, encoding="utf-8", newline="\n"
            )
        inputs = [*source.files, *tables, *own]
        text = record(args, terminal, clock, inputs, _facts(cohort, fits, comparison))
        with terminal.step("writing the results"):
            write_together(outputs, (paths[RECORD], text))
    for left in stale(args.out, list(paths.values()), (*OF_H2, PAGE)):
        terminal.warn(f"{left} is of an earlier run, not of this one")
    _print(args, terminal, cohort, comparison, paths)
    return 0 if all(one.diagnosis.ok for one in fits) else 1


def _print_dropped(terminal: Terminal, cohort: Cohort) -> None:
    """Print the steps that dropped individuals or variants."""
    lines = str(cohort.ledger).split("\n")
    for step, line in zip(cohort.ledger.steps, lines, strict=True):
        if step.dropped:
            terminal.say(f"  {line}")


def _compare(args: Namespace, terminal: Terminal, fits: Sequence[Fit]) -> Comparison:
    from bayeslmm.comparison.table import weigh_models

    left_out = leave_out(args, terminal, fits)
    with terminal.step("marginal likelihoods and the comparison"), saying(terminal, ""):
        return weigh_models(
            {one.name: one.tree for one in fits},
            {one.name: one.model for one in fits},
            seed=args.seed,
            cores=args.threads,
            leave_one_out=left_out,
        )


def _page(
    args: Namespace,
    terminal: Terminal,
    cohort: Cohort,
    fits: Sequence[Fit],
    comparison: Comparison,
) -> str:
    from bayeslmm.report.compare import render_comparison

    with terminal.step("Bayes factors of nested models"):
        zeros, untested = weigh_all_zeros(args, terminal, fits)
    return render_comparison(
        comparison,
        fits,
        zeros,
        cohort,
        untested=untested,
        command=command_line(args),
        prob=args.prob,
    )


def _facts(cohort: Cohort, fits: Sequence[Fit], comparison: Comparison) -> dict[str, object]:
    """Return the facts of this command for the record of the run."""
    return {
        "trait": cohort.trait,
        "n": cohort.n,
        "individuals": len(cohort.people),
        "covariates": list(cohort.covariates),
        "ledger": cohort.ledger.records(),
        "models": {one.name: one.facts() for one in fits},
        "comparison": records(comparison.table),
        "notes": list(comparison.notes),
    }


def _print(
    args: Namespace,
    terminal: Terminal,
    cohort: Cohort,
    comparison: Comparison,
    paths: dict[str, Path],
) -> None:
    """Print the table and the conclusions on stdout."""
    if args.json:
        content = {
            "command": command_line(args),
            "trait": cohort.trait,
            "n": cohort.n,
            "comparison": records(comparison.table),
            "notes": list(comparison.notes),
            "warnings": list(terminal.warnings),
            "outputs": {suffix.removeprefix("."): str(path) for suffix, path in paths.items()},
        }
        sys.stdout.write(json_text(content, ascii_only=True))
        return
    from bayeslmm.report.compare_lines import comparison_lines

    print("\n".join(comparison_lines(comparison, cohort)))
    if PAGE in paths:
        print(f"report: {paths[PAGE]}")
    print(f"table: {paths[TABLE]}, {paths[RECORD]}")
