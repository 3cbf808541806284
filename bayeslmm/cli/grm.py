"""``bayeslmm grm``: the GRM of genotype files, in the files of GCTA, GEMMA or plink2."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.cli.record import Clock, record
from bayeslmm.cli.source import compute, limited, open_genotypes
from bayeslmm.files import sha256, write_text
from bayeslmm.outputs import check_outputs, output_paths

if TYPE_CHECKING:
    from bayeslmm.terminal import Terminal

SUFFIXES = {
    "gcta": (".grm.bin", ".grm.N.bin", ".grm.id"),
    "gemma": (".cXX.txt", ".cXX.fam"),
    "plink": (".rel", ".rel.id"),
}
RECORD = ".grm.run.json"
LISTS = ("keep", "remove", "extract", "exclude")


def run(args: Namespace, terminal: Terminal) -> int:
    """Run the command."""
    from bayeslmm.grm_files import write_grm

    clock = Clock()
    lists = [Path(value) for name in LISTS if (value := getattr(args, name)) is not None]
    paths = output_paths(args.out, (*SUFFIXES[args.format], RECORD))
    check_outputs(paths.values(), lists)
    with limited(args.threads):
        genotypes, files = open_genotypes(args, terminal)
        for line in str(genotypes.ledger).splitlines():
            terminal.say(f"  {line}")
        relationship = compute(genotypes, args, terminal)
    facts = {
        "individuals": genotypes.n,
        "variants": relationship.n_variants,
        "estimator": relationship.estimator,
        "factor": relationship.factor,
        "ledger": genotypes.ledger.records(),
    }
    text = record(args, terminal, clock, [*files, *lists], facts)
    with terminal.step("writing the GRM"):
        written = write_grm(relationship, args.out, args.format)
        write_text(paths[RECORD], text({path.name: sha256(path) for path in written}))
    print(f"GRM of {genotypes.n} individuals, {relationship.n_variants} variants ({args.scale}):")
    print("\n".join(f"  {path}" for path in (*written, paths[RECORD])))
    return 0
