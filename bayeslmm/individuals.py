"""Individuals: a MultiIndex of FID and IID, their labels, and matching by identifier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError

NO_FAMILY = "0"  # FID that means none, as in plink2


class Repeated(NamedTuple):
    """A repeated identifier: position of the first occurrence, and of this one (0-based)."""

    first: int
    again: int


def individual_index(fids: Iterable[str], iids: Iterable[str]) -> pd.MultiIndex:
    """Build the index of individuals from family and individual identifiers.

    Examples
    --------
    >>> individual_index(["F1", "F1"], ["a", "b"]).tolist()
    [('F1', 'a'), ('F1', 'b')]
    """
    arrays = [
        pd.Index(ids if isinstance(ids, pd.Index) else list(ids), dtype="str")
        for ids in (fids, iids)
    ]
    return pd.MultiIndex.from_arrays(arrays, names=["FID", "IID"])


def as_individuals(index: pd.Index, what: str = "the table") -> pd.MultiIndex:
    """Check an index and return it as unique (FID, IID) strings.

    Parameters
    ----------
    index
        A MultiIndex of FID and IID, or a plain index of IIDs (the FID is then "0"). Whole numbers
        become text.
    what
        Name of the table in messages.

    Raises
    ------
    InputError
        If identifiers are empty, unprintable, neither text nor whole numbers, or repeated.
    """
    if isinstance(index, pd.MultiIndex):
        if index.nlevels != 2:
            raise InputError(
                f"{what} has an index of {index.nlevels} levels",
                "two levels, FID and IID (or one, IID)",
                'index it with set_index(["FID", "IID"])',
            )
        fids = _text(index.get_level_values(0), what)
        iids = _text(index.get_level_values(1), what)
    elif isinstance(index, pd.RangeIndex):
        raise InputError(
            f"{what} has no identifiers, only row numbers",
            "individuals named by FID and IID; nothing is matched by position",
            'index it with set_index(["FID", "IID"])',
        )
    else:
        iids = _text(index, what)
        fids = [NO_FAMILY] * len(iids)
    repeated = repeated_pairs(fids, iids)
    if repeated:
        shown = ", ".join(name_of(fids[r.again], iids[r.again]) for r in repeated[:5])
        raise InputError(
            f"{len(repeated)} repeated individuals in {what}: {shown}",
            "one row per individual",
            "remove or rename the repeated rows",
        )
    return individual_index(fids, iids)


def _text(values: pd.Index, what: str) -> list[str]:
    texts = [str(v) if isinstance(v, str | int | np.integer) else None for v in values]
    for value, text in zip(values, texts, strict=True):
        if text is None or not text or not text.isprintable():
            raise InputError(
                f"the identifier {value!r} in {what}",
                "printable text or a whole number, not empty",
                "correct it",
            )
    return [text for text in texts if text is not None]


def repeated_pairs(fids: Sequence[str], iids: Sequence[str]) -> list[Repeated]:
    """Return the repeated (FID, IID) pairs, in the order of their repetition."""
    seen: dict[tuple[str, str], int] = {}
    repeated = []
    for position, pair in enumerate(zip(fids, iids, strict=True)):
        first = seen.setdefault(pair, position)
        if first != position:
            repeated.append(Repeated(first, position))
    return repeated


def name_of(fid: str, iid: str) -> str:
    """Name an individual in messages and ledgers: ``FID IID``, or the IID if there is no FID."""
    return iid if fid == NO_FAMILY else f"{fid} {iid}"


def names_of(individuals: pd.MultiIndex) -> list[str]:
    """Name every individual by `name_of`."""
    return [name_of(fid, iid) for fid, iid in individuals]


def labels_of(individuals: pd.MultiIndex) -> list[str]:
    """Return one unique string per individual: the IID if IIDs are unique, else ``FID IID``.

    Examples
    --------
    >>> labels_of(individual_index(["F1", "F2"], ["a", "b"]))
    ['a', 'b']
    >>> labels_of(individual_index(["F1", "F2"], ["a", "a"]))
    ['F1 a', 'F2 a']
    """
    iids: list[str] = individuals.get_level_values(1).tolist()
    if len(set(iids)) == len(iids):
        return iids
    return [f"{fid} {iid}" for fid, iid in individuals]


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """Positions of wanted individuals among others.

    Parameters
    ----------
    positions
        (n,) position among the others, -1 where absent.
    by
        "FID and IID", or "IID" if only IIDs could be compared.
    fids_differ
        Whether IIDs were used although both sides have FIDs, because no pair agrees.
    ambiguous
        Whether IIDs were needed but not used, because they are not unique.
    """

    positions: NDArray[np.intp]
    by: Literal["FID and IID", "IID"]
    fids_differ: bool = False
    ambiguous: bool = False

    @property
    def found(self) -> NDArray[np.bool_]:
        """(n,) whether each wanted individual was found."""
        return self.positions >= 0


def match_individuals(wanted: pd.MultiIndex, among: pd.MultiIndex) -> Match:
    """Find individuals by identifier, never by position.

    Individuals are matched by (FID, IID). If one side has no FIDs (all "0"), or if no pair agrees,
    they are matched by IID alone, provided that IIDs are unique on both sides.

    Parameters
    ----------
    wanted, among
        Unique (FID, IID) pairs.
    """
    exact = among.get_indexer(wanted)
    has_families = [bool((side.get_level_values(0) != NO_FAMILY).any()) for side in (wanted, among)]
    if bool((exact >= 0).any()) and has_families[0] == has_families[1]:
        return Match(exact, "FID and IID" if has_families[0] else "IID")
    iids, others = wanted.get_level_values(1), among.get_level_values(1)
    if not (iids.is_unique and others.is_unique):
        return Match(exact, "FID and IID", ambiguous=True)
    return Match(others.get_indexer(iids), "IID", fids_differ=all(has_families))
