"""How each format is read through the public functions, and what a strict parse expects.

A reader gives a shape; `expected` gives the shape that an accepted mutant has to have, from a
parse of the text that shares no code with the package, or None where every shape is right.
"""

from __future__ import annotations

import unittest.mock
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from .seeds import SEEDS, Files, M, N, frame

type Shape = tuple[int, ...]

GUARDED = "guarded"  # a file that exists while what runs would run in a child that may die


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file set.

    Parameters
    ----------
    name
        Key of `SEEDS`.
    read
        Reads the set with the prefix given, all of it, and returns its shape.
    expected
        ``(mutant, changed) → shape``.
    """

    name: str
    read: Callable[[Path], Shape]
    expected: Callable[[Files, set[str]], Shape | None]

    def seed(self) -> Files:
        """The whole file set."""
        return _seed(self.name)


@cache
def _seed(name: str) -> Files:
    return SEEDS[name]()


def lines_of(data: bytes) -> list[str]:
    """Lines of UTF-8 text, blank ones at the end left out; text that is not UTF-8 raises."""
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def rows_of(data: bytes, *headers: str) -> int:
    """Rows of a table after comments (##) and a header that begins with one of the words."""
    lines = lines_of(data)
    while lines and lines[0].startswith("##"):
        lines.pop(0)
    first = lines[0].replace(",", " ").split()[:1] if lines else []
    header = bool(first) and first[0].lower().removeprefix("#") in headers
    return len(lines) - header


def read_genotypes(prefix: Path) -> Shape:
    from bayeslmm.genotypes.genotypes import read_genotypes as read

    found = read(prefix)
    for dtype in (np.float32, np.int8):
        for _, block in found.blocks(5, dtype):
            if block.shape[1] != found.n:
                return (-1, -1)
            known = block[~np.isnan(block)] if dtype is np.float32 else block[block != -9]
            if known.size and (known.min() < 0 or known.max() > 2):
                raise AssertionError(f"dosages from {known.min()} to {known.max()}")
    return found.n, found.m + sum(step.dropped for step in found.ledger.steps)


def genotypes_expected(people: str, variants: str) -> Callable[[Files, set[str]], Shape | None]:
    def expected(files: Files, changed: set[str]) -> Shape | None:
        if len(changed) == 1:
            return N, M
        # several files changed at once may agree on another shape
        return rows_of(files[people], "fid", "iid"), rows_of(files[variants], "chrom")

    return expected


def read_matrix(name: str, fam: str | None = None) -> Callable[[Path], Shape]:
    def read(prefix: Path) -> Shape:
        from bayeslmm.relationship.files import read_grm

        folder = prefix.parent
        found = read_grm(folder / name, fam=None if fam is None else folder / fam)
        if not np.isfinite(found.matrix).all():
            raise AssertionError("values that are not finite")
        return (found.n,)

    return read


def matrix_expected(people: str) -> Callable[[Files, set[str]], Shape | None]:
    def expected(files: Files, changed: set[str]) -> Shape | None:
        return (N,) if len(changed) == 1 else (rows_of(files[people], "fid", "iid"),)

    return expected


def read_pheno(prefix: Path) -> Shape:
    from bayeslmm.tables.phenotypes import read_phenotypes

    found = read_phenotypes(prefix.with_suffix(".pheno"))
    if np.isinf(found.to_numpy()).any():
        raise AssertionError("an infinite value")
    return (len(found),)


def read_covar(prefix: Path) -> Shape:
    from bayeslmm.tables.phenotypes import read_covariates

    return (len(read_covariates(prefix.with_suffix(".covar"), categorical=["sex"])),)


def read_keep(prefix: Path) -> Shape:
    from bayeslmm.tables.phenotypes import read_ids

    return (len(read_ids(prefix.with_suffix(".keep"))),)


def read_extract(prefix: Path) -> Shape:
    from bayeslmm.genotypes.genotypes import from_array
    from bayeslmm.genotypes.qc import quality_control

    genotypes = from_array(np.tile([[0], [1], [2], [1], [0], [2]], M), frame())
    genotypes.variants["ID"] = [f"rs{k}" for k in range(M)]
    return (quality_control(genotypes, maf=0.0, extract=prefix.with_suffix(".extract")).m,)


def extract_expected(files: Files, changed: set[str]) -> Shape | None:
    words = {word for line in lines_of(files["x.extract"]) for word in line.split()}
    return (len(words & {f"rs{k}" for k in range(M)}),)


def read_reference(suffix: str) -> Callable[[Path], Shape]:
    def read(prefix: Path) -> Shape:
        from bayeslmm.genotypes.array import array_variants
        from bayeslmm.genotypes.frequency_check import check_frequencies
        from bayeslmm.genotypes.reference_freq import reference_rows
        from bayeslmm.genotypes.reference_match import match_reference

        path = prefix.with_suffix(suffix)
        variants = array_variants(None, M).assign(ID=[f"rs{k}" for k in range(M)], A1="A", A0="G")
        found = match_reference(variants, path)
        check = check_frequencies(
            variants, np.full(M, 0.3), found, np.ones(M, dtype=bool), lambda k: f"line {k}"
        )
        known = found.frequency[~np.isnan(found.frequency)]
        if known.size and (known.min() < 0 or known.max() > 1):
            raise AssertionError(f"frequencies from {known.min()} to {known.max()}")
        counts = (check.absent, check.other_alleles, check.no_frequency, check.compared)
        if sum(counts) != M:
            raise AssertionError(f"{counts} of {M}")
        return (sum(1 for _ in reference_rows(path)),)

    return read


def reference_expected(name: str, *header: str) -> Callable[[Files, set[str]], Shape | None]:
    def expected(files: Files, changed: set[str]) -> Shape | None:
        lines = lines_of(files[name])
        while lines and lines[0].startswith("##"):
            lines.pop(0)
        words = lines[0].removeprefix("#").split()
        return (len(lines) - (bool(header) and {*header} <= {*words}),)

    return expected


def read_records(prefix: Path) -> Shape:
    from bayeslmm.cohort.records import read_records as read

    return (len(read(prefix.with_suffix(".csv"), "id")),)


def read_pedigree(prefix: Path) -> Shape:
    from bayeslmm.relationship.pedigree.pedigree import read_pedigree as read

    found = read(prefix.with_suffix(".ped"))
    return (len({int(line) for line in (found.lines if found.lines is not None else ())} - {0}),)


def pedigree_expected(files: Files, changed: set[str]) -> Shape | None:
    rows = [tuple(line.replace(",", " ").split()) for line in lines_of(files["x.ped"])]
    while rows and rows[0][:1] and rows[0][0].startswith("##"):
        rows.pop(0)
    header = len({"id", "sire", "dam"} & {word.lower().lstrip("#") for word in rows[0]}) > 1
    unknown = {"NA", "na", "NaN", "nan", "NAN", ".", "", "0", "*"}
    distinct = {(row[0], *("" if text in unknown else text for text in row[1:])) for row in
                rows[header:] if row}  # fmt: skip
    return (len(distinct),)


def read_spectrum(prefix: Path) -> Shape:
    from bayeslmm.likelihood.spectrum import Spectrum

    found = Spectrum.load(prefix.with_suffix(".npz"))
    return found.n, found.p


def read_result(prefix: Path) -> Shape:
    """Read as `read_tree` does, the probe in this process: a process each costs 1 s."""
    from bayeslmm.cli import outputs
    from bayeslmm.system.hdf5 import probe

    path = prefix.with_suffix(".nc")

    def in_this_process(file: Path) -> str | None:
        guard = prefix.with_name(GUARDED)
        guard.touch()  # a death from here on would be that of the child
        try:
            probe(file)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            guard.unlink()
        return None

    with unittest.mock.patch.object(outputs, "why_damaged", in_this_process):
        tree = outputs.read_tree(path)
    return tuple(tree["posterior"]["h2"].shape)


def table_expected(name: str, *headers: str) -> Callable[[Files, set[str]], Shape | None]:
    return lambda files, changed: (rows_of(files[name], *headers),)


FORMATS = [
    Format("bfile", read_genotypes, genotypes_expected("x.fam", "x.bim")),
    Format("pfile", read_genotypes, genotypes_expected("x.psam", "x.pvar")),
    Format("pfile_hard", read_genotypes, genotypes_expected("x.psam", "x.pvar")),
    Format("gcta", read_matrix("x"), matrix_expected("x.grm.id")),
    Format("gcta_text", read_matrix("x"), matrix_expected("x.grm.id")),
    Format("gemma", read_matrix("x.cXX.txt", "x.fam"), matrix_expected("x.fam")),
    Format("rel", read_matrix("x.rel"), matrix_expected("x.rel.id")),
    Format("rel_bin", read_matrix("x.rel.bin"), matrix_expected("x.rel.id")),
    Format("pheno", read_pheno, table_expected("x.pheno", "fid", "iid")),
    Format("covar", read_covar, table_expected("x.covar", "fid", "iid")),
    Format("records", read_records, table_expected("x.csv", "id")),
    Format("pedigree", read_pedigree, pedigree_expected),
    Format("keep", read_keep, table_expected("x.keep", "fid", "iid")),
    Format("extract", read_extract, extract_expected),
    Format(
        "afreq",
        read_reference(".afreq"),
        reference_expected("x.afreq", "ID", "REF", "ALT", "ALT_FREQS"),
    ),
    Format("frq", read_reference(".frq"), reference_expected("x.frq", "SNP", "A1", "A2", "MAF")),
    Format("freq", read_reference(".freq"), reference_expected("x.freq")),
    Format("spectrum", read_spectrum, lambda files, changed: (N, 1)),
    Format("result", read_result, lambda files, changed: (4, 25)),
]
BY_NAME = {one.name: one for one in FORMATS}
