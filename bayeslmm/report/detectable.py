"""The box "What could this study have found?", from the spectrum alone, not the phenotype."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from markupsafe import Markup

from bayeslmm.estimates.boundary import SPREAD
from bayeslmm.report.facts import Facts
from bayeslmm.report.numbers import number, percent
from bayeslmm.study.detectable import ExpectedInterval, expected_intervals

VAGUE = 0.8  # width of an interval beyond which excluding 0 is not informative
POWER = 0.8  # usual target of power calculations


@lru_cache(maxsize=8)
def _kept(eigenvalues: bytes, prob: float) -> tuple[ExpectedInterval, ...]:
    """Cache the result, which traits of the same individuals share."""
    return tuple(expected_intervals(np.frombuffer(eigenvalues), prob=prob))


def detectable_section(facts: Facts) -> dict[str, Any] | None:
    """Make rows and a sentence; None without the spectrum of one kernel and one trait."""
    s = facts.constant("eigenvalue")
    if s is None or not facts.spectral or facts.traits or float(np.var(s)) < SPREAD:
        return None
    found = _kept(np.ascontiguousarray(s).tobytes(), facts.prob)
    return {
        "interval": facts.interval,
        "rows": [
            {
                "h2": f"{one.h2:g}",
                "se": number(one.se, one.se),
                "width": f"{one.width:.2f}" if one.width >= 0.1 else number(one.width, one.width),
                "excludes": "–" if one.width > VAGUE else percent(one.excludes_0),
            }
            for one in found
        ],
        "sentence": sentence(found, facts.n),
    }


def sentence(found: tuple[ExpectedInterval, ...], n: int) -> Markup:
    """State the smallest true h² that such a study would distinguish from 0."""
    if min(one.width for one in found) > VAGUE:
        return Markup(
            "<strong>Next to nothing:</strong> whatever the true h², the interval would cover "
            "almost all of 0 to 1. A wide interval is due to these {:,} records and this kernel, "
            "and is not a result about the trait."
        ).format(n)
    enough = [one for one in found if one.excludes_0 >= POWER and one.width <= VAGUE]
    if not enough:
        last = found[-1]
        return Markup(
            "<strong>Too little to distinguish h² from 0:</strong> even at a true h² of {:g} the "
            "interval would exclude 0 in only {} of studies like this one. An interval that "
            "reaches 0 is no evidence that the trait is not heritable."
        ).format(last.h2, percent(last.excludes_0))
    first = enough[0]
    return Markup(
        "At a true h² of {:g} the interval would exclude 0 in {} of studies like this one, and be "
        "about {} wide."
    ).format(first.h2, percent(first.excludes_0), number(first.width, first.width))
