"""``bayeslmm grm``: compute the kernels of genotype files, in formats of GCTA, GEMMA, plink2."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslmm.cli.inputs.individuals import open_genotypes, thread_limit
from bayeslmm.cli.outputs import check_outputs, output_paths, write_together
from bayeslmm.cli.record import Clock, record
from bayeslmm.cli.start import GRM, import_libraries
from bayeslmm.errors import InputError
from bayeslmm.system.atomic import require_space, scratch_folder

if TYPE_CHECKING:
    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.genotypes.genotypes import Genotypes
    from bayeslmm.relationship.relationship import Relationship
    from bayeslmm.relationship.variant_sets import VariantSets

SUFFIXES = {
    "gcta": (".grm.bin", ".grm.N.bin", ".grm.id"),
    "gemma": (".cXX.txt", ".cXX.fam"),
    "plink": (".rel", ".rel.id"),
}
RECORD = ".grm.run.json"
LISTS = ("keep", "remove", "extract", "exclude", "reference_freq")
BY_KEYWORDS = re.compile(r"(chromosome|maf|ld)(:.*)?")  # values of --by other than a file


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command."""
    clock = Clock()
    _check_options(args)
    lists = [Path(value) for name in LISTS if (value := getattr(args, name)) is not None]
    if args.by is not None and not BY_KEYWORDS.fullmatch(args.by):
        lists.append(Path(args.by))
    record_path = output_paths(args.out, [RECORD])[RECORD]
    check_outputs([record_path], lists)
    with thread_limit(args.threads):
        import_libraries(GRM)
        genotypes, files = _open(args, terminal)
        sets = _sets(genotypes, args, terminal)
        prefixes = _prefixes(args, sets)
        check_outputs((path for some in prefixes.values() for path in _files(some, args)), lists)
        _require_space(record_path, genotypes.n, len(prefixes), args.format)
        kernels = _compute(genotypes, sets, args, terminal)
    kernels = {name: kernels[name] for name in prefixes}
    facts = _facts(genotypes, sets, kernels, prefixes)
    text = record(args, terminal, clock, [*files, *lists], facts)
    with (
        terminal.step("writing the GRM" if len(kernels) == 1 else f"writing {len(kernels)} GRMs"),
        scratch_folder(record_path) as folder,
    ):
        staged = _stage(kernels, prefixes, args.format, folder)
        written = {path: partial(os.replace, source) for path, source in staged.items()}
        write_together(written, (record_path, text))
    for name, kernel in kernels.items():
        what = "GRM" if len(kernels) == 1 else name
        how = f"{kernel.n_variants} variants ({kernel.estimator})"
        print(f"{what} of {genotypes.n} individuals, {how}:")
        print("\n".join(f"  {path}" for path in _files(prefixes[name], args)))
    print(f"  {record_path}" if len(kernels) == 1 else f"record:\n  {record_path}")
    return 0


def _check_options(args: Namespace) -> None:
    """Raise `InputError` for meaningless combinations of options, before any work."""
    from bayeslmm.genotypes.codings import CODINGS

    known = CODINGS
    if {*args.kind} - {*known} or len({*args.kind}) < len(args.kind):
        raise InputError(
            f"--kind {','.join(args.kind)}", f"some of {', '.join(known)}, each once", "correct it"
        )
    if args.kind == ["x"] and args.by is not None:
        raise InputError("--by with --kind x alone", "one kernel for X", "leave --by out")
    if args.loco and (args.kind != ["additive"] or args.by not in (None, "chromosome")):
        raise InputError(
            "--loco with another --kind or --by",
            "additive kernels by chromosome",
            "leave --kind out, and --by out or at chromosome",
        )
    if "x" in args.kind and args.hwe is not None:
        raise InputError(
            "--hwe with --kind x",
            "no test of Hardy-Weinberg proportions where males have one X",
            "leave --hwe out, or make the kernels in two runs",
        )
    if args.dosage_compensation is None:
        args.dosage_compensation = "full" if "x" in args.kind else None
    elif "x" not in args.kind:
        raise InputError("--dosage-compensation without --kind x", "a kernel of X", "leave it out")


def _open(args: Namespace, terminal: Terminal) -> tuple[Genotypes, tuple[Path, ...]]:
    """Open the genotypes after quality control, with chromosome X if a kernel needs it."""
    from bayeslmm.genotypes.qc import autosomal
    from bayeslmm.relationship.x_chromosome import on_x

    everything = args.all_chromosomes
    if "x" in args.kind:
        args.all_chromosomes = True
    genotypes, files = open_genotypes(args, terminal)
    if "x" in args.kind:
        args.all_chromosomes = bool(everything)
    if "x" in args.kind and not everything:
        chromosomes = genotypes.variants["CHROM"]
        kept = on_x(chromosomes, args.chr_set)
        if args.kind != ["x"]:
            kept |= autosomal(chromosomes, args.chr_set)
        names = genotypes.variants["ID"][~kept]
        reason = "not on X" if args.kind == ["x"] else f"not on X or 1 to {args.chr_set}"
        ledger = genotypes.ledger.add("variants", reason, names, remaining=int(kept.sum()))
        if not kept.any():
            raise InputError(
                "no variant on X", f"X, chrX or {args.chr_set + 1}", "check --chr-set",
                path=genotypes.source.name,
            )  # fmt: skip
        genotypes = genotypes.select(variants=kept, ledger=ledger)
    for line in str(genotypes.ledger).splitlines():
        terminal.say(f"  {line}")
    return genotypes, files


