"""One estimate of h², on the scale of its own relationship matrix and on ours.

With K multiplied by f the same data give σ²_u / f, so that between two scales the odds of h² are
multiplied by one number::

    h²/(1 - h²) here = odds × h²/(1 - h²) there
"""

from __future__ import annotations

from dataclasses import dataclass

Z = 1.959964  # half the width of a 95 % interval in standard errors


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate of h².

    Parameters
    ----------
    source
        "posterior", "REML", "Haseman-Elston", or a program and its file.
    h2, se, lower, upper
        On its own scale: the estimate, its standard error (posterior sd), and an interval (the
        posterior's; otherwise ± 1.96 standard errors); nan where not known.
    scale
        The matrix to which it refers, in words.
    odds
        What its odds are multiplied by to be on the posterior's scale; nan if that is not known.
    note
        What the reader should know.
    """

    source: str
    h2: float
    se: float
    lower: float
    upper: float
    scale: str
    odds: float
    note: str

    def here(self, value: float) -> float:
        """A value on its own scale, put on the posterior's; below 0 and above 1 the slope is kept.

        nan where the scales cannot be compared.
        """
        if self.odds == 1.0:
            return value
        inside = min(max(value, 0.0), 1.0)
        moved = self.odds * inside / (self.odds * inside + 1.0 - inside)
        slope = self.odds if value < 0.0 else 1.0 / self.odds
        return moved + (value - inside) * slope

    @property
    def h2_here(self) -> float:
        """The estimate on the posterior's scale."""
        return self.here(self.h2)

    @property
    def se_here(self) -> float:
        """Its standard error there, by the delta method."""
        inside = min(max(self.h2, 0.0), 1.0)
        return self.se * self.odds / (self.odds * inside + 1.0 - inside) ** 2
