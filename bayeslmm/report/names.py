"""Names from the data as they are shown, and lists of them in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from bayeslmm.report.facts import Facts
from bayeslmm.report.svg import clean


def name(value: object) -> Markup:
    """A name from the data, escaped and kept apart from the direction of the text around it."""
    return Markup("<bdi>{}</bdi>").format(clean(value))


def listed(parts: Iterable[str | Markup], last: str = " and ") -> Markup:
    """Parts as a list in a sentence, "a, b and c"; what is no Markup is escaped."""
    found = list(parts)
    if len(found) < 2:
        return Markup("").join(found)
    return Markup(", ").join(found[:-1]) + Markup(last) + found[-1]


def some(names: Sequence[str], most: int = 4) -> Markup:
    """Names in a sentence; of more than `most` the first ones and how many more there are."""
    if len(names) <= most + 1:
        return listed(name(one) for one in names)
    return listed([*(name(one) for one in names[:most]), f"{len(names) - most} more"])


def title(facts: Facts) -> Markup:
    """The trait, or the traits of a model of several."""
    return listed(name(one) for one in facts.traits or [facts.trait])


def sample(facts: Facts) -> str:
    """Individuals and, where that is another number, records."""
    individuals = f"{facts.people:,} individual{'s' if facts.people != 1 else ''}"
    if facts.people == facts.n:
        return individuals
    return f"{facts.n:,} records of {individuals}"
