"""``bayeslmm grm`` with several kernels: files, names, record, LOCO, X, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslmm.cli import main
from bayeslmm.cli.commands.grm import safe
from bayeslmm.genotypes.genotypes import from_array, read_genotypes, write_plink1
from bayeslmm.genotypes.qc import quality_control
from bayeslmm.relationship.files import read_grm
from bayeslmm.relationship.genomic import compute_grms, grm
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variant_sets import by_chromosome, by_ld, by_maf
from bayeslmm.system.files import sha256

N, M = 60, 300


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three autosomes, X with males at 0 and 2, sexes, a file of groups."""
    prefix = tmp_path_factory.mktemp("data") / "x"
    rng = np.random.default_rng(1)
    sex = rng.integers(1, 3, N)
    p = rng.uniform(0.05, 0.95, M)
    dosages = rng.binomial(2, p, (N, M))
    chromosome = np.repeat(["1", "2", "3", "X"], M // 4)
    males_x = np.ix_(sex == 1, chromosome == "X")
    dosages[males_x] = 2 * rng.binomial(1, p, (N, M))[males_x]
    table = {"CHROM": chromosome, "POS": 1000 * np.arange(1, M + 1)}
    table |= {"ID": [f"v{k}" for k in range(M)], "A1": "A", "A0": "C"}
    genotypes = from_array(dosages, variants=pd.DataFrame(table))
    write_plink1(genotypes, prefix, fam=pd.DataFrame({"SEX": sex}, index=genotypes.individuals))
    groups = [f"v{k} {'genes' if k % 3 else 'other/rest'}" for k in range(M)]
    prefix.with_suffix(".groups").write_text("ID GROUP\n" + "\n".join(groups) + "\n")
    return prefix


def command(data: Path, out: Path, *more: object) -> int:
    return main(["grm", "--bfile", str(data), "--out", str(out), *map(str, more)])


def record(out: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(Path(f"{out}.grm.run.json").read_text("utf-8"))
    return content


def same(path: Path | str, expected: Relationship) -> None:
    """The file holds the matrix, to the float32 of .grm.bin."""
    found = read_grm(path)
    np.testing.assert_allclose(found.matrix, expected.matrix, rtol=0, atol=2e-6)
    assert found.n_variants == expected.n_variants


def test_one_kernel_keeps_its_names(data: Path, tmp_path: Path) -> None:
    assert command(data, tmp_path / "g") == 0
    names = {"g.grm.bin", "g.grm.N.bin", "g.grm.id", "g.grm.run.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    same(tmp_path / "g", grm(quality_control(read_genotypes(data))))
    assert command(data, tmp_path / "d", "--kind", "dominance") == 0
    genotypes = quality_control(read_genotypes(data))
    same(tmp_path / "d", compute_grms(genotypes, ["dominance"])["dominance"])
    assert record(tmp_path / "d")["estimator"] == "dominance"


def test_two_codings_by_chromosome(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    options = ("--kind", "additive,dominance", "--by", "chromosome")
    assert command(data, tmp_path / "g", *options) == 0
    genotypes = quality_control(read_genotypes(data))
    kernels = compute_grms(genotypes, ["additive", "dominance"], by_chromosome(genotypes))
    assert len(kernels) == 6
    for name, kernel in kernels.items():
        same(f"{tmp_path}/g.{name.replace(':', '.')}", kernel)
    found = record(tmp_path / "g")
    assert [one["name"] for one in found["kernels"]] == list(kernels)  # type: ignore[index,attr-defined]
    assert found["kernels"][5]["n_variants"] == kernels["dominance:chr3"].n_variants  # type: ignore[index]
    assert found["variants"] == found["ledger"][-1]["remaining"]  # type: ignore[index]
    checksums: dict[str, str] = found["outputs_sha256"]  # type: ignore[assignment]
    assert len(checksums) == 18
    assert all(sha256(tmp_path / name) == value for name, value in checksums.items())
    assert {path.name for path in tmp_path.iterdir()} == {*checksums, "g.grm.run.json"}
    assert "dominance:chr3 of 60 individuals" in capsys.readouterr().out


def test_by_frequency_ld_and_file(data: Path, tmp_path: Path) -> None:
    genotypes = quality_control(read_genotypes(data))
    assert command(data, tmp_path / "m", "--by", "maf:0,0.2,0.5") == 0
    kernels = compute_grms(genotypes, sets=by_maf(genotypes, edges=[0, 0.2, 0.5]))
    same(tmp_path / "m.maf_0_0.2", kernels["maf[0,0.2]"])
    same(tmp_path / "m.maf_0.2_0.5", kernels["maf(0.2,0.5]"])
    assert command(data, tmp_path / "l", "--by", "ld:2", "--format", "gemma") == 0
    kernels = compute_grms(genotypes, sets=by_ld(genotypes, bins=2))
    for name in ("ld1", "ld2"):
        text = tmp_path / f"l.{name}.cXX.txt"
        found = read_grm(text, fam=tmp_path / f"l.{name}.cXX.fam")
        np.testing.assert_allclose(found.matrix, kernels[name].matrix, rtol=1e-10, atol=1e-10)
    groups = data.with_suffix(".groups")
    assert command(data, tmp_path / "f", "--by", groups, "--format", "plink") == 0
    assert (tmp_path / "f.other_rest.rel").is_file()
    assert (tmp_path / "f.genes.rel.id").is_file()
    inputs: list[dict[str, object]] = record(tmp_path / "f")["inputs"]  # type: ignore[assignment]
    assert str(groups) in [one["path"] for one in inputs]


@pytest.mark.parametrize("by", [(), ("--by", "chromosome")])
def test_loco(data: Path, tmp_path: Path, by: tuple[str, ...]) -> None:
    assert command(data, tmp_path / "g", "--loco", *by) == 0
    genotypes = quality_control(read_genotypes(data))
    same(tmp_path / "g", grm(genotypes))
    for number in "123":
        rest = (genotypes.variants["CHROM"] != number).to_numpy()
        same(tmp_path / f"g.loco.chr{number}", grm(genotypes.select(variants=rest)))
        assert (tmp_path / f"g.chr{number}.grm.bin").is_file() == bool(by)


@pytest.mark.parametrize("how", ["full", "none", "equal"])
def test_x(data: Path, tmp_path: Path, how: str) -> None:
    options = ("--kind", "additive,x", "--dosage-compensation", how)
    assert command(data, tmp_path / "g", *options) == 0
    genotypes = quality_control(read_genotypes(data), autosomes=False)
    kernels = compute_grms(genotypes, ["additive", "x"], dosage_compensation=how)  # type: ignore[arg-type]
    same(tmp_path / "g.additive", kernels["additive"])
    same(tmp_path / "g.x", kernels["x"])
    same(tmp_path / "g.additive", grm(quality_control(read_genotypes(data))))
    found = record(tmp_path / "g")
    assert found["kernels"][1]["estimator"] == f"x-{how}"  # type: ignore[index]
    assert found["options"]["all_chromosomes"] is False  # type: ignore[index]
    assert found["options"]["dosage_compensation"] == how  # type: ignore[index]


def test_x_alone_has_the_prefix_and_only_x_is_counted(data: Path, tmp_path: Path) -> None:
    assert command(data, tmp_path / "g", "--kind", "x") == 0
    found = record(tmp_path / "g")
    assert (tmp_path / "g.grm.bin").is_file()
    assert found["variants"] == found["ledger"][-1]["remaining"]  # type: ignore[index]
    assert found["ledger"][-1]["reason"] == "not on X"  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kind", "epistasis"), "--kind epistasis -> some of additive, dominance, x"),
        (("--kind", "additive,additive"), "each once"),
        (("--kind", "x", "--by", "maf"), "--by with --kind x alone"),
        (("--loco", "--kind", "dominance"), "--loco with another --kind"),
        (("--loco", "--by", "maf"), "--loco with another --kind or --by"),
        (("--kind", "x", "--hwe", "1e-6"), "--hwe with --kind x"),
        (("--dosage-compensation", "full"), "--dosage-compensation without --kind x"),
        (("--by", "nothing"), "no such file"),
        (("--kind", "x", "--chr-set", "30"), ""),
    ],
)
def test_what_is_refused_leaves_nothing(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    code = command(data, tmp_path / "g", *options)
    assert code == (2 if message else 0)
    assert message in capsys.readouterr().err
    assert message == "" or list(tmp_path.iterdir()) == []


def test_groups_whose_files_would_have_one_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = tmp_path / "groups"
    groups.write_text("".join(f"v{k} {('a/b', 'a|b')[k % 2]}\n" for k in range(M)))
    assert command(data, tmp_path / "g", "--by", groups) == 2
    assert "'a/b' and 'a|b' give the same file name" in capsys.readouterr().err


def test_nothing_is_left_when_writing_fails(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    from bayeslmm.relationship import files as grm_files

    write = grm_files.write_grm

    def fails(*args: object) -> list[Path]:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(grm_files, "write_grm", fails)
    assert command(data, tmp_path / "g", "--by", "chromosome") != 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dominance:maf(0.01,0.05]", "dominance.maf_0.01_0.05"),
        ("maf[0.01,0.05]", "maf_0.01_0.05"),
        ("chr1", "chr1"),
        ("../etc", "etc"),
        ("a\tb/ü", "a_b"),
    ],
)
def test_names_are_safe_for_files(name: str, expected: str) -> None:
    assert safe(name) == expected
