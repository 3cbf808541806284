"""Trees as netCDF-4: what xarray and h5netcdf write of the same tree is the reference."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from report_models import gxe_tree, traits_tree
from report_trees import made_tree

from bayeslmm.system.netcdf import netcdf_bytes


def read(content: bytes) -> xr.DataTree:
    with xr.open_datatree(BytesIO(content), engine="h5netcdf") as opened:
        return opened.load()


def odd_tree() -> xr.DataTree:
    """What results hold, and what is easily lost: names, flags, gaps, nothing, one number."""
    names = np.array(["Zoë", "日本", "", 'a"b\\n'])
    data = xr.Dataset(
        {
            "flag": ("individual", np.array([True, False, True, True])),
            "count": ("individual", np.arange(4, dtype=np.int32)),
            "gap": (("individual", "bin"), np.array([[1.0, np.nan, np.inf]] * 4)),
            "single": ("bin", np.array([1, 2, 3], dtype=np.float32)),
            "note": ("bin", np.array(["x", "yy", "zzz"], dtype=object)),
            "number": ((), 0.1),
            "word": ((), "σ²"),
            "none": ("empty", np.zeros(0)),
            "square": (("bin", "other"), np.eye(3)),
        },
        {
            "individual": names,
            "family": ("individual", np.array(["F1", "F1", "F2", "F2"])),
            "edge": ("bin", np.array([0.5, 1.5, 2.5])),
        },
        {"text": "β ≥ 0", "json": "{}", "whole": 3, "real": 0.25, "list": [1.0, 2.0], "empty": ""},
    )
    return xr.DataTree.from_dict(
        {"/": xr.Dataset(attrs={"model": "m"}), "/a b/c": data, "/a b/d": xr.Dataset()}
    )


TREES = {
    "exact": lambda: made_tree("exact"),
    "nuts": lambda: made_tree("nuts"),
    "several traits": traits_tree,
    "nested": lambda: xr.DataTree.from_dict({"A": made_tree("exact"), "B": gxe_tree()}),
    "odd": odd_tree,
    "empty": xr.DataTree,
}


@pytest.mark.parametrize("make", TREES.values(), ids=TREES)
def test_a_tree_reads_as_what_xarray_writes_of_it(make: Any) -> None:
    tree = make()
    found = read(netcdf_bytes(tree))
    assert found.identical(read(bytes(tree.to_netcdf(engine="h5netcdf"))))
    for node in tree.subtree:
        there = found[node.path].to_dataset(inherit=False)
        wanted = node.to_dataset(inherit=False)
        xr.testing.assert_equal(there, wanted)
        assert {name: one.dtype.kind for name, one in there.items()} == {
            name: "U" if one.dtype.kind == "O" else one.dtype.kind for name, one in wanted.items()
        }
        assert set(there.coords) == set(wanted.coords)


def test_dimensions_are_scales_as_the_format_wants_them() -> None:
    """Numbers of dimensions, and what stands for those without coordinates, as in h5netcdf."""
    tree = odd_tree()
    ours = h5py.File(BytesIO(netcdf_bytes(tree)))["a b/c"]
    theirs = h5py.File(BytesIO(bytes(tree.to_netcdf(engine="h5netcdf"))))["a b/c"]
    assert set(ours) == set(theirs)
    for name, dataset in theirs.items():
        assert ours[name].dtype == dataset.dtype, name
        assert ours[name].is_scale == dataset.is_scale, name
        if dataset.is_scale:
            assert ours[name].attrs["NAME"] == dataset.attrs["NAME"]
            assert ours[name].attrs["_Netcdf4Dimid"] == dataset.attrs["_Netcdf4Dimid"]
            continue
        for mine, other in zip(ours[name].dims, dataset.dims, strict=True):
            assert [scale.name for scale in mine.values()] == [s.name for s in other.values()]


def test_the_same_tree_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys, xarray as xr; from bayeslmm.system.netcdf import netcdf_bytes\n"
        "tree = xr.open_datatree(sys.argv[1], engine='h5netcdf').load()\n"
        "sys.stdout.buffer.write(netcdf_bytes(tree))"
    )
    file = tmp_path / "x.nc"
    file.write_bytes(netcdf_bytes(read(netcdf_bytes(odd_tree()))))
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, check=True)
    assert done.stdout == file.read_bytes()
