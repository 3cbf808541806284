"""Outputs: checked first, written together or not at all, numbers kept to the last digit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayeslmm.cli.outputs import (
    check_outputs,
    checksums,
    join_traits,
    json_text,
    output_paths,
    read_tree,
    records,
    stale,
    write_table,
    write_together,
    write_tree,
)
from bayeslmm.errors import InputError
from bayeslmm.system.files import sha256


def tree_of(mean: float) -> xr.DataTree:
    h2 = xr.Dataset({"h2": (("chain", "draw"), np.full((2, 3), mean))})
    observed = xr.Dataset({"phenotype": ("individual", [1.0, 2.0])}, {"individual": ["a", "b"]})
    tree = xr.DataTree.from_dict({"posterior": h2, "observed_data": observed})
    tree.attrs = {"trait": "y", "model": "additive"}
    return tree


def test_paths_are_the_prefix_and_the_suffix(tmp_path: Path) -> None:
    paths = output_paths(tmp_path / "a.b")
    assert [path.name for path in paths.values()] == [
        "a.b.h2.tsv", "a.b.sensitivity.tsv", "a.b.nc", "a.b.html", "a.b.run.json",
    ]  # fmt: skip


def test_the_record_is_written_last_with_the_checksums_of_the_rest(tmp_path: Path) -> None:
    first, second = tmp_path / "x.tsv", tmp_path / "x.html"
    files = {first: lambda p: p.write_text("1"), second: lambda p: p.write_text("2")}
    write_together(files, (tmp_path / "x.run.json", json_text))
    found = json.loads((tmp_path / "x.run.json").read_text(encoding="utf-8"))
    assert found == {"x.tsv": sha256(first), "x.html": sha256(second)}


@pytest.mark.parametrize("fails", ["second", "record"])
def test_all_or_nothing(tmp_path: Path, fails: str) -> None:
    first, second, record = (tmp_path / name for name in ("a", "b", "c"))
    first.write_text("old", encoding="utf-8")

    def write(path: Path) -> None:
        path.write_text("new", encoding="utf-8")
        if fails == "second":
            raise OSError(28, "No space left on device")

    def text(_: dict[str, str]) -> str:
        raise ValueError("no record")

    files = {first: lambda path: path.write_text("new"), second: write}
    with pytest.raises((InputError, ValueError), match=r"No space left|no record") as caught:
        write_together(files, (record, text))
    if fails == "second":
        assert "free some space" in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    assert first.read_text(encoding="utf-8") == "old"


def test_what_cannot_be_written_is_seen_first(tmp_path: Path) -> None:
    check_outputs(output_paths(tmp_path / "new" / "y").values())
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "y.nc").mkdir()
    (tmp_path / "in.nc").write_text("", encoding="utf-8")
    for path, inputs, message in (
        (tmp_path / "file" / "y.nc", [], "cannot be written: .* choose another --out"),
        (tmp_path / ".nc", [], "a prefix without a name"),
        (tmp_path / "y.nc", [], "is a folder"),
        (tmp_path / "in.nc", [tmp_path / "." / "in.nc"], "is an input, and would be overwritten"),
    ):
        with pytest.raises(InputError, match=message):
            check_outputs([path], inputs)


def test_tables_keep_what_is_missing_and_infinite(tmp_path: Path) -> None:
    table = pd.DataFrame({"quantity": ["a", "b"], "mean": [1 / 3, -np.inf], "sd": [np.nan, 2.0]})
    write_table(table, tmp_path / "t")
    text = (tmp_path / "t").read_text(encoding="utf-8")
    assert text == "quantity\tmean\tsd\na\t0.3333333333\t\nb\t-inf\t2\n"
    assert records(table)[1] == {"quantity": "b", "mean": "-inf", "sd": 2.0}
    assert records(table)[0]["sd"] is None
    assert json.loads(json_text(records(table)))[0]["mean"] == 1 / 3


def test_checksums_name_size_and_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc", encoding="utf-8")
    (entry,) = checksums([tmp_path / "a"])
    assert entry["bytes"] == 3
    assert entry["sha256"].startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")  # FIPS 180-2


@pytest.mark.parametrize("traits", [["y"], ["y", "a b", "<script>σ"]])
def test_trees_come_back_as_they_were(tmp_path: Path, traits: list[str]) -> None:
    tree = join_traits({trait: tree_of(1 / 3 + i) for i, trait in enumerate(traits)})
    write_tree(tree, tmp_path / "x.nc")
    again = read_tree(tmp_path / "x.nc")
    for i, trait in enumerate(traits):
        one = again if len(traits) == 1 else again[trait]
        assert one.attrs["model"] == "additive"
        assert (one["posterior/h2"].to_numpy() == 1 / 3 + i).all()
    (tmp_path / "x.nc").unlink()  # the file is closed


def test_what_is_no_result_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_tree(tmp_path / "no.nc")
    (tmp_path / "text.nc").write_text("hello", encoding="utf-8")
    with pytest.raises(InputError, match=r"text\.nc: cannot be read as netCDF-4"):
        read_tree(tmp_path / "text.nc")
    write_tree(xr.DataTree(xr.Dataset({"a": 1})), tmp_path / "other.nc")
    with pytest.raises(InputError, match="no posterior among the groups"):
        read_tree(tmp_path / "other.nc")


def test_outputs_of_an_earlier_run_are_found(tmp_path: Path) -> None:
    (tmp_path / "y.bv.tsv").write_text("", encoding="utf-8")
    (tmp_path / "y.nc").write_text("", encoding="utf-8")
    assert stale(tmp_path / "y", [tmp_path / "y.nc"]) == [tmp_path / "y.bv.tsv"]
