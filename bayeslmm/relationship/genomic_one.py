"""Genomic relationship matrix (GRM) from a stream of genotype blocks."""

from __future__ import annotations

from bayeslmm.genotypes.codings import Scale, standardise
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.relationship.cross_product import centre
from bayeslmm.relationship.genomic import Progress, compute_grms
from bayeslmm.relationship.relationship import Relationship

__all__ = ["Progress", "Scale", "centre", "grm", "standardise"]


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
