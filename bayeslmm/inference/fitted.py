"""The model of a tree, for methods that need more than draws (leave-one-out, evidence).

A tree from `fit` refers to its model while it exists in this process. A copy, or a tree read from a
file, has no model, so the model must be given.
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
    """Remember the model of a tree while the tree exists."""
    key = id(tree)
    _MODELS[key] = (weakref.ref(tree, lambda _: _MODELS.pop(key, None)), model)


def model_of(tree: xr.DataTree, model: pm.Model | None = None) -> pm.Model:
    """Return the model of a tree.

    Parameters
    ----------
    tree
        Result of `bayeslmm.fit`.
    model
        The model, if the tree is a copy or was read from a file.

    Raises
    ------
    InputError
        If the model is not known, or its phenotype is no longer the phenotype of the tree.
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
            "a model with another phenotype than the tree",
            "the model with the phenotype that was fitted",
            "set the phenotype again (set_phenotype), or fit again",
        )
    return model
