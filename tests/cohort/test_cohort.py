from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.cohort.build import cohort, cohorts
from bayeslmm.cohort.cohort import Cohort, group_by_individuals
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.individuals import individual_index
from bayeslmm.ledger import Ledger
from bayeslmm.tables.phenotypes import read_phenotypes

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


def test_aligned_by_identifier() -> None:
    phenotypes, covariates = tables()
    reference = people()[::-1]
    made = cohort(
        phenotypes.sample(frac=1, random_state=1),
        "a",
        individuals=reference,
        covariates=covariates.sample(frac=1, random_state=2),
        covariate_names=["age"],
    )
    assert made.individuals.equals(reference)
    np.testing.assert_array_equal(made.y, phenotypes["a"].to_numpy()[::-1])
    np.testing.assert_array_equal(made.X[:, 1], covariates["age"].to_numpy()[::-1])
    assert (made.n, made.p, made.trait) == (N, 2, "a")
    assert made.covariates == ("intercept", "age")


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["~ poly(age, 2) + C(site)", None]))
def test_order_of_rows_plays_no_role(random: object, formula: str | None) -> None:
    seeds = [random.randrange(2**31) for _ in range(3)]  # type: ignore[attr-defined]
    phenotypes, covariates = tables()
    phenotypes.iloc[3, 0] = np.nan
    covariates.iloc[5, 0] = np.nan
    options = {"formula": formula} if formula else {"categorical": ["site", "sex"]}
    orders = [np.random.default_rng(seed).permutation(N) for seed in seeds]
    first = cohort(phenotypes, "a", individuals=people(), covariates=covariates, **options)
    again = cohort(
        phenotypes.iloc[orders[0]],
        "a",
        individuals=people()[orders[2]],
        covariates=covariates.iloc[orders[1]],
        **options,
    )
    back = again.individuals.get_indexer(first.individuals)
    assert again.covariates == first.covariates
    assert again.y[back].tobytes() == first.y.tobytes()
    assert again.X[back].tobytes() == first.X.tobytes()  # to the bit
    kept = people()[orders[2]]
    assert again.individuals.equals(kept[kept.isin(first.individuals)])


def test_ledger_has_every_step_in_order() -> None:
    phenotypes, covariates = tables()
    phenotypes.iloc[[0, 1], 0] = np.nan
    covariates.iloc[2, 0] = np.nan
    covariates.iloc[[2, 3], 1] = np.nan
    before = Ledger().add("variants", "monomorphic", ["rs1"], remaining=9)
    made = cohort(
        phenotypes.iloc[:-1],
        "a",
        individuals=people()[:-4].append(people(2, "G")),
        covariates=covariates.drop(index=covariates.index[4]),
        covariate_names=["age"],
        categorical=["sex"],
        ledger=before,
    )
    found = [(s.unit, s.reason, s.dropped, s.remaining, s.examples) for s in made.ledger.steps]
    how = "(matched by FID and IID)"
    assert found == [
        ("variants", "monomorphic", 1, 9, ("rs1",)),
        ("individuals", f"not in the genotypes or GRM {how}", 3, 38,
         ("F0 i36", "F1 i37", "F2 i38")),
        ("individuals", f"not in the phenotype file {how}", 2, 36, ("G0 i00", "G1 i01")),
        ("individuals", "phenotype missing: a", 2, 34, ("F0 i00", "F1 i01")),
        ("individuals", "not in the covariate file", 1, 33, ("F1 i04",)),
        ("individuals", "covariate missing: age", 1, 32, ("F2 i02",)),
        ("individuals", "covariate missing: sex", 1, 31, ("F0 i03",)),
        ("covariates", "constant", 0, 3, ()),
        ("covariates", "collinear with earlier covariates", 0, 3, ()),
    ]  # fmt: skip
    assert made.n == 31


def test_unused_covariates_drop_nobody() -> None:
    phenotypes, covariates = tables()
    covariates["age"] = np.nan
    made = cohort(
        phenotypes, "a", individuals=people(), covariates=covariates, covariate_names=["sex"]
    )
    assert made.n == N


def test_matched_by_iid() -> None:
    phenotypes, _ = tables()
    without = phenotypes.set_axis(individual_index(["0"] * N, people().get_level_values(1)))
    made = cohort(without, "a", individuals=people())
    assert "(matched by IID)" in made.ledger.steps[0].reason
    np.testing.assert_array_equal(made.y, phenotypes["a"])
    other = phenotypes.set_axis(individual_index(["X"] * N, people().get_level_values(1)))
    message = (
        "FIDs do not agree between the genotypes or GRM and the phenotype table; 40 individuals "
        r"are matched by IID \(the genotypes or GRM \(40\) begins with 'F0 i00'"
    )
    with pytest.warns(BayesLMMWarning, match=message):
        made = cohort(other, "a", individuals=people())
    np.testing.assert_array_equal(made.y, phenotypes["a"])
    assert made.individuals.equals(people())


