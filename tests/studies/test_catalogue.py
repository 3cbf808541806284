"""Every row of the bad-input catalogue (section C of reliability.md), and what the user is told.

`CASES` is the table: the row, the fault, how the fault is made in a good set of files, and the
words of the answer. Faults that end the command are shown by ``bayeslmm h2`` or ``bayeslmm grm``
itself: exit code 2, one line on stderr, ``file:line`` where there is one, found -> expected ->
fix. What is told and not refused (warnings, counts of who was dropped) is read from stderr of
the same command, stopped before it fits. The parsers' own tests have more of each kind.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayeslmm.cli.analysis
import bayeslmm.system.memory
from bayeslmm.cli import main
from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.cohort.build import cohort
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.genotypes.genotypes import from_array, read_genotypes, write_plink1
from bayeslmm.genotypes.plink_tables import read_fam_phenotypes
from bayeslmm.individuals import individual_index
from bayeslmm.likelihood.decompose import spectrum
from bayeslmm.relationship.files import read_grm, write_grm
from bayeslmm.relationship.genomic import grm
from bayeslmm.relationship.relatedness import check_duplicates
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.tables.phenotypes import read_phenotypes

# the rows of the catalogue, in its order; each must have a case or a test below
ROWS = (
    ".bed wrong magic / mode",
    "truncated / extra bytes",
    ".fam off by <=3 rows (same ceil(N/4))",
    "blank last line of .fam",
    ".bim/.bed mismatch",
    "ID duplicates",
    "ID mismatch/order",
    "GRM id vs matrix size",
    "phenotype -9/NA/text",
    "constant phenotype",
    "binary 1/2 vs 0/1",
    "quantitative with 2 values",
    "covariate constant/collinear",
    "covariate count > N",
    "N tiny",
    "monomorphic",
    "NaN/inf genotype/covariate",
    "non-PSD / non-symmetric GRM",
    "sex chromosomes",
    "allele flip",
    "outliers",
    "huge M/N",
    "CRLF, BOM, non-ASCII",
    "twins/duplicates/relatives",
    "prevalence missing for ascertained",
)

# promises of the catalogue that are kept otherwise than it says, and why
DIFFERENT = {
    "N tiny": "n - p < 2 is the error and n - p < 10 a warning, where the catalogue has an error "
    "below 10: the posterior of a small sample is right, and mostly the prior, which is said; a "
    "maximum-likelihood fit of it would not be",
    "quantitative with 2 values": "0/1 and 1/2 are analysed with a loud warning, as README says; "
    "any other two values are the error",
    "prevalence missing for ascertained": "there is no liability model to refuse: the warning "
    "says that h2 of a binary trait is on the observed scale and biased by ascertainment",
}

N, M = 18, 30  # 18 = 4 * 4 + 2: a .fam with one row less or one or two more fits the .bed's size


@dataclass(frozen=True, slots=True)
class Case:
    """A fault.

    Parameters
    ----------
    row, fault
        Row of the catalogue, and which of its faults.
    make
        Makes the fault in the folder; returns further arguments, or the whole command.
    words
        What the message must say, in this order; a path's last part is enough.
    refused
        Whether it is an error, or else a warning or a line of what was dropped.
    """

    row: str
    fault: str
    make: Callable[[Path], list[str] | None]
    words: tuple[str, ...]
    refused: bool = True


CASES: list[Case] = []


def fault(row: str, name: str, *words: str, refused: bool = True) -> Callable[[Make], Make]:
    """Enter a function that makes a fault into the table."""

    def enter(make: Make) -> Make:
        CASES.append(Case(row, name, make, words, refused))
        return make

    return enter


type Make = Callable[[Path], list[str] | None]


def dosages() -> np.ndarray:
    rng = np.random.default_rng(8)
    found = rng.binomial(2, 0.4, size=(N, M)).astype(float)
    found[:3] = [[0], [1], [2]]  # every variant varies
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good set: x.bed, .bim, .fam; x.pheno (y, z); x.covar (age, sex); g.grm.*; q.cXX.txt."""
    genotypes = from_array(dosages(), individual_index(["F"] * N, [f"i{k}" for k in range(N)]))
    write_plink1(genotypes, tmp_path / "x")
    rng = np.random.default_rng(9)
    rows = [f"F\ti{k}\t{v:.4f}\t{w:.4f}\n" for k, (v, w) in enumerate(rng.normal(size=(N, 2)))]
    (tmp_path / "x.pheno").write_text("FID\tIID\ty\tz\n" + "".join(rows))
    rows = [f"F\ti{k}\t{20 + rng.integers(40)}\t{1 + k % 2}\n" for k in range(N)]
    (tmp_path / "x.covar").write_text("FID\tIID\tage\tsex\n" + "".join(rows))
    kernel = grm(read_genotypes(tmp_path / "x"))
    write_grm(kernel, tmp_path / "g")
    write_grm(kernel, tmp_path / "q", "gemma")
    return tmp_path


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of a text file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(change(lines)) + "\n", encoding="utf-8")


