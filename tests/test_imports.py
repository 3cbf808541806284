"""Packages import one way, and the parts that only read tables and genotypes start fast."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "bayeslmm"

# A module may import from its own package and from those before it, at any place of its text (also
# inside functions and under TYPE_CHECKING). The same list, with a sentence each, stands in
# CONTRIBUTING.md.
ORDER = [
    *("errors", "individuals", "ledger", "numerics", "system", "tables", "genotypes", "cohort"),
    *("relationship", "simulation", "likelihood", "priors", "distributions", "modelling"),
    *(
        "models",
        "estimates",
        "study",
        "inference",
        "comparison",
        "posterior",
        "checks",
        "calibration",
    ),
    *("report", "__init__", "cli", "__main__"),
]
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_models" not in path.parts)


def package_of(path: Path) -> str:
    """The name in ORDER that a file of the package belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_name(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """Dotted names of the modules of bayeslmm that a file imports."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "bayeslmm":
                while name not in MODULES:
                    name = name.rpartition(".")[0]
                found.add(name)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_packages_import_one_way(path: Path) -> None:
    package = package_of(path)
    assert package in ORDER, f"give {package} its place in ORDER"
    later = set(ORDER[ORDER.index(package) + 1 :])
    against = {name for name in imported(path) if package_of(MODULES[name]) in later}
    assert not against, f"{package} imports what stands after it"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """No circles, between modules of one package neither; imports inside functions count."""
    graph = {name: imported(path) - {name} for name, path in MODULES.items()}
    graph = {name: found for name, found in graph.items() if name != "bayeslmm"}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join([*trail[trail.index(name) :], name])
        if name in done or name not in graph:
            return
        for other in sorted(graph[name]):
            visit(other, (*trail, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_the_order_names_only_packages_that_exist() -> None:
    assert set(ORDER) == {package_of(path) for path in FILES}


def test_two_levels_of_folders_at_most_and_each_says_what_it_is() -> None:
    for path in FILES:
        assert len(path.relative_to(PACKAGE).parts) <= 3, path
        assert (path.parent / "__init__.py").is_file(), path.parent
    for init in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), init


def test_an_import_against_the_order_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "def f():\n    from bayeslmm import cli, fit\n    import bayeslmm.inference.nuts\n"
    )
    assert imported(file) == {"bayeslmm.cli", "bayeslmm", "bayeslmm.inference.nuts"}


@pytest.mark.parametrize(
    "modules",
    ["bayeslmm", "bayeslmm.genotypes.qc, bayeslmm.tables.phenotypes, bayeslmm.cohort.build"],
)
def test_reading_data_imports_no_heavy_package(modules: str) -> None:
    heavy = "{'pymc', 'pytensor', 'arviz', 'matplotlib', 'numba'}"
    code = f"import sys, {modules}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_contributing_names_the_packages_in_this_order() -> None:
    """A row each, with the sentence that the package's docstring says."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z_`(), ]+) \| (.+) \|$", text, flags=re.MULTILINE)
    named = [name for cell, _ in rows for name in re.findall(r"`([a-z_]+)`", cell.split(" (")[0])]
    assert named == [name for name in ORDER if not name.startswith("__")]
    for cell, sentence in rows:
        init = PACKAGE / re.findall(r"`([a-z_]+)`", cell)[0] / "__init__.py"
        if init.is_file():
            doc = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
            assert doc.splitlines()[0].rstrip(".").replace("|", "\\|") == sentence, init
        for outer, inner in re.findall(r"`([a-z_]+)` \((.+)\)", cell):
            for name in re.findall(r"`([a-z_]+)`", inner):
                assert (PACKAGE / outer / name / "__init__.py").is_file(), name
