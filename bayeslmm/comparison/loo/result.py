"""Leave-one-out results in ArviZ's form, so that `az.compare` and its plots work on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from arviz_stats.utils import ELPDDataLOO, ELPDDataLOOKFold

if TYPE_CHECKING:
    import xarray as xr


@dataclass(kw_only=True, repr=False)
class LeaveOneOut(ELPDDataLOO):  # type: ignore[misc]
    """Leave-one-out (or leave-one-group-out) by exact conditionals: an `ELPDDataLOO` with more.

    Parameters
    ----------
    elpd, se, p, n_samples, n_data_points, scale, warning, good_k, elpd_i, pareto_k
        As ArviZ has them. `elpd` is Σ log p(y_i | y_-i); `p` counts how much the (co)variances
        gained from the record left out, since neither β nor the random effects ever saw it.
        `pareto_k` is k̂ after correction (0 where refitted exactly); ``influence_pareto_k`` before.
    pit
        P(Y_i <= y_i | the others) (individual,).
    mean, sd
        Of the predictive distribution of every record (individual,), in the unit of y.
    mcse
        Monte Carlo standard error of `elpd`; that the records share their draws is counted.
    mcse_i
        Of every `elpd_i`.
    method
        How each was found: "psis", "importance" or "refit".
    unresolved
        Labels whose k̂ stayed bad.
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
    """K-fold cross-validation by exact conditionals: an `ELPDDataLOOKFold` with more.

    Parameters
    ----------
    elpd_i
        log p(y_i | y outside the fold of i) (individual,); ``elpd`` is their sum.
    pareto_k
        k̂ of every fold (fold,), after correction.
    fold_of
        (individual,) the fold of every record.
    joint
        log p(y_F | y_-F) of every fold (fold,).
    pit, mean, sd, mcse, method, unresolved
        As of `LeaveOneOut`; `method` by fold, `mcse` of the sum of `joint`.
    """

    fold_of: xr.DataArray
    joint: xr.DataArray
    pit: xr.DataArray
    mean: xr.DataArray
    sd: xr.DataArray
    mcse: float
    method: xr.DataArray
    unresolved: tuple[str, ...] = ()
