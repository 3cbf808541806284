from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
from formulaic import model_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bayeslmm.cohort.design import Design, build_design, fixed_effects, full_rank
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.individuals import individual_index
from bayeslmm.tables.formula import parse_formula


def table(n: int = 30, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "sex": rng.integers(1, 3, n).astype(float),
            "age": rng.normal(40, 10, n).round(1),
            "year": 1990.0 + rng.integers(0, 4, n),
            "batch": rng.choice(["b1", "b2", "b10"], n),
            "odd name": rng.uniform(1, 2, n),
        },
        index=individual_index(["F"] * n, [f"i{k}" for k in range(n)]),
    )


def design(frame: pd.DataFrame, **options: object) -> Design:
    return build_design(frame, fixed_effects(frame, **options))  # type: ignore[arg-type]


def test_intercept_only() -> None:
    made = build_design(table()[[]], fixed_effects(None))
    assert made.covariates == ("intercept",)
    np.testing.assert_array_equal(made.X, np.ones((30, 1)))
    assert build_design(table(), fixed_effects(None, formula="~ 1")).covariates == ("intercept",)


def test_hand_made_design() -> None:
    frame = table()
    made = design(frame, covariate_names=["age"], categorical=["sex", "batch"])
    # --cat-covar columns are sorted into the design as given; batch as text: b1 < b10 < b2
    assert made.covariates == ("intercept", "age", "sex[2]", "batch[b10]", "batch[b2]")
    expected = np.column_stack(
        [
            np.ones(30),
            frame["age"],
            frame["sex"] == 2,
            frame["batch"] == "b10",
            frame["batch"] == "b2",
        ]
    )
    np.testing.assert_array_equal(made.X, expected)
    assert made.X.flags.c_contiguous
    assert made.X.dtype == np.float64


def test_levels_that_are_numbers_are_in_the_order_of_numbers() -> None:
    frame = table(6)[["batch"]]
    frame["batch"] = ["10", "9", "10", "11", "9", "11"]
    made = design(frame, categorical=["batch"])
    assert made.covariates == ("intercept", "batch[10]", "batch[11]")


def test_all_columns_by_default() -> None:
    made = design(table(), categorical=["batch"])
    assert made.covariates == (
        "intercept", "sex", "age", "year", "batch[b10]", "batch[b2]", "odd name",
    )  # fmt: skip


