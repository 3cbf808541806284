"""Posterior of the effects of all variants, from the posterior of a model with their GRM.

    s | y, β, σ² ~ N(σ²_s Wᵀx, σ²_s I - σ⁴_s WᵀV⁻¹W),   x = V⁻¹(y - Xβ),   σ²_s = σ²_u/c

Mean and variance over the posterior of β and σ² need only x (n,) and V⁻¹ (n, n), for any number of
variants. They are averaged over the draws of β and σ² without drawing s (Rao-Blackwell), which
lowers the Monte Carlo error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.effects import covariance_draws
from bayeslmm.inference.tree import Variables
from bayeslmm.likelihood.one_kernel_solve import (
    clear_null,
    kernel_times,
    mean_inverse,
    spectral_solve,
)
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread
from bayeslmm.posterior.prediction import posterior_variables
from bayeslmm.relationship.variants import Variants

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


@one_thread()
def estimate_variant_effects(
    model: pm.Model, tree: xr.DataTree, variants: Variants, cohort: Cohort
) -> pd.DataFrame:
    """Compute the posterior mean and sd of the effect of every variant.

    Parameters
    ----------
    model
        `snp_effects`, or `additive` with the GRM of the same variants; with the fitted phenotype.
    tree
        Result of `bayeslmm.fit` for this model.
    variants
        Standardised dosages W; rows are matched by ID.
    cohort
        The individuals analysed.

    Returns
    -------
    DataFrame
        One row per variant: ``CHROM POS ID A1 A0 frequency`` (of A1), ``mean sd`` of the effect of
        one unit of W (a standard deviation of the dosage), ``allele_mean allele_sd`` of the effect
        of one copy of A1, in units of y.

    Raises
    ------
    ModelError
        If the model has no spectrum.
    InputError
        If WWᵀ of the variants is not the kernel of the model.

    Examples
    --------
    >>> import numpy as np
    >>> import bayeslmm as bl
    >>> rng = np.random.default_rng(1)
    >>> genotypes = bl.from_array(rng.binomial(2, 0.4, size=(40, 100)))
    >>> variants = bl.standardise_variants(genotypes)
    >>> cohort = bl.cohort_from_arrays(rng.normal(size=40), individuals=genotypes.individuals)
    >>> model = bl.models.snp_effects(cohort, variants)
    >>> table = bl.estimate_variant_effects(model, bl.fit(model, draws=400), variants, cohort)
    >>> table.loc[:1, ["ID", "A1", "frequency"]]
       ID A1  frequency
    0  v1  1     0.3875
    1  v2  1     0.4750
    """
    marginal = marginal_of(model)
    spectrum = None if marginal is None else marginal.spectrum
    if spectrum is None:
        raise ModelError("no spectral_normal phenotype -> one kernel, one trait -> snp_effects")
    aligned = variants.on(cohort.individuals)
    check_kernel(spectrum, aligned)
    x, Q, mean_variance = _moments(model, posterior_variables(tree), spectrum, aligned.factor)
    mean, variance = np.empty(aligned.m), np.empty(aligned.m)
    size = max(1, int(2e8 / (8 * spectrum.n)))
    for start in range(0, aligned.m, size):
        part = slice(start, start + size)
        rotated = spectrum.basis.project(np.asarray(aligned.W[:, part], dtype=np.float64)).T
        clear_null(spectrum, rotated)
        mean[part] = rotated @ x
        variance[part] = mean_variance + np.einsum("ij,ij->i", rotated @ Q, rotated)
    sd = np.sqrt(np.maximum(variance, 0.0))
    table = aligned.variants[["CHROM", "POS", "ID", "A1", "A0"]].copy()
    return table.assign(
        frequency=aligned.mean / 2.0,
        mean=mean,
        sd=sd,
        allele_mean=mean * aligned.weight,
        allele_sd=sd * np.abs(aligned.weight),
    )


def check_kernel(spectrum: Spectrum, variants: Variants) -> None:
    """Raise `InputError` unless WWᵀ/c is the spectrum's kernel, tested with a random vector."""
    v = np.random.default_rng(1).standard_normal(spectrum.n)
    W = variants.W
    found = np.asarray(W @ (W.T @ v.astype(W.dtype)), dtype=np.float64) / variants.factor
    expected = kernel_times(spectrum, v)
    if np.linalg.norm(found - expected) > 2e-2 * np.linalg.norm(expected):
        raise InputError(
            "WWᵀ of these variants is not the kernel of the model",
            "the variants of the model, with the same scaling",
            "give those, or fit snp_effects with these",
        )


def _moments(
    model: pm.Model, variables: Variables, spectrum: Spectrum, factor: float
) -> tuple[Floats, Floats, float]:
    """Compute E[σ²_s x] (n,), Cov(σ²_s x) - E[σ⁴_s V⁻¹] (n, n), both rotated, and E[σ²_s]."""
    variance = covariance_draws(model, variables)[0]
    beta = np.asarray(variables["beta"][1]).reshape(len(variance), -1)
    rotated = spectrum.rotate(observed_phenotype(model))
    a, b = variance[:, :1], variance[:, 1:]
    count, n = len(variance), spectrum.p + spectrum.nodes
    scaled = np.empty((count, n))
    Q = np.zeros((n, n))
    block = max(1, min(250, int(2e7 / (n * spectrum.p))))
    for start in range(0, count, block):
        part = slice(start, start + block)
        r = np.tile(rotated, (len(a[part]), 1))
        r[:, : spectrum.p] -= beta[part] @ spectrum.triangle.T
        s2 = a[part] / factor
        scaled[part] = s2 * spectral_solve(spectrum, r, a[part], b[part])
        Q -= mean_inverse(spectrum, a[part], b[part], s2[:, 0] ** 2 / count)
    mean = scaled.mean(axis=0)
    scaled -= mean
    Q += scaled.T @ scaled / max(count - 1, 1)
    return mean, Q, float(a.mean() / factor)
