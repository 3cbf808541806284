"""Every model through the command: kernels, records, traits; what it writes and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from gallery_runs import RUNS, write_data

import bayeslmm.models
import bayeslmm.report
from bayeslmm import agreement
from bayeslmm.cli import main
from bayeslmm.cli.outputs import read_tree
from bayeslmm.estimates.boundary import restricted_lrt
from bayeslmm.posterior.prediction import COLUMNS as PREDICTED
from bayeslmm.posterior.summary import COLUMNS

N, DRAWS = 120, 1000

QUANTITIES: dict[str, set[str]] = {
    "dominance": {"share[dominance]", "sigma2[dominance]", "p_share_below_0.01[dominance]"},
    "chromosome": {"share[chr1]", "share[chr2]", "share[chr3]", "sigma2[chr3]"},
    "maf": {"share[maf[0,0.2]]", "share[maf(0.2,0.5]]"},
    "ld": {"share[ld1]", "share[ld2]"},
    "file": {"share[genes]", "share[rest]", "share[plot]"},
    "two matrices": {"share[additive]", "share[dominance]"},
    "three matrices": {"share[c.chr1]", "share[c.chr2]", "share[c.chr3]"},
    "pedigree": {"share[additive]", "sigma2[additive]", "p_rlrt", "log10_bf_h2_0"},
    "repeated": {"share[additive]", "share[permanent]", "repeatability", "beta[C(sex)[T.2]]"},
    "household": {"share[additive]", "share[plot]", "share[year]"},
    "maternal": {"share[direct]", "share[maternal]", "share[direct_maternal]", "h2_total"},
    "gxe": {"share[intercept]", "share[slope]", "r_intercept_slope", "beta[season]"},
    "bivariate": {
        "h2[A]", "h2[B]", "share[additive:A]", "share[residual:B]", "sigma2[additive:B]",
        "r_g[A,B]", "r_e[A,B]", "p_r_g_below_0[A,B]", "p_abs_r_g_above_0.95[A,B]",
    },
    "snp_effects": {"share[additive]", "sigma2[residual]", "log10_bf_h2_0"},
}  # fmt: skip

EXACT = {"pedigree", "snp_effects"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, N)
    return folder


def command(folder: Path, options: str, out: Path) -> list[str]:
    words = [word.format(d=folder) for word in options.split()]
    return ["h2", *words, "--draws", str(DRAWS), "--out", str(out)]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Run a command of `RUNS` once; its results' prefix. Reports are stubs but for two."""
    out = tmp_path_factory.mktemp("out")
    done: dict[str, Path] = {}
    real = bayeslmm.report.render

    def render(tree: xr.DataTree, **more: Any) -> str:
        wanted = tree.attrs.get("model") in ("dominance", "bivariate")
        return real(tree, **more) if wanted else "<html></html>"

    def once(name: str) -> Path:
        if name not in done:
            prefix = out / name.replace(" ", "-")
            assert main(command(folder, RUNS[name][0], prefix)) == 0
            done[name] = prefix
        return done[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bayeslmm.report, "render", render)
        patch.setattr(
            "bayeslmm.posterior.summary.restricted_lrt",
            lambda s, e: restricted_lrt(s, e, simulations=1000),
        )
        yield once


def rows(prefix: Path, trait: str | None = None) -> pd.DataFrame:
    table = pd.read_csv(f"{prefix}.h2.tsv", sep="\t")
    return (table if trait is None else table[table["trait"] == trait]).set_index("quantity")


def means(table: pd.DataFrame, start: str, end: str = "") -> pd.Series[float]:
    chosen = [q for q in table.index if q.startswith(start) and q.endswith(f"{end}]")]
    return table.loc[chosen, "mean"]


