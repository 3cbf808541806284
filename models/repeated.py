"""Repeated records: additive genetic effects and permanent environments.

    y = Xβ + Zu + Zc + ε,   u ~ N(0, σ²_u G),   c ~ N(0, σ²_c I_q),   ε ~ N(0, σ²_e I_n)

n records of q individuals, any number of each: Z (n, q) assigns records to individuals. c is the
permanent environment: an individual's records share it, its relatives' records do not. G is scaled
to average semivariance one among the individuals (a pedigree is not). h² is the share of u; the
shares of u and c together are the repeatability.

Priors: the share of the total variance explained by u and c together is uniform between 0 and 1,
and so is its division between them (Dirichlet); the total standard deviation τ is half-t with 3
degrees of freedom and scale 2.5 sd(y | X); each covariate's effect, in sd(y | X) per sd of the
covariate, is normal with mean 0 and sd 10.

Reference: Henderson (1984), chapter 8; Wilson et al. (2010) J Anim Ecol 79:13.
"""

import pymc as pm

from bayeslmm.modelling import (
    Cohort,
    InputError,
    Relationship,
    component_variances,
    dense_normal,
    fixed_effects,
    individual_term,
    kernel_term,
)


def build(
    cohort: Cohort,
    additive: Relationship,
    *,
    explained: str = "beta(1, 1)",
    parts: str = "dirichlet(1)",
    total_sd: str = "half_t(3, 2.5)",
    beta: str = "normal(0, 10)",
) -> pm.Model:
    """Build the model for one trait."""
    if len(cohort.people) == cohort.n:
        raise InputError(
            "one record of every individual",
            "several records of some: with one each the permanent environment is the residual",
            "name the column of the individuals (--id-column), or use the model additive",
        )
    terms = [kernel_term(cohort, additive, "additive"), individual_term(cohort, "permanent")]
    with pm.Model(coords=cohort.coords("additive", "permanent", "residual")) as model:
        effects = fixed_effects(cohort, beta)
        variance = component_variances(
            cohort, genetic=("additive",), explained=explained, parts=parts, total_sd=total_sd
        )
        pm.Deterministic("repeatability", (variance[0] + variance[1]) / variance.sum())
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
