from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import block_diag

from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.cohort.build import cohort, cohorts
from bayeslmm.cohort.cohort import Cohort, group_by_individuals
from bayeslmm.cohort.records import read_records, record_cohorts
from bayeslmm.cohort.traits import complete_traits, stack_traits, trait_blocks, trait_matrix
from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index

N = 40


def people(n: int = N) -> pd.MultiIndex:
    return individual_index([f"F{k % 3}" for k in range(n)], [f"i{k:02}" for k in range(n)])


def tables(seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    phenotypes = pd.DataFrame(rng.normal(size=(N, 3)), index=people(), columns=["a", "b", "c"])
    covariates = pd.DataFrame(
        {"age": rng.uniform(20, 60, N), "sex": rng.integers(1, 3, N).astype(float)}, index=people()
    )
    return phenotypes, covariates


def test_stacked_against_block_diag() -> None:
    phenotypes, covariates = tables()
    phenotypes.iloc[:3, 0] = np.nan
    phenotypes.iloc[10, 1] = np.nan
    singles = cohorts(
        phenotypes, individuals=people(), covariates=covariates, categorical=["sex"],
        extra=pd.DataFrame({"site": ["x", "y"] * (N // 2)}, index=people()),
    )  # fmt: skip
    made = stack_traits(singles)
    assert (made.n, made.p, made.trait) == (37 + 39 + 40, 9, "a,b,c")
    assert made.traits == made.trait_names == ("a", "b", "c")
    assert made.covariates[:4] == ("intercept[a]", "age[a]", "sex[2][a]", "intercept[b]")
    np.testing.assert_array_equal(made.X, block_diag(*(one.X for one in singles)))
    np.testing.assert_array_equal(made.y, np.concatenate([one.y for one in singles]))
    assert made.trait_index is not None
    assert np.bincount(made.trait_index).tolist() == [37, 39, 40]
    assert made.labels[0] == "i03 a"
    assert made.labels[-1] == "i39 c"
    assert len(made.people) == N
    assert made.people[made.levels].equals(made.individuals)
    assert made.individuals[made.trait_index == 1].equals(singles[1].individuals)
    assert made.column("site").tolist() == [s for one in singles for s in one.column("site")]
    for block, one in zip(trait_blocks(made), singles, strict=True):
        assert block.trait == one.trait
        np.testing.assert_array_equal(made.X[block.rows, block.columns], one.X)
        np.testing.assert_array_equal(made.y[block.rows], one.y)
    assert not complete_traits(made)
    with pytest.raises(InputError, match="with different individuals or designs -> the same"):
        trait_matrix(made)
    assert len(group_by_individuals([made, stack_traits(singles), *singles])) == 4


def test_ledger_has_shared_steps_once() -> None:
    phenotypes, covariates = tables()
    phenotypes.iloc[0, 0] = covariates.iloc[1, 0] = np.nan
    singles = cohorts(
        phenotypes.iloc[:-2], ["a", "b"], individuals=people(), covariates=covariates[["age"]]
    )
    found = [(s.reason, s.dropped, s.remaining) for s in stack_traits(singles).ledger.steps]
    how = "(matched by FID and IID)"
    assert found == [
        (f"not in the genotypes or GRM {how}", 0, 40),
        (f"not in the phenotype file {how}", 2, 38),
        ("phenotype missing: a", 1, 37),
        ("not in the covariate file [a]", 0, 37),
        ("covariate missing: age [a]", 1, 36),
        ("constant [a]", 0, 2),
        ("collinear with earlier covariates [a]", 0, 2),
        ("phenotype missing: b", 0, 38),
        ("not in the covariate file [b]", 0, 38),
        ("covariate missing: age [b]", 1, 37),
        ("constant [b]", 0, 2),
        ("collinear with earlier covariates [b]", 0, 2),
    ]


def test_complete_traits() -> None:
    phenotypes, covariates = tables()
    singles = cohorts(phenotypes, individuals=people(), covariates=covariates[["age"]])
    made = stack_traits(singles)
    assert complete_traits(made)
    assert complete_traits(singles[0])
    Y, X = trait_matrix(made)
    np.testing.assert_array_equal(Y, phenotypes)
    np.testing.assert_array_equal(X, singles[0].X)
    assert X.flags.c_contiguous
    np.testing.assert_array_equal(np.kron(np.eye(3), X), made.X)
    (block,) = trait_blocks(singles[0])
    assert (block.trait, block.rows, block.columns) == ("a", slice(0, N), slice(0, 2))
    # the same people in another order, and other covariates, need the general form
    turned = cohort(phenotypes, "b", individuals=people()[::-1], covariates=covariates[["age"]])
    assert not complete_traits(stack_traits([singles[0], turned]))
    other = cohort(phenotypes, "b", individuals=people(), covariates=covariates[["sex"]])
    assert not complete_traits(stack_traits([singles[0], other]))
    fewer = cohort(phenotypes, "b", individuals=people())
    assert not complete_traits(stack_traits([singles[0], fewer]))


def test_names_agree_between_traits() -> None:
    """IIDs unique within one trait but not in the other: FID and IID name all of them."""
    rng = np.random.default_rng(1)
    twins = individual_index(["F", "G"] * 20, [f"b{k // 2}" for k in range(40)])
    first = cohort_from_arrays(rng.normal(size=40), individuals=twins, trait="a")
    second = cohort_from_arrays(rng.normal(size=20), individuals=twins[::2], trait="b")
    made = stack_traits([first, second])
    assert made.labels[0] == "F b0 a"
    assert made.labels[-1] == "F b19 b"


def test_repeated_records_of_several_traits() -> None:
    rng = np.random.default_rng(2)
    index = individual_index(["0"] * 45, [f"a{k % 15}" for k in range(45)])
    records = pd.DataFrame(rng.normal(size=(45, 2)), index=index, columns=["milk", "fat"])
    ids = index.unique()
    made = stack_traits(record_cohorts(records, ["milk", "fat"], individuals=ids))
    assert made.labels[:2] == ["a0 1 milk", "a0 2 milk"]
    assert (made.n, len(made.people)) == (90, 15)
    assert complete_traits(made)
    records.iloc[0, 0] = np.nan  # milk of record 1 of a0 ...
    records.iloc[15, 1] = np.nan  # ... and fat of its record 2: two records each, not the same
    made = stack_traits(record_cohorts(records, ["milk", "fat"], individuals=ids))
    assert made.n == 88
    assert not complete_traits(made)


def test_refused() -> None:
    phenotypes, _ = tables()
    first, second, third = cohorts(phenotypes, individuals=people())
    with pytest.raises(InputError, match="1 trait to stack -> two or more"):
        stack_traits([first])
    with pytest.raises(InputError, match=r"traits \('a', 'a'\) -> each once"):
        stack_traits([first, first])
    with pytest.raises(InputError, match="the cohort of 'a,b' has several traits"):
        stack_traits([stack_traits([first, second]), third])
    sited = cohort(phenotypes.assign(site="x"), "b", individuals=people(), columns=["site"])
    with pytest.raises(InputError, match=r"further columns that differ .*: \[\[\], \['site'\]\]"):
        stack_traits([first, sited])


def test_broken_stacks() -> None:
    phenotypes, _ = tables()
    good = stack_traits(cohorts(phenotypes, ["a", "b"], individuals=people()))

    def changed(**parts: object) -> None:
        names = ("y", "X", "individuals", "covariates", "trait", "records", "trait_index", "traits")
        Cohort(**({name: getattr(good, name) for name in names} | parts))  # type: ignore[arg-type]

    changed()
    assert good.trait_index is not None
    bad: list[tuple[dict[str, object], str]] = [
        ({"trait_index": None}, r"traits \('a', 'b'\) without a trait_index"),
        ({"traits": ("a",)}, r"traits \('a',\) -> at least two"),
        ({"traits": ("a", "b", "c"), "trait": "a,b,c"}, "runs from 0 to 2"),
        ({"trait": "a"}, r"the trait 'a' of the traits \('a', 'b'\) -> 'a,b'"),
        ({"trait_index": good.trait_index[::-1].copy()}, "not ordered trait by trait"),
        ({"trait_index": good.trait_index[:-1]}, r"trait_index of shape \(79,\) -> \(80,\)"),
        ({"trait_index": good.trait_index.astype(float)}, "an array of intp"),
        ({"covariates": ("intercept[b]", "intercept[a]")}, r"begin with intercept\[a\], inter"),
        ({"covariates": ("intercept[a]", "sex[a]")}, r"begin with intercept\[a\], inter"),
        ({"X": np.ones((2 * N, 2))}, "a design that mixes traits"),
        ({"X": good.X * 2}, "whose intercepts are not ones"),
        ({"records": None}, "a name for every record"),
    ]
    for parts, message in bad:
        with pytest.raises(InputError, match=message):
            changed(**parts)


def test_gryphon(shared_data: Path) -> None:
    """Birth weight (854) and tarsus length of the published tutorial; some have one only."""
    folder = shared_data / "gryphon"
    plain = pd.read_csv(folder / "phenotypes.tsv", sep="\t")
    records = read_records(folder / "phenotypes.tsv", "ANIMAL")
    made = stack_traits(
        record_cohorts(records, ["BWT", "TARSUS"], individuals=records.index, categorical=["SEX"])
    )
    assert made.trait_index is not None
    counts = plain[["BWT", "TARSUS"]].notna().sum().tolist()
    assert np.bincount(made.trait_index).tolist() == counts
    assert counts[0] == 854
    assert len(made.people) == int(plain[["BWT", "TARSUS"]].notna().any(axis=1).sum())
    assert made.covariates == ("intercept[BWT]", "SEX[2][BWT]", "intercept[TARSUS]",
                               "SEX[2][TARSUS]")  # fmt: skip
    assert not complete_traits(made)