def cell(path: Path, line: int, column: int, text: str) -> None:
    """Exchange a field; line and column from 1."""

    def change(lines: list[str]) -> list[str]:
        fields = lines[line - 1].split()
        fields[column - 1] = text
        return [*lines[: line - 1], "\t".join(fields), *lines[line:]]

    edit(path, change)


def column(path: Path, number: int, values: list[str]) -> None:
    """Exchange a column below the header; number from 1."""
    for k, value in enumerate(values):
        cell(path, k + 2, number, value)


def patch(path: Path, start: int, data: bytes) -> None:
    found = bytearray(path.read_bytes())
    found[start : start + len(data)] = data
    path.write_bytes(found)


# --- genotypes -------------------------------------------------------------------------------


@fault(
    ".bed wrong magic / mode", "magic", "x.bed: offset 0 holds 6c 1c 01",
    "6c 1b 01 (variant-major .bed)", "check that this is a PLINK .bed file",
)  # fmt: skip
def _(folder: Path) -> None:
    patch(folder / "x.bed", 1, b"\x1c")


@fault(
    ".bed wrong magic / mode", "sample-major", "x.bed: byte 2 is 00", "(sample-major)",
    "re-make with plink2 --make-bed",
)  # fmt: skip
def _(folder: Path) -> None:
    patch(folder / "x.bed", 2, b"\0")


@fault(".bed wrong magic / mode", "empty", "x.bed: offset 0 holds nothing: the file is empty")
def _(folder: Path) -> None:
    (folder / "x.bed").write_bytes(b"")


@fault(
    "truncated / extra bytes", "truncated", "x.bed: 152 bytes, which for 18 individuals are 29 "
    "variants and 4 bytes", "153 bytes = 3 + 30 variants of x.bim x 5 bytes", "copy the three",
)  # fmt: skip
def _(folder: Path) -> None:
    (folder / "x.bed").write_bytes((folder / "x.bed").read_bytes()[:-1])


@fault("truncated / extra bytes", "extra", "x.bed: 154 bytes", "153 bytes = 3 + 30 variants",
       "truncated or has extra bytes")  # fmt: skip
def _(folder: Path) -> None:
    (folder / "x.bed").write_bytes((folder / "x.bed").read_bytes() + b"\0")


@fault(
    ".fam off by <=3 rows (same ceil(N/4))", "a row too few",
    "x.bed: x.fam has 17 rows, but the .bed has genotypes of more individuals",
    "padding bits that are 0", "rows are missing from the .fam",
)  # fmt: skip
def _(folder: Path) -> None:
    edit(folder / "x.fam", lambda lines: lines[:-1])


def _add_rows(folder: Path, count: int) -> None:
    new = [f"F new{k} 0 0 0 -9" for k in range(count)]
    edit(folder / "x.fam", lambda lines: lines + new)


@fault(
    ".fam off by <=3 rows (same ceil(N/4))", "a row too many",
    "x.bed: individual 19, the last of x.fam, has code 00 (A1 A1) in all 30 variants",
    "the .fam has extra rows",
)  # fmt: skip
def _(folder: Path) -> None:
    _add_rows(folder, 1)


@fault(".fam off by <=3 rows (same ceil(N/4))", "two rows too many", "individual 20, the last of")
def _(folder: Path) -> None:
    _add_rows(folder, 2)


@fault(".fam off by <=3 rows (same ceil(N/4))", "three rows too many", "153 bytes", "183 bytes")
def _(folder: Path) -> None:
    _add_rows(folder, 3)


@fault("blank last line of .fam", "blank line", "x.fam:19: a blank line", "one row for every",
       "delete the line")  # fmt: skip
def _(folder: Path) -> None:
    edit(folder / "x.fam", lambda lines: [*lines, ""])


@fault("blank last line of .fam", "blank line of spaces", "x.fam:10: a blank line")
def _(folder: Path) -> None:
    edit(folder / "x.fam", lambda lines: [*lines[:9], "  \t", *lines[9:]])


@fault(
    ".bim/.bed mismatch", "a variant less in the .bim",
    "x.bed: 153 bytes, which for 18 individuals are 30 variants", "3 + 29 variants of x.bim",
    "belong to another file set",
)  # fmt: skip
def _(folder: Path) -> None:
    edit(folder / "x.bim", lambda lines: lines[:-1])


@fault(
    "NaN/inf genotype/covariate", "covariate inf in the file", "x.covar:5:age: 'inf' in column "
    "'age'", "a finite number, or NA where missing", "correct it",
)  # fmt: skip
def _(folder: Path) -> list[str]:
    cell(folder / "x.covar", 5, 3, "inf")
    return ["--covar", f"{folder}/x.covar"]


