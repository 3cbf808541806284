"""Sets of variants, one for each kernel: by chromosome, frequency, LD score, or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import InputError, warn_user
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.genotypes.qc import variant_counts
from bayeslmm.numerics.arrays import Floats
from bayeslmm.relationship.ld_scores import ld_scores
from bayeslmm.relationship.variant_groups import read_groups
from bayeslmm.system.files import PathArg

MAF_EDGES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class VariantSets:
    """Disjoint sets of variants; a variant may be in no set.

    Parameters
    ----------
    names
        (k,) names of the sets, in the order of the kernels.
    codes
        (m,) number of the set of each variant, -1 for none.
    how
        How the sets were made, in words.
    notes
        Further remarks, one sentence each.

    Raises
    ------
    InputError
        If a set has fewer than two variants (the message names it), names repeat, or there is no
        set.
    """

    names: tuple[str, ...]
    codes: NDArray[np.intp]
    how: str = "as given"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        k = len(self.names)
        if k == 0 or len({*self.names}) < k or not all(self.names):
            raise InputError(f"sets named {self.names}", "different names", "name each set once")
        codes = self.codes
        if codes.ndim != 1 or codes.size == 0 or codes.min() < -1 or codes.max() >= k:
            raise InputError(
                f"codes of shape {codes.shape}", f"(m,), each -1 to {k - 1}", "correct the codes"
            )
        for name, count in zip(self.names, self.counts, strict=True):
            if count < 2:
                raise InputError(
                    f"{count} variants in the set {name!r} ({self.how})",
                    "two or more in each set",
                    "join the set with another one, or leave its variants out",
                )

    @property
    def counts(self) -> list[int]:
        """(k,) number of variants in each set."""
        found: list[int] = np.bincount(
            self.codes[self.codes >= 0], minlength=len(self.names)
        ).tolist()
        return found

    @property
    def unassigned(self) -> int:
        """Number of variants in no set."""
        return int((self.codes < 0).sum())

    def __str__(self) -> str:
        sets = [f"{name}: {c} variants" for name, c in zip(self.names, self.counts, strict=True)]
        left = [f"in no set: {self.unassigned} variants"] if self.unassigned else []
        return "\n".join([f"sets {self.how}", *sets, *left, *self.notes])


def choose_sets(genotypes: Genotypes, by: str) -> VariantSets:
    """Divide the variants into sets, one kernel each, for `bayeslmm.compute_grms`.

    Parameters
    ----------
    genotypes
        m variants.
    by
        As on the command line: "chromosome"; "maf", or "maf:0.01,0.05,0.5" with other edges; "ld"
        (quartiles of the LD score), or "ld:2" for halves; else a file with a variant and its set in
        each line.

    Returns
    -------
    VariantSets
        The names of the sets and the set of each variant.

    Raises
    ------
    InputError
        If edges or numbers cannot be read, a set has fewer than two variants, or the file does not
        name variants of `genotypes`.
    """
    word, _, rest = by.partition(":")
    try:
        if by == "chromosome":
            return by_chromosome(genotypes)
        if word == "maf":
            edges = [float(text) for text in rest.split(",")] if rest else None
            return by_maf(genotypes, edges=edges)
        if word == "ld":
            return by_ld(genotypes, bins=int(rest) if rest else 4)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"--by {by}", "maf:EDGE,EDGE,... or ld:NUMBER", "give numbers after the colon"
        ) from None
    return by_file(genotypes, by)


def by_chromosome(genotypes: Genotypes) -> VariantSets:
    """Make a set for each chromosome, in the order of the file: "chr1", "chr2", ..."""
    numbers, found = genotypes.variants["CHROM"].factorize()
    bare = [_bare(str(name)) for name in found]
    names = tuple(dict.fromkeys(bare))
    codes = np.array([names.index(name) for name in bare], dtype=np.intp)[numbers]
    return VariantSets(tuple(f"chr{name}" for name in names), codes, "by chromosome")


def by_maf(genotypes: Genotypes, edges: Sequence[float] | None = None) -> VariantSets:
    """Make bins of the minor allele frequency, in one pass over the genotypes.

    Parameters
    ----------
    genotypes
        m variants. Frequencies are computed among its individuals, with males on X counted twice.
    edges
        Increasing numbers in [0, 0.5]. Default: 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, and one more
        bin below 0.01 if it has variants. A bin includes its upper edge; the first includes its
        lower edge too: "maf[0.01,0.05]", "maf(0.05,0.1]", ...

    Returns
    -------
    VariantSets
        Sets of the bins that have variants. Variants outside the given edges, and variants that do
        not vary, are in no set.

    Raises
    ------
    InputError
        If edges are not increasing or not in [0, 0.5], or all bins are empty, or a bin has one
        variant.
    """
    limits = np.asarray(MAF_EDGES if edges is None else edges, dtype=np.float64)
    right = limits.ndim == 1 and limits.size >= 2 and bool((np.diff(limits) > 0).all())
    if not (right and limits[0] >= 0 and limits[-1] <= 0.5):
        raise InputError(f"edges {edges}", "two or more, increasing, from 0 to 0.5", "correct them")
    maf = variant_counts(genotypes, hwe=False)["maf"].to_numpy()
    codes = np.searchsorted(limits, maf) - 1  # (a, b]
    codes[maf == limits[0]] = 0
    codes[~(maf <= limits[-1])] = -1
    texts = [f"{edge:g}" for edge in limits]
    names = [f"maf({a},{b}]" for a, b in pairwise(texts)]
    names[0] = names[0].replace("(", "[")
    if edges is None:
        names.insert(0, f"maf(0,{texts[0]})")
        codes[maf > 0] += 1
    codes[~(maf > 0)] = -1
    return _without_empty(names, codes, "by minor allele frequency", said=edges is not None)


def by_ld(genotypes: Genotypes, bins: int = 4, window_kb: float = 200.0) -> VariantSets:
    """Make bins of the LD score with equal numbers of variants, in one pass.

    Parameters
    ----------
    genotypes
        m variants, in the order of their positions.
    bins
        Number of bins; default 4 (quartiles).
    window_kb
        See `bayeslmm.relationship.ld_scores.ld_scores`; default 200.

    Returns
    -------
    VariantSets
        "ld1" (lowest scores), "ld2", ...; the notes give the edges. Variants with unknown position
        (0 or less), and variants that do not vary, are in no set.

    Raises
    ------
    InputError
        If there are fewer than two bins, or no variant has a position and varies.

    Notes
    -----
    Each variant has its own score here. GCTA's GREML-LDMS averages scores over regions.
    """
    if bins < 2:
        raise InputError(f"{bins} bins", "two or more", "choose more bins")
    scores = ld_scores(genotypes, window_kb=window_kb)
    known = np.isfinite(scores)
    if not known.any():
        raise InputError(
            f"none of the {genotypes.m} variants has a position and varies",
            "positions in base pairs, for LD scores",
            "add them, or make the sets by chromosome or frequency",
            path=genotypes.source.name,
        )
    edges: Floats = np.quantile(scores[known], np.arange(1, bins) / bins)
    codes = np.where(known, np.searchsorted(edges, scores), -1).astype(np.intp)
    names = [f"ld{k + 1}" for k in range(bins)]
    note = "edges of the LD scores: " + ", ".join(f"{edge:.4g}" for edge in edges)
    how = f"by LD score (window {window_kb:g} kb)"
    return _without_empty(names, codes, how, said=True, notes=(note,))


def by_file(genotypes: Genotypes, path: PathArg) -> VariantSets:
    """Make sets from a file with two columns, variant ID and group.

    Parameters
    ----------
    genotypes
        m variants.
    path
        The file, separated by blanks or tabs; a header (``ID GROUP``, ``#ID ...``, ``SNP ...``) is
        optional. Groups keep the order of their first lines.

    Returns
    -------
    VariantSets
        Variants that the file does not name are in no set.

    Raises
    ------
    InputError
        If a line has another number of columns, an ID repeats (the message names both lines),
        several variants have one ID, no ID is among the variants, or a group has fewer than two
        variants.

    Warns
    -----
    BayesLMMWarning
        For IDs that are not among the variants, and for variants in no group, with their numbers.
    """
    ids = genotypes.variants["ID"]
    rows = read_groups(path, ids)
    group = ids.map({name: group for name, (group, _) in rows.items()})
    listed = group.notna().to_numpy()
    if not listed.any():
        raise InputError(
            f"none of its {len(rows)} variants is among the genotypes",
            "variants named as in the genotype files",
            "check the identifiers",
            path=path,
        )
    repeated = ids[listed][ids[listed].duplicated()]
    if len(repeated):
        raise InputError(
            f"{repeated.iloc[0]} occurs more than once among the variants",
            "IDs that name one variant each",
            "give the variants unique IDs, for instance with plink2 --set-all-var-ids",
            path=path,
            line=rows[repeated.iloc[0]][1],
        )
    absent = len(rows) - int(listed.sum())
    if absent:
        warn_user(f"{path}: {absent} of {len(rows)} variants are not among the genotypes")
    if not listed.all():
        warn_user(f"{path}: {int((~listed).sum())} of {len(ids)} variants are in no group, unused")
    names = list(dict.fromkeys(group for group, _ in rows.values()))
    number = group.map({name: code for code, name in enumerate(names)}).fillna(-1)
    codes = np.asarray(number.to_numpy(), dtype=np.intp)
    return _without_empty(names, codes, f"by {path}", said=True)


def _without_empty(
    names: Sequence[str],
    codes: NDArray[np.intp],
    how: str,
    *,
    said: bool,
    notes: tuple[str, ...] = (),
) -> VariantSets:
    """Drop empty sets; note them, and warn if they were asked for."""
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    kept = [int(code) for code in np.flatnonzero(counts)]
    empty = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if not kept:
        raise InputError(f"no variant in any set {how}", "variants in the sets", "choose others")
    if empty:
        note = f"no variant, and no kernel, in {', '.join(empty)}"
        notes = (*notes, note)
        if said:
            warn_user(f"sets {how}: {note}")
    number = np.append(np.cumsum(counts > 0) - 1, -1)
    return VariantSets(tuple(names[k] for k in kept), number[codes], how, notes)


def _bare(chromosome: str) -> str:
    """Strip "chr" and leading zeros from a chromosome's name."""
    name = chromosome[3:] if chromosome.lower().startswith("chr") else chromosome
    return name.lstrip("0") or name
