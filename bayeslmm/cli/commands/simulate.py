"""``bayeslmm simulate``: PLINK files, phenotype, covariates, and the truth."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from bayeslmm.cli.outputs import check_outputs, output_paths

if TYPE_CHECKING:
    from bayeslmm.cli.terminal import Terminal

SUFFIXES = (".bed", ".bim", ".fam", ".pheno", ".covar", ".truth.tsv")


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command."""
    from bayeslmm.simulation.cohort import simulate, write_simulation

    check_outputs(output_paths(args.out, SUFFIXES).values())
    kind = "in families" if args.families else "unrelated"
    with terminal.step(f"simulating {args.n} individuals ({kind}), {args.m} variants"):
        cohort = simulate(args.n, args.m, args.h2, families=args.families, seed=args.seed)
        written = write_simulation(cohort, args.out)
    print("\n".join(str(path) for path in written))
    return 0
