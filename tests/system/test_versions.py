"""What our own version is: the number and the code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

import bayeslmm
from bayeslmm.system.versions import exact_versions, source_digest


def test_versions_are_those_of_the_packages_and_of_our_code() -> None:
    found = exact_versions(["bayeslmm", "numpy"])
    assert found == {
        "bayeslmm": f"{version('bayeslmm')}+{source_digest()}",
        "numpy": np.__version__,
    }
    assert exact_versions(["scipy"]).keys() == {"scipy"}


def digest_of(folder: Path) -> str:
    code = "import bayeslmm.system.versions as v; print(v.__file__, v.source_digest())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    file, digest = done.stdout.split()
    assert Path(file).is_relative_to(folder)
    return digest


def test_a_copy_is_the_same_and_a_change_is_not(tmp_path: Path) -> None:
    package = Path(bayeslmm.__file__).parent
    shutil.copytree(package, tmp_path / "bayeslmm", ignore=shutil.ignore_patterns("__pycache__"))
    assert digest_of(tmp_path) == source_digest()
    shutil.copytree(package.parent / "models", tmp_path / "bayeslmm" / "_models")  # as in a wheel
    assert digest_of(tmp_path) == source_digest()
    file = tmp_path / "bayeslmm" / "inference" / "nuts.py"
    file.write_text(file.read_text() + "\n")
    assert digest_of(tmp_path) != source_digest()
