"""The posterior of several traits beside REML and Haseman-Elston: from where, by ID, kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from kernel_problems import people
from numpy.typing import NDArray

from bayeslmm import agreement, models
from bayeslmm.checks.agreement_traits import COLUMNS, add_trait_agreement, trait_agreement
from bayeslmm.cli.outputs import read_tree, write_tree
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.errors import InputError
from bayeslmm.estimates.haseman_elston import haseman_elston_one_kernel
from bayeslmm.estimates.reml import reml_one_kernel
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
    assert list(table.columns) == COLUMNS
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
    table = trait_agreement(tree, prob=0.8)
    for one in table[table["source"] == "posterior"].itertuples():
        wanted = rows.loc[one.quantity, ["mean", "sd", "lower", "upper"]].astype(float)
        assert [one.estimate, one.se, one.lower, one.upper] == pytest.approx(list(wanted))
        assert "80 % interval" in str(one.note)


def test_traits_with_missing_values_one_by_one_and_pairs_by_those_who_have_both() -> None:
    table = trait_agreement(fitted(False))
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
    found = numbers(trait_agreement(fitted(False, False)), "REML")
    assert list(found) == ["h2[a]", "h2[b]"]


def test_they_are_kept_in_the_file(tmp_path: Path) -> None:
    tree = fitted(True).copy()
    with pytest.raises(InputError, match="model"):
        trait_agreement(tree)
    wanted = trait_agreement(tree, model=model_of(True))
    add_trait_agreement(tree, model=model_of(True))
    write_tree(tree, tmp_path / "x.nc")
    pd.testing.assert_frame_equal(trait_agreement(read_tree(tmp_path / "x.nc")), wanted)
    pd.testing.assert_frame_equal(agreement(read_tree(tmp_path / "x.nc")), wanted)


def test_other_programs_and_one_trait_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several traits"):
        agreement(fitted(True), [tmp_path / "x.hsq"])
    one = fitted(True).copy()
    one["posterior"] = one["posterior"].to_dataset().isel(trait=0)
    with pytest.raises(InputError, match="a tree of one trait"):
        trait_agreement(one)
    one["posterior"] = one["posterior"].to_dataset().drop_vars("h2")
    with pytest.raises(InputError, match="without a posterior"):
        trait_agreement(one)
