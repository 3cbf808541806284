"""Leave-one-out cross-validation of models whose records are correlated.

The records of a mixed model are dependent given its parameters, so leave-one-out needs conditional
densities, not pointwise likelihoods log p(y_i | θ). With g and β integrated out and
M = Cov(y | θ)⁻¹::

    p(y_i | y_-i, θ) = N(y_i - (M r)_i / M_ii, 1 / M_ii)           r = y - E(y | θ)
    log p(y_i | y_-i) = -log E[1 / p(y_i | y_-i, θ) | y]

The second line uses Pareto-smoothed importance sampling over the draws of the (co)variances. Where
its k̂ is too large, draws from the posterior without the record replace it
(`bayeslmm.comparison.loo.refit`). Groups of records have blocks of M in place of M_ii. The priors,
their units included, remain as for the full data.

References
----------
Sundararajan & Keerthi (2001) Neural Computation 13:1103; Vehtari, Gelman & Gabry (2017) Stat Comput
27:1413; Bürkner, Gabry & Vehtari (2021) Computational Statistics 36:1243.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayeslmm.comparison.loo.exclusion import leave_out, prepare
from bayeslmm.comparison.loo.grouping import blocks_of, folds_of
from bayeslmm.comparison.loo.result import KFold, LeaveOneOut
from bayeslmm.inference.fitted import model_of
from bayeslmm.likelihood.blocks import Blocks
from bayeslmm.numerics.threads import one_thread

if TYPE_CHECKING:
    import pymc as pm


@one_thread()
def loo(
    tree: xr.DataTree,
    model: pm.Model | None = None,
    *,
    groups: ArrayLike | None = None,
    draws: int | None = None,
    refit: int = 10,
    seed: int = 1,
    cores: int | None = None,
) -> LeaveOneOut:
    """Estimate the leave-one-out or leave-one-group-out expected log predictive density (elpd).

    Parameters
    ----------
    tree
        Result of `bayeslmm.fit` for a marginal normal model, with any number of kernels and traits.
    model
        Its model, if the tree is a copy or was read from a file.
    groups
        (n,) a label for every record; records with the same label are left out together (families:
        `group_labels`). None: single records.
    draws
        Number of posterior draws used, spread evenly. None: all with one kernel and single records,
        where a draw costs O(n²); otherwise 1000. With several kernels each distinct draw costs as
        much as four Cholesky factorisations (n³/3, and n³ for the rows). A quarter of the draws
        doubles the Monte Carlo standard error ``mcse`` of the result: for CD8 of 1 410 mice 0.04
        from 4 000 draws, so 0.08 from 1 000, where ``se`` is 27.
    refit
        Largest number of blocks with a bad k̂ that are recomputed from their own posterior, the
        worst first; a warning names the remaining ones.
    seed
        Seed of these posteriors.
    cores
        Cores to use; default all. The results do not depend on it.

    Returns
    -------
    LeaveOneOut
        An `arviz.ELPDData` for ``az.compare``; ``elpd_i`` by record, or jointly by group.

    Raises
    ------
    InputError
        If the tree has no model, g is a parameter of the model, groups or draws are invalid, or
        single records alone determine an effect with a flat prior.
    """
    model = model_of(tree, model)
    labels = [str(label) for label in model.coords["individual"]]
    blocks, names = blocks_of(groups, len(labels))
    data = prepare(tree, model, blocks, draws, cores)
    found = leave_out(data, blocks, names or labels, refit, seed)
    unit = ("group", names) if names else ("individual", labels)

    def by_block(values: Any) -> xr.DataArray:
        return xr.DataArray(values, dims=unit[0], coords={unit[0]: unit[1]})

    one = found.scores
    records = np.argsort(blocks.records)

    def by_record(values: Any) -> xr.DataArray:
        return xr.DataArray(values[records], dims="individual", coords={"individual": labels})

    return LeaveOneOut(
        elpd=float(one.elpd.sum()),
        se=float(np.sqrt(one.elpd.size * one.elpd.var())),
        p=float(one.p.sum()),
        n_samples=data.draws,
        n_data_points=one.elpd.size,
        scale="log",
        warning=bool(found.unresolved),
        good_k=found.limit,
        elpd_i=by_block(one.elpd),
        pareto_k=by_block(one.k),
        p_loo_i=by_block(one.p),
        influence_pareto_k=by_block(found.first_k),
        pit=by_record(one.pit),
        mean=by_record(one.mean),
        sd=by_record(one.sd),
        mcse=found.mcse,
        mcse_i=by_block(one.mcse),
        method=by_block(found.method),
        unresolved=found.unresolved,
    )


@one_thread()
def kfold(
    tree: xr.DataTree,
    model: pm.Model | None = None,
    *,
    k: int = 10,
    groups: ArrayLike | None = None,
    draws: int | None = None,
    refit: int | None = None,
    seed: int = 1,
    cores: int | None = None,
) -> KFold:
    """Estimate the elpd by K-fold cross-validation, with the same conditionals as `loo`.

    Parameters
    ----------
    tree, model, draws, seed, cores
        As for `loo`; `seed` also assigns the folds.
    k
        Number of folds.
    groups
        (n,) labels; records with the same label share a fold.
    refit
        Largest number of folds recomputed from their own posterior; default all that need it.

    Returns
    -------
    KFold
        ``elpd_i`` by record: log p(y_i | y outside its fold).

    Raises
    ------
    InputError
        As `loo`, or if the number of folds is invalid.
    """
    model = model_of(tree, model)
    labels = [str(label) for label in model.coords["individual"]]
    fold = folds_of(groups, len(labels), k, seed)
    names = [str(f + 1) for f in range(k)]
    blocks = Blocks(tuple(np.flatnonzero(fold == f) for f in range(k)))
    data = prepare(tree, model, blocks, draws, cores)
    found = leave_out(data, blocks, names, k if refit is None else refit, seed)
    one = found.scores
    order = np.argsort(blocks.records)

    def by_record(values: Any) -> xr.DataArray:
        return xr.DataArray(values, dims="individual", coords={"individual": labels})

    def by_fold(values: Any) -> xr.DataArray:
        return xr.DataArray(values, dims="fold", coords={"fold": names})

    elpd_i = one.records[order]
    return KFold(
        elpd=float(elpd_i.sum()),
        se=float(np.sqrt(elpd_i.size * elpd_i.var())),
        p=float(one.p.sum()),
        n_samples=data.draws,
        n_data_points=elpd_i.size,
        scale="log",
        warning=bool(found.unresolved),
        good_k=found.limit,
        elpd_i=by_record(elpd_i),
        pareto_k=by_fold(one.k),
        n_folds=k,
        fold_of=by_record(fold + 1),
        joint=by_fold(one.elpd),
        pit=by_record(one.pit[order]),
        mean=by_record(one.mean[order]),
        sd=by_record(one.sd[order]),
        mcse=found.mcse,
        method=by_fold(found.method),
        unresolved=found.unresolved,
    )