def test_nobody_in_common() -> None:
    phenotypes, covariates = tables()
    phenotypes.attrs["path"] = "p.tsv"
    message = (
        r"no individual in common: the genotypes or GRM \(2\) begins with 'F x', 'F y'; the "
        r"phenotype file p.tsv \(40\) begins with 'F0 i00', 'F1 i01', 'F2 i02' -> the same FID"
    )
    with pytest.raises(InputError, match=message):
        cohort(phenotypes, "a", individuals=individual_index(["F", "F"], ["x", "y"]))
    repeated = individual_index(["X", "Y"], ["i00", "i00"])
    with pytest.raises(InputError, match="IIDs are not unique, so they cannot be matched without"):
        cohort(phenotypes, "a", individuals=repeated)
    with pytest.raises(InputError, match=r"no individual in common: the phenotyped and genotyped"):
        cohort(
            phenotypes, "a", individuals=people(), covariate_names=["age"],
            covariates=covariates.set_axis(individual_index(["H"] * N, map(str, range(N)))),
        )  # fmt: skip


def test_few_in_common() -> None:
    phenotypes, _ = tables()
    some = people()[:15].append(individual_index(["Z"] * 25, [f"i{k}" for k in range(15, 40)]))
    message = (
        r"only 15 individuals in common: .*; 40 share the IID -> at least half of the smaller side "
        r"\(40\) -> .*--allow-few-matches"
    )
    with pytest.raises(InputError, match=message):
        cohort(phenotypes, "a", individuals=some)
    assert cohort(phenotypes, "a", individuals=some, allow_few_matches=True).n == 15
    # a biobank's phenotype file with few genotyped individuals is in order, but is said
    with pytest.warns(BayesLMMWarning, match="only 15 of 40 phenotyped individuals are in the gen"):
        assert cohort(phenotypes, "a", individuals=people()[:15]).n == 15


def test_nobody_left() -> None:
    phenotypes, _ = tables()
    phenotypes["a"] = np.nan
    with pytest.raises(
        InputError, match=r"(?s)no individual is left for the trait 'a' -> .*40 dro"
    ):
        cohort(phenotypes, "a", individuals=people())


def test_unknown_trait() -> None:
    phenotypes, _ = tables()
    phenotypes.attrs["path"] = "p.tsv"
    with pytest.raises(InputError, match=r"p.tsv: no column 'c' -> one of: a, b -> correct the na"):
        cohort(phenotypes, "c", individuals=people())


def test_columns_must_be_told_apart() -> None:
    phenotypes, covariates = tables()
    with pytest.raises(InputError, match="the trait 'a' is named twice"):
        cohorts(phenotypes, ["a", "a"], individuals=people())
    twice = phenotypes.set_axis(["a", "a"], axis=1)
    with pytest.raises(
        InputError, match=r"columns \['a', 'a'\] of the phenotypes -> different nam"
    ):
        cohort(twice, "a", individuals=people())
    numbered = covariates.set_axis([0, 1, 2], axis=1)
    with pytest.raises(InputError, match=r"columns \[0, 1, 2\] of the covariates"):
        cohort(phenotypes, "a", individuals=people(), covariates=numbered)


def test_text_trait() -> None:
    phenotypes, _ = tables()
    with pytest.raises(InputError, match="the trait 't' holds str -> numbers"):
        cohort(phenotypes.assign(t="x"), "t", individuals=people())


def test_dropped_covariates_are_in_the_ledger() -> None:
    phenotypes, covariates = tables()
    covariates["months"] = covariates["age"] * 12
    with pytest.warns(BayesLMMWarning, match="collinear with earlier covariates: months"):
        made = cohort(
            phenotypes, "a", individuals=people(), covariates=covariates,
            covariate_names=["age", "months"],
        )  # fmt: skip
    assert made.covariates == ("intercept", "age")
    assert made.ledger.steps[-1].examples == ("months",)


