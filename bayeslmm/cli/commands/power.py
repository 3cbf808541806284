"""``bayeslmm power``: expected precision and power of a study of h²."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.cli.analysis import parse_priors
from bayeslmm.cli.inputs.eigenvalues import Kernel, check_options, open_kernel, write_study
from bayeslmm.cli.inputs.individuals import thread_limit
from bayeslmm.cli.record import Clock, command_line
from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.cli.terminal import Terminal


SUFFIXES = (".power.tsv", ".power.html", ".power.run.json")


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command."""
    clock = Clock()
    if args.me is not None and args.n is None:
        raise InputError("--me without --n", "the number of individuals", "add --n 1000,5000")
    paths = check_options(args, SUFFIXES)
    import pandas as pd

    from bayeslmm.report.coverage import power_lines, power_page
    from bayeslmm.study.power import H2, expected_power
    from bayeslmm.study.priors import parse_priors as read_priors

    priors = read_priors(parse_priors(args.prior))
    args.h2 = list(H2) if args.h2 is None else list(dict.fromkeys(args.h2))
    tables = []
    with thread_limit(args.threads):
        kernel = None if args.me is not None else open_kernel(args, terminal)
        sizes = [kernel.n] if args.n is None and kernel is not None else args.n
        for n in dict.fromkeys(sizes):
            s = _spectrum(args, terminal, kernel, n)
            with terminal.step(f"n = {n}: {args.reps} data sets for each h²") as progress:
                tables.append(
                    expected_power(
                        s,
                        args.h2,
                        n=n,
                        reps=args.reps,
                        prob=args.prob,
                        priors=priors,
                        seed=args.seed,
                        threads=args.threads,
                        progress=progress,
                    )
                )
    table = pd.concat(tables, ignore_index=True)
    facts = {
        "kernel": f"{args.me:g} independent segments" if kernel is None else kernel.description,
        "priors": {name: str(prior) for name, prior in priors.items()},
    }
    print("\n".join(power_lines(table, facts, prob=args.prob)))
    if paths:
        page = power_page(table, facts, prob=args.prob, command=command_line(args))
        files = () if kernel is None else kernel.files
        write_study(args, terminal, clock, paths, files, table, page, dict(facts))
        print(f"report: {paths['.power.html']}")
        print(f"table: {paths['.power.tsv']}, {paths['.power.run.json']}")
    return 0


def _spectrum(args: Namespace, terminal: Terminal, kernel: Kernel | None, n: int) -> Floats:
    """Return the eigenvalues of the study with n individuals."""
    from bayeslmm.study.eigenvalues import (
        effective_segments,
        marchenko_pastur,
        relationship_eigenvalues,
    )

    if kernel is None:
        return marchenko_pastur(n, args.me, 1 + (args.n_covariates or 0))
    if n == kernel.n:
        return kernel.eigenvalues
    if kernel.relationship is not None and n < kernel.n:
        return relationship_eigenvalues(
            kernel.relationship, fixed_effects=kernel.fixed_effects, n=n, seed=args.seed
        )
    segments = effective_segments(kernel.eigenvalues, kernel.n)
    if not np.isfinite(segments):
        raise InputError(
            f"--n {n} with a kernel whose eigenvalues are all the same",
            "a kernel in which some individuals are more related than others",
            "h² is not identified from it with any number of individuals",
        )
    terminal.warn(
        f"n = {n} is not the {kernel.n} of {kernel.description}: the study is computed for {n} "
        f"individuals with the same variance of relationships (1 / variance = {segments:.0f} "
        "segments); if the individuals of the matrix form families, additional families are less "
        "informative than this"
    )
    return marchenko_pastur(n, segments, kernel.fixed_effects)
