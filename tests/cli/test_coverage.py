"""``bayeslmm coverage`` and ``bayeslmm power``: files, columns, words, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from engine_oracles import gram

from bayeslmm.cli import main
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.relationship.files import write_grm
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.study.coverage import COLUMNS, METHODS
from bayeslmm.study.power import COLUMNS as POWER_COLUMNS
from bayeslmm.system.files import sha256

N = 60


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GRM in GCTA's files, its spectrum, some individuals."""
    folder = tmp_path_factory.mktemp("data")
    people = pd.MultiIndex.from_arrays(
        [["0"] * N, [f"I{k}" for k in range(N)]], names=["FID", "IID"]
    )
    kernel = Relationship(gram(N, 300, np.random.default_rng(1)), people).on(people)
    write_grm(kernel, folder / "x")
    decompose(kernel.matrix, np.ones((N, 1))).save(folder / "x.npz")
    (folder / "some.txt").write_text("".join(f"0 I{k}\n" for k in range(40)))
    return folder


def table(path: Path | str) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t")


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_coverage_writes_table_page_and_record(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "a"
    assert run("coverage", "--grm", data / "x", "--h2", "0,0.4", "--reps", 300, "--out", out) == 0
    found = table(f"{out}.coverage.tsv")
    assert tuple(found.columns) == COLUMNS
    assert list(found["h2"]) == ["0.0"] * 3 + ["0.4"] * 3 + ["prior"] * 3
    assert list(found["method"]) == list(METHODS) * 3
    assert found["coverage"].between(0, 1).all()
    assert (found["n_reps"] == 300).all()
    record = json.loads(Path(f"{out}.coverage.run.json").read_text("utf-8"))
    assert record["n"] == N
    assert record["priors"] == {"h2": "beta(1, 1)", "total_sd": "half_t(3, 2.5)"}
    assert record["options"]["h2"] == [0.0, 0.4]
    assert record["inputs"][0]["sha256"] == sha256(data / "x.grm.bin")
    for suffix in (".coverage.tsv", ".coverage.html"):
        assert record["outputs_sha256"][f"a{suffix}"] == sha256(f"{out}{suffix}")
    page = Path(f"{out}.coverage.html").read_text("utf-8")
    assert page.count("<svg") == 1
    assert "<script" not in page
    assert "How often do intervals of h² hold the truth?" in page
    printed = capsys.readouterr().out
    assert "Averaged over the prior of h², our highest density interval (HDI)" in printed
    assert "data of this size say little" in printed
    assert f"report: {out}.coverage.html" in printed


def test_spectrum_matrix_and_text_give_the_same(data: Path, tmp_path: Path) -> None:
    """.grm.bin is float32: eigenvalues agree to 1e-6, and so do the means over data sets."""
    s = np.load(data / "x.npz")["eigenvalues"]
    (tmp_path / "s.txt").write_text("\n".join(map(repr, s.tolist())))
    more = ("--h2", "0.3", "--reps", 200)
    run("coverage", "--spectrum", data / "x.npz", *more, "--out", tmp_path / "a")
    run(
        "coverage", "--spectrum", tmp_path / "s.txt", *more, "--threads", 1, "--out", tmp_path / "b"
    )
    run("coverage", "--grm", data / "x", *more, "--out", tmp_path / "c")
    a, b, c = (table(tmp_path / f"{name}.coverage.tsv") for name in "abc")
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert c["width"].to_numpy() == pytest.approx(a["width"].to_numpy(), abs=1e-4)


def test_individuals_covariates_and_prior_count(data: Path, tmp_path: Path) -> None:
    more = ("--h2", "0.3", "--reps", 50)
    run("coverage", "--grm", data / "x", "--keep", data / "some.txt", "--n-covariates", 2,
        "--prior", "h2=beta(2,2)", *more, "--out", tmp_path / "a")  # fmt: skip
    record = json.loads((tmp_path / "a.coverage.run.json").read_text("utf-8"))
    assert (record["n"], record["fixed_effects"]) == (40, 3)
    assert record["priors"]["h2"] == "beta(2, 2)"
    assert [Path(one["path"]).name for one in record["inputs"]] == ["x.grm.bin", "some.txt"]


def test_power_of_a_matrix_a_part_of_it_and_more(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p"
    more = ("--n", "40,60,90", "--h2", "0,0.5", "--reps", 100, "--out", out)
    assert run("power", "--grm", data / "x", *more) == 0
    found = table(f"{out}.power.tsv")
    assert tuple(found.columns) == POWER_COLUMNS
    assert list(found["n"]) == [40, 40, 60, 60, 90, 90]
    assert (np.diff(found["se_expected"].to_numpy().reshape(3, 2), axis=0) < 0).all()
    printed = capsys.readouterr()
    assert "n = 90 is not the 60 of the matrix x.grm.bin" in printed.err
    assert "90 individuals: " in printed.out
    page = Path(f"{out}.power.html").read_text("utf-8")
    assert "n = 40" in page
    assert "What could this study say about h²?" in page
    assert json.loads(Path(f"{out}.power.run.json").read_text("utf-8"))["options"]["n"] == [
        40,
        60,
        90,
    ]


def test_a_value_named_twice_is_taken_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--h2", "0.5,0,0.5", "--reps", 1)
    run("coverage", "--grm", data / "x", *more, "--out", tmp_path / "a")
    assert (
        list(table(tmp_path / "a.coverage.tsv")["h2"]) == ["0.5"] * 3 + ["0.0"] * 3 + ["prior"] * 3
    )
    assert "1 simulated data set for each true h² was fitted" in capsys.readouterr().out
    run("power", "--me", 100, "--n", "50,50", *more, "--out", tmp_path / "b")
    assert table(tmp_path / "b.power.tsv")[["n", "h2"]].to_numpy().tolist() == [[50, 0.5], [50, 0]]


def test_power_of_segments_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("power", "--n", "200,800", "--me", 400, "--h2", "0.1,0.5", "--reps", 100) == 0
    printed = capsys.readouterr().out
    assert "From 400 independent segments, 100 simulated data sets" in printed
    assert "P(interval excludes 0)" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["power", "--me", "100"], "--me without --n"),
        (["power", "--n", "100"], "one of the arguments --me --grm --spectrum is required"),
        (["coverage", "--spectrum", "x.npz", "--keep", "some.txt"], "--keep without --grm"),
        (
            ["coverage", "--spectrum", "x.npz", "--n-covariates", "2"],
            "the spectrum includes its design",
        ),
        (["coverage", "--grm", "x", "--h2", "0.2,1.5"], "'1.5' -> a number from 0 to 1"),
        (["coverage", "--grm", "x", "--prior", "beta=normal(0,1)"], "a prior of 'beta'"),
        (["coverage", "--grm", "x", "--prior", "h2"], "NAME=FAMILY(numbers)"),
        (["coverage", "--grm", "nobody"], "nobody"),
        (["coverage", "--spectrum", "nobody.npz"], "no such file"),
        (["coverage", "--grm", "x", "--n-covariates", "59"], "for 60 fixed effects"),
    ],
)
def test_what_is_wrong_is_said(
    data: Path,
    arguments: list[str],
    match: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(data)
    before = sorted(data.iterdir())
    assert main([*arguments, "--out", "out"]) == 2
    assert match in capsys.readouterr().err
    assert sorted(data.iterdir()) == before


def test_nobody_related_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.txt").write_text("1.0\n" * 50)
    spectrum = tmp_path / "s.txt"
    out = tmp_path / "a"
    assert run("coverage", "--spectrum", spectrum, "--h2", "0.5", "--reps", 50, "--out", out) == 0
    assert "h² is not identified" in capsys.readouterr().err
    found = table(f"{out}.coverage.tsv")
    assert found.iloc[0]["width"] == pytest.approx(0.95, abs=0.002)  # the prior's own
    assert run("power", "--spectrum", spectrum, "--n", 99, "--reps", 50) == 2
    assert "eigenvalues are all the same" in capsys.readouterr().err
