"""The kernel of ``coverage`` and ``power``: a matrix or its eigenvalues, no phenotype."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.cli.analysis import parse_priors
from bayeslmm.cli.inputs.individuals import kept_individuals
from bayeslmm.cli.outputs import Writer, check_outputs, output_paths, write_table, write_together
from bayeslmm.cli.record import Clock, record
from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    import pandas as pd

    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.relationship.relationship import Relationship


OF_MATRIX = ("fam", "keep", "remove", "kernel_scale")
FILES = ("spectrum", "fam", "keep", "remove")


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """The kernel of a study.

    Parameters
    ----------
    eigenvalues
        s (m,), among the error contrasts.
    fixed_effects
        Columns of X, with the intercept.
    relationship
        The matrix, if it was given.
    files
        The files read.
    description
        A phrase for the output.
    """

    eigenvalues: Floats
    fixed_effects: int
    relationship: Relationship | None
    files: tuple[Path, ...]
    description: str

    @property
    def n(self) -> int:
        """Individuals."""
        return self.eigenvalues.size + self.fixed_effects


def check_options(args: Namespace, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Check the options before any file is read; return the paths of the outputs."""
    parse_priors(args.prior)
    if args.grm is None:
        given = [name for name in OF_MATRIX if getattr(args, name) is not None]
        if given:
            option = "--" + given[0].replace("_", "-")
            raise InputError(f"{option} without --grm", "an option of a matrix", "leave it out")
    if args.spectrum is not None and args.n_covariates is not None:
        raise InputError(
            "--n-covariates with --spectrum", "no covariates: the spectrum includes its design",
            "leave it out",
        )  # fmt: skip
    if args.out is None:
        return {}
    paths = output_paths(args.out, suffixes)
    read = [value for name in FILES if (value := getattr(args, name)) is not None]
    check_outputs(paths.values(), read)
    return paths


def open_kernel(args: Namespace, terminal: Terminal) -> Kernel:
    """Read --grm or --spectrum, and decompose the matrix."""
    from bayeslmm.estimates.boundary import spectrum_problem
    from bayeslmm.study.eigenvalues import read_eigenvalues, relationship_eigenvalues

    if args.spectrum is not None:
        s, p = read_eigenvalues(args.spectrum)
        path = Path(args.spectrum)
        kernel = Kernel(s, p, None, (path,), f"the spectrum {path.name}")
    else:
        relationship, files = _read_matrix(args, terminal)
        p = 1 + (args.n_covariates or 0)
        with terminal.step(f"eigenvalues of {relationship.n} individuals"):
            s = relationship_eigenvalues(relationship, fixed_effects=p, seed=args.seed)
        kernel = Kernel(s, p, relationship, files, f"the matrix {files[0].name}")
    from bayeslmm.study.grid import check_eigenvalues

    check_eigenvalues(kernel.eigenvalues)
    if (problem := spectrum_problem(kernel.eigenvalues, kernel.n)) is not None:
        terminal.warn(problem)
    return kernel


def _read_matrix(args: Namespace, terminal: Terminal) -> tuple[Relationship, tuple[Path, ...]]:
    """Read the matrix of the individuals kept, scaled by --kernel-scale."""
    from dataclasses import replace

    from bayeslmm.ledger import Ledger
    from bayeslmm.relationship.files import read_grm
    from bayeslmm.relationship.relatedness import relationship_warnings

    with terminal.step("reading the relationship matrix"):
        found = read_grm(args.grm, fam=args.fam)
    files = [Path(found.source)]
    individuals, ledger = kept_individuals(args, found.individuals, Ledger())
    files += [Path(path) for path in (args.keep, args.remove) if path is not None]
    for line in str(ledger).splitlines():
        terminal.say(f"  {line}")
    found = replace(found, kernel_scale=args.kernel_scale or found.kernel_scale)
    kernel = found.on(individuals)
    for text in relationship_warnings(kernel):
        terminal.warn(text)
    return kernel, (*files, *((Path(args.fam),) if args.fam is not None else ()))


def write_study(
    args: Namespace,
    terminal: Terminal,
    clock: Clock,
    paths: dict[str, Path],
    files: tuple[Path, ...],
    table: pd.DataFrame,
    page: str,
    facts: dict[str, object],
) -> None:
    """Write table, page and record, all or none."""
    wanted: dict[Path, Writer] = {}
    record_path = Path()
    for suffix, path in paths.items():
        if suffix.endswith(".tsv"):
            wanted[path] = partial(write_table, table)
        elif suffix.endswith(".html"):
            wanted[path] = lambda to: to.write_text(page, encoding="utf-8", newline="\n")
        else:
            record_path = path
    write_together(wanted, (record_path, record(args, terminal, clock, files, facts)))
