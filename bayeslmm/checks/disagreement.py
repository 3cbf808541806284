"""Warnings about estimates of h² that differ by more than their uncertainties explain."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bayeslmm.estimates.estimate import Estimate

LARGE_DIFFERENCE = 3.0  # in standard errors of the difference; a larger one is reported


def disagreements(found: Sequence[Estimate]) -> list[str]:
    """Return a sentence for each difference from our REML estimate of an h² beyond its uncertainty.

    - Haseman-Elston has the same expectation as REML and is less efficient, so that the difference
      has variance ``var(HE) - var(REML)`` (Hausman).
    - Another program's REML of the same data gives the same number. A difference of a standard
      error shows that data, matrix or scale differ.
    - The posterior interval holds the REML estimate unless the prior is strong.

    References
    ----------
    Hausman (1978) Econometrica 46:1251.
    """
    out: list[str] = []
    for quantity in dict.fromkeys(one.quantity for one in found):
        if quantity.startswith("h2"):
            trait = "" if quantity == "h2" else f"{quantity}: "
            mine = [one for one in found if one.quantity == quantity]
            out += [f"{trait}{message}" for message in _about_one(mine)]
    return out


def _about_one(found: Sequence[Estimate]) -> list[str]:
    """Return the sentences about the estimates of one h²."""
    by_name = {one.source: one for one in found}
    posterior, reml = by_name.get("posterior"), by_name.get("REML")
    out: list[str] = []
    if posterior is None or reml is None or not math.isfinite(reml.se):
        return out
    if not posterior.lower - 0.5 * reml.se <= reml.value <= posterior.upper + 0.5 * reml.se:
        out.append(
            f"REML ({reml.value:.3g}) lies outside the posterior's interval "
            f"({posterior.lower:.3g} to {posterior.upper:.3g}): the prior decides, look at it"
        )
    for one in found:
        if one in (posterior, reml) or not math.isfinite(one.value_here):
            continue
        difference = abs(one.value_here - reml.value)
        if one.source == "Haseman-Elston":
            se = math.sqrt(max(one.se**2 - reml.se**2, 0.25 * one.se**2))
            if difference > LARGE_DIFFERENCE * se > 0.0:
                out.append(
                    f"Haseman-Elston ({one.value:.3g}) and REML ({reml.value:.3g}) differ by "
                    f"{difference / se:.1f} standard errors of their difference: likeness does not "
                    "grow with the relationship as the model says"
                )
        elif difference > max(reml.se, 1e-3):
            out.append(
                f"{one.source} gives {one.value_here:.3g} on our scale, our REML {reml.value:.3g}: "
                "more than a standard error apart, so not the same individuals, covariates or "
                "matrix"
            )
    return out