def test_several_traits_and_groups() -> None:
    phenotypes, covariates = tables()
    phenotypes["c"] = phenotypes["a"] * phenotypes["b"]
    phenotypes.iloc[3, 1] = np.nan
    made = cohorts(phenotypes, individuals=people(), covariates=covariates[["age"]])
    assert [one.trait for one in made] == ["a", "b", "c"]
    assert [one.n for one in made] == [N, N - 1, N]
    assert made[0].X is made[2].X
    for one in made:
        alone = cohort(phenotypes, one.trait, individuals=people(), covariates=covariates[["age"]])
        assert alone.X.tobytes() == one.X.tobytes()
        assert alone.y.tobytes() == one.y.tobytes()
        assert alone.ledger == one.ledger
    assert [[c.trait for c in group] for group in group_by_individuals(made)] == [["a", "c"], ["b"]]
    other = cohort(phenotypes, "a", individuals=people()[::-1])
    assert len(group_by_individuals([made[0], other])) == 2
    with pytest.raises(InputError, match="no trait -> at least one"):
        cohorts(phenotypes, [], individuals=people())


def test_coords_and_labels() -> None:
    made = cohort(tables()[0], "a", individuals=people())
    assert made.coords("additive", "residual") == {
        "individual": [f"i{k:02}" for k in range(N)],
        "covariate": ["intercept"],
        "component": ["additive", "residual"],
    }
    index = individual_index([f"F{k}" for k in range(N)], ["same"] * N)
    made = cohort_from_arrays(np.arange(N), individuals=index)
    assert made.labels[:2] == ["F0 same", "F1 same"]


def test_from_arrays() -> None:
    rng = np.random.default_rng(1)
    y, X = rng.normal(size=N), rng.normal(size=(N, 2))
    made = cohort_from_arrays(y, X)
    assert made.covariates == ("intercept", "x1", "x2")
    np.testing.assert_array_equal(made.X, np.column_stack([np.ones(N), X]))
    assert made.individuals[:2].tolist() == [("0", "1"), ("0", "2")]
    again = cohort_from_arrays(y, made.X, covariates=["c", "x1", "x2"])
    np.testing.assert_array_equal(again.X, made.X)  # the intercept is not doubled
    assert again.covariates == ("intercept", "x1", "x2")
    assert cohort_from_arrays(y, X[:, 0], covariates=["age"]).covariates == ("intercept", "age")
    assert cohort_from_arrays(y.tolist()).p == 1


def test_from_arrays_missing() -> None:
    y, X = np.arange(20.0), np.random.default_rng(1).normal(size=(20, 1))
    y[2], X[3, 0] = np.nan, np.nan
    with pytest.raises(
        InputError, match=r"1 missing values \(phenotype missing: y\) -> .* -> give"
    ):
        cohort_from_arrays(y)
    ids = [f"p{k}" for k in range(20)]
    made = cohort_from_arrays(y, X, ids, trait="t", covariates=["age"])
    assert made.labels == [f"p{k}" for k in range(20) if k not in (2, 3)]
    found = [(s.reason, s.dropped, s.examples) for s in made.ledger.steps[:2]]
    assert found == [("phenotype missing: t", 1, ("p2",)), ("covariate missing: age", 1, ("p3",))]
    np.testing.assert_array_equal(made.y, np.delete(y, [2, 3]))


def test_from_arrays_bad() -> None:
    y = np.arange(20.0)
    with pytest.raises(InputError, match=r"y of shape \(4, 5\) -> one dimension"):
        cohort_from_arrays(y.reshape(4, 5))
    with pytest.raises(InputError, match=r"X of shape \(3, 2\) and y of length 20"):
        cohort_from_arrays(y, np.ones((3, 2)))
    with pytest.raises(InputError, match="1 names for 2 columns"):
        cohort_from_arrays(y, np.random.default_rng(1).normal(size=(20, 2)), covariates=["a"])
    with pytest.raises(InputError, match="2 individuals and y of length 20"):
        cohort_from_arrays(y, individuals=["a", "b"])
    with pytest.raises(InputError, match="20 missing values"):
        cohort_from_arrays(np.full(20, np.nan))
    with pytest.raises(InputError, match="n = 0 individuals"):
        cohort_from_arrays(np.full(20, np.nan), individuals=[f"p{k}" for k in range(20)])
    with pytest.raises(InputError, match="x1: the value inf of individual 3 -> finite numbers"):
        cohort_from_arrays(y, np.where(y == 2, np.inf, y))
    with pytest.raises(InputError, match="1 infinite values of the trait 'y'"):
        cohort_from_arrays(np.where(y == 2, np.inf, y))
    with pytest.raises(InputError, match="is constant"):
        cohort_from_arrays(np.zeros(20))


