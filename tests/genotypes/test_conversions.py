"""Genotypes in formats that are not read: the message names the conversion."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bayeslmm.errors import InputError
from bayeslmm.genotypes.conversions import FOREIGN
from bayeslmm.genotypes.genotypes import Kind, read_genotypes, write_plink1

SUFFIXES = [suffix for one in FOREIGN for suffix in one.suffixes]


@pytest.mark.parametrize("kind", [None, "bfile", "pfile"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_by_file_or_by_prefix(suffix: str, kind: Kind | None, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"")
    for given in (path, tmp_path / "x"):
        with pytest.raises(InputError, match=r"genotypes in the format .*convert them: .*x") as e:
            read_genotypes(given, kind=kind)
        assert str(path).removesuffix(suffix) in str(e.value)


def test_other_files_beside_the_right_ones_do_not_matter(tmp_path: Path) -> None:
    write_plink1(np.array([[0, 1], [2, 2], [1, 0]]), tmp_path / "x")
    (tmp_path / "x.vcf").write_bytes(b"")
    assert read_genotypes(tmp_path / "x").n == 3
    write_plink1(np.array([[0, 1], [2, 2], [1, 0]]), tmp_path / "y.vcf")  # a prefix like a file
    for kind in (None, "bfile"):
        assert read_genotypes(tmp_path / "y.vcf", kind=kind).n == 3  # type: ignore[arg-type]
    (tmp_path / "x.bed").unlink()
    with pytest.raises(InputError, match=r"x\.bed: no such file"):
        read_genotypes(tmp_path / "x", kind="bfile")


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")
@pytest.mark.parametrize("form", ["vcf", "bgen-1.3", "oxford"])
def test_the_commands_do_what_they_say(form: str, tmp_path: Path) -> None:
    """Written by plink2 in that format, converted by the command of the message, read."""
    dosages = np.random.default_rng(1).integers(0, 3, (12, 40))
    write_plink1(dosages, tmp_path / "x")
    ref_first = [] if form == "vcf" else ["ref-first"]
    write = ["plink2", "--bfile", "x", "--export", form, *ref_first, "--out", "y"]
    subprocess.run(write, cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(InputError) as caught:
        read_genotypes(tmp_path / "y")
    command = str(caught.value).split("convert them: ")[1].partition(", then")[0]
    words = command.partition(" (")[0].split()
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    found, expected = read_genotypes(tmp_path / "y"), read_genotypes(tmp_path / "x")
    assert found.variants["ID"].tolist() == expected.variants["ID"].tolist()
    one, other = (next(g.blocks(dtype=np.float32))[1] for g in (found, expected))
    same = found.variants["A1"].to_numpy() == expected.variants["A1"].to_numpy()
    np.testing.assert_allclose(np.where(same[:, None], one, 2 - one), other, atol=1e-3)
