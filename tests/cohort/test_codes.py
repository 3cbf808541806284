"""Numbers that mean "missing" are refused; measurements are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.cohort.build import cohort, cohorts
from bayeslmm.cohort.codes import find_code
from bayeslmm.cohort.records import record_cohorts
from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index

N = 300
RNG = np.random.default_rng(1)
PEOPLE = individual_index(["0"] * N, [f"i{k}" for k in range(N)])
NORMAL = RNG.normal(0.0, 1.0, N)
WEIGHT = RNG.normal(50.0, 8.0, N)
COUNT = RNG.poisson(3.0, N).astype(float)


def coded(values: np.ndarray, code: float, times: int = 20) -> np.ndarray:
    out = values.copy()
    out[RNG.choice(N, times, replace=False)] = code
    return out


@pytest.mark.parametrize("code", [-9, -99, -999, -9999, 999, 9999, -999.9, 1e6, 88])
def test_a_code_beside_standard_normal_values(code: float) -> None:
    assert find_code(coded(NORMAL, code)) == code
    assert find_code(coded(NORMAL, code, 2)) == code


@pytest.mark.parametrize("code", [0, -1, -9, 999])
def test_a_code_where_all_else_is_positive(code: float) -> None:
    assert find_code(coded(WEIGHT, code)) == code


@pytest.mark.parametrize("code", [-9, -99, 99, 999])
def test_a_code_beside_counts(code: float) -> None:
    assert find_code(coded(COUNT, code)) == code


CLEAN = {
    "normal": NORMAL,
    "weights": WEIGHT,
    "counts with zeros": COUNT,
    "zero-inflated": np.where(RNG.random(N) < 0.5, 0.0, RNG.gamma(2.0, 2.0, N)),
    "detection limit": np.maximum(NORMAL, -1.0),
    "ceiling": np.minimum(WEIGHT, 60.0),
    "heavy tails": RNG.standard_t(2, N),
    "skewed": np.exp(2 * NORMAL),
    "rounded": np.round(NORMAL, 1),
    "one outlier": np.append(NORMAL[1:], 999.0),
    "score around zero": RNG.integers(-1, 2, N).astype(float),
    "scale of five": RNG.integers(1, 6, N).astype(float),
    "differences": np.round(20 * NORMAL),
    "with NaN": np.where(RNG.random(N) < 0.2, np.nan, NORMAL),
    "constant": np.full(N, 3.0),
    "few": np.array([1.0, 2.0]),
}


@pytest.mark.parametrize("name", [*CLEAN])
def test_measurements_have_no_code(name: str) -> None:
    assert find_code(CLEAN[name]) is None


def frame(**columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(columns, index=PEOPLE)


def test_a_trait_is_refused_until_the_user_says() -> None:
    table = frame(y=coded(NORMAL, -999.0))
    with pytest.raises(InputError) as caught:
        cohort(table, "y", individuals=PEOPLE)
    for text in ("20 values of the trait 'y' are -999", "--missing-code -999", "--keep-values"):
        assert text in str(caught.value)
    with pytest.warns(match="standard deviations"):
        found = cohort(frame(y=coded(NORMAL, -999.0, 2)), "y", individuals=PEOPLE, keep_values=True)
    assert (found.y == -999).sum() == 2
    left_out: dict = {}
    both = table.assign(z=NORMAL)
    assert [one.trait for one in cohorts(both, individuals=PEOPLE, left_out=left_out)] == ["z"]
    assert [*left_out] == ["y"]


def test_a_covariate_is_refused_unless_it_is_a_category() -> None:
    table, covariates = frame(y=NORMAL), frame(age=coded(WEIGHT, -9.0), home=coded(COUNT, 99.0))
    with pytest.raises(InputError, match="20 values of the covariate 'age' are -9, far outside"):
        cohort(table, "y", individuals=PEOPLE, covariates=covariates)
    cohort(
        table, "y", individuals=PEOPLE, covariates=covariates,
        covariate_names=["home"], categorical=["home"],
    )  # fmt: skip
    kept = cohort(table, "y", individuals=PEOPLE, covariates=covariates, keep_values=True)
    assert (kept.X[:, 1] == -9).sum() == 20


def test_records_are_refused_likewise() -> None:
    records = frame(y=NORMAL, age=coded(WEIGHT, -99.0))
    with pytest.raises(InputError, match="covariate 'age' are -99"):
        record_cohorts(records, ["y"], individuals=PEOPLE, covariate_names=["age"])
    with pytest.raises(InputError, match="trait 'age' are -99"):
        record_cohorts(records, ["age"], individuals=PEOPLE)
    assert record_cohorts(records, ["y"], individuals=PEOPLE)[0].n == N


def test_arrays_are_refused_likewise() -> None:
    with pytest.raises(InputError, match="trait 'y' are -999"):
        cohort_from_arrays(coded(NORMAL, -999.0))
    X = np.column_stack([np.ones(N), coded(WEIGHT, -9.0)])
    with pytest.raises(InputError, match="covariate 'age' are -9"):
        cohort_from_arrays(NORMAL, X, covariates=["intercept", "age"])
    assert (cohort_from_arrays(NORMAL, X, keep_values=True).X[:, 1] == -9).sum() == 20