# --- what is written ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_a_run_writes_table_report_draws_and_record(run: Callable[..., Path], name: str) -> None:
    prefix = run(name)
    table = pd.read_csv(f"{prefix}.h2.tsv", sep="\t")
    assert list(table.columns) == list(COLUMNS)
    always = {"pve_share[residual]", "beta[intercept]", "log_evidence"}
    if name == "bivariate":
        always = {"beta[intercept[A]]", "beta[intercept[B]]", "pareto_k"}
    elif name not in EXACT:
        always |= {"h2", "share[residual]", "sigma2[residual]", "pareto_k", "p_h2_below_0.01"}
    for _, part in table.groupby("trait"):
        assert set(part["quantity"]) >= always | QUANTITIES[name]
        found = part.set_index("quantity")
        assert set(found["engine"]) == {"exact" if name in EXACT else "laplace"}
        if name not in EXACT:
            assert found["mean"]["pareto_k"] < 0.7
        assert (found.loc[found.index.str.startswith("share["), "interval"] != "eti").all() or (
            name == "maternal"  # its covariance may be negative
        )
    assert Path(f"{prefix}.html").read_text("utf-8").startswith("<")
    with xr.open_datatree(f"{prefix}.nc", engine="h5netcdf") as tree:
        first = next(iter(tree.children.values())) if name == "chromosome" else tree
        posterior = first["posterior"].load()
        assert posterior.sizes["chain"] * posterior.sizes["draw"] == DRAWS
        for part in (v for k, v in posterior.data_vars.items() if str(k).startswith("pve_share")):
            np.testing.assert_allclose(part.sum("pve_part"), 1.0, rtol=0, atol=1e-9)
    written = json.loads(Path(f"{prefix}.run.json").read_text("utf-8"))
    expected = RUNS[name][1]
    for trait in written["traits"].values():
        kernels = trait["relationships"]
        assert {k: kernels[k]["estimator"] for k in expected} == expected
        assert set(kernels) == set(expected)
        assert all({"kernel_scale", "factor", "kind"} <= set(one) for one in kernels.values())


@pytest.mark.parametrize("name", [name for name in RUNS if name != "bivariate"])
def test_shares_sum_to_one_and_h2_is_the_genetic_ones(run: Callable[..., Path], name: str) -> None:
    for _, part in pd.read_csv(f"{run(name)}.h2.tsv", sep="\t").groupby("trait"):
        table = part.set_index("quantity")
        shares = means(table, "share[")
        # h² of the exact engine has no Monte Carlo error, its residual share has: 4 of 1000 draws'
        tolerance = 4 * table["sd"]["h2"] / np.sqrt(DRAWS) if name in EXACT else 1e-9
        assert shares.sum() == pytest.approx(1.0, abs=tolerance)
        assert means(table, "pve_share[").sum() == pytest.approx(1.0, abs=1e-9)
        environment = {"residual", "permanent", "plot", "year", "maternal_environment"}
        genetic = [q for q in shares.index if q[6:-1] not in environment]
        assert shares[genetic].sum() == pytest.approx(table["mean"]["h2"], abs=tolerance)


