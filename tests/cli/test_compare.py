"""``bayeslmm compare``: files, options, errors, and the page in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Visit, browser  # noqa: F401 (a fixture)

import bayeslmm
from bayeslmm import models
from bayeslmm.cli import main
from bayeslmm.comparison.table import COLUMNS
from bayeslmm.report.compare_text import strength

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


def own(name: str, folder: Path, **changes: str) -> Path:
    """A copy of the model file additive, some of its text changed."""
    text = models.load("additive").source
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def kinds(study: Path) -> Path:
    """Beside the genotypes two matrices, columns of all roles, covariates, repeated records."""
    folder = study
    rng = np.random.default_rng(5)
    options = ["--bfile", str(folder / "s"), "--kind", "additive,dominance"]
    assert main(["grm", *options, "--out", str(folder / "k")]) == 0
    table = pd.read_csv(folder / "s.pheno", sep="\t").rename(columns={TRAIT: "y"})
    table["env"] = rng.normal(size=len(table))
    table.loc[[32], "env"] = np.nan
    table["dam"] = [
        table["IID"][5 * (k // 5) + 1] if k % 5 > 1 else "NA" for k in range(len(table))
    ]
    table.to_csv(folder / "w.pheno", sep="\t", index=False, na_rep="NA")
    covar = pd.DataFrame({"FID": table["FID"], "IID": table["IID"]})
    covar["age"] = np.where(np.arange(len(table)) == 53, np.nan, rng.normal(size=len(table)))
    covar.to_csv(folder / "w.covar", sep="\t", index=False, na_rep="NA")
    rows = [k for k in range(len(table)) for _ in range(k % 3)]
    more = table.loc[rows, ["IID", "y", "cage"]]
    more["y"] += rng.normal(0, 0.5, len(more))
    more["temp"] = np.where(np.arange(len(more)) == 7, np.nan, rng.normal(size=len(more)))
    more.to_csv(folder / "records", sep="\t", index=False, na_rep="NA")
    return folder


def compared(folder: Path, out: str, *options: object, code: int = 0) -> dict[str, Any]:
    """Run the command: its record, the table in it by model."""
    usual = ["--pheno-name", "y", "--draws", "2000", "--threads", "1", "--out", str(folder / out)]
    given = ["compare", *map(str, options), *usual]
    if "--pheno" not in given:
        given += ["--pheno", str(folder / "w.pheno")]
    assert main(given) == code
    found: dict[str, Any] = json.loads((folder / f"{out}.compare.run.json").read_text("utf-8"))
    found["table"] = {row["model"]: row for row in found["comparison"]}
    found["page"] = (folder / f"{out}.compare.html").read_text("utf-8")
    return found


def test_models_that_need_other_columns(kinds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dams and environments are named by columns: who lacks either, or the covariate, is out."""
    found = compared(
        kinds, "roles", "--bfile", kinds / "s", "--models", "fixed,additive,maternal,gxe",
        "--dam-column", "dam", "--environment-column", "env", "--covar", kinds / "w.covar",
    )  # fmt: skip
    table = pd.read_csv(kinds / "w.pheno", sep="\t")
    covar = pd.read_csv(kinds / "w.covar", sep="\t")
    complete = table["dam"].notna() & table["env"].notna() & covar["age"].notna()
    assert found["n"] == complete.sum() == 70
    assert found["covariates"] == ["intercept", "age"]
    assert set(found["table"]) == {"fixed", "additive", "maternal", "gxe"}
    said = capsys.readouterr().out
    assert "y: n = 70, the same for every model" in said
    assert f"{found['table']['gxe']['log_ml']:.2f}" in said
    words = re.sub(r"\s+", " ", found["page"])
    for name, pair in (("maternal", "direct and maternal"), ("gxe", "intercept and slope")):
        assert f"No share of <bdi>{name}</bdi> is tested so: the effects {pair} are corr" in words


def test_evidence_and_elpd_are_those_of_each_model_alone(kinds: Path) -> None:
    """log p(y) is what `h2` says of the same records; elpd is `loo` of its fit."""
    mine = own("mine", kinds, **{"beta(1, 1)": "beta(2, 3)"})
    usual = ["--grm", str(kinds / "k.additive"), "--spectrum", str(kinds / "k.npz")]
    found = compared(kinds, "alone", *usual, "--models", f"additive,{mine}")
    assert (kinds / "k.npz").is_file()
    cohort = bayeslmm.build_cohort(
        bayeslmm.read_phenotypes(kinds / "w.pheno", columns=["y"]),
        "y",
        individuals=bayeslmm.read_grm(kinds / "k.additive").individuals,
    )
    kernel = bayeslmm.read_grm(kinds / "k.additive")
    for name, file in (("additive", "additive"), ("mine", str(mine))):
        tree = bayeslmm.fit(models.load(file)(cohort, kernel), draws=2000, cores=1)
        evidence = tree["quadrature"].attrs["log_evidence"]
        assert found["table"][name]["log_ml"] == pytest.approx(evidence, abs=1e-6)
        left = bayeslmm.loo(tree, cores=1)
        assert found["table"][name]["elpd"] == pytest.approx(float(left.elpd), abs=1e-6)
    assert found["models"]["mine"]["model_sha256"] == models.load(mine).sha256
    assert str(mine) in {one["path"] for one in found["inputs"]}


