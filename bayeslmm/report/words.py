"""The sentences of the report: every one carries its number, kind and level."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from markupsafe import Markup

from bayeslmm.boundary import WEAK, expected_se
from bayeslmm.report.facts import Facts
from bayeslmm.report.numbers import (
    decimals,
    number,
    p_value,
    percent,
    plain,
    probability,
    sign,
)
from bayeslmm.report.predictive import NormalCheck, VarianceCheck
from bayeslmm.report.svg import clean

EDGE = 1e-3  # an interval that comes so near to 0 or 1 is said to reach it

ESTIMATORS = {
    "gcta": "each variant centred and divided by √(2p(1 − p)) (GCTA)",
    "sample": "each variant centred and divided by its sample standard deviation",
    "centred": "each variant centred only (GEMMA -gk 1, VanRaden 1)",
    "file": "read from a file as it stands",
}

PARAMETERS = {
    "h2": "h²",
    "total_sd": "total standard deviation τ = √(σ²ᵤ + σ²ₑ)",
    "beta_std": "fixed effects β",
    "g_z": "whitened genetic values z",
}


def name(value: object) -> Markup:
    """A name from the data, escaped and kept apart from the direction of the text around it."""
    return Markup("<bdi>{}</bdi>").format(clean(value))


def byline(facts: Facts) -> Markup:
    """Model, engine, sample and date in one line."""
    return Markup("{} model · {} engine · {:,} individuals · {}").format(
        name(facts.attrs.get("model", "")),
        clean(facts.attrs.get("engine", "")),
        facts.n,
        clean(str(facts.attrs.get("created_at", ""))[:10]),
    )


def headline(facts: Facts) -> Markup:
    """The result in one sentence."""
    return Markup(
        "h² of {} is <strong>{}</strong>, {} <strong>{}</strong> (posterior mean; mode {})."
    ).format(
        name(facts.trait),
        two(facts.number("h2"), facts),
        facts.interval,
        two_span(facts),
        two(facts.number("h2", "mode"), facts),
    )


def two(value: float, facts: Facts) -> str:
    """A share to two decimals, more only if the posterior is narrower than that."""
    return sign(f"{value:.{max(2, decimals(facts.number('h2', 'sd'), 1))}f}")


def two_span(facts: Facts) -> str:
    """The interval of h² as `two` writes it."""
    return f"{two(facts.number('h2', 'lower'), facts)}–{two(facts.number('h2', 'upper'), facts)}"


def meaning(facts: Facts) -> Markup:
    """What the headline says about the trait, and where the interval reaches an edge."""
    kernels = Markup(", ").join(name(component) for component in facts.components[:-1])
    given = " given the covariates" if len(facts.covariates) > 1 else ""
    out = Markup(
        "Of the variance of {} among the {:,} individuals{}, about {} follows how they are "
        "related (kernel {})."
    ).format(name(facts.trait), facts.n, given, percent(facts.number("h2")), kernels)
    if facts.number("h2", "lower") < EDGE:
        out += Markup(
            " The interval reaches down to 0: these data do not show that the trait is heritable, "
            "and near 0 the mean lies above the mode because h² cannot be negative."
        )
    if facts.number("h2", "upper") > 1 - EDGE:
        out += Markup(" The interval reaches up to 1: look at the mode beside the mean.")
    return out


def evidence(facts: Facts) -> list[tuple[str, str, str]]:
    """What speaks for h² > 0 and how much the study can see: (name, number, words)."""
    se, p = facts.number("se_expected"), facts.number("p_rlrt")
    rows = [
        (
            "P(h² < 0.01)",
            probability(facts.number("p_h2_below_0.01")),
            "posterior probability that next to nothing is heritable",
        ),
        ("log₁₀ Bayes factor", *bayes_factor(facts.number("log10_bf_h2_0"))),
    ]
    if not math.isnan(p):
        words = "exact restricted likelihood ratio test of h² = 0, simulated from the spectrum"
        rows.append(("p-value", p_value(p).removeprefix("= "), words))
    if not math.isnan(se):
        words = (
            "standard error of h² that a study with this kernel can expect, at h² = 0"
            f"; {expected_at_mean(facts)} at the posterior mean"
        )
        rows.append(("expected SE", number(se, se), words))
    return rows


def expected_at_mean(facts: Facts) -> str:
    """Expected standard error at the posterior mean of h²."""
    s = facts.constant("eigenvalue")
    if s is None:
        return "–"
    value = expected_se(s, min(facts.number("h2"), 1 - 1e-6))
    return number(value, value)


def bayes_factor(log10: float) -> tuple[str, str]:
    """Bayes factor in favour of h² = 0: its number and its words (Kass & Raftery 1995)."""
    if math.isnan(log10):
        return "–", "in favour of h² = 0: too few draws near 0 to tell"
    strength = "barely worth mentioning"
    for threshold, word in ((0.5, "substantial"), (1.0, "strong"), (2.0, "decisive")):
        if abs(log10) >= threshold:
            strength = word
    side = "against" if log10 < 0 else "for"
    words = f"in favour of h² = 0 (Savage–Dickey); evidence {side} it: {strength}"
    return sign(f"{log10:.1f}" if abs(log10) < 1e5 else f"{log10:.3g}"), words


def weakly_informed(facts: Facts, limit: float = WEAK) -> Markup | None:
    """A warning where the expected standard error is so large that the prior matters."""
    se = facts.number("se_expected")
    if math.isnan(se) or se <= limit:
        return None
    return Markup(
        "<strong>Weakly informed.</strong> With {:,} individuals and this kernel the expected "
        "standard error of h² is {} (more than {:g}). {} Read the interval, "
        "not the point, and try another prior."
    ).format(facts.n, number(se, se, 3), limit, prior_part(facts))


def prior_part(facts: Facts) -> str:
    """How much of the posterior's width is the prior's."""
    share = facts.prior_share
    if math.isnan(share):
        return "How much the prior contributes is not known: the fit has no prior draws."
    words = f"The posterior variance of h² is {percent(share)} of the prior variance"
    if share > 0.9:
        return f"{words}: the data added next to nothing to the prior."
    return f"{words} (100\N{NO-BREAK SPACE}% would mean that the data added nothing)."


def kernel(facts: Facts, component: str) -> Markup:
    """Where a relationship comes from, how it is scaled, and h² on other scales."""
    known: dict[str, Any] = facts.attrs.get("relationships", {}).get(component, {})
    if not known:
        return Markup("Nothing is recorded about the kernel {}.").format(name(component))
    variants = known.get("n_variants")
    factor = float(known.get("factor", 1.0))
    how = ESTIMATORS.get(str(known.get("estimator")), str(known.get("estimator")))
    out = Markup("Kernel {}: {}, {}, {:,} individuals{}. ").format(
        name(component),
        "number of variants unknown" if variants is None else f"{variants:,} variants",
        how,
        known.get("n_individuals", facts.n),
        Markup(" (from {})").format(name(known["source"])) if known.get("source") else "",
    )
    if known.get("kernel_scale") == "none":
        return out + Markup(
            "It stands on its own scale (--kernel-scale none): σ²ᵤ is the variance of an individual"
            " with K<sub>ii</sub> = 1, and h² counts on that scale."
        )
    out += Markup(
        "It has been divided by {}, so that its average semivariance, trace(PKP)/(n − 1), is 1: "
        "σ²<sub>u</sub> is the expected variance of g among these individuals."
    ).format(plain(factor, 6))
    return out + other_scales(facts, factor) if len(facts.components) == 2 else out


def other_scales(facts: Facts, factor: float) -> Markup:
    """The genetic variance and h² on the undivided kernel and as GEMMA reports it."""
    h2 = facts.draws("h2").ravel()
    sigma2_u = facts.draws("sigma2_u").ravel() / factor
    raw = h2 / factor / (h2 / factor + 1.0 - h2)
    trace = (facts.n - 1) / facts.n  # mean diagonal of PKP
    gemma = h2 * trace / (h2 * trace + 1.0 - h2)
    return Markup(
        " On the undivided kernel (GCTA’s V(G), GEMMA’s vg) the genetic variance is"
        " σ²<sub>u</sub>/{} = {}, and vg/(vg + ve) = {}; GEMMA’s pve, which takes the mean diagonal"
        " of the centred kernel into account, would be {} (posterior means)."
    ).format(
        plain(factor, 6),
        number(float(sigma2_u.mean()), float(sigma2_u.std())),
        number(float(raw.mean()), float(raw.std())),
        number(float(gemma.mean()), float(gemma.std())),
    )


def priors(facts: Facts) -> list[tuple[str, str]]:
    """Parameter and prior in words."""
    known: dict[str, str] = facts.attrs.get("priors", {})
    return [
        (PARAMETERS.get(key, clean(key)), clean(words))
        for key, words in sorted(known.items(), key=lambda item: item[0] != "h2")
    ]


def engine(facts: Facts) -> str:
    """How the posterior was computed."""
    draws = facts.draws("h2")
    if facts.exact:
        return (
            f"Exact engine: the posterior of (h², τ) by quadrature, β and g integrated in closed "
            f"form. The {draws.size:,} draws are independent by construction: there is no Markov "
            "chain that could fail to converge. Mean, mode and interval of h² come from the "
            "quadrature, without Monte Carlo error."
        )
    tune = facts.attrs.get("tune")
    warm = f" after {int(tune):,} warm-up draws each" if tune is not None else ""
    return (
        f"{clean(facts.attrs.get('engine', '')).upper()}: {draws.shape[0]} chains of "
        f"{draws.shape[1]:,} draws{warm}. Healthy chains look alike: traces overlap without trend, "
        "and the ranks of each chain are spread evenly (grey band: 95\N{NO-BREAK SPACE}% range of "
        "independent draws)."
    )


def energy(facts: Facts) -> str:
    """Divergences and E-BFMI, where there are any."""
    found = facts.diagnosis
    parts = []
    if found.divergences is not None:
        parts.append(f"divergent transitions: {found.divergences}")
    if found.e_bfmi is not None:
        parts.append(f"smallest E-BFMI: {found.e_bfmi:.2f} (at least 0.3 is healthy)")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def variance_words(check: VarianceCheck) -> str:
    """The check of variance by eigenvalue in a sentence."""
    bins, outside = check.size.size, check.outside()
    kind = "as it should be" if outside <= max(1, round(0.15 * bins)) else "more than chance"
    return (
        f"The contrasts of the phenotype (covariates removed, rotated to the kernel’s "
        f"eigenvectors) have the variance σ²ᵤs + σ²ₑ at the eigenvalue s: h² is the slope. "
        f"{outside} of {bins} bins lie outside their 95\N{NO-BREAK SPACE}% predictive band, {kind} "
        f"({0.05 * bins:.1g} are expected)."
    )


def normal_words(check: NormalCheck, what: str) -> str:
    """The check of normality in a sentence."""
    verdict = ""
    if abs(check.kurtosis) > 1 or abs(check.skewness) > 0.5:
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


def spectrum_words(facts: Facts) -> str:
    """Rank and largest eigenvalue in a sentence, with a hint where one dominates."""
    s = facts.constant("eigenvalue")
    assert s is not None
    rank = int(np.count_nonzero(s))
    share = float(s.max() / s.sum()) if s.sum() > 0 else 0.0
    hint = ""
    if share > 0.05:
        hint = (
            " More than 5\N{NO-BREAK SPACE}% on one axis is a sign of population structure or "
            "large families; principal components among the covariates are worth a try."
        )
    return (
        f"{rank:,} of {s.size:,} eigenvalues among the error contrasts are not zero. The largest "
        f"is {plain(float(s.max()))}, {percent(share)} of their sum.{hint} The variance of the "
        f"eigenvalues, {plain(float(np.var(s)))}, is what makes h² visible; at 0 (all equal to 1) "
        "it could not be told from noise."
    )
