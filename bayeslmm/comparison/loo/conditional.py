"""Conditional distribution of every record given all others, draw by draw, for user checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayeslmm.comparison.loo.exclusion import THINNED
from bayeslmm.comparison.loo.grouping import blocks_of
from bayeslmm.comparison.loo.model import fitted
from bayeslmm.comparison.loo.weights import psis
from bayeslmm.inference.fitted import model_of

if TYPE_CHECKING:
    import pymc as pm


def predict_left_out(
    tree: xr.DataTree,
    model: pm.Model | None = None,
    *,
    draws: int | None = THINNED,
    groups: ArrayLike | None = None,
    cores: int | None = None,
) -> xr.Dataset:
    """Compute p(y_i | y_-i, θ_s) = N(mean, sd²), every record given all others, draw by draw.

    Parameters
    ----------
    tree, model, groups, cores
        As for `loo`.
    draws
        Number of posterior draws used, spread evenly; None: all.

    Returns
    -------
    Dataset
        ``mean``, ``sd`` (sample, individual) in the unit of y, β integrated out; ``log_density``;
        ``weight`` (sample, individual), the smoothed importance weights of p(θ | y_-i), which sum
        to one over the samples; ``pareto_k`` of the weights. With `groups`, mean and sd condition
        on all records outside the group of the record. ``log_density``, ``weight`` and ``pareto_k``
        then have the dimension ``group``; the coordinate ``group_of`` maps records to groups.

    Raises
    ------
    InputError
        As `loo`.

    Examples
    --------
    >>> import numpy as np
    >>> import bayeslmm as bl
    >>> rng = np.random.default_rng(1)
    >>> genotypes = bl.from_array(rng.binomial(2, 0.4, size=(40, 100)))
    >>> grm = bl.compute_grm(genotypes)
    >>> analysed = genotypes.individuals[:35]
    >>> cohort = bl.cohort_from_arrays(rng.normal(size=35), individuals=analysed)
    >>> model = bl.models.additive(cohort, grm)
    >>> tree = bl.fit(model, draws=400)
    >>> left_out = bl.predict_left_out(tree)
    >>> dict(left_out["mean"].sizes)
    {'sample': 400, 'individual': 35}
    """
    model = model_of(tree, model)
    labels = [str(label) for label in model.coords["individual"]]
    blocks, names = blocks_of(groups, len(labels))
    data = fitted(model, tree, draws, cores)
    found = data.conditionals(blocks)
    one, weights = psis(found, blocks, data.y)
    order = np.argsort(blocks.records)
    unit = "group" if names else "individual"
    coords: dict[str, Any] = {"individual": labels, "sample": np.arange(data.draws)}
    if names:
        of = np.repeat(names, np.diff(blocks.starts))[order]
        coords |= {"group": names, "group_of": ("individual", of)}
    return xr.Dataset(
        {
            "mean": (("sample", "individual"), found.mean[:, order]),
            "sd": (("sample", "individual"), found.sd[:, order]),
            "log_density": (("sample", unit), found.log_density),
            "weight": (("sample", unit), weights),
            "pareto_k": ((unit,), one.k),
        },
        coords=coords,
    )
