"""Gryphon as the tutorial builds it up: sex, mother, year of birth; then two traits at once.

The posterior is compared with the restricted likelihood's maximum, which the tests find themselves
from dense matrices.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from bayeslmm import models
from bayeslmm.cohort.records import read_records, record_cohorts
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.distributions.phenotype import require_marginal
from bayeslmm.estimates.reml_traits import reml_mode
from bayeslmm.inference.diagnostics import diagnose
from bayeslmm.inference.fit import fit
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.terms import Grouping
from bayeslmm.posterior.summary import heritability
from bayeslmm.relationship.pedigree.matrix import additive_relationship
from bayeslmm.relationship.pedigree.pedigree import read_pedigree
from bayeslmm.relationship.relationship import Relationship


@cache
def data(folder: Path) -> tuple[pd.DataFrame, Relationship]:
    records = read_records(folder / "phenotypes.tsv", "ANIMAL")
    return records, additive_relationship(read_pedigree(folder / "pedigree.tsv", "rows"))


def cohorts(folder: Path, records: pd.DataFrame, traits: list[str], columns: list[str]) -> Any:
    individuals = data(folder)[1].individuals
    return record_cohorts(
        records, traits, individuals=individuals, formula="~ C(SEX)", columns=columns
    )


def restricted_mode(y: Any, X: Any, kernels: list[Any]) -> Any:
    """REML variances by dense matrices: l(σ²) = -½ [log|QᵀVQ| + eᵀ(QᵀVQ)⁻¹e], QᵀX = 0."""
    Q = np.linalg.qr(X, mode="complete")[0][:, X.shape[1] :]
    e, parts = Q.T @ y, [Q.T @ K @ Q for K in [*kernels, np.eye(len(y))]]

    def objective(log_variance: Any) -> tuple[float, Any]:
        variance = np.exp(log_variance)
        V = sum(v * part for v, part in zip(variance, parts, strict=True))
        inverse = np.linalg.inv(V)
        a = inverse @ e
        slope = [
            v * (np.sum(inverse * p) - a @ p @ a) for v, p in zip(variance, parts, strict=True)
        ]
        return float(np.linalg.slogdet(V)[1] + e @ a), np.array(slope)

    start = np.full(len(parts), np.log(e.var() / len(parts)))
    return np.exp(minimize(objective, start, jac=True, method="BFGS").x)


@pytest.mark.slow  # half a minute; test_engines_agree holds household's posterior to NUTS
def test_birth_weight_with_sex_mother_and_year(shared_data: Path) -> None:
    """Modes of the four variances are the REML estimates, within a quarter of a posterior sd."""
    records, A = data(shared_data / "gryphon")
    (one,) = cohorts(shared_data / "gryphon", records, ["BWT"], ["MOTHER", "BYEAR"])
    assert one.n == 854
    groups = [Grouping(name, tuple(one.column_text(name))) for name in ("MOTHER", "BYEAR")]
    tree = fit(models.load("household")(one, A, *groups), draws=1000)
    assert tree.attrs["engine"] == "laplace"
    assert tree["sample_stats"].attrs["pareto_k"] < 0.7
    kernels = [A.on(one.people).matrix]
    kernels += [
        np.equal.outer(np.array(g.labels), np.array(g.labels)).astype(float) for g in groups
    ]
    wanted = restricted_mode(one.y, one.X, kernels)
    table = heritability(tree).set_index("quantity")
    for name, value in zip(("additive", "MOTHER", "BYEAR", "residual"), wanted, strict=True):
        row = table.loc[f"sigma2[{name}]"]
        mode = 3 * row["median"] - 2 * row["mean"]  # of a skewed margin, less noisy than a peak
        assert abs(mode - value) < 0.25 * row["sd"], (name, mode, value)
        assert abs(row["mean"] - value) < 0.6 * row["sd"], name
    assert table.loc["share[MOTHER]", "lower"] > 0.05
    assert diagnose(tree).ok


def test_two_traits_of_the_animals_that_have_both(shared_data: Path) -> None:
    """BWT and TARSUS in the eigenbasis of A: posterior means of G and R near the REML mode."""
    records, A = data(shared_data / "gryphon")
    both = records[records[["BWT", "TARSUS"]].notna().all(axis=1)]
    both.attrs |= records.attrs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer records than before
        found = cohorts(shared_data / "gryphon", both, ["BWT", "TARSUS"], [])
    cohort = stack_traits(found)
    model = models.load("bivariate")(cohort, A)
    marginal = require_marginal(model)
    assert isinstance(marginal, KernelMarginal)
    S, rotated = marginal.in_own_basis(cohort.y, 0, 1)
    wanted = reml_mode(rotated, S)
    tree = fit(model, draws=1000)
    table = heritability(tree).set_index("quantity")
    values = np.concatenate([np.diag(wanted.genetic), np.diag(wanted.residual)])
    names = [f"sigma2[{part}:{t}]" for part in ("additive", "residual") for t in ("BWT", "TARSUS")]
    for name, value in zip(names, values, strict=True):
        assert abs(table.loc[name, "mean"] - value) < 0.5 * table.loc[name, "sd"], name
    G = wanted.genetic
    r_g = G[0, 1] / np.sqrt(G[0, 0] * G[1, 1])
    row = table.loc["r_g[BWT,TARSUS]"]
    assert abs(row["mean"] - r_g) < 0.5 * row["sd"]
    assert diagnose(tree).ok


def test_two_traits_with_missing_values(shared_data: Path) -> None:
    """All records: 854 BWT, 683 TARSUS; the posterior moves little from that of those with both."""
    records, A = data(shared_data / "gryphon")
    cohort = stack_traits(cohorts(shared_data / "gryphon", records, ["BWT", "TARSUS"], []))
    assert cohort.n == 854 + 683
    tree = fit(models.load("bivariate")(cohort, A), draws=1000)
    table = heritability(tree).set_index("quantity")
    assert table.loc["pareto_k", "mean"] < 0.7
    assert abs(table.loc["h2[BWT]", "mean"] - 0.5) < 0.1  # alone, with sex: 0.507
    assert diagnose(tree).ok
