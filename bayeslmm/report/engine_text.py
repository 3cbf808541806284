"""Sentences about the computation of the posterior and its reliability."""

from __future__ import annotations

import json
import math

from markupsafe import Markup

from bayeslmm.inference.diagnostics import PARETO_K
from bayeslmm.report.facts import Facts
from bayeslmm.report.numbers import number, sign
from bayeslmm.report.svg import clean

GOOD = 0.5  # below this k̂ the importance weights have a finite variance

HEALTHY = (
    "Healthy chains look alike: traces overlap without trend, and the ranks of each chain are "
    "spread evenly (grey band: 95\N{NO-BREAK SPACE}% range of independent draws)."
)


def engine(facts: Facts) -> str:
    """Describe how the posterior was computed."""
    if "pareto_k" in facts.statistics:
        return fallen_back(facts) if facts.chains else laplace(facts)
    chains, draws = facts.draws("variance").shape[:2]
    if facts.exact:
        return (
            f"Exact engine: the posterior of (h², τ) by quadrature, β and g integrated in closed "
            f"form. The {chains * draws:,} draws are independent by construction: there is no "
            "Markov chain that could fail to converge. Mean, mode and interval of h² come from the "
            "quadrature, without Monte Carlo error."
        )
    tune = facts.attrs.get("tune")
    warm = f" after {int(tune):,} warm-up draws each" if tune is not None else ""
    return f"{clean(facts.engine).upper()}: {chains} chains of {draws:,} draws{warm}. {HEALTHY}"


def laplace(facts: Facts) -> str:
    """Describe the importance sampling: method, k̂ and its meaning, ESS, evidence."""
    known = facts.statistics
    k, ess = float(known.get("pareto_k", math.nan)), float(known["ess_importance"])
    text = (
        "Laplace engine: β and the random effects are integrated out. The few remaining parameters "
        "are drawn from a proposal fitted to their posterior, and weighted by its exact density "
        "(importance sampling). β is then drawn exactly, given each of these draws."
    )
    if "evaluations" in known:
        text += f" It took {int(known['evaluations']):,} evaluations of the density."
    text += (
        f" Pareto k̂ of the weights is {k_hat(k)}: {pareto_meaning(k)}. The importance ESS is "
        f"{ess:,.0f}: the draws, resampled by weight, are worth that many independent ones, so "
        "that it bounds every ESS of the table."
    )
    return f"{text} {evidence(facts)}".strip()


def k_hat(k: float) -> str:
    """Format k̂ to two decimals; "∞" if the weights are degenerate."""
    return "∞" if math.isinf(k) else sign(f"{k:.2f}")


def pareto_meaning(k: float) -> str:
    """State the meaning of k̂ (Vehtari et al. 2024)."""
    if k < GOOD:
        return "good (below 0.5 the weights have a finite variance)"
    if k < PARETO_K:
        return "usable (between 0.5 and 0.7 the smoothed weights converge, more slowly)"
    return (
        "unreliable (from 0.7 on, weighted means do not converge at any practical number of draws)"
    )


def evidence(facts: Facts) -> str:
    """State the log marginal likelihood with its Monte Carlo standard error, if known."""
    known = facts.statistics
    if "log_evidence" not in known or "improper" in known:
        return ""
    error = float(known.get("log_evidence_mcse", math.nan))
    value = float(known["log_evidence"])
    shown = f" (Monte Carlo standard error {number(error, error)})" if error > 0 else ""
    return f"The log marginal likelihood, log p(y), is {number(value, error)}{shown}."


def fallen_back(facts: Facts) -> str:
    """Describe a fall-back from failed importance sampling to NUTS."""
    k = float(facts.statistics.get("pareto_k", math.nan))
    chains, draws = facts.draws("variance").shape[:2]
    return (
        f"Laplace engine, fallen back to NUTS: the importance weights were unreliable (Pareto "
        f"k̂ = {k_hat(k)}; it has to be below {PARETO_K}, with enough effective draws), and "
        "were discarded. The draws come from NUTS on the same density, β and the random effects "
        "integrated out, preconditioned by the Hessian at its mode: "
        f"{chains} chains of {draws:,} draws; β is drawn exactly, given each of them. The log "
        f"marginal likelihood is then unknown. {HEALTHY}"
    )


def rounds(facts: Facts) -> list[str]:
    """List the steps of the Laplace engine."""
    text = facts.statistics.get("rounds")
    found = json.loads(text) if isinstance(text, str) else []
    return [clean(one) for one in found]


def energy(facts: Facts) -> str:
    """State divergences and E-BFMI, if known."""
    found = facts.diagnosis
    parts = []
    if found.divergences is not None:
        parts.append(f"divergent transitions: {found.divergences}")
    if found.e_bfmi is not None:
        parts.append(f"smallest E-BFMI: {found.e_bfmi:.2f} (at least 0.3 is healthy)")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def importance_card(facts: Facts) -> tuple[str, str, Markup] | None:
    """Make the k̂ card at the top of the page: (name, number, note)."""
    k = facts.number("pareto_k")
    if math.isnan(k):
        return None
    if facts.chains:
        note = Markup("of importance sampling, which failed: the draws come from NUTS")
    else:
        note = Markup("of the importance weights: {}").format(pareto_meaning(k))
    return "Pareto k̂", k_hat(k), note