@fault("NaN/inf genotype/covariate", "covariate beyond the largest number", "x.covar:5:age: '1e999")
def _(folder: Path) -> list[str]:
    cell(folder / "x.covar", 5, 3, "1e999")
    return ["--covar", f"{folder}/x.covar"]


@fault("NaN/inf genotype/covariate", "infinite after the formula", "age", "finite numbers in the",
       "function applied to it, or write NA")  # fmt: skip
def _(folder: Path) -> list[str]:
    cell(folder / "x.covar", 5, 3, "0")
    return ["--covar", f"{folder}/x.covar", "--formula", "~ I(1 / age)"]


@fault("NaN/inf genotype/covariate", "NaN in a matrix",
       "g.grm.bin: the relationship of F i0 and F i1 (row 1, column 2) is nan", "finite numbers",
       "remove individuals with many missing genotypes")  # fmt: skip
def _(folder: Path) -> list[str]:
    patch(folder / "g.grm.bin", 4, np.float32(np.nan).tobytes())
    return grm_command(folder)


def test_an_infinite_dosage_names_individual_and_variant() -> None:
    """NaN/inf genotype/covariate."""
    for value in (np.inf, 2.5, -1.0):
        array = dosages()
        array[4, 7] = value
        with pytest.raises(InputError, match=r"5.*v8.*-> .*0.*2"):
            from_array(array)


@fault(
    "monomorphic",
    "dropped and counted",
    "variants: 1 dropped, 29 remain: monomorphic",
    refused=False,
)
def _(folder: Path) -> None:
    patch(folder / "x.bed", 3, bytes(4) + b"\0")  # code 00 of everybody


@fault("monomorphic", "nothing left", "x.bed: no variant is left of 30:",
       "30 dropped, 0 remain: monomorphic",
       "relax --maf")  # fmt: skip
def _(folder: Path) -> None:
    row = b"\xff\xff\xff\xff\x0f"  # code 11 of 18 individuals
    patch(folder / "x.bed", 3, row * M)


@fault("sex chromosomes", "left out and counted", "variants: 4 dropped, 26 remain: not "
       "on the autosomes 1 to 22",
       refused=False)  # fmt: skip
def _(folder: Path) -> None:
    for line, name in enumerate(("X", "23", "chrY", "MT"), 1):
        cell(folder / "x.bim", line, 1, name)


@fault(
    "sex chromosomes", "X without sexes", "x.bed: 18 of 18 individuals have no sex: F i0",
    "1 (male) or 2 (female) for every individual", "add it to the .fam or .psam, or leave them out",
)  # fmt: skip
def _(folder: Path) -> list[str]:
    edit(folder / "x.bim", lambda lines: [re.sub(r"^\S+", "X", line) for line in lines])
    return ["grm", "--bfile", f"{folder}/x", "--kind", "x", "--out", f"{folder}/out"]


@fault("sex chromosomes", "heterozygous males", "x.bed: 266 of 540 calls of males on X are "
       "heterozygous (49 %)", "at most 1 %: a male has one X",
       "--split-par")  # fmt: skip
def _(folder: Path) -> list[str]:
    edit(folder / "x.bim", lambda lines: [re.sub(r"^\S+", "X", line) for line in lines])
    edit(folder / "x.fam", lambda lines: [line.replace("\t0\t-9", "\t1\t-9") for line in lines])
    return ["grm", "--bfile", f"{folder}/x", "--kind", "x", "--out", f"{folder}/out"]


def reference(folder: Path, change: Callable[[list[list[str]]], None]) -> list[str]:
    """A panel with the genotypes' own frequencies, changed; its rows are SNP A1 A2 MAF."""
    bim = [line.split() for line in (folder / "x.bim").read_text().splitlines()]
    f = dosages().mean(axis=0) / 2
    rows = [[row[1], *row[4:6], f"{p:.4f}"] for row, p in zip(bim, f, strict=True)]
    change(rows)
    text = "\n".join(" ".join(row) for row in [["SNP", "A1", "A2", "MAF"], *rows])
    (folder / "ref.frq").write_text(text + "\n")
    return ["--reference-freq", f"{folder}/ref.frq"]


@fault(
    "allele flip", "a frequency far from the reference's",
    "ref.frq: 1 of 30 variants differ from the reference by more than 0.2 in allele frequency: "
    "v4 1/2 (x.bim:4, ref.frq:5): 1 0.", "there 0.999", "Nothing was dropped or changed",
    "does not change the GRM; one flipped in a batch, or wrong in another way, does -> compare",
    "leave out doubtful variants with --exclude",
    "allele frequencies of 30 variants compared with ref.frq", "1 differ by more than 0.2",
    refused=False,
)  # fmt: skip
def _(folder: Path) -> list[str]:
    def change(rows: list[list[str]]) -> None:
        rows[3][3] = "0.9990"

    return reference(folder, change)


