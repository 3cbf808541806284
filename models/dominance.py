"""Additive and dominance model.

    y = Xβ + a + d + ε,   a ~ N(0, σ²_a A),   d ~ N(0, σ²_d D),   ε ~ N(0, σ²_e I)

A is the GRM of the allele counts, D the GRM of the dominance deviations in the orthogonal coding:
at Hardy-Weinberg proportions a variant's dominance deviation is uncorrelated with its additive
effect. Both are scaled to average semivariance one. h² = (σ²_a + σ²_d)/τ² is broad-sense
heritability; the share of A alone is narrow-sense heritability.

Priors: the share of the total variance explained by A and D together is uniform between 0 and 1,
and so is its division between them (Dirichlet); the total standard deviation τ is half-t with 3
degrees of freedom and scale 2.5 sd(y | X); each covariate's effect, in sd(y | X) per sd of the
covariate, is normal with mean 0 and sd 10.

Reference: Vitezica, Varona & Legarra (2013) Genetics 195:1223; Zhu et al. (2015) AJHG 96:377.
"""

import pymc as pm

from bayeslmm.modelling import (
    Cohort,
    Relationship,
    component_variances,
    dense_normal,
    fixed_effects,
    kernel_term,
)


def build(
    cohort: Cohort,
    additive: Relationship,
    dominance: Relationship,
    *,
    explained: str = "beta(1, 1)",
    parts: str = "dirichlet(1)",
    total_sd: str = "half_t(3, 2.5)",
    beta: str = "normal(0, 10)",
) -> pm.Model:
    """Build the model for one trait."""
    terms = [kernel_term(cohort, additive, "additive"), kernel_term(cohort, dominance, "dominance")]
    with pm.Model(coords=cohort.coords("additive", "dominance", "residual")) as model:
        effects = fixed_effects(cohort, beta)
        variance = component_variances(
            cohort,
            genetic=("additive", "dominance"),
            explained=explained,
            parts=parts,
            total_sd=total_sd,
        )
        dense_normal(
            "phenotype",
            effects,
            [variance[0], variance[1]],
            variance[2],
            terms=terms,
            design=cohort.X,
            observed=cohort.y,
        )
    return model
