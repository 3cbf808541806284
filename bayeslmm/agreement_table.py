"""The posterior of h² beside other estimates of it: our own REML and Haseman-Elston, GCTA, GEMMA.

Every estimate refers to a matrix K: ``Var(y) = σ²_u K + σ²_e I``, ``h² = σ²_u / (σ²_u + σ²_e)``.
With K multiplied by f the same data give σ²_u / f, so that between two scales the odds of h² are
multiplied by one number::

    h²/(1 - h²) here = odds × h²/(1 - h²) there

GCTA's matrix has been divided by its average semivariance here (`Relationship.factor`): odds =
factor. GEMMA counts with the mean diagonal of the centred matrix, (n - 1)/n of its average
semivariance: odds = n/(n - 1).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.external import External, read_external
from bayeslmm.files import PathArg
from bayeslmm.haseman_elston import haseman_elston_one_kernel, haseman_elston_several
from bayeslmm.reml import reml_one_kernel, reml_several
from bayeslmm.residual_contrasts import Contrasts, contrasts_of
from bayeslmm.spectrum import Spectrum

if TYPE_CHECKING:
    import pymc as pm

type Floats = NDArray[np.float64]

COLUMNS = ["source", "h2", "se", "lower", "upper", "scale", "h2_here", "note"]
GROUP = "agreement"
Z = 1.959964  # half the width of a 95 % interval in standard errors
FAR = 3.0  # standard errors of a difference beyond which it is said aloud


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate of h².

    Parameters
    ----------
    source
        "posterior", "REML", "Haseman-Elston", or a program and its file.
    h2, se, lower, upper
        On its own scale: the estimate, its standard error (posterior sd), and an interval (the
        posterior's; otherwise ± 1.96 standard errors); nan where not known.
    scale
        The matrix to which it refers, in words.
    odds
        What its odds are multiplied by to be on the posterior's scale; nan if that is not known.
    note
        What the reader should know.
    """

    source: str
    h2: float
    se: float
    lower: float
    upper: float
    scale: str
    odds: float
    note: str

    def here(self, value: float) -> float:
        """A value on its own scale, put on the posterior's; below 0 and above 1 the slope is kept.

        nan where the scales cannot be compared.
        """
        if self.odds == 1.0:
            return value
        inside = min(max(value, 0.0), 1.0)
        moved = self.odds * inside / (self.odds * inside + 1.0 - inside)
        slope = self.odds if value < 0.0 else 1.0 / self.odds
        return moved + (value - inside) * slope

    @property
    def h2_here(self) -> float:
        """The estimate on the posterior's scale."""
        return self.here(self.h2)

    @property
    def se_here(self) -> float:
        """Its standard error there, by the delta method."""
        inside = min(max(self.h2, 0.0), 1.0)
        return self.se * self.odds / (self.odds * inside + 1.0 - inside) ** 2


def agreement(
    tree: xr.DataTree,
    external: Sequence[PathArg | External] = (),
    *,
    model: pm.Model | None = None,
    prob: float = 0.95,
) -> pd.DataFrame:
    """Our posterior of h² beside our REML and Haseman-Elston estimates and those of other programs.

    Parameters
    ----------
    tree
        A fit of one trait.
    external
        Files: the ``.hsq`` of GCTA, the ``.log.txt`` of GEMMA; or what `read_external` gave.
    model
        Needed for models of several kernels where the tree is a copy or was read from a file; or
        the tree keeps the estimates (`add_agreement`).
    prob
        Probability of the posterior's interval.

    Returns
    -------
    DataFrame
        ``source h2 se lower upper scale h2_here note``: each estimate on its own scale, and
        h2_here on the scale of the posterior. Differences that the uncertainties do not explain
        are warned of.

    Raises
    ------
    InputError
        Several traits; a file that cannot be read.
    """
    from bayeslmm.caution import caution

    found = estimates(tree, external, model=model, prob=prob)
    for words in disagreements(found):
        caution(words)
    return as_table(found)


def as_table(found: Sequence[Estimate]) -> pd.DataFrame:
    """The table of `agreement`."""
    rows = [{**asdict(one), "h2_here": one.h2_here} for one in found]
    return pd.DataFrame(rows, columns=COLUMNS)


