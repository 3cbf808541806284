"""``bayeslmm coverage``: coverage of intervals of h² for the user's own kernel."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from bayeslmm.cli.analysis import parse_priors
from bayeslmm.cli.inputs.eigenvalues import check_options, open_kernel, write_study
from bayeslmm.cli.inputs.individuals import thread_limit
from bayeslmm.cli.outputs import plain
from bayeslmm.cli.record import Clock, command_line

if TYPE_CHECKING:
    from bayeslmm.cli.terminal import Terminal

SUFFIXES = (".coverage.tsv", ".coverage.html", ".coverage.run.json")


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command."""
    clock = Clock()
    paths = check_options(args, SUFFIXES)
    from bayeslmm.estimates.boundary import expected_se
    from bayeslmm.report.coverage import coverage_lines, coverage_page
    from bayeslmm.study.coverage import H2, estimate_coverage
    from bayeslmm.study.priors import parse_priors as read_priors

    priors = read_priors(parse_priors(args.prior))
    args.h2 = list(H2) if args.h2 is None else list(dict.fromkeys(args.h2))
    with thread_limit(args.threads):
        kernel = open_kernel(args, terminal)
        with terminal.step(f"{args.reps} data sets for each h²") as progress:
            table = estimate_coverage(
                kernel.eigenvalues,
                args.h2,
                reps=args.reps,
                prob=args.prob,
                priors=priors,
                seed=args.seed,
                threads=args.threads,
                progress=progress,
            )
    facts = {
        "kernel": kernel.description,
        "n": kernel.n,
        "fixed_effects": kernel.fixed_effects,
        "expected_se_at_0": plain(expected_se(kernel.eigenvalues)),
        "priors": {name: str(prior) for name, prior in priors.items()},
    }
    page = coverage_page(table, facts, prob=args.prob, command=command_line(args))
    write_study(args, terminal, clock, paths, kernel.files, table, page, dict(facts))
    print("\n".join(coverage_lines(table, facts, prob=args.prob)))
    print(f"report: {paths['.coverage.html']}")
    print(f"table: {paths['.coverage.tsv']}, {paths['.coverage.run.json']}")
    return 0
