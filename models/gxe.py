"""Genotype by environment: a reaction norm for every individual, residuals by group.

    y = Xβ + u₀ + u₁ x + ε,   [u₀, u₁] ~ N(0, Σ ⊗ K),   ε_i ~ N(0, σ²_e[group of i])

x is the environment of a record (column ``environment`` of the cohort), standardised to mean 0 and
variance 1. So σ²₀ is the genetic variance in the mean environment, σ²₁ the average variance of the
genotype-by-environment interaction, and τ² = σ²₀ + σ²₁ + σ²_e the average total variance; h² is the
share of σ²₀ and σ²₁. x itself belongs among the covariates. If the cohort has a column ``group``,
every group has its own residual variance; σ²_e is their mean over the records.

Priors: the share of the total variance explained by intercepts and slopes together is uniform
between 0 and 1, and so is its division between them (Dirichlet); their correlation is uniform
between -1 and 1; the total standard deviation τ is half-t with 3 degrees of freedom and scale 2.5
sd(y | X); the groups' shares of the residual sum of squares are Dirichlet, with parameters that add
up to twice the number of groups, in proportion to the groups' records; each covariate's effect, in
sd(y | X) per sd of the covariate, is normal with mean 0 and sd 10.

Reference: Jarquín et al. (2014) Theor Appl Genet 127:595; Ni et al. (2019) Nat Commun 10:2239.
"""

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayeslmm.modelling import (
    Cohort,
    Relationship,
    component_variances,
    dense_normal,
    fixed_effects,
    reaction_norm_term,
    residual_by_group,
)

COLUMNS = ("environment",)
OPTIONAL_COLUMNS = ("group",)


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
    term = reaction_norm_term(cohort, additive)
    with pm.Model(coords=cohort.coords("intercept", "slope", "residual")) as model:
        effects = fixed_effects(cohort, beta)
        variance = component_variances(
            cohort,
            genetic=("intercept", "slope"),
            explained=explained,
            parts=parts,
            total_sd=total_sd,
        )
        r = pm.Uniform("r_intercept_slope", -1.0, 1.0)
        covariance = r * pt.sqrt(variance[0] * variance[1])
        sigma = pt.stack([pt.stack([variance[0], covariance]), pt.stack([covariance, variance[1]])])
        residual, classes = residual_by_group(cohort, variance[2])
        dense_normal(
            "phenotype",
            effects,
            [sigma],
            residual,
            terms=[term],
            classes=np.asarray(classes),
            design=cohort.X,
            observed=cohort.y,
        )
    return model
