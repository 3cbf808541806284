"""Individuals and kernels from the options: genotypes, matrices or a pedigree."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslmm.cli.inputs.kernels import Kernels, check_known, products, scaled
from bayeslmm.cli.parser import QC_DEFAULTS
from bayeslmm.errors import InputError
from bayeslmm.ledger import Ledger
from bayeslmm.numerics.threads import limit_threads

if TYPE_CHECKING:
    import pandas as pd

    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.genotypes.frequency_check import FrequencyCheck
    from bayeslmm.genotypes.genotypes import Genotypes
    from bayeslmm.relationship.pedigree.pedigree import Pedigree
    from bayeslmm.relationship.relationship import Relationship


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The source of the kernels, which computes large arrays only on demand.

    Parameters
    ----------
    individuals
        Individuals after quality control, or of the matrices or the pedigree.
    ledger
        Individuals and variants dropped so far.
    files
        The files read, for checksums.
    kernels
        ``(names, more, individuals) → Kernels``: the kernels of these names; with `more` also the
        kernels that the options add; for a pedigree only among these individuals.
    pedigree
        The pedigree, or None.
    frequency_check
        Comparison of the variants with --reference-freq, or None.
    """

    individuals: pd.MultiIndex
    ledger: Ledger
    files: tuple[Path, ...]
    kernels: Callable[[Sequence[str], bool, pd.MultiIndex], Kernels]
    pedigree: Pedigree | None = None
    frequency_check: FrequencyCheck | None = None


def open_source(args: Namespace, terminal: Terminal) -> Source:
    """Open the source named by --bfile, --pfile, --grm or --pedigree."""
    if args.fam is not None and args.grm is None:
        raise InputError(
            "--fam without --grm", "--fam only for the IDs of a GEMMA matrix", "leave it out"
        )
    if args.grm is not None or args.pedigree is not None:
        _check_no_genotype_options(args, "--grm" if args.grm is not None else "--pedigree")
    if args.grm is not None:
        return _open_matrices(args, terminal)
    if args.pedigree is not None:
        return _open_pedigree(args, terminal)
    from bayeslmm.cli.inputs.genotype_kernels import genotype_kernels

    genotypes, files = open_genotypes(args, terminal)
    if args.by is not None and Path(args.by).is_file():
        files = (*files, Path(args.by))
    return Source(
        genotypes.individuals,
        genotypes.ledger,
        files,
        partial(genotype_kernels, genotypes, args, terminal),
        frequency_check=genotypes.frequency_check,
    )


def open_genotypes(args: Namespace, terminal: Terminal) -> tuple[Genotypes, tuple[Path, ...]]:
    """Open the genotypes after quality control; also return their files."""
    from bayeslmm.genotypes.genotypes import SUFFIXES, Kind, read_genotypes
    from bayeslmm.genotypes.qc import quality_control

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
            reference_freq=args.reference_freq,
        )
    files = [first.with_suffix(suffix) for suffix in SUFFIXES[kind]]
    if args.reference_freq is not None:
        files.append(Path(args.reference_freq))
    return genotypes, tuple(files)


def _check_no_genotype_options(args: Namespace, source: str) -> None:
    given = [name for name in (*QC_DEFAULTS, "by") if getattr(args, name) is not None]
    if given:
        options = ", ".join("--" + name.replace("_", "-") for name in given)
        raise InputError(
            f"{options} with {source}",
            "options of genotypes only with --bfile or --pfile: the matrix has been computed",
            "leave them out, or give the genotypes",
        )


def named_matrix(text: str) -> tuple[str, str]:
    """Split ``NAME=FILE`` into name and path; the name is "" if the text is a path.

    A path may contain "=": the text is a path if a file with this name or prefix exists.
    """
    path = Path(text)
    name, sign, file = text.partition("=")
    there = any(path.parent.glob(f"{escape(path.name)}*"))
    return ("", text) if there or not sign or "/" in name else (name, file)


def _open_matrices(args: Namespace, terminal: Terminal) -> Source:
    from bayeslmm.relationship.files import read_grm

    named = [named_matrix(text) for text in args.grm]
    with terminal.step(f"reading {len(named)} relationship matrices"
                       if len(named) > 1 else "reading the relationship matrix"):  # fmt: skip
        found = [(name, read_grm(path, fam=args.fam)) for name, path in named]
    first = found[0][1].individuals
    individuals = first
    for _, matrix in found[1:]:
        individuals = individuals[individuals.isin(matrix.individuals)]
    ledger = Ledger()
    if len(individuals) < len(first):
        lost = first[~first.isin(individuals)]
        from bayeslmm.individuals import names_of

        ledger = ledger.add("individuals", "not in all matrices", names_of(lost),
                            remaining=len(individuals))  # fmt: skip
    individuals, ledger = kept_individuals(args, individuals, ledger)
    files = [file for _, matrix in found for file in _matrix_files(matrix.source, args.fam)]
    return Source(individuals, ledger, tuple(files), partial(_matrices, found, args))


