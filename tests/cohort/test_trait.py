from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslmm.cohort.build import cohort
from bayeslmm.cohort.trait import trait_kind
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.individuals import individual_index
from bayeslmm.models.family import Family, observed_scale_notes

N = 40


def people(n: int = N, family: str = "F") -> pd.MultiIndex:
    return individual_index([f"{family}{k % 3}" for k in range(n)], [f"i{k:02}" for k in range(n)])


def tables(n: int = N, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    phenotypes = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n)}, index=people(n))
    covariates = pd.DataFrame(
        {
            "age": rng.uniform(20, 60, n),
            "sex": rng.integers(1, 3, n).astype(float),
            "site": rng.choice(["x", "y", "z"], n),
        },
        index=people(n),
    )
    return phenotypes, covariates


@pytest.mark.parametrize("name", ["a/b", ".", "..", " a", "a\nb", "a\x00", ""])
def test_trait_names(name: str) -> None:
    phenotypes, _ = tables()
    with pytest.raises(InputError, match=r"the trait name .* -> .* -> rename the column"):
        cohort(phenotypes.rename(columns={"a": name}), name, individuals=people())


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "höhe (cm) %", "a:b|c", "身長"])
def test_printable_names_are_free(name: str) -> None:
    phenotypes, _ = tables()
    made = cohort(phenotypes.rename(columns={"a": name}), name, individuals=people())
    assert made.trait == name


def test_constant_trait() -> None:
    phenotypes, _ = tables()
    phenotypes["a"] = 3.5
    phenotypes.attrs["path"] = "p.tsv"
    message = r"p.tsv: the trait 'a' is constant: all 40 values are 3.5 -> values that differ"
    with pytest.raises(InputError, match=message):
        cohort(phenotypes, "a", individuals=people())


def test_infinite_values() -> None:
    phenotypes, covariates = tables()
    phenotypes.iloc[3, 0] = np.inf
    with pytest.raises(InputError, match="1 infinite values of the trait 'a' -> finite numbers"):
        cohort(phenotypes, "a", individuals=people())
    with pytest.raises(InputError, match="an infinite value of the trait 'a' of F0 i03"):
        cohort(phenotypes, "a", individuals=people(), quantitative=True)
    covariates.iloc[4, 0] = -np.inf
    with pytest.raises(InputError, match="age: an infinite covariate 'age' of F1 i04 -> finite"):
        cohort(phenotypes, "b", individuals=people(), covariates=covariates[["age"]])


@pytest.mark.parametrize(
    ("codes", "coding", "expected"),
    [
        ((0, 1), "{0, 1}", (0, 1)),
        ((1, 2), "{1, 2}, analysed as {0, 1}", (0, 1)),
    ],
)
def test_binary_traits(
    codes: tuple[float, float], coding: str, expected: tuple[float, float]
) -> None:
    phenotypes, _ = tables()
    phenotypes["a"] = np.where(np.arange(N) % 2, codes[1], codes[0])
    made = cohort(phenotypes, "a", individuals=people())
    assert made.codings == (coding,)
    np.testing.assert_array_equal(made.y, np.where(np.arange(N) % 2, expected[1], expected[0]))
    message = f"the trait 'a' is binary, coded {coding} (20 of 40 have the higher value); "
    (note,) = observed_scale_notes(made, Family())
    assert note.startswith(message)
    assert "h2 is on the observed scale, not on the liability scale" in note
    assert observed_scale_notes(made, Family("Bernoulli", "liability scale")) == []
    made = cohort(phenotypes, "a", individuals=people(), quantitative=True)  # nothing to say
    assert observed_scale_notes(made, Family()) == []
    np.testing.assert_array_equal(made.y, phenotypes["a"])


def test_two_values_that_are_no_code_are_refused_unless_they_are_measurements() -> None:
    phenotypes, _ = tables()
    phenotypes["a"] = np.where(np.arange(N) % 2, 7.5, 3.0)
    message = r"two values 3 and 7\.5 \(20 of 40 .* -> .*0/1 or 1/2.* -> .*--quantitative"
    with pytest.raises(InputError, match=message):
        cohort(phenotypes, "a", individuals=people())
    made = cohort(phenotypes, "a", individuals=people(), quantitative=True)
    np.testing.assert_array_equal(made.y, phenotypes["a"])


