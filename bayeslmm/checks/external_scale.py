"""Conversion of the estimates of GCTA and GEMMA to our scale: the factor of their odds h²/(1 - h²).

We divide GCTA's matrix by its average semivariance (`Relationship.factor`): odds × factor. GEMMA's
pve uses the mean diagonal of the centred matrix, (n - 1)/n of its average semivariance:
odds × n/(n - 1).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayeslmm.distributions.phenotype import marginal_of
from bayeslmm.errors import InputError
from bayeslmm.estimates.estimate import Estimate
from bayeslmm.estimates.external import External
from bayeslmm.likelihood.one_kernel_solve import semivariance

if TYPE_CHECKING:
    import pymc as pm


def kernels_of(tree: xr.DataTree) -> list[dict[str, Any]]:
    """Return the recorded facts of the genetic relationships, in the model's order."""
    kept = tree.attrs.get("relationships", "{}")
    known = json.loads(kept) if isinstance(kept, str) else dict(kept)
    return [one for one in known.values() if one.get("kind", "genetic") == "genetic"]


def external_estimate(
    one: External, tree: xr.DataTree, kernels: list[dict[str, Any]], model: pm.Model | None
) -> Estimate:
    """Return another program's estimate with its conversion factor (odds) and the reason."""
    n = int(tree["observed_data"].sizes["individual"])
    convert = _gemma if one.program == "GEMMA" else _gcta
    h2, odds, scale, note = convert(one, n, tree, kernels, model)
    if one.n is not None and one.n != n:
        note += f"; {one.n} individuals there, {n} records here"
    trait = f", trait {one.trait}" if one.trait else ""
    source = f"{one.program} ({one.path.name}{trait})"
    return Estimate.symmetric("h2", source, h2, one.se, note, scale, odds)


def _gcta(
    one: External, n: int, tree: xr.DataTree, kernels: list[dict[str, Any]], model: Any
) -> tuple[float, float, str, str]:
    scale = "GCTA's matrix as it is"
    factors = [float(kernel.get("factor", 1.0)) for kernel in kernels]
    theirs = all(kernel.get("estimator") in ("gcta", "file") for kernel in kernels)
    if not theirs or len(factors) != len(one.genetic):
        return one.h2, math.nan, scale, "another matrix than ours: the scales cannot be compared"
    total = sum(one.genetic)
    mean = sum(v * f for v, f in zip(one.genetic, factors, strict=True))
    odds = mean / total if total > 0.0 and mean > 0.0 else float(np.mean(factors))
    note = f"V(G) is of its matrix, whose average semivariance among these is {odds:.4g}"
    return one.h2, odds, scale, f"{note}, V(G) × {odds:.4g} here, if it is the same matrix"


def _gemma(
    one: External, n: int, tree: xr.DataTree, kernels: list[dict[str, Any]], model: Any
) -> tuple[float, float, str, str]:
    if math.isfinite(one.h2):
        count = one.n or n
        scale = "mean diagonal of the centred matrix"
        ours = _semivariance(tree, kernels, model)
        odds = count / (count - 1) / ours
        note = "pve counts with the mean diagonal of the centred matrix, n/(n - 1) from ours"
        if not math.isfinite(odds):
            note += "; the average semivariance of our matrix is not known"
        elif abs(ours - 1.0) > 1e-9:
            note += f", whose average semivariance is {ours:.4g}"
        return one.h2, odds, scale, note
    h2 = one.genetic[0] / (one.genetic[0] + one.residual)
    scale = "GEMMA's centred matrix as it is"
    factors = [float(k.get("factor", 1.0)) for k in kernels
               if k.get("estimator") in ("centred", "file")]  # fmt: skip
    if len(factors) != 1 or len(kernels) != 1:
        return h2, math.nan, scale, "another matrix than ours: the scales cannot be compared"
    note = f"Vg is of its matrix, whose average semivariance among these is {factors[0]:.4g}"
    return h2, factors[0], scale, f"{note}; the log of several traits gives no se of it"


def _semivariance(tree: xr.DataTree, kernels: list[dict[str, Any]], model: Any) -> float:
    """Return the average semivariance of a model's only kernel as analysed; nan if unknown."""
    if len(kernels) != 1:
        return math.nan
    if kernels[0].get("kernel_scale") == "asv":
        return 1.0
    constants = tree["constant_data"].to_dataset()
    if "eigenvalue" in constants and constants.sizes.get("covariate", 0) == 1:
        return float(constants["eigenvalue"].to_numpy().mean())  # tr(PKP)/(n - 1)
    from bayeslmm.inference.fitted import model_of

    try:
        marginal = marginal_of(model_of(tree, model))
    except InputError:
        return math.nan
    if marginal is None or marginal.spectrum is None:
        return math.nan
    return semivariance(marginal.spectrum)
