"""The notebooks run from beginning to end, as notebooks, and leave no files behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))

EXECUTE = """
import sys
import jupytext
import nbclient
notebook = jupytext.read(sys.argv[1])
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
jupytext.write(notebook, sys.argv[2])
"""


def test_all_notebooks_are_found() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01_tutorial", "02_heritability", "03_parts", "04_records", "05_two_traits",
        "calibration", "model_comparison",
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_warns_of_nothing_unexpected(path: Path, tmp_path: Path) -> None:
    executed = tmp_path / f"{path.stem}.ipynb"
    run = subprocess.run(  # a process of its own: Jupyter's event loops warn of their own things
        [sys.executable, "-c", EXECUTE, str(path), str(executed)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    cells = json.loads(executed.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    said = [o for o in outputs if o["output_type"] == "stream" and o["name"] == "stderr"]
    assert not said, "".join(said[0]["text"])
    assert any("image/png" in output.get("data", {}) for output in outputs), "no plot is shown"
    assert sorted(p.name for p in tmp_path.iterdir()) == [executed.name]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_self_contained_and_asserts_what_it_claims(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "shared" not in [part for line in text.splitlines() for part in line.split("/")]
    assert text.count("\nassert ") >= 8
    kinds = [cell.cell_type for cell in jupytext.reads(text, fmt="py:percent").cells]
    assert kinds[0] == "markdown"
    assert kinds.count("markdown") >= 10


def test_the_tutorial_has_the_published_numbers(tmp_path: Path) -> None:
    """The numbers that the notebook embeds are those of the reference file, where it is there."""
    reference = FOLDER.parents[1] / "shared" / "reference" / "tutorial.json"
    if not reference.is_file():
        pytest.skip(f"shared data missing: {reference}")
    published = json.loads(reference.read_text())
    text = (FOLDER / "01_tutorial.py").read_text(encoding="utf-8")
    for name in ("g", "epsilon", "y"):
        for value in published[name]:
            assert str(value) in text, (name, value)
    embedded = text[text.index('printed_by_r = """') :].split('"""')[1].split()
    flat = [value for row in published["GRM"] for value in row]
    assert [float(x) for x in embedded] == flat
    for value in (published["pve"][name] for name in ("fixed", "random", "total")):
        assert f'== "{value}"' in text
