"""``bayeslmm compare``: files, options, errors, and the page in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_report_browser import Visit, browser  # noqa: F401 (a fixture)

from bayeslmm.cli import main
from bayeslmm.comparison.table import COLUMNS
from bayeslmm.report.compare_words import strength

TRAIT = "a<script>alert(1)<b>"
MODELS = "fixed,additive,household"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Families of five, a trait with a hostile name, a cage that some individuals lack."""
    folder = tmp_path_factory.mktemp("study")
    made = [
        "simulate", "--n", "120", "--m", "300", "--families", "--h2", "0.6", "--seed", "3",
        "--out", str(folder / "s"),
    ]  # fmt: skip
    assert main(made) == 0
    table = pd.read_csv(folder / "s.pheno", sep="\t").rename(columns={"y": TRAIT})
    table["cage"] = [f"c{k // 3}" for k in range(len(table))]
    table.loc[[4, 17], "cage"] = "NA"
    table["second"] = np.arange(len(table)) % 7 + np.random.default_rng(1).uniform(size=len(table))
    table.to_csv(folder / "s.pheno", sep="\t", index=False)
    return folder


def command(study: Path, out: str, *more: str) -> list[str]:
    usual = ["compare", "--bfile", str(study / "s"), "--pheno", str(study / "s.pheno")]
    return [*usual, "--draws", "2000", "--out", str(study / out), *more]


@pytest.fixture(scope="module")
def families(study: Path) -> Path:
    """The page of a comparison with the families of the genotype files as groups."""
    options = ("--pheno-name", TRAIT, "--models", MODELS, "--group-column", "FID")
    assert main(command(study, "fid", *options)) == 0
    return study / "fid.compare.html"


def test_files_of_a_comparison(families: Path) -> None:
    table = pd.read_csv(families.with_name("fid.compare.tsv"), sep="\t")
    assert tuple(table.columns) == COLUMNS
    assert sorted(table["model"]) == ["additive", "fixed", "household"]
    assert np.all(np.diff(table["elpd"]) <= 0)
    assert table["log_ml"].notna().all()
    run = json.loads(families.with_name("fid.compare.run.json").read_text())
    assert run["n"] == 120
    assert run["trait"] == TRAIT
    assert [row["model"] for row in run["comparison"]] == table["model"].tolist()
    assert run["models"]["household"]["engine"] == "laplace"
    assert run["models"]["fixed"]["model"] == "fixed"
    assert set(run["outputs_sha256"]) == {"fid.compare.tsv", "fid.compare.html"}
    text = families.read_text(encoding="utf-8")
    for words in ("What this does not say", "families of the FID column", "Savage–Dickey"):
        assert words in text
    assert "<script" not in text