def estimates(
    tree: xr.DataTree,
    external: Sequence[PathArg | External] = (),
    *,
    model: pm.Model | None = None,
    prob: float = 0.95,
) -> list[Estimate]:
    """What `agreement` shows."""
    if "posterior" not in tree.children or tree["posterior"]["h2"].dims != ("chain", "draw"):
        raise InputError(
            "a tree of several traits, or without a posterior",
            "a fit of one trait with one h²",
            "give the tree of each trait by itself: tree['TRAIT']",
        )
    kernels = _kernels(tree)
    scale = _scale_words(kernels)
    kept = estimates_of(tree)
    own = [one for one in kept or () if one.source in ("REML", "Haseman-Elston")]
    if not own:
        own = [replace(one, scale=scale) for one in own_estimates(tree, model)]
    others: list[Estimate] = []
    for one in external:
        read = [one] if isinstance(one, External) else read_external(one)
        others += [_external(each, tree, kernels, model) for each in read]
    if not external:
        others = [one for one in kept or () if one.source.startswith(("GCTA", "GEMMA"))]
    return [_posterior(tree, prob, scale), *own, *others]


def _posterior(tree: xr.DataTree, prob: float, scale: str) -> Estimate:
    from bayeslmm.summary import describe, exact_share

    if (share := exact_share(tree)) is not None:
        (mean, sd), (lower, upper) = share.moments(), share.hdi(prob)
    else:
        h2 = tree["posterior"]["h2"].transpose("chain", "draw").to_numpy()
        row = describe(h2, "h2", prob)
        mean, sd, lower, upper = (float(row[key]) for key in ("mean", "sd", "lower", "upper"))
    note = f"mean, sd and {100 * prob:g} % interval of the posterior"
    return Estimate("posterior", mean, sd, lower, upper, scale, 1.0, note)


def own_estimates(tree: xr.DataTree, model: pm.Model | None = None) -> list[Estimate]:
    """REML and Haseman-Elston by our own code; none where the model is not known or not simple."""
    constants = tree["constant_data"].to_dataset()
    components = tree["posterior"].sizes["component"]
    if "eigenvalue" in constants and "contrasts" in constants and components == 2:
        s, e = constants["eigenvalue"].to_numpy(), constants["contrasts"].to_numpy()
        reml, he = reml_one_kernel(s, e), haseman_elston_one_kernel(s, e)
    else:
        from bayeslmm.fitted import model_of

        try:
            contrasts = contrasts_of(model_of(tree, model))
            start = contrasts.coefficients(tree).mean(axis=0)
        except InputError:
            return []
        if isinstance(contrasts.source, Spectrum):
            return []
        terms = contrasts.source.covariance.terms
        genetic = np.array([*(term.genetic for term in terms), False])
        reml = reml_several(contrasts.source, contrasts.rotated, start, genetic)
        he = haseman_elston_several(contrasts.source, contrasts.rotated, genetic)
    edge = "" if not reml.at_edge else "; a variance is at its edge: the interval means nothing"
    rough = "" if reml.converged else "; the search did not end at a maximum"
    return [
        _usual("REML", reml.h2, reml.se, f"restricted maximum likelihood{edge}{rough}"),
        _usual("Haseman-Elston", he.h2, he.se, "regression of products of pairs on relationship"),
    ]


def _usual(source: str, h2: float, se: float, note: str) -> Estimate:
    return Estimate(source, h2, se, h2 - Z * se, h2 + Z * se, "", 1.0, note)


def _kernels(tree: xr.DataTree) -> list[dict[str, Any]]:
    """What is recorded about the genetic relationships, in the model's order."""
    kept = tree.attrs.get("relationships", "{}")
    known = json.loads(kept) if isinstance(kept, str) else dict(kept)
    return [one for one in known.values() if one.get("kind", "genetic") == "genetic"]


def _scale_words(kernels: list[dict[str, Any]]) -> str:
    if all(one.get("kernel_scale") == "asv" for one in kernels):
        return "average semivariance one among the individuals analysed"
    return "the matrix as it is"


