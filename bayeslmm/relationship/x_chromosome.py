"""The X chromosome: sexes, males' genotypes, dosage compensation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayeslmm.errors import InputError, warn_user
from bayeslmm.genotypes.array import HARD_CALL
from bayeslmm.genotypes.codings import tally
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.numerics.arrays import Floats
from bayeslmm.relationship.relationship import name_some
from bayeslmm.system.files import read_lines

type DosageCompensation = Literal["full", "none", "equal"]

MALE, FEMALE = 1, 2
SEXES = {"1": MALE, "m": MALE, "male": MALE, "2": FEMALE, "f": FEMALE, "female": FEMALE}
MOST_HETEROZYGOUS = 0.01  # share of males' calls; more means wrong sexes or another chromosome

# variance of a male's X-linked value relative to a female's, in outbred people
MALE_VARIANCE: dict[DosageCompensation, float] = {"full": 2.0, "equal": 1.0, "none": 0.5}


def on_x(chromosomes: pd.Series[str], chr_set: int = 22) -> NDArray[np.bool_]:
    """Tell whether each chromosome name is X: "X", "chrX", or `chr_set` + 1 (23 in humans).

    The pseudo-autosomal regions ("XY", "PAR1", 25, ...) are not X: males have two copies there.
    """
    codes, names = pd.factorize(chromosomes)
    pattern = re.compile(rf"(?:chr)?0*(?:X|{chr_set + 1})", re.IGNORECASE)
    known = np.array([pattern.fullmatch(str(name)) is not None for name in names], dtype=np.bool_)
    return known[codes]


def males(genotypes: Genotypes, sex: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Tell who is male (n,).

    Parameters
    ----------
    genotypes
        n individuals.
    sex
        (n,) 1 male, 2 female, as in a ``.fam``. Default: from the ``.fam`` or ``.psam`` beside the
        genotypes.

    Raises
    ------
    InputError
        If a sex is unknown (the message names the individuals), or the genotypes are an array and
        `sex` is not given.
    """
    codes = _read_sex(genotypes) if sex is None else np.asarray(sex)
    if codes.shape != (genotypes.n,):
        raise InputError(
            f"sex of shape {codes.shape}", f"one for each of {genotypes.n} individuals", "check it"
        )
    unknown = np.flatnonzero(~np.isin(codes, (MALE, FEMALE)))
    if unknown.size:
        raise InputError(
            f"{unknown.size} of {genotypes.n} individuals have no sex: "
            f"{name_some(genotypes.individuals, unknown)}",
            "1 (male) or 2 (female) for every individual: a male has one X",
            "add it to the .fam or .psam, or leave them out (--remove)",
            path=None if sex is not None else genotypes.source.name,
        )
    return np.asarray(codes == MALE)


@dataclass(slots=True)
class MaleCalls:
    """Remove and count males' heterozygous calls, because X allows none.

    Parameters
    ----------
    male
        (n,) who is male.
    heterozygous, called
        Numbers of males' heterozygous calls and of their calls so far.
    """

    male: NDArray[np.bool_]
    heterozygous: int = 0
    called: int = 0

    def clean(self, dosages: NDArray[Any]) -> NDArray[Any]:
        """Copy dosages (b, n) with the males' heterozygous calls set to missing.

        A dosage within 0.1 of 1 counts as heterozygous.
        """
        ours = dosages[:, self.male]
        heterozygous = np.abs(ours - 1) <= HARD_CALL + 1e-6 if ours.dtype.kind == "f" else ours == 1
        self.called += int((ours >= 0).sum())
        self.heterozygous += int(heterozygous.sum())
        ours[heterozygous] = np.nan if ours.dtype.kind == "f" else -9
        cleaned = dosages.copy()
        cleaned[:, self.male] = ours
        return cleaned

    def report(self, path: str) -> None:
        """Warn of males' heterozygous calls; raise `InputError` above 1 % of their calls."""
        if self.heterozygous == 0:
            return
        share = self.heterozygous / self.called
        found = f"{self.heterozygous} of {self.called} calls of males on X are heterozygous"
        if share > MOST_HETEROZYGOUS:
            raise InputError(
                f"{found} ({100 * share:.2g} %)",
                "at most 1 %: a male has one X",
                "check the sexes, and split off the pseudo-autosomal regions "
                "(plink2 --split-par, plink --split-x)",
                path=path,
            )
        warn_user(f"{path}: {found}; they count as missing")


def x_mean(dosages: NDArray[Any], male: NDArray[np.bool_]) -> Floats:
    """Return twice the frequency of A1 on observed X chromosomes: males have one, females two.

    Parameters
    ----------
    dosages
        (b, n) with males at 0 and 2, as in PLINK.
    male
        (n,) who is male.
    """
    hers, his = (tally(np.ascontiguousarray(dosages[:, who])) for who in (~male, male))
    mean: Floats = 2 * (hers[1] + his[1] / 2) / np.maximum(2 * hers[0] + his[0], 1)
    return mean


def compensate(matrix: Floats, male: NDArray[np.bool_], how: DosageCompensation) -> None:
    """Scale the males of a kernel (n, n) in place; it was computed with males at 0 and 2.

    x_i is the number of A1 on the X chromosomes of i (0 or 1 in males, 0 to 2 in females), e_i its
    mean (p or 2p), v_i its variance (p(1-p) or 2p(1-p)). The kernel is

    ``K_ij = s_i s_j (1/m) Σ (x_i - e_i)(x_j - e_j) / √(v_i v_j)``

    with s = 1 for females. For males s² depends on dosage compensation: 2 for "full" (an allele has
    twice the effect in males, because one X of a female is silenced), ½ for "none" (the same effect
    in both sexes), 1 for "equal" variance (Yang et al. 2011; GCTA ``--make-grm-xchr`` with
    ``--dc 1``, with ``--dc 0``, and without).
    """
    factor = np.where(male, np.sqrt(MALE_VARIANCE[how] / MALE_VARIANCE["full"]), 1.0)
    matrix *= factor
    matrix *= factor[:, None]


def check_compensation(how: str) -> None:
    """Raise `InputError` unless the option is full, none or equal."""
    if how not in get_args(DosageCompensation.__value__):
        raise InputError(
            f"dosage compensation {how!r}", "'full', 'none' or 'equal'", "choose one of these"
        )


def _read_sex(genotypes: Genotypes) -> NDArray[np.int8]:
    """Read sexes (n,) from the ``.fam`` or ``.psam``, 0 where unknown; it is already checked."""
    path = Path(genotypes.source.name)
    if path.suffix not in (".bed", ".pgen"):
        raise InputError(
            "genotypes without a .fam or .psam",
            "the sex of every individual, for the X chromosome",
            "pass sex=, 1 for males and 2 for females",
        )
    table = path.with_suffix(".fam" if path.suffix == ".bed" else ".psam")
    rows = [line.split() for line in read_lines(table) if not line.startswith("##")]
    at = 4
    if path.suffix == ".pgen" and rows[0][0].startswith("#"):
        at = rows[0].index("SEX") if "SEX" in rows[0] else len(rows[0])
        rows = rows[1:]
    words = [row[at].lower() if at < len(row) else "0" for row in rows]
    sexes = np.array([SEXES.get(word, 0) for word in words], dtype=np.int8)
    chosen = genotypes.source.individuals
    return sexes if chosen is None else sexes[chosen]
