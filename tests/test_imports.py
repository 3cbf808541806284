"""Imports go one way, and the parts that only read tables and genotypes start fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "bayeslmm"

# A module may import what stands before it, at any place of its text (also inside functions and
# under TYPE_CHECKING). A new module gets its place here. `engines`, `report` and `cli` are
# packages of their own: inside them files may import each other.
ORDER = [
    *("errors", "h2_estimate", "monotone_cubic", "profile_likelihood", "relative_pairs"),
    *(
        "share_priors",
        "own_prior",
        "pareto",
        "caution",
        "memory",
        "threads",
        "versions",
        "atomic",
        "files",
    ),
    *("reference_freq", "reference_match", "frequency_check", "external", "hdf5"),
    *("checkpoint", "ledger", "lapack", "eigen", "terminal", "individuals", "table_text", "trait"),
    *("formula", "tables", "design_matrix", "alignment", "cohort_checks", "cohort_type"),
    *("cohort", "records", "trait_stack", "plink_tables", "plink_readers", "plink"),
    *("plink_write", "array_source", "genotypes", "hwe", "qc", "relationship"),
    *("pair_check", "confounding", "grm_matrix", "grm_gcta", "grm_files", "codings"),
    *("cross_product", "x_chromosome", "ld_scores", "variant_groups", "variant_sets"),
    *("kernel_parts", "grms", "grm", "loco", "pedigree_checks", "pedigree_table"),
    *("pedigree_links", "pedigree", "pedigree_matrix", "kernels", "kernel_checks"),
    *("relatedness", "simulate_genotypes", "simulate", "likelihood", "integrated_effects"),
    *("spectrum", "variants", "spectral_solve", "spectrum_svd", "covariance", "everybody", "dense"),
    *("canonical", "identified", "incomplete", "multitrait", "multitrait_reml", "priors"),
    *("shares", "components", "distributions", "posterior", "multitrait_posterior"),
    *("multitrait_distribution", "dense_distribution", "residual_contrasts"),
    *("record_check", "family_check", "models", "boundary", "could_say", "reml"),
    *("haseman_elston", "trait_estimates", "coverage", "quantities", "diagnostics"),
    *("fitted", "external_scale", "relative_checks", "engines", "leave_one_out"),
    *("calibration", "comparison", "running", "prediction", "predictive", "blup"),
    *("variant_effects", "summary", "trait_agreement", "disagreement", "agreement_table"),
    *("alternatives", "sensitivity", "report", "outputs", "__init__", "cli", "__main__"),
]


def module_of(path: Path) -> str:
    """The name in ORDER that a file of the package belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Modules of bayeslmm that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "bayeslmm":
            names = [f"bayeslmm.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        for name in names:
            parts = name.split(".")
            if parts[0] == "bayeslmm":
                known = len(parts) > 1 and parts[1] in ORDER
                found.add(parts[1] if known else "__init__")
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    module = module_of(path)
    if module.startswith("_models"):
        return
    assert module in ORDER, f"give {module} its place in ORDER"
    later = ORDER[ORDER.index(module) + 1 :]
    assert not imported(path) & set(later), f"{module} imports what stands after it"


def test_the_order_names_only_modules_that_exist() -> None:
    assert set(ORDER) == {module_of(path) for path in FILES} - {"_models"}


def test_an_import_against_the_order_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "def f():\n    from bayeslmm import cli, fit\n    import bayeslmm.engines.nuts\n"
    )
    assert imported(file) == {"cli", "__init__", "engines"}


@pytest.mark.parametrize("modules", ["bayeslmm", "bayeslmm.genotypes, bayeslmm.tables"])
def test_reading_data_imports_no_heavy_package(modules: str) -> None:
    heavy = "{'pymc', 'pytensor', 'arviz', 'matplotlib', 'numba'}"
    modules += ", bayeslmm.cohort, bayeslmm.qc" * ("," in modules)
    code = f"import sys, {modules}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
