"""The kernels that a model needs, computed from the genotypes in one pass."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bayeslmm.cli.inputs.kernels import PRODUCTS, Kernels, check_known, products, scaled

if TYPE_CHECKING:
    import pandas as pd

    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.genotypes.genotypes import Genotypes


def genotype_kernels(
    genotypes: Genotypes,
    args: Namespace,
    terminal: Terminal,
    names: Sequence[str],
    more: bool,
    individuals: pd.MultiIndex,
) -> Kernels:
    """Compute kernels by name; with `more` also one for each part of --by (default: chromosome).

    Raises
    ------
    InputError
        For a kernel that genotypes do not give.
    """
    from bayeslmm.genotypes.codings import CODINGS

    out: Kernels = {}
    if "variants" in names:
        from bayeslmm.relationship.variants import standardise_variants

        with terminal.step(f"standardised genotypes of {genotypes.n} individuals"):
            out["variants"] = standardise_variants(genotypes, scale=args.scale)
    parts = [part for name in names for part in PRODUCTS.get(name, (name,))]
    kinds = [kind for kind in CODINGS if kind in parts and kind != "x"]
    if kinds:
        out |= _computed(genotypes, args, terminal, kinds, None)
    out |= products(out, names)
    if more and (args.by is not None or not names):
        out |= _parts(genotypes, args, terminal)
    check_known(out, names, "the genotypes")
    chosen = {name: out[name] for name in out if name in names or name not in (*kinds,)}
    return {name: scaled(kernel, args) for name, kernel in chosen.items()}


def _computed(
    genotypes: Genotypes, args: Namespace, terminal: Terminal, kinds: Sequence[Any], sets: Any
) -> Kernels:
    from bayeslmm.relationship.genomic import compute_grms

    number = len(kinds) * (1 if sets is None else len(sets.names))
    what = "GRM" if number == 1 else f"{number} GRMs"
    task = f"{what} of {genotypes.n} individuals and {genotypes.m} variants"
    with terminal.step(task) as progress:
        return dict(
            compute_grms(
                genotypes, kinds, sets, scale=args.scale, threads=args.threads, progress=progress
            )
        )


def _parts(genotypes: Genotypes, args: Namespace, terminal: Terminal) -> Kernels:
    from bayeslmm.relationship.variant_sets import choose_sets

    by = args.by or "chromosome"
    with terminal.step(f"variants by {by}"):
        sets = choose_sets(genotypes, by)
    for note in getattr(sets, "notes", ()):
        terminal.say(f"  {note}")
    return _computed(genotypes, args, terminal, ["additive"], sets)
