"""Names from the data, escaped for the page, and lists of them in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from bayeslmm.report.facts import Facts
from bayeslmm.report.svg import clean


def name(value: object) -> Markup:
    """Escape a name from the data and isolate its text direction."""
    return Markup("<bdi>{}</bdi>").format(clean(value))


def listed(parts: Iterable[str | Markup], last: str = " and ") -> Markup:
    """Join parts as a list in a sentence, "a, b and c"; plain text is escaped."""
    found = list(parts)
    if len(found) < 2:
        return Markup("").join(found)
    return Markup(", ").join(found[:-1]) + Markup(last) + found[-1]


def some(names: Sequence[str], most: int = 4) -> Markup:
    """Join names in a sentence: the first `most`, and the number of the others."""
    if len(names) <= most + 1:
        return listed(name(one) for one in names)
    return listed([*(name(one) for one in names[:most]), f"{len(names) - most} more"])


def title(facts: Facts) -> Markup:
    """Return the name of the trait, or of the traits of a multi-trait model."""
    return listed(name(one) for one in facts.traits or [facts.trait])


def sample(facts: Facts) -> str:
    """State the number of individuals and, if it differs, of records."""
    individuals = f"{facts.people:,} individual{'s' if facts.people != 1 else ''}"
    if facts.people == facts.n:
        return individuals
    return f"{facts.n:,} records of {individuals}"