@pytest.mark.parametrize("codes", [(0, 1, 2), (-9, 1, 2), (-9, 0, 1), (-9, 0, 1, 2), (-9, 1)])
def test_codes_that_nobody_should_guess(codes: tuple[float, ...]) -> None:
    phenotypes, _ = tables()
    phenotypes["a"] = np.resize(np.array(codes, dtype=float), N)
    shown = ", ".join(str(c) for c in codes)
    message = f"the trait 'a' has only the values {shown} -> a case-control trait coded 0/1 or 1/2"
    with pytest.raises(InputError, match=message) as caught:
        cohort(phenotypes, "a", individuals=people())
    assert "--missing-code" in str(caught.value)
    if len(codes) > 2:
        made = cohort(phenotypes, "a", individuals=people(), quantitative=True)
        np.testing.assert_array_equal(made.y, phenotypes["a"])


def test_codes_are_judged_on_the_whole_column() -> None:
    phenotypes, _ = tables()
    phenotypes["a"] = np.where(np.arange(N) < 30, np.arange(N) % 2, 2.0)
    with pytest.raises(InputError, match="has only the values 0, 1, 2"):
        cohort(phenotypes, "a", individuals=people()[:30])


def test_trait_kind() -> None:
    assert trait_kind([]) == trait_kind([np.nan]) == "empty"
    assert trait_kind([2.0, np.nan, 2]) == "constant"
    assert trait_kind([0, 1, np.nan]) == "binary"
    assert trait_kind([0, 1, 2]) == "coded"
    assert trait_kind([0, 1, 3]) == "quantitative"


def test_outliers_are_named() -> None:
    n = 100
    rng = np.random.default_rng(4)
    phenotypes = pd.DataFrame({"a": rng.normal(size=n)}, index=people(n))
    phenotypes.iloc[7, 0] = 1000.0
    y = phenotypes["a"].to_numpy()
    z = (1000 - y.mean()) / y.std(ddof=1)
    message = (
        "1 values of the trait 'a' lie more than 6 standard deviations from its mean: "
        rf"F1 i07 \(1000, z = {z:.1f}\)"
    )
    with pytest.warns(BayesLMMWarning, match=message):
        cohort(phenotypes, "a", individuals=people(n))


@pytest.mark.parametrize(("n", "k", "rest"), [(3, 1, 1), (4, 5, 0)])
def test_too_few_individuals(n: int, k: int, rest: int) -> None:
    rng = np.random.default_rng(1)
    covariates = pd.DataFrame(
        rng.normal(size=(n, k)), columns=[f"c{i}" for i in range(k)], index=people(n)
    )
    phenotypes = pd.DataFrame({"a": rng.normal(size=n)}, index=people(n))
    message = rf"n = {n} individuals and p = {n - rest} fixed effects \(.*n - p = {rest}\) -> n - p"
    if n - rest < k + 1:
        with (
            pytest.warns(BayesLMMWarning, match="collinear"),
            pytest.raises(InputError, match=message) as caught,
        ):
            cohort(phenotypes, "a", individuals=people(n), covariates=covariates)
        assert "p >= n" in str(caught.value)
    else:
        with pytest.raises(InputError, match=message):
            cohort(phenotypes, "a", individuals=people(n), covariates=covariates)


@pytest.mark.parametrize("n", [5, 10])
def test_small_samples_run_with_a_warning(n: int) -> None:
    phenotypes, _ = tables(n)
    message = f"small sample: n = {n} individuals and p = 1 fixed effects"
    with pytest.warns(BayesLMMWarning, match=message):
        assert cohort(phenotypes, "a", individuals=people(n)).n == n


def test_twelve_individuals_run() -> None:
    assert cohort(tables(12)[0], "a", individuals=people(12)).n == 12
