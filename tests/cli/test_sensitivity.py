"""``bayeslmm h2``: the table of prior sensitivity, and warnings on stderr, in record and report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslmm.checks.sensitivity import COLUMNS
from bayeslmm.cli import main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated cohort of 120 with a batch that holds all large values, and one that is y."""
    prefix = tmp_path_factory.mktemp("data") / "sim"
    arguments = "simulate --n 120 --m 300 --h2 0.5 --families --seed 4 --out"
    assert main([*arguments.split(), str(prefix)]) == 0
    y = pd.read_csv(f"{prefix}.pheno", sep="\t")
    table = y[["FID", "IID"]].assign(
        nearly=100 + y["y"] + 0.05 * np.random.default_rng(1).standard_normal(120),
        same=7 - 2 * y["y"],
    )
    table.to_csv(f"{prefix}.batch", sep="\t", index=False)
    return prefix


def run(data: Path, out: Path, *more: str) -> int:
    command = ["h2", "--bfile", str(data), "--pheno", f"{data}.pheno", "--draws", "2000"]
    return main([*command, "--out", str(out), *more])


def test_h2_writes_the_sensitivity_and_says_warnings_everywhere(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "y"
    assert run(data, out, "--covar", f"{data}.batch", "--covar-name", "nearly") == 0
    err = capsys.readouterr().err
    warning = "the covariate 'nearly' explains 9"  # 99.7 %
    assert f"warning: y: {warning}" in err
    record = json.loads(Path(f"{out}.run.json").read_text(encoding="utf-8"))
    assert any(text.startswith(f"y: {warning}") for text in record["warnings"])
    assert "y.sensitivity.tsv" in record["outputs_sha256"]
    page = Path(f"{out}.html").read_text(encoding="utf-8")
    assert "the covariate &#39;nearly&#39; explains 9" in page
    assert "Does the prior matter?" in page
    table = pd.read_csv(f"{out}.sensitivity.tsv", sep="\t")
    assert list(table.columns) == COLUMNS
    main_table = pd.read_csv(f"{out}.h2.tsv", sep="\t").set_index("quantity")
    first = table.iloc[0]
    assert (first["prior"], first["fitted"]) == ("flat", True)
    for column in ("mean", "sd", "lower", "upper"):
        assert first[column] == pytest.approx(main_table.loc["h2", column], rel=1e-9)


def test_a_covariate_that_is_the_trait_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "y"
    assert run(data, out, "--covar", f"{data}.batch", "--covar-name", "same") == 2
    assert "the covariate 'same' determines the trait 'y'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
