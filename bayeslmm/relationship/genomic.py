"""Genomic relationship matrices, one or several, in one pass over the genotypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayeslmm.errors import InputError
from bayeslmm.genotypes.codings import CODINGS, Coding, Precision, Scale, coefficients, moments
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import sharing
from bayeslmm.relationship.cross_product import ROWS, CrossProduct, Share, centre
from bayeslmm.relationship.genomic_parts import Part, check_memory, plan_parts
from bayeslmm.relationship.relationship import FEW, Relationship, row_blocks
from bayeslmm.relationship.variant_sets import VariantSets
from bayeslmm.relationship.x_chromosome import (
    DosageCompensation,
    MaleCalls,
    check_compensation,
    compensate,
    males,
    on_x,
    x_mean,
)

type Progress = Callable[[int, int], object]

SMALL = 2000  # largest number of individuals with everything in float64
GATHERED = 4  # blocks of variants that a kernel gathers before it multiplies them


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """Settings that all kernels of a pass share."""

    genotypes: Genotypes
    scale: Scale
    dosage_compensation: DosageCompensation
    dtype: Precision
    block: int
    on_x: NDArray[np.bool_]  # (m,) variants that are coded as X
    males: MaleCalls | None = field(default=None)


def grm(
    genotypes: Genotypes,
    *,
    scale: Scale = "gcta",
    block: int = 1024,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Relationship:
    """Compute the genomic relationship matrix (GRM); the genotypes are read once, in blocks.

    ``G = (1/m) Σ_k z_k z_kᵀ`` over the variants k. z_k are the dosages of variant k, missing
    ones at the mean, centred at the sample mean 2p, and divided by

    - "gcta": ``√(2p(1-p))`` with the sample allele frequency p (Yang et al. 2011, GCTA;
      ``plink2 --make-rel meanimpute``, which also counts variants that do not vary);
    - "sample": the standard deviation (ddof 1) of the n dosages, missing ones at the mean (R's
      ``scale``; GEMMA ``-gk 2`` has ddof 0). The mean diagonal is then ``(n-1)/n`` for any allele
      frequencies;
    - "centred": nothing (GEMMA ``-gk 1``; VanRaden's method 1 up to a factor).

    They differ in the weights of rare and common variants. A common factor does not matter, because
    `Relationship.on` removes it. For dominance, partitions and the X chromosome see
    `compute_grms`.

    Parameters
    ----------
    genotypes
        n individuals, m variants, after quality control. Variants that do not vary among the
        individuals (or are missing in all) have no scale; under every `scale` they add nothing and
        are not counted in m.
    scale
        "gcta" (default), "sample" or "centred".
    block
        Variants read at once; default 1024. Memory grows with it; the result changes by rounding
        only.
    threads
        Threads that share the work; default: as many as BLAS may use. The result is the same to
        the last bit.
    progress
        Called as ``progress(done, m)`` after every block.

    Returns
    -------
    Relationship
        Unscaled (factor 1.0). `Relationship.on` scales it on the individuals analysed.

    Raises
    ------
    InputError
        If there are fewer than two individuals, no variant varies, or memory is too small.

    Notes
    -----
    Up to 2000 individuals everything is in float64. Beyond, blocks are standardised in float64,
    multiplied in float32 and summed in float64. Compared with float64 throughout, entries differ by
    about 1e-6 of the mean diagonal, more where rare variants weigh more. The largest differences
    measured are 1.2e-7 for 4000 × 40000, 1.1e-6 for 1940 mice × 12226, and 2.8e-6 for 1992 of the
    latter variants, some of them very rare; they depend a little on the processor's BLAS. Rows sum
    to zero to double precision in any case, because the result is centred
    again. Peak memory is 8 n² bytes plus blocks, for any number of variants.
    """
    found = compute_grms(genotypes, scale=scale, block=block, threads=threads, progress=progress)
    return found["additive"]


def compute_grms(
    genotypes: Genotypes,
    kinds: Sequence[Coding] = ("additive",),
    sets: VariantSets | None = None,
    *,
    scale: Scale = "gcta",
    sex: ArrayLike | None = None,
    dosage_compensation: DosageCompensation = "full",
    chr_set: int = 22,
    block: int = 1024,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Relationship]:
    """Compute a kernel for each coding and set of variants; genotypes are read once.

    ``K = (1/m) Σ_k z_k z_kᵀ`` over the m variants of the kernel that vary. Missing genotypes
    are zero in z_k, which is

    - "additive": ``(x - 2p) / c``, c by `scale`, see `grm`;
    - "dominance": ``((0, 2p, 4p-2) - 2p²) / 2p(1-p)`` for 0, 1, 2 copies of A1, see
      `bayeslmm.genotypes.codings.dominance`; orthogonal to additive in Hardy-Weinberg proportions;
    - "x": the X chromosome, ``(x - 2p) / √(2p(1-p))`` in females, and in males by
      `dosage_compensation`, see `bayeslmm.relationship.x_chromosome.compensate`. The other kernels
      then leave out the variants on X.

    p is the frequency of A1 among the individuals of `genotypes`.

    Parameters
    ----------
    genotypes
        n individuals, m variants, after quality control.
    kinds
        Codings, each once. Default: additive.
    sets
        Sets of the variants of `genotypes`. Default: one set of all. They divide the additive and
        the dominance kernels, but not "x".
    scale
        Scale of the additive coding; default "gcta". The other codings have one scale.
    sex
        (n,) 1 male, 2 female, for "x". Default: from the ``.fam`` or ``.psam``.
    dosage_compensation
        Variance of a male's X-linked value relative to a female's: "full" (default) 2, "none" ½,
        "equal" 1.
    chr_set
        Number of autosome pairs of the species; X may be called by the next number. Default: 22.
    block
        Variants read at once; default 1024. A kernel multiplies four times as many at once.
    threads
        Threads that share the work; default: as many as BLAS may use. The result is the same to
        the last bit.
    progress
        Called as ``progress(done, m)`` after every block.

    Returns
    -------
    dict
        Relationships by name, unscaled (factor 1.0): "additive", "dominance", "x"; with sets
        "chr1" or, unless additive is the only coding, "additive:chr1", "dominance:chr1", ...
        The estimator is `scale`, "dominance", or "x-" and the dosage compensation.

    Raises
    ------
    InputError
        If an option is wrong, there are fewer than two individuals, the sets are of other variants,
        fewer than two variants of a set vary (the message names it), no variant varies or lies on
        X, sexes are unknown, more than 1 % of males' calls on X are heterozygous, or memory is too
        small.

    Notes
    -----
    Peak memory: 8 n² bytes per kernel, blocks, and 4 × block × n numbers for each kernel that is
    begun and not complete. It is checked first.

    Rows of the additive kernels sum to zero to double precision, because they are centred again.
    The other kernels are left as published; they are centred only in Hardy-Weinberg proportions.
    This changes neither a model with an intercept nor the average semivariance
    (`Relationship.on`). `grm` states the precision.
    """
    _check_options(genotypes, kinds, sets, scale, block, threads)
    check_compensation(dosage_compensation)
    x = on_x(genotypes.variants["CHROM"], chr_set) & ("x" in kinds)
    parts = plan_parts(genotypes, kinds, sets, x)
    needed = np.logical_or.reduce([part.members for part in parts])
    if not needed.all():
        genotypes, x = genotypes.select(variants=needed), x[needed]
        for part in parts:
            part.members = part.members[needed]
    settings = Settings(
        genotypes,
        scale,
        dosage_compensation,
        np.float64 if genotypes.n <= SMALL else np.float32,
        block,
        x,
        MaleCalls(males(genotypes, sex)) if "x" in kinds else None,
    )
    check_memory(parts, genotypes.n, GATHERED * block, settings.dtype)
    with sharing(threads) as share:
        return _one_pass(parts, settings, share, progress)


def _one_pass(
    parts: list[Part], settings: Settings, share: Share, progress: Progress | None
) -> dict[str, Relationship]:
    """Read every block once; begin a kernel at its first variant, finish it after its last."""
    genotypes = settings.genotypes
    found: dict[str, Relationship] = {}
    spans = [part.span for part in parts]
    dtype = np.int8 if genotypes.source.hard_calls else settings.dtype
    for where, dosages in genotypes.blocks(settings.block, dtype):
        x = settings.on_x[where]
        if settings.males is not None and x.any():
            dosages[x] = settings.males.clean(dosages[x])
        mean, about_mean, varies = _moments(dosages, share)
        if settings.males is not None and x.any():
            mean[x] = x_mean(dosages[x], settings.males.male)
        codings = _coefficients(mean, about_mean, varies, parts, settings)
        for part, (first, end) in zip(parts, spans, strict=True):
            if first >= where.stop or end <= where.start:
                continue
            if part.sums is None:
                part.sums = _sums(part, settings, share)
            rows = np.flatnonzero(part.members[where] & varies)
            part.sums.add(dosages, rows, codings[part.coding][rows])
            if end <= where.stop:
                found[part.name] = _finished(part, settings)
        if progress is not None:
            progress(where.stop, genotypes.m)
    return {part.name: found[part.name] for part in parts}


def _moments(dosages: NDArray[Any], share: Share) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return what `moments` does; threads share the variants."""
    found = share(lambda part: moments(dosages[part]), row_blocks(len(dosages), ROWS))
    mean, about_mean, varies = (np.concatenate(one) for one in zip(*found, strict=True))
    return mean, about_mean, varies


def _coefficients(
    mean: Floats,
    about_mean: Floats,
    varies: NDArray[np.bool_],
    parts: list[Part],
    settings: Settings,
) -> dict[Coding, Floats]:
    """Return the coefficients of each coding (b, 3), zero where a variant does not vary."""
    found: dict[Coding, Floats] = {}
    n, p2, squares = settings.genotypes.n, mean[varies], about_mean[varies]
    for coding in dict.fromkeys(part.coding for part in parts):
        found[coding] = np.zeros((mean.size, 3))
        found[coding][varies] = coefficients(coding, p2, squares, n, settings.scale)
    return found


def _finished(part: Part, settings: Settings) -> Relationship:
    """Make the relationship of a complete part."""
    assert part.sums is not None
    n, count = settings.genotypes.n, part.sums.count
    if count < (2 if part.set_name else 1):
        members = int(part.members.sum())
        if part.set_name:
            raise InputError(
                f"{count} of the {members} variants of the set {part.set_name!r} vary among the "
                f"{n} individuals",
                "two or more in each set",
                "join the set with another one, or leave its variants out",
            )
        raise InputError(
            f"none of the {members} variants varies among the {n} individuals",
            "at least one variant with both alleles",
            "check the quality control options and which individuals are kept",
        )
    root = part.sums.root() if _few(part, n) else None
    matrix, part.sums = part.sums.mean(), None
    estimator: str = settings.scale if part.coding == "additive" else part.coding
    if part.coding == "additive":
        centre(matrix)
        root = None if root is None else root - root.mean(axis=0)
    elif part.coding == "x" and settings.males is not None:
        settings.males.report(settings.genotypes.source.name)
        compensate(matrix, settings.males.male, settings.dosage_compensation)
        estimator = f"x-{settings.dosage_compensation}"
    return Relationship(
        matrix,
        settings.genotypes.individuals,
        name=part.name,
        estimator=estimator,
        n_variants=count,
        root=root,
    )


def _few(part: Part, n: int) -> bool:
    """Whether the kernel has so few variants that models are faster with its root."""
    return part.coding == "additive" and int(part.members.sum()) < FEW * n


def _sums(part: Part, settings: Settings, share: Share) -> CrossProduct:
    """An empty sum; of few variants it keeps all rows, in float64."""
    n, width = settings.genotypes.n, GATHERED * settings.block
    if _few(part, n):
        return CrossProduct(n, np.float64, int(part.members.sum()) + 1, share)
    return CrossProduct(n, settings.dtype, width, share)


def _check_options(
    genotypes: Genotypes,
    kinds: Sequence[str],
    sets: VariantSets | None,
    scale: str,
    block: int,
    threads: int | None,
) -> None:
    known = CODINGS
    if not kinds or len({*kinds}) < len(kinds) or isinstance(kinds, str) or {*kinds} - {*known}:
        raise InputError(f"kinds {kinds!r}", f"some of {', '.join(known)}, each once", "correct it")
    if scale not in get_args(Scale.__value__):
        raise InputError(f"scale {scale!r}", "'gcta', 'sample' or 'centred'", "choose one of these")
    for name, value in (("block", block), ("threads", threads)):
        if value is not None and value < 1:
            raise InputError(f"{name} {value}", "1 or more", f"choose a larger {name}")
    n, m = genotypes.n, genotypes.m
    if n < 2:
        raise InputError(f"{n} individual", "two or more", "a relationship needs two individuals")
    if sets is not None and sets.codes.shape != (m,):
        raise InputError(
            f"sets of {sets.codes.size} variants for genotypes with {m}",
            "sets made from the same genotypes",
            "make them after quality control",
        )
