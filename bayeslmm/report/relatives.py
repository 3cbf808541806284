"""The checks of relatives in the report: storage with a fit, and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from markupsafe import Markup
from numpy.typing import NDArray

from bayeslmm.checks.families import FamilyCheck
from bayeslmm.checks.pair_likeness import PairCheck
from bayeslmm.checks.pairs import Pairs
from bayeslmm.checks.records import RecordCheck
from bayeslmm.checks.relatives import RelativeChecks, check_relatives
from bayeslmm.errors import InputError
from bayeslmm.report.names import listed, name
from bayeslmm.report.numbers import number, p_value, plain, span

if TYPE_CHECKING:
    import pandas as pd
    import pymc as pm

    from bayeslmm.relationship.relationship import Relationship

GROUP = "relatives"
REPORTED = 0.01  # p-value below which a check reports a misfit
WARNED = 0.001  # p-value below which the terminal shows a warning
MOST = 5  # largest number of records, families or bins named


def add_relative_checks(
    tree: xr.DataTree,
    relationship: Relationship | None = None,
    *,
    model: pm.Model | None = None,
    levels: NDArray[np.intp] | None = None,
    people: pd.MultiIndex | None = None,
    seed: int = 1,
) -> RelativeChecks | None:
    """Check a fit of one trait on its relatives and store the result in its group ``relatives``.

    Arguments as for `bayeslmm.checks.relatives.check_relatives`. For a model that these checks do
    not support (a latent g, several traits) nothing is stored, and None is returned.
    """
    try:
        found = check_relatives(
            tree, relationship, model=model, levels=levels, people=people, seed=seed
        )
    except InputError:
        return None
    tree[GROUP] = xr.DataTree(as_dataset(found))
    return found


def alarms(found: RelativeChecks) -> list[str]:
    """Return a sentence for each severe misfit, for the terminal."""
    out = []
    pairs, families, records = found.pairs, found.families, found.records
    if pairs is not None and pairs.p_value() * (1 + len(pairs.replicated)) < 1.5:
        worst = int(np.argmax(np.abs(pairs.z())))
        word = "more" if pairs.z()[worst] > 0 else "less"
        out.append(
            f"{bin_name(pairs.pairs, worst)} are {word} alike than the model says "
            f"({pairs.observed[worst]:.2g}, expected {pairs.band()[1, worst]:.2g})"
        )
    if families.p_worst() < WARNED:
        i = int(np.argmax(np.abs(families.z)))
        out.append(
            f"family {families.names[i]} lies {abs(families.z[i]):.1f} standard deviations from "
            "its prediction by all other families"
        )
    if records.p_worst() < WARNED:
        i = int(np.argmax(np.abs(records.z)))
        out.append(
            f"record {records.labels[i]} lies {abs(records.z[i]):.1f} standard deviations from "
            "its prediction by all other records: an error of measurement or entry?"
        )
    return out


def as_dataset(found: RelativeChecks) -> xr.Dataset:
    """Convert the checks to a dataset; the inverse of `relative_checks_of`."""
    families, records = found.families, found.records
    values: dict[str, Any] = {
        "family_name": ("family", np.array(families.names, dtype=object)),
        "family_size": ("family", families.size),
        "family_z": ("family", families.z),
        "record_name": ("record", np.array(records.labels, dtype=object)),
        "record_z": ("record", records.z),
        "whitened": ("contrast", found.whitened),
    }
    attrs: dict[str, Any] = {"families": families.basis}
    if (check := found.pairs) is not None:
        values |= {
            "edge": ("edge", check.pairs.edges),
            "relationship": ("bin", check.pairs.relationship),
            "pairs": ("bin", check.pairs.count),
            "observed": ("bin", check.observed),
            "replicated": (("replicate", "bin"), check.replicated),
        }
        attrs["same"] = int(check.pairs.same)
    kept = {key: value for key, value in values.items() if np.asarray(value[1]).size}
    return xr.Dataset(kept, attrs=attrs)


def relative_checks_of(tree: xr.DataTree) -> RelativeChecks | None:
    """Return the checks stored by `add_relative_checks` with a fit of one trait, or None."""
    if GROUP not in tree.children:
        return None
    data = tree[GROUP].to_dataset()

    def floats(key: str) -> NDArray[np.float64]:
        return np.asarray(data[key].to_numpy() if key in data else [], dtype=np.float64)

    def texts(key: str) -> tuple[str, ...]:
        return tuple(str(x) for x in data[key].to_numpy()) if key in data else ()

    pairs = None
    if "observed" in data:
        count = data["pairs"].to_numpy().astype(np.int64)
        same = bool(data.attrs["same"])
        bins = Pairs(floats("edge"), floats("relationship"), count, same)
        pairs = PairCheck(bins, floats("observed"), floats("replicated"))
    families = FamilyCheck(
        texts("family_name"),
        floats("family_size").astype(np.int64),
        floats("family_z"),
        str(data.attrs["families"]),
    )
    records = RecordCheck(texts("record_name"), floats("record_z"))
    return RelativeChecks(pairs, families, records, floats("whitened"))


def pair_sentences(check: PairCheck) -> Markup:
    """Describe the check of the likeness of pairs."""
    p = check.p_value()
    start = Markup(
        "Pairs of relatives: the mean product of two residuals over their variance measures how "
        "alike such pairs are, and the model predicts how it grows with the relationship. "
        "Posterior predictive p {} for all bins together: "
    ).format(p_value(p))
    low, _, high = check.band()
    distance = check.z()
    out = [int(b) for b in np.argsort(-np.abs(distance)) if abs(distance[b]) > 1.0][:MOST]
    if p > REPORTED or not out:
        return start + "relatives are as alike as the model says."
    misfits = [
        Markup("{} are {} alike than it says ({}, 95\N{NO-BREAK SPACE}% band {})").format(
            bin_name(check.pairs, b),
            "more" if distance[b] > 0 else "less",
            number(float(check.observed[b]), float(high[b] - low[b])),
            span(float(low[b]), float(high[b])),
        )
        for b in out[:3]
    ]
    return start + Markup(
        "<strong>relatives are not as alike as the model says</strong>: {}. Possible causes are a "
        "shared environment (household, litter, batch), dominance, or a wrong relationship matrix."
    ).format(listed(misfits, "; "))


def bin_name(pairs: Pairs, b: int) -> str:
    """Describe a bin: "pairs related by 0.25 (1,800)"."""
    if pairs.same and b == len(pairs.count) - 1:
        return f"two records of the same individual ({pairs.count[b]:,} pairs)"
    related = plain(float(pairs.relationship[b]), 2)
    return f"pairs related by {related} ({pairs.count[b]:,})"


def family_sentences(check: FamilyCheck) -> Markup:
    """Describe the check of families."""
    count = len(check.z)
    if not count:
        why = check.basis if check.basis.startswith(("no", "there")) else "none has two records"
        return Markup("Families were not checked: {}.").format(why)
    inside = count - check.outside()
    out = Markup(
        "Families, by {}: the mean of {:,} of {:,} lies in its 95\N{NO-BREAK SPACE}% predictive "
        "interval given all other families; {:,} to {:,} are expected (binomial p {})."
    ).format(check.basis, inside, count, *check.expected_inside(), p_value(check.p_value()))
    worst = check.outliers()
    if worst:
        outliers = [
            Markup("{} ({:,} records, {} standard deviations {})").format(
                name(check.names[i]),
                int(check.size[i]),
                f"{abs(check.z[i]):.1f}",
                "above" if check.z[i] > 0 else "below",
            )
            for i in worst[:MOST]
        ]
        out += Markup(" <strong>Far from the prediction</strong>: {}{}.").format(
            listed(outliers), and_more(len(worst))
        )
    return out


def and_more(count: int) -> str:
    """State how many there are beyond the first `MOST`."""
    return "" if count <= MOST else f", and {count - MOST} more"


def record_sentences(check: RecordCheck) -> Markup:
    """Describe the check of single records."""
    found = check.outliers()
    out = Markup(
        "Every record against its prediction by all others (leave-one-out): {:,} of {:,} beyond "
        "the 0.001 or 0.999 quantile, {} expected (p {}); probability of a record as extreme as "
        "the most extreme {}."
    ).format(
        len(found), len(check.z), plain(check.expected, 2), p_value(check.p_outliers()),
        p_value(check.p_worst()),
    )  # fmt: skip
    if found:
        named = [Markup("{} ({})").format(name(check.labels[i]), number(check.z[i], 2.0))
                 for i in found[:MOST]]  # fmt: skip
        out += Markup(" Most extreme, in standard deviations: {}{}.").format(
            listed(named), and_more(len(found))
        )
    if check.p_worst() < REPORTED:
        out += Markup(" <strong>Look at the first of them: an error of measurement or of entry "
                      "is likely.</strong>")  # fmt: skip
    p = check.p_kurtosis()
    if p < REPORTED and check.kurtosis() > 0.0 and (len(found) > 1 or check.p_worst() >= REPORTED):
        out += Markup(
            " <strong>The tails are heavier than the normal’s</strong> (excess kurtosis {}, p {}): "
            "consider a transform, and look at outliers."
        ).format(number(check.kurtosis(), 2.0), p_value(p))
    return out