def test_traits_of_the_same_people_share_a_compiled_model(
    run: Callable[..., Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two traits with one build give what each of them gives alone."""
    both = run("chromosome")
    built: list[str] = []
    real = bayeslmm.models.ModelFile.build

    def counted(self: Any, cohort: Any, *more: Any) -> Any:
        built.append(cohort.trait)
        return real(self, cohort, *more)

    monkeypatch.setattr(bayeslmm.models.ModelFile, "build", counted)
    options = RUNS["chromosome"][0].replace("A,C", "C,A")
    assert main(command(folder, options, tmp_path / "both")) == 0
    assert built == ["C"]
    for trait in "AC":  # the other one was built first: same numbers, because draws hang on names
        found, expected = rows(tmp_path / "both", trait), rows(both, trait)
        difference = (found["mean"] - expected["mean"]).abs()
        drawn = expected["mcse"].notna()
        assert (difference[drawn] <= 6 * expected["mcse"][drawn] + 1e-12).all()
    assert rows(both, "A")["mean"]["h2"] > rows(both, "C")["mean"]["h2"] + 0.1


def test_matrices_give_what_genotypes_give(run: Callable[..., Path]) -> None:
    """The GRM files hold float32, so means differ by less than Monte Carlo error."""
    computed, read = rows(run("dominance")), rows(run("two matrices"))
    parts = ["share[additive]", "share[dominance]"]
    gap = (computed["mean"] - read["mean"])[parts].abs()
    # one is scaled to average semivariance one, the other not: factors within some percent of one
    assert (gap < 6 * computed["mcse"][parts] + 0.05).all()
    scales = [
        json.loads(Path(f"{prefix}.run.json").read_text("utf-8"))["traits"]["A"]["relationships"]
        for prefix in (run("dominance"), run("two matrices"))
    ]
    assert scales[0]["additive"]["kernel_scale"] == "asv"
    assert scales[1]["additive"] | {"source": ""} == {
        **scales[1]["additive"], "kernel_scale": "none", "factor": 1.0, "source": "",
    }  # fmt: skip


def test_the_pedigree_is_unscaled_and_says_so(run: Callable[..., Path]) -> None:
    written = json.loads(Path(f"{run('pedigree')}.run.json").read_text("utf-8"))
    additive = written["traits"]["A"]["relationships"]["additive"]
    assert additive["kernel_scale"] == "none"
    assert additive["factor"] == 1.0
    assert any(one["path"].endswith("ped.tsv") for one in written["inputs"])


def test_records_and_dams_are_counted(run: Callable[..., Path], folder: Path) -> None:
    birds = pd.read_csv(folder / "birds.tsv", sep="\t")
    assert set(rows(run("repeated"))["n"]) == {len(birds)}
    children = birds[~birds["ring"].str.endswith(("_1", "_2"))]
    assert set(rows(run("maternal"))["n"]) == {len(children)}
    written = json.loads(Path(f"{run('maternal')}.run.json").read_text("utf-8"))
    last = written["traits"]["mass"]["ledger"][-1]
    assert (last["reason"], last["remaining"]) == ("dam unknown", len(children))


def test_two_traits_with_missing_values(run: Callable[..., Path]) -> None:
    table = rows(run("bivariate"))
    assert set(table["n"]) == {N + N - 20}
    assert set(table["trait"]) == {"A,B"}
    for trait in "AB":
        assert means(table, "share[", f":{trait}").sum() == pytest.approx(1.0, abs=1e-9)
    r = table.loc["r_g[A,B]"]
    assert -1 <= r["lower"] < r["mean"] < r["upper"] <= 1
    assert r["mean"] > 0  # 0.6 was put in
    assert 0 <= table["mean"]["p_r_g_below_0[A,B]"] < 0.5


@pytest.mark.parametrize(
    ("name", "components", "people"),
    [
        ("dominance", {"additive", "dominance", "total"}, N),
        ("pedigree", {"additive"}, N),
        ("repeated", {"additive"}, N),
        ("household", {"additive"}, N),
        ("bivariate", {"additive"}, N),
    ],
)
def test_predictions(
    run: Callable[..., Path], name: str, components: set[str], people: int
) -> None:
    table = pd.read_csv(f"{run(name)}.predict.tsv", sep="\t")
    assert list(table.columns) == PREDICTED
    assert set(table["component"]) == components
    assert (table.groupby(["trait", "component"]).size() == people).all()
    assert table["reliability"].between(0, 1).all()
    assert (table["lower"] < table["mean"]).all()
    assert (table["mean"] < table["upper"]).all()
    if name == "bivariate":
        assert (~table["phenotyped"]).groupby(table["trait"]).sum().to_dict() == {"A": 0, "B": 20}
        b = table[table["trait"] == "B"].groupby("phenotyped")["reliability"].mean()
        assert b[True] > b[False] > 0  # relatives and the other trait say something
    else:
        assert table["phenotyped"].all()


def test_people_without_a_phenotype_are_predicted(folder: Path, tmp_path: Path) -> None:
    pheno = pd.read_csv(folder / "sim.pheno", sep="\t")
    pheno.iloc[15:][["FID", "IID", "A"]].to_csv(tmp_path / "some.pheno", sep="\t", index=False)
    options = f"--bfile {{d}}/sim --pheno {tmp_path}/some.pheno --predict"
    assert main(command(folder, options, tmp_path / "out")) == 0
    table = pd.read_csv(tmp_path / "out.predict.tsv", sep="\t").set_index("IID")
    assert len(table) == N
    assert not table["phenotyped"].iloc[:15].any()
    assert table["phenotyped"].iloc[15:].all()
    assert table["reliability"].iloc[:15].mean() < table["reliability"].iloc[15:].mean()


def test_variant_effects_agree_with_the_kernel_and_write_breeding_values(
    run: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    prefix = run("snp_effects")
    options = RUNS["snp_effects"][0].replace("--model snp_effects", "")
    assert main(command(folder, options, tmp_path / "grm")) == 0
    # both are exact: h² is the same to the accuracy of the spectra
    effects, kernel = rows(prefix), rows(tmp_path / "grm")
    assert effects["mean"]["h2"] == pytest.approx(kernel["mean"]["h2"], abs=1e-6)
    values = [pd.read_csv(f"{p}.bv.tsv", sep="\t")["mean"] for p in (prefix, tmp_path / "grm")]
    assert np.corrcoef(*values)[0, 1] > 0.99


def test_reports_show_parts_and_correlations(run: Callable[..., Path]) -> None:
    page = Path(f"{run('dominance')}.html").read_text("utf-8")
    assert "dominance" in page
    assert page.count("<svg") >= 4
    page = Path(f"{run('bivariate')}.html").read_text("utf-8")
    assert re.search(r"[Gg]enetic correlation", page)
    assert "Agreement with other estimates" in page
    assert page.count("Haseman-Elston</bdi></td>") == 3  # of h² of A and B, and of r_g
    tree = read_tree(f"{run('bivariate')}.nc")
    table = agreement(tree).set_index(["quantity", "source"])
    for quantity in ("h2[A]", "h2[B]"):
        posterior, reml = table.loc[(quantity, "posterior")], table.loc[(quantity, "REML")]
        assert posterior["lower"] - reml["se"] < reml["estimate"] < posterior["upper"] + reml["se"]


# --- bad input: exit 2 and words that teach -------------------------------------------------------

SIM = "--bfile {d}/sim --pheno {d}/sim.pheno --pheno-name A "
BIRDS = "--pedigree {d}/ped.tsv --pheno {d}/birds.tsv "

BAD = {
    "several traits, one given": (SIM + "--model bivariate", "bivariate with one trait -> two"),
    "one trait twice": (
        SIM.replace("-name A", "-name A,A") + "--model bivariate",
        "'A' is named twice -> different traits",
    ),
    "by with one kernel": (SIM + "--by maf", "--by with the model additive .*partitioned"),
    "groups with one kernel": (
        SIM + "--group-column plot", "--group-column with the model additive .*household"
    ),
    "no group": (SIM + "--model household", "no shared environment .*--group-column"),
    "no environment": (SIM + "--model gxe", "no environment for the model gxe .*--environment-col"),
    "no dam": (SIM + "--model maternal", "no dam for the model maternal .*--dam-column"),
    "no such column": (SIM + "--model household --group-column nest", "no column 'nest' .*plot"),
    "no such trait": (SIM.replace("-name A", "-name Z"), "no column 'Z' -> one of: A, B, C"),
    "groups of one": (
        SIM + "--model household --group-column alone", "groups of one record each .*residual"
    ),
    "an unknown matrix": (
        "--grm additive={d}/k.additive,dominant={d}/k.dominance --pheno {d}/sim.pheno "
        "--pheno-name A --model dominance",
        "'dominant' .*additive, dominance",
    ),
    "too few matrices": (
        "--grm {d}/k.additive --pheno {d}/sim.pheno --pheno-name A --model dominance",
        "dominance",
    ),
    "a matrix too many": (
        "--grm {d}/k.additive,{d}/k.dominance --pheno {d}/sim.pheno --pheno-name A",
        "k.dominance.* -> each of: additive, once",
    ),
    "the same kernel twice": (
        "--grm one={d}/k.additive,two={d}/k.additive --pheno {d}/sim.pheno --pheno-name A "
        "--model partitioned",
        "'one' and 'two' are the same up to a factor",
    ),
    "genotype options with a matrix": (
        "--grm {d}/k.additive --by maf --pheno {d}/sim.pheno --pheno-name A --model partitioned",
        "--by with --grm",
    ),
    "records without the ID column": (
        BIRDS + "--pheno-name mass --model repeated", r"(IID|repeat|twice|more than once|id-column)"
    ),
    "one record each": (
        SIM + "--id-column IID --model repeated", "one record of every individual .*additive"
    ),
    "ID column without traits": (BIRDS + "--id-column ring", "--id-column without --pheno-name"),
    "no such ID column": (BIRDS + "--id-column bird --pheno-name mass", "'bird'.*ring"),
    "groups without traits": (
        "--bfile {d}/sim --pheno {d}/sim.pheno --model household --group-column plot",
        "no --pheno-name.*traits by name",
    ),
    "a loop": (
        "--pedigree {d}/loop.tsv --pheno {d}/sim.pheno --pheno-name A", "F1_1.*F1_3|F1_3.*F1_1"
    ),
    "people not in the pedigree": (
        "--pedigree {d}/few.tsv --pheno {d}/sim.pheno --pheno-name A",
        "no individual in common: .* '0 z', '0 y'",
    ),
    "a text for an environment": (
        BIRDS + "--id-column ring --pheno-name mass --model gxe --environment-column plot",
        "'environment' is not numeric",
    ),
    "products from matrices": (
        "--grm {d}/k.additive,{d}/k.dominance --pheno {d}/sim.pheno --pheno-name A "
        "--model epistasis",
        "additive_additive",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_an_error_in_words(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    (folder / "few.tsv").write_text("animal\tsire\tdam\nz\tNA\tNA\ny\tNA\tNA\nx\tz\ty\n")
    options, message = BAD[case]
    code = main(command(folder, options, tmp_path / "out"))
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert re.search(message, err[err.rindex("error: ") :].replace("\n", " ")), err
    assert list(tmp_path.iterdir()) == []
