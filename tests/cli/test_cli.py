"""The command line: what it writes, what it prints, how it fails."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayeslmm.cli.analysis
import bayeslmm.likelihood.spectrum
import bayeslmm.report
from bayeslmm.cli import main
from bayeslmm.cli.analysis import parse_priors
from bayeslmm.cli.commands.demo import compare
from bayeslmm.cli.inputs.individuals import named_matrix
from bayeslmm.cli.outputs import RESULTS
from bayeslmm.cli.parser import build_parser
from bayeslmm.errors import InputError
from bayeslmm.estimates.boundary import restricted_lrt
from bayeslmm.genotypes.genotypes import from_array, read_genotypes, write_plink1
from bayeslmm.genotypes.qc import quality_control
from bayeslmm.posterior.summary import COLUMNS, heritability
from bayeslmm.relationship.genomic import grm
from bayeslmm.system.files import sha256

QUANTITIES = {
    "h2", "sigma2_u", "sigma2_e", "pve_fixed", "pve_random", "pve_total", "p_h2_below_0.01",
    "log10_bf_h2_0", "p_rlrt", "se_expected", "beta[intercept]", "beta[sex]", "beta[age]",
}  # fmt: skip

MINE = '''"""Half-normal standard deviations.  y = Xb + g + e."""

import pymc as pm
import pytensor.tensor as pt

from bayeslmm.modelling import fixed_effects, phenotype_unit
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.priors.prior import Prior
from bayeslmm.likelihood.decompose import spectrum


def build(cohort, additive, *, sd="half_normal(1)"):
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        beta = fixed_effects(cohort)
        unit = phenotype_unit(cohort)
        sds = [Prior.parse(sd).variable(name, unit=unit) for name in ("sd_u", "sd_e")]
        variance = pm.Deterministic("variance", pt.stack(sds) ** 2, dims="component")
        shared = spectrum(cohort, additive)
        spectral_normal("phenotype", beta, variance, spectrum=shared, observed=cohort.y)
    return model
'''


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefix of a simulated cohort of 200 in families; ``two.pheno`` has two traits."""
    prefix = tmp_path_factory.mktemp("data") / "sim"
    arguments = "simulate --n 200 --m 400 --h2 0.6 --families --seed 3 --out"
    assert main([*arguments.split(), str(prefix)]) == 0
    table = pd.read_csv(f"{prefix}.pheno", sep="\t")
    table["late"] = table["y"].where(np.arange(len(table)) >= 20) * 3 + 100
    table.to_csv(prefix.with_name("two.pheno"), sep="\t", index=False, na_rep="NA")
    return prefix


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plots, and fewer simulations for p_rlrt, where a test is not about them."""
    monkeypatch.setattr(bayeslmm.report, "render", lambda *_, **__: "<html></html>")
    monkeypatch.setattr(
        "bayeslmm.posterior.summary.restricted_lrt",
        lambda s, e: restricted_lrt(s, e, simulations=1000),
    )


def h2(data: Path, out: Path, *more: object, pheno: Path | None = None, covar: bool = True) -> int:
    """Run ``bayeslmm h2`` on the simulated genotypes."""
    arguments = ["h2", "--bfile", str(data), "--out", str(out)]
    arguments += ["--pheno", str(pheno or f"{data}.pheno")]
    arguments += ["--covar", f"{data}.covar"] if covar else []
    return main([*arguments, *map(str, more)])


def table_of(prefix: Path) -> pd.DataFrame:
    return pd.read_csv(f"{prefix}.h2.tsv", sep="\t")


def share(prefix: Path) -> pd.Series[Any]:
    """The row of h2 of a result of one trait: mean, sd, lower, upper."""
    table = table_of(prefix)
    return table[table["quantity"] == "h2"].iloc[0]


def files_in(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.iterdir() if path.is_file()}


# --- the whole path, as a user sees it -------------------------------------------------------


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Prefix, stdout and stderr of one run of the console command with two traits, as JSON."""
    prefix = tmp_path_factory.mktemp("out") / "deep" / "er" / "two"
    command = [str(Path(sys.executable).with_name("bayeslmm")), "h2", "--bfile", str(data)]
    command += ["--pheno", str(data.with_name("two.pheno")), "--covar", f"{data}.covar"]
    command += ["--json", "--seed", "5", "--breeding-values", "--out", str(prefix)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return prefix, done.stdout, done.stderr


def test_the_table_has_the_columns_and_quantities_of_the_contract(
    finished: tuple[Path, str, str],
) -> None:
    table = table_of(finished[0])
    assert list(table.columns) == list(COLUMNS)
    for trait, rows in table.groupby("trait", sort=False):
        assert set(rows["quantity"]) >= QUANTITIES
        assert set(rows["n"]) == {200 if trait == "y" else 180}
        single = rows[rows["quantity"].isin(["p_rlrt", "se_expected"])]
        assert single[["sd", "lower", "interval", "prob", "r_hat"]].isna().all(axis=None)
        assert rows.set_index("quantity")["interval"]["h2"] == "hdi"
        assert rows.set_index("quantity")["interval"]["sigma2_u"] == "eti"
    assert list(table["trait"].unique()) == ["y", "late"]


def test_the_posterior_file_loads_again_and_gives_the_same_table(
    finished: tuple[Path, str, str],
) -> None:
    with xr.open_datatree(f"{finished[0]}.nc") as tree:
        again = heritability(tree)
        assert tree["y"].attrs["engine"] == "exact"
        assert "g" not in tree["y/posterior"]
        assert "relatedness_counts" in tree["late/constant_data"]
    table = table_of(finished[0])
    assert again["quantity"].tolist() == table["quantity"].tolist()
    np.testing.assert_allclose(
        again[["mean", "sd", "mode", "lower"]], table[["mean", "sd", "mode", "lower"]], rtol=1e-9
    )


def test_json_alone_stands_on_stdout(finished: tuple[Path, str, str]) -> None:
    prefix, out, err = finished
    summary = json.loads(out)
    assert [trait["trait"] for trait in summary["traits"]] == ["y", "late"]
    first = {row["quantity"]: row for row in summary["traits"][0]["quantities"]}
    row = share_of(table_of(prefix), "y")
    assert first["h2"]["mean"] == pytest.approx(row["mean"], rel=1e-9)
    assert first["p_rlrt"]["sd"] is None
    assert summary["traits"][0]["ok"] is True
    assert summary["outputs"]["run.json"] == f"{prefix}.run.json"
    assert "GRM of 200 individuals" in err
    assert "\r" not in err  # plain lines where stderr is no terminal


def share_of(table: pd.DataFrame, trait: str) -> pd.Series[Any]:
    return table[(table["quantity"] == "h2") & (table["trait"] == trait)].iloc[0]


def test_the_record_names_options_inputs_ledger_and_outputs(
    finished: tuple[Path, str, str], data: Path
) -> None:
    prefix = finished[0]
    found = json.loads(Path(f"{prefix}.run.json").read_text(encoding="utf-8"))
    assert found["options"]["maf"] == 0.01  # a default, resolved
    assert found["seed"] == 5
    assert found["command"].startswith("bayeslmm h2 --bfile ")
    inputs = {Path(entry["path"]).name: entry["sha256"] for entry in found["inputs"]}
    assert set(inputs) == {"sim.bed", "sim.bim", "sim.fam", "two.pheno", "sim.covar"}
    assert inputs["sim.bed"] == sha256(f"{data}.bed")
    late = found["traits"]["late"]
    assert any(s["reason"] == "phenotype missing: late" and s["dropped"] == 20
               for s in late["ledger"])  # fmt: skip
    assert late["ok"]
    assert late["verdict"].startswith("Healthy")
    assert late["relationships"]["additive"]["kernel_scale"] == "asv"
    assert found["versions"]["pymc"] != "not installed"
    outputs = files_in(prefix.parent)
    assert set(outputs) == {f"two{s}" for s in (*RESULTS, ".bv.tsv")}
    del outputs["two.run.json"]
    assert found["outputs_sha256"] == outputs


def test_the_report_is_a_page_with_both_traits(finished: tuple[Path, str, str]) -> None:
    page = Path(f"{finished[0]}.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html")
    assert "late" in page
    assert "bayeslmm h2 --bfile" in page


def test_breeding_values_are_those_of_the_dense_formula(
    finished: tuple[Path, str, str], data: Path
) -> None:
    prefix = finished[0]
    values = pd.read_csv(f"{prefix}.bv.tsv", sep="\t")
    assert list(values.columns) == ["FID", "IID", "trait", "mean", "sd"]
    first = values[values["trait"] == "y"]
    K = grm(quality_control(read_genotypes(data))).matrix
    n = len(K)
    K = K / ((np.trace(K) - K.sum() / n) / (n - 1))
    y = pd.read_csv(f"{data}.pheno", sep="\t").set_index("IID")["y"]
    covar = pd.read_csv(f"{data}.covar", sep="\t").set_index("IID")
    assert list(first["IID"]) == list(y.index)  # simulated files have one order
    X = np.column_stack([np.ones(n), covar["sex"], covar["age"]])
    with xr.open_datatree(f"{prefix}.nc") as tree:
        draws = tree["y/posterior"].to_dataset().isel(draw=slice(0, 100))
        variance = draws["variance"].to_numpy().reshape(-1, 2)
        beta = draws["beta"].to_numpy().reshape(-1, 3)
    blup = np.mean(
        [
            a * K @ np.linalg.solve(a * K + b * np.eye(n), y.to_numpy() - X @ effects)
            for (a, b), effects in zip(variance, beta, strict=True)
        ],
        axis=0,
    )
    error = (first["mean"].to_numpy() - blup) / first["sd"].to_numpy()
    assert np.abs(error).max() < 0.2  # in posterior sd: Monte Carlo error of 400 and 4000 draws
    assert np.corrcoef(first["mean"], blup)[0, 1] > 0.999


# --- the numbers do not depend on what they must not depend on ---------------------------------


@pytest.fixture(scope="module")
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefix of a result with the defaults."""
    prefix = tmp_path_factory.mktemp("plain") / "y"
    assert h2(data, prefix) == 0
    return prefix


def test_several_traits_are_as_one_by_one(plain: Path, finished: tuple[Path, str, str]) -> None:
    row, other = share(plain), share_of(table_of(finished[0]), "y")
    for name in ("mean", "sd", "mode", "lower", "upper"):  # exact: the seed plays no role
        assert other[name] == pytest.approx(row[name], rel=1e-6)


@pytest.mark.usefixtures("quick")
def test_row_order_line_ends_and_byte_order_mark_change_nothing(
    data: Path, plain: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    for suffix in (".pheno", ".covar"):
        head, *rows = Path(f"{data}{suffix}").read_text(encoding="utf-8").splitlines()
        mixed = [head, *rng.permutation(rows)]
        text = "\ufeff" + "\r\n".join(mixed) + "\r\n"
        (tmp_path / f"mixed{suffix}").write_bytes(text.encode())
    arguments = ["--pheno", tmp_path / "mixed.pheno", "--covar", tmp_path / "mixed.covar"]
    command = ["h2", "--bfile", data, *arguments, "--out", tmp_path / "out"]
    assert main([str(word) for word in command]) == 0
    drawn = table_of(plain)["sd"].notna()
    pd.testing.assert_frame_equal(table_of(tmp_path / "out")[drawn], table_of(plain)[drawn])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("format", "name", "precision"),
    [("gcta", "g", 1e-5), ("gemma", "g.cXX.txt", 1e-8), ("plink", "g.rel", 1e-8)],
)
def test_a_matrix_file_gives_the_h2_of_its_genotypes(
    data: Path, plain: Path, tmp_path: Path, format: str, name: str, precision: float
) -> None:
    grm_out = ["grm", "--bfile", str(data), "--format", format, "--out", str(tmp_path / "g")]
    assert main(grm_out) == 0
    found = json.loads((tmp_path / "g.grm.run.json").read_text(encoding="utf-8"))
    assert found["variants"] == found["ledger"][-1]["remaining"]
    fam = ["--fam", f"{data}.fam"] if format == "gemma" else []
    command = ["h2", "--grm", str(tmp_path / name), *fam, "--out", str(tmp_path / "y")]
    assert main([*command, "--pheno", f"{data}.pheno", "--covar", f"{data}.covar"]) == 0
    for column in ("mean", "sd", "mode", "lower", "upper"):
        assert share(tmp_path / "y")[column] == pytest.approx(share(plain)[column], rel=precision)


@pytest.mark.usefixtures("quick")
def test_keep_chooses_the_same_individuals_of_genotypes_and_matrix(
    data: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(f"{data}.pheno", sep="\t")[["FID", "IID"]]
    table.iloc[:150].to_csv(tmp_path / "keep", sep="\t", index=False)
    assert h2(data, tmp_path / "a", "--keep", tmp_path / "keep") == 0
    main(["grm", "--bfile", str(data), "--out", str(tmp_path / "g")])
    command = ["h2", "--grm", str(tmp_path / "g"), "--keep", str(tmp_path / "keep")]
    command += ["--pheno", f"{data}.pheno", "--out", str(tmp_path / "b")]
    assert main(command) == 0
    for name in ("a", "b"):
        assert share(tmp_path / name)["n"] == 150


@pytest.mark.usefixtures("quick")
def test_plink_2_files_give_what_plink_1_files_give(data: Path, tmp_path: Path) -> None:
    from pgenlib import PgenWriter

    genotypes = read_genotypes(data)
    writer = PgenWriter(bytes(tmp_path / "x.pgen"), genotypes.n, genotypes.m, False)
    for _, block in genotypes.blocks(dtype=np.int8):
        for row in block:
            writer.append_biallelic(row)
    writer.close()
    table = genotypes.variants.rename(columns={"CHROM": "#CHROM", "A0": "REF", "A1": "ALT"})
    order = ["#CHROM", "POS", "ID", "REF", "ALT"]
    table[order].to_csv(tmp_path / "x.pvar", sep="\t", index=False)
    people = genotypes.individuals.to_frame(index=False).rename(columns={"FID": "#FID"})
    people.to_csv(tmp_path / "x.psam", sep="\t", index=False)
    tables = ["--pheno", f"{data}.pheno", "--out", str(tmp_path / "p")]
    assert main(["h2", "--pfile", str(tmp_path / "x"), *tables]) == 0
    assert h2(data, tmp_path / "b", covar=False) == 0
    pd.testing.assert_frame_equal(table_of(tmp_path / "p"), table_of(tmp_path / "b"))
    found = json.loads((tmp_path / "p.run.json").read_text(encoding="utf-8"))["inputs"]
    assert [Path(entry["path"]).suffix for entry in found] == [".pgen", ".pvar", ".psam", ".pheno"]


@pytest.mark.usefixtures("quick")
def test_fixed_effects_by_formula_and_by_names(data: Path, tmp_path: Path) -> None:
    pheno = Path(f"{data}.pheno").read_text(encoding="utf-8").splitlines()
    pheno[1] = "\t".join([*pheno[1].split("\t")[:2], "-9"])
    (tmp_path / "y.pheno").write_text("\n".join(pheno), encoding="utf-8")
    tables = {"pheno": tmp_path / "y.pheno"}
    missing = ["--missing-code", "-9"]
    assert h2(data, tmp_path / "a", "--formula", "~ C(sex) + age", *missing, **tables) == 0
    names = ["--covar-name", "age", "--cat-covar", "sex"]
    assert h2(data, tmp_path / "b", *names, *missing, **tables) == 0
    a, b = (table_of(tmp_path / name).set_index("quantity") for name in "ab")
    assert {"beta[intercept]", "beta[age]", "beta[sex[2]]"} <= {*b.index}
    assert set(a["n"]) == set(b["n"]) == {199}
    assert a.loc["h2", "mean"] == pytest.approx(b.loc["h2", "mean"], rel=1e-6)


# --- models and priors -------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_a_users_model_file(data: Path, plain: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    assert h2(data, tmp_path / "out", "--model", tmp_path / "mine.py") == 0
    row = share(tmp_path / "out")
    assert row["model"] == "mine"
    assert row["mean"] == pytest.approx(share(plain)["mean"], abs=0.05)
    found = json.loads((tmp_path / "out.run.json").read_text(encoding="utf-8"))
    assert found["traits"]["y"]["model_sha256"] == sha256(tmp_path / "mine.py")


@pytest.mark.usefixtures("quick")
def test_a_prior_changes_the_numbers(data: Path, plain: Path, tmp_path: Path) -> None:
    prior = "h2 = beta(1, 30); total_sd=half_normal(2)"
    assert h2(data, tmp_path / "out", "--prior", prior) == 0
    assert share(tmp_path / "out")["mean"] < share(plain)["mean"] - 0.05
    words = json.loads((tmp_path / "out.run.json").read_text(encoding="utf-8"))["traits"]["y"]
    assert words["priors"]["h2"] == "Beta(1, 30)"


def test_priors_are_parted_by_semicolons() -> None:
    texts = ["h2=beta(1,1);total_sd=half_t(3, 2.5);", "beta=normal(0, 1)"]
    assert parse_priors(texts) == {
        "h2": "beta(1,1)",
        "total_sd": "half_t(3, 2.5)",
        "beta": "normal(0, 1)",
    }
    with pytest.raises(InputError, match="two priors of h2"):
        parse_priors(["h2=beta(1,1)", "h2=beta(2,2)"])


def test_models_are_listed_shown_and_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list"]) == 0
    assert "additive           Additive polygenic model" in capsys.readouterr().out
    assert main(["models", "show", "additive"]) == 0
    source = capsys.readouterr().out
    assert "def build(" in source
    target = tmp_path / "mine.py"
    assert main(["models", "copy", "additive", str(target)]) == 0
    assert target.read_text(encoding="utf-8") == source
    assert main(["models", "copy", "additive", str(target)]) == 2  # never overwritten
    assert "the file exists" in capsys.readouterr().err


# --- what is not healthy, what is interrupted ----------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_an_unhealthy_posterior_is_written_with_a_loud_warning_and_exit_1(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert h2(data, tmp_path / "out", "--draws", 40) == 1
    out, err = capsys.readouterr()
    assert "warning: y: NOT healthy, do not use these numbers" in err
    assert "NOT healthy" in out
    assert (tmp_path / "out.h2.tsv").is_file()
    found = json.loads((tmp_path / "out.run.json").read_text(encoding="utf-8"))
    assert found["traits"]["y"]["ok"] is False


@pytest.mark.usefixtures("quick")
def test_a_weakly_informed_posterior_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = tmp_path / "few"
    assert main(["simulate", "--n", "60", "--m", "500", "--out", str(prefix)]) == 0
    assert h2(prefix, tmp_path / "out") == 0
    assert "warning: y: weakly informed: " in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (RuntimeError("no luck"), 1)],
)
def test_a_run_that_fails_halfway_leaves_the_old_outputs(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    for suffix in RESULTS:
        (tmp_path / f"out{suffix}").write_text("old", encoding="utf-8")
    before = files_in(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("bayeslmm.cli.outputs.write_tree", fail)
    monkeypatch.setattr("bayeslmm.cli.commands.h2.write_tree", fail)
    assert h2(data, tmp_path / "out") == code
    assert files_in(tmp_path) == before
    err = capsys.readouterr().err
    assert "Traceback" not in err
    if code == 1 and isinstance(error, RuntimeError):
        assert "internal failure: RuntimeError: no luck (test_cli.py:" in err
        assert "BAYESLMM_DEBUG=1" in err


@pytest.mark.usefixtures("quick")
def test_a_run_that_is_told_to_end_cleans_up(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(
        "bayeslmm.cli.commands.h2.write_tree", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert h2(data, tmp_path / "out") == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("quick")
def test_copies_are_warned_of_by_trait(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dosages = np.vstack([block for _, block in read_genotypes(data).blocks(dtype=np.int8)]).T
    dosages[1] = dosages[0]
    individuals = read_genotypes(data).individuals
    write_plink1(from_array(dosages, individuals), tmp_path / "twins")
    pheno = pd.read_csv(f"{data}.pheno", sep="\t")
    pheno.loc[1, "y"] = pheno.loc[0, "y"]
    pheno.to_csv(tmp_path / "twins.pheno", sep="\t", index=False)
    assert h2(tmp_path / "twins", tmp_path / "out", covar=False) == 0
    err = capsys.readouterr().err
    assert err.count("warning: 1 pairs of individuals have a correlation above 0.95") == 1
    assert "warning: y: 1 pair of individuals with a genetic correlation above 0.95" in err


@pytest.mark.usefixtures("quick")
def test_debug_shows_the_traceback(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BAYESLMM_DEBUG", "1")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr("bayeslmm.cli.commands.h2.open_source", fail)
    assert h2(data, tmp_path / "out") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    monkeypatch.setattr("bayeslmm.cli.commands.h2.open_source", lambda *_: bytearray(2**62))
    assert h2(data, tmp_path / "out") == 1
    assert "error: out of memory -> " in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_the_spectrum_is_kept_and_used_again(
    data: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.npz"
    two = data.with_name("two.pheno")
    assert h2(data, tmp_path / "a", "--spectrum", kept, "--pheno-name", "y", pheno=two) == 0
    assert kept.is_file()
    bayeslmm.likelihood.spectrum.SPECTRA.clear()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("decomposed again")

    with monkeypatch.context() as patch:
        patch.setattr("bayeslmm.likelihood.decompose.decompose", fail)
        patch.setattr("bayeslmm.likelihood.decompose.decompose_root", fail)
        assert h2(data, tmp_path / "a", "--spectrum", kept) == 0
    assert share(tmp_path / "a")["mean"] == pytest.approx(share(plain)["mean"], rel=1e-6)
    before = sha256(kept)
    assert h2(data, tmp_path / "b", "--spectrum", kept, pheno=two) == 0
    assert sha256(kept) == before
    assert {path.name for path in tmp_path.glob("*.npz")} == {
        "kept.npz", "kept.y.npz", "kept.late.npz",
    }  # fmt: skip


@pytest.mark.usefixtures("quick")
def test_threads_limit_the_linear_algebra(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threadpoolctl import threadpool_info

    seen: list[int] = []
    real = bayeslmm.cli.analysis.fit_one

    def spy(*args: Any) -> Any:
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return real(*args)

    monkeypatch.setattr(bayeslmm.cli.analysis, "fit_one", spy)
    assert h2(data, tmp_path / "out", "--threads", 1) == 0
    assert set(seen) == {1}


@pytest.mark.usefixtures("quick")
def test_outputs_of_an_earlier_run_are_pointed_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.bv.tsv").write_text("old", encoding="utf-8")
    assert h2(data, tmp_path / "out") == 0
    assert "out.bv.tsv is of an earlier run" in capsys.readouterr().err


# --- bad input: exit 2, a message that teaches, nothing written ----------------------------------

BAD: dict[str, tuple[list[str], str]] = {
    "no pheno": (["--bfile", "{data}"], r"no --pheno FILE -> .* \(the \.fam's sixth column"),
    "unknown trait": (
        ["--bfile", "{data}", "--pheno", "{data}.pheno", "--pheno-name", "z"],
        r"sim\.pheno: no column 'z' -> one of: y -> ",
    ),
    "no such genotypes": (
        ["--bfile", "{data}x", "--pheno", "{data}.pheno"], r"simx\.bed: no such file"
    ),
    "no such table": (["--bfile", "{data}", "--pheno", "{data}.no"], r"sim\.no: no such file"),
    "covariates without a table": (
        ["--bfile", "{data}", "--pheno", "{data}.pheno", "--cat-covar", "sex"],
        "--cat-covar without --covar",
    ),
    "formula and names": (
        ["--bfile", "{data}", "--pheno", "{data}.pheno", "--covar", "{data}.covar",
         "--formula", "~ sex", "--covar-name", "age"],
        "--formula and --covar-name",
    ),
    "unknown prior": (
        ["--bfile", "{data}", "--pheno", "{data}.pheno", "--prior", "h3=beta(1,1)"],
        r"no prior 'h3' in the model additive -> .*h2=beta\(1, 1\)",
    ),
    "prior without a name": (
        ["--bfile", "{data}", "--pheno", "{data}.pheno", "--prior", "beta(1,1)"],
        r"--prior 'beta\(1,1\)' -> NAME=FAMILY",
    ),
    "unknown family": (
        ["--bfile", "{data}", "--pheno", "{data}.pheno", "--prior", "h2=betta(1,1)"],
        "prior family 'betta' -> one of beta",
    ),
    "unknown model": (
        ["--bfile", "{data}", "--pheno", "{data}.pheno", "--model", "addditive"],
        "no model 'addditive' -> one of additive",
    ),
    "an engine that cannot": (
        ["--bfile", "{data}", "--pheno", "{data}.pheno", "--model", "additive_cholesky",
         "--engine", "exact"],
        "the exact engine cannot serve this model",
    ),
    "an option of genotypes for a matrix": (
        ["--grm", "{data}", "--maf", "0.05", "--pheno", "{data}.pheno"],
        "--maf with --grm -> options of genotypes",
    ),
    "fam without grm": (
        ["--bfile", "{data}", "--fam", "{data}.fam", "--pheno", "{data}.pheno"],
        "--fam without --grm",
    ),
    "no variant left": (
        ["--bfile", "{data}", "--pheno", "{data}.pheno", "--maf", "0.5"], "no variant is left"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_an_error_in_words(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    arguments, message = BAD[case]
    words = [word.format(data=data) for word in arguments]
    assert main(["h2", *words, "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    last = err[err.rindex("error: ") :].replace("\n", " ")
    assert re.search(message, last), err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("h2 --bfile a --pfile b --out c", "not allowed with argument --bfile"),
        (
            "h2 --pheno a --out c",
            "one of the arguments --bfile --pfile --grm --pedigree is required",
        ),
        ("h2 --bfile a --pheno b", "the following arguments are required: --out"),
        ("h2 --bfile a --pheno b --out c --draws 17", "a multiple of 4, at least 16"),
        ("h2 --bfile a --pheno b --out c --prob 1", "a number from 0 to 1, without the ends"),
        ("h2 --bfile a --pheno b --out c --maf 0.7", "a number from 0 to 0.5"),
        ("h2 --bfile a --pheno b --out c --seed -1", "a whole number, 0 to 4294967295"),
        ("h2 --bfile a --pheno b --out c --pheno-name A,,B", "names separated by commas"),
        ("simulate --n 1 --out c", "a whole number, 2 or more"),
        ("simulate --h2 nan --out c", "a number from 0 to 1"),
        ("grm --bfile a --form gcta --out b", "unrecognized arguments"),  # no abbreviations
        ("grm --vcf a.vcf.gz --out b", "plink2 --vcf a.vcf.gz --make-pgen --out a "),
        ("h2 --bgen a.bgen --pheno y --out b", "--sample a.sample --make-pgen --out a, then --pf"),
        ("h2 --pheno y --out b --file a", "plink --file a --make-bed --out a (plink 1.9)"),
        ("compare --ped a.ped --pheno y --models fixed,additive --out b", "plink --file a --make"),
        ("h2 --bimbam a.geno.txt --pheno y --out b", "gemma -g a.geno.txt -p"),
        ("", "COMMAND"),
    ],
)
def test_wrong_usage(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert "--help" in err


def test_an_output_that_cannot_be_written_is_seen_before_the_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "y.nc").mkdir()
    for out, message in (
        (tmp_path / "file" / "y", "cannot be written"),
        (f"{tmp_path}/", "a prefix without a name"),
        (tmp_path / "y", "is a folder"),
    ):
        assert main(["h2", "--bfile", "nowhere", "--pheno", "x", "--out", str(out)]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert "--out" in err
        assert "nowhere" not in err


def test_an_input_is_not_overwritten(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pheno = tmp_path / "y.h2.tsv"
    shutil.copy(f"{data}.pheno", pheno)
    assert h2(data, tmp_path / "y", pheno=pheno) == 2
    assert "is an input, and would be overwritten" in capsys.readouterr().err
    assert pheno.read_bytes() == Path(f"{data}.pheno").read_bytes()


# --- demo, report, help --------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_demo_shows_truth_and_posterior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bayeslmm.cli.commands.demo.N", 150)
    monkeypatch.setattr("bayeslmm.cli.commands.demo.M", 300)
    assert main(["demo", "--out", str(tmp_path / "d"), "--seed", "2"]) == 0
    out = capsys.readouterr().out
    assert f"$ bayeslmm h2 --bfile {tmp_path}/d/demo" in out
    assert "quantity           truth    mean      sd  interval" in out
    assert f"Open the report in a browser: {tmp_path}/d/demo.html" in out
    truth = compare(tmp_path / "d" / "demo.h2.tsv", tmp_path / "d" / "demo.truth.tsv")
    assert [line.split()[0] for line in truth.splitlines()[1:4]] == ["h2", "sigma2_u", "sigma2_e"]


def test_the_report_of_a_kept_result_is_the_same(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", f"{plain}.nc", "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == Path(f"{plain}.html").read_text()
    broken = tmp_path / "broken.nc"
    broken.write_bytes(Path(f"{plain}.nc").read_bytes()[:1000])
    assert main(["report", str(broken), "--out", str(tmp_path / "no.html")]) == 2
    assert "cannot be read as netCDF-4" in capsys.readouterr().err
    assert not (tmp_path / "no.html").exists()


@pytest.mark.parametrize("words", ["--help", "h2 --help", "models --help"])
def test_help_is_quick_and_imports_nothing_heavy(words: str) -> None:
    code = (
        "import sys; from bayeslmm.cli import main; main(sys.argv[1:]); "
        "assert not {'pymc', 'pandas', 'numba', 'numpy', 'xarray'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=False
    )
    assert "usage: bayeslmm" in done.stdout
    assert done.stderr.strip() == ""
    assert fastest([sys.executable, "-m", "bayeslmm", *words.split()]) < 0.5


def fastest(command: list[str], times: int = 4) -> float:
    """Wall seconds of the fastest of some runs."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        found.append(time.perf_counter() - start)
    return min(found)


def test_every_option_says_its_default() -> None:
    (commands,) = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    for name in ("demo", "simulate", "grm", "h2"):
        for action in commands.choices[name]._actions:  # type: ignore[index,call-overload]
            required = {"bfile", "pfile", "grm", "pedigree", "fam", "pheno", "out", "help"}
            if action.help != argparse.SUPPRESS and (action.dest not in required or name == "demo"):
                assert "default: " in str(action.help) or action.dest == "help", action.dest
            if action.default not in (None, False, argparse.SUPPRESS, []) and action.dest != "help":
                shown = str(action.default)
                assert f"default: {shown}" in action.help or f"./{shown}" in action.help


def test_version_and_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bayeslmm ")
    done = subprocess.run(
        [sys.executable, "-m", "bayeslmm", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("bayeslmm ")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m bayeslmm models show additive | true"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=os.environ
    )
    assert "Traceback" not in done.stderr


def test_the_name_of_a_matrix_and_a_path_with_an_equals_sign(tmp_path: Path) -> None:
    (tmp_path / "h2=0.5").mkdir()
    (tmp_path / "h2=0.5/k.grm.bin").touch()
    (tmp_path / "x=y.npz").touch()
    for text in ("k", "./k", f"{tmp_path}/h2=0.5/k", f"{tmp_path}/x=y.npz", "a/b=c/k"):
        assert named_matrix(text) == ("", text)
    for file in ("k", "/data/k", f"{tmp_path}/h2=0.5/k", "a=b"):
        assert named_matrix(f"additive={file}") == ("additive", file)