def _acgt(folder: Path) -> None:
    """Alleles A/C in the .bim; v2 is A/T."""
    path = folder / "x.bim"
    edit(path, lambda lines: [re.sub(r"\S+\t\S+$", "A\tC", line) for line in lines])
    cell(path, 2, 6, "T")


@fault(
    "allele flip", "ref/alt against the .bim", "2 have other alleles there: v1 A/C (x.bim:1, "
    "ref.frq:2): there G/C; v7 A/C (x.bim:7, ref.frq:8): there A/T. 1 have the alleles of the "
    "other strand there: v5 A/C (x.bim:5, ref.frq:6)", "(1 have the alleles swapped, 1 are on the "
    "other strand)", refused=False,
)  # fmt: skip
def _(folder: Path) -> list[str]:
    _acgt(folder)

    def change(rows: list[list[str]]) -> None:
        rows[0][1], rows[6][2] = "G", "T"
        rows[4][1:3] = ["T", "G"]
        rows[5][1:] = ["C", "A", f"{1 - float(rows[5][3]):.4f}"]  # swapped: nothing to tell

    return reference(folder, change)


@fault(
    "allele flip", "an A/T variant on the other strand", "1 of 30 variants differ", "(1 of them, "
    "A/T or C/G with nearly 1 - f there, may be flipped, which alleles cannot show): v2 A/T",
    "(other strand?)", refused=False,
)  # fmt: skip
def _(folder: Path) -> list[str]:
    _acgt(folder)

    def change(rows: list[list[str]]) -> None:
        rows[1][3] = f"{1 - float(rows[1][3]):.4f}"

    return reference(folder, change)


@fault("allele flip", "a reference of other variants", "ref.frq: none of its 30 variants is among "
       "the 30 of the genotypes (here v1, there 1:1)", "variants named as in the genotype files",
       "--set-all-var-ids")  # fmt: skip
def _(folder: Path) -> list[str]:
    def change(rows: list[list[str]]) -> None:
        for row in rows:
            row[0] = row[0].replace("v", "1:")

    return reference(folder, change)


@fault("allele flip", "a frequency of 7", "ref.frq:3:MAF: the frequency '7'", "from 0 to 1")
def _(folder: Path) -> list[str]:
    def change(rows: list[list[str]]) -> None:
        rows[1][3] = "7"

    return reference(folder, change)


def test_a_flip_of_whole_variants_changes_nothing(folder: Path) -> None:
    """Allele flip: the relationship is the same to 1e-12, whichever allele is counted."""
    array = dosages()
    flipped = array.copy()
    flipped[:, ::3] = 2 - flipped[:, ::3]
    matrices = [grm(from_array(one)).matrix for one in (array, flipped)]
    np.testing.assert_allclose(matrices[0], matrices[1], atol=1e-12)


def test_a_flip_in_one_batch_departs_from_hardy_weinberg_proportions() -> None:
    """Allele flip: of 200 individuals in two batches, the variants flipped in one are dropped."""
    from bayeslmm.genotypes.qc import quality_control

    rng = np.random.default_rng(2)
    array = rng.binomial(2, 0.1, size=(200, 20)).astype(float)
    array[:100, :5] = 2 - array[:100, :5]
    kept = quality_control(from_array(array), hwe=1e-6)
    assert kept.m == 15
    assert "variants: 5 dropped, 15 remain: Hardy-Weinberg p-value below 1e-06" in str(kept.ledger)


# --- individuals -----------------------------------------------------------------------------


@fault("ID duplicates", ".fam", "x.fam:8: 2 repeated individuals: F i0 (lines 1 and 8), F i1 "
       "(lines 2 and 9)", "every (FID, IID) once", "rename or remove them")  # fmt: skip
def _(folder: Path) -> None:
    cell(folder / "x.fam", 8, 2, "i0")
    cell(folder / "x.fam", 9, 2, "i1")


@fault("ID duplicates", "at most five are shown", "x.fam:2: 17 repeated individuals: F i0 (lines 1 "
       "and 2), F i0 (lines 1 and 3), F i0 (lines 1 and 4), F i0 (lines 1 and 5), F i0 (lines 1 "
       "and 6) ->")  # fmt: skip
def _(folder: Path) -> None:
    for line in range(2, N + 1):
        cell(folder / "x.fam", line, 2, "i0")


@fault("ID duplicates", "phenotypes", "x.pheno:19: 1 repeated individuals: F i0 (lines 2 and 19)",
       "one row per individual", "remove or rename the repeated rows")  # fmt: skip
def _(folder: Path) -> None:
    cell(folder / "x.pheno", 19, 2, "i0")


@fault("ID duplicates", "covariates", "x.covar:4: 1 repeated individuals: F i0 (lines 2 and 4)")
def _(folder: Path) -> list[str]:
    cell(folder / "x.covar", 4, 2, "i0")
    return ["--covar", f"{folder}/x.covar"]


