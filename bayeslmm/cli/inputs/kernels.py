"""Kernels by their names in the model file, from any source."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bayeslmm.errors import InputError

type Kernels = dict[str, Any]  # by the name in the model file

PRODUCTS = {
    "additive_additive": ("additive", "additive"),
    "additive_dominance": ("additive", "dominance"),
    "dominance_dominance": ("dominance", "dominance"),
}


def products(found: Kernels, names: Sequence[str]) -> Kernels:
    """Compute the Hadamard products among `names` from the kernels found."""
    from bayeslmm.relationship.derived import hadamard

    out: Kernels = {}
    for name in names:
        if name in PRODUCTS and all(part in found for part in PRODUCTS[name]):
            a, b = PRODUCTS[name]
            out[name] = hadamard(found[a], found[b], name=name)
    return out


def check_known(found: Kernels, names: Sequence[str], source: str) -> None:
    """Raise `InputError` for a kernel of the model that cannot be made."""
    if missing := [name for name in names if name not in found]:
        raise InputError(
            f"the model asks for the matrix '{missing[0]}', which {source} does not give",
            "additive, dominance, additive_additive, additive_dominance, dominance_dominance",
            f"give it: --grm {missing[0]}=FILE",
        )


def scaled(kernel: Any, args: Namespace) -> Any:
    """Set the scale of a kernel by --kernel-scale; return variants unchanged."""
    from bayeslmm.relationship.relationship import Relationship

    if not isinstance(kernel, Relationship) or args.kernel_scale in (None, kernel.kernel_scale):
        return kernel
    return replace(kernel, kernel_scale=args.kernel_scale)
