"""Additive polygenic model with the genetic values as parameters.

    y = Xβ + g + ε,   g = σ_u L z,   z ~ N(0, I),   ε ~ N(0, σ²_e I),   L Lᵀ = K

The same model as `additive`, written with the latent g of every individual: L is a pivoted
Cholesky factor of the GRM, which also works when the GRM is singular (a centred GRM always is).
Use it to read, to extend to other likelihoods, and as a check; `additive` draws from the same
posterior hundreds of times faster.

Priors: h² is uniform between 0 and 1; the total standard deviation is half-t with 3 degrees of
freedom and scale 2.5 sd(y | X); each covariate's effect, in sd(y | X) per sd of the covariate, is
normal with mean 0 and sd 10.

Reference: Papaspiliopoulos, Roberts & Sköld (2007) Stat Sci 22:59 (non-centred parameters).
"""

import pymc as pm
import pytensor.tensor as pt

from bayeslmm.modelling import (
    Cohort,
    Relationship,
    fixed_effects,
    kernel_cholesky,
    polygenic,
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
    factor = kernel_cholesky(additive.on(cohort.people).matrix)[cohort.levels]
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        design = pm.Data("design", cohort.X, dims=("individual", "covariate"))
        y = pm.Data("phenotype_observed", cohort.y, dims="individual")
        effects = fixed_effects(cohort, beta)
        variance = variance_shares(cohort, h2, total_sd)
        g = polygenic("g", variance[0], factor, dims="individual")
        pm.Normal(
            "phenotype",
            mu=design @ effects + g,
            sigma=pt.sqrt(variance[1]),
            observed=y,
            dims="individual",
        )
    return model