@fault("ID duplicates", "matrix", "g.grm.id:18: 1 repeated individuals: F i0 (lines 1 and 18)")
def _(folder: Path) -> list[str]:
    cell(folder / "g.grm.id", 18, 2, "i0")
    return grm_command(folder)


@fault("ID duplicates", "list", "keep.txt:2: 1 repeated individuals: F i0 (lines 1 and 2)")
def _(folder: Path) -> list[str]:
    (folder / "keep.txt").write_text("F i0\nF i0\n")
    return ["--keep", f"{folder}/keep.txt"]


@fault("ID mismatch/order", "nobody in common", "no individual in common", "18", "the same FID and "
       "IID", "check the FID and IID columns")  # fmt: skip
def _(folder: Path) -> None:
    edit(folder / "x.pheno", lambda lines: [line.replace("\ti", "\tJ") for line in lines])


@fault("ID mismatch/order", "less than half", "only 4 individuals in common", "18",
       "at least half of the smaller side (18)", "--allow-few-matches")  # fmt: skip
def _(folder: Path) -> None:
    for line in range(6, N + 2):
        cell(folder / "x.pheno", line, 2, f"J{line}")


@fault("ID mismatch/order", "those who are lost are counted", "individuals: 3 dropped, 18 "
       "remain: not in the genotypes or GRM (matched by FID and IID) (F J2, F J3, F J4)",
       "individuals: 3 dropped, 15 "
       "remain: not in the phenotype file (matched by FID and IID) (F i0, F i1, F i2)",
       refused=False)  # fmt: skip
def _(folder: Path) -> None:
    for line in range(2, 5):
        cell(folder / "x.pheno", line, 2, f"J{line}")


def test_the_order_of_rows_never_matters(folder: Path) -> None:
    """ID mismatch/order."""
    people = read_genotypes(folder / "x").individuals
    table = read_phenotypes(folder / "x.pheno")
    straight = cohort(table, "y", individuals=people)
    shuffled = cohort(table.sample(frac=1.0, random_state=1), "y", individuals=people)
    np.testing.assert_array_equal(straight.y, shuffled.y)


def test_nothing_is_matched_by_position(folder: Path) -> None:
    """ID mismatch/order."""
    people = read_genotypes(folder / "x").individuals
    table = pd.DataFrame({"y": np.arange(float(N))})
    with pytest.raises(InputError, match=r"only row numbers -> .*nothing is matched by position"):
        cohort(table, "y", individuals=people)


@fault("GRM id vs matrix size", "short", "g.grm.bin: 680 bytes", "684 bytes = 4 x 18 x 19 / 2 for "
       "the 18 individuals of the .grm.id", "truncated, or .grm.id belongs to another")  # fmt: skip
def _(folder: Path) -> list[str]:
    (folder / "g.grm.bin").write_bytes((folder / "g.grm.bin").read_bytes()[:-4])
    return grm_command(folder)


@fault("GRM id vs matrix size", "an individual less", "g.grm.bin: 684 bytes", "612 bytes = 4 x 17")
def _(folder: Path) -> list[str]:
    edit(folder / "g.grm.id", lambda lines: lines[:-1])
    return grm_command(folder)


@fault("GRM id vs matrix size", "GEMMA's .fam", "q.cXX.txt:1: 18 columns where 17 belong",
       "17 x 17 numbers", "belong together (GEMMA: all rows of its .fam)")  # fmt: skip
def _(folder: Path) -> list[str]:
    edit(folder / "x.fam", lambda lines: lines[:-1])
    return gemma_command(folder)


@fault("non-PSD / non-symmetric GRM", "not symmetric",
       "q.cXX.txt: the relationship of F i0 and F i1 is", "in row 1, column 2 but 0.9 in row "
       "2, column 1",
       "a symmetric matrix (to 1e-6", "compute it again")  # fmt: skip
def _(folder: Path) -> list[str]:
    cell(folder / "q.cXX.txt", 2, 1, "0.9")
    return gemma_command(folder)


def test_a_matrix_that_is_no_covariance_is_refused_or_mended_by_how_far_it_is(
    folder: Path,
) -> None:
    """Non-PSD / non-symmetric GRM: rounding is silent, 1 % a warning, more an error (A6)."""
    kernel = read_grm(folder / "g")
    values, vectors = np.linalg.eigh(kernel.matrix)
    made = cohort(read_phenotypes(folder / "x.pheno"), "y", individuals=kernel.individuals)

    def decomposed(ratio: float) -> None:
        changed = np.where(np.arange(N) == 3, -ratio * values[-1], np.maximum(values, 0.0))
        matrix = (vectors * changed) @ vectors.T
        spectrum(made, Relationship(0.5 * (matrix + matrix.T), kernel.individuals))

    decomposed(1e-8)
    with pytest.warns(BayesLMMWarning, match=r"negative eigenvalues down to .*set to zero"):
        decomposed(3e-3)
    with pytest.raises(InputError, match=r"the kernel has the eigenvalue -.* of the largest -> "):
        decomposed(0.2)


