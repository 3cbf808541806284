"""Realised proportions of variance explained by fixed and random effects, draw by draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bayeslmm.numerics.arrays import Codes, Floats


class TraitParts(NamedTuple):
    """Arguments of `realised_pve` for one trait."""

    fixed: Floats
    parts: list[Floats]
    y: Floats
    ones: Floats


class Realised(NamedTuple):
    """A block of draws: positions, parts of every trait, and a function that gives g (draws, n)."""

    where: Codes
    traits: list[TraitParts]
    genetic: Callable[[], Floats]


def realised_pve(
    fixed: Floats, parts: Sequence[Floats], y: Floats, ones: Floats
) -> dict[str, Floats]:
    """Compute realised proportions of variance explained, draw by draw.

    Parameters
    ----------
    fixed
        Xβ (draws, n), in any orthonormal coordinates of the records.
    parts
        The random parts g_k of the records, each (draws, n), in the same coordinates.
    y
        Phenotype (n,) in the same coordinates.
    ones
        ``1/√n`` (n,) in the same coordinates, to compute sample means.

    Returns
    -------
    dict
        ``pve_fixed``, ``pve_random``, ``pve_total``: var(Xβ), var(Σ g_k), var(Xβ + Σ g_k), each
        over var(y) (sample variances; the first two need not sum to the third). ``pve_share``
        (draws, k + 3): var(Xβ), every var(g_k), twice the covariances between them, and var(ε),
        over their sum; they sum to one in every draw.
    """

    def centred(u: Floats) -> Floats:
        return np.asarray(u - (u @ ones)[..., None] * ones)

    def square(u: Floats) -> Floats:
        return np.asarray((u * u).sum(axis=-1))

    random = parts[0] if len(parts) == 1 else np.sum(parts, axis=0)
    residual = square(centred(y - fixed - random))
    y, fixed, random = centred(y), centred(fixed), centred(random)
    var_y, var_f, var_g = square(y), square(fixed), square(random)
    none = var_f < 1e-14 * var_y  # an intercept alone explains no variance
    var_f = np.where(none, 0.0, var_f)
    twice = np.where(none, 0.0, 2.0 * (fixed * random).sum(axis=-1))
    total = var_f + var_g + twice
    alone = [var_g] if len(parts) == 1 else [square(centred(part)) for part in parts]
    between = twice + (var_g - np.sum(alone, axis=0) if len(parts) > 1 else 0.0)
    shares = np.stack([var_f, *alone, between, residual], axis=-1)
    return {
        "pve_fixed": var_f / var_y,
        "pve_random": var_g / var_y,
        "pve_total": total / var_y,
        "pve_share": shares / shares.sum(axis=-1, keepdims=True),
    }
