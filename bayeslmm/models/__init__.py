"""The gallery of models: find, load, build, check.

``bayeslmm.models.additive(cohort, additive)`` builds the file ``models/additive.py``; the same
goes for every name in `names`, and `load` takes a user's own file.
"""

from __future__ import annotations

from bayeslmm.models.contract import check_contract
from bayeslmm.models.file import ModelFile
from bayeslmm.models.gallery import copy, folder, load, names

__all__ = ["ModelFile", "check_contract", "copy", "folder", "load", "names"]


def __getattr__(name: str) -> ModelFile:
    if name in names():
        return load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; models: {names()}")
