"""Sentences about the origin, scale and spectrum of the kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from bayeslmm.report.facts import Facts
from bayeslmm.report.names import name
from bayeslmm.report.numbers import number, percent, plain
from bayeslmm.report.svg import clean

ESTIMATORS = {
    "gcta": "each variant centred and divided by √(2p(1 − p)) (GCTA)",
    "sample": "each variant centred and divided by its sample standard deviation",
    "centred": "each variant centred only (GEMMA -gk 1, VanRaden 1)",
    "dominance": "dominance deviations (0, 2p, 4p − 2) − 2p² over 2pq, orthogonal to the additive "
    "coding (Vitezica 2013)",
    "x-full": "X chromosome, full dosage compensation: a male’s allele counts as two of a female’s",
    "x-none": "X chromosome, no dosage compensation: a male’s allele counts as one of a female’s",
    "x-equal": "X chromosome, the same genetic variance in males and females",
    "pedigree": "expected relationships from a pedigree",
    "hadamard": "products, entry by entry, of two other kernels (epistasis)",
    "group": "1 for two individuals of the same group, 0 otherwise",
    "gxe": "another kernel by environments (genotype by environment)",
    "file": "read from a file, unchanged",
}

UNSCALED = {
    "pedigree": "It is unscaled: σ² is the variance of the base population, as V_A usually means.",
    "group": "It is unscaled: σ² is the variance between groups.",
}
SCALED = Markup(
    "divided by {}, so that its average semivariance, trace(PKP)/(n − 1), is 1: {} is the "
    "expected variance of {} among these individuals."
)


def kernels(facts: Facts) -> list[Markup]:
    """Describe each kernel of the fit; `kernel_table` lists more than two."""
    known = facts.relationships
    if not known:
        names = Markup(", ").join(name(one) for one in facts.components[:-1])
        return [Markup("Nothing is recorded about the kernels of {}.").format(names)]
    if len(known) <= 2:
        return [kernel(facts, component) for component in known]
    return scales(known)


def kernel(facts: Facts, component: str) -> Markup:
    """Describe the origin and the scale of a relationship, and h² on other scales."""
    known = facts.relationships[component]
    environment = " of the environment (not counted in h²)" if is_environment(known) else ""
    out = Markup("Kernel {}{}: {}{}, {:,} individuals{}. ").format(
        name(component),
        environment,
        _variants(known),
        _how(known),
        known.get("n_individuals", facts.people),
        Markup(" (from {})").format(name(known["source"])) if known.get("source") else "",
    )
    simple = len(facts.components) == 2
    if known.get("kernel_scale") == "none":
        return out + _unscaled(known, simple=simple)
    factor = float(known.get("factor", 1.0))
    out += Markup("It is ") + SCALED.format(
        plain(factor, 6),
        Markup("σ²<sub>u</sub>") if simple else "its σ²",
        "g" if simple else "its part",
    )
    return out + other_scales(facts, factor) if simple and facts.family.gaussian else out


def _variants(known: dict[str, Any]) -> str:
    variants = known.get("n_variants")
    if variants is not None:
        return f"{variants:,} variants, "
    without = ("pedigree", "group", "hadamard", "gxe")
    return "" if known.get("estimator") in without else "number of variants unknown, "


def _how(known: dict[str, Any]) -> str:
    estimator = str(known.get("estimator"))
    return ESTIMATORS.get(estimator, clean(estimator))


def is_environment(known: dict[str, Any]) -> bool:
    """Is it a relationship by shared environment, which h² does not include?"""
    return str(known.get("kind", "genetic")) == "environment"


def _unscaled(known: dict[str, Any], *, simple: bool) -> Markup:
    if (scale := UNSCALED.get(str(known.get("estimator")))) is not None:
        return Markup("{}").format(scale)
    variance = Markup("σ²<sub>u</sub>") if simple else "its σ²"
    return Markup(
        "It is not rescaled (--kernel-scale none): {} is the variance of an individual"
        " with K<sub>ii</sub> = 1, and h² is on that scale."
    ).format(variance)


def kernel_table(facts: Facts) -> list[dict[str, str]]:
    """Make a row for each of three or more kernels; empty for fewer."""
    known = facts.relationships
    if len(known) <= 2:
        return []
    return [
        {
            "name": clean(component),
            "kind": "environment" if is_environment(one) else "genetic",
            "how": _how(one),
            "variants": "–" if one.get("n_variants") is None else f"{one['n_variants']:,}",
            "divided": "unscaled" if one.get("kernel_scale") == "none"
            else plain(float(one.get("factor", 1.0)), 6),
            "source": clean(one.get("source") or "–"),
        }
        for component, one in known.items()
    ]  # fmt: skip


def scales(known: dict[str, dict[str, Any]]) -> list[Markup]:
    """Describe the scales of several kernels: a sentence for the scaled and each unscaled kind."""
    out = []
    if any(one.get("kernel_scale") != "none" for one in known.values()):
        out.append(
            Markup("Each scaled kernel is ")
            + SCALED.format("the number in the table", "its σ²", "its part")
        )
    unscaled = [one for one in known.values() if one.get("kernel_scale") == "none"]
    for estimator in dict.fromkeys(str(one.get("estimator")) for one in unscaled):
        scale = _unscaled({"estimator": estimator}, simple=False)
        out.append(Markup("{}: {}").format(ESTIMATORS.get(estimator, clean(estimator)), scale))
    return out


def other_scales(facts: Facts, factor: float) -> Markup:
    """State the genetic variance and h² for the unscaled kernel and as GEMMA reports them."""
    h2 = facts.draws("h2").ravel()
    sigma2_u = facts.draws("variance")[..., 0].ravel() / factor
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


def spectrum_sentence(facts: Facts) -> str:
    """State rank and largest eigenvalue, with a hint if one dominates."""
    s = facts.constant("eigenvalue")
    assert s is not None
    rank = int(np.count_nonzero(s))
    share = float(s.max() / s.sum()) if s.sum() > 0 else 0.0
    hint = ""
    if share > 0.05:
        hint = (
            " More than 5\N{NO-BREAK SPACE}% on one axis is a sign of population structure or "
            "large families; consider principal components as covariates."
        )
    return (
        f"{rank:,} of {s.size:,} eigenvalues among the error contrasts are not zero. The largest "
        f"is {plain(float(s.max()))}, {percent(share)} of their sum.{hint} The variance of the "
        f"eigenvalues, {plain(float(np.var(s)))}, determines the information about h²; at 0 (all "
        "equal to 1) h² is not identified."
    )
