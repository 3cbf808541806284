"""Additive model with shared (common) environments.

    y = Xβ + g + Σ_k c_k + ε,   g ~ N(0, σ²_u K),   c_k ~ N(0, σ²_k C_k),   ε ~ N(0, σ²_e I)

C_k is one for two individuals of the same group (household, nest, mother, year of birth) and zero
otherwise, so that σ²_k is the variance between groups. The kernel K is scaled to average
semivariance one (a pedigree's is not). h² is the share of K alone.

Priors: the share of the total variance explained by g and the groups together is uniform between 0
and 1, and so is its division among them (Dirichlet); the total standard deviation τ is half-t with
3 degrees of freedom and scale 2.5 sd(y | X); each covariate's effect, in sd(y | X) per sd of the
covariate, is normal with mean 0 and sd 10.

Reference: Falconer & Mackay (1996), chapter 9; Xia et al. (2016) PLoS Genet 12:e1005804.
"""

import pymc as pm

from bayeslmm.modelling import (
    Cohort,
    Grouping,
    InputError,
    Relationship,
    component_variances,
    dense_normal,
    fixed_effects,
    kernel_term,
)


def build(
    cohort: Cohort,
    additive: Relationship,
    *groups: Relationship | Grouping,
    explained: str = "beta(1, 1)",
    parts: str = "dirichlet(1)",
    total_sd: str = "half_t(3, 2.5)",
    beta: str = "normal(0, 10)",
) -> pm.Model:
    """Build the model for one trait."""
    if not groups:
        raise InputError("no shared environment", "one group or more", "--group-column COLUMN")
    terms = [kernel_term(cohort, additive, "additive")]
    terms += [kernel_term(cohort, group) for group in groups]
    with pm.Model(coords=cohort.coords(*(term.name for term in terms), "residual")) as model:
        effects = fixed_effects(cohort, beta)
        variance = component_variances(
            cohort,
            genetic=[term.name for term in terms if term.genetic],
            explained=explained,
            parts=parts,
            total_sd=total_sd,
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
