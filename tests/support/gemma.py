"""GEMMA on the mice: its matrix is computed and read once for all tests of a process."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bayeslmm.relationship.files import read_grm
from bayeslmm.relationship.relationship import Relationship


class Gemma:
    """Runs of the program in a folder of its own."""

    def __init__(self, program: str, prefix: Path, folder: Path) -> None:
        self.program = program
        self.prefix = prefix
        self.folder = folder
        self.run("-gk", "1", "-o", "mice")
        self.matrix = folder / "output/mice.cXX.txt"

    def run(self, *options: str) -> str:
        """Return what ``gemma -bfile PREFIX options`` prints."""
        words = [self.program, "-bfile", str(self.prefix), *options]
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fit(self, name: str, traits: list[int], test: int) -> tuple[Path, str]:
        """Fit the columns `traits` with the matrix; return the log file and what is printed.

        ``-maf 0.499`` leaves few variants to test: only the null model is asked for.
        """
        columns = [str(trait) for trait in traits]
        printed = self.run("-n", *columns, "-k", str(self.matrix), "-lmm", str(test),
                           "-maf", "0.499", "-o", name)  # fmt: skip
        return self.folder / f"output/{name}.log.txt", printed

    def kernel(self) -> Relationship:
        """Return GEMMA's matrix as bayeslmm reads it."""
        return read_grm(self.matrix, fam=f"{self.prefix}.fam")


def gemma_of_mice(shared_data: Path, folder: Path) -> Gemma:
    """Return GEMMA with its matrix of the mice; skip where it is not installed."""
    program = shutil.which("gemma")
    if program is None:
        pytest.skip("gemma is not installed (apt-get install gemma)")
    return Gemma(program, shared_data / "mouse_hs1940/mouse_hs1940", folder)
