"""Columns of IDs as groups: families, and the permanent environment of individuals."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from gallery_runs import write_data

from bayeslmm.cli import main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty people with families, and their records; each ID again in a column of another name."""
    folder = tmp_path_factory.mktemp("groups")
    write_data(folder, 60)
    people = pd.read_csv(folder / "sim.pheno", sep="\t", dtype={"FID": str, "IID": str})
    people["home"] = people["FID"]
    people.to_csv(folder / "people.tsv", sep="\t", index=False, na_rep="NA")
    people.assign(FID="0").to_csv(folder / "alone.tsv", sep="\t", index=False, na_rep="NA")
    birds = pd.read_csv(folder / "birds.tsv", sep="\t")
    birds.assign(bird=birds["ring"]).to_csv(folder / "birds.tsv", sep="\t", index=False)
    return folder


def fitted(data: Path, words: str, groups: str) -> pd.DataFrame:
    arguments = ["h2", *words.format(d=data).split(), "--group-column", groups, "--draws", "200"]
    out = data / groups.replace(",", "-")
    assert main([*arguments, "--model", "household", "--no-report", "--out", str(out)]) in (0, 1)
    return pd.read_csv(f"{out}.h2.tsv", sep="\t")


@pytest.mark.parametrize(
    ("words", "group", "copied"),
    [
        ("--bfile {d}/sim --pheno {d}/people.tsv --pheno-name A", "FID", "home"),
        ("--pedigree {d}/ped.tsv --pheno {d}/birds.tsv --id-column ring --pheno-name mass",
         "ring,plot", "bird,plot"),
    ],
)  # fmt: skip
def test_a_column_of_ids_is_a_group_as_a_copy_of_it_is(
    data: Path, words: str, group: str, copied: str
) -> None:
    found, expected = fitted(data, words, group), fitted(data, words, copied)
    one, other = group.partition(",")[0], copied.partition(",")[0]
    names = expected["quantity"].str.replace(f"[{other}]", f"[{one}]", regex=False)
    pd.testing.assert_frame_equal(found, expected.assign(quantity=names))
    assert f"share[{one}]" in found["quantity"].to_list()


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words.split()) == 2
    return capsys.readouterr().err


def test_no_families_to_group_by(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"h2 --pedigree {data}/ped.tsv --pheno {data}/alone.tsv --pheno-name A --out {data}/x"
    error = refused(f"{words} --model household --group-column FID", capsys)
    assert "--group-column FID, and all 60 records have the FID 0" in error


def test_a_model_without_groups_names_one_that_has_both(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        f"h2 --pedigree {data}/ped.tsv --pheno {data}/birds.tsv --pheno-name mass --out {data}/x"
    )
    words += " --pheno-name mass --id-column ring --model repeated --group-column plot"
    error = refused(words, capsys)
    assert "--model household --group-column ring,plot has the permanent environment" in error
