"""The arguments of every command, with defaults and units. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from bayeslmm.cli import parser_checks as trust
from bayeslmm.cli.arguments import integer, names, real
from bayeslmm.cli.parser_common import (
    analysis,
    genotypes,
    no_report,
    quality_control,
    relationship,
    seed,
    threads,
    traits,
)

QC_DEFAULTS: dict[str, Any] = {
    "maf": 0.01,
    "max_missing": 0.05,
    "hwe": None,
    "extract": None,
    "exclude": None,
    "reference_freq": None,
    "chr_set": 22,
    "all_chromosomes": False,
    "scale": "gcta",
}

DESCRIPTION = """\
Bayesian linear mixed models for statistical genetics: heritability and the proportion of
phenotypic variance explained (PVE), as posterior distributions, from genotype files."""

EXAMPLES = """\
examples:
  bayeslmm demo
  bayeslmm simulate --n 1000 --m 5000 --h2 0.5 --families --out data/sim
  bayeslmm h2 --bfile data/sim --pheno data/sim.pheno --covar data/sim.covar --out results/sim
  bayeslmm grm --bfile data/sim --out data/sim
  bayeslmm h2 --grm data/sim --pheno data/sim.pheno --out results/sim

exit codes: 0 done; 1 ran, but the result is not healthy, or an internal failure;
2 bad input or usage."""

H2_EXAMPLES = """\
examples:
  bayeslmm h2 --bfile mouse --chr-set 19 --pheno mouse.pheno --pheno-name CD8,MCH --out mouse
  bayeslmm h2 --grm gemma.cXX.txt --fam gemma.fam --pheno y.txt --out y
  bayeslmm h2 --bfile sim --pheno sim.pheno --covar sim.covar --formula "~ C(sex) + age" --out sim
  bayeslmm h2 --bfile sim --pheno sim.pheno --prior "h2=beta(1, 3)" --out informed
  bayeslmm h2 --bfile sim --pheno sim.pheno --model ./mine.py --engine nuts --out mine
  bayeslmm h2 --bfile sim --pheno sim.pheno --model dominance --out dominance
  bayeslmm h2 --bfile sim --pheno sim.pheno --model partitioned --by chromosome --out parts
  bayeslmm h2 --bfile sim --pheno sim.pheno --model bivariate --pheno-name A,B --out two
  bayeslmm h2 --pedigree ped.tsv --pheno records.tsv --id-column ID --pheno-name y
              --model repeated --out repeated

writes PREFIX.h2.tsv (every number), PREFIX.nc (the posterior, for ArviZ), PREFIX.html (the report)
and PREFIX.run.json (options, versions, seed, who was dropped, checksums), all of them or none."""

MODELS_EXAMPLES = """\
examples:
  bayeslmm models list
  bayeslmm models show additive
  bayeslmm models copy additive mine.py      then edit it and use: bayeslmm h2 --model ./mine.py"""


class Parser(argparse.ArgumentParser):
    """A parser that prints errors in one line and exits with code 2."""

    def error(self, message: str) -> NoReturn:
        """Print the error and the command for help, and exit."""
        self.exit(2, f"error: {message} -> see: {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command ``bayeslmm``; ``args.module`` names the module to run."""
    parser = _command(Parser, prog="bayeslmm", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        dest=argparse.SUPPRESS,
        help="print the version and exit",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, module: str, summary: str, **more: Any) -> argparse.ArgumentParser:
        command = _command(commands.add_parser, name, help=summary, description=summary, **more)
        command.set_defaults(module=module, command=name)
        return command

    _demo(add("demo", "demo", "simulate a cohort, estimate its heritability, write a report"))
    _simulate(add("simulate", "simulate", "write PLINK files and a phenotype with known truth"))
    _grm(add("grm", "grm", "write the genomic relationship matrix (GRM) of genotype files"))
    _h2(add("h2", "h2", "posterior of heritability and PVE, with a report", epilog=H2_EXAMPLES))
    summary = "list, show or copy the model files"
    _models(add("models", "models", summary, epilog=MODELS_EXAMPLES))
    _trust(add)
    _report(add("report", "report", "write the HTML report of a result anew"))
    return parser