def test_same_records_for_every_model(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The two individuals without a cage are in no model, the printed table is that of the file."""
    options = ("--pheno-name", TRAIT, "--models", "additive,household", "--group-column", "cage")
    assert main(command(study, "cage", *options, "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert json.loads((study / "cage.compare.run.json").read_text())["n"] == 118
    table = pd.read_csv(study / "cage.compare.tsv", sep="\t")
    assert [row["model"] for row in said["comparison"]] == table["model"].tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--models", "additive"), "two models or more"),
        (("--models", "additive,additive"), "two models called additive"),
        (("--models", "additive,nothing"), "no model 'nothing'"),
        (("--models", "additive,bivariate"), "of several traits"),
        (("--models", "fixed,additive", "--group-column", "cage"), "add household to --models"),
        (("--models", "additive,household"), "no shared environment"),
        (("--models", "fixed,additive", "--prior", "parts=dirichlet(1)"), "no prior 'parts'"),
        (("--models", "fixed,additive", "--covar-name", "age"), "--covar-name without --covar"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(
    study: Path, options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(study, "bad", "--pheno-name", TRAIT, *options)) == 2
    assert words in capsys.readouterr().err
    assert not list(study.glob("bad.*"))


def test_one_trait_at_a_time(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--models", "fixed,additive", "--pheno-name", f"{TRAIT},second")
    assert main(command(study, "bad", *options)) == 2
    assert "one trait at a time" in capsys.readouterr().err


def test_bayes_factors_in_words() -> None:
    assert strength(float("nan")) == "not available"
    assert strength(0.2) == "for zero: barely worth mentioning"
    assert strength(-0.7) == "against zero: substantial"
    assert strength(1.5) == "for zero: strong"
    assert strength(-30.0) == "against zero: decisive"


SCREENS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1000, "height": 800}},
    "telephone": {"viewport": {"width": 380, "height": 800}},
    "dark": {"color_scheme": "dark"},
}


def look(browser: Any, page: Path, screen: str) -> None:  # noqa: F811
    """Nothing fetched, nothing said, nothing wider than the window, every figure there."""
    visit = Visit(browser, page, **SCREENS[screen])
    assert visit.quiet(), (visit.requests, visit.said)
    assert visit.wider_than_the_window() <= 0
    assert visit.page.locator("script, img").count() == 0
    figures = visit.page.locator("svg").all()
    assert len(figures) == 4
    for figure in figures:
        box = figure.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 50
    script = "() => ['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k])"
    ink, paper = visit.page.evaluate(script)
    assert ink != paper
    dark = sum(int(x) for x in paper.removeprefix("rgb(").removesuffix(")").split(",")) < 3 * 60
    assert dark == (screen == "dark")
    visit.page.emulate_media(media="print")
    printed = visit.page.evaluate(script)
    assert printed[1] != "rgb(20, 25, 29)"  # on paper the night's colours do not hold
    visit.context.close()


@pytest.mark.parametrize("screen", SCREENS)
def test_page_in_the_browser(browser: Any, families: Path, screen: str) -> None:  # noqa: F811
    look(browser, families, screen)


def mouse(shared_data: Path, tmp_path: Path, *more: str) -> list[str]:
    data = shared_data / "mouse_hs1940"
    return [
        "compare", "--bfile", str(data / "mouse_hs1940"), "--chr-set", "19",
        "--pheno", str(data / "mouse_hs1940.pheno.tsv"), "--pheno-name", "CD8",
        "--models", "fixed,additive,dominance,household", "--group-column", "FID",
        "--out", str(tmp_path / "CD8"), *more,
    ]  # fmt: skip


def test_some_mice_in_the_browser(
    browser: Any,  # noqa: F811
    shared_data: Path,
    tmp_path: Path,
) -> None:
    """Every twelfth mouse: the page of additive, dominance and family, as a reader sees it."""
    table = pd.read_csv(shared_data / "mouse_hs1940/mouse_hs1940.pheno.tsv", sep="\t")
    kept = table.dropna(subset="CD8")[["FID", "IID"]].iloc[::12]
    kept.to_csv(tmp_path / "keep", sep="\t", index=False, header=False)
    assert (
        main(mouse(shared_data, tmp_path, "--keep", str(tmp_path / "keep"), "--draws", "2000")) == 0
    )
    found = pd.read_csv(tmp_path / "CD8.compare.tsv", sep="\t")
    assert found["model"].tolist()[-1] == "fixed"
    for screen in SCREENS:
        look(browser, tmp_path / "CD8.compare.html", screen)


@pytest.mark.slow
def test_all_mice(browser: Any, shared_data: Path, tmp_path: Path) -> None:  # noqa: F811
    """CD8: dominance predicts best and has the evidence; the families have a small part at most."""
    assert main(mouse(shared_data, tmp_path)) == 0
    found = pd.read_csv(tmp_path / "CD8.compare.tsv", sep="\t").set_index("model")
    assert next(iter(found.index)) == "dominance"
    assert found.loc["additive", "elpd_diff"] < -3 * found.loc["additive", "diff_se"]
    assert found["log_ml"].idxmax() == "dominance"
    assert found.loc["household", "log_ml"] > found.loc["additive", "log_ml"]
    assert found.loc["fixed", "elpd_diff"] < -400
    for screen in SCREENS:
        look(browser, tmp_path / "CD8.compare.html", screen)
