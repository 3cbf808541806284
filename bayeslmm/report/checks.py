"""Figures and sentences of the posterior predictive checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from bayeslmm.checks import predictive
from bayeslmm.checks.predictive import NormalCheck, VarianceCheck
from bayeslmm.checks.relatives import RelativeChecks
from bayeslmm.inference.quantities import trait_of
from bayeslmm.numerics.arrays import Floats
from bayeslmm.report import check_plots, relatives, relatives_plots
from bayeslmm.report.facts import Facts
from bayeslmm.report.names import name
from bayeslmm.report.numbers import number, sign, span
from bayeslmm.report.relatives import relative_checks_of
from bayeslmm.report.svg import clean


def checks_section(facts: Facts, key: str) -> dict[str, Any]:
    """Show the posterior predictive checks of contrasts, or of residuals, and of relatives.

    With several kernels the contrasts are whitened by the Cholesky factor of V, if the fit stores
    them (`bayeslmm.report.relatives.add_relative_checks`). Without contrasts residuals are shown.
    """
    if not facts.family.gaussian:
        return {"figures": [], "sentences": [not_gaussian(facts)]}
    found = relative_checks_of(facts.tree)
    if facts.spectral:
        out = contrast_checks(facts, key)
    elif found is not None:
        out = whitened_checks(found, key)
    else:
        return residual_checks(facts, key)
    if found is not None:
        more = relatives_checks(found, key)
        out = {name: [*out[name], *more[name]] for name in ("figures", "sentences")}
    return out


def not_gaussian(facts: Facts) -> str:
    """State why nothing was checked."""
    return (
        f"The phenotype is of the family {clean(facts.family.name)}. The checks of contrasts, "
        "residuals and relatives need a Gaussian one, and were not made."
    )


def whitened_checks(found: RelativeChecks, key: str) -> dict[str, Any]:
    """Show the normality of the error contrasts, whitened by the covariance of several kernels."""
    normal = predictive.normal_check(found.whitened)
    what = "the error contrasts, whitened by the Cholesky factor of their covariance"
    return {
        "figures": [check_plots.normal_figure(normal, f"{key}-qq", "contrasts")],
        "sentences": [normal_sentence(normal, what)],
    }


def relatives_checks(found: RelativeChecks, key: str) -> dict[str, Any]:
    """Show the checks of pairs of relatives, of families and of single records."""
    figures: list[Markup] = []
    sentences: list[str | Markup] = []
    if found.pairs is not None:
        figures.append(relatives_plots.pair_figure(found.pairs, f"{key}-pairs"))
        sentences.append(relatives.pair_sentences(found.pairs))
    if len(found.families.z) > 1:
        figures.append(relatives_plots.family_figure(found.families, f"{key}-families"))
    sentences.append(relatives.family_sentences(found.families))
    normal = predictive.normal_check(found.records.z)
    title = "Each record against all others"
    what = "leave-one-out residuals"
    figures.append(check_plots.normal_figure(normal, f"{key}-loo-qq", what, title))
    sentences.append(relatives.record_sentences(found.records))
    return {"figures": figures, "sentences": sentences}


def contrast_checks(facts: Facts, key: str) -> dict[str, Any]:
    """Show the variance of the contrasts by eigenvalue, and their normality."""
    s, e = facts.constant("eigenvalue"), facts.constant("contrasts")
    assert s is not None
    assert e is not None
    variance = facts.draws("variance").reshape(-1, 2)
    u, v = variance[:, 0], variance[:, 1]
    check = predictive.variance_check(s, e, u, v, seed=int(facts.attrs.get("seed", 1)))
    z = predictive.whitened(s, e, float(u.mean()), float(v.mean()))
    normal = predictive.normal_check(z)
    return {
        "figures": [
            check_plots.variance_figure(check, f"{key}-ppc"),
            check_plots.normal_figure(normal, f"{key}-qq", "contrasts"),
        ],
        "sentences": [variance_sentence(check), normal_sentence(normal, "the contrasts")],
    }


def residual_checks(facts: Facts, key: str) -> dict[str, Any]:
    """Show the residuals of each trait against its total variance, relatives not decorrelated."""
    X = facts.constant("design")
    if X is None:
        return {"figures": [], "sentences": ["The model has no design: nothing could be checked."]}
    y = np.asarray(facts.tree["observed_data"]["phenotype"].to_numpy(), dtype=np.float64)
    residual = y - X @ facts.draws("beta").reshape(-1, X.shape[1]).mean(axis=0)
    figures, sentences = [], []
    for number_, trait in enumerate(facts.traits or [""]):
        figure, more = _residual_check(facts, trait, residual, X, f"{key}-qq-{number_}")
        figures.append(figure)
        sentences += more
    sentences.append(
        "These residuals include the random effects, and relatives cannot be decorrelated without "
        "the contrasts of a single kernel. So this is only a coarse check of scale, skewness and "
        "outliers."
    )
    return {"figures": figures, "sentences": sentences}


def _residual_check(
    facts: Facts, trait: str, residual: Floats, X: Floats, key: str
) -> tuple[Markup, list[str | Markup]]:
    """Compare the residuals of one trait ("" for the only one) with their model variance."""
    mine = [trait_of(one, facts.traits) == trait for one in facts.components]
    total = facts.draws("variance")[..., np.array(mine)].sum(axis=-1).ravel()
    own = residual[records_of(facts, trait, X)]
    what = f"residuals of {clean(trait)}" if trait else "residuals"
    normal = predictive.normal_check(own / np.sqrt(float(total.mean())))
    observed = float(own.var(ddof=1))
    low, high = (float(q) for q in np.quantile(total, [0.025, 0.975]))
    of = Markup(" of {}").format(name(trait)) if trait else ""
    sentence = Markup(
        "The residuals y − Xβ{} have the sample variance {}; the model’s total variance is {} "
        "(95 % equal-tailed interval {})."
    ).format(
        of, number(observed, high - low), number(float(total.mean()), high - low), span(low, high)
    )
    return (
        check_plots.normal_figure(normal, key, what),
        [sentence, normal_sentence(normal, f"the {what}")],
    )


def records_of(facts: Facts, trait: str, X: Floats) -> NDArray[np.bool_]:
    """Select the records (n,) of one of several traits, by its intercept column."""
    column = f"intercept[{trait}]"
    if not trait or column not in facts.covariates:
        return np.ones(X.shape[0], dtype=np.bool_)
    return np.asarray(X[:, facts.covariates.index(column)] != 0)


def variance_sentence(check: VarianceCheck) -> str:
    """Describe the check of the variance by eigenvalue."""
    bins, outside = check.size.size, check.outside()
    kind = "as it should be" if outside <= max(1, round(0.15 * bins)) else "more than chance"
    return (
        f"The contrasts of the phenotype (covariates removed, rotated to the kernel’s "
        f"eigenvectors) have the variance σ²ᵤs + σ²ₑ at the eigenvalue s: h² is the slope. "
        f"{outside} of {bins} bins lie outside their 95\N{NO-BREAK SPACE}% predictive band, {kind} "
        f"({0.05 * bins:.1g} are expected)."
    )


def normal_sentence(check: NormalCheck, what: str) -> str:
    """Describe the check of normality."""
    verdict = ""
    if (abs(check.kurtosis) > 1 or abs(check.skewness) > 0.5) and check.share_outside > 0:
        verdict = (
            " The residual distribution is far from normal: consider a rank-based inverse normal "
            "transform, and look for outliers."
        )
    return (
        f"{what[:1].upper()}{what[1:]}, standardised at the posterior mean, should lie on the line "
        f"(band: pointwise 95\N{NO-BREAK SPACE}%). Skewness {sign(f'{check.skewness:.2f}')}, "
        f"excess kurtosis {sign(f'{check.kurtosis:.2f}')}, "
        f"largest absolute value {check.largest:.1f}.{verdict}"
    )
