"""Codes of groups in the place of parents: refused until the user says what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bayeslmm.cli import main
from bayeslmm.errors import InputError
from bayeslmm.relationship.pedigree.group_codes import group_codes
from bayeslmm.relationship.pedigree.matrix import additive_relationship
from bayeslmm.relationship.pedigree.pedigree import Pedigree, read_pedigree
from bayeslmm.relationship.pedigree.table import read_pedigree_table


def written(folder: Path, base: list[tuple[str, str]], name: str = "ped.tsv") -> Path:
    """Base animals with the given parents, and 200 offspring of theirs."""
    rng = np.random.default_rng(1)
    rows = [f"b{k} {sire} {dam}" for k, (sire, dam) in enumerate(base)]
    half = len(base) // 2
    for k in range(200):
        sire, dam = rng.integers(half), half + rng.integers(len(base) - half)
        rows.append(f"o{k} b{sire} b{dam}")
    path = folder / name
    path.write_text("id sire dam\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def A(pedigree: Pedigree, count: int) -> np.ndarray:
    """Relationships of the first individuals, those with rows."""
    return additive_relationship(pedigree).matrix[:count, :count]


CODES = {
    "one pair": [("UPG1", "UPG2")] * 20,
    "by sex and generation": [(f"G{k % 3}", f"H{k % 4}") for k in range(40)],
    "sires only": [("9999", "0")] * 15 + [("0", "0")] * 5,
    "a code for missing": [("-999", "-998")] * 30,
}


@pytest.mark.parametrize("case", [*CODES])
def test_codes_are_refused_or_read_as_unknown(tmp_path: Path, case: str) -> None:
    base = CODES[case]
    path = written(tmp_path, base)
    codes = sorted({name for pair in base for name in pair} - {"0"})
    assert sorted(group_codes(read_pedigree_table(path))) == codes
    with pytest.raises(InputError, match="codes of groups, or of unknown parents") as caught:
        read_pedigree(path)
    for text in (codes[0], "ped.tsv:2: ", "--genetic-groups", "--founders", "of 2"):
        assert text in str(caught.value)
    plain = read_pedigree(written(tmp_path, [("0", "0")] * len(base), "plain.tsv"))
    q = len(base) + 200
    for groups in ([], codes):
        found = read_pedigree(path, genetic_groups=groups)
        assert found.n == q
        np.testing.assert_array_equal(A(found, q), A(plain, q))
        assert "read as unknown parents" in found.notes[0]
    as_animals = read_pedigree(path, founders=True)
    assert as_animals.n == q + len(codes)
    assert A(as_animals, q).sum() > A(plain, q).sum() + 10  # related through the codes


ANIMALS = {
    "half sibs of ten sires": [(f"s{k % 10}", f"d{k}") for k in range(200)],
    "full sibs of twenty families": [(f"s{k % 20}", f"d{k % 20}") for k in range(400)],
    "a few": [("s", "d")] * 9,
    "all different": [(f"s{k}", f"d{k}") for k in range(50)],
}


@pytest.mark.parametrize("case", [*ANIMALS])
def test_animals_without_rows_are_founders(tmp_path: Path, case: str) -> None:
    base = ANIMALS[case]
    found = read_pedigree(written(tmp_path, base))
    assert found.n == len(base) + 200 + len({name for pair in base for name in pair})


def test_what_is_no_group(tmp_path: Path) -> None:
    path = written(tmp_path, CODES["one pair"])
    with pytest.raises(InputError, match="'UPG3' is no parent"):
        read_pedigree(path, genetic_groups=["UPG3"])
    with pytest.raises(InputError, match="'b1' has a row of its own"):
        read_pedigree(path, genetic_groups=["b1"])
    with pytest.raises(InputError, match="no parent looks like a code"):
        read_pedigree(written(tmp_path, ANIMALS["a few"]), genetic_groups=[])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, CODES["one pair"])
    rng = np.random.default_rng(2)
    rows = "\n".join(f"o{k} {rng.standard_normal():.4f}" for k in range(200))
    (tmp_path / "y.tsv").write_text(f"IID y\n{rows}\n")
    words = f"h2 --pedigree {path} --pheno {tmp_path}/y.tsv --pheno-name y --no-report"
    words += f" --out {tmp_path}/x"
    assert main(words.split()) == 2
    assert "UPG1, UPG2" in capsys.readouterr().err
    assert main([*words.split(), "--genetic-groups"]) in (0, 1)
    assert "read as unknown parents: UPG1, UPG2" in capsys.readouterr().err
    assert main([*words.split(), "--genetic-groups", "--founders"]) == 2
