"""Bayesian linear mixed models for statistical genetics.

Files → genotypes → GRM → cohort → PyMC model → posterior → heritability and report::

    import bayeslmm as bl

    genotypes = bl.quality_control(bl.read_genotypes("data"))
    grm = bl.compute_grm(genotypes)
    cohort = bl.build_cohort(bl.read_phenotypes("data.pheno"), "y", individuals=grm.individuals)
    tree = bl.fit(bl.models.additive(cohort, grm))
    bl.heritability(tree)

Importing the package imports nothing heavy: every name is loaded when it is first used. A function
that does something is a verb (`read_grm`, `fit`, `predict_phenotype`); one that only gives a result
has the field's name of it (`heritability`, `loo`, `hadamard`). None has the name of a package,
which importing the package would put in its place. Model files import from `bayeslmm.modelling`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayeslmm import models
    from bayeslmm.calibration.sbc import calibrate
    from bayeslmm.checks.agreement import agreement
    from bayeslmm.checks.sensitivity import prior_sensitivity
    from bayeslmm.cohort.arrays import cohort_from_arrays
    from bayeslmm.cohort.build import cohort as build_cohort
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.cohort.records import read_records, record_cohorts
    from bayeslmm.cohort.traits import stack_traits
    from bayeslmm.comparison.evidence import estimate_evidence
    from bayeslmm.comparison.loo.conditional import predict_left_out
    from bayeslmm.comparison.loo.elpd import kfold, loo
    from bayeslmm.comparison.loo.grouping import group_labels
    from bayeslmm.comparison.table import compare
    from bayeslmm.comparison.table import null_model as build_null_model
    from bayeslmm.comparison.zero_tests import weigh_zeros
    from bayeslmm.errors import BayesLMMWarning, InputError, ModelError
    from bayeslmm.genotypes.genotypes import Genotypes, from_array, read_genotypes
    from bayeslmm.genotypes.plink_tables import read_fam_phenotypes
    from bayeslmm.genotypes.qc import quality_control
    from bayeslmm.genotypes.qc import variant_counts as count_variants
    from bayeslmm.inference.diagnostics import diagnose
    from bayeslmm.inference.engine import Replicate
    from bayeslmm.inference.fit import fit
    from bayeslmm.inference.traits import fit_traits
    from bayeslmm.likelihood.decompose import spectrum as compute_spectrum
    from bayeslmm.posterior.blup import compute_blup
    from bayeslmm.posterior.prediction import prediction_table
    from bayeslmm.posterior.prediction_records import predict_phenotype
    from bayeslmm.posterior.summary import heritability
    from bayeslmm.posterior.variant_effects import estimate_variant_effects
    from bayeslmm.relationship.derived import hadamard
    from bayeslmm.relationship.files import read_grm, write_grm
    from bayeslmm.relationship.genomic import compute_grms
    from bayeslmm.relationship.genomic import grm as compute_grm
    from bayeslmm.relationship.pedigree.matrix import additive_relationship, invert_relationship
    from bayeslmm.relationship.pedigree.pedigree import read_pedigree
    from bayeslmm.relationship.relationship import Relationship
    from bayeslmm.relationship.variant_sets import choose_sets
    from bayeslmm.relationship.variants import standardise_variants
    from bayeslmm.report import report as write_report
    from bayeslmm.simulation.cohort import simulate as simulate_cohort
    from bayeslmm.simulation.cohort import write_simulation
    from bayeslmm.study.coverage import estimate_coverage
    from bayeslmm.study.power import expected_power
    from bayeslmm.tables.phenotypes import read_covariates, read_phenotypes

    __version__: str

__all__ = [
    "BayesLMMWarning",
    "Cohort",
    "Genotypes",
    "InputError",
    "ModelError",
    "Relationship",
    "Replicate",
    "__version__",
    "additive_relationship",
    "agreement",
    "build_cohort",
    "build_null_model",
    "calibrate",
    "choose_sets",
    "cohort_from_arrays",
    "compare",
    "compute_blup",
    "compute_grm",
    "compute_grms",
    "compute_spectrum",
    "count_variants",
    "diagnose",
    "estimate_coverage",
    "estimate_evidence",
    "estimate_variant_effects",
    "expected_power",
    "fit",
    "fit_traits",
    "from_array",
    "group_labels",
    "hadamard",
    "heritability",
    "invert_relationship",
    "kfold",
    "loo",
    "models",
    "predict_left_out",
    "predict_phenotype",
    "prediction_table",
    "prior_sensitivity",
    "quality_control",
    "read_covariates",
    "read_fam_phenotypes",
    "read_genotypes",
    "read_grm",
    "read_pedigree",
    "read_phenotypes",
    "read_records",
    "record_cohorts",
    "simulate_cohort",
    "stack_traits",
    "standardise_variants",
    "weigh_zeros",
    "write_grm",
    "write_report",
    "write_simulation",
]

_HOME = {  # public name -> module:name
    "BayesLMMWarning": "errors:BayesLMMWarning",
    "Cohort": "cohort.cohort:Cohort",
    "Genotypes": "genotypes.genotypes:Genotypes",
    "InputError": "errors:InputError",
    "ModelError": "errors:ModelError",
    "Relationship": "relationship.relationship:Relationship",
    "Replicate": "inference.engine:Replicate",
    "additive_relationship": "relationship.pedigree.matrix:additive_relationship",
    "agreement": "checks.agreement:agreement",
    "build_cohort": "cohort.build:cohort",
    "build_null_model": "comparison.table:null_model",
    "calibrate": "calibration.sbc:calibrate",
    "choose_sets": "relationship.variant_sets:choose_sets",
    "cohort_from_arrays": "cohort.arrays:cohort_from_arrays",
    "compare": "comparison.table:compare",
    "compute_blup": "posterior.blup:compute_blup",
    "compute_grm": "relationship.genomic:grm",
    "compute_grms": "relationship.genomic:compute_grms",
    "compute_spectrum": "likelihood.decompose:spectrum",
    "count_variants": "genotypes.qc:variant_counts",
    "diagnose": "inference.diagnostics:diagnose",
    "estimate_coverage": "study.coverage:estimate_coverage",
    "estimate_evidence": "comparison.evidence:estimate_evidence",
    "estimate_variant_effects": "posterior.variant_effects:estimate_variant_effects",
    "expected_power": "study.power:expected_power",
    "fit": "inference.fit:fit",
    "fit_traits": "inference.traits:fit_traits",
    "from_array": "genotypes.genotypes:from_array",
    "group_labels": "comparison.loo.grouping:group_labels",
    "hadamard": "relationship.derived:hadamard",
    "heritability": "posterior.summary:heritability",
    "invert_relationship": "relationship.pedigree.matrix:invert_relationship",
    "kfold": "comparison.loo.elpd:kfold",
    "loo": "comparison.loo.elpd:loo",
    "predict_left_out": "comparison.loo.conditional:predict_left_out",
    "predict_phenotype": "posterior.prediction_records:predict_phenotype",
    "prediction_table": "posterior.prediction:prediction_table",
    "prior_sensitivity": "checks.sensitivity:prior_sensitivity",
    "quality_control": "genotypes.qc:quality_control",
    "read_covariates": "tables.phenotypes:read_covariates",
    "read_fam_phenotypes": "genotypes.plink_tables:read_fam_phenotypes",
    "read_genotypes": "genotypes.genotypes:read_genotypes",
    "read_grm": "relationship.files:read_grm",
    "read_pedigree": "relationship.pedigree.pedigree:read_pedigree",
    "read_phenotypes": "tables.phenotypes:read_phenotypes",
    "read_records": "cohort.records:read_records",
    "record_cohorts": "cohort.records:record_cohorts",
    "simulate_cohort": "simulation.cohort:simulate",
    "stack_traits": "cohort.traits:stack_traits",
    "standardise_variants": "relationship.variants:standardise_variants",
    "weigh_zeros": "comparison.zero_tests:weigh_zeros",
    "write_grm": "relationship.files:write_grm",
    "write_report": "report:report",
    "write_simulation": "simulation.cohort:write_simulation",
}


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        value = import_module("importlib.metadata").version("bayeslmm")
    elif name == "models":
        return import_module("bayeslmm.models")
    elif name in _HOME:
        module, attribute = _HOME[name].split(":")
        value = getattr(import_module(f"bayeslmm.{module}"), attribute)
    else:
        raise AttributeError(f"module 'bayeslmm' has no attribute {name!r}; it has {__all__}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
