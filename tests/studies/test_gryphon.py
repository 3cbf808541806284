"""Gryphon birth weight (Wilson et al. 2010): a pedigree matrix, against the published REML."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bayeslmm import models
from bayeslmm.cohort.build import cohort
from bayeslmm.distributions.phenotype import observed_phenotype, require_marginal
from bayeslmm.estimates.boundary import restricted_lrt
from bayeslmm.individuals import individual_index
from bayeslmm.inference.exact import exact
from bayeslmm.inference.fit import fit
from bayeslmm.relationship.pedigree.matrix import additive_relationship
from bayeslmm.relationship.pedigree.pedigree import Pedigree, read_pedigree
from bayeslmm.relationship.relationship import KernelScale, Relationship, average_semivariance


@cache
def gryphon(folder: Path, kernel_scale: KernelScale) -> tuple[pd.DataFrame, Relationship]:
    pedigree = read_pedigree(folder / "pedigree.tsv", "rows")
    records = pd.read_csv(folder / "phenotypes.tsv", sep="\t", dtype={"ANIMAL": str, "SEX": str})
    records = records.dropna(subset=["BWT"])
    records.index = individual_index(["0"] * len(records), records["ANIMAL"])
    return records, replace(additive_relationship(pedigree), kernel_scale=kernel_scale)


def build(folder: Path, covariates: list[str], scale: KernelScale, **priors: str) -> Any:
    records, relationship = gryphon(folder / "gryphon", scale)
    kept = relationship.on(records.index)  # only recorded animals; the ancestors are in A
    table = records[["SEX"]] if covariates else None
    one = cohort(
        records[["BWT"]],
        "BWT",
        individuals=kept.individuals,
        covariates=table,
        covariate_names=covariates or None,
        categorical=covariates,
    )
    assert one.n == 854
    return models.load("additive")(one, relationship, **priors)


def reference(shared_data: Path) -> dict[str, Any]:
    found = json.loads((shared_data.parent / "reference/gryphon.json").read_text())
    assert isinstance(found, dict)
    return found


def test_relationships_of_close_relatives() -> None:
    """Full sibs, a parent, and the inbred child of full sibs."""
    names = ["e", "a", "b", "c", "d"]
    sire, dam = np.array([3, -1, -1, 1, 1]), np.array([4, -1, -1, 2, 2])
    family = Pedigree(individual_index(["0"] * 5, names), sire, dam)
    frame = pd.DataFrame(additive_relationship(family).matrix, names, names)
    assert frame.loc["c", "d"] == 0.5
    assert frame.loc["a", "c"] == 0.5
    assert frame.loc["e", "e"] == 1.25
    assert frame.loc["e", "a"] == 0.5
    assert frame.loc["a", "b"] == 0.0


def test_the_dams_of_the_pedigree_are_the_mothers_of_the_records(shared_data: Path) -> None:
    pedigree = read_pedigree(shared_data / "gryphon/pedigree.tsv", "rows")
    records = pd.read_csv(shared_data / "gryphon/phenotypes.tsv", sep="\t", dtype=str)
    assert len(records) == 1084
    animals = individual_index(["0"] * len(records), records["ANIMAL"])
    dams = pedigree.dam[pedigree.positions(animals)]
    assert (dams >= 0).all()
    iids = pedigree.individuals.get_level_values("IID")
    assert (iids[dams].to_numpy() == records["MOTHER"]).all()


@pytest.mark.parametrize("case", ["intercept_only", "with_sex"])
def test_posterior_of_h2(case: str, shared_data: Path) -> None:
    """Flat priors and A scaled to average semivariance one, as the reference; then the default."""
    wanted = reference(shared_data)["posterior_flat_h2"][case]
    covariates = ["SEX"] if case == "with_sex" else []
    flat = {"beta": "flat()", "total_sd": "lognormal(0, 70)"}
    for priors in (flat, {}):
        model = build(shared_data, covariates, "asv", **priors)
        share = exact.fit_one(model, 8, np.random.default_rng(1))[0].share
        mean, sd = share.moments()
        assert mean == pytest.approx(wanted["mean"], abs=2e-3 if not priors else 2e-5)
        assert sd == pytest.approx(wanted["sd"], rel=0.02 if not priors else 1e-3)
        assert share.hdi(0.95) == pytest.approx(wanted["hdi95"], abs=5e-3 if not priors else 1e-3)


def test_scale_of_the_pedigree_matrix(shared_data: Path) -> None:
    pedigree = read_pedigree(shared_data / "gryphon/pedigree.tsv", "rows")
    only = additive_relationship(pedigree, gryphon(shared_data / "gryphon", "none")[0].index)
    assert average_semivariance(only.matrix) == pytest.approx(0.994795, abs=5e-7)
    assert only.on(only.individuals).factor == 1.0
    records, relationship = gryphon(shared_data / "gryphon", "asv")
    assert relationship.on(records.index).factor == pytest.approx(0.994795, abs=5e-7)
    _, plain = gryphon(shared_data / "gryphon", "none")
    assert plain.on(records.index).factor == 1.0


@pytest.mark.parametrize("case", ["intercept_only", "with_sex"])
def test_mode_of_the_variances_is_the_published_reml(case: str, shared_data: Path) -> None:
    """V_A and V_R on the pedigree's own scale: the mode over (h², τ²) of the flat-prior posterior.

    The mode of h² is the REML estimate; the variance that goes with it is RSS/(n - p).
    """
    wanted = reference(shared_data)[case]
    covariates = ["SEX"] if case == "with_sex" else []
    flat = {"beta": "flat()", "total_sd": "lognormal(0, 70)"}
    model = build(shared_data, covariates, "none", **flat)
    found = exact.fit_one(model, 4000, np.random.default_rng(1))[0]
    h2 = found.share.mode()
    spectrum = require_marginal(model).spectrum
    assert spectrum is not None
    s, e = spectrum.contrasts(observed_phenotype(model))
    total = np.mean(e**2 / (h2 * s + 1 - h2))
    digits = {"intercept_only": 2e-4, "with_sex": 2e-4}[case]
    assert h2 * total == pytest.approx(wanted["VA"], rel=digits)
    assert (1 - h2) * total == pytest.approx(wanted["VR"], rel=digits)
    assert h2 == pytest.approx(wanted["h2"], abs=6e-4 if case == "intercept_only" else 1e-4)
    if "VA_se" in wanted:  # the posterior's spread against the published standard errors
        draws = np.exp(2 * found.draws.t) / (1 + np.exp(-found.draws.z))
        assert draws.std() == pytest.approx(wanted["VA_se"], rel=0.05)


def test_the_reported_table_holds_the_published_numbers(shared_data: Path) -> None:
    model = build(shared_data, [], "none")
    tree = fit(model, draws=400)
    wanted = reference(shared_data)["intercept_only"]
    assert float(tree["posterior"]["sigma2_u"].mean()) == pytest.approx(wanted["VA"], abs=0.1)
    assert float(tree["posterior"]["sigma2_e"].mean()) == pytest.approx(wanted["VR"], abs=0.1)
    data = tree["constant_data"]
    test = restricted_lrt(data["eigenvalue"].to_numpy(), data["contrasts"].to_numpy())
    assert test.p_value < 1e-8
