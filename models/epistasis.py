"""Additive, dominance and epistatic model: products of kernels.

    y = Xβ + a + d + aa + ad + ε
    a ~ N(0, σ²_a A),  d ~ N(0, σ²_d D),  aa ~ N(0, σ²_aa A∘A),  ad ~ N(0, σ²_ad A∘D)

The Hadamard product A∘A is, up to within-variant terms, the kernel of additive-by-additive
interactions of all pairs of variants; A∘D is the kernel of additive-by-dominance interactions. Each
is scaled to average semivariance one. h² is the share of all four together, broad-sense
heritability.

Priors: the share of the total variance explained by the kernels together is uniform between 0 and
1, and so is its division among them (Dirichlet); the total standard deviation τ is half-t with 3
degrees of freedom and scale 2.5 sd(y | X); each covariate's effect, in sd(y | X) per sd of the
covariate, is normal with mean 0 and sd 10.

Reference: Henderson (1985) J Anim Sci 60:111; Vitezica et al. (2017) Genetics 206:1297.
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

NAMES = ("additive", "dominance", "additive_additive", "additive_dominance")


def build(
    cohort: Cohort,
    additive: Relationship,
    dominance: Relationship,
    additive_additive: Relationship,
    additive_dominance: Relationship,
    *,
    explained: str = "beta(1, 1)",
    parts: str = "dirichlet(1)",
    total_sd: str = "half_t(3, 2.5)",
    beta: str = "normal(0, 10)",
) -> pm.Model:
    """Build the model for one trait."""
    kernels = (additive, dominance, additive_additive, additive_dominance)
    terms = [kernel_term(cohort, *pair) for pair in zip(kernels, NAMES, strict=True)]
    with pm.Model(coords=cohort.coords(*NAMES, "residual")) as model:
        effects = fixed_effects(cohort, beta)
        variance = component_variances(
            cohort, genetic=NAMES, explained=explained, parts=parts, total_sd=total_sd
        )
        dense_normal(
            "phenotype",
            effects,
            [variance[k] for k in range(len(terms))],
            variance[len(terms)],
            terms=terms,
            design=cohort.X,
            observed=cohort.y,
        )
    return model
