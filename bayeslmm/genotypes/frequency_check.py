"""Compare alleles and allele frequencies of the genotypes with a reference panel.

Variants are matched by ID and alleles. With f the frequency of A1 in the genotypes and f_r its
frequency in the reference, a variant is *discordant* if

    |f - f_r| > 0.2.

If A1 is miscounted as A0 in a share b of the individuals (a batch, an array), f moves to
f + b(1 - 2f). With b = 1 it becomes 1 - f; the GRM stays the same, because x - 2f only changes its
sign. With b = 1/2 it becomes 1/2, and the GRM changes. Both are seen if b|1 - 2f| > 0.2.

The other strand shows in the alleles (A/C becomes T/G), except for A/T and C/G, which are their own
complements. For them f near 1 - f_r is the only sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.errors import warn_user
from bayeslmm.genotypes.reference_match import (
    ABSENT,
    COMPLEMENT,
    OTHER_ALLELES,
    OTHER_STRAND,
    Reference,
)
from bayeslmm.numerics.arrays import Flags, Floats

DISCORDANT = 0.2  # |f - f_r| above this is discordant
MIRRORED = 0.1  # a discordant variant with |f - (1 - f_r)| below this looks flipped
SHOWN = 5  # variants of each kind that a warning names


@dataclass(frozen=True, slots=True)
class FrequencyCheck:
    """Agreement of the variants with a reference panel. Nothing is dropped or changed.

    Parameters
    ----------
    path
        The file of the reference.
    variants
        Number of variants analysed: absent + other_alleles + no_frequency + compared.
    absent
        Number of variants absent from the reference.
    other_alleles
        Number with other alleles in the reference, on either strand.
    no_frequency
        Number without a frequency in the reference.
    compared
        Number whose frequencies were compared.
    swapped, other_strand
        Numbers of compared variants whose A0 the reference counts, and whose alleles are the
        complements.
    discordant
        Number of compared variants with |f - f_r| > 0.2.
    maybe_flipped
        Number of discordant variants that are A/T or C/G with f within 0.1 of 1 - f_r.
    doubtful
        IDs of variants that are discordant or have other alleles, in the order of the genotypes.
    """

    path: str
    variants: int
    absent: int
    other_alleles: int
    no_frequency: int
    compared: int
    swapped: int
    other_strand: int
    discordant: int
    maybe_flipped: int
    doubtful: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self) | {"doubtful": list(self.doubtful)}

    def __str__(self) -> str:
        unknown = f", {self.no_frequency} have no frequency there" if self.no_frequency else ""
        return (
            f"allele frequencies of {self.compared} variants compared with {Path(self.path).name} "
            f"({self.swapped} have the alleles swapped, {self.other_strand} are on the other "
            f"strand): {self.discordant} differ by more than {DISCORDANT:g}; "
            f"{self.other_alleles} have other alleles there, {self.absent} are not in it{unknown}"
        )


def check_frequencies(
    variants: pd.DataFrame,
    frequency: Floats,
    reference: Reference,
    kept: Flags,
    place: Callable[[int], str],
) -> FrequencyCheck:
    """Compare the kept variants with the reference, and warn if they disagree.

    Parameters
    ----------
    variants
        (m,) rows with ID, A1 and A0.
    frequency
        (m,) frequency f of A1.
    reference
        The matched rows of the panel.
    kept
        (m,) which variants are analysed.
    place
        Function that gives ``file:line`` of a variant by its position.

    Warns
    -----
    BayesLMMWarning
        For discordant frequencies, other alleles and the other strand, with numbers and the first
        five variants of each; and if nothing could be compared.
    """
    match, f, f_r = reference.match, frequency, reference.frequency
    fits = kept & (match >= OTHER_STRAND)
    compared = fits & ~np.isnan(f_r) & ~np.isnan(f)
    discordant = compared & (np.abs(f - f_r) > DISCORDANT)
    a1, a0 = variants["A1"].str.upper(), variants["A0"].str.upper()
    own_complement = (a1.map(COMPLEMENT) == a0).to_numpy(dtype=bool)
    mirrored = discordant & (np.abs(f - (1 - f_r)) < MIRRORED)
    other = kept & (match == OTHER_ALLELES)
    strand = compared & (match == OTHER_STRAND)
    check = FrequencyCheck(
        path=str(reference.path),
        variants=int(kept.sum()),
        absent=int((kept & (match == ABSENT)).sum()),
        other_alleles=int(other.sum()),
        no_frequency=int((fits & ~compared).sum()),
        compared=int(compared.sum()),
        swapped=int((compared & reference.swapped).sum()),
        other_strand=int(strand.sum()),
        discordant=int(discordant.sum()),
        maybe_flipped=int((mirrored & own_complement).sum()),
        doubtful=tuple(variants["ID"][discordant | other]),
    )

    file = Path(reference.path).name

    def named(k: int) -> str:
        """Name a variant with its line in the genotypes and in the reference."""
        row = variants.iloc[k]
        return f"{row['ID']} {row['A1']}/{row['A0']} ({place(k)}, {file}:{reference.line[k]})"

    def differs(k: int) -> str:
        sign = ""
        if mirrored[k]:
            sign = " (other strand?)" if own_complement[k] else " (alleles exchanged?)"
        return f"{named(k)}: {a1.iloc[k]} {f[k]:.3f}, there {f_r[k]:.3f}{sign}"

    _warn(
        check,
        _examples(discordant, differs),
        _examples(other, lambda k: f"{named(k)}: there {reference.alleles[k]}"),
        _examples(strand, named),
    )
    return check


def _examples(which: Flags, words: Callable[[int], str]) -> str:
    """Describe the first variants of a mask."""
    rows: Sequence[int] = np.flatnonzero(which).tolist()
    return "; ".join(map(words, rows[:SHOWN])) + ("; ..." if len(rows) > SHOWN else "")


def _warn(check: FrequencyCheck, discordant: str, other: str, strand: str) -> None:
    """Warn once of everything that disagrees."""
    parts = []
    if check.compared == 0:
        parts.append("none of the variants kept could be compared")
    if check.discordant:
        flips = ""
        if check.maybe_flipped:
            flips = (
                f" ({check.maybe_flipped} of them, A/T or C/G with nearly 1 - f there, may be "
                "flipped, which alleles cannot show)"
            )
        parts.append(
            f"{check.discordant} of {check.compared} variants differ from the reference by more "
            f"than {DISCORDANT:g} in allele frequency{flips}: {discordant}"
        )
    if check.other_alleles:
        parts.append(f"{check.other_alleles} have other alleles there: {other}")
    if check.other_strand:
        parts.append(f"{check.other_strand} have the alleles of the other strand there: {strand}")
    if parts:
        warn_user(
            f"{check.path}: {'. '.join(parts)}. Nothing was dropped or changed. A variant flipped "
            "in all individuals does not change the GRM; one flipped in a batch, or wrong in "
            "another way, does -> compare the batches, check the ancestry and genome build of the "
            "reference, leave out doubtful variants with --exclude (IDs: frequency_check in the "
            "record)"
        )
