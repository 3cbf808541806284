"""Bayesian linear mixed models for statistical genetics.

Files → genotypes → GRM → cohort → PyMC model → posterior → heritability and report::

    import bayeslmm as bl

    genotypes = bl.quality_control(bl.read_genotypes("data"))
    grm = bl.compute_grm(genotypes)
    cohort = bl.build_cohort(bl.read_phenotypes("data.pheno"), "y", individuals=grm.individuals)
    tree = bl.fit(bl.models.additive(cohort, grm))
    bl.heritability(tree)

Importing the package imports nothing heavy: every name is loaded when it is first used. Functions
are verbs, so that none has the name of a submodule (``bayeslmm.grm`` is always the module).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayeslmm import models
    from bayeslmm.agreement_table import agreement
    from bayeslmm.calibration.sbc import calibrate
    from bayeslmm.cohort import Cohort, cohort_from_arrays
    from bayeslmm.cohort import cohort as build_cohort
    from bayeslmm.comparison.table import compare
    from bayeslmm.coverage.power import expected_power
    from bayeslmm.coverage.study import estimate_coverage
    from bayeslmm.diagnostics import diagnose
    from bayeslmm.engines.fit import fit
    from bayeslmm.engines.traits import fit_traits
    from bayeslmm.errors import BayesLMMWarning, InputError, ModelError
    from bayeslmm.genotypes import Genotypes, from_array, read_genotypes
    from bayeslmm.grm import grm as compute_grm
    from bayeslmm.grm_files import read_grm, write_grm
    from bayeslmm.grms import compute_grms
    from bayeslmm.kernels import hadamard
    from bayeslmm.leave_one_out.elpd import kfold, loo
    from bayeslmm.leave_one_out.grouping import group_labels
    from bayeslmm.pedigree import read_pedigree
    from bayeslmm.pedigree_matrix import additive_relationship
    from bayeslmm.prediction import prediction_table
    from bayeslmm.qc import quality_control
    from bayeslmm.records import read_records, record_cohorts
    from bayeslmm.relationship import Relationship
    from bayeslmm.report import report as write_report
    from bayeslmm.sensitivity import prior_sensitivity
    from bayeslmm.simulate import simulate as simulate_cohort
    from bayeslmm.spectrum import spectrum as compute_spectrum
    from bayeslmm.summary import heritability
    from bayeslmm.tables import read_covariates, read_phenotypes
    from bayeslmm.trait_stack import stack_traits

    __version__: str

__all__ = [
    "BayesLMMWarning",
    "Cohort",
    "Genotypes",
    "InputError",
    "ModelError",
    "Relationship",
    "__version__",
    "additive_relationship",
    "agreement",
    "build_cohort",
    "calibrate",
    "cohort_from_arrays",
    "compare",
    "compute_grm",
    "compute_grms",
    "compute_spectrum",
    "diagnose",
    "estimate_coverage",
    "expected_power",
    "fit",
    "fit_traits",
    "from_array",
    "group_labels",
    "hadamard",
    "heritability",
    "kfold",
    "loo",
    "models",
    "prediction_table",
    "prior_sensitivity",
    "quality_control",
    "read_covariates",
    "read_genotypes",
    "read_grm",
    "read_pedigree",
    "read_phenotypes",
    "read_records",
    "record_cohorts",
    "simulate_cohort",
    "stack_traits",
    "write_grm",
    "write_report",
]

_HOME = {  # public name -> module:name
    "BayesLMMWarning": "errors:BayesLMMWarning",
    "Cohort": "cohort:Cohort",
    "Genotypes": "genotypes:Genotypes",
    "InputError": "errors:InputError",
    "ModelError": "errors:ModelError",
    "Relationship": "relationship:Relationship",
    "additive_relationship": "pedigree_matrix:additive_relationship",
    "agreement": "agreement_table:agreement",
    "build_cohort": "cohort:cohort",
    "calibrate": "calibration.sbc:calibrate",
    "cohort_from_arrays": "cohort:cohort_from_arrays",
    "compare": "comparison.table:compare",
    "compute_grm": "grm:grm",
    "compute_grms": "grms:compute_grms",
    "compute_spectrum": "spectrum:spectrum",
    "diagnose": "diagnostics:diagnose",
    "estimate_coverage": "coverage.study:estimate_coverage",
    "expected_power": "coverage.power:expected_power",
    "fit": "engines.fit:fit",
    "fit_traits": "engines.traits:fit_traits",
    "from_array": "genotypes:from_array",
    "group_labels": "leave_one_out.grouping:group_labels",
    "hadamard": "kernels:hadamard",
    "heritability": "summary:heritability",
    "kfold": "leave_one_out.elpd:kfold",
    "loo": "leave_one_out.elpd:loo",
    "prediction_table": "prediction:prediction_table",
    "prior_sensitivity": "sensitivity:prior_sensitivity",
    "quality_control": "qc:quality_control",
    "read_covariates": "tables:read_covariates",
    "read_genotypes": "genotypes:read_genotypes",
    "read_grm": "grm_files:read_grm",
    "read_pedigree": "pedigree:read_pedigree",
    "read_phenotypes": "tables:read_phenotypes",
    "read_records": "records:read_records",
    "record_cohorts": "records:record_cohorts",
    "simulate_cohort": "simulate:simulate",
    "stack_traits": "trait_stack:stack_traits",
    "write_grm": "grm_files:write_grm",
    "write_report": "report:report",
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
