"""--no-report: the same numbers without the page and all that it alone shows; what is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bayeslmm.cli import main

IMPORTED = """
import sys
from bayeslmm.cli import main
code = main(sys.argv[1:])
print("modules:", *sys.modules)
sys.exit(code)
"""


def imported(arguments: list[str]) -> set[str]:
    """Modules that a command imports in a process of its own."""
    command = [sys.executable, "-c", IMPORTED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.partition("modules: ")[2].split())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of a small cohort in families."""
    prefix = tmp_path_factory.mktemp("study") / "sim"
    made = ["simulate", "--n", "100", "--m", "300", "--families", "--h2", "0.6", "--seed", "3"]
    assert main([*made, "--out", str(prefix)]) == 0
    return prefix


def h2(study: Path, out: Path, *more: str) -> list[str]:
    usual = ["h2", "--bfile", str(study), "--pheno", f"{study}.pheno", "--draws", "2000"]
    return [*usual, "--out", str(out), *more]


@pytest.fixture(scope="module")
def whole(study: Path) -> tuple[Path, set[str]]:
    """The prefix of a run with its report, and what it imported."""
    prefix = study.with_name("whole")
    return prefix, imported(h2(study, prefix))


def test_numbers_are_the_same_without_the_report(
    study: Path, whole: tuple[Path, set[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    bare = study.with_name("bare")
    assert main(h2(study, bare, "--no-report")) == 0
    said = capsys.readouterr()
    table = Path(f"{bare}.h2.tsv").read_bytes()
    assert table == Path(f"{whole[0]}.h2.tsv").read_bytes()
    written = {path.name for path in study.parent.glob("bare.*")}
    assert written == {"bare.h2.tsv", "bare.nc", "bare.run.json"}
    run = json.loads(Path(f"{bare}.run.json").read_text())
    assert set(run["outputs_sha256"]) == {"bare.h2.tsv", "bare.nc"}
    assert run["options"]["no_report"] is True
    assert "report:" not in said.out
    assert "checks" not in said.err
    assert main(["report", f"{bare}.nc", "--out", f"{bare}.later.html"]) == 0


def test_a_page_of_an_earlier_run_is_pointed_out(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = study.with_name("old")
    Path(f"{prefix}.html").write_text("old")
    assert main(h2(study, prefix, "--no-report")) == 0
    assert "old.html is of an earlier run" in capsys.readouterr().err


def test_nothing_of_the_report_is_imported(study: Path, whole: tuple[Path, set[str]]) -> None:
    """What takes long to import is imported by the commands that need it."""
    bare = imported(h2(study, study.with_name("imports"), "--no-report"))
    of_the_report = {name for name in bare if name.startswith("bayeslmm.report")}
    assert not of_the_report | (bare & {"jinja2", "markupsafe", "bayeslmm.checks.sensitivity"})
    assert "bayeslmm.report.sections" in whole[1]
    idle = {"matplotlib", "nutpie", "arviz_plots", "formulaic", "pgenlib.bgen", "IPython"}
    assert not idle & whole[1]


def test_a_grm_imports_neither_pymc_nor_arviz(study: Path) -> None:
    found = imported(["grm", "--bfile", str(study), "--out", str(study)])
    assert not {"pymc", "pytensor", "arviz_base", "scipy.stats", "jinja2", "xarray"} & found


def test_external_estimates_stand_in_the_report(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study.with_name("other.hsq")
    file.write_text("Source\tVariance\tSE\nV(G)/Vp\t0.5\t0.1\n")
    assert main(h2(study, study.with_name("no"), "--no-report", "--external", str(file))) == 2
    assert "--external with --no-report" in capsys.readouterr().err


def test_a_comparison_without_its_page(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = ["compare", "--bfile", str(study), "--pheno", f"{study}.pheno", "--draws", "2000"]
    usual += ["--models", "fixed,additive"]
    assert main([*usual, "--out", f"{study}"]) == 0
    page = Path(f"{study}.compare.html")
    table = Path(f"{study}.compare.tsv").read_bytes()
    assert page.is_file()
    capsys.readouterr()
    assert main([*usual, "--out", f"{study}", "--no-report"]) == 0
    said = capsys.readouterr()
    assert Path(f"{study}.compare.tsv").read_bytes() == table
    assert "sim.compare.html is of an earlier run" in said.err
    assert "report:" not in said.out
    assert set(json.loads(Path(f"{study}.compare.run.json").read_text())["outputs_sha256"]) == {
        "sim.compare.tsv"
    }
