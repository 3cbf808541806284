"""Kernels of one pass over the genotypes, by coding and set of variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.genotypes.codings import Coding, Precision
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.relationship.cross_product import CrossProduct
from bayeslmm.relationship.variant_sets import VariantSets
from bayeslmm.system.memory import require_memory


@dataclass(slots=True)
class Part:
    """One kernel while it is computed.

    Parameters
    ----------
    name
        Name of the kernel.
    coding
        Coding of its variants.
    members
        (m,) which variants belong to it.
    set_name
        Name of its set of variants, or "".
    sums
        Sum so far; None before the first and after the last variant.
    """

    name: str
    coding: Coding
    members: NDArray[np.bool_]
    set_name: str = ""
    sums: CrossProduct | None = None

    @property
    def span(self) -> tuple[int, int]:
        """Position of its first variant, and the position after its last."""
        return int(self.members.argmax()), self.members.size - int(self.members[::-1].argmax())


def kernel_names(
    kinds: Sequence[Coding], sets: VariantSets | None
) -> list[tuple[str, Coding, int]]:
    """Return name, coding and set number (-1 for all variants) of each kernel, in order."""
    bare = {*kinds} - {"x"} == {"additive"}
    found: list[tuple[str, Coding, int]] = []
    for kind in kinds:
        if kind == "x" or sets is None:
            found.append((kind, kind, -1))
            continue
        for code, name in enumerate(sets.names):
            found.append((name if bare else f"{kind}:{name}", kind, code))
    names = [name for name, _, _ in found]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"two kernels named {repeated[0]!r}", "different names", "rename the set of variants"
        )
    return found


def plan_parts(
    genotypes: Genotypes, kinds: Sequence[Coding], sets: VariantSets | None, x: NDArray[np.bool_]
) -> list[Part]:
    """Plan the requested kernels; raise `InputError` if one has no variant."""
    parts = []
    for name, coding, code in kernel_names(kinds, sets):
        if sets is None or code < 0:
            parts.append(Part(name, coding, x if coding == "x" else ~x))
        else:
            members = (sets.codes == code) & ~x
            parts.append(Part(name, coding, members, sets.names[code]))
    for part in parts:
        if not part.members.any():
            raise InputError(
                f"no variant for the kernel {part.name!r} among {genotypes.m}",
                "variants on X (named X, chrX or the number after the autosomes)"
                if part.coding == "x"
                else "variants that are not on X",
                "include them (--all-chromosomes, --chr-set), or leave this kernel out",
                path=genotypes.source.name,
            )
    return parts


def check_memory(parts: list[Part], n: int, block: int, dtype: Precision) -> None:
    """Raise `InputError` unless 8 n² bytes per kernel and the gathered rows fit into memory."""
    size = np.dtype(dtype).itemsize
    spans = [part.span for part in parts]
    together = max(sum(a < end + block and b > start for a, b in spans) for start, end in spans)
    what = "the GRM" if len(parts) == 1 else f"{len(parts)} kernels"
    require_memory(
        len(parts) * 8 * n * n + (together * size + 8) * n * block,
        f"{what} of {n} individuals",
        "use fewer individuals (--keep) or sets, or a machine with more memory",
    )