@fault("twins/duplicates/relatives", "twins are named", "1 pairs of individuals have a correlation "
       "above 0.95 in the additive relationship (F i0 and F i1)", "twins, or duplicated samples",
       refused=False)  # fmt: skip
def _(folder: Path) -> None:
    array = dosages()
    array[1] = array[0]
    write_plink1(from_array(array, read_genotypes(folder / "x").individuals), folder / "x")


def test_copies_with_equal_phenotypes_are_refused() -> None:
    """Twins/duplicates/relatives: two pairs make the posterior improper."""
    array = np.random.default_rng(3).binomial(2, 0.4, size=(40, 200)).astype(float)
    array[1], array[3] = array[0], array[2]
    y = np.random.default_rng(4).normal(size=40)
    y[1], y[3] = y[0], y[2]
    with pytest.raises(InputError, match=r"2 pairs .*1 and 2.*3 and 4.* -> .* -> .*\(--remove\)"):
        check_duplicates(grm(from_array(array)), y)
    y[3] += 1
    with pytest.warns(BayesLMMWarning, match="1 pair of individuals .* 1 and 2"):
        check_duplicates(grm(from_array(array)), y)


# --- phenotypes ------------------------------------------------------------------------------


@fault("phenotype -9/NA/text", "text", "x.pheno:7:y: 'tall' in column 'y'", "a finite number, or "
       "NA where missing", "correct it")  # fmt: skip
def _(folder: Path) -> None:
    cell(folder / "x.pheno", 7, 3, "tall")


@fault("phenotype -9/NA/text", "a ragged line", "x.pheno:7: 3 fields", "4, as in the first line",
       "complete the line (NA for a missing value), or remove it")  # fmt: skip
def _(folder: Path) -> None:
    edit(folder / "x.pheno", lambda lines: [*lines[:6], lines[6].rpartition("\t")[0], *lines[7:]])


@fault("phenotype -9/NA/text", "-9 is refused until the user says so", "2 values of the trait 'y' "
       "are -9, far outside", "write NA or use --missing-code -9", "--keep-values")  # fmt: skip
def _(folder: Path) -> None:
    cell(folder / "x.pheno", 2, 3, "-9")
    cell(folder / "x.pheno", 3, 3, "-9")


@fault("phenotype -9/NA/text", "-9 is missing if asked for", "individuals: 1 dropped, 17 "
       "remain: phenotype missing: y (F i0)",
       refused=False)  # fmt: skip
def _(folder: Path) -> list[str]:
    cell(folder / "x.pheno", 2, 3, "-9")
    return ["--missing-code", "-9"]


@fault("phenotype -9/NA/text", "NA and nan are missing", "individuals: 3 dropped, 15 "
       "remain: phenotype missing: y (F i0, F i1, F i2)",
       refused=False)  # fmt: skip
def _(folder: Path) -> None:
    for line, text in enumerate(("NA", "nan", "."), 2):
        cell(folder / "x.pheno", line, 3, text)


def test_in_a_fam_minus_nine_is_missing(folder: Path) -> None:
    """Phenotype -9/NA/text."""
    assert read_fam_phenotypes(folder / "x.fam")["pheno1"].isna().all()


@fault("constant phenotype", "all equal", "x.pheno: the trait 'y' is constant: all 18 values are 3",
       "values that differ", "choose another trait")  # fmt: skip
def _(folder: Path) -> None:
    column(folder / "x.pheno", 3, ["3"] * N)


