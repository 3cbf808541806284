"""From the options to the individuals and their relationship: genotype files or a matrix's file."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslmm.cli.parser import QC_DEFAULTS
from bayeslmm.errors import InputError
from bayeslmm.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd

    from bayeslmm.genotypes import Genotypes
    from bayeslmm.relationship import Relationship
    from bayeslmm.terminal import Terminal


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where the relationship comes from; a GRM of genotypes is not computed before it is asked for.

    Parameters
    ----------
    individuals
        Those that passed quality control, or those of the matrix.
    ledger
        Who and what was dropped so far.
    files
        The files behind it, for checksums.
    relationship
        Gives the relationship of the individuals, unscaled.
    """

    individuals: pd.MultiIndex
    ledger: Ledger
    files: tuple[Path, ...]
    relationship: Callable[[], Relationship]


def open_source(args: Namespace, terminal: Terminal) -> Source:
    """Open what --bfile, --pfile or --grm names."""
    if args.grm is not None:
        return _open_matrix(args, terminal)
    if args.fam is not None:
        raise InputError(
            "--fam without --grm", "--fam only for the IDs of a GEMMA matrix", "leave it out"
        )
    genotypes, files = open_genotypes(args, terminal)
    return Source(
        genotypes.individuals,
        genotypes.ledger,
        files,
        lambda: compute(genotypes, args, terminal),
    )


def open_genotypes(args: Namespace, terminal: Terminal) -> tuple[Genotypes, tuple[Path, ...]]:
    """Genotypes after quality control, and their files."""
    from bayeslmm.genotypes import SUFFIXES, Kind, read_genotypes
    from bayeslmm.qc import quality_control

    for name, value in QC_DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    kind: Kind = "bfile" if args.bfile is not None else "pfile"
    with terminal.step("reading genotypes and counting alleles"):
        genotypes = read_genotypes(args.bfile or args.pfile, kind=kind)
        first = Path(genotypes.source.name)
        genotypes = quality_control(
            genotypes,
            maf=args.maf,
            max_missing=args.max_missing,
            hwe=args.hwe,
            keep=args.keep,
            remove=args.remove,
            extract=args.extract,
            exclude=args.exclude,
            autosomes=not args.all_chromosomes,
            chr_set=args.chr_set,
        )
    return genotypes, tuple(first.with_suffix(suffix) for suffix in SUFFIXES[kind])


def compute(genotypes: Genotypes, args: Namespace, terminal: Terminal) -> Relationship:
    """The GRM of the genotypes."""
    from bayeslmm.grm import grm

    words = f"GRM of {genotypes.n} individuals and {genotypes.m} variants"
    with terminal.step(words) as progress:
        return grm(genotypes, scale=args.scale, threads=args.threads, progress=progress)


def _open_matrix(args: Namespace, terminal: Terminal) -> Source:
    from bayeslmm.grm_files import read_grm
    from bayeslmm.qc import choose_individuals

    given = [name for name in QC_DEFAULTS if getattr(args, name) is not None]
    if given:
        options = ", ".join("--" + name.replace("_", "-") for name in given)
        raise InputError(
            f"{options} with --grm",
            "options of genotypes only with --bfile or --pfile: the matrix has been computed",
            "leave them out, or give the genotypes",
        )
    with terminal.step("reading the relationship matrix"):
        matrix = read_grm(args.grm, fam=args.fam)
    individuals, ledger = matrix.individuals, Ledger()
    for path, option in ((args.keep, "keep"), (args.remove, "remove")):
        if path is not None:
            kept, ledger = choose_individuals(
                individuals,
                ledger,
                path,
                option,  # type: ignore[arg-type]
            )
            individuals = individuals[kept]
    return Source(
        individuals,
        ledger,
        _matrix_files(matrix.source, args.fam),
        lambda: matrix if individuals is matrix.individuals else matrix.on(individuals, "none"),
    )


def _matrix_files(source: str, fam: str | None) -> tuple[Path, ...]:
    """The matrix's file and the files beside it that belong to it."""
    from bayeslmm.grm_files import ID_SUFFIX

    suffix = next((end for end in ID_SUFFIX if source.endswith(end)), "")
    prefix = source.removesuffix(suffix)
    beside = [prefix + ID_SUFFIX[suffix]] if ID_SUFFIX.get(suffix) else []
    if suffix == ".grm.bin":
        beside.append(prefix + ".grm.N.bin")
    files = [Path(path) for path in (source, *beside) if Path(path).is_file()]
    return (*files, *((Path(fam),) if fam is not None else ()))


def with_kernel_scale(relationship: Relationship, kernel_scale: Any) -> Relationship:
    """The relationship, to be scaled as --kernel-scale says."""
    if relationship.kernel_scale == kernel_scale:
        return relationship
    return replace(relationship, kernel_scale=kernel_scale)


def limited(threads: int | None) -> AbstractContextManager[Any]:
    """Limit the threads of BLAS and OpenMP; None leaves them as they are."""
    if threads is None:
        return nullcontext()
    import scipy.linalg  # noqa: F401 (only what is loaded can be limited)
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(threads)
    return limits
