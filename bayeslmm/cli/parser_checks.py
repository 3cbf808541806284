"""Arguments of the commands compare, calibrate, coverage and power."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from bayeslmm.cli.arguments import draws, integer, names, real
from bayeslmm.cli.parser_common import (
    no_report,
    quality_control,
    relationship,
    seed,
    threads,
    traits,
)
from bayeslmm.inference.engine_names import ENGINE_NAMES

COMPARE_EXAMPLES = """\
examples:
  bayeslmm compare --bfile mouse --chr-set 19 --pheno mouse.pheno --pheno-name CD8
                   --models fixed,additive,dominance,household --group-column FID --out CD8

writes PREFIX.compare.tsv, PREFIX.compare.html and PREFIX.compare.run.json, all of them or none."""

CALIBRATE_EXAMPLES = """\
examples:
  bayeslmm calibrate --model additive --n-sims 1000 --out additive
  bayeslmm calibrate --model ./mine.py --prior "h2=beta(1, 3)" --n-sims 1000 --out mine
  bayeslmm calibrate --model dominance --grm additive=A,dominance=D --n 200 --out mine
  bayeslmm calibrate --model additive_cholesky --engine nuts --n-sims 200 --out latent

writes PREFIX.calibration.tsv (one row per quantity), PREFIX.calibration.html (report) and
PREFIX.calibration.run.json, all of them or none. PREFIX.calibration.parts stores every finished
simulation: the same command, also with a larger --n-sims, resumes from it.

exit codes: 0 calibrated; 1 not; 2 bad input or usage."""

COVERAGE_EXAMPLES = """\
examples:
  bayeslmm grm --bfile mine --out mine
  bayeslmm coverage --grm mine --out mine
  bayeslmm coverage --spectrum mine.npz --h2 0,0.1,0.5 --reps 20000 --out mine

writes PREFIX.coverage.tsv (h2 method coverage width bias n_reps; methods hdi, eti: intervals of our
posterior, reml_wald: REML ± 1.96 SE; rows with h2 = prior average over the prior),
PREFIX.coverage.html and PREFIX.coverage.run.json, all of them or none. No phenotype is needed: the
results depend only on the eigenvalues of the matrix."""

POWER_EXAMPLES = """\
examples:
  bayeslmm power --n 1000,5000,20000 --me 50000
  bayeslmm power --grm mine --out mine
  bayeslmm power --grm mine --n 500,1000 --h2 0.1,0.3,0.5 --out mine

prints the table; with --out it also writes PREFIX.power.tsv (n h2 se_expected width p_excludes_0
p_rlrt n_reps), PREFIX.power.html and PREFIX.power.run.json, all of them or none."""


def compare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``compare``."""
    relationship(parser)
    quality_control(parser)
    traits(parser.add_argument_group("traits and covariates"))
    add = parser.add_argument_group("models and analysis").add_argument
    add("--models", type=names, metavar="A,B", required=True, help="two or more: models of the "
        "gallery, your own files (FILE.py), or fixed, the fixed effects alone; all are fitted to "
        "the records that are complete for all of them; --group-column applies to "
        "models such as household, --by to models such as partitioned")  # fmt: skip
    add("--engine", choices=("auto", *ENGINE_NAMES), default="auto",
        help="as for h2 (default: auto, the first suitable one for each model)")  # fmt: skip
    add("--prior", action="append", metavar="NAME=FAMILY(...)", default=[],
        help="as for h2; applies to every model with a prior of this name (default: the "
        "models')")  # fmt: skip
    add("--draws", type=draws, default=4000, metavar="N",
        help="posterior draws over 4 chains, a multiple of 4 (default: 4000)")  # fmt: skip
    add("--loo-draws", type=integer(100), metavar="N",
        help="number of these draws used for leave-one-out (default: all for one kernel, 500 for "
        "several)")  # fmt: skip
    add("--prob", type=real(0, 1, open_ends=True), default=0.95,
        help="probability of the intervals, 0 to 1 (default: 0.95)")  # fmt: skip
    seed(parser)
    threads(parser)
    add = parser.add_argument_group("output").add_argument
    add("--out", metavar="PREFIX", required=True, help="prefix of the files written")
    no_report(add, "PREFIX.compare.html, and no Bayes factors of zero shares")
    add("--json", action="store_true", help="print the table as JSON (default: as text)")


