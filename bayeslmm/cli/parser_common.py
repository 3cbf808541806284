"""Arguments that several commands share. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from typing import Any

from bayeslmm.cli.arguments import draws, integer, names, real
from bayeslmm.genotypes.conversions import FOREIGN, foreign_option
from bayeslmm.inference.engine_names import ENGINE_NAMES


def relationship(parser: argparse.ArgumentParser) -> None:
    """Add the options of the source of the kernels: genotypes, matrices or a pedigree."""
    group = parser.add_argument_group("relationship (one of --bfile, --pfile, --grm, --pedigree)")
    sources = group.add_mutually_exclusive_group(required=True)
    genotypes(sources)
    sources.add_argument("--grm", type=names, metavar="P[,P...]", help="relationship matrices of "
                         "GCTA, GEMMA or plink2, or with names as R writes them: A,B,C or "
                         "additive=A,dominance=B")  # fmt: skip
    sources.add_argument("--pedigree", metavar="FILE", help="table of individual, sire, dam, for "
                         "the pedigree's relationship matrix A, unscaled")  # fmt: skip
    add = group.add_argument
    add("--fam", metavar="FILE",
        help="for GEMMA's matrix: the .fam that GEMMA was given")  # fmt: skip
    add("--pedigree-parents", choices=("auto", "names", "rows"), default="auto",
        help="sire and dam are names, or row numbers of the pedigree's file; auto: rows only if "
        "names are impossible and rows fit (default: auto)")  # fmt: skip
    groups = group.add_mutually_exclusive_group()
    groups.add_argument("--founders", action="store_true", help="parents without a row are "
        "animals, even if they are the parents of most others (default: refused)")  # fmt: skip
    groups.add_argument("--genetic-groups", nargs="?", const=[], type=names, metavar="CODE[,...]",
        help="parents that are codes of genetic groups, read as unknown; without codes: those "
        "that look like it (default: none)")  # fmt: skip
    add("--selfing", action="store_true", help="an individual may be sire and dam, as in plants "
        "(default: no)")  # fmt: skip
    add("--by", metavar="chromosome|maf|ld|FILE", help="kernels of a model with any number of "
        "them: by chromosome, by bins of allele frequency or LD score, or by a file of variant and "
        "group (default: by chromosome for such a model)")  # fmt: skip
    add("--kernel-scale", choices=("asv", "none"),
        help="asv: average semivariance one among the analysed individuals; none: unchanged "
        "(default: asv, for a pedigree none)")  # fmt: skip
    add("--spectrum", metavar="FILE",
        help="store the eigendecomposition in this .npz file and reuse it; with several sets of "
        "individuals FILE gets the first trait's name (default: not stored)")  # fmt: skip


def genotypes(sources: Any) -> None:
    """Genotype files."""
    sources.add_argument("--bfile", metavar="P", help="PLINK 1 files: P.bed P.bim P.fam")
    sources.add_argument("--pfile", metavar="P", help="PLINK 2 files: P.pgen P.pvar P.psam")
    for one in FOREIGN:
        hidden = argparse.SUPPRESS
        sources.add_argument(*one.options, action=_Foreign, help=hidden, default=hidden)


class _Foreign(argparse.Action):
    """Name the conversion of genotypes that are not read."""

    def __call__(
        self, parser: argparse.ArgumentParser, _: Any, values: Any, option: str | None = None
    ) -> None:
        name, remedy = foreign_option(str(option), values)
        parser.error(f"{option} {values}: {name} is not read -> convert it: {remedy}")


def quality_control(parser: argparse.ArgumentParser) -> None:
    """Add the filters of variants and individuals, and the scale of the GRM."""
    add = parser.add_argument_group("quality control and GRM").add_argument
    add("--maf", type=real(0, 0.5), help="drop variants with a minor allele frequency below this, "
        "0 to 0.5 (default: 0.01)")  # fmt: skip
    add("--max-missing", type=real(0, 1), help="drop variants with more than this share of missing "
        "genotypes, 0 to 1 (default: 0.05)")  # fmt: skip
    add("--hwe", type=real(0, 1), metavar="P", help="drop variants with a Hardy-Weinberg p-value "
        "below this (default: off)")  # fmt: skip
    add("--keep", metavar="FILE", help="only these individuals: FID IID, or IID (default: all)")
    add("--remove", metavar="FILE",
        help="without these individuals: FID IID, or IID (default: none)")  # fmt: skip
    add("--extract", metavar="FILE", help="only these variants, one ID per line (default: all)")
    add("--exclude", metavar="FILE", help="without these variants, one ID per line (default: none)")
    add("--reference-freq", metavar="FILE", help="allele frequencies of a reference panel, "
        ".afreq of plink2, .frq of plink 1.9 or .freq of GCTA: list variants that disagree with "
        "it; none is dropped (default: none)")  # fmt: skip
    add("--chr-set", type=integer(1), metavar="N", help="pairs of autosomes of the species, for "
        "instance 19 for mice; only autosomes are used (default: 22)")  # fmt: skip
    add("--all-chromosomes", action="store_const", const=True,
        help="use all chromosomes, not only the autosomes (default: no)")  # fmt: skip
    add("--scale", choices=("gcta", "sample", "centred"), help="variants in the GRM divided by: "
        "gcta: sqrt(2p(1-p)); sample: their sd; centred: nothing (default: gcta)")  # fmt: skip


def traits(group: Any) -> None:
    """Add the options of phenotypes, covariates and the columns that models need."""
    add = group.add_argument
    add("--pheno", metavar="FILE", help="phenotypes, required: FID IID and one column per trait; "
        "NA where missing")  # fmt: skip
    add("--pheno-name", type=names, metavar="A,B", help="traits (default: all of the file)")
    add("--covar", metavar="FILE", help="covariates: FID IID and columns (default: none)")
    add("--covar-name", type=names, metavar="A,B", help="covariates (default: all of the file)")
    add("--cat-covar", type=names, metavar="A,B", help="covariates that are categories "
        "(default: none)")  # fmt: skip
    add("--formula", metavar="F", help='fixed effects, for instance "~ C(sex) + age", instead of '
        "--covar-name (default: every covariate)")  # fmt: skip
    add("--missing-code", type=real(), metavar="X", help="a number that means missing in --pheno "
        "and --covar, for instance -9 (default: none, NA only)")  # fmt: skip
    add("--keep-values", action="store_true", help="numbers far outside the others, such as -999, "
        "are measurements (default: refused, as codes for missing)")  # fmt: skip
    add("--quantitative", action="store_true", help="take a trait's values 0, 1, 2 or -9 as "
        "numbers, not as a case-control code (default: no)")  # fmt: skip
    add("--id-column", metavar="COLUMN", help="the column of --pheno that names the individual; "
        "an individual may have several records (default: FID and IID, one row each)")  # fmt: skip
    add("--group-column", type=names, metavar="A,B", help="columns of --pheno: groups with a "
        "shared environment, for household and partitioned; FID: families; the column of the "
        "individuals: their permanent environment (default: none)")  # fmt: skip
    add("--dam-column", metavar="COLUMN", help="column of --pheno that names the dam, for maternal "
        "(default: the pedigree's)")  # fmt: skip
    add("--environment-column", metavar="COLUMN", help="column of --pheno with the environment, a "
        "number, for gxe (default: none)")  # fmt: skip
    add("--residual-column", metavar="COLUMN", help="column of --pheno: groups with separate "
        "residual variances, for gxe (default: one group)")  # fmt: skip
    add("--allow-few-matches", action="store_true", help="continue although less than half of the "
        "individuals are found (default: no)")  # fmt: skip


def analysis(group: Any) -> None:
    """Add the options of model, engine, priors and draws."""
    add = group.add_argument
    add("--model", metavar="NAME|FILE.py", default="additive",
        help="a model of the gallery, or your own file (default: additive)")  # fmt: skip
    add("--engine", choices=("auto", *ENGINE_NAMES), default="auto",
        help="exact: quadrature, independent draws; laplace: importance sampling of few "
        "variances; nuts: Markov chains; auto: the first suitable one (default: auto)")  # fmt: skip
    add("--prior", action="append", metavar="NAME=FAMILY(...)", default=[],
        help='for instance "h2=beta(1,1)" or "total_sd=half_t(3, 2.5)", in units of sd(y | X); '
        "repeat it or separate by ';' for more (default: as in models show)")  # fmt: skip
    add("--draws", type=draws, default=4000, metavar="N",
        help="posterior draws over 4 chains, a multiple of 4 (default: 4000)")  # fmt: skip
    add("--checkpoint", metavar="DIR", help="store finished parts (Markov chains, posteriors of "
        "traits) in this folder; after a crash the same command resumes from them with the same "
        "results (default: nothing is stored)")  # fmt: skip
    add("--prob", type=real(0, 1, open_ends=True), default=0.95,
        help="probability of the intervals, 0 to 1 (default: 0.95)")  # fmt: skip
    seed(group)
    threads(group)


def seed(parser: Any) -> None:
    """Add the option of the seed."""
    parser.add_argument("--seed", type=integer(0, 2**32 - 1), default=1,
                        help="seed; the same seed gives the same numbers (default: 1)")  # fmt: skip


def threads(parser: Any) -> None:
    """Add the option of the number of threads."""
    parser.add_argument("--threads", type=integer(1), metavar="N",
                        help="maximal number of threads (default: set by libraries)")  # fmt: skip


def no_report(add: Any, outputs: str) -> None:
    """Add the option that omits the report and the computations only for it."""
    add("--no-report", action="store_true",
        help=f"for loops: no {outputs} (default: the report is written)")  # fmt: skip
