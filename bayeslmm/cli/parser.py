"""The arguments of every command, with defaults and units. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from bayeslmm.cli.arguments import draws, integer, names, real

QC_DEFAULTS: dict[str, Any] = {
    "maf": 0.01,
    "max_missing": 0.05,
    "hwe": None,
    "extract": None,
    "exclude": None,
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
    """Errors in one line, with the exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more."""
        self.exit(2, f"error: {message} -> see: {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command ``bayeslmm``; ``args.module`` names the module that runs it."""
    parser = _command(Parser, prog="bayeslmm", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        dest=argparse.SUPPRESS,
        help="print the version and exit",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, module: str, words: str, **more: Any) -> argparse.ArgumentParser:
        command = _command(commands.add_parser, name, help=words, description=words, **more)
        command.set_defaults(module=module, command=name)
        return command

    _demo(add("demo", "demo", "simulate a cohort, estimate its heritability, write a report"))
    _simulate(add("simulate", "simulate", "write PLINK files and a phenotype with known truth"))
    _grm(add("grm", "grm", "write the genomic relationship matrix (GRM) of genotype files"))
    _h2(add("h2", "h2", "posterior of heritability and PVE, with a report", epilog=H2_EXAMPLES))
    words = "list, show or copy the model files"
    _models(add("models", "models", words, epilog=MODELS_EXAMPLES))
    _report(add("report", "report", "write the HTML report of a result anew"))
    return parser


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
    _seed(parser)
    _threads(parser)


def _simulate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--n", type=integer(2), default=1000, help="individuals (default: 1000)")
    add("--m", type=integer(1), default=5000, help="variants (default: 5000)")
    add("--h2", type=real(0, 1), default=0.5, help="heritability, 0 to 1 (default: 0.5)")
    add("--families", action="store_true", help="two parents and three children each "
        "(default: unrelated individuals)")  # fmt: skip
    _seed(parser)
    add("--out", metavar="PREFIX", required=True,
        help="writes PREFIX.bed .bim .fam .pheno .covar .truth.tsv")  # fmt: skip


def _grm(parser: argparse.ArgumentParser) -> None:
    sources = parser.add_argument_group("genotypes (one of)").add_mutually_exclusive_group(
        required=True
    )
    _genotypes(sources)
    _quality_control(parser)
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
        "variance is twice that of a female (full), half of it (none), or equal "
        "(default: full)")  # fmt: skip
    add = parser.add_argument
    add("--format", choices=("gcta", "gemma", "plink"), default="gcta",
        help="gcta: .grm.bin .grm.N.bin .grm.id; gemma: .cXX.txt .cXX.fam; plink: .rel .rel.id "
        "(default: gcta)")  # fmt: skip
    _threads(parser)
    add("--out", metavar="PREFIX", required=True, help="prefix of the files written; of several "
        "kernels PREFIX.NAME")  # fmt: skip


