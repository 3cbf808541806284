"""Partitioned heritability: any number of kernels fitted jointly.

    y = Xβ + Σ_k g_k + ε,   g_k ~ N(0, σ²_k K_k),   ε ~ N(0, σ²_e I)

One kernel for each chromosome, bin of allele frequency, bin of LD score or group of variants;
shared environments may be added. Each is scaled to average semivariance one (pedigrees and
environments are not). h² is the share of all genetic kernels together.

Priors: the share of the total variance explained by the kernels together is uniform between 0 and
1, however many they are, and so is its division among them (Dirichlet); the total standard
deviation τ is half-t with 3 degrees of freedom and scale 2.5 sd(y | X); each covariate's effect, in
sd(y | X) per sd of the covariate, is normal with mean 0 and sd 10.

Reference: Yang et al. (2011) Nat Genet 43:519; Speed et al. (2017) Nat Genet 49:986.
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
    *kernels: Relationship | Grouping,
    explained: str = "beta(1, 1)",
    parts: str = "dirichlet(1)",
    total_sd: str = "half_t(3, 2.5)",
    beta: str = "normal(0, 10)",
) -> pm.Model:
    """Build the model for one trait."""
    if not kernels:
        raise InputError("no kernel", "one or more", "--by chromosome, or --grm A,B,C")
    terms = [kernel_term(cohort, kernel) for kernel in kernels]
    names = [term.name for term in terms]
    with pm.Model(coords=cohort.coords(*names, "residual")) as model:
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
