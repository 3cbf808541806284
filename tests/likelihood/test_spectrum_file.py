"""A spectrum on disk: every bit, and a damaged file is an error that names it."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from kernel_problems import problems
from spectra import same

from bayeslmm.errors import InputError
from bayeslmm.likelihood.decompose import decompose, decompose_root
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.likelihood.spectrum_file import read_key


def spectra() -> dict[str, Spectrum]:
    """With all eigenvectors; with those of a root; as two traits have them."""
    problem = problems()["pedigree"]
    root = np.random.default_rng(1).standard_normal((16, 3))
    few = decompose_root(root, problem.X)
    return {
        "complete": decompose(problem.kernel, problem.X),
        "few columns": few,
        "two traits": few.together(2),
    }


@pytest.mark.parametrize("which", ["complete", "few columns", "two traits"])
def test_save_and_load_give_back_every_bit(which: str, tmp_path: Path) -> None:
    """Several traits add coordinates of their own, which `together` gives back."""
    S = spectra()[which]
    S.save(tmp_path / "a.npz")
    found = Spectrum.load(tmp_path / "a.npz")
    assert same(found.together(2) if which == "two traits" else found, S)
    assert read_key(tmp_path / "a.npz") == S.key
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    archive = dict(np.load(path))
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("FID IID\n")
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "one bit":
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        path.write_bytes(bytes(changed))
    elif how == "an array":
        with open(path, "wb") as file:
            np.save(file, archive["basis"])
    elif how == "pickled":
        np.savez(path, **(archive | {"basis": np.array([{}, 1], dtype=object)}))
    elif how == "another version of .npy":
        np.savez(path, **{k: v for k, v in archive.items() if k != "basis"})
        with ZipFile(path, "a") as kept, kept.open("basis.npy", "w") as file:
            np.lib.format.write_array(file, archive["basis"], version=(2, 0))
    elif how == "a field missing":
        np.savez(path, **{k: v for k, v in archive.items() if k != "coupling"})
    elif how == "wrong shape":
        np.savez(path, **(archive | {"coupling": archive["coupling"][:, :-1]}))
    elif how == "not finite":
        np.savez(path, **(archive | {"eigenvalues": archive["eigenvalues"] * np.nan}))
    elif how == "weights of other records":
        np.savez(path, **(archive | {"weights": archive["weights"] + 1.0}))
    elif how == "a negative weight":
        weights = archive["weights"].copy()
        weights[:2] += [-2.0, 2.0]
        np.savez(path, **(archive | {"weights": weights}))


DAMAGES = ["empty", "text", "truncated", "one bit", "an array", "pickled", "a field missing"]


MORE = ["another version of .npy", "wrong shape", "not finite", "weights of other records"]


@pytest.mark.parametrize("how", [*DAMAGES, *MORE, "a negative weight"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, how: str) -> None:
    problem = problems()["pedigree"]
    path = tmp_path / "kept.npz"
    decompose(problem.kernel, problem.X).save(path)
    damage(path, how)
    with pytest.raises(InputError, match=r"kept\.npz: not a spectrum file .* delete it"):
        Spectrum.load(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz: no such file"):
        Spectrum.load(tmp_path / "none.npz")
