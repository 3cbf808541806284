"""The model as formula and as sentences; its priors."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from bayeslmm.report.facts import Facts
from bayeslmm.report.names import name
from bayeslmm.report.svg import clean

FEW = 4  # largest number of kernels that the formula writes out

PARAMETERS = {
    "h2": "h²",
    "share": "shares of the components",
    "total_sd": "total standard deviation τ",
    "beta_std": "fixed effects β",
    "g_z": "whitened genetic values z",
    "r_g_place": "genetic correlation r",
    "r_e_place": "residual correlation r",
    "r_g_factor": "genetic correlations",
    "r_e_factor": "residual correlations",
    "r_direct_maternal": "correlation of direct and maternal effects",
    "r_intercept_slope": "correlation of intercepts and slopes",
    "residual_part": "the groups’ parts of the residual sum of squares",
    "part_variance_share": "shares of the variances",
}

# In the formulas *x* is a variable, _[x] a subscript, ^[x] a superscript, a // b a fraction.
FORMULAS = {
    "repeated": (
        "*y* = *Xβ* + *Zu* + *Zc* + *ε*",
        "*u* ~ N(0, σ²_[u] *K*)",
        "*c* ~ N(0, σ²_[c] *I*_[q])",
        "*ε* ~ N(0, σ²_[e] *I*_[n])",
        "*h*^[2] = σ²_[u] // σ²_[u] + σ²_[c] + σ²_[e]",
        "repeatability = σ²_[u] + σ²_[c] // σ²_[u] + σ²_[c] + σ²_[e]",
    ),
    "maternal": (
        "*y* = *Xβ* + *Z*_[a]*a* + *Z*_[m]*m* + *Z*_[m]*c* + *ε*",
        "[*a*, *m*] ~ N(0, Σ ⊗ *A*), Σ = [σ²_[a], σ_[am]; σ_[am], σ²_[m]]",
        "*c* ~ N(0, σ²_[c] *I*)",
        "*ε* ~ N(0, σ²_[e] *I*)",
        "*h*^[2] = σ²_[a] + σ²_[m] + σ_[am] // σ²_[a] + σ²_[m] + σ_[am] + σ²_[c] + σ²_[e]",
    ),
    "gxe": (
        "*y* = *Xβ* + *u*_[0] + *u*_[1]*x* + *ε*",
        "[*u*_[0], *u*_[1]] ~ N(0, Σ ⊗ *K*)",
        "*ε*_[i] ~ N(0, σ²_[e, group of i])",
        "*h*^[2] = σ²_[0] + σ²_[1] // σ²_[0] + σ²_[1] + σ²_[e]",
    ),
    "bivariate": (
        "*y*_[t] = *X*_[t]*β*_[t] + *g*_[t] + *ε*_[t]",
        "[*g*_[1], *g*_[2], …] ~ N(0, *G* ⊗ *K*)",
        "[*ε*_[1], *ε*_[2], …] ~ N(0, *R* ⊗ *I*)",
        "*h*^[2]_[t] = *G*_[tt] // *G*_[tt] + *R*_[tt]",
        "*r*_[g] = *G*_[12] // √(*G*_[11] *G*_[22])",
        "*r*_[e] = *R*_[12] // √(*R*_[11] *R*_[22])",
    ),
}

SENTENCES = {
    "repeated": (
        "A record is the sum of fixed effects Xβ, the genetic value u of its individual (with "
        "covariance between individuals proportional to the kernel K), the permanent environment c "
        "of the individual, and a residual ε. Z assigns records to individuals."
    ),
    "maternal": (
        "A record is the sum of fixed effects Xβ, the individual’s own (direct) genetic effect a, "
        "its dam’s genetic effect m on the trait of her offspring, the common environment c of a "
        "dam’s offspring, and a residual ε. a and m are correlated: σₐₘ is their covariance, and "
        "may be negative. It appears once in the variance of a record, because dam and offspring "
        "share half of their genes."
    ),
    "gxe": (
        "Every individual has a genetic intercept u₀ and a genetic slope u₁ on the environment x "
        "(standardised to mean 0 and variance 1): σ²₀ is the genetic variance at the mean "
        "environment, σ²₁ the variance of the slopes. ε is a residual, with one variance per group "
        "if there are groups."
    ),
    "bivariate": (
        "Each trait is the sum of its fixed effects, a genetic value whose covariance between two "
        "individuals is proportional to the kernel K, and a residual. G and R are the covariance "
        "matrices of the genetic values and of the residuals over the traits; r_g and r_e are "
        "their correlations."
    ),
}

ONE = (
    "The phenotype is the sum of fixed effects Xβ, a genetic value g whose covariance between two "
    "individuals is proportional to the kernel K, and a residual ε."
)
MANY = (
    "The phenotype is the sum of fixed effects Xβ, one random effect for each component, whose "
    "covariance between two individuals is proportional to the kernel of the component, and a "
    "residual ε."
)


def formula(facts: Facts, model: str) -> list[Markup]:
    """Return the lines of the formula of a gallery model, as HTML.

    Parameters
    ----------
    facts
        The trait.
    model
        Name of the model.
    """
    if model in FORMULAS:
        return [typeset(line) for line in FORMULAS[model]]
    names = facts.components[:-1]
    if len(names) == 1:
        return [
            typeset("*y* = *Xβ* + *g* + *ε*"),
            typeset("*g* ~ N(0, σ²_[u] *K*)"),
            typeset("*ε* ~ N(0, σ²_[e] *I*)"),
            typeset("*h*^[2] = σ²_[u] // σ²_[u] + σ²_[e]"),
        ]
    return _few_kernels(facts, names) if len(names) <= FEW else _many_kernels(facts, names)


def _few_kernels(facts: Facts, names: list[str]) -> list[Markup]:
    numbers = range(1, len(names) + 1)
    letters = ["g" if one in facts.genetic else "c" for one in names]
    sums = " + ".join(f"*{letter}*_[{k}]" for k, letter in zip(numbers, letters, strict=True))
    lines = [typeset(f"*y* = *Xβ* + {sums} + *ε*")]
    for k, letter, one in zip(numbers, letters, names, strict=True):
        line = typeset(f"*{letter}*_[{k}] ~ N(0, σ²_[{k}] *K*_[NAME])")
        lines.append(Markup(str(line).replace("NAME", str(name(one)))))
    lines.append(typeset("*ε* ~ N(0, σ²_[e] *I*)"))
    top = [f"σ²_[{k}]" for k, one in zip(numbers, names, strict=True) if one in facts.genetic]
    every = [*(f"σ²_[{k}]" for k in numbers), "σ²_[e]"]
    if top:
        lines.append(typeset(f"*h*^[2] = {' + '.join(top)} // {' + '.join(every)}"))
    return lines


def _many_kernels(facts: Facts, names: list[str]) -> list[Markup]:
    lines = [
        typeset("*y* = *Xβ* + Σ_[k] *g*_[k] + *ε*"),
        typeset(f"*g*_[k] ~ N(0, σ²_[k] *K*_[k]), *k* = 1, …, {len(names)}"),
        typeset("*ε* ~ N(0, σ²_[e] *I*)"),
    ]
    which = "k" if len(facts.genetic) == len(names) else "k genetic"
    if facts.genetic:
        lines.append(typeset(f"*h*^[2] = Σ_[{which}] σ²_[k] // Σ_[k] σ²_[k] + σ²_[e]"))
    return lines


def sentence(facts: Facts, model: str) -> str:
    """Return the sentences that explain the formula."""
    return SENTENCES.get(model, ONE if len(facts.components) == 2 else MANY)


def typeset(text: str) -> Markup:
    """Convert a formula to HTML.

    Examples
    --------
    >>> str(typeset("*g*_[1] ~ N(0, σ²_[1] *K*)"))
    '<var>g</var><sub>1</sub> ~ N(0, σ²<sub>1</sub> <var>K</var>)'
    """
    left, _, below = text.partition(" // ")
    start, equals, above = left.rpartition(" = ") if below else (left, "", "")
    if below:
        return Markup('{}{}<span class="fraction"><span>{}</span><span>{}</span></span>').format(
            _inline(start), equals, _inline(above), _inline(below)
        )
    return _inline(text)


def _inline(text: str) -> Markup:
    out = str(escape(text))
    out = re.sub(r"\*([^*]+)\*", r"<var>\1</var>", out)
    out = re.sub(r"_\[([^]]+)\]", r"<sub>\1</sub>", out)
    return Markup(re.sub(r"\^\[([^]]+)\]", r"<sup>\1</sup>", out))


def priors(facts: Facts) -> list[tuple[str, str]]:
    """List each parameter with a description of its prior."""
    known: dict[str, str] = facts.attrs.get("priors", {})
    return [
        (PARAMETERS.get(key, clean(key)), clean(_plainly(prior)))
        for key, prior in sorted(known.items(), key=lambda item: item[0] not in ("h2", "share"))
    ]


def _plainly(prior: str) -> str:
    """Translate a uniform prior from PyMC's notation; return others unchanged."""
    return re.sub(r"^Uniform\(([^,]+), ([^)]+)\)$", r"uniform between \1 and \2", prior)
