"""Find impossible pedigrees, and order individuals so that parents precede offspring."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import InputError

type Positions = NDArray[np.intp]

SEX_NAME = {1: "male", 2: "female"}


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect of a pedigree; `position` is an individual that shows it."""

    found: str
    expected: str
    fix: str
    position: int

    def error(self, path: str = "", line: int | None = None, hint: str = "") -> InputError:
        """Return the error; the hint is added to its fix."""
        fix = f"{self.fix}; {hint}" if hint else self.fix
        return InputError(self.found, self.expected, fix, path=path or None, line=line)


def first_defect(
    names: Sequence[str],
    sire: Positions,
    dam: Positions,
    sex: NDArray[np.int8],
    *,
    allow_selfing: bool = False,
) -> Defect | None:
    """Find a self-parent, an individual that is sire and dam, a wrong sex, or a loop.

    Parameters
    ----------
    names
        (q,) names for the messages.
    sire, dam
        (q,) positions, -1 where unknown.
    sex
        (q,) 1 male, 2 female, 0 unknown.
    allow_selfing
        Whether an individual may be sire and dam (plants, hermaphrodites); default False.

    Returns
    -------
    Defect or None
        The first defect, in this order of kinds and then by position.
    """
    for parent, what in ((sire, "sire"), (dam, "dam")):
        own = np.flatnonzero(parent == np.arange(len(names)))
        if own.size:
            return Defect(
                f"{names[own[0]]} is its own {what}",
                "a parent other than the individual itself",
                "correct the parent, or write NA where it is unknown",
                int(own[0]),
            )
    if not allow_selfing and (found := _both(names, sire, dam)) is not None:
        return found
    for parent, what, wrong in ((sire, "sire", 2), (dam, "dam", 1)):
        child = np.flatnonzero((parent >= 0) & (sex[parent] == wrong))
        if child.size:
            return Defect(
                f"{names[parent[child[0]]]}, the {what} of {names[child[0]]}, is "
                f"{SEX_NAME[wrong]} in the column of sexes",
                "male sires and female dams (1, M or male; 2, F or female)",
                "correct the sex or the parent",
                int(child[0]),
            )
    if (loop := find_loop(sire, dam)) is not None:
        shown = " <- ".join(names[i] for i in [*loop, loop[0]])
        return Defect(
            f"a loop of {len(loop)} individuals, each a child of the next: {shown}",
            "no individual among its own ancestors",
            "correct one of these parents",
            loop[0],
        )
    return None


def _both(names: Sequence[str], sire: Positions, dam: Positions) -> Defect | None:
    both = np.intersect1d(sire[sire >= 0], dam[dam >= 0])
    if not both.size:
        return None
    as_sire, as_dam = (int(np.flatnonzero(parent == both[0])[0]) for parent in (sire, dam))
    return Defect(
        f"{names[both[0]]} is the sire of {names[as_sire]} and the dam of {names[as_dam]}"
        + (f" ({both.size} individuals are both)" if both.size > 1 else ""),
        "an individual to be a sire or a dam, not both",
        "correct the parents; for plants and hermaphrodites allow selfing (allow_selfing=True)",
        max(as_sire, as_dam),
    )


def ancestral_order(sire: Positions, dam: Positions) -> Positions:
    """Order individuals so that parents come before their offspring (Kahn's algorithm).

    Returns
    -------
    order
        Positions, without individuals on a loop and their descendants.
    """
    q = sire.size
    offspring: list[list[int]] = [[] for _ in range(q)]
    waiting = ((sire >= 0).astype(int) + (dam >= 0)).tolist()
    for parent in (sire.tolist(), dam.tolist()):
        for child, position in enumerate(parent):
            if position >= 0:
                offspring[position].append(child)
    ready = deque(i for i in range(q) if waiting[i] == 0)
    order: list[int] = []
    while ready:
        placed = ready.popleft()
        order.append(placed)
        for child in offspring[placed]:
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    return np.array(order, dtype=np.intp)


def find_loop(sire: Positions, dam: Positions) -> list[int] | None:
    """Find a loop: individuals, each a child of the next and the last a child of the first."""
    free = np.zeros(sire.size, dtype=bool)
    free[ancestral_order(sire, dam)] = True
    if free.all():
        return None
    position = int(np.flatnonzero(~free)[0])
    seen: dict[int, int] = {}
    while position not in seen:  # an individual that is not free has a parent that is not free
        seen[position] = len(seen)
        parents = (int(sire[position]), int(dam[position]))
        position = next(p for p in parents if p >= 0 and not free[p])
    path = list(seen)[seen[position] :]
    first = path.index(min(path))
    return path[first:] + path[:first]
