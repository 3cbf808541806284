"""``bayeslmm calibrate``: files, exit codes, and a run that is killed and goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from engine_oracles import gram

from bayeslmm.cli import main
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.files import write_grm
from bayeslmm.relationship.relationship import Relationship


def start(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bayeslmm", "calibrate", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed with two processes, gone on with one; against an uninterrupted run with one."""
    options = ["--model", "additive", "--n-sims", "40", "--draws", "40", "--seed", "4"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    parts = Path(f"{killed}.calibration.parts")
    with start(*options, "--threads", "2", "--out", str(killed)) as run:
        for _ in range(1200):
            if parts.is_file() and parts.read_bytes().count(b"\n") > 5:
                break
            assert run.poll() is None, run.communicate()[0]
            time.sleep(0.1)
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=60)  # its processes end with it: none holds the pipe open
    before = parts.read_bytes().count(b"\n")
    assert not Path(f"{killed}.calibration.tsv").exists()
    code = main(["calibrate", *options, "--threads", "1", "--out", str(killed)])
    assert main(["calibrate", *options, "--threads", "1", "--out", str(whole)]) == code == 0
    out = capsys.readouterr().out
    assert "calibrated: in 40 simulations" in out
    tables = [Path(f"{one}.calibration.tsv").read_bytes() for one in (killed, whole)]
    assert tables[0] == tables[1]
    assert 5 < before < 41  # it had begun, and was not done
    assert parts.read_bytes().count(b"\n") == 41

    table = pd.read_csv(f"{whole}.calibration.tsv", sep="\t")
    assert list(table.columns) == [
        *("quantity", "n_sims", "n_ranked", "p", "p_holm", "inside", "mean_z", "coverage_50"),
        *("coverage_95", "ok", "n_fell_back", "n_failed", "pareto_k_max"),
    ]
    assert set(table["n_sims"]) == {40}
    record = json.loads(Path(f"{whole}.calibration.run.json").read_text(encoding="utf-8"))
    assert record["ok"] is True
    assert record["engine"] == "exact"
    assert record["n_sims"] == 40
    page = Path(f"{whole}.calibration.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("<svg") == 1
    assert "Calibrated:" in page
    assert "log_likelihood" in page
    assert "--seed 4" in page


def test_the_users_matrix_and_prior(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model file of one's own, with a matrix of its own name, on a subset of the individuals."""
    people = individual_index(["F"] * 40, [f"p{k}" for k in range(40)])
    K = gram(40, 15, np.random.default_rng(1))
    write_grm(Relationship(K, people), tmp_path / "k", "gcta")
    source = (Path(__file__).parents[2] / "models" / "additive.py").read_text(encoding="utf-8")
    mine = tmp_path / "mine.py"
    mine.write_text(source.replace("additive: Rel", "kinship: Rel").replace(
        "spectrum(cohort, additive)", "spectrum(cohort, kinship)"), encoding="utf-8")  # fmt: skip
    options = ["--model", str(mine), "--grm", f"kinship={tmp_path / 'k'}", "--n", "30"]
    options += ["--prior", "h2=beta(2, 2)", "--n-sims", "20", "--draws", "20", "--threads", "1"]
    assert main(["calibrate", *options, "--out", str(tmp_path / "x")]) in (0, 1)
    said = capsys.readouterr().out
    assert "30 individuals of your matrices kinship" in said
    record = json.loads((tmp_path / "x.calibration.run.json").read_text(encoding="utf-8"))
    assert {Path(one["path"]).name for one in record["inputs"]} >= {"mine.py", "k.grm.bin"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "30"], "--n without --grm"),
        (["--model", "maternal", "--grm", "k"], "k: no relationship matrix"),
        (["--prior", "h3=beta(1,1)"], "no prior 'h3'"),
        (["--model", "nothing"], "no model 'nothing'"),
        (["--n-sims", "3"], "a whole number, 20 or more"),
        (["--model", "dominance", "--engine", "exact"], "the exact engine cannot serve"),
        (["--prior", "beta=flat()"], "is improper: there is nothing to draw a truth from"),
    ],
)
def test_bad_input_is_exit_code_2(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", *options, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.tsv"))


def test_variants_are_no_matrix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = individual_index(["F"] * 12, [f"p{k}" for k in range(12)])
    write_grm(Relationship(gram(12, 15, np.random.default_rng(1)), people), tmp_path / "k")
    options = ["--model", "snp_effects", "--grm", str(tmp_path / "k"), "--out", str(tmp_path / "x")]
    assert main(["calibrate", *options]) == 2
    assert "the variants themselves" in capsys.readouterr().err
