from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslmm.cohort.build import cohort
from bayeslmm.cohort.cohort import Cohort, group_by_individuals
from bayeslmm.cohort.records import read_records, record_cohorts
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.individuals import individual_index
from bayeslmm.tables.phenotypes import read_columns, read_phenotypes

type Write = Callable[[str], Path]
Q = 30


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(content: str) -> Path:
        path = tmp_path / "records.tsv"
        path.write_text(content)
        return path

    return _write


def people(q: int = Q) -> pd.MultiIndex:
    return individual_index(["0"] * q, [f"a{k:02}" for k in range(q)])


def table(seed: int = 1) -> pd.DataFrame:
    """Individual k has 1 + k mod 4 records (73 in all), in a random order of rows."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(Q), 1 + np.arange(Q) % 4))
    n = len(who)
    return pd.DataFrame(
        {
            "milk": rng.normal(size=n),
            "fat": rng.normal(size=n),
            "age": rng.uniform(2, 9, n),
            "parity": rng.choice(["one", "two", "more"], n),
            "herd": rng.choice(["x", "y"], n),
        },
        index=people()[who],
    )


def one(records: pd.DataFrame, trait: str = "milk", **options: object) -> Cohort:
    return record_cohorts(records, [trait], individuals=people(), **options)[0]  # type: ignore[arg-type]


def steps(made: Cohort) -> list[tuple[str, str, int, int]]:
    return [(s.unit, s.reason, s.dropped, s.remaining) for s in made.ledger.steps]


def test_read(write: Write) -> None:
    text = "ANIMAL\tDAM\tBWT\tSITE\tTAG\n7\t3\t1.5\tx\t01\n8\tNA\t-2e1\t.\t1\n7\t4\tNA\ty\t2\n"
    frame = read_records(write(text), "ANIMAL")
    assert frame.index.tolist() == [("0", "7"), ("0", "8"), ("0", "7")]
    assert list(frame.columns) == ["DAM", "BWT", "SITE", "TAG"]
    np.testing.assert_array_equal(frame["BWT"], [1.5, -20.0, np.nan])
    np.testing.assert_array_equal(frame["DAM"], [3.0, np.nan, 4.0])
    assert frame["SITE"].isna().tolist() == [False, True, False]
    assert frame["TAG"].tolist() == ["01", "1", "2"]  # 01 is no number: it would become 1
    assert frame.attrs["text"] == {"SITE": (2, "x"), "TAG": (2, "01")}
    again = read_records(write(text), "ANIMAL", missing_code=-20)
    assert again["BWT"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("header", "column", "expected"),
    [
        ("FID IID y", "IID", ("F", "i")),
        ("#FID IID y", "#IID", ("F", "i")),
        ("IID FID y", "iid", ("i", "F")),
        ("ANIMAL GROUP y", "ANIMAL", ("0", "F")),
        ("GROUP #IID y", "#IID", ("0", "i")),
    ],
)
def test_identifiers(write: Write, header: str, column: str, expected: tuple[str, str]) -> None:
    frame = read_records(write(f"{header}\nF i 1\nF i 2\n"), column)
    assert frame.index.tolist() == [expected] * 2
    assert frame["y"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A y\n1 2\n", r"records.tsv:1: no column 'ID' in the first line -> .* it has: A, y -> "),
        ("ID y\n1 2\nNA 3\n", r"records.tsv:3:ID: the identifier 'NA' -> an individual for every"),
        ("ID\ty\n1\t2\n\t3\n", r"records.tsv:3:ID: the identifier '' -> printable"),
        ("ID y\n1 2\n1 3 4\n", r"records.tsv:3: 3 fields -> 2, as in the first line"),
        ("ID y y\n1 2 3\n", r"records.tsv:1:y: the column 'y' occurs twice"),
        ("ID y\n", r"records.tsv:1: a header and no rows"),
        ("\nID y\n1 2\n", r"records.tsv:1: a blank line"),
        ("", "an empty file"),
    ],
)
def test_bad_files(write: Write, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_records(write(text), "ID")


def test_unbalanced_records_against_a_loop() -> None:
    records = table()
    order = people()[::-1]
    made = record_cohorts(
        records, ["milk"], individuals=order, covariate_names=["age"], columns=["herd", "fat"]
    )[0]
    rows = [r for who in order for r in np.flatnonzero(records.index == who)]
    np.testing.assert_array_equal(made.y, records["milk"].to_numpy()[rows])
    np.testing.assert_array_equal(made.X[:, 1], records["age"].to_numpy()[rows])
    assert made.individuals.equals(records.index[rows])
    assert made.column("herd").tolist() == records["herd"].iloc[rows].tolist()
    np.testing.assert_array_equal(made.column("fat"), records["fat"].to_numpy()[rows])
    assert made.people.equals(order)
    assert made.people[made.levels].equals(made.individuals)
    assert made.labels[:3] == ["a29 1", "a29 2", "a28 1"]
    assert len(set(made.labels)) == made.n == 73
    assert made.covariates == ("intercept", "age")


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["~ poly(age, 2) + C(parity)", None]))
def test_order_of_individuals_in_the_file_plays_no_role(seed: int, formula: str | None) -> None:
    options = (
        {"formula": formula} if formula else {"covariate_names": ["age"], "categorical": ["parity"]}
    )
    records = table()
    records.iloc[3, 0] = records.iloc[8, 2] = np.nan
    rng = np.random.default_rng(seed)
    key = rng.permutation(Q)[records.index.codes[1]]  # individuals move, their records stay in turn
    first = one(records, columns=["herd"], **options)
    again = one(records.iloc[np.argsort(key, kind="stable")], columns=["herd"], **options)
    assert again.labels == first.labels
    assert again.y.tobytes() == first.y.tobytes()
    assert again.X.tobytes() == first.X.tobytes()
    assert again.columns is not None
    assert again.columns.equals(first.columns)
    counts = [(s.unit, s.reason, s.dropped, s.remaining) for s in first.ledger.steps]
    assert steps(again) == counts


def test_missing_in_every_role() -> None:
    records = table()
    single = [k for k in range(Q) if k % 4 == 0]  # individuals with one record
    where = {k: np.flatnonzero(records.index == people()[k]) for k in range(Q)}
    milk, age, herd = (records.columns.get_loc(name) for name in ("milk", "age", "herd"))
    records.iloc[where[single[0]][0], milk] = np.nan  # the individual is lost
    records.iloc[where[3][1], milk] = np.nan
    records.iloc[where[3][2], age] = np.nan
    records.iloc[where[7][0], herd] = np.nan
    stranger = records.iloc[:2].set_axis(individual_index(["0"] * 2, ["zz"] * 2))
    covariates = pd.DataFrame({"sex": np.arange(Q) % 2.0}, index=people())
    covariates.iloc[5, 0] = np.nan  # 2 records
    made = one(
        pd.concat([records, stranger]), covariates=covariates.iloc[:-1], columns=["herd"],
        covariate_names=["sex", "age"],
    )  # fmt: skip
    assert steps(made)[:-2] == [
        ("individuals", "not in the genotypes or GRM (matched by IID)", 1, Q),
        ("individuals", "not in the phenotype file (matched by IID)", 0, Q),
        ("records", "individual not in the genotypes or GRM", 2, 73),
        ("records", "phenotype missing: milk", 2, 71),
        ("records", "not in the covariate file", 2, 69),
        ("records", "covariate missing: sex", 2, 67),
        ("records", "covariate missing: age", 1, 66),
        ("records", "column missing: herd", 1, 65),
        ("individuals", "no complete record: milk", 3, 27),
    ]
    named = {s.reason: s.examples for s in made.ledger.steps}
    assert named["individual not in the genotypes or GRM"] == ("zz 1", "zz 2")
    assert named["phenotype missing: milk"] == ("a00 1", "a03 2")
    assert named["no complete record: milk"] == ("a00", "a05", "a29")
    assert (made.n, len(made.people)) == (65, 27)
    assert "a03 4" in made.labels  # numbered in the file, not after dropping
    assert made.X[made.labels.index("a01 2"), 1] == 1.0


def test_one_record_each_is_a_cohort_as_any_other() -> None:
    records = table().groupby(level=[0, 1]).first()
    made = one(records, covariate_names=["age"])
    usual = cohort(records[["milk"]], "milk", individuals=people(), covariates=records[["age"]])
    assert made.records is None
    assert made.labels == usual.labels
    assert made.y.tobytes() == usual.y.tobytes()
    assert made.X.tobytes() == usual.X.tobytes()
    assert made.people is made.individuals
    np.testing.assert_array_equal(made.levels, np.arange(Q))


def test_matched_by_iid_with_families() -> None:
    records = table()
    families = individual_index(["F"] * Q, people().get_level_values(1))
    made = record_cohorts(records, ["milk"], individuals=families)[0]
    assert made.individuals.get_level_values(0).unique().tolist() == ["F"]
    assert made.y.tobytes() == one(records).y.tobytes()
    twins = individual_index(["F", "G"] * (Q // 2), [f"b{k // 2}" for k in range(Q)])
    made = record_cohorts(
        records.set_axis(twins[people().get_indexer(records.index)]), ["milk"], individuals=twins
    )[0]
    assert made.labels[:3] == ["F b0 1", "G b0 1", "G b0 2"]
    with pytest.raises(InputError, match=r"no individual in common: .* the phenotype table"):
        record_cohorts(records, ["milk"], individuals=individual_index(["0"], ["q"]))
    with pytest.raises(InputError, match="only row numbers"):
        one(records.reset_index(drop=True))


def test_traits_share_and_group() -> None:
    records = table()
    records["protein"] = records["milk"] + records["fat"]
    records.iloc[0, 1] = np.nan
    made = record_cohorts(
        records, ["milk", "fat", "protein"], individuals=people(), columns=["herd"]
    )
    assert made[0].X is made[2].X
    groups = group_by_individuals(made)
    assert [[c.trait for c in group] for group in groups] == [["milk", "protein"], ["fat"]]
    moved = records.assign(herd=records["herd"].to_numpy()[::-1])
    other = one(moved, columns=["herd"])  # the same design, other groups
    assert len(group_by_individuals([made[0], other])) == 2
    assert len(group_by_individuals([made[0], one(records, columns=["herd"])])) == 1


def test_text_where_numbers_are_needed(write: Write) -> None:
    rows = "".join(f"{k % 9} {k * k} x{k} {k}\n" for k in range(40))
    frame = read_records(write(f"ID y t z\n{rows}".replace("\n3 144 x12", "\n3 ? x12")), "ID")
    individuals = individual_index(["0"] * 9, map(str, range(9)))

    def build(trait: str, **options: object) -> Cohort:
        found: list[Cohort] = record_cohorts(
            frame,
            [trait],
            individuals=individuals,
            **options,  # type: ignore[arg-type]
        )
        return found[0]

    with pytest.raises(InputError, match=r"records.tsv:14:y: '\?' in column 'y' -> a finite num"):
        build("y")
    with pytest.raises(InputError, match=r"records.tsv:2:t: 'x0' in column 't' -> .*--cat-covar"):
        build("z", covariate_names=["t"])
    with pytest.raises(InputError, match=r"records.tsv:14:y: '\?' in column 'y'"):
        build("z", formula="~ y")
    with pytest.raises(InputError, match=r"records.tsv: no column 'q' -> one of: y, t, z"):
        build("q")
    with pytest.raises(InputError, match=r"records.tsv: no column 'q' -> one of: y, t, z"):
        build("z", columns=["q"])
    with pytest.raises(InputError, match=r"records.tsv: no column 'q' -> one of: y, t, z"):
        build("z", covariate_names=["q"])
    assert build("z", columns=["t"]).column("t").tolist()[:2] == ["x0", "x9"]
    with pytest.raises(InputError, match="the trait 'w' holds str -> numbers"):
        one(table().assign(w="x"), "w")


def test_name_in_both_tables() -> None:
    covariates = pd.DataFrame({"age": np.arange(float(Q))}, index=people())
    with pytest.raises(InputError, match="a column 'age' in both the records and the covar"):
        one(table(), covariates=covariates)


def test_minus_nine_is_said(write: Write) -> None:
    rows = "".join(f"{k % 5} {k} -9\n" for k in range(30)) + "1 -9 3\n"
    individuals = individual_index(["0"] * 5, map(str, range(5)))
    frame = read_records(write(f"ID y other\n{rows}"), "ID")
    with pytest.warns(BayesLMMWarning, match=r"1 values equal -9 .*\(1 in 'y'\)"):
        record_cohorts(frame, ["y"], individuals=individuals)
    frame = read_records(write(f"ID y other\n{rows}"), "ID", -9)
    assert record_cohorts(frame, ["y"], individuals=individuals)[0].n == 30


def test_columns_of_an_ordinary_cohort(write: Write) -> None:
    rows = "".join(f"F i{k} {k % 7}.5 {'NA' if k == 3 else f'h{k % 4}'} {k}\n" for k in range(40))
    path = write(f"FID IID y household dam\n{rows}")
    phenotypes, extra = (
        read_phenotypes(path, columns=["y"]),
        read_columns(path, ["household", "dam"]),
    )
    assert extra.dtypes.astype(str).tolist() == ["str", "float64"]
    made = cohort(phenotypes, "y", individuals=phenotypes.index[::-1], extra=extra.sample(frac=1))
    assert made.records is None
    assert [s.reason for s in made.ledger.steps if s.dropped] == ["column missing: household"]
    assert made.column("household").tolist() == [f"h{k % 4}" for k in range(39, -1, -1) if k != 3]
    assert made.column_text("dam")[:2] == ["39", "38"]
    again = cohort(
        phenotypes.join(extra), "y", individuals=phenotypes.index[::-1], columns=["household"]
    )
    assert again.column("household").equals(made.column("household"))
    part = cohort(phenotypes, "y", individuals=phenotypes.index, extra=extra.iloc[:30])
    assert [s.dropped for s in part.ledger.steps if s.reason == "not in the column file"] == [10]
    with pytest.raises(InputError, match=r"has no column 'batch' -> one of: household -> ask for"):
        again.column("batch")
    with pytest.raises(InputError, match="has no column 'dam' -> a cohort with further columns"):
        cohort(phenotypes, "y", individuals=phenotypes.index).column("dam")
    with pytest.raises(InputError, match="no column 'batch' -> one of: y, household, dam"):
        cohort(phenotypes.join(extra), "y", individuals=phenotypes.index, columns=["batch"])


def test_gryphon(shared_data: Path) -> None:
    folder = shared_data / "gryphon"
    records = read_records(folder / "phenotypes.tsv", "ANIMAL")
    pedigree = pd.read_csv(folder / "pedigree.tsv", sep="\t", dtype={"animal": str})
    individuals = individual_index(["0"] * len(pedigree), pedigree["animal"])
    made = record_cohorts(
        records, ["BWT", "TARSUS"], individuals=individuals, categorical=["SEX"],
        columns=["MOTHER", "BYEAR"],
    )  # fmt: skip
    assert made[0].n == 854  # the published tutorial's number
    assert made[0].records is None
    assert made[0].covariates == ("intercept", "SEX[2]")
    plain = pd.read_csv(folder / "phenotypes.tsv", sep="\t", dtype={"ANIMAL": str, "MOTHER": str})
    plain = plain[plain["BWT"].notna()].set_index("ANIMAL")
    labels = made[0].labels
    np.testing.assert_array_equal(made[0].y, plain.loc[labels, "BWT"])
    np.testing.assert_array_equal(made[0].X[:, 1], plain.loc[labels, "SEX"] == 2)
    assert made[0].column_text("MOTHER") == plain.loc[labels, "MOTHER"].tolist()
    assert [label for label in individuals.get_level_values(1) if label in plain.index] == labels
