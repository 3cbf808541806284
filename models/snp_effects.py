"""Random effects of all variants: the additive model parameterised by variant effects.

    y = Xβ + Ws + ε,   s ~ N(0, σ²_s I_m),   ε ~ N(0, σ²_e I)
    so that  g = Ws ~ N(0, σ²_u K),   K = WWᵀ/c,   σ²_u = c σ²_s

W (n, m) holds the standardised dosages. The m effects are independent with the same variance
(ridge regression, SNP-BLUP). c is the average semivariance of WWᵀ among the analysed individuals.
So K is their GRM, and h² = σ²_u/(σ²_u + σ²_e) has the same posterior as in the model `additive`.
`bayeslmm.estimate_variant_effects` returns the effects s. With fewer variants than individuals the
spectrum comes from the singular values of W.

Priors: h² is uniform between 0 and 1; the total standard deviation τ is half-t with 3 degrees of
freedom and scale 2.5 sd(y | X); each covariate's effect, in sd(y | X) per sd of the covariate, is
normal with mean 0 and sd 10.

Reference: Meuwissen, Hayes & Goddard (2001) Genetics 157:1819; Habier, Fernando & Dekkers (2007)
Genetics 177:2389 (the two forms are one model).
"""

import pymc as pm

from bayeslmm.modelling import (
    Cohort,
    Variants,
    fixed_effects,
    spectral_normal,
    variance_shares,
    variant_spectrum,
)


def build(
    cohort: Cohort,
    variants: Variants,
    *,
    h2: str = "beta(1, 1)",
    total_sd: str = "half_t(3, 2.5)",
    beta: str = "normal(0, 10)",
) -> pm.Model:
    """Build the model for one trait."""
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        effects = fixed_effects(cohort, beta)
        variance = variance_shares(cohort, h2, total_sd)
        pm.Deterministic("sigma2_snp", variance[0] / variants.on(cohort.individuals).factor)
        spectral_normal(
            "phenotype",
            effects,
            variance,
            spectrum=variant_spectrum(cohort, variants),
            observed=cohort.y,
            dims="individual",
        )
    return model
