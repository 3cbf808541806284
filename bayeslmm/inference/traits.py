"""Many traits of the same individuals in one call of the exact engine."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr

from bayeslmm.distributions.phenotype import require_marginal
from bayeslmm.errors import InputError
from bayeslmm.inference.choose import choose_engine
from bayeslmm.inference.exact import exact
from bayeslmm.inference.tree import Variables, dataset, provenance
from bayeslmm.numerics.arrays import Floats


def fit_traits(
    model: pm.Model,
    phenotypes: pd.DataFrame,
    *,
    draws: int = 4000,
    chains: int = 4,
    seed: int = 1,
    threads: int = 2,
) -> xr.DataTree:
    """Compute exact posteriors of many traits of the same individuals in one call.

    Parameters
    ----------
    model
        A model that the exact engine supports, built for any trait of these individuals.
    phenotypes
        One column per trait (n, T), rows in the order of the model's individuals, without missing
        values.
    draws, chains, seed
        As for `fit`, for each trait.
    threads
        Number of concurrent traits. The results do not depend on it.

    Returns
    -------
    xarray.DataTree
        ``posterior`` (h2, sigma2_u, sigma2_e, beta) and ``quadrature`` (mean, sd, median, mode
        of h², log evidence) with the dimension ``trait``.

    Raises
    ------
    InputError, ModelError
        If the phenotypes do not match the model, or the exact engine does not support it.
    """
    choose_engine(model, exact.EXACT.name)
    values = np.ascontiguousarray(phenotypes.to_numpy(dtype=np.float64))
    n = require_marginal(model).n
    if values.shape[0] != n or not np.all(np.isfinite(values)):
        raise InputError(
            f"phenotypes of shape {values.shape}, {int((~np.isfinite(values)).sum())} not finite",
            f"{n} rows, one per individual of the model, all finite",
            "build one model for each pattern of missing values",
        )
    found = exact.fit_many(model, values, draws, seed, threads)
    shape = (chains, draws // chains)
    pairs = np.stack([exact.variances(one.draws).reshape(*shape, 2) for one in found])
    beta = np.stack([one.draws.beta.reshape(*shape, -1) for one in found])
    dims = ("trait", "chain", "draw")
    variables: Variables = {
        "h2": (dims, pairs[..., 0] / pairs.sum(axis=-1)),
        "sigma2_u": (dims, pairs[..., 0]),
        "sigma2_e": (dims, pairs[..., 1]),
        "beta": ((*dims, "covariate"), beta),
    }
    moments = np.array([one.share.moments() for one in found])
    summary: dict[str, list[float] | Floats] = {
        "mean": moments[:, 0],
        "sd": moments[:, 1],
        "median": [float(one.share.quantile(0.5)) for one in found],
        "mode": [one.share.mode() for one in found],
        "log_evidence": [one.log_evidence for one in found],
    }
    exact_h2: Variables = {name: (("trait",), np.array(v)) for name, v in summary.items()}
    coords = {**model.coords, "trait": [str(name) for name in phenotypes.columns]}
    tree = xr.DataTree.from_dict(
        {"posterior": dataset(variables, coords), "quadrature": dataset(exact_h2, coords)}
    )
    tree.attrs = provenance(model, engine=exact.EXACT.name, seed=seed, draws=draws, chains=chains)
    return tree
