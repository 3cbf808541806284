"""Fits that were interrupted go on where they were, to the same bits; other fits' parts are no
part of this one."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import nutpie
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from engine_oracles import Data, family_data, family_model

from bayeslmm.cli import main
from bayeslmm.distributions.phenotype import set_phenotype
from bayeslmm.errors import InputError
from bayeslmm.inference import nuts
from bayeslmm.inference.checkpoint import open_checkpoint, unit_name
from bayeslmm.inference.fit import fit
from bayeslmm.inference.fitted import model_of

DRAWS = {"draws": 400, "chains": 4, "seed": 7, "tune": 200}

SUPPORT = Path(__file__).parents[1] / "support"


def draws_of(tree: xr.DataTree) -> dict[str, Any]:
    """Every number of a tree, by name."""
    return {
        f"{name}/{key}": variable.to_numpy()
        for name in tree.children
        for key, variable in tree[name].to_dataset().variables.items()
    }


def require_same(first: xr.DataTree, second: xr.DataTree) -> None:
    one, two = draws_of(first), draws_of(second)
    assert list(one) == list(two)
    for name, value in one.items():
        assert value.shape == two[name].shape, name
        assert (value == two[name]).all() or np.array_equal(value, two[name], equal_nan=True), name
    assert set(first.attrs) == set(second.attrs)


@cache
def whole() -> xr.DataTree:
    return fit(family_model(), "nuts", **DRAWS)


def test_chains_one_by_one_are_those_at_a_time(tmp_path: Path) -> None:
    """Any number of chains at a time, with or without a checkpoint: the same bits."""
    require_same(fit(family_model(), "nuts", **DRAWS, cores=1, checkpoint=tmp_path / "c"), whole())
    left = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert left == [*(f"chain-{k}.npz" for k in range(4)), "posterior.nc"]
    chains = np.asarray(whole()["posterior"]["h2"])
    assert len({chain.tobytes() for chain in chains}) == 4


def test_a_fit_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after the second chain; then only the two others are run."""
    real, started = nutpie.sample, []

    def stops(*args: Any, **options: Any) -> Any:
        started.append(options["seed"])
        if len(started) == 4:  # the third has ended, and is not kept yet
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(nutpie, "sample", stops)
    with pytest.raises(KeyboardInterrupt):
        fit(family_model(), "nuts", **DRAWS, cores=1, checkpoint=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain-0.npz", "chain-1.npz"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    started.clear()
    started += [0] * 10  # no more stops
    found = fit(family_model(), "nuts", **DRAWS, cores=2, checkpoint=tmp_path)
    assert len(started) == 12
    assert {path: path.stat().st_mtime_ns for path in before} == before
    require_same(found, whole())


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call reads the posterior: same numbers, same attributes, its model known."""
    for engine in ("exact", "laplace"):
        first = fit(family_model(), engine, draws=400, checkpoint=tmp_path / engine)
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["bayeslmm.inference.fit"], "_posterior", None)
            again = fit(family_model(), engine, draws=400, checkpoint=tmp_path / engine)
        require_same(first, again)
        assert again.attrs == first.attrs
        assert list(again.children) == list(first.children)
        assert list(again["posterior"].data_vars) == list(first["posterior"].data_vars)
        assert again["sample_stats"].attrs == first["sample_stats"].attrs
        assert model_of(again) is family_model()
        require_same(first, fit(family_model(), engine, draws=400))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 8}, "seed 7, not 8"),
        ({"draws": 800}, "draws 400, not 800"),
        ({"engine": "laplace"}, "engine exact, not laplace"),
        ({"genetic_values": True}, "genetic_values False, not True"),
        ({"phenotype": True}, "another phenotype"),
        ({"prior": True}, "another model"),
        ({"design": True}, "another model or data"),
        ({"versions": True}, "another packages"),
        ({"source": True}, "another packages"),
    ],
)
def test_a_part_of_another_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], told: str
) -> None:
    data, options = family_data(), {"engine": "exact", "draws": 400, "seed": 7}
    fit(family_model(), **options, checkpoint=tmp_path)
    model = family_model()
    if "phenotype" in change:
        set_phenotype(model, data.y + np.eye(1, data.n)[0])
    elif "prior" in change:
        model = data.model(h2="beta(1, 2)")
    elif "design" in change:
        model = Data(data.y, data.X * [1.0, 1.0 + 1e-9], data.K).model()
    elif "versions" in change:
        monkeypatch.setattr("bayeslmm.system.versions.version", lambda name: f"{name} 0")
    elif "source" in change:
        monkeypatch.setattr("bayeslmm.system.versions.source_digest", lambda: "00000000")
    else:
        options |= change
    try:
        with pytest.raises(InputError, match=f"a part of another fit: .*{told}") as caught:
            fit(model, **options, checkpoint=tmp_path)
    finally:
        set_phenotype(family_model(), data.y)
    assert "give another checkpoint folder, or delete" in str(caught.value)


def test_a_damaged_part_is_an_error(tmp_path: Path) -> None:
    kept = open_checkpoint(tmp_path, family_model(), {"seed": 1})
    kept.save("chain-0", {"h2": np.arange(100.0)})
    assert (kept.load("chain-0") or {})["h2"].sum() == 4950
    assert kept.load("chain-1") is None
    path = tmp_path / "chain-0.npz"
    good = path.read_bytes()
    for bad in (b"", good[:-50], good[:200], b"hello", good.replace(b"\0" * 7 + b"@", b"\0" * 8)):
        if bad != good:
            path.write_bytes(bad)
            with pytest.raises(InputError, match="only this part is computed again"):
                kept.load("chain-0")
    (tmp_path / "posterior.nc").write_bytes(b"hello")
    with pytest.raises(InputError, match="only this part is computed again"):
        kept.load_tree(["posterior"])
    with pytest.raises(InputError, match="is a file -> a folder"):
        open_checkpoint(path, family_model(), {})


def test_the_fingerprint_is_that_of_another_process(tmp_path: Path) -> None:
    """The same model built anew, here and elsewhere: no addresses, no order of sets."""
    code = """
from engine_oracles import family_data
from bayeslmm.cli import main
from bayeslmm.inference.checkpoint import open_checkpoint
print(open_checkpoint("x", family_data().model(), {}).fingerprint["model"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SUPPORT, capture_output=True, text=True,
        check=True, env={**os.environ, "PYTHONHASHSEED": "77"},
    )  # fmt: skip
    here = open_checkpoint(tmp_path, family_data().model(), {}).fingerprint["model"]
    assert done.stdout.strip() == here


def test_the_command_goes_on_with_the_traits_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two traits, a crash at the second: the first is not fitted again, the table is the same."""
    made = ["simulate", "--n", "60", "--m", "90", "--h2", "0.5", "--seed", "3"]
    assert main([*made, "--out", str(tmp_path / "s")]) == 0
    pheno = pd.read_table(tmp_path / "s.pheno")
    pheno["z"] = pheno.iloc[::-1, -1].to_numpy()
    pheno.to_csv(tmp_path / "two.pheno", sep="\t", index=False)
    asked = ["h2", "--bfile", str(tmp_path / "s"), "--pheno", str(tmp_path / "two.pheno")]
    asked += ["--draws", "200"]
    kept = ["--checkpoint", str(tmp_path / "kept")]
    engine = sys.modules["bayeslmm.inference.fit"]
    real, calls = engine._posterior, []

    def crash(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise OSError("the computer is on fire")
        return real(*args, **options)

    monkeypatch.setattr(engine, "_posterior", crash)
    assert main([*asked, *kept, "--out", str(tmp_path / "a")]) == 1
    assert not list(tmp_path.glob("a.*"))
    assert len(list((tmp_path / "kept").iterdir())) == 1
    assert main([*asked, *kept, "--out", str(tmp_path / "a")]) in (0, 1)
    assert len(calls) == 3
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert main([*asked, "--out", str(tmp_path / "b")]) in (0, 1)
    assert len(calls) == 5
    assert (tmp_path / "a.h2.tsv").read_bytes() == (tmp_path / "b.h2.tsv").read_bytes()
    assert main([*asked, *kept, "--seed", "2", "--out", str(tmp_path / "c")]) == 2


def test_names_of_parts_differ_as_traits_do() -> None:
    names = [unit_name(t) for t in ("a/b", "a_b", "a b", "é", "<script>", "..", "", "x" * 300)]
    assert len(set(names)) == len(names)
    assert all(len(name) < 60 and "/" not in name and name[0] != "." for name in names)


def test_a_chain_at_a_time_costs_no_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[pm.Model] = []
    monkeypatch.setattr(nuts, "compiled", lambda m, real=nuts.compiled: calls.append(m) or real(m))
    nuts.sample(family_model(), 50, 8, 1, tune=50, cores=1)
    assert len(calls) == 1
