"""Our REML and Haseman-Elston beside the posterior: of several traits, by ID, kept; reasons."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from engine_oracles import simulated
from kernel_problems import people
from numpy.typing import NDArray
from report_trees import made_tree
from sbc_models import problem

from bayeslmm import agreement, models
from bayeslmm.checks.agreement import COLUMNS_OF_TRAITS, add_agreement, estimates_of
from bayeslmm.checks.own_estimates import own_estimates
from bayeslmm.checks.simple_models import contrasts_of
from bayeslmm.cli.outputs import read_tree, write_tree
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.errors import InputError
from bayeslmm.estimates.haseman_elston import haseman_elston_one_kernel, haseman_elston_several
from bayeslmm.estimates.reml import reml_one_kernel, reml_several
from bayeslmm.estimates.traits import haseman_elston_traits, reml_traits
from bayeslmm.inference.fit import fit
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.posterior.summary import heritability
from bayeslmm.relationship.relationship import Relationship

type Floats = NDArray[np.float64]

N = 120
K = np.kron(np.eye(N // 5), 0.5 + 0.5 * np.eye(5))
AGE = np.random.default_rng(3).standard_normal(N)


@cache
def phenotypes() -> Floats:
    """Two traits (n, 2) of 24 sibships of five, r_g = 0.5."""
    rng = np.random.default_rng(4)
    L = np.linalg.cholesky(np.array([[1.0, 0.5], [0.5, 1.0]]))
    g = np.linalg.cholesky(K) @ rng.standard_normal((N, 2)) @ L.T
    return np.asarray(g + 0.8 * rng.standard_normal((N, 2)) + 0.3 * AGE[:, None])


PRESENT = {"a": np.arange(90), "b": np.arange(20, N)}


@cache
def model_of(complete: bool, covariate_of_b: bool = True) -> Any:
    parts = []
    for t, (trait, who) in enumerate(PRESENT.items()):
        who = np.arange(N) if complete else who
        X, names = np.column_stack([np.ones(len(who)), AGE[who]]), ("intercept", "age")
        if trait == "b" and not covariate_of_b:
            X, names = X[:, :1], names[:1]
        parts.append(
            Cohort(phenotypes()[who, t], np.ascontiguousarray(X), people(N)[who], names, trait)
        )
    order = np.random.default_rng(5).permutation(N)  # the kernel has another order
    kernel = Relationship(K[np.ix_(order, order)], people(N)[order], kernel_scale="none")
    return models.load("bivariate")(stack_traits(parts), kernel)


@cache
def fitted(complete: bool, covariate_of_b: bool = True) -> xr.DataTree:
    return fit(model_of(complete, covariate_of_b), draws=200, seed=1)


def at(who: NDArray[Any], *traits: int) -> tuple[Spectrum, Floats]:
    """Spectrum and rotated traits of individuals, from what the data were made of."""
    X = np.column_stack([np.ones(len(who)), AGE[who]])
    S = decompose(np.ascontiguousarray(K[np.ix_(who, who)]), X)
    return S, S.rotate(phenotypes()[np.ix_(who, np.array(traits))])


def numbers(table: pd.DataFrame, source: str) -> dict[str, tuple[float, float]]:
    rows = table[table["source"] == source]
    return {q: (x, se) for q, x, se in rows[["quantity", "estimate", "se"]].itertuples(index=False)}


def test_complete_traits_are_estimated_together() -> None:
    table = agreement(fitted(True))
    assert list(table.columns) == COLUMNS_OF_TRAITS
    assert list(table["quantity"]) == [q for q in ("h2[a]", "h2[b]", "r_g[a,b]") for _ in range(3)]
    assert list(table["source"][:3]) == ["posterior", "REML", "Haseman-Elston"]
    S, rotated = at(np.arange(N), 0, 1)
    for source, found in (
        ("REML", reml_traits(S, rotated)),
        ("Haseman-Elston", haseman_elston_traits(S.eigenvalues, rotated[S.p :])),
    ):
        wanted = {"h2[a]": found.h2(0), "h2[b]": found.h2(1), "r_g[a,b]": found.r_g(0, 1)}
        for quantity, pair in numbers(table, source).items():
            assert pair == pytest.approx(wanted[quantity], rel=1e-3)  # two searches
    half = 1.959964 * table["se"][1:3]
    np.testing.assert_allclose(table["upper"][1:3] - table["estimate"][1:3], half)


def test_the_posterior_is_that_of_the_summary() -> None:
    tree = fitted(True)
    rows = heritability(tree, prob=0.8).set_index("quantity")
    table = agreement(tree, prob=0.8)
    for one in table[table["source"] == "posterior"].itertuples():
        wanted = rows.loc[one.quantity, ["mean", "sd", "lower", "upper"]].astype(float)
        assert [one.estimate, one.se, one.lower, one.upper] == pytest.approx(list(wanted))
        assert "80 % interval" in str(one.note)


def test_traits_with_missing_values_one_by_one_and_pairs_by_those_who_have_both() -> None:
    table = agreement(fitted(False))
    reml, he = numbers(table, "REML"), numbers(table, "Haseman-Elston")
    for t, (trait, who) in enumerate(PRESENT.items()):
        S, rotated = at(who, t)
        one = reml_one_kernel(S.eigenvalues, rotated[S.p :, 0])
        other = haseman_elston_one_kernel(S.eigenvalues, rotated[S.p :, 0])
        assert reml[f"h2[{trait}]"] == pytest.approx((one.h2, one.se), rel=1e-6)
        assert he[f"h2[{trait}]"] == pytest.approx((other.h2, other.se), rel=1e-9)
    S, rotated = at(np.arange(20, 90), 0, 1)
    both = haseman_elston_traits(S.eigenvalues, rotated[S.p :])
    assert he["r_g[a,b]"] == pytest.approx(both.r_g(0, 1), rel=1e-9)
    assert reml["r_g[a,b]"][0] == pytest.approx(reml_traits(S, rotated).r_g(0, 1)[0], rel=1e-3)
    notes = dict(zip(table["quantity"], table["note"], strict=True))
    assert notes["r_g[a,b]"].startswith("70 individuals with both traits")


def test_traits_with_other_covariates_have_no_correlation_by_these_methods() -> None:
    found = numbers(agreement(fitted(False, False)), "REML")
    assert list(found) == ["h2[a]", "h2[b]"]


def test_they_are_kept_in_the_file(tmp_path: Path) -> None:
    tree = fitted(True).copy()
    with pytest.raises(InputError, match="model"):
        agreement(tree)
    wanted = agreement(tree, model=model_of(True))
    stored = add_agreement(tree, model=model_of(True))
    assert estimates_of(tree) == stored
    write_tree(tree, tmp_path / "x.nc")
    pd.testing.assert_frame_equal(agreement(read_tree(tmp_path / "x.nc")), wanted)


def test_other_programs_are_refused_and_a_part_has_the_posterior_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several traits"):
        agreement(fitted(True), [tmp_path / "x.hsq"])
    one = fitted(True).copy()
    one["posterior"] = one["posterior"].to_dataset().isel(trait=0)
    assert agreement(one)["source"].tolist() == ["posterior"]  # the model is of two traits
    one["posterior"] = one["posterior"].to_dataset().drop_vars("h2")
    with pytest.raises(InputError, match="without a posterior"):
        agreement(one)


def test_several_kernels_of_one_trait_start_from_the_posterior() -> None:
    cohort, matrices = problem("dominance")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few variants
        model = models.load("dominance")(cohort, *matrices)
        tree = fit(model, draws=200, seed=1)
    form = contrasts_of(model).form
    assert form is not None
    rotated, genetic = form.rotate(cohort.y), np.array([True, True, False])
    reml, he = own_estimates(tree)
    assert (reml.quantity, reml.source, he.source) == ("h2", "REML", "Haseman-Elston")
    wanted = haseman_elston_several(form, rotated, genetic)
    assert (he.value, he.se) == pytest.approx((wanted.h2, wanted.se), rel=1e-9)
    best = reml_several(form, rotated, np.array([0.3, 0.3, 0.4]) * np.var(cohort.y), genetic)
    assert reml.value == pytest.approx(best.h2, abs=1e-3)  # two searches


def test_why_there_are_none() -> None:
    with pytest.raises(InputError, match="a tree without its model"):
        own_estimates(made_tree("nuts", spectral=False))
    model = simulated(40, 2, seed=3).model()
    tree = fit(model, draws=100, seed=1)
    tree["constant_data"] = tree["constant_data"].to_dataset().drop_vars("contrasts")
    with pytest.raises(InputError, match="one kernel without its error contrasts"):
        own_estimates(tree, model)
    assert agreement(tree, model=model)["source"].tolist() == ["posterior"]
    three = fitted(True).copy()  # a tree of more traits than the model
    three["posterior"] = three["posterior"].to_dataset().isel(trait=[0, 1, 0])
    with pytest.raises(InputError, match="a model without a REML estimate of several traits"):
        own_estimates(three, model_of(True))
