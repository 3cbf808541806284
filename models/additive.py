"""Additive polygenic model, genetic values integrated out.

    y = Xβ + g + ε,   g ~ N(0, σ²_u K),   ε ~ N(0, σ²_e I)
    so that  y | β, h², τ ~ N(Xβ, τ² [h² K + (1 - h²) I])

K is the GRM scaled to average semivariance one, so h² = σ²_u/(σ²_u + σ²_e) is the share of the
variance among the analysed individuals that is additive genetic.

Priors: h² is uniform between 0 and 1; the total standard deviation τ is half-t with 3 degrees of
freedom and scale 2.5 sd(y | X); each covariate's effect, in sd(y | X) per sd of the covariate, is
normal with mean 0 and sd 10.

Reference: Yang et al. (2010) Nat Genet 42:565; Henderson (1984) for the animal model.
"""

import pymc as pm

from bayeslmm.modelling import (
    Cohort,
    Relationship,
    fixed_effects,
    spectral_normal,
    spectrum,
    variance_shares,
)


def build(
    cohort: Cohort,
    additive: Relationship,
    *,
    h2: str = "beta(1, 1)",
    total_sd: str = "half_t(3, 2.5)",
    beta: str = "normal(0, 10)",
) -> pm.Model:
    """Build the model for one trait."""
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        effects = fixed_effects(cohort, beta)
        variance = variance_shares(cohort, h2, total_sd)
        spectral_normal(
            "phenotype",
            effects,
            variance,
            spectrum=spectrum(cohort, additive),
            observed=cohort.y,
            dims="individual",
        )
    return model
