"""Quality control of genotypes: counts in one pass, and filters that record what they drop."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError, warn_user
from bayeslmm.genotypes.array import hard_calls
from bayeslmm.genotypes.frequency_check import check_frequencies
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.genotypes.hwe import hwe_p_values
from bayeslmm.genotypes.reference_match import Reference, match_reference
from bayeslmm.individuals import match_individuals, names_of
from bayeslmm.ledger import Ledger
from bayeslmm.system.files import PathArg, read_lines

BLOCK_VALUES = 1 << 22  # dosages in memory while counting


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Filters of variants by their counts.

    Parameters
    ----------
    maf
        Lowest minor allele frequency to keep, in [0, 0.5]; 0 still drops monomorphic variants.
    max_missing
        Highest share of missing genotypes to keep, in [0, 1].
    hwe
        Lowest Hardy-Weinberg p-value to keep, in [0, 1]; None for no filter.
    """

    maf: float = 0.01
    max_missing: float = 0.05
    hwe: float | None = None

    def __post_init__(self) -> None:
        _check_option("maf", self.maf, 0.0, 0.5)
        _check_option("max_missing", self.max_missing, 0.0, 1.0)
        if self.hwe is not None:
            _check_option("hwe", self.hwe, 0.0, 1.0)


def variant_counts(genotypes: Genotypes, *, hwe: bool = True) -> pd.DataFrame:
    """Count genotypes, missing values and alleles of every variant in one pass over the file.

    All individuals of `genotypes` count, founders or not. Memory: a block of dosages and the
    returned table.

    Parameters
    ----------
    genotypes
        n individuals, m variants.
    hwe
        Whether to compute the Hardy-Weinberg p-values; default True.

    Returns
    -------
    counts
        (m,) rows, in the order of ``genotypes.variants``:

        - ``n_hom_a0, n_het, n_hom_a1`` (int): hard calls with 0, 1, 2 copies of A1. Dosages
          farther than 0.1 from a whole number do not count.
        - ``n_missing`` (int): individuals without dosage; ``missing``: their share of n.
        - ``af``: frequency of A1, half the mean dosage; ``maf``: frequency of the rarer allele.
          NaN if all are missing.
        - ``hwe_p``: exact test of Hardy-Weinberg proportions (Wigginton et al. 2005) on the hard
          calls, autosomal; NaN if `hwe` is False.
    """
    n = genotypes.n
    calls, missing, copies = _tally(genotypes)
    alleles = np.where(missing < n, 2.0 * (n - missing), np.nan)
    return pd.DataFrame(
        {
            "n_hom_a0": calls[0],
            "n_het": calls[1],
            "n_hom_a1": calls[2],
            "n_missing": missing,
            "af": copies / alleles,
            "missing": missing / n,
            "maf": np.minimum(copies, alleles - copies) / alleles,
            "hwe_p": hwe_p_values(calls[0], calls[1], calls[2]) if hwe else np.nan,
        }
    )


