"""Genomic relationship matrices, one or several, in one pass over the genotypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayeslmm.errors import InputError
from bayeslmm.genotypes.codings import Precision, Scale, additive, dominance, moments
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import sharing
from bayeslmm.relationship.cross_product import CrossProduct, Share, centre
from bayeslmm.relationship.genomic_parts import Coding, Part, check_memory, plan_parts
from bayeslmm.relationship.relationship import Relationship
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

SMALL = 2000  # up to so many individuals all is done in float64
GATHERED = 2  # blocks of variants that a kernel gathers before they are multiplied


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """What is the same for all kernels of a pass."""

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
    """Genomic relationship matrix of genotypes, read once, block by block.

    ``G = (1/m) Σ_k z_k z_kᵀ`` over the variants k, where z_k are the dosages of variant k with
    missing ones at the mean, centred at the sample mean 2p, and divided by

    - "gcta": ``√(2p(1-p))`` with the sample allele frequency p (Yang et al. 2011, GCTA;
      ``plink2 --make-rel meanimpute``, which also counts variants that do not vary);
    - "sample": the standard deviation (ddof 1) of the n dosages, missing ones at the mean (R's
      ``scale``; GEMMA ``-gk 2`` has ddof 0): then the mean diagonal is ``(n-1)/n`` whatever the
      allele frequencies;
    - "centred": nothing (GEMMA ``-gk 1``; VanRaden's method 1 up to a factor).

    The scale factor between them is no matter after `Relationship.on`; the weights of rare and
    common variants are. Dominance, partitions and the X chromosome:
    `bayeslmm.relationship.genomic.compute_grms`.

    Parameters
    ----------
    genotypes
        n individuals, m variants; quality control is behind us. Variants that do not vary among
        the individuals (or are missing in all) have no scale: under every `scale` they add
        nothing and are not counted in m.
    scale
        See above; default "gcta".
    block
        Variants read at once; memory grows with it, the result only changes by rounding.
    threads
        Threads that share the work; default: as many as BLAS may use. The result is the same to
        the last bit.
    progress
        Called as ``progress(done, m)`` after every block.

    Returns
    -------
    Relationship
        Not scaled yet (factor 1.0): `Relationship.on` scales it on the individuals analysed.

    Raises
    ------
    InputError
        Fewer than two individuals, no variant that varies, too little memory.

    Notes
    -----
    Up to 2000 individuals everything is in float64. Beyond, blocks are standardised in float64,
    multiplied in float32 and their sums added up in float64: entries differ from those
    of float64 throughout by less than 1e-6 of the mean diagonal (measured at most: 1.5e-7 for
    4000 × 40000, 5e-7 for 1940 mice × 12226; 1.1e-6 for 1992 variants of them, very rare ones
    among them). Rows sum to zero to double precision either way, because the result is centred
    once more. At its peak it takes 8 n² bytes plus blocks; how many variants there are does not
    matter.
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
    """Kernels of genotypes, one for each coding and set of variants; each block is read once.

    ``K = (1/m) Σ_k z_k z_kᵀ`` over the m variants of the kernel that vary, missing genotypes at
    zero, with z_k

    - "additive": ``(x - 2p) / c``, c by `scale`, see `bayeslmm.relationship.genomic.grm`;
    - "dominance": ``((0, 2p, 4p-2) - 2p²) / 2p(1-p)`` for 0, 1, 2 copies of A1, see
      `bayeslmm.genotypes.codings.dominance`; orthogonal to additive in Hardy-Weinberg proportions;
    - "x": the X chromosome, ``(x - 2p) / √(2p(1-p))`` in females, and in males by
      `dosage_compensation`, see `bayeslmm.relationship.x_chromosome.compensate`. It takes the
      variants on X for itself: the other kernels have none of them then.

    p is the frequency of A1 among the individuals of `genotypes`.

    Parameters
    ----------
    genotypes
        n individuals, m variants; quality control is behind us.
    kinds
        Codings, each once; default additive.
    sets
        Which variant belongs to which kernel, of the variants of `genotypes`; default: all in
        one. They divide the additive and the dominance kernels, not "x".
    scale
        Of the additive coding; default "gcta". The others have one scale.
    sex
        (n,) 1 male, 2 female, for "x"; default: as in the ``.fam`` or ``.psam``.
    dosage_compensation
        For "x": the variance of a male's X-linked value is twice that of a female ("full",
        default), half of it ("none"), or the same ("equal").
    chr_set
        Pairs of autosomes of the species: X may be called by the next number; default 22.
    block
        Variants read at once; of a kernel twice as many are multiplied at once. Default 1024.
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
        Wrong options, fewer than two individuals, sets of other variants, a set with fewer than
        two variants that vary (it is named), nothing that varies, no variant on X, unknown
        sexes, more than 1 % heterozygous calls of males on X, too little memory.

    Notes
    -----
    Memory at the peak: 8 n² bytes a kernel, blocks, and 2 × block × n rows for each kernel that has
    begun and is not complete. It is checked first.

    Rows of the additive kernels sum to zero to double precision: they are centred once more. The
    others are left as published; they are centred only in Hardy-Weinberg proportions. An
    intercept in the model and the average semivariance (`Relationship.on`) do not care.
    Precision is that of `bayeslmm.relationship.genomic.grm`.
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
    """Read every block once; a kernel is begun at its first variant and ended after its last."""
    genotypes, n = settings.genotypes, settings.genotypes.n
    found: dict[str, Relationship] = {}
    spans = [part.span for part in parts]
    dtype = np.int8 if genotypes.source.hard_calls else settings.dtype
    for where, dosages in genotypes.blocks(settings.block, dtype):
        x = settings.on_x[where]
        if settings.males is not None and x.any():
            dosages[x] = settings.males.clean(dosages[x])
        mean, about_mean, varies = moments(dosages)
        if settings.males is not None and x.any():
            mean[x] = x_mean(dosages[x], settings.males.male)
        coefficients = _coefficients(mean, about_mean, varies, parts, settings)
        for part, (first, end) in zip(parts, spans, strict=True):
            if first >= where.stop or end <= where.start:
                continue
            if part.sums is None:
                part.sums = CrossProduct(n, settings.dtype, GATHERED * settings.block, share)
            rows = np.flatnonzero(part.members[where] & varies)
            part.sums.add(dosages, rows, coefficients[part.coding][rows])
            if end <= where.stop:
                found[part.name] = _finished(part, settings)
        if progress is not None:
            progress(where.stop, genotypes.m)
    return {part.name: found[part.name] for part in parts}


def _coefficients(
    mean: Floats,
    about_mean: Floats,
    varies: NDArray[np.bool_],
    parts: list[Part],
    settings: Settings,
) -> dict[Coding, Floats]:
    """(b, 3) of each coding; zero where a variant does not vary."""
    found: dict[Coding, Floats] = {}
    n, p2, squares = settings.genotypes.n, mean[varies], about_mean[varies]
    for coding in dict.fromkeys(part.coding for part in parts):
        found[coding] = np.zeros((mean.size, 3))
        if coding == "dominance":
            found[coding][varies] = dominance(p2)
        else:
            scale = "gcta" if coding == "x" else settings.scale
            found[coding][varies] = additive(p2, squares, n, scale)
    return found


def _finished(part: Part, settings: Settings) -> Relationship:
    """The relationship of a part that is complete."""
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
    matrix, part.sums = part.sums.mean(), None
    estimator: str = settings.scale if part.coding == "additive" else part.coding
    if part.coding == "additive":
        centre(matrix)
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
    )


def _check_options(
    genotypes: Genotypes,
    kinds: Sequence[str],
    sets: VariantSets | None,
    scale: str,
    block: int,
    threads: int | None,
) -> None:
    known = get_args(Coding.__value__)
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
