"""The notebooks run from beginning to end, show what is stored, and leave no files behind.

A script (`NN_name.py`) and its notebook (`NN_name.ipynb`) have the same cells, which a test holds,
so that executing the script executes both.
"""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

import bayeslmm

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
MOST_BYTES = 6_000_000  # of all notebooks and pictures together

_spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
assert _spec is not None
assert _spec.loader is not None
execute = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(execute)

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def stored(path: Path) -> Any:
    """The executed notebook of a script."""
    return json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))


def outputs(notebook: Any) -> list[Any]:
    """What the cells of a notebook show."""
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def kinds(notebook: Any) -> list[list[str]]:
    """Of each cell, the kinds of what it shows."""
    return [
        [", ".join(sorted(o.get("data", {}))) or o.get("name", "") for o in cell["outputs"]]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def model_texts(notebook: Any) -> list[str]:
    """What the cells show that print a model file or its documentation."""
    return [
        "".join(text for o in cell["outputs"] for text in o.get("text", []))
        for cell in notebook["cells"]
        if re.search(r"print\(bl\.models\.\w+\.(source|doc)\b", "".join(cell["source"]))
    ]


def test_all_notebooks_are_found() -> None:
    names = [
        "01_tutorial", "02_heritability", "03_parts", "04_records", "05_two_traits",
        "06_calibration", "07_model_comparison",
    ]  # fmt: skip
    assert [path.stem for path in NOTEBOOKS] == names
    assert sorted(path.name for path in FOLDER.glob("*.py")) == [
        *(f"{name}.py" for name in names),
        "execute.py",
    ]
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == names
    assert sorted(path.name for path in (FOLDER / "pictures").iterdir()) == [
        f"{name}.png" for name in names
    ]


@each
def test_a_notebook_runs_and_warns_of_nothing_unexpected(path: Path, tmp_path: Path) -> None:
    """By the command that stores it, which fails where a cell writes to stderr or leaves a file."""
    run = subprocess.run(  # a process of its own: Jupyter's event loops warn of their own things
        [sys.executable, str(FOLDER / "execute.py"), path.stem, "--to", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    executed = json.loads((tmp_path / f"{path.stem}.ipynb").read_text(encoding="utf-8"))
    said = [o for o in outputs(executed) if o["output_type"] == "stream" and o["name"] == "stderr"]
    assert not said, "".join(said[0]["text"])
    shown = [o for o in outputs(executed) if "image/png" in o.get("data", {})]
    assert shown, "no plot is shown"
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")) == [
        f"{path.stem}.ipynb",
        f"pictures/{path.stem}.png",
    ]
    again = f"store it again: uv run python notebooks/execute.py {path.stem}"
    assert kinds(executed) == kinds(stored(path)), again
    assert model_texts(executed) == model_texts(stored(path)), again


@each
def test_a_notebook_is_in_step_with_its_script(path: Path) -> None:
    script, notebook = jupytext.read(path), stored(path)
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    wanted = [(cell.cell_type, cell.source) for cell in script.cells]
    assert found == wanted, f"uv run python notebooks/execute.py {path.stem}"
    assert notebook["metadata"]["jupytext"]["formats"] == "ipynb,py:percent"
    assert script.metadata["jupytext"]["formats"] == "ipynb,py:percent"


@each
def test_a_stored_notebook_was_executed_once_from_top_to_bottom(path: Path) -> None:
    cells = [cell for cell in stored(path)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert {o["output_type"] for o in outputs(stored(path))} <= {
        "stream", "display_data", "execute_result",
    }  # fmt: skip


@each
def test_a_stored_notebook_shows_nothing_of_the_machine_that_ran_it(path: Path) -> None:
    for output in outputs(stored(path)):
        shown = json.dumps({k: v for k, v in output.get("data", {}).items() if "image" not in k})
        shown += "".join(output.get("text", []))
        for private in (
            r"\x1b|\\u001b",
            r"0x[0-9a-f]{6}",
            r"(?<![\w.])/(work|tmp|home|root|Users)\b",
        ):
            assert not re.search(private, shown), (private, shown[:300])
        assert output.get("name") != "stderr"


def test_the_notebooks_are_small() -> None:
    files = [*FOLDER.glob("*.ipynb"), *(FOLDER / "pictures").iterdir()]
    assert sum(file.stat().st_size for file in files) < MOST_BYTES


@each
def test_a_notebook_imports_public_names_only(path: Path) -> None:
    """In its cells and in model files that it writes: `import bayeslmm as bl`, the names in it."""
    text = path.read_text(encoding="utf-8")
    imports = re.findall(r"^[ \t]*((?:from|import) bayeslmm\b.*)", text, flags=re.MULTILINE)
    allowed = ("import bayeslmm as bl", "from bayeslmm.modelling import")
    assert "import bayeslmm as bl" in imports
    assert [line for line in imports if not line.startswith(allowed)] == []
    names = {
        node.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "bl"
    }
    assert names <= {*bayeslmm.__all__, "__file__"}


@each
def test_a_notebook_is_self_contained_and_asserts_what_it_claims(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "shared" not in [part for line in text.splitlines() for part in line.split("/")]
    assert text.count("\nassert ") >= 8
    cells = [cell.cell_type for cell in jupytext.reads(text, fmt="py:percent").cells]
    assert cells[0] == "markdown"
    assert cells.count("markdown") >= 10


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (new_output("stream", name="stderr", text="a warning"), "writes to stderr: a warning"),
        (new_output("stream", text=f"{Path.home()}/x"), f"shows {str(Path.home())!r}"),
        (new_output("execute_result", {"text/html": str(FOLDER)}), f"shows {str(FOLDER.parent)!r}"),
        (new_output("stream", text="\x1b[31mred"), "shows '\\x1b'"),
    ],
)
def test_what_nobody_else_should_see_is_refused(output: Any, message: str) -> None:
    cell = new_code_cell("first = 1\nsecond", outputs=[output])
    with pytest.raises(execute.NotebookError) as caught:
        execute.clean(new_notebook(cells=[cell]), "08_new")
    assert str(caught.value) == f"08_new, cell 0, which begins 'first = 1': {message}"


def test_addresses_in_memory_are_dropped() -> None:
    output = new_output("execute_result", {"text/plain": "<pymc.Model at 0x7f14e468cec0>"})
    notebook = new_notebook(cells=[new_code_cell("model", outputs=[output])])
    execute.clean(notebook, "08_new")
    assert notebook.cells[0].outputs[0]["data"]["text/plain"] == "<pymc.Model>"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_notebook_has_one_picture(count: int) -> None:
    figure = new_output("display_data", {"image/png": base64.b64encode(b"figure").decode()})
    cell = new_code_cell(outputs=[figure] * count, metadata={"tags": ["picture"]})
    notebook = new_notebook(cells=[new_code_cell(outputs=[figure]), cell])
    if count == 1:
        assert execute.picture(notebook, "08_new") == b"figure"
        return
    with pytest.raises(execute.NotebookError, match=f"08_new: {count} figures in cells tagged"):
        execute.picture(notebook, "08_new")


def test_files_that_are_left_behind_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "08_new.py"
    source.write_text("# %%\nopen('left.txt', 'w').close()\n", encoding="utf-8")
    code = "import sys, pathlib, execute; execute.execute(pathlib.Path(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", code, str(source)],
        env={**os.environ, "PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "NotebookError: 08_new.py leaves ['left.txt'] behind" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["08_new.py"]


def test_the_overview_has_a_line_and_a_picture_of_each() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    assert [re.findall(r"\((\w+)\.ipynb\)", row) for row in rows] == [[p.stem] for p in NOTEBOOKS]
    assert [re.findall(r'src="([^"]+)"', row) for row in rows] == [
        [f"pictures/{p.stem}.png"] for p in NOTEBOOKS
    ]


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