def _matrices(
    found: list[tuple[str, Relationship]],
    args: Namespace,
    names: Sequence[str],
    more: bool,
    individuals: pd.MultiIndex,
) -> Kernels:
    """Assign the matrices by the names given, or else in the model's order."""
    given = {name for name, _ in found if name}
    free = [name for name in names if name not in given]
    out: Kernels = {}
    for name, matrix in found:
        label = name or (free.pop(0) if free else _file_name(matrix.source))
        if label in out or (label not in names and not more):
            wanted = ", ".join(names) or "none"
            raise InputError(
                f"the matrix '{label}' ({matrix.source})",
                f"each of: {wanted}, once" + (", and any others by name" if more else ""),
                "name them: --grm additive=A,dominance=B",
            )
        out[label] = scaled(replace(matrix, name=label), args)
    return out


def _file_name(source: str) -> str:
    """Return the name of a matrix file without folder and suffix."""
    from bayeslmm.relationship.files import ID_SUFFIX

    name = Path(source).name
    suffix = next((end for end in ID_SUFFIX if name.endswith(end)), "")
    return name.removesuffix(suffix) or name


def _open_pedigree(args: Namespace, terminal: Terminal) -> Source:
    from bayeslmm.relationship.pedigree.pedigree import read_pedigree

    with terminal.step("reading the pedigree"):
        pedigree = read_pedigree(
            args.pedigree,
            args.pedigree_parents,
            allow_selfing=args.selfing,
            founders=args.founders,
            genetic_groups=args.genetic_groups,
        )
    for note in pedigree.notes:
        terminal.say(f"  {note}")
    individuals, ledger = kept_individuals(args, pedigree.individuals, Ledger())
    kernels = partial(_pedigree_kernels, pedigree, args, terminal)
    return Source(individuals, ledger, (Path(args.pedigree),), kernels, pedigree)


def _pedigree_kernels(
    pedigree: Pedigree,
    args: Namespace,
    terminal: Terminal,
    names: Sequence[str],
    more: bool,
    individuals: pd.MultiIndex,
) -> Kernels:
    from bayeslmm.relationship.pedigree.matrix import additive_relationship, dominance_relationship

    wanted = list(names) or ["additive"]
    with terminal.step(f"pedigree relationship of {len(individuals)} individuals"):
        out: Kernels = {"additive": additive_relationship(pedigree, individuals)}
        if any("dominance" in name for name in wanted):
            out["dominance"] = dominance_relationship(pedigree, individuals)
        out |= products(out, wanted)
    out = {name: kernel for name, kernel in out.items() if name in wanted}
    check_known(out, names, "a pedigree")
    return {name: scaled(kernel, args) for name, kernel in out.items()}


def kept_individuals(
    args: Namespace, individuals: pd.MultiIndex, ledger: Ledger
) -> tuple[pd.MultiIndex, Ledger]:
    """Select the individuals by --keep and --remove."""
    from bayeslmm.genotypes.qc import choose_individuals

    for path, option in ((args.keep, "keep"), (args.remove, "remove")):
        if path is not None:
            kept, ledger = choose_individuals(
                individuals,
                ledger,
                path,
                option,  # type: ignore[arg-type]
            )
            individuals = individuals[kept]
    return individuals, ledger


def _matrix_files(source: str, fam: str | None) -> tuple[Path, ...]:
    """Return the file of a matrix and its companion files."""
    from bayeslmm.relationship.files import ID_SUFFIX

    suffix = next((end for end in ID_SUFFIX if source.endswith(end)), "")
    prefix = source.removesuffix(suffix)
    beside = [prefix + ID_SUFFIX[suffix]] if ID_SUFFIX.get(suffix) else []
    if suffix == ".grm.bin":
        beside.append(prefix + ".grm.N.bin")
    files = [Path(path) for path in (source, *beside) if Path(path).is_file()]
    return (*files, *((Path(fam),) if fam is not None else ()))


def thread_limit(threads: int | None) -> AbstractContextManager[Any]:
    """Limit the threads of BLAS and OpenMP; None sets no limit."""
    return nullcontext() if threads is None else limit_threads(threads)