def _external(
    one: External, tree: xr.DataTree, kernels: list[dict[str, Any]], model: pm.Model | None
) -> Estimate:
    """An estimate of another program with the odds that bring it here, and why."""
    n = int(tree["observed_data"].sizes["individual"])
    convert = _gemma if one.program == "GEMMA" else _gcta
    h2, odds, scale, note = convert(one, n, tree, kernels, model)
    if one.n is not None and one.n != n:
        note += f"; {one.n} individuals there, {n} records here"
    trait = f", trait {one.trait}" if one.trait else ""
    source = f"{one.program} ({one.path.name}{trait})"
    return Estimate(source, h2, one.se, h2 - Z * one.se, h2 + Z * one.se, scale, odds, note)


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
    """Average semivariance of the one kernel of a model, on the scale analysed; nan if unknown."""
    if len(kernels) != 1:
        return math.nan
    if kernels[0].get("kernel_scale") == "asv":
        return 1.0
    constants = tree["constant_data"].to_dataset()
    if "eigenvalue" in constants and constants.sizes.get("covariate", 0) == 1:
        return float(constants["eigenvalue"].to_numpy().mean())  # tr(PKP)/(n - 1)
    from bayeslmm.fitted import model_of

    try:
        contrasts = contrasts_of(model_of(tree, model))
    except InputError:
        return math.nan
    return _centred_trace(contrasts)


def _centred_trace(contrasts: Contrasts) -> float:
    from bayeslmm.spectral_solve import kernel_times

    source = contrasts.source
    if not isinstance(source, Spectrum):
        return math.nan
    s, C = source.eigenvalues, source.coupling
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    trace = float(s.sum() + np.trace(source.schur) + ((C * inverse) * C).sum())
    n = source.n
    return (trace - float(kernel_times(source, np.ones(n)).sum()) / n) / (n - 1)


def disagreements(found: Sequence[Estimate]) -> list[str]:
    """Differences from our REML estimate that the uncertainties do not explain, in sentences.

    Haseman-Elston has the same expectation and a larger variance, the difference the variance of
    both apart (Hausman); another program's REML of the same data should give the same number, and
    a difference of a standard error says that data, matrix or scale are not the same. Our
    posterior holds our REML estimate in its interval unless the prior is strong.

    References
    ----------
    Hausman (1978) Econometrica 46:1251.
    """
    by_name = {one.source: one for one in found}
    posterior, reml = by_name.get("posterior"), by_name.get("REML")
    out: list[str] = []
    if posterior is None or reml is None or not math.isfinite(reml.se):
        return out
    if not posterior.lower - 0.5 * reml.se <= reml.h2 <= posterior.upper + 0.5 * reml.se:
        out.append(
            f"REML ({reml.h2:.3g}) lies outside the posterior's interval "
            f"({posterior.lower:.3g} to {posterior.upper:.3g}): the prior decides, look at it"
        )
    for one in found:
        if one in (posterior, reml) or not math.isfinite(one.h2_here):
            continue
        gap = abs(one.h2_here - reml.h2)
        if one.source == "Haseman-Elston":
            apart = math.sqrt(max(one.se**2 - reml.se**2, 0.25 * one.se**2))
            if gap > FAR * apart:
                out.append(
                    f"Haseman-Elston ({one.h2:.3g}) and REML ({reml.h2:.3g}) differ by "
                    f"{gap / apart:.1f} standard errors of their difference: likeness does not "
                    "grow with the relationship as the model says"
                )
        elif gap > max(reml.se, 1e-3):
            out.append(
                f"{one.source} gives {one.h2_here:.3g} on our scale, our REML {reml.h2:.3g}: more "
                "than a standard error apart, so not the same individuals, covariates or matrix"
            )
    return out


def add_agreement(
    tree: xr.DataTree,
    external: Sequence[PathArg | External] = (),
    *,
    model: pm.Model | None = None,
    prob: float = 0.95,
) -> list[Estimate]:
    """Keep the estimates with a fit of one trait, in its group ``agreement``, for a report."""
    found = estimates(tree, external, model=model, prob=prob)
    columns = {name: [getattr(one, name) for one in found] for name in Estimate.__slots__}
    tree[GROUP] = xr.DataTree(xr.Dataset({name: ("estimate", v) for name, v in columns.items()}))
    return found


def estimates_of(tree: xr.DataTree) -> list[Estimate] | None:
    """What `add_agreement` has kept, or None."""
    if GROUP not in tree.children:
        return None
    data = tree[GROUP].to_dataset()
    words = ("source", "scale", "note")
    columns = {
        name: [str(x) if name in words else float(x) for x in data[name].to_numpy().tolist()]
        for name in Estimate.__slots__
    }
    return [Estimate(*row) for row in zip(*columns.values(), strict=True)]
