"""Two or more traits with one kernel: genetic and residual correlations.

    y_t = X_t β_t + g_t + ε_t,   [g_1, g_2, …] ~ N(0, G ⊗ K),   [ε_1, ε_2, …] ~ N(0, R ⊗ I)

G and R are the genetic and the residual covariance matrices of the traits; r_g and r_e are their
correlations. Individuals may lack some of the traits. If none does, and every trait has the same
covariates, the likelihood is computed in the eigenbasis of K.

Priors: the heritability of each trait is uniform between 0 and 1; its total standard deviation is
half-t with 3 degrees of freedom and scale 2.5 sd(y | X); the correlation matrices are uniform (LKJ
with η = 1), so the correlation of two traits is uniform between -1 and 1; each covariate's
effect, in sd(y | X) per sd of the covariate, is normal with mean 0 and sd 10.

Reference: Henderson & Quaas (1976) J Anim Sci 43:1188; Lewandowski et al. (2009) J Multivar Anal
100:1989 (LKJ).
"""

import pymc as pm
import pytensor.tensor as pt

from bayeslmm.modelling import (
    Cohort,
    Relationship,
    complete_traits,
    correlation_matrix,
    decompose,
    dense_normal,
    fast_traits,
    fixed_effects,
    multi_trait_normal,
    residual_trait_term,
    trait_matrix,
    trait_shares,
    trait_term,
)

SEVERAL_TRAITS = True


def build(
    cohort: Cohort,
    additive: Relationship,
    *,
    h2: str = "beta(1, 1)",
    total_sd: str = "half_t(3, 2.5)",
    eta: str | float = 1.0,
    beta: str = "normal(0, 10)",
) -> pm.Model:
    """Build the model for several traits."""
    traits = cohort.trait_names
    parts = [f"{part}:{trait}" for part in ("additive", "residual") for trait in traits]
    coords = {**cohort.coords(*parts), "trait": traits, "other_trait": traits}
    with pm.Model(coords=coords) as model:
        effects = fixed_effects(cohort, beta)
        genetic_sd, residual_sd = trait_shares(cohort, h2, total_sd)
        G = correlation_matrix("r_g", len(traits), eta) * pt.outer(genetic_sd, genetic_sd)
        R = correlation_matrix("r_e", len(traits), eta) * pt.outer(residual_sd, residual_sd)
        pm.Deterministic("variance", pt.concatenate([pt.diag(G), pt.diag(R)]), dims="component")
        if complete_traits(cohort):
            kernel = additive.on(cohort.people)
            spectrum = decompose(kernel.matrix, trait_matrix(cohort)[1])
            multi_trait_normal(
                "phenotype", effects, G, R, spectrum=spectrum, observed=cohort.y, dims="individual"
            )
        else:
            terms = [trait_term(cohort, additive), residual_trait_term(cohort)]
            dense_normal(
                "phenotype", effects, [G, R], terms=terms, design=cohort.X, observed=cohort.y,
                fast=fast_traits(cohort, terms[0]),
            )  # fmt: skip
    return model
