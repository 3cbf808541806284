"""What the template shows: tables, sentences and figures of each trait."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from bayeslmm.report import check_plots, plots, predictive, svg, words
from bayeslmm.report.chain_plots import chain_figure
from bayeslmm.report.facts import Facts, Floats
from bayeslmm.report.numbers import number, plain, span
from bayeslmm.report.relatedness import Relatedness, relatedness_of
from bayeslmm.report.svg import clean

if TYPE_CHECKING:
    from bayeslmm.models import ModelFile

VARIANCE = {"sigma2_u": "σ²ᵤ genetic", "sigma2_e": "σ²ₑ residual"}
REALISED = {
    "pve_fixed": "fixed Xβ",
    "pve_random": "random g",
    "pve_total": "total Xβ + g",
}
SHARES = {
    "fixed": "fixed Xβ",
    "random": "random g",
    "covariance": "2 cov(Xβ, g)",
    "residual": "residual ε",
}
MOST_EFFECTS = 60  # fixed effects shown; the rest stands in the table of the results


def section(facts: Facts, key: str, given: Relatedness | None) -> dict[str, Any]:
    """Everything that the template shows of one trait.

    Parameters
    ----------
    facts
        The trait.
    key
        Unique in the page: id of the section and prefix of those in it.
    given
        Relatedness to show; default what the tree keeps.
    """
    related = given if given is not None else relatedness_of(facts.tree)
    return {
        "id": key,
        "facts": facts,
        "trait": words.name(facts.trait),
        "byline": words.byline(facts),
        "headline": words.headline(facts),
        "meaning": words.meaning(facts),
        "evidence": words.evidence(facts),
        "weak": words.weakly_informed(facts),
        "prior_part": words.prior_part(facts),
        "h2_figure": plots.h2_figure(facts, f"{key}-h2"),
        "model": model_section(facts),
        "ledger": facts.attrs.get("ledger", []),
        "pve": pve_section(facts, key),
        "variance": variance_section(facts, key),
        "effects": effects_section(facts),
        "diagnostics": diagnostics_section(facts, key),
        "checks": checks_section(facts, key),
        "kernel": kernel_section(facts, key, related),
        "provenance": provenance_section(facts),
    }


def estimate_row(facts: Facts, quantity: str, label: str) -> dict[str, str]:
    """A row of a table of estimates."""
    sd = facts.number(quantity, "sd")
    return {
        "label": label,
        "mean": number(facts.number(quantity), sd),
        "sd": number(sd, sd),
        "interval": span(facts.number(quantity, "lower"), facts.number(quantity, "upper"), sd),
    }


def interval_of(facts: Facts, quantity: str, label: str) -> plots.Interval:
    """A row of an interval plot."""
    mean, lower, upper = (facts.number(quantity, column) for column in ("mean", "lower", "upper"))
    return plots.Interval(label, mean, lower, upper)


def pve_section(facts: Facts, key: str) -> dict[str, Any] | None:
    """Realised PVE by var(y), and by the sum of the parts."""
    realised = {f: label for f, label in REALISED.items() if f in facts.table.index}
    shares = {f"pve_share[{part}]": label for part, label in SHARES.items()}
    shares = {f: label for f, label in shares.items() if f in facts.table.index}
    if not realised:
        return None
    bars = [interval_of(facts, f, f"{label} / var(y)") for f, label in realised.items()]
    bars += [interval_of(facts, f, f"{label} / sum") for f, label in shares.items()]
    bars = [bar for bar in bars if bar.lower < bar.upper]
    return {
        "interval": facts.interval_of(next(iter(realised))),
        "realised": [estimate_row(facts, f, label) for f, label in realised.items()],
        "shares": [estimate_row(facts, f, label) for f, label in shares.items()],
        "intercept_only": len(facts.covariates) == 1,
        "figure": plots.interval_figure(
            bars,
            f"{key}-pve",
            "Realised proportions of variance explained with their intervals",
            xlabel=f"share of variance: mean, {facts.interval_of(next(iter(realised)))}",
            width=svg.FULL,
            zero=True,
        ),
    }


def variance_section(facts: Facts, key: str) -> dict[str, Any]:
    """Variance components: the two sums and, of several kernels, each one."""
    rows = [estimate_row(facts, f, label) for f, label in VARIANCE.items()]
    bars = [interval_of(facts, f, label) for f, label in VARIANCE.items()]
    if len(facts.components) > 2:
        draws = facts.draws("variance")
        for i, component in enumerate(facts.components[:-1]):
            row, bar = drawn_row(draws[..., i], clean(component), facts.prob)
            rows.append(row)
            bars.append(bar)
    interval = facts.interval_of("sigma2_u")
    return {
        "interval": interval,
        "rows": rows,
        "figure": plots.interval_figure(
            bars,
            f"{key}-variance",
            "Variance components with their intervals",
            xlabel=f"variance: mean, {interval}",
        ),
    }


def drawn_row(draws: Floats, label: str, prob: float) -> tuple[dict[str, str], plots.Interval]:
    """A row of a table and of a plot for draws that the summary does not hold."""
    values = draws.ravel()
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    tail = (1 - prob) / 2
    lower, upper = (float(q) for q in np.quantile(values, [tail, 1 - tail]))
    row = {
        "label": label,
        "mean": number(mean, sd),
        "sd": number(sd, sd),
        "interval": span(lower, upper, sd),
    }
    return row, plots.Interval(label, mean, lower, upper)


def effects_section(facts: Facts) -> dict[str, Any]:
    """Fixed effects on the scale of the data."""
    quantities = facts.rows("beta[")
    return {
        "interval": facts.interval_of(quantities[0]) if quantities else "",
        "rows": [
            estimate_row(facts, f, clean(f.removeprefix("beta[").removesuffix("]")))
            for f in quantities[:MOST_EFFECTS]
        ],
        "more": max(len(quantities) - MOST_EFFECTS, 0),
    }


def diagnostics_section(facts: Facts, key: str) -> dict[str, Any]:
    """Verdict, table and, of chains, plots."""
    table = facts.diagnosis.table
    shown = [label for label in table.index if str(label) in {*VARIANCE, *REALISED, "h2"}]
    shown += [label for label in table.index if str(label).startswith("beta[")][:MOST_EFFECTS]
    rows = []
    for label in shown:
        cells = [float(table.loc[label, c]) for c in ("r_hat", "ess_bulk", "ess_tail", "mcse")]
        if all(math.isnan(cell) for cell in cells):
            continue  # constant: nothing to diagnose
        r_hat, bulk, tail, mcse = cells
        rows.append(
            {
                "label": clean(label),
                "r_hat": "–" if math.isnan(r_hat) else f"{r_hat:.4f}",
                "ess_bulk": "–" if math.isnan(bulk) else f"{bulk:,.0f}",
                "ess_tail": "–" if math.isnan(tail) else f"{tail:,.0f}",
                "mcse": plain(mcse, 2),
            }
        )
    return {
        "diagnosis": facts.diagnosis,
        "engine": words.engine(facts),
        "energy": words.energy(facts),
        "rows": rows,
        "figure": None if facts.exact else chain_figure(facts, f"{key}-chains"),
    }


def checks_section(facts: Facts, key: str) -> dict[str, Any]:
    """Posterior predictive checks: on contrasts, or on residuals where there are none."""
    if facts.spectral:
        s, e = facts.constant("eigenvalue"), facts.constant("contrasts")
        assert s is not None
        assert e is not None
        u, v = facts.draws("sigma2_u").ravel(), facts.draws("sigma2_e").ravel()
        variance = predictive.variance_check(s, e, u, v, seed=int(facts.attrs.get("seed", 1)))
        z = predictive.whitened(s, e, float(u.mean()), float(v.mean()))
        normal = predictive.normal_check(z)
        return {
            "figures": [
                check_plots.variance_figure(variance, f"{key}-ppc"),
                check_plots.normal_figure(normal, f"{key}-qq", "contrasts"),
            ],
            "words": [
                words.variance_words(variance),
                words.normal_words(normal, "the contrasts"),
            ],
        }
    return residual_checks(facts, key)


def residual_checks(facts: Facts, key: str) -> dict[str, Any]:
    """Residuals against the total variance; without a spectrum relatives stay correlated."""
    y = np.asarray(facts.tree["observed_data"]["phenotype"].to_numpy(), dtype=np.float64)
    X = facts.constant("design")
    if X is None:
        return {"figures": [], "words": ["The model has no design: nothing could be checked."]}
    beta = facts.draws("beta").reshape(-1, X.shape[1])
    total = facts.draws("variance").sum(axis=-1).ravel()
    residual = y - X @ beta.mean(axis=0)
    normal = predictive.normal_check(residual / np.sqrt(float(total.mean())))
    observed = float(residual.var(ddof=1))
    low, high = (float(q) for q in np.quantile(total, [0.025, 0.975]))
    return {
        "figures": [check_plots.normal_figure(normal, f"{key}-qq", "residuals")],
        "words": [
            f"The residuals y − Xβ have the sample variance {number(observed, high - low)}; the "
            f"model’s total variance is {number(float(total.mean()), high - low)} (95 % "
            f"equal-tailed interval {span(low, high)}). Without a spectrum relatives cannot be "
            "decorrelated, so that this is a coarse check.",
            words.normal_words(normal, "the residuals"),
        ],
    }


def kernel_section(facts: Facts, key: str, related: Relatedness | None) -> dict[str, Any]:
    """Spectrum and relatedness."""
    figures: list[Markup] = []
    sentences: list[str] = []
    if facts.spectral:
        s = facts.constant("eigenvalue")
        assert s is not None
        figures.append(check_plots.spectrum_figure(s, f"{key}-spectrum"))
        sentences.append(words.spectrum_words(facts))
    if related is not None and related.pairs:
        figures.append(check_plots.relatedness_figure(related, f"{key}-related"))
        sentences.append(
            f"The {related.pairs:,} pairs of {int(related.diagonal_counts.sum()):,} individuals "
            f"have relationships from {plain(float(related.edges[0]))} to "
            f"{plain(float(related.edges[-1]))}; those with themselves go from "
            f"{plain(float(related.diagonal_edges[0]))} to "
            f"{plain(float(related.diagonal_edges[-1]))}."
        )
    return {
        "figures": figures,
        "words": sentences,
        "notes": [clean(note) for note in (related.notes if related is not None else ())],
        "kernels": [words.kernel(facts, component) for component in facts.components[:-1]],
    }


def model_section(facts: Facts) -> dict[str, Any]:
    """Formula, sentence, priors, and the model file's own words if it is still the same file."""
    file = model_file(facts)
    gallery = facts.spectral or (file is not None and file.path.name in _gallery())
    return {
        "name": clean(facts.attrs.get("model", "")),
        "formula": gallery,
        "doc": None if file is None else file.doc,
        "priors": words.priors(facts),
        "components": facts.components[:-1],
        "numbers": {
            quantity: number(facts.number(quantity), facts.number(quantity, "sd"))
            for quantity in ("sigma2_u", "sigma2_e", "h2")
        },
    }


