"""Checkpoints: long fits continue where they stopped.

A checkpoint is a folder. A unit of work (a Markov chain, or a whole posterior) is one file, written
atomically when it is complete, so no incomplete unit is ever read. Every file has the fingerprint
of its fit. No pickles.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bayeslmm.distributions.marginal import Handle
from bayeslmm.distributions.phenotype import observed_phenotype
from bayeslmm.errors import InputError
from bayeslmm.system.atomic import PathArg, atomic_path, require_space
from bayeslmm.system.versions import exact_versions

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr

PACKAGES = ("bayeslmm", "pymc", "pytensor", "numba", "nutpie", "numpy", "scipy")
LABELS = {
    "phenotype": "phenotype",
    "data": "data",
    "model": "model or data",
    "versions": "packages",
}


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The units of one fit.

    Parameters
    ----------
    folder
        Folder of the files.
    fingerprint
        The inputs of the fit by name: settings, SHA-256 of the model, its data and phenotype,
        versions of packages.
    """

    folder: Path
    fingerprint: Mapping[str, str]

    def load(self, unit: str) -> dict[str, NDArray[Any]] | None:
        """Load the arrays of a unit by name; None if it is not complete.

        Raises
        ------
        InputError
            If the file is damaged or belongs to another fit; it names the difference.
        """
        path = self.folder / f"{unit}.npz"
        if not path.is_file():
            return None
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            recorded = json.loads(str(arrays.pop("fingerprint")))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise _damaged(path, error) from None
        self._check(recorded, path)
        return arrays

    def save(self, unit: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store a completed unit."""
        path = self.folder / f"{unit}.npz"
        require_space(path, sum(array.nbytes for array in arrays.values()), "a part of the fit")
        recorded = np.array(json.dumps(dict(self.fingerprint)))
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, fingerprint=recorded, **arrays)

    def load_tree(self, order: Sequence[str]) -> xr.DataTree | None:
        """Load the whole posterior, its groups in the given order; None if it is not complete."""
        import xarray as xr

        path = self.folder / "posterior.nc"
        if not path.is_file():
            return None
        try:
            with xr.open_datatree(path, engine="h5netcdf") as opened:
                tree = opened.load()
            recorded = json.loads(str(tree.attrs.pop("checkpoint")))
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(path, error) from None
        self._check(recorded, path)
        groups = {name: tree[name].to_dataset() for name in order if name in tree.children}
        out = xr.DataTree.from_dict(groups)
        out.attrs = tree.attrs
        return out

    def save_tree(self, tree: xr.DataTree) -> None:
        """Store the whole posterior."""
        path = self.folder / "posterior.nc"
        require_space(path, sum(node.to_dataset().nbytes for node in tree.subtree), "the posterior")
        kept = tree.copy()
        kept.attrs = tree.attrs | {"checkpoint": json.dumps(dict(self.fingerprint))}
        with atomic_path(path) as temporary:  # by memory: HDF5 does not survive a full disk
            temporary.write_bytes(kept.to_netcdf(engine="h5netcdf"))

    def _check(self, recorded: Mapping[str, str], path: Path) -> None:
        """Refuse a unit of another fit."""
        names = [*self.fingerprint, *(name for name in recorded if name not in self.fingerprint)]
        other = [name for name in names if self.fingerprint.get(name) != recorded.get(name)]
        if not other:
            return
        parts = [
            f"another {LABELS[name]}" if name in LABELS
            else f"{name} {recorded.get(name)}, not {self.fingerprint.get(name)}"
            for name in other
        ]  # fmt: skip
        raise InputError(
            f"a part of another fit: {'; '.join(parts)}",
            "parts of this very fit (model, data, seed, settings, versions)",
            f"give another checkpoint folder, or delete {self.folder}",
            path=path,
        )


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
        "a file that a checkpoint of bayeslmm wrote",
        "delete it; only this part is computed again",
        path=path,
    )


def open_checkpoint(
    folder: PathArg, model: pm.Model, settings: Mapping[str, str | int]
) -> Checkpoint:
    """Open the checkpoint of a fit; its folder is created with the first completed unit.

    Parameters
    ----------
    folder
        A folder for this fit only.
    model
        The model with its current data.
    settings
        Other settings that determine the draws: engine, seed, draws, ...
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise InputError("is a file", "a folder for the checkpoint", "give another", path=path)
    y = observed_phenotype(model)
    data = {variable.name: variable.get_value() for variable in model.data_vars}
    fingerprint = {
        **{name: str(value) for name, value in settings.items()},
        "phenotype": _sha256(y),
        "data": _sha256(data),
        "model": _sha256([_structure(model), getattr(model, "provenance", {})]),
        "versions": json.dumps(exact_versions(PACKAGES)),
    }
    return Checkpoint(path, fingerprint)


def unit_name(trait: str) -> str:
    """Return a folder name for a trait of any name.

    >>> unit_name("height"), unit_name("a/b") == unit_name("a_b")
    ('height-0c1bd0da', False)
    """
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in trait)
    return f"{safe[:40]}-{hashlib.sha256(trait.encode()).hexdigest()[:8]}"