def calibrate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``calibrate``."""
    add = parser.add_argument_group("model").add_argument
    add("--model", metavar="NAME|FILE.py", default="additive",
        help="a model of the gallery, or your own file (default: additive)")  # fmt: skip
    add("--engine", choices=("auto", *ENGINE_NAMES), default="auto",
        help="engine to calibrate (default: auto, as in h2)")  # fmt: skip
    add("--prior", action="append", metavar="NAME=FAMILY(...)", default=[],
        help='for instance "h2=beta(1,1)", as in h2 (default: the model\'s)')  # fmt: skip
    add = parser.add_argument_group("data").add_argument
    add("--grm", type=names, metavar="P[,P...]", help="your relationship matrices, as in h2: A,B "
        "or additive=A,dominance=B (default: 48 simulated individuals in families)")  # fmt: skip
    add("--fam", metavar="FILE", help="for GEMMA's matrix: the .fam that GEMMA was given")
    add("--kernel-scale", choices=("asv", "none"),
        help="asv: average semivariance one; none: unchanged (default: asv)")  # fmt: skip
    add("--n", type=integer(10), metavar="N", help="number of individuals of --grm, chosen at "
        "random (default: all)")  # fmt: skip
    add = parser.add_argument_group("simulations").add_argument
    add("--n-sims", type=integer(20), default=1000, metavar="N",
        help="simulated data sets (default: 1000)")  # fmt: skip
    add("--draws", type=integer(20), default=100, metavar="N", help="near-independent draws among "
        "which each truth is ranked (default: 100)")  # fmt: skip
    seed(parser)
    parser.add_argument("--threads", type=integer(1), metavar="N", help="parallel processes, one "
                        "data set at a time each (default: the number of cores)")  # fmt: skip
    parser.add_argument("--out", metavar="PREFIX", help="prefix of the files written (default: the "
                        "model's name)")  # fmt: skip


def coverage(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``coverage``."""
    group = parser.add_argument_group("kernel (one of --grm, --spectrum)")
    _kernel(group.add_mutually_exclusive_group(required=True), group)
    _simulation(parser, "0,0.02,0.05,0.1,0.2,0.3,0.5,0.7,0.8,0.9,0.95,1", 2000)
    add = parser.add_argument_group("output").add_argument
    add("--out", metavar="PREFIX", required=True, help="prefix of the files written")


def power(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``power``."""
    group = parser.add_argument_group("study (one of --grm, --spectrum, --me)")
    sources = group.add_mutually_exclusive_group(required=True)
    sources.add_argument("--me", type=real(1, 1e9), metavar="ME", help="effective number of "
        "independent segments, 1 / variance of the relationships: about 50000 among unrelated "
        "humans, hundreds or thousands in breeds and closed populations; needs --n")  # fmt: skip
    _kernel(sources, group)
    group.add_argument("--n", type=_listed(integer(3)), metavar="N[,N...]", help="numbers of "
        "individuals: a smaller one is a random sample of --grm; a larger one (any other with "
        "--spectrum) stands for individuals with the same variance of relationships (default: all "
        "individuals)")  # fmt: skip
    _simulation(parser, "0,0.05,0.1,0.2,0.3,0.4,0.5,0.6,0.8", 1000)
    add = parser.add_argument_group("output").add_argument
    add("--out", metavar="PREFIX", help="prefix of the files written (default: print only)")


def _kernel(sources: Any, group: Any) -> None:
    """Add the options of a study's matrix or its eigenvalues."""
    sources.add_argument("--grm", metavar="P", help="relationship matrix of GCTA, GEMMA, plink2 or "
                         "bayeslmm")  # fmt: skip
    sources.add_argument("--spectrum", metavar="FILE", help="the .npz file that bayeslmm h2 "
        "--spectrum stores, with its design; or text with one eigenvalue per line")  # fmt: skip
    add = group.add_argument
    add("--fam", metavar="FILE",
        help="for GEMMA's matrix: the .fam that GEMMA was given")  # fmt: skip
    add("--keep", metavar="FILE", help="only these individuals of --grm (default: all)")
    add("--remove", metavar="FILE", help="without these individuals of --grm (default: none)")
    add("--kernel-scale", choices=("asv", "none"), help="scale of --grm: asv: average semivariance "
        "one among the individuals; none: unchanged (default: asv)")  # fmt: skip
    add("--n-covariates", type=integer(0), metavar="P", help="covariates besides the intercept, "
        "unrelated to the kernel; not with --spectrum, which has its own (default: 0)")  # fmt: skip


def _simulation(parser: argparse.ArgumentParser, h2: str, reps: int) -> None:
    """Add the options of the simulation: true h², prior, data sets."""
    add = parser.add_argument_group("simulation").add_argument
    add("--h2", type=_listed(real(0, 1)), metavar="A,B", help=f"true h² (default: {h2})")
    add("--reps", type=integer(1), default=reps, metavar="N",
        help=f"data sets for each h² (default: {reps})")  # fmt: skip
    add("--prob", type=real(0, 1, open_ends=True), default=0.95,
        help="probability of the intervals, 0 to 1 (default: 0.95)")  # fmt: skip
    add("--prior", action="append", metavar="NAME=FAMILY(...)", default=[], help='prior of h2 '
        'or total_sd, for instance "h2=beta(1,3)" (default: h2=beta(1,1) and '
        "total_sd=half_t(3, 2.5) in units of sd(y | X))")  # fmt: skip
    seed(parser)
    threads(parser)


def _listed[T](one: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Make an argument type: values separated by commas."""

    def parse(text: str) -> list[T]:
        return [one(part.strip()) for part in text.split(",")]

    return parse
