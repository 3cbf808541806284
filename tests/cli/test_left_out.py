"""One trait of many that cannot be analysed: the others are, and the table says why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gallery_runs import write_data

from bayeslmm.cli import main
from bayeslmm.errors import ModelError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty people with four traits: one constant, one with two values."""
    folder = tmp_path_factory.mktemp("left_out")
    write_data(folder, 60)
    people = pd.read_csv(folder / "sim.pheno", sep="\t", dtype={"FID": str, "IID": str})
    people["flat"] = 3.5
    people["rare"] = np.where(np.arange(len(people)) < 2, people["A"], np.nan)
    people["C"] = np.random.default_rng(1).standard_normal(len(people))
    people.to_csv(folder / "people.tsv", sep="\t", index=False, na_rep="NA")
    return folder


def run(data: Path, out: str, traits: str, *more: str) -> int:
    words = f"h2 --bfile {data}/sim --pheno {data}/people.tsv --pheno-name {traits} --draws 2000"
    return main([*words.split(), "--no-report", "--out", str(data / out), *more])


def test_the_others_are_analysed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "all", "flat,A,rare,C") == 1
    said = capsys.readouterr().err
    assert "warning: flat is left out: " in said
    assert "the trait 'flat' is constant: all 60 values are 3.5" in said
    table = pd.read_csv(data / "all.h2.tsv", sep="\t")
    reasons = table[table["quantity"].str.startswith("left out: ")].set_index("trait")
    assert list(reasons.index) == ["flat", "rare"]
    assert "constant" in reasons.loc["flat", "quantity"]
    assert "only the two values" in reasons.loc["rare", "quantity"]
    assert (reasons["n"] == 0).all()
    assert reasons["mean"].isna().all()
    record = json.loads((data / "all.run.json").read_text())
    assert record["left_out"].keys() == {"flat", "rare"}
    assert record["left_out"]["flat"] in reasons.loc["flat", "quantity"]
    assert run(data, "one", "A,C") == 0
    good = pd.read_csv(data / "one.h2.tsv", sep="\t")
    left = table[~table["quantity"].str.startswith("left out: ")].reset_index(drop=True)
    pd.testing.assert_frame_equal(left, good)


def test_none_left_is_an_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "none", "flat,rare") == 2
    assert "the trait 'flat' is constant" in capsys.readouterr().err
    assert run(data, "alone", "flat") == 2
    assert not list(data.glob("none.*"))


def test_a_model_of_several_traits_needs_them_all(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "json", "A,flat", "--json") == 1
    assert json.loads(capsys.readouterr().out)["left_out"].keys() == {"flat"}
    assert run(data, "two", "A,flat", "--model", "bivariate") == 2
    assert "the trait 'flat' is constant" in capsys.readouterr().err


def test_a_fit_that_fails_leaves_the_others(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bayeslmm.inference import fit as fitting

    whole = fitting.fit

    def failing(model: object, *arguments: object, **options: object) -> object:
        if calls.pop():
            raise ModelError("the posterior of h² piles up at 1")
        return whole(model, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("bayeslmm.inference.fit.fit", failing)
    calls = [False, True]  # from the last
    assert run(data, "fails", "A,C") == 1
    assert "warning: A is left out: the posterior of h² piles up at 1" in capsys.readouterr().err
    table = pd.read_csv(data / "fails.h2.tsv", sep="\t")
    assert set(table["trait"]) == {"A", "C"}
    calls = [True, True]
    assert run(data, "both", "A,C") == 2