def _tally(
    genotypes: Genotypes,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the hard calls 0, 1, 2 (3, m), the missing (m,) and the copies of A1 (m,)."""
    m, n, source = genotypes.m, genotypes.n, genotypes.source
    exact = source.hard_calls
    counted = source.reader.count_calls(source.individuals, source.variants)
    calls = np.zeros((3, m), dtype=np.int64) if counted is None else counted
    missing, copies = np.zeros(m, dtype=np.int64), np.zeros(m)
    size = max(1, min(1024, BLOCK_VALUES // n))
    blocks = genotypes.blocks(size, np.int8 if exact else np.float32) if counted is None else ()
    for where, block in blocks:
        called = block if exact else hard_calls(block)
        for copy in range(3):
            calls[copy, where] = np.count_nonzero(called == copy, axis=1)
        if not exact:
            missing[where] = np.count_nonzero(np.isnan(block), axis=1)
            copies[where] = np.nansum(block, axis=1, dtype=np.float64)
    if exact:
        missing = n - calls.sum(axis=0)
        copies = (calls[1] + 2 * calls[2]).astype(np.float64)
    return calls, missing, copies


def quality_control(
    genotypes: Genotypes,
    *,
    maf: float = 0.01,
    max_missing: float = 0.05,
    hwe: float | None = None,
    keep: PathArg | None = None,
    remove: PathArg | None = None,
    extract: PathArg | None = None,
    exclude: PathArg | None = None,
    autosomes: bool = True,
    chr_set: int = 22,
    reference_freq: PathArg | None = None,
) -> Genotypes:
    """Choose individuals and variants; every step is counted in the ledger.

    The steps are: individuals (`keep`, `remove`); variants by chromosome and by ID; then, in one
    pass over the remaining genotypes, missingness, monomorphic variants, allele frequency and
    Hardy-Weinberg proportions. A variant is counted at the first step that drops it.

    Parameters
    ----------
    genotypes
        Individuals and variants to choose from.
    maf
        Drop variants with a minor allele frequency below this; default 0.01. Monomorphic variants
        are always dropped.
    max_missing
        Drop variants with a larger share of missing genotypes; default 0.05.
    hwe
        Drop variants with an exact Hardy-Weinberg p-value below this. Default: None (no filter).
    keep, remove
        Files of individuals, ``FID IID`` or ``IID``, to keep or to drop.
    extract, exclude
        Files of variant IDs, one per line, to keep or to drop.
    autosomes
        Keep only the chromosomes 1 to `chr_set`, with or without "chr"; default True.
    chr_set
        Number of autosome pairs of the species; default 22.
    reference_freq
        File of allele frequencies of a reference panel (`bayeslmm.genotypes.reference_freq`).
        Alleles and frequencies of the chosen variants are compared with it; nothing is dropped.
        Default: None.

    Returns
    -------
    genotypes
        The chosen genotypes, still lazy, with ``frequency_check`` if there is a reference.

    Raises
    ------
    InputError
        If an option is out of range, a list matches nothing, a listed variant ID occurs more than
        once, no individual or variant is left (the message gives the counts of every step), or the
        reference cannot be read or has none of the variants.

    Warns
    -----
    BayesLMMWarning
        For listed individuals or variants that are not in the genotypes, with their number; and for
        variants that disagree with the reference (`bayeslmm.genotypes.frequency_check`).
    """
    thresholds = Thresholds(maf, max_missing, hwe)
    if chr_set < 1:
        raise InputError(f"chr_set {chr_set}", "1 or more autosome pairs", "correct --chr-set")
    lists: tuple[tuple[PathArg | None, Literal["keep", "remove"]], ...]
    lists = (keep, "keep"), (remove, "remove")
    for path, option in lists:
        if path is not None:
            kept, ledger = choose_individuals(genotypes.individuals, genotypes.ledger, path, option)
            genotypes = genotypes.select(individuals=kept, ledger=ledger)
    if autosomes:
        kept = autosomal(genotypes.variants["CHROM"], chr_set)
        genotypes = _drop(genotypes, kept, f"not on the autosomes 1 to {chr_set}")
    for path, which in ((extract, "extract"), (exclude, "exclude")):
        if path is not None:
            genotypes = _choose_variants(genotypes, path, which)
    reference = None
    if reference_freq is not None:
        reference = match_reference(genotypes.variants, reference_freq)
    return _filter_by_counts(genotypes, thresholds, reference)


def autosomal(chromosomes: pd.Series[str], chr_set: int = 22) -> NDArray[np.bool_]:
    """Tell whether each chromosome name is 1 to `chr_set`, with or without "chr"."""
    codes, names = pd.factorize(chromosomes)
    number = re.compile(r"(?:chr)?0*([1-9]\d{0,3})", re.IGNORECASE)
    matches = [number.fullmatch(str(name)) for name in names]
    kept = np.array([x is not None and int(x[1]) <= chr_set for x in matches], dtype=np.bool_)
    return kept[codes]


def _filter_by_counts(
    genotypes: Genotypes, thresholds: Thresholds, reference: Reference | None
) -> Genotypes:
    """Apply the thresholds one after the other, then compare with the reference."""
    counts = variant_counts(genotypes, hwe=thresholds.hwe is not None)
    maf = counts["maf"].to_numpy()
    steps: list[tuple[str, NDArray[np.bool_]]] = [
        (
            f"more than {thresholds.max_missing:g} of the genotypes missing",
            counts["missing"].to_numpy() <= thresholds.max_missing,
        ),
        ("monomorphic", maf > 0),  # False for NaN
        (f"minor allele frequency below {thresholds.maf:g}", maf >= thresholds.maf),
    ]
    if thresholds.hwe is not None:
        reason = f"Hardy-Weinberg p-value below {thresholds.hwe:g}"
        steps.append((reason, counts["hwe_p"].to_numpy() >= thresholds.hwe))
    kept = np.ones(genotypes.m, dtype=np.bool_)
    ledger = genotypes.ledger
    names = genotypes.variants["ID"].to_numpy()
    for reason, passed in steps:
        dropped, kept = kept & ~passed, kept & passed
        ledger = ledger.add("variants", reason, names[dropped], remaining=int(kept.sum()))
    if not kept.any():
        raise InputError(
            f"no variant is left of {genotypes.m}:\n{ledger}\n",
            "at least one variant",
            "relax --maf, --max-missing or --hwe, or check the files",
            path=genotypes.source.name,
        )
    chosen = genotypes.select(variants=kept, ledger=ledger)
    if reference is None:
        return chosen
    f = counts["af"].to_numpy()
    check = check_frequencies(genotypes.variants, f, reference, kept, genotypes.place)
    ledger = ledger.count("variants", str(check), 0, remaining=chosen.m)
    return replace(chosen, ledger=ledger, frequency_check=check)


def _drop(genotypes: Genotypes, kept: NDArray[np.bool_], reason: str) -> Genotypes:
    """Keep the variants of a mask; raise `InputError` if none is left."""
    names = genotypes.variants["ID"].to_numpy()[~kept]
    ledger = genotypes.ledger.add("variants", reason, names, remaining=int(kept.sum()))
    if not kept.any():
        raise InputError(
            f"no variant is left of {genotypes.m}:\n{ledger}\n",
            "at least one variant",
            "check the lists, or use --chr-set for another species",
            path=genotypes.source.name,
        )
    return genotypes.select(variants=kept, ledger=ledger)


def choose_individuals(
    individuals: pd.MultiIndex, ledger: Ledger, path: PathArg, option: Literal["keep", "remove"]
) -> tuple[NDArray[np.bool_], Ledger]:
    """Choose individuals by a ``--keep`` or ``--remove`` file.

    Parameters
    ----------
    individuals
        (n,) individuals to choose from.
    ledger
        Earlier steps.
    path
        The list, ``FID IID`` or ``IID``.
    option
        Whether listed individuals are kept or removed.

    Returns
    -------
    kept, ledger
        (n,) mask, and the ledger with one more step.

    Raises
    ------
    InputError
        If the list matches no individual, IIDs are not unique, or no individual is left.
    """
    from bayeslmm.tables.phenotypes import read_ids

    listed = read_ids(path).index
    assert isinstance(listed, pd.MultiIndex)
    match = match_individuals(individuals, listed)
    if match.ambiguous:
        raise InputError(
            "IIDs alone do not tell individuals apart",
            "FID and IID as in the genotype files",
            "write both columns into the list",
            path=path,
        )
    if match.fids_differ:
        warn_user(f"{path}: no FID agrees with the genotypes; individuals were matched by IID")
    chosen = match.found
    _report_unmatched(len(listed) - int(chosen.sum()), len(listed), "individuals", path)
    kept = chosen if option == "keep" else ~chosen
    reason = "not in the --keep file" if option == "keep" else "in the --remove file"
    ledger = ledger.add(
        "individuals", reason, names_of(individuals[~kept]), remaining=int(kept.sum())
    )
    if not kept.any():
        raise InputError(
            f"no individual is left:\n{ledger}\n", "at least one", "check the list", path=path
        )
    return kept, ledger


def _choose_variants(genotypes: Genotypes, path: PathArg, option: str) -> Genotypes:
    listed = _variant_list(path)
    names = genotypes.variants["ID"]
    chosen = names.isin(listed).to_numpy()
    repeated = names[chosen][names[chosen].duplicated()]
    if len(repeated):
        shown = ", ".join(repeated.unique()[:5])
        raise InputError(
            f"{shown} occurs more than once among the variants",
            "IDs that name one variant each",
            "give the variants unique IDs, for instance with plink2 --set-all-var-ids",
            path=path,
        )
    _report_unmatched(len(listed) - int(chosen.sum()), len(listed), "variants", path)
    if option == "extract":
        return _drop(genotypes, chosen, "not in the --extract file")
    return _drop(genotypes, ~chosen, "in the --exclude file")


def _variant_list(path: PathArg) -> list[str]:
    """Read distinct variant IDs, one per line; blank lines are skipped."""
    names: dict[str, None] = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if len(fields) > 1:
            raise InputError(
                f"{len(fields)} columns",
                "one variant ID per line",
                "keep the ID column only",
                path=path,
                line=number,
            )
        names.update(dict.fromkeys(fields))
    if not names:
        raise InputError("no variant IDs", "one variant ID per line", "check the file", path=path)
    return list(names)


def _report_unmatched(unmatched: int, listed: int, unit: str, path: PathArg) -> None:
    if unmatched == listed:
        raise InputError(
            f"none of its {listed} {unit} is among the genotypes",
            f"{unit} named as in the genotype files",
            "check the identifiers",
            path=path,
        )
    if unmatched:
        warn_user(f"{path}: {unmatched} of {listed} {unit} are not among the genotypes")


def _check_option(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(
            f"{name} {value:g}", f"{low:g} to {high:g}", f"correct --{name.replace('_', '-')}"
        )
