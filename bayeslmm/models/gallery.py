"""The folder ``models/``: list, load and copy its files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.errors import InputError
from bayeslmm.models.file import ModelFile
from bayeslmm.system.files import PathArg, atomic_path, read_bytes, require_file

if TYPE_CHECKING:
    pass


def folder() -> Path:
    """Return the gallery's folder: in a wheel ``bayeslmm/_models``, in a checkout ``models/``."""
    package = Path(__file__).parents[1]
    inside = package / "_models"
    return inside if inside.is_dir() else package.parent / "models"


def names() -> list[str]:
    """Return the names of the gallery's models."""
    return sorted(path.stem for path in folder().glob("*.py"))


def load(name_or_path: PathArg) -> ModelFile:
    """Load a model of the gallery by name, or a user's file by path (ends in ``.py``).

    Raises
    ------
    InputError
        If there is no such model or file.
    """
    text = str(name_or_path)
    if text.endswith(".py") or "/" in text:
        path = require_file(name_or_path)
    elif text in names():
        path = folder() / f"{text}.py"
    else:
        raise InputError(
            f"no model {text!r}",
            f"one of {', '.join(names())}, or a file that ends in .py",
            "see: bayeslmm models list",
        )
    if not path.stem.isprintable():
        raise InputError(
            f"the model name {path.stem!a}",
            "a printable name (no control characters, no marks of writing direction)",
            "rename the file",
        )
    return ModelFile(path.stem, path, hashlib.sha256(read_bytes(path)).hexdigest())


def copy(name: str, target: PathArg) -> Path:
    """Copy a model file as a start for a new one; never overwrite an existing file."""
    target = Path(target)
    if target.exists():
        raise InputError("the file exists", "a new file", "choose another name", path=target)
    with atomic_path(target) as temporary:
        shutil.copyfile(load(name).path, temporary)
    return target
