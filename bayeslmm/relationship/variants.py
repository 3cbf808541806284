"""Variants in memory: the standardised dosages W of a model with random variant effects.

g = Ws,   s ~ N(0, σ²_s I_m),   so that   Var(g) = σ²_s WWᵀ
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.genotypes.array import array_variants
from bayeslmm.genotypes.codings import Precision, Scale, additive, encode, moments
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.individuals import match_individuals
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import sharing
from bayeslmm.relationship.cross_product import add_products
from bayeslmm.relationship.relationship import Relationship, mirror, name_some, row_blocks
from bayeslmm.system.memory import require_memory


@dataclass(frozen=True, slots=True, eq=False)
class Variants:
    """Standardised dosages of q individuals at m variants.

    Parameters
    ----------
    W
        (q, m) ``(x - mean) weight`` with the dosages x of A1; float64 or float32, finite. A missing
        dosage is 0, the mean.
    individuals
        (q,) MultiIndex with the levels FID and IID, each once.
    variants
        (m,) rows with CHROM, POS, ID, A1, A0; A1 is the counted allele. Default: IDs "v1", ...
    mean, weight
        (m,) mean dosage 2p, and the factor of ``x - 2p``; default 0 and 1.
    scale
        How W was standardised: "gcta", "sample", "centred"
        (`bayeslmm.relationship.genomic.grm`).
    factor
        c in ``K = WWᵀ/c``, the kernel of g with variance ``σ²_u = c σ²_s``. It is 1 until `on` sets
        it to the average semivariance of WWᵀ among the individuals analysed.

    Raises
    ------
    InputError
        If shapes do not fit, values are not finite, or individuals repeat.
    """

    W: NDArray[Any]
    individuals: pd.MultiIndex
    variants: pd.DataFrame = field(default_factory=pd.DataFrame)
    mean: Floats = field(default_factory=lambda: np.zeros(0))
    weight: Floats = field(default_factory=lambda: np.zeros(0))
    scale: Scale = "gcta"
    factor: float = 1.0

    def __post_init__(self) -> None:
        q, m = self.W.shape if self.W.ndim == 2 else (0, 0)
        if q != len(self.individuals) or m == 0 or self.W.dtype.kind != "f":
            raise InputError(
                f"W of shape {self.W.shape}, {self.W.dtype}, for {len(self.individuals)} people",
                "float64 or float32, one row per individual and one column per variant",
                "make it with standardise_variants(genotypes)",
            )
        if not all(np.isfinite(self.W[rows]).all() for rows in row_blocks(q)):
            raise InputError(
                "W has values that are not finite", "numbers", "use standardise_variants"
            )
        repeated = np.flatnonzero(self.individuals.duplicated())
        if repeated.size:
            who = name_some(self.individuals, repeated)
            raise InputError(f"repeated individuals: {who}", "each once", "remove them")
        table = array_variants(None if self.variants.empty else self.variants, m)
        for name, empty in (("mean", np.zeros(m)), ("weight", np.ones(m))):
            given = getattr(self, name)
            object.__setattr__(self, name, given if given.size else empty)
        if self.mean.shape != (m,) or self.weight.shape != (m,):
            raise InputError(
                f"{self.mean.size} means and {self.weight.size} weights",
                f"{m} each, one per column of W",
                "make them with standardise_variants(genotypes)",
            )
        object.__setattr__(self, "variants", table)

    def __repr__(self) -> str:
        return f"Variants(q={self.q}, m={self.m}, scale={self.scale!r}, factor={self.factor:.6g})"

    @property
    def q(self) -> int:
        """Number of individuals."""
        return int(self.W.shape[0])

    @property
    def m(self) -> int:
        """Number of variants."""
        return int(self.W.shape[1])

    def on(self, individuals: pd.MultiIndex) -> Variants:
        """Select the rows of individuals by ID, with the average semivariance of WWᵀ as factor.

        The dosages are not centred again, as in `Relationship.on`.

        Raises
        ------
        InputError
            If individuals are absent, or the variants do not vary among them.
        """
        W = self.W
        if not individuals.equals(self.individuals):
            match = match_individuals(individuals, self.individuals)
            rows = np.full(len(individuals), -1) if match.fids_differ else match.positions
            absent = np.flatnonzero(rows < 0)
            if absent.size:
                raise InputError(
                    f"{absent.size} of {len(individuals)} individuals have no genotypes: "
                    f"{name_some(individuals, absent)}",
                    "every individual to be analysed, by (FID, IID)",
                    "leave them out",
                )
            W = np.asfortranarray(self.W[rows])
        sums, squares = W.sum(axis=0, dtype=np.float64), 0.0
        for part in row_blocks(len(W)):
            squares += float(np.square(W[part], dtype=np.float64).sum())
        n = len(W)
        factor = (squares - float(sums @ sums) / n) / max(n - 1, 1)
        if not factor > 1e-10 * squares / n:
            raise InputError(
                f"the {self.m} variants do not tell the {n} individuals apart",
                "variants that vary among them",
                "use others",
            )
        return replace(self, W=W, individuals=individuals, factor=factor)

    def relationship(self, name: str = "additive") -> Relationship:
        """Compute the GRM of the same variants, ``WWᵀ/m``, unscaled."""
        require_memory(16 * self.q**2, f"the GRM of {self.q} individuals", "use fewer")
        K = self.cross_product() / self.m
        return Relationship(K, self.individuals, name, self.scale, n_variants=self.m)

    def cross_product(self) -> Floats:
        """Compute WWᵀ (q, q) in float64."""
        out = np.zeros((self.q, self.q))
        with sharing() as share:
            for part in row_blocks(self.m, 2048):
                add_products(out, self.W[:, part].astype(np.float64).T, share)
        mirror(out)
        return out


def standardise_variants(
    genotypes: Genotypes,
    scale: Scale = "gcta",
    *,
    dtype: Precision = np.float64,
    block: int = 1024,
) -> Variants:
    """Read all dosages and standardise them; variants that do not vary are left out.

    Parameters
    ----------
    genotypes
        q individuals, among which allele frequencies are computed. Turn an array into genotypes
        with `from_array`.
    scale
        "gcta", "sample" or "centred", see `bayeslmm.relationship.genomic.grm`.
    dtype
        Type of W: float64 (default), or float32 for half the memory.
    block
        Variants read at once.

    Raises
    ------
    InputError
        If memory is too small, or no variant varies.

    Examples
    --------
    >>> import bayeslmm as bl
    >>> genotypes = bl.from_array([[0, 1], [1, 1], [2, 1]])
    >>> bl.standardise_variants(genotypes, "sample").W.tolist()
    [[-1.0], [0.0], [1.0]]
    """
    n, m = genotypes.n, genotypes.m
    size = np.dtype(dtype).itemsize
    require_memory(
        2 * size * n * m,
        f"the dosages of {n} individuals at {m} variants",
        "use dtype=np.float32, fewer variants, or the model additive with their GRM",
    )
    Z = np.empty((m, n), dtype)
    means, weights, kept = np.empty(m), np.empty(m), np.zeros(m, dtype=bool)
    done = 0
    for where, dosages in genotypes.blocks(block):
        mean, about_mean, varies = moments(dosages)
        rows = np.flatnonzero(varies)
        coefficients = additive(mean[rows], about_mean[rows], n, scale)
        encode(Z[done : done + rows.size], dosages, rows, coefficients)
        means[done : done + rows.size] = mean[rows]
        weights[done : done + rows.size] = coefficients[:, 1]
        kept[where] = varies
        done += rows.size
    if done == 0:
        raise InputError(
            f"none of the {m} variants varies among the {n} individuals",
            "variants with both alleles",
            "check the selection of individuals",
        )
    table = genotypes.variants[kept].reset_index(drop=True)
    return Variants(Z[:done].T, genotypes.individuals, table, means[:done], weights[:done], scale)
