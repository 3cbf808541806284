"""Execute the notebooks and store what they show.

    uv run python notebooks/execute.py              # all of them, about three minutes
    uv run python notebooks/execute.py 03_parts     # one

`NN_name.py` is the source, a script in jupytext's percent format. Two files are made of it:
`NN_name.ipynb`, the same cells with their tables and figures, and `pictures/NN_name.png`, the
figure of the cell with the tag "picture". Nothing is written unless the whole notebook runs,
writes nothing to stderr, leaves no file behind, and shows no path of this machine.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbclient
import nbformat

FOLDER = Path(__file__).resolve().parent
SECONDS = 300  # a cell may take
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")  # <pymc.Model at 0x7f...>: another one in every run
ESCAPE = "\x1b"  # begins a terminal's colours and progress bars


class NotebookError(Exception):
    """A notebook that cannot be stored, and why."""


def sources() -> list[Path]:
    """The scripts, in the order in which they are read."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def execute(source: Path) -> Any:
    """Run a script as a notebook in an empty folder; return the notebook with its outputs."""
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"  # jupytext's are random
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
        left = sorted(path.name for path in Path(folder).iterdir())
    if left:
        raise NotebookError(f"{source.name} leaves {left} behind: write into a temporary folder")
    notebook.metadata["language_info"] = {"name": "python", "file_extension": ".py"}
    return notebook


def clean(notebook: Any, name: str) -> None:
    """Drop addresses in memory; raise `NotebookError` for what nobody else should see."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            where = f"{name}, cell {number}, which begins {cell.source.splitlines()[0]!r}"
            if output.get("name") == "stderr":
                raise NotebookError(f"{where}: writes to stderr: {output['text']}")
            data = output.get("data", {})
            if "text/plain" in data:
                data["text/plain"] = ADDRESS.sub("", data["text/plain"])
            shown = output.get("text", "") + "".join(
                str(value) for kind, value in data.items() if not kind.startswith("image/")
            )
            for private in (str(FOLDER.parent), str(Path.home()), tempfile.gettempdir(), ESCAPE):
                if private in shown:
                    raise NotebookError(f"{where}: shows {private!r}")


def picture(notebook: Any, name: str) -> bytes:
    """The PNG of the cell with the tag "picture"."""
    found = [
        output["data"]["image/png"]
        for cell in notebook.cells
        if "picture" in cell.metadata.get("tags", [])
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    if len(found) != 1:
        raise NotebookError(f'{name}: {len(found)} figures in cells tagged "picture", not one')
    return base64.b64decode(found[0])


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)


def store(source: Path, folder: Path) -> None:
    """Execute a script; write its notebook and its picture into a folder."""
    name = source.stem
    notebook = execute(source)
    clean(notebook, name)
    figure = picture(notebook, name)
    write(folder / f"{name}.ipynb", f"{nbformat.writes(notebook)}\n".encode())
    write(folder / "pictures" / f"{name}.png", figure)


def main() -> None:
    """Execute the notebooks that are named, or all."""
    known = {path.stem: path for path in sources()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; default all")
    parser.add_argument(
        "--to", type=Path, default=FOLDER, help="folder; default that of the sources"
    )
    options = parser.parse_args()
    for name in options.names or known:
        if name not in known:
            parser.error(f"no notebook {name!r}; there are {', '.join(known)}")
        store(known[name], options.to)
        print(name)


if __name__ == "__main__":
    try:
        main()
    except NotebookError as error:
        sys.exit(str(error))
