"""Contents of the template: tables, sentences and figures of each trait."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from bayeslmm.report import check_plots, engine_text, kernel_text, model_text, plots, text
from bayeslmm.report.agreement import agreement_section
from bayeslmm.report.chain_plots import chain_figure
from bayeslmm.report.checks import checks_section
from bayeslmm.report.detectable import detectable_section
from bayeslmm.report.estimates import (
    MOST_EFFECTS,
    REALISED,
    VARIANCE,
    effects_section,
    pve_section,
    variance_section,
)
from bayeslmm.report.facts import Facts
from bayeslmm.report.names import name, sample, title
from bayeslmm.report.numbers import number, plain
from bayeslmm.report.parts import others_section, parts_section
from bayeslmm.report.relatedness import Relatedness, relatedness_of
from bayeslmm.report.sensitivity import sensitivity_section
from bayeslmm.report.several import traits_section
from bayeslmm.report.svg import clean

if TYPE_CHECKING:
    import pandas as pd

    from bayeslmm.models.file import ModelFile


def section(
    facts: Facts,
    key: str,
    given: Relatedness | None,
    sensitivity: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Make everything that the template shows for one trait.

    Parameters
    ----------
    facts
        The trait.
    key
        Id of the section, unique in the page, and prefix of the ids in it.
    given
        Relatedness to show; default the one stored in the tree.
    sensitivity
        Rows of this trait of `bayeslmm.checks.sensitivity.prior_sensitivity`; computed by default.
    """
    related = given if given is not None else relatedness_of(facts.tree)
    return {
        "id": key,
        "facts": facts,
        "trait": title(facts),
        "sample": sample(facts),
        "byline": text.byline(facts),
        "headline": text.headline(facts),
        "meaning": text.meaning(facts),
        "evidence": text.evidence(facts),
        "weak": text.weakly_informed(facts),
        "prior_part": "" if facts.traits else text.prior_part(facts),
        "h2_figure": None if facts.traits else plots.h2_figure(facts, f"{key}-h2"),
        "traits": traits_section(facts, key),
        "parts": parts_section(facts, key),
        "others": others_section(facts),
        "model": model_section(facts),
        "ledger": facts.attrs.get("ledger", []),
        "pve": pve_section(facts, key),
        "variance": variance_section(facts, key),
        "effects": effects_section(facts),
        "diagnostics": diagnostics_section(facts, key),
        "checks": checks_section(facts, key),
        "detectable": detectable_section(facts),
        "sensitivity": sensitivity_section(facts, key, sensitivity),
        "agreement": agreement_section(facts, key),
        "kernel": kernel_section(facts, key, related),
        "units": units(facts),
        "provenance": provenance_section(facts),
    }


def units(facts: Facts) -> dict[str, str]:
    """State the units of variances and of effects."""
    if facts.family.observed:
        return {"variance": "In squared units of the trait.",
                "effects": "In units of the trait per unit of the covariate."}  # fmt: skip
    return {
        "variance": f"On the {clean(facts.family.scale)}.",
        "effects": f"Per unit of the covariate, on the {clean(facts.family.scale)}.",
    }


def diagnostics_section(facts: Facts, key: str) -> dict[str, Any]:
    """Make verdict, table and, for Markov chains, plots."""
    rows = [row for label in diagnosed(facts) if (row := diagnosis_row(facts, label)) is not None]
    return {
        "diagnosis": facts.diagnosis,
        "engine": engine_text.engine(facts),
        "energy": engine_text.energy(facts),
        "rounds": engine_text.rounds(facts),
        "bounded": not facts.chains and not facts.exact,
        "rows": rows,
        "figure": chain_figure(facts, f"{key}-chains") if facts.chains else None,
    }


