"""Leave-one-out results in ArviZ's form, so that `az.compare` and its plots work on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from arviz_stats.utils import ELPDDataLOO, ELPDDataLOOKFold

if TYPE_CHECKING:
    import xarray as xr


@dataclass(kw_only=True, repr=False)
class LeaveOneOut(ELPDDataLOO):  # type: ignore[misc]
    """Leave-one-out (or leave-one-group-out) by exact conditionals: an extended `ELPDDataLOO`.

    Parameters
    ----------
    elpd, se, p, n_samples, n_data_points, scale, warning, good_k, elpd_i, pareto_k
        As in ArviZ. `elpd` is Σ log p(y_i | y_-i). `p`, the effective number of parameters, counts
        the (co)variances only, because β and the random effects are conditional on y_-i.
        `pareto_k` is k̂ after correction (0 where refitted exactly); ``influence_pareto_k`` before.
    pit
        P(Y_i <= y_i | the others) (individual,).
    mean, sd
        Mean and sd of the predictive distribution of every record (individual,), in the unit of y.
    mcse
        Monte Carlo standard error of `elpd`, including the covariance of records with common draws.
    mcse_i
        Monte Carlo standard error of every `elpd_i`.
    method
        Method for each: "psis", "importance" or "refit".
    unresolved
        Labels whose k̂ is still too large.
    """

    pit: xr.DataArray
    mean: xr.DataArray
    sd: xr.DataArray
    mcse: float
    mcse_i: xr.DataArray
    method: xr.DataArray
    unresolved: tuple[str, ...] = ()


@dataclass(kw_only=True, repr=False)
class KFold(ELPDDataLOOKFold):  # type: ignore[misc]
    """K-fold cross-validation by exact conditionals: an extended `ELPDDataLOOKFold`.

    Parameters
    ----------
    elpd_i
        log p(y_i | y outside the fold of i) (individual,); ``elpd`` is their sum.
    pareto_k
        k̂ of every fold (fold,), after correction.
    fold_of
        Fold of every record (individual,).
    joint
        log p(y_F | y_-F) of every fold (fold,).
    pit, mean, sd, mcse, method, unresolved
        As in `LeaveOneOut`; `method` by fold, `mcse` of the sum of `joint`.
    """

    fold_of: xr.DataArray
    joint: xr.DataArray
    pit: xr.DataArray
    mean: xr.DataArray
    sd: xr.DataArray
    mcse: float
    method: xr.DataArray
    unresolved: tuple[str, ...] = ()