def test_matrices_by_name_go_to_the_models_that_ask_for_them(
    kinds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`additive` takes its own, `partitioned` all; two kernels by either file are one model."""
    monkeypatch.setattr("bayeslmm.comparison.zero_tests.weigh_zeros", lambda *_, **__: [])
    both = f"additive={kinds / 'k.additive'},dominance={kinds / 'k.dominance'}"
    names = "additive,dominance,partitioned"
    found = compared(kinds, "matrices", "--grm", both, "--models", names)
    table = found["table"]
    assert table["dominance"]["log_ml"] == pytest.approx(table["partitioned"]["log_ml"], abs=0.05)
    kernels = {name: set(one["relationships"]) for name, one in found["models"].items()}
    assert kernels["additive"] == {"additive"}
    assert kernels["dominance"] == kernels["partitioned"] == {"additive", "dominance"}
    assert any("diagonal entry of the dominance" in text for text in found["warnings"])


def test_repeated_records(kinds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """fixed has independent records: its evidence is that of additive at h² = 0."""
    found = compared(
        kinds, "records", "--grm", kinds / "k.additive", "--pheno", kinds / "records",
        "--id-column", "IID", "--covar-name", "temp", "--models", "fixed,additive,repeated",
    )  # fmt: skip
    table = pd.read_csv(kinds / "records", sep="\t")
    complete = table.dropna(subset="temp")
    assert found["n"] == len(complete) == len(table) - 1
    assert found["individuals"] == complete["IID"].nunique()
    log_ml = {name: row["log_ml"] for name, row in found["table"].items()}
    words = f"{found['n']} records of {found['individuals']} individuals"
    assert words in capsys.readouterr().out
    assert words in re.sub(r"\s+", " ", found["page"])
    assert "including those of the same individual" in found["page"]
    bayes = (log_ml["fixed"] - log_ml["additive"]) / np.log(10)
    assert f"{bayes:.3f}".replace("-", "−") in found["page"]
    assert log_ml["repeated"] > log_ml["additive"] > log_ml["fixed"]


def test_priors_go_to_every_model_that_has_them(kinds: Path) -> None:
    """Of fixed, too: with half the scale of τ it is the same model as additive without h²."""
    options = ["--grm", kinds / "k.additive", "--models", "fixed,additive"]
    found = compared(kinds, "prior", *options, "--prior", "total_sd=half_t(3, 0.5)")
    shown = {name: found["models"][name]["priors"]["total_sd"] for name in ("fixed", "additive")}
    assert len(set(map(str, shown.values()))) == 1
    bayes = (found["table"]["fixed"]["log_ml"] - found["table"]["additive"]["log_ml"]) / np.log(10)
    assert f"{bayes:.3f}".replace("-", "−") in found["page"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--grm {d}/k.additive --models additive,dominance",
         "the model dominance asks for the matrix 'dominance', which was not given -> each matrix "
         "that one of the models needs -> give it: --grm additive=FILE,dominance=FILE"),
        ("--grm additive={d}/k.additive,other={d}/k.dominance --models fixed,additive",
         "the matrix 'other'"),
        ("--grm {d}/k.additive --models additive,snp_effects", "snp_effects without genotypes"),
        ("--grm {d}/k.additive --models additive,additive_cholesky",
         "additive_cholesky: genetic values that are parameters"),
        ("--grm {d}/k.additive --models additive,repeated", "repeated: one record of every"),
        ("--bfile {d}/s --models additive,dominance --engine exact",
         "dominance: the exact engine cannot serve"),
        ("--bfile {d}/s --models additive,gxe", "no environment for the model gxe ->"),
        ("--bfile {d}/s --models additive,household --dam-column dam", "--dam-column with the"),
        ("--bfile {d}/s --models additive,household --group-column no", "no column 'no'"),
        ("--bfile {d}/s --models additive,household --group-column IID,cage",
         "'IID' has 118 groups of one record each"),
        ("--bfile {d}/s --models fixed,additive --by maf", "add partitioned to --models"),
        ("--bfile {d}/s --models fixed,dominance --spectrum {d}/x.npz", "without a model of one"),
        ("--bfile {d}/s --models additive,{d}/fixed.py", "fixed is the model of the fixed effects"),
        ("--bfile {d}/s --models additive,{d}/sub/additive.py", "or rename the file"),
        ("--bfile {d}/s --models additive,{d}/nobody.py", "no such file"),
    ],
    ids=range(15),
)  # fmt: skip
def test_models_that_do_not_go_together(
    kinds: Path, options: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before anything is fitted, with the model's name; nothing is written."""
    (kinds / "sub").mkdir(exist_ok=True)
    own("fixed", kinds)
    own("additive", kinds / "sub")
    usual = ["--pheno", str(kinds / "w.pheno"), "--pheno-name", "y", "--out", str(kinds / "bad")]
    assert main(["compare", *(one.format(d=kinds) for one in options.split()), *usual]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "posterior of" not in said
    assert not list(kinds.glob("bad.*"))


def test_groups_are_not_called_as_kernels_are(
    kinds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `compare` and of `h2`: the group would stand in the kernel's place."""
    table = pd.read_csv(kinds / "w.pheno", sep="\t").rename(columns={"cage": "additive"})
    table.to_csv(kinds / "c.pheno", sep="\t", index=False, na_rep="NA")
    usual = ["--grm", str(kinds / "k.additive"), "--pheno", str(kinds / "c.pheno")]
    usual += ["--pheno-name", "y", "--group-column", "additive", "--out", str(kinds / "bad")]
    for command in (["compare", "--models", "fixed,household"], ["h2", "--model", "household"]):
        assert main([*command, *usual]) == 2
        assert "beside the component 'additive'" in capsys.readouterr().err


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