def _structure(model: pm.Model) -> list[Any]:
    """Describe a model: graph of its variables, operations, constants.

    Data and names of intermediate results are excluded.
    """
    variables = [*model.basic_RVs, *model.deterministics, *model.potentials]
    dims = {name: tuple(map(str, found)) for name, found in model.named_vars_to_dims.items()}
    coords = {name: list(map(str, values or ())) for name, values in model.coords.items()}
    transforms = [type(model.rvs_to_transforms.get(rv)).__name__ for rv in model.basic_RVs]
    return [[v.name for v in variables], dims, coords, transforms, _graph(variables)]


def _graph(outputs: Sequence[Any]) -> list[Any]:
    """Return the graph of variables as nested lists, every operation once."""
    from pytensor.graph.basic import Constant
    from pytensor.graph.traversal import toposort

    from_outside: dict[Any, int] = {}
    listed: list[Any] = []
    number: dict[Any, tuple[int, int]] = {}

    def name(variable: Any) -> Any:
        if variable in number:
            return number[variable]
        if variable not in from_outside:
            from_outside[variable] = len(from_outside)
            value = variable.data if isinstance(variable, Constant) else None
            listed.append(["input", str(variable.type), value])
        return from_outside[variable]

    for i, node in enumerate(toposort(outputs)):
        listed.append([node.op, [name(variable) for variable in node.inputs]])
        number |= {variable: (i, k) for k, variable in enumerate(node.outputs)}
    return [*listed, [name(variable) for variable in outputs]]


def _sha256(value: Any) -> str:
    digest = hashlib.sha256()
    _update_digest(digest, value)
    return digest.hexdigest()


def _update_digest(digest: Any, value: Any) -> None:
    """Add a value to a digest: arrays by content, operations by properties, the rest by text."""
    digest.update(f"<{type(value).__name__}>".encode())
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, str | bytes | int | float | None | np.generic):
        digest.update(repr(value).encode())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _update_digest(digest, [str(key), value[key]])
    elif isinstance(value, list | tuple | np.ndarray):
        digest.update(str(len(value)).encode())
        for one in value:
            _update_digest(digest, one)
    elif isinstance(value, Handle):
        _update_digest(digest, value())
    elif isinstance(getattr(value, "key", None), str):  # a Spectrum: of (K, X)
        digest.update(value.key.encode())
    elif is_dataclass(value):
        for field in fields(value):
            _update_digest(digest, [field.name, getattr(value, field.name)])
    elif hasattr(value, "fgraph"):
        _update_digest(digest, _graph(value.fgraph.outputs))
    elif hasattr(value, "__props__"):
        for prop in value.__props__ or ():
            _update_digest(digest, [prop, getattr(value, prop, None)])
    elif callable(value):
        digest.update(getattr(value, "__qualname__", "").encode())
