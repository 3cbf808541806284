"""Everything that a model file needs: ``from bayeslmm.modelling import ...``.

The data of a model (`Cohort`, `Relationship`, `Variants`, `Grouping`), priors in the units people
think in, terms of random effects, and the densities with the random effects integrated out. The
gallery in ``models/`` imports nothing else of bayeslmm.
"""

from __future__ import annotations

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import complete_traits, trait_matrix
from bayeslmm.distributions.dense_normal import dense_normal
from bayeslmm.distributions.multi_trait_normal import multi_trait_normal
from bayeslmm.distributions.polygenic import polygenic
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.errors import InputError
from bayeslmm.likelihood.decompose import decompose, spectrum, variant_spectrum
from bayeslmm.likelihood.incomplete import fast_traits
from bayeslmm.likelihood.pivoted import kernel_cholesky
from bayeslmm.likelihood.terms import (
    Grouping,
    Term,
    codes_of,
    dam_term,
    individual_term,
    kernel_term,
    maternal_term,
    reaction_norm_term,
    residual_trait_term,
    simple_term,
    trait_term,
)
from bayeslmm.priors.fixed_effects import fixed_effects
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.units import phenotype_unit
from bayeslmm.priors.variances import (
    component_variances,
    correlation_matrix,
    residual_by_group,
    trait_shares,
    variance_shares,
)
from bayeslmm.relationship.derived import (
    environment_interaction,
    group_kernel,
    hadamard,
    within_environments,
)
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

__all__ = [
    "Cohort",
    "Grouping",
    "InputError",
    "Prior",
    "Relationship",
    "Term",
    "Variants",
    "codes_of",
    "complete_traits",
    "component_variances",
    "correlation_matrix",
    "dam_term",
    "decompose",
    "dense_normal",
    "environment_interaction",
    "fast_traits",
    "fixed_effects",
    "group_kernel",
    "hadamard",
    "individual_term",
    "kernel_cholesky",
    "kernel_term",
    "maternal_term",
    "multi_trait_normal",
    "phenotype_unit",
    "polygenic",
    "reaction_norm_term",
    "residual_by_group",
    "residual_trait_term",
    "simple_term",
    "spectral_normal",
    "spectrum",
    "trait_matrix",
    "trait_shares",
    "trait_term",
    "variance_shares",
    "variant_spectrum",
    "within_environments",
]
