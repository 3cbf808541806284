"""Match variants with a file of reference allele frequencies, by ID and alleles.

Alleles match if they are equal, or complements because the file uses the other strand (A/C becomes
T/G). A/T and C/G are their own complements, so alleles do not show their strand.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.genotypes.reference_freq import UNKNOWN, Row, reference_rows
from bayeslmm.system.files import PathArg

NO_NAME = "."
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}

ABSENT, OTHER_ALLELES, OTHER_STRAND, SAME = range(4)  # the better match has the larger number


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The matches of m variants in a reference panel.

    Parameters
    ----------
    path
        The file.
    match
        (m,) `ABSENT`, `OTHER_ALLELES`, `OTHER_STRAND` or `SAME`.
    swapped
        (m,) whether the file counts the variant's A0.
    frequency
        (m,) frequency of A1 in the reference, NaN where unknown.
    line
        (m,) line of the file, 0 where absent.
    alleles
        Reference alleles of variants with `OTHER_ALLELES`, by position.
    """

    path: PathArg
    match: NDArray[np.int8]
    swapped: NDArray[np.bool_]
    frequency: NDArray[np.float64]
    line: NDArray[np.int64]
    alleles: dict[int, str]


def match_reference(variants: pd.DataFrame, path: PathArg) -> Reference:
    """Find variants in a file of allele frequencies, by ID and alleles.

    Parameters
    ----------
    variants
        (m,) rows with ID, A1 and A0. An ID "." matches nothing.
    path
        The file, see `bayeslmm.genotypes.reference_freq`. An ID may occur several times with
        different alleles; the row with matching alleles is taken, preferably on the same strand.

    Raises
    ------
    InputError
        If `reference_rows` rejects the file, a variant occurs twice with the same alleles, or no ID
        is in common.
    """
    m = len(variants)
    where: defaultdict[str, list[int]] = defaultdict(list)
    for k, name in enumerate(variants["ID"]):
        where[name].append(k)
    where.pop(NO_NAME, None)
    a1, a0 = variants["A1"].tolist(), variants["A0"].tolist()
    found = Reference(
        path, np.zeros(m, np.int8), np.zeros(m, bool), np.full(m, np.nan), np.zeros(m, np.int64), {}
    )
    first: dict[str, int] = {}  # line of an ID with its alleles in any order
    rows, example = 0, ""
    for row in reference_rows(path):
        rows, example = rows + 1, example or row.name
        if row.name not in where:
            continue
        before = first.setdefault(" ".join((row.name, *sorted(row.alleles))), row.line)
        if before != row.line:
            raise InputError(
                f"the variant {row.name} with the alleles {'/'.join(row.alleles)} again "
                f"(lines {before} and {row.line})",
                "a row for each variant",
                "check which is right and remove the other",
                path=path,
                line=row.line,
            )
        for k in where[row.name]:
            _enter(found, k, a1[k].upper(), a0[k].upper(), row)
    if not found.match.any():
        ours = next(iter(where), NO_NAME)
        raise InputError(
            f"none of its {rows} variants is among the {m} of the genotypes (here {ours}, there "
            f"{example})",
            "variants named as in the genotype files",
            "give both the same IDs, for instance with plink2 --set-all-var-ids @:#:$r:$a",
            path=path,
        )
    return found


def _enter(found: Reference, k: int, a1: str, a0: str, row: Row) -> None:
    """Enter a row for variant k, unless a better match is there."""
    match, seen = SAME, frequency_of(a1, a0, row)
    if seen is None and a1 in COMPLEMENT and a0 in COMPLEMENT:
        match, seen = OTHER_STRAND, frequency_of(COMPLEMENT[a1], COMPLEMENT[a0], row)
    if seen is None:
        match, seen = OTHER_ALLELES, (np.nan, False)
    if match <= found.match[k]:
        return
    found.match[k], found.line[k] = match, row.line
    found.frequency[k], found.swapped[k] = seen
    found.alleles.pop(k, None)
    if match == OTHER_ALLELES:
        found.alleles[k] = "/".join(row.alleles)


def frequency_of(a1: str, a0: str, row: Row) -> tuple[float, bool] | None:
    """Return the frequency of A1 among the copies of A1 and A0; None if the alleles differ.

        f_r = f(A1) / (f(A1) + f(A0))

    It differs from f(A1) only for variants with further alleles. An allele that the reference does
    not name is taken as the missing one.

    Returns
    -------
    frequency, swapped
        f_r, NaN if the file has none; and whether A1 is the allele that the file does not count.
    """
    if set(row.alleles) == {UNKNOWN}:
        return np.nan, False
    last = max(0.0, 1.0 - sum(row.frequencies))
    f = dict(zip(row.alleles, (*row.frequencies, last), strict=True))
    name1, name0 = (one if one in f else UNKNOWN for one in (a1, a0))
    if name1 == name0 or name1 not in f or name0 not in f:
        return None
    total = f[name1] + f[name0]
    return f[name1] / total if total > 0 else np.nan, name1 == row.alleles[-1]