def _sets(genotypes: Genotypes, args: Namespace, terminal: Terminal) -> VariantSets | None:
    from bayeslmm.relationship.variant_sets import choose_sets

    by = "chromosome" if args.loco else args.by
    if by is None:
        return None
    sets = choose_sets(genotypes, by)
    for line in str(sets).splitlines():
        terminal.say(f"  {line}")
    return sets


def _compute(
    genotypes: Genotypes, sets: VariantSets | None, args: Namespace, terminal: Terminal
) -> dict[str, Relationship]:
    from bayeslmm.relationship.genomic import compute_grms
    from bayeslmm.relationship.loco import loco

    task = f"GRM of {genotypes.n} individuals and {genotypes.m} variants"
    with terminal.step(task) as progress:
        kernels = compute_grms(
            genotypes,
            args.kind,
            sets,
            scale=args.scale,
            dosage_compensation=args.dosage_compensation or "full",
            chr_set=args.chr_set,
            threads=args.threads,
            progress=progress,
        )
    return {**loco(kernels), **kernels} if args.loco else kernels


def _prefixes(args: Namespace, sets: VariantSets | None) -> dict[str, str]:
    """Return the file prefix of each kernel that will be written, by name."""
    from bayeslmm.relationship.genomic_parts import kernel_names

    if args.loco and sets is not None:
        names = ["additive", *(f"loco:{name}" for name in sets.names)]
        names += sets.names if args.by is not None else []
        prefixes = {name: f"{args.out}.{safe(name)}" for name in names[1:]}
        return {"additive": args.out, **prefixes}
    names = [name for name, _, _ in kernel_names(args.kind, sets)]
    if len(names) == 1 and sets is None:
        return {names[0]: args.out}
    prefixes = {name: f"{args.out}.{safe(name)}" for name in names}
    for prefix in prefixes.values():
        alike = [other for other in prefixes if prefixes[other] == prefix]
        if len(alike) > 1:
            raise InputError(
                f"{' and '.join(map(repr, alike))} give the same file name {prefix}",
                "names that differ in letters and digits",
                "rename the groups",
                path=args.by,
            )
    return prefixes


def safe(name: str) -> str:
    """Convert a kernel's name to a file name of letters, digits and ``. _ + -``.

    >>> safe("dominance:maf(0.01,0.05]")
    'dominance.maf_0.01_0.05'
    """
    return re.sub(r"[^\w.+-]+", "_", name.replace(":", "."), flags=re.ASCII).strip("_.")


def _files(prefix: str, args: Namespace) -> Iterable[Path]:
    return output_paths(prefix, SUFFIXES[args.format]).values()


def _require_space(path: Path, n: int, count: int, form: Any) -> None:
    """Raise `InputError`, before the work, if the disk has no space for the matrices."""
    from bayeslmm.relationship.files import matrix_bytes

    require_space(path, count * matrix_bytes(n, form), f"the output for {n} individuals")


def _stage(
    kernels: Mapping[str, Relationship], prefixes: Mapping[str, str], form: Any, folder: Path
) -> dict[Path, Path]:
    """Write every matrix into a folder; return the files by their final path."""
    from bayeslmm.relationship.files import write_grm

    staged = {}
    for name, kernel in kernels.items():
        target = Path(prefixes[name])
        for path in write_grm(kernel, folder / target.name, form):
            staged[target.with_name(path.name)] = path
    return staged


def _facts(
    genotypes: Genotypes,
    sets: VariantSets | None,
    kernels: Mapping[str, Relationship],
    prefixes: Mapping[str, str],
) -> dict[str, Any]:
    """Return the facts of this command for the record of the run."""
    check = genotypes.frequency_check
    only = next(iter(kernels.values()))
    described = [
        {**kernel.provenance(), "prefix": prefixes[name]} for name, kernel in kernels.items()
    ]
    return {
        "individuals": genotypes.n,
        "variants": only.n_variants if len(kernels) == 1 else genotypes.m,
        "estimator": ",".join(dict.fromkeys(one.estimator for one in kernels.values())),
        "factor": 1.0,
        "kernels": described,
        "sets": None if sets is None else str(sets).splitlines(),
        "ledger": genotypes.ledger.records(),
        **({} if check is None else {"frequency_check": check.facts()}),
    }
