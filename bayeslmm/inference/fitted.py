"""Which model a tree was fitted with: for what needs more than draws (leave-one-out, evidence).

A tree keeps its model as long as it lives in this process; a copy of it, or one that was read
from a file, has lost it, and the model has to be given.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.distributions.phenotype import observed_phenotype
from bayeslmm.errors import InputError

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr

_MODELS: dict[int, tuple[weakref.ref[xr.DataTree], pm.Model]] = {}  # by id of the tree


def remember(tree: xr.DataTree, model: pm.Model) -> None:
    """Keep the model of a tree as long as the tree lives."""
    key = id(tree)
    _MODELS[key] = (weakref.ref(tree, lambda _: _MODELS.pop(key, None)), model)


def model_of(tree: xr.DataTree, model: pm.Model | None = None) -> pm.Model:
    """The model that a tree was fitted with.

    Parameters
    ----------
    tree
        What `bayeslmm.fit` returns.
    model
        The model, where the tree is a copy or was read from a file.

    Raises
    ------
    InputError
        If it is not known, or if its phenotype is no longer that of the tree.
    """
    if model is None:
        kept = _MODELS.get(id(tree))
        if kept is None or kept[0]() is not tree:
            raise InputError(
                "a tree without its model (a copy, or one read from a file)",
                "the tree that bayeslmm.fit returned in this process, or the model beside it",
                "give the model too: model=...",
            )
        model = kept[1]
    now = observed_phenotype(model)
    then = tree["observed_data"]["phenotype"].to_numpy()
    if now.shape != then.shape or not np.array_equal(now, then):
        raise InputError(
            "a model whose phenotype is not that of the tree",
            "the model as it was when it was fitted",
            "exchange the phenotype back (set_phenotype), or fit again",
        )
    return model