def test_cohort_refuses_broken_parts() -> None:
    n = 12
    y, X, who = np.arange(float(n)), np.ones((n, 1)), people(n)
    X2 = np.column_stack([np.ones(n), y])
    assert Cohort(y, X, who, ("intercept",), "a").ledger == Ledger()
    bad: list[tuple[tuple[object, ...], str]] = [
        ((y[:-1], X, who, ("intercept",), "a"), r"y of shape \(11,\) -> \(12,\) in a Cohort"),
        ((y.astype(np.float32), X, who, ("intercept",), "a"), "y of type float32 -> float64"),
        ((y, X, who, ("intercept", "b"), "a"), r"X of shape \(12, 1\) -> \(12, 2\)"),
        ((y, np.asfortranarray(X2), who, ("intercept", "b"), "a"), "X not in C order"),
        ((np.where(y == 3, np.nan, y), X, who, ("intercept",), "a"), "a value of y of F0 i03 that"),
        ((y, X * np.inf, who, ("intercept",), "a"), "a value of X of F0 i00 that is not finite"),
        ((y, X * 2, who, ("intercept",), "a"), "a design without an intercept"),
        ((y, X, who, ("b",), "a"), "a design without an intercept"),
        ((y, np.ones((n, 2)), who, ("intercept",) * 2, "a"), "-> different names in a Cohort"),
        ((y, X2, who, ("intercept", "b\n"), "a"), "-> printable names in a Cohort"),
        ((y, X, who[[0] * n], ("intercept",), "a"), "individuals that are not unique"),
        ((y, X, who, ("intercept",), "a/b"), "the trait name 'a/b' -> a name without '/'"),
    ]
    for parts, message in bad:
        with pytest.raises(InputError, match=message):
            Cohort(*parts)  # type: ignore[arg-type]


def test_records_and_columns() -> None:
    n = 12
    y, X, who = np.arange(float(n)), np.ones((n, 1)), people(4)[np.arange(n) % 4]
    names = tuple(f"r{k}" for k in range(n))
    columns = pd.DataFrame({"dam": np.arange(float(n)), "site": pd.array(["x"] * n, dtype="str")})

    def build(**parts: object) -> Cohort:
        usual = {"records": names, "columns": columns}
        return Cohort(y, X, who, ("intercept",), "a", **(usual | parts))  # type: ignore[arg-type]

    made = build()
    assert made.labels == list(names)
    assert made.coords("additive")["individual"] == list(names)
    assert made.people.equals(people(4))
    np.testing.assert_array_equal(made.levels, np.arange(n) % 4)
    assert made.trait_names == ("a",)
    assert made.column_text("dam")[-1] == "11"
    assert made.column_text("site") == made.column("site").tolist() == ["x"] * n
    bad: list[tuple[dict[str, object], str]] = [
        ({"records": None}, "individuals that are not unique FID, IID pairs -> .* or a name for"),
        ({"records": names[:-1]}, "11 names of records for 12 individuals"),
        ({"records": (*names[:-1], "r0")}, "two records named 'r0'"),
        ({"records": (*names[:-1], "")}, "not printable text"),
        ({"columns": columns[:-1]}, "rows 0, 1, ... -> 12 rows"),
        ({"columns": columns.set_axis(names)}, "rows 0, 1, ... -> 12 rows"),
        ({"columns": columns.set_axis(["a", "a"], axis=1)}, "different names, as text"),
        ({"columns": columns.astype({"dam": int})}, "the column 'dam' of type int64"),
        ({"columns": columns.replace(3.0, np.nan)}, "missing or infinite values in the column 'd"),
        ({"columns": columns.replace("x", None)}, "missing or infinite values in the column 's"),
    ]
    for parts, message in bad:
        with pytest.raises(InputError, match=message):
            build(**parts)


def test_mouse(shared_data: Path) -> None:
    folder = shared_data / "mouse_hs1940"
    phenotypes = read_phenotypes(folder / "mouse_hs1940.pheno.tsv")
    fam = pd.read_csv(folder / "mouse_hs1940.fam", sep=r"\s+", header=None, dtype={0: str, 1: str})
    reference = individual_index(fam[0], fam[1])
    made = cohort(phenotypes.sample(frac=1, random_state=1), "CD8", individuals=reference)
    kept = fam[fam[5].notna()]
    np.testing.assert_array_equal(made.y, kept[5])
    assert made.labels == kept[1].tolist()
    assert made.n == 1410
    binary = cohort(phenotypes, "CD8_a_binary", individuals=reference)
    assert (binary.n, binary.codings) == (757, ("{0, 1}",))