def model_file(facts: Facts) -> ModelFile | None:
    """The model's file, if it can be found and has the checksum that the fit recorded."""
    from bayeslmm import models
    from bayeslmm.errors import BayesLMMError

    recorded = str(facts.attrs.get("model_sha256", ""))
    own = str(facts.attrs.get("model_file", ""))
    for where in (str(facts.attrs.get("model", "")), f"./{Path(own).name}"):
        try:
            found = models.load(where)
            _ = found.doc
        except (BayesLMMError, OSError, SyntaxError, ValueError):
            continue
        if found.sha256 == recorded:
            return found
    return None


def _gallery() -> set[str]:
    from bayeslmm import models

    return {f"{known}.py" for known in models.names()}


def provenance_section(facts: Facts) -> list[tuple[str, str]]:
    """Engine, seed, checksums, versions."""
    attrs = facts.attrs
    versions = attrs.get("versions", {})
    known = {
        "model": f"{attrs.get('model', '')} ({attrs.get('model_file', 'file unknown')})",
        "model file, SHA-256": attrs.get("model_sha256", "–"),
        "engine": f"{attrs.get('engine', '')} ({attrs.get('engine_reason', '')})",
        "seed": attrs.get("seed", "–"),
        "draws": f"{attrs.get('draws', '–')} in {attrs.get('chains', '–')} chains",
        "created": attrs.get("created_at", "–"),
        "versions": ", ".join(
            f"{package} {number}"
            for package, number in {"Python": attrs.get("python", "?"), **versions}.items()
        ),
    }
    return [(key, clean(value)) for key, value in known.items()]