def diagnosed(facts: Facts) -> list[str]:
    """Choose the quantities of the table of diagnostics, in the order of the results."""
    simple = ("h2", *VARIANCE, *REALISED)
    starts = ["h2_", "h2[", "r_", "repeatability", "residual_variance["]
    if len(facts.components) > 2:
        starts.append("sigma2[" if facts.traits else "share[")
    labels = [
        str(label)
        for label in facts.table.index
        if str(label) in simple or str(label).startswith(tuple(starts))
    ]
    return labels + facts.rows("beta[")[:MOST_EFFECTS]


def diagnosis_row(facts: Facts, label: str) -> dict[str, str] | None:
    """Format R-hat, ESS and MCSE of a quantity; None for a constant."""
    found = facts.diagnosis.table if label in facts.diagnosis.table.index else facts.table
    row = found.index.get_loc(label)
    columns = ("r_hat", "ess_bulk", "ess_tail", "mcse")
    cells = [float(found[column].to_numpy()[row]) for column in columns]
    if all(math.isnan(cell) for cell in cells):
        return None  # constant: nothing to diagnose
    r_hat, bulk, tail, mcse = cells
    return {
        "label": clean(label),
        "r_hat": "–" if math.isnan(r_hat) else f"{r_hat:.4f}",
        "ess_bulk": "–" if math.isnan(bulk) else f"{bulk:,.0f}",
        "ess_tail": "–" if math.isnan(tail) else f"{tail:,.0f}",
        "mcse": plain(mcse, 2),
    }


def kernel_section(facts: Facts, key: str, related: Relatedness | None) -> dict[str, Any]:
    """Show the spectrum, if there is one, and the relatedness."""
    figures: list[Markup] = []
    sentences: list[str | Markup] = []
    s = facts.constant("eigenvalue")
    if s is not None and (facts.spectral or len(facts.relationships) == 1):
        figures.append(check_plots.spectrum_figure(s, f"{key}-spectrum"))
        sentences.append(kernel_text.spectrum_sentence(facts))
    if related is not None and related.pairs:
        figures.append(check_plots.relatedness_figure(related, f"{key}-related"))
        of = Markup(" of the kernel {}").format(name(related.name))
        sentences.append(
            Markup(
                "The {:,} pairs of {:,} individuals have relationships{} from {} to {}; the "
                "diagonal ranges from {} to {}."
            ).format(
                related.pairs,
                int(related.diagonal_counts.sum()),
                of if len(facts.relationships) > 1 else "",
                plain(float(related.edges[0])),
                plain(float(related.edges[-1])),
                plain(float(related.diagonal_edges[0])),
                plain(float(related.diagonal_edges[-1])),
            )
        )
    return {
        "figures": figures,
        "sentences": sentences,
        "notes": [clean(note) for note in (related.notes if related is not None else ())],
        "kernels": kernel_text.kernels(facts),
        "table": kernel_text.kernel_table(facts),
    }


def model_section(facts: Facts) -> dict[str, Any]:
    """Make formula, sentence, priors, and the model file's docstring if the file is unchanged."""
    file = model_file(facts)
    own = file is not None and file.path.name in _gallery()
    model = file.name if file is not None and own else ""
    known = own or facts.spectral
    quantities = ("sigma2_u", "sigma2_e", "h2") if len(facts.components) == 2 else ()
    return {
        "name": clean(facts.attrs.get("model", "")),
        "formula": model_text.formula(facts, model) if known else [],
        "sentence": model_text.sentence(facts, model) if known else "",
        "doc": None if file is None else file.doc,
        "priors": model_text.priors(facts),
        "numbers": {
            quantity: number(facts.number(quantity), facts.number(quantity, "sd"))
            for quantity in quantities
        },
    }


def model_file(facts: Facts) -> ModelFile | None:
    """Find the model's file; None unless it has the checksum recorded with the fit."""
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
    """List engine, seed, checksums and versions."""
    attrs = facts.attrs
    versions = attrs.get("versions", {})
    known = {
        "model": f"{attrs.get('model', '')} ({attrs.get('model_file', 'file unknown')})",
        "model file, SHA-256": attrs.get("model_sha256", "–"),
        "phenotype": f"{facts.family.name}, h² on the {facts.family.scale}",
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
