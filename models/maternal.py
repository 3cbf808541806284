"""Maternal genetic and environmental effects, with the direct-maternal covariance.

    y = Xβ + Z_a a + Z_m m + Z_m c + ε
    [a, m] ~ N(0, Σ ⊗ A),  Σ = [σ²_a σ_am; σ_am σ²_m],   c ~ N(0, σ²_c I),   ε ~ N(0, σ²_e I)

a is an individual's direct genetic effect on its own trait, m its maternal genetic effect, as a
dam, on the trait of its offspring, and c the maternal environment that a dam's offspring share.
Z_m assigns records to dams (column ``dam`` of the cohort). The variance of a record is
σ²_a + σ²_m + σ_am + σ²_c + σ²_e, because dam and offspring share half of their genes; these five
are the components. h² is the genetic share (σ²_a + σ²_m + σ_am) of this variance; ``h2_total`` is
Willham's total heritability, the share of σ²_a + 1.5 σ_am + 0.5 σ²_m, which selection can use.

Priors: the share of the variances explained by a, m and c together is uniform between 0 and 1, and
so is its division among them (Dirichlet); the correlation of direct and maternal effects is uniform
between -1 and 1; the total standard deviation (without the covariance) is half-t with 3 degrees of
freedom and scale 2.5 sd(y | X); each covariate's effect, in sd(y | X) per sd of the covariate, is
normal with mean 0 and sd 10.

Reference: Willham (1972) J Anim Sci 35:1288; Wilson et al. (2010) J Anim Ecol 79:13.
"""

import pymc as pm
import pytensor.tensor as pt

from bayeslmm.modelling import (
    Cohort,
    Relationship,
    component_variances,
    dam_term,
    dense_normal,
    fixed_effects,
    maternal_term,
)

PARTS = ("direct", "maternal", "maternal_environment", "residual")
COMPONENTS = ("direct", "maternal", "direct_maternal", "maternal_environment", "residual")

COLUMNS = ("dam",)


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
    terms = [maternal_term(cohort, additive), dam_term(cohort, "maternal_environment")]
    with pm.Model(coords={**cohort.coords(*COMPONENTS), "part": PARTS}) as model:
        effects = fixed_effects(cohort, beta)
        a, m, c, e = component_variances(
            cohort, (), explained=explained, parts=parts, total_sd=total_sd,
            name="part_variance", dims="part",
        )  # fmt: skip
        r = pm.Uniform("r_direct_maternal", -1.0, 1.0)
        am = r * pt.sqrt(a * m)
        variance = pm.Deterministic("variance", pt.stack([a, m, am, c, e]), dims="component")
        total = variance.sum()
        pm.Deterministic("h2", (a + m + am) / total)
        pm.Deterministic("h2_direct", a / total)
        pm.Deterministic("h2_total", (a + 1.5 * am + 0.5 * m) / total)
        dense_normal(
            "phenotype",
            effects,
            [pt.stack([pt.stack([a, am]), pt.stack([am, m])]), c],
            e,
            terms=terms,
            design=cohort.X,
            observed=cohort.y,
        )
    return model