def _h2(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("relationship (one of --bfile, --pfile, --grm, --pedigree)")
    sources = group.add_mutually_exclusive_group(required=True)
    _genotypes(sources)
    sources.add_argument("--grm", type=names, metavar="P[,P...]", help="relationship matrices of "
                         "GCTA, GEMMA or plink2: A,B,C or additive=A,dominance=B")  # fmt: skip
    sources.add_argument("--pedigree", metavar="FILE", help="table of individual, sire, dam, for "
                         "the pedigree's relationship matrix A, unscaled")  # fmt: skip
    add = group.add_argument
    add("--fam", metavar="FILE",
        help="for GEMMA's matrix: the .fam that GEMMA was given")  # fmt: skip
    add("--pedigree-parents", choices=("auto", "names", "rows"), default="auto",
        help="sire and dam are names, or row numbers of the pedigree's file; auto: rows only if "
        "names are impossible and rows fit (default: auto)")  # fmt: skip
    add("--selfing", action="store_true", help="an individual may be sire and dam, as in plants "
        "(default: no)")  # fmt: skip
    add("--by", metavar="chromosome|maf|ld|FILE", help="kernels of a model of several: by "
        "chromosome, by bins of allele frequency or LD score, or by a file of variant and group "
        "(default: of such a model by chromosome)")  # fmt: skip
    add("--kernel-scale", choices=("asv", "none"),
        help="asv: average semivariance one among the analysed individuals; none: as it is "
        "(default: asv, of a pedigree none)")  # fmt: skip
    add("--spectrum", metavar="FILE",
        help="keep the eigendecomposition in this .npz file and use it again; with several sets of "
        "individuals FILE gets the first trait's name (default: not kept)")  # fmt: skip
    _quality_control(parser)
    _traits(parser.add_argument_group("traits and covariates"))
    _analysis(parser.add_argument_group("model and analysis"))
    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--out", metavar="PREFIX", required=True, help="prefix of the files written")
    add("--breeding-values", action="store_true",
        help="also write PREFIX.bv.tsv: FID IID trait mean sd (default: no)")  # fmt: skip
    add("--predict", action="store_true",
        help="also write PREFIX.predict.tsv: breeding values with sd, interval and reliability of "
        "all individuals of the relationship, phenotyped or not (default: no)")  # fmt: skip
    add("--json", action="store_true", help="print the summary as JSON (default: as text)")


def _genotypes(sources: Any) -> None:
    sources.add_argument("--bfile", metavar="P", help="PLINK 1 files: P.bed P.bim P.fam")
    sources.add_argument("--pfile", metavar="P", help="PLINK 2 files: P.pgen P.pvar P.psam")


def _quality_control(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("quality control and GRM").add_argument
    add("--maf", type=real(0, 0.5), help="drop variants with a minor allele frequency below this, "
        "0 to 0.5 (default: 0.01)")  # fmt: skip
    add("--max-missing", type=real(0, 1), help="drop variants with more than this share of missing "
        "genotypes, 0 to 1 (default: 0.05)")  # fmt: skip
    add("--hwe", type=real(0, 1), metavar="P", help="drop variants with a Hardy-Weinberg p-value "
        "below this (default: off)")  # fmt: skip
    add("--keep", metavar="FILE", help="only these individuals: FID IID, or IID (default: all)")
    add("--remove", metavar="FILE", help="not these individuals: FID IID, or IID (default: none)")
    add("--extract", metavar="FILE", help="only these variants, an ID a line (default: all)")
    add("--exclude", metavar="FILE", help="not these variants, an ID a line (default: none)")
    add("--chr-set", type=integer(1), metavar="N", help="pairs of autosomes of the species, for "
        "instance 19 for mice; only autosomes are used (default: 22)")  # fmt: skip
    add("--all-chromosomes", action="store_const", const=True,
        help="use all chromosomes, not only the autosomes (default: no)")  # fmt: skip
    add("--scale", choices=("gcta", "sample", "centred"), help="variants in the GRM divided by: "
        "gcta: sqrt(2p(1-p)); sample: their sd; centred: nothing (default: gcta)")  # fmt: skip


def _traits(group: Any) -> None:
    add = group.add_argument
    add("--pheno", metavar="FILE", help="phenotypes, required: FID IID and a column a trait; NA "
        "where missing")  # fmt: skip
    add("--pheno-name", type=names, metavar="A,B", help="traits (default: all of the file)")
    add("--covar", metavar="FILE", help="covariates: FID IID and columns (default: none)")
    add("--covar-name", type=names, metavar="A,B", help="covariates (default: all of the file)")
    add("--cat-covar", type=names, metavar="A,B", help="covariates that are categories "
        "(default: none)")  # fmt: skip
    add("--formula", metavar="F", help='fixed effects, for instance "~ C(sex) + age", instead of '
        "--covar-name (default: every covariate)")  # fmt: skip
    add("--missing-code", type=real(), metavar="X", help="a number that means missing in --pheno "
        "and --covar, for instance -9 (default: none, NA only)")  # fmt: skip
    add("--quantitative", action="store_true", help="take a trait's values 0, 1, 2 or -9 as "
        "numbers, not as a case-control code (default: no)")  # fmt: skip
    add("--id-column", metavar="COLUMN", help="the column of --pheno that names the individual; "
        "an individual may have several records (default: FID and IID, a row each)")  # fmt: skip
    add("--group-column", type=names, metavar="A,B", help="columns of --pheno: groups with a "
        "shared environment, for household and partitioned (default: none)")  # fmt: skip
    add("--dam-column", metavar="COLUMN", help="column of --pheno that names the dam, for maternal "
        "(default: the pedigree's)")  # fmt: skip
    add("--environment-column", metavar="COLUMN", help="column of --pheno with the environment, a "
        "number, for gxe (default: none)")  # fmt: skip
    add("--residual-column", metavar="COLUMN", help="column of --pheno: groups with residual "
        "variances of their own, for gxe (default: one)")  # fmt: skip
    add("--allow-few-matches", action="store_true", help="go on although less than half of the "
        "individuals are found (default: no)")  # fmt: skip


def _analysis(group: Any) -> None:
    add = group.add_argument
    add("--model", metavar="NAME|FILE.py", default="additive",
        help="a model of the gallery, or your own file (default: additive)")  # fmt: skip
    add("--engine", choices=("auto", "exact", "laplace", "nuts"), default="auto",
        help="exact: quadrature, independent draws; laplace: importance sampling of few "
        "variances; nuts: Markov chains; auto: the first that can (default: auto)")  # fmt: skip
    add("--prior", action="append", metavar="NAME=FAMILY(...)", default=[],
        help='for instance "h2=beta(1,1)" or "total_sd=half_t(3, 2.5)", in units of sd(y | X); '
        "again or parted by ';' for more (default: the model's, see models show)")  # fmt: skip
    add("--draws", type=draws, default=4000, metavar="N",
        help="posterior draws over 4 chains, a multiple of 4 (default: 4000)")  # fmt: skip
    add("--prob", type=real(0, 1, open_ends=True), default=0.95,
        help="probability of the intervals, 0 to 1 (default: 0.95)")  # fmt: skip
    _seed(group)
    _threads(group)


def _models(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="list|show|copy", required=True, dest="action")
    actions.add_parser("list", help="names and what they are", allow_abbrev=False)
    show = actions.add_parser("show", help="print a model file", allow_abbrev=False)
    show.add_argument("name", metavar="NAME", help="a model of the gallery, or a file")
    copy = actions.add_parser("copy", help="copy a model file to edit it", allow_abbrev=False)
    copy.add_argument("name", metavar="NAME", help="a model of the gallery, or a file")
    copy.add_argument("target", metavar="FILE", help="a new file, for instance mine.py")


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("result", metavar="PREFIX.nc", help="written by bayeslmm h2")
    parser.add_argument("--out", metavar="FILE.html", required=True, help="the report")


def _seed(parser: Any) -> None:
    parser.add_argument("--seed", type=integer(0, 2**32 - 1), default=1,
                        help="seed; the same seed gives the same numbers (default: 1)")  # fmt: skip


def _threads(parser: Any) -> None:
    parser.add_argument("--threads", type=integer(1), metavar="N",
                        help="threads, at most (default: as the libraries are set up)")  # fmt: skip