def _trust(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands that check models and studies."""
    summary = "compare models by leave-one-out and by marginal likelihood"
    compare = add("compare", "compare", summary, epilog=trust.COMPARE_EXAMPLES)
    trust.compare(compare)
    summary = "simulation-based calibration of a model file"
    trust.calibrate(add("calibrate", "calibrate", summary, epilog=trust.CALIBRATE_EXAMPLES))
    summary = "coverage and width of intervals of h², for your own GRM"
    trust.coverage(add("coverage", "coverage", summary, epilog=trust.COVERAGE_EXAMPLES))
    summary = "what a study can say about h², before there are data"
    trust.power(add("power", "power", summary, epilog=trust.POWER_EXAMPLES))


def _command(
    make: Callable[..., argparse.ArgumentParser], *args: Any, **more: Any
) -> argparse.ArgumentParser:
    return make(
        *args,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        import bayeslmm

        print(f"bayeslmm {bayeslmm.__version__}")
        parser.exit(0)


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", metavar="DIR", default="bayeslmm-demo", help="folder (default: ./bayeslmm-demo)"
    )
    seed(parser)
    threads(parser)


def _simulate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--n", type=integer(2), default=1000, help="individuals (default: 1000)")
    add("--m", type=integer(1), default=5000, help="variants (default: 5000)")
    add("--h2", type=real(0, 1), default=0.5, help="heritability, 0 to 1 (default: 0.5)")
    add("--families", action="store_true", help="two parents and three children each "
        "(default: unrelated individuals)")  # fmt: skip
    seed(parser)
    add("--out", metavar="PREFIX", required=True,
        help="writes PREFIX.bed .bim .fam .pheno .covar .truth.tsv")  # fmt: skip


def _grm(parser: argparse.ArgumentParser) -> None:
    sources = parser.add_argument_group("genotypes (one of)").add_mutually_exclusive_group(
        required=True
    )
    genotypes(sources)
    quality_control(parser)
    add = parser.add_argument_group("kernels").add_argument
    add("--kind", type=names, metavar="A,B", default="additive", help="additive, dominance, x (the "
        "X chromosome): a kernel for each, in one pass (default: additive)")  # fmt: skip
    add("--by", metavar="chromosome|maf|ld|FILE", help="a kernel for each chromosome, bin of the "
        "minor allele frequency (maf:0.01,0.1,0.5 for other edges), quarter of the LD scores (ld:2 "
        "for halves), or group of a file with variant ID and group (default: all variants in "
        "one)")  # fmt: skip
    add("--loco", action="store_true", help="also write the kernels that leave one chromosome out, "
        "PREFIX.loco.chr1 ... (default: no)")  # fmt: skip
    add("--dosage-compensation", choices=("full", "none", "equal"), help="for x: a male's X-linked "
        "variance is twice a female's (full), half of it (none), or equal "
        "(default: full)")  # fmt: skip
    add = parser.add_argument
    add("--format", choices=("gcta", "gemma", "plink"), default="gcta",
        help="gcta: .grm.bin .grm.N.bin .grm.id; gemma: .cXX.txt .cXX.fam; plink: .rel .rel.id "
        "(default: gcta)")  # fmt: skip
    threads(parser)
    add("--out", metavar="PREFIX", required=True, help="prefix of the files written; of several "
        "kernels PREFIX.NAME")  # fmt: skip


def _h2(parser: argparse.ArgumentParser) -> None:
    relationship(parser)
    quality_control(parser)
    traits(parser.add_argument_group("traits and covariates"))
    analysis(parser.add_argument_group("model and analysis"))
    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--out", metavar="PREFIX", required=True, help="prefix of the files written")
    add("--breeding-values", action="store_true",
        help="also write PREFIX.bv.tsv: FID IID trait mean sd (default: no)")  # fmt: skip
    add("--predict", action="store_true",
        help="also write PREFIX.predict.tsv: breeding values with sd, interval and reliability of "
        "all individuals of the relationship, phenotyped or not (default: no)")  # fmt: skip
    add("--external", type=names, metavar="FILE[,FILE]", help="estimates of other programs for "
        "comparison in the report: GCTA's .hsq, GEMMA's .log.txt; TRAIT=FILE with several traits "
        "(default: none)")  # fmt: skip
    no_report(add, "PREFIX.html and PREFIX.sensitivity.tsv, no checks of relatives, no estimates "
        "by other methods")  # fmt: skip
    add("--json", action="store_true", help="print the summary as JSON (default: as text)")


def _models(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="list|show|copy", required=True, dest="action")
    actions.add_parser("list", help="list the models with a description", allow_abbrev=False)
    show = actions.add_parser("show", help="print a model file", allow_abbrev=False)
    show.add_argument("name", metavar="NAME", help="a model of the gallery, or a file")
    copy = actions.add_parser("copy", help="copy a model file to edit it", allow_abbrev=False)
    copy.add_argument("name", metavar="NAME", help="a model of the gallery, or a file")
    copy.add_argument("target", metavar="FILE", help="a new file, for instance mine.py")


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("result", metavar="PREFIX.nc", help="written by bayeslmm h2")
    parser.add_argument("--out", metavar="FILE.html", required=True, help="the report")