FORMULAS = [
    "~ sex + age",
    "sex * age",
    "~ C(batch) + poly(age, 2)",
    "~ C(batch):age",
    "~ bs(age, df=4)",
    "~ (sex + age + year)**2",
    "~ scale(age) + center(year) + log(`odd name`) + exp(-age / 10) + sqrt(age)",
    "~ I(age**2) + log10(age)",
    "~ C(sex) * C(batch)",
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_agree_with_formulaic(formula: str) -> None:
    frame = table()
    frame["sex"] = np.where(frame["sex"] == 1, 3.0, 20.0)  # numbers: 3 before 20
    made = design(frame, formula=formula)
    extra = {"sqrt": np.sqrt, "log10": np.log10}
    expected = model_matrix(formula, frame.reset_index(drop=True), context=extra)
    assert made.covariates[0] == "intercept"
    np.testing.assert_array_equal(made.X, np.asarray(expected, dtype=float))
    names = [str(name).replace(".0]", "]") for name in expected.columns[1:]]
    assert list(made.covariates[1:]) == names


def test_categorical_column_in_a_formula() -> None:
    made = design(table(), formula="~ sex + batch", categorical=["batch"])
    assert made.covariates == ("intercept", "sex", "batch[T.b10]", "batch[T.b2]")
    with pytest.raises(InputError, match="add --cat-covar batch or write C\\(batch\\) in the form"):
        design(table(), formula="~ sex + batch")
    with pytest.raises(InputError, match="'sex' inside a function of the formula -> numbers"):
        design(table(), formula="~ log(sex)", categorical=["sex"])


def test_column_both_as_number_and_as_category() -> None:
    with pytest.warns(BayesLMMWarning, match=r"collinear .*: C\(year\)\[T.1993.0\]"):
        made = design(table(), formula="~ year + C(year)")
    assert made.covariates == ("intercept", "year", "C(year)[T.1991.0]", "C(year)[T.1992.0]")
    np.testing.assert_array_equal(made.X[:, 1], table()["year"])


ATTACKS = [
    "~ __import__('os').system('x')",
    "~ I(__import__('os').system('x'))",
    "~ {__import__('os').system('x')}",
    "~ age.values.tofile(sex)",
    "~ log(age.values)",
    "~ np.log(age)",
    "~ I(age[0])",
    "~ I([x for x in age])",
    "~ I((lambda: 1)())",
    "~ I(f'{age}')",
    "~ eval(age)",
    "~ open(age)",
    "~ Q('age')",
    "~ C(age, contr.sum)",
    "~ log(age, _context=1)",
    "~ log(*age)",
    "~ I(age if sex else 1)",
    "~ I(age := 1)",
    "~ I(9**9**9)",
    "~ I(age**99)",
    "~ I(age**sex)",
    "~ (sex + age)**9",
    "~ poly(age, 1000000)",
    "~ bs(age, df=1000000)",
    "~ I(3)",
    "~ log(`a'`) + log(`b'`)",
    "~ age\n",
    "~ " + "(" * 3000,
    "",
    "~ log(age",
    "~ `age",
    "~ 'age'",
    "~ .",
]


@pytest.mark.parametrize("formula", ATTACKS)
def test_formulas_that_are_refused(formula: str) -> None:
    with pytest.raises(InputError, match=r"the formula .* -> .* -> write for instance"):
        parse_formula(formula)


@pytest.mark.parametrize("formula", ["~ 0 + age", "~ age - 1", "~ age + 0", "~ -1 + age"])
def test_the_intercept_stays(formula: str) -> None:
    with pytest.raises(InputError, match="removes the intercept -> an intercept, always"):
        parse_formula(formula)


@pytest.mark.parametrize("formula", ["y ~ age", "age | sex"])
def test_one_side_only(formula: str) -> None:
    with pytest.raises(InputError, match="has two sides or several parts -> one side"):
        parse_formula(formula)


def test_parsed_columns() -> None:
    parsed = parse_formula("~ sex + log(`odd name`) + C(batch):poly(age, degree=2)")
    assert parsed.columns == ("sex", "odd name", "batch", "age")
    assert parsed.categorical == {"batch"}
    assert parsed.arithmetic == {"odd name", "age"}


def test_unknown_and_unusable_columns() -> None:
    frame = table()
    frame.attrs["path"] = "c.tsv"
    with pytest.raises(
        InputError, match=r"c.tsv: no column 'bmi' -> one of: sex, age, year, batch"
    ):
        fixed_effects(frame, ["bmi"])
    with pytest.raises(InputError, match=r"c.tsv: no column 'bmi'"):
        fixed_effects(frame, formula="~ sex + log(bmi)")
    with pytest.raises(InputError, match="no column 'site'"):
        fixed_effects(frame, ["sex"], ["site"])
    with pytest.raises(InputError, match=r"c.tsv:batch: text such as 'b\d+' in covariate 'batch'"):
        fixed_effects(frame)
    with pytest.raises(InputError, match="covariate names and a formula -> one of the two"):
        fixed_effects(frame, ["sex"], formula="~ age")
    with pytest.raises(
        InputError, match=r"covariates without a table -> a table .* \(--covar FILE"
    ):
        fixed_effects(None, ["sex"])
    with pytest.raises(InputError, match="covariates without a table"):
        fixed_effects(None, formula="~ sex")


def test_non_finite_columns_name_individual_and_column() -> None:
    frame = table()
    frame.loc[("F", "i7"), "age"] = -1.0
    message = r"log\(age\): the value nan of individual F i7 -> finite numbers in the design"
    with pytest.raises(InputError, match=message):
        design(frame, formula="~ log(age)")
    frame.loc[("F", "i7"), "age"] = 0.0
    with pytest.raises(InputError, match="the value -inf of individual F i7"):
        design(frame, formula="~ log(age)")


def test_formula_that_cannot_be_evaluated() -> None:
    with pytest.raises(InputError, match=r"cannot be evaluated: .* -> columns"):
        design(table(), formula="~ bs(age, nonsense=2)")


def test_collinear_and_constant_columns_are_dropped_and_named() -> None:
    frame = table()
    frame["twice"] = 2 * frame["age"] - frame["year"]
    frame["one"] = 7.0
    frame["site"] = "Oslo"
    names = ["one", "age", "year", "twice", "sex"]
    with pytest.warns(BayesLMMWarning) as caught:
        made = design(frame, covariate_names=names, categorical=["site"])
    assert [str(w.message) for w in caught] == [
        "covariates dropped because they are constant: one, site",
        "covariates dropped because they are collinear with earlier covariates: twice",
    ]
    assert made.covariates == ("intercept", "age", "year", "sex")
    steps = made.ledger.steps
    assert [(s.unit, s.dropped, s.remaining, s.examples) for s in steps] == [
        ("covariates", 2, 5, ("one", "site")),
        ("covariates", 1, 4, ("twice",)),
    ]


def test_a_category_of_one_level_is_named_in_a_formula_too() -> None:
    frame = table()
    frame["site"] = "Oslo"
    with pytest.warns(BayesLMMWarning, match=r"constant: C\(site\)"):
        made = design(frame, formula="~ age + C(site)")
    assert made.covariates == ("intercept", "age")


def test_earlier_columns_are_kept() -> None:
    frame = table()
    frame["months"] = 12 * frame["age"] + 3
    for first, second in (("age", "months"), ("months", "age")):
        with pytest.warns(BayesLMMWarning, match=f"collinear with earlier covariates: {second}"):
            made = design(frame, covariate_names=[first, second])
        assert made.covariates == ("intercept", first)


def test_nothing_dropped_is_recorded() -> None:
    made = design(table(), covariate_names=["age"])
    assert [(s.dropped, s.remaining) for s in made.ledger.steps] == [(0, 2), (0, 2)]


def test_names_that_clash() -> None:
    frame = table()[["sex", "age"]].set_axis(["intercept", "age"], axis=1)
    with pytest.raises(InputError, match="two columns of the design are named 'intercept'"):
        design(frame)


def with_intercept(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([np.ones(len(columns)), columns])


def standardised_rank(X: NDArray[np.float64]) -> int:
    Z = X[:, 1:] - X[:, 1:].mean(axis=0)
    Z = Z / np.linalg.norm(Z, axis=0)
    return 1 + int(np.linalg.matrix_rank(Z, tol=1e-7)) if Z.size else 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(0, 4))
def test_rank_agrees_with_numpy_and_scipy(seed: int, k: int, extra: int) -> None:
    rng = np.random.default_rng(seed)
    free = rng.normal(size=(40, k))
    mixed = free @ rng.normal(size=(k, extra)) + 5
    columns = np.column_stack([free, mixed])[:, rng.permutation(k + extra)]
    columns = columns * 10.0 ** rng.integers(-6, 7, k + extra) + rng.normal(size=k + extra)
    X = with_intercept(columns)
    kept, constant, collinear = full_rank(X)
    assert constant == []
    assert len(kept) == standardised_rank(X) == 1 + k
    assert sorted(kept + collinear) == list(range(X.shape[1]))
    Z = X[:, kept][:, 1:] - X[:, kept][:, 1:].mean(axis=0)
    (r, _) = scipy.linalg.qr(Z / np.linalg.norm(Z, axis=0), mode="r", pivoting=True)
    assert np.abs(np.diag(r)[:k]).min() > 1e-7
    # every prefix keeps as many columns as its rank: earlier columns win
    for stop in range(2, X.shape[1] + 1):
        assert sum(c < stop for c in kept) == standardised_rank(X[:, :stop])


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.0, 1e12, 1e300])
@pytest.mark.parametrize("shift", [0.0, 1990.0])
def test_units_and_offsets_play_no_role(scale: float, shift: float) -> None:
    rng = np.random.default_rng(3)
    column = (rng.integers(0, 5, 50) + shift) * scale
    X = with_intercept(np.column_stack([column, rng.normal(size=50), column * 2]))
    assert full_rank(X) == ([0, 1, 2], [], [3])


def test_constant_by_rounding_and_a_small_spread_on_a_large_offset() -> None:
    rounding = np.where(np.arange(20) % 2 == 0, 0.3, 0.1 + 0.2)
    seconds = 1.7e9 + np.arange(20.0)
    kept, constant, _ = full_rank(with_intercept(np.column_stack([rounding, seconds])))
    assert constant == [1]
    assert kept == [0, 2]


def test_more_columns_than_rows() -> None:
    X = with_intercept(np.random.default_rng(1).normal(size=(5, 9)))
    kept, _, collinear = full_rank(X)
    assert kept == [0, 1, 2, 3, 4]
    assert collinear == [5, 6, 7, 8, 9]


def test_rows_permuted_give_the_same_decisions() -> None:
    frame = table(60)
    frame["nearly"] = frame["age"] + 1e-9 * np.random.default_rng(2).normal(size=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesLMMWarning)
        made = design(frame, categorical=["batch"])
        order = np.random.default_rng(3).permutation(60)
        again = design(frame.iloc[order], categorical=["batch"])
    assert made.covariates == again.covariates
    np.testing.assert_array_equal(made.X[order], again.X)