@fault("constant phenotype", "constant among those left", "the trait 'y' is constant: all 9 values")
def _(folder: Path) -> None:
    column(folder / "x.pheno", 3, ["3", "NA"] * (N // 2))


@fault("binary 1/2 vs 0/1", "1/2", "the trait 'y' is binary, coded {1, 2}, analysed as {0, 1} (6 "
       "of 18 have the higher value)", refused=False)  # fmt: skip
def _(folder: Path) -> None:
    column(folder / "x.pheno", 3, ["1", "1", "2"] * (N // 3))


@fault("binary 1/2 vs 0/1", "0/1", "the trait 'y' is binary, coded {0, 1} (6 of 18", refused=False)
def _(folder: Path) -> None:
    column(folder / "x.pheno", 3, ["0", "0", "1"] * (N // 3))


@fault("binary 1/2 vs 0/1", "0, 1 and 2", "x.pheno: the trait 'y' has only the values 0, 1, 2",
       "coded 0/1 or 1/2 with NA for missing", "--missing-code", "--quantitative")  # fmt: skip
def _(folder: Path) -> None:
    column(folder / "x.pheno", 3, ["0", "1", "2"] * (N // 3))


@fault("binary 1/2 vs 0/1", "1, 2 and -9", "x.pheno: the trait 'y' has only the values -9, 1, 2")
def _(folder: Path) -> None:
    column(folder / "x.pheno", 3, ["-9", "1", "2"] * (N // 3))


@fault(
    "quantitative with 2 values",
    "measurements",
    "x.pheno: the trait 'y' has only the two values 3 and 7.5 (9 of 18",
    "0/1 or 1/2, or a quantitative trait",
    "add --quantitative",
)
def _(folder: Path) -> None:
    column(folder / "x.pheno", 3, ["3", "7.5"] * (N // 2))


@fault("outliers", "named with their z", "1 values of the trait 'y' lie more than 6 standard "
       "deviations from its mean: ", "(1e+06, z = ", "check them", refused=False)  # fmt: skip
def _(folder: Path) -> list[str]:
    """50 individuals: among n the largest z is (n - 1)/√n."""
    n = 50
    people = individual_index(["F"] * n, [f"i{k}" for k in range(n)])
    array = np.random.default_rng(1).binomial(2, 0.4, size=(n, M)).astype(float)
    write_plink1(from_array(array, people), folder / "x")
    rows = [f"F i{k} {k % 7}.5" for k in range(n - 1)] + [f"F i{n - 1} 1e6"]
    (folder / "x.pheno").write_text("\n".join(["FID IID y", *rows]) + "\n")
    return []


@fault("prevalence missing for ascertained", "said loudly", "h2 is on the observed scale, not on "
       "the liability scale", "(ascertainment), h2 is biased", refused=False)  # fmt: skip
def _(folder: Path) -> None:
    column(folder / "x.pheno", 3, ["0", "1"] * (N // 2))


# --- covariates and size ---------------------------------------------------------------------


@fault("covariate constant/collinear", "constant", "covariates dropped because they are constant: "
       "sex", refused=False)  # fmt: skip
def _(folder: Path) -> list[str]:
    column(folder / "x.covar", 4, ["1"] * N)
    return ["--covar", f"{folder}/x.covar"]


@fault("covariate constant/collinear", "collinear", "covariates dropped because they are collinear",
       "sex", refused=False)  # fmt: skip
def _(folder: Path) -> list[str]:
    ages = [line.split()[2] for line in (folder / "x.covar").read_text().splitlines()[1:]]
    column(folder / "x.covar", 4, [str(2 * int(age) + 1) for age in ages])
    return ["--covar", f"{folder}/x.covar"]


@fault("covariate count > N", "more covariates than individuals", "n = 18 individuals and p = 18 "
       "fixed effects", "p >= n leaves nothing to estimate", "n - p of at least 2",
       "use fewer covariates")  # fmt: skip
def _(folder: Path) -> list[str]:
    rng = np.random.default_rng(5)
    rows = ["FID IID " + " ".join(f"c{k}" for k in range(20))]
    rows += [f"F i{k} " + " ".join(f"{x:.5f}" for x in rng.normal(size=20)) for k in range(N)]
    (folder / "x.covar").write_text("\n".join(rows) + "\n")
    return ["--covar", f"{folder}/x.covar"]


@fault("N tiny", "two individuals", "n = 2 individuals and p = 1 fixed effects (n - p = 1)",
       "n - p of at least 2", "check where individuals were lost")  # fmt: skip
def _(folder: Path) -> list[str]:
    column(folder / "x.pheno", 3, ["1", "2.5", *["NA"] * (N - 2)])
    return ["--quantitative"]


@fault("N tiny", "nine individuals", "small sample: n = 9 individuals and p = 1 fixed effects",
       "the posterior will mostly be the prior", refused=False)  # fmt: skip
def _(folder: Path) -> None:
    values = [f"{k}.5" if k < 9 else "NA" for k in range(N)]
    column(folder / "x.pheno", 3, values)


@fault("huge M/N", "a matrix beyond the memory", "the GRM of 18 individuals needs",
       "and 0.0 MiB are available", "(--keep)")  # fmt: skip
def _(folder: Path) -> list[str]:
    return ["grm", "--bfile", f"{folder}/x", "--out", f"{folder}/out"]


@fault("huge M/N", "a matrix file beyond the memory", "the matrix of 18 individuals needs",
       "a problem that fits into memory", "--keep")  # fmt: skip
def _(folder: Path) -> list[str]:
    return grm_command(folder)


# --- text ------------------------------------------------------------------------------------


def _latin_1(path: Path, line: int) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = lines[line - 1].replace(b"i", b"\xe9", 1)
    path.write_bytes(b"\n".join(lines))


LATIN_1 = ("byte 0xe9 at offset", "is not UTF-8", "UTF-8 text (with or without", "iconv -f LATIN1")


@fault("CRLF, BOM, non-ASCII", "Latin-1 in the .fam", "x.fam:3: byte 0xe9 at offset 30", *LATIN_1)
def _(folder: Path) -> None:
    _latin_1(folder / "x.fam", 3)


@fault("CRLF, BOM, non-ASCII", "Latin-1 in the .bim", "x.bim:3:", *LATIN_1)
def _(folder: Path) -> None:
    path = folder / "x.bim"
    path.write_bytes(path.read_bytes().replace(b"v3", b"\xe93"))


@fault("CRLF, BOM, non-ASCII", "Latin-1 in phenotypes", "x.pheno:3:", *LATIN_1)
def _(folder: Path) -> None:
    _latin_1(folder / "x.pheno", 3)


@fault("CRLF, BOM, non-ASCII", "Latin-1 in a matrix's IDs", "g.grm.id:3:", *LATIN_1)
def _(folder: Path) -> list[str]:
    _latin_1(folder / "g.grm.id", 3)
    return grm_command(folder)


@fault("CRLF, BOM, non-ASCII", "UTF-16", "x.pheno:1: a NUL byte at offset", "a plain text file")
def _(folder: Path) -> None:
    path = folder / "x.pheno"
    path.write_bytes(path.read_text().encode("utf-16-le"))


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_windows_text_is_read_as_any_other(folder: Path, end: bytes) -> None:
    """CRLF, BOM, non-ASCII."""
    before = read_genotypes(folder / "x"), read_phenotypes(folder / "x.pheno")
    for name in ("x.fam", "x.bim", "x.pheno"):
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", end))
    after = read_genotypes(folder / "x"), read_phenotypes(folder / "x.pheno")
    assert before[0].individuals.equals(after[0].individuals)
    pd.testing.assert_frame_equal(before[0].variants, after[0].variants)
    pd.testing.assert_frame_equal(before[1], after[1])


# --- the table is run ------------------------------------------------------------------------


def grm_command(folder: Path) -> list[str]:
    return ["h2", "--grm", f"{folder}/g", *_common(folder)]


def gemma_command(folder: Path) -> list[str]:
    return ["h2", "--grm", f"{folder}/q.cXX.txt", "--fam", f"{folder}/x.fam", *_common(folder)]


def _common(folder: Path) -> list[str]:
    return ["--pheno", f"{folder}/x.pheno", "--pheno-name", "y", "--out", f"{folder}/out"]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.row}: {case.fault}" for case in CASES])
def test_what_the_user_is_told(
    case: Case, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise InputError("all was read", "a test that stops here", "nothing")

    monkeypatch.setattr(bayeslmm.cli.analysis, "fit_one", stop)  # when the model is built
    more = case.make(folder) or []
    command = more if more[:1] in (["h2"], ["grm"]) else None
    if command is None:
        command = ["h2", "--bfile", f"{folder}/x", *_common(folder), *more]
    if case.row == "huge M/N":
        monkeypatch.setattr(bayeslmm.system.memory, "available_memory", lambda: 1000)
    before = {path.name for path in folder.iterdir()}
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "internal failure" not in err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert ("all was read" in err) is not case.refused
    text = err[err.index("error: ") :] if case.refused else err
    assert text.count(" -> ") >= 2 or not case.refused
    at = 0
    for words in case.words:
        found = text.find(words, at if words not in LATIN_1 else 0)
        assert found >= 0, f"{words!r} is not in (or not at its place in)\n{text}"
        at = found
    assert {path.name for path in folder.iterdir()} == before  # nothing is written


def test_every_row_of_the_catalogue_has_its_case() -> None:
    import sys

    docs = [
        (value.__doc__ or "").partition(":")[0].partition(".\n")[0].rstrip(".").lower()
        for name, value in vars(sys.modules[__name__]).items()
        if name.startswith("test_")
    ]
    entered = {case.row for case in CASES}
    for row in ROWS:
        assert row in entered or row.lower() in docs, row
    assert entered <= set(ROWS)
    assert set(DIFFERENT) <= set(ROWS)


def test_the_catalogue_itself_has_no_other_rows() -> None:
    """The rows are those of reliability.md, where that is at hand."""
    path = Path(__file__).resolve().parents[3] / "shared" / "reliability.md"
    if not path.is_file():
        pytest.skip(f"shared data missing: {path}")
    text = path.read_text(encoding="utf-8")
    table = text.partition("## C. Bad-input catalogue")[2].partition("Message format")[0]
    rows = [line.split("|")[1].strip().strip("*") for line in table.splitlines() if "|" in line]
    assert tuple(rows[2:]) == ROWS


def test_small_arrays_are_refused_in_the_same_words() -> None:
    """N tiny."""
    with pytest.raises(InputError, match=r"n = 2 individuals and p = 1 .* n - p of at least 2"):
        cohort_from_arrays([1.0, 2.5], quantitative=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cohort_from_arrays([1.0, 2.5, 3.0, 2.0])
    assert "small sample: n = 4" in str(caught[0].message)
