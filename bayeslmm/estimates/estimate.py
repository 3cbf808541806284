"""One estimate of h² or of a genetic correlation, on its own scale and on the posterior's scale.

The scale is set by the relationship matrix. With K multiplied by f the same data give σ²_u / f. So
a change of scale multiplies the odds of h² by one number::

    h²/(1 - h²) here = odds × h²/(1 - h²) there
"""

from __future__ import annotations

from dataclasses import dataclass

Z = 1.959964  # half the width of a 95 % interval in standard errors


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate of one quantity.

    Parameters
    ----------
    quantity
        "h2"; with several traits "h2[TRAIT]" or "r_g[TRAIT,TRAIT]".
    source
        "posterior", "REML", "Haseman-Elston", or a program and its file.
    value, se, lower, upper
        The estimate, its standard error and an interval, on its own scale; nan where not known.
        For the posterior these are mean, sd and interval, otherwise the interval is ± 1.96
        standard errors.
    note
        Data used, problems of the estimate, or another remark for the reader.
    scale
        The relationship matrix it refers to, in words.
    odds
        Factor that turns its odds into odds on the posterior's scale; nan if not known.
    """

    quantity: str
    source: str
    value: float
    se: float
    lower: float
    upper: float
    note: str
    scale: str = ""
    odds: float = 1.0

    @classmethod
    def symmetric(
        cls,
        quantity: str,
        source: str,
        value: float,
        se: float,
        note: str,
        scale: str = "",
        odds: float = 1.0,
    ) -> Estimate:
        """Make an estimate with the interval ± 1.96 standard errors."""
        ends = (value - Z * se, value + Z * se)
        return cls(quantity, source, value, se, *ends, note, scale, odds)

    def here(self, value: float) -> float:
        """Put a value on the posterior's scale, with the slope at the ends below 0 and above 1.

        The result is nan where the scales cannot be compared.
        """
        if self.odds == 1.0:
            return value
        inside = min(max(value, 0.0), 1.0)
        moved = self.odds * inside / (self.odds * inside + 1.0 - inside)
        slope = self.odds if value < 0.0 else 1.0 / self.odds
        return moved + (value - inside) * slope

    @property
    def value_here(self) -> float:
        """The estimate on the posterior's scale."""
        return self.here(self.value)

    @property
    def se_here(self) -> float:
        """The standard error on the posterior's scale, by the delta method."""
        inside = min(max(self.value, 0.0), 1.0)
        return self.se * self.odds / (self.odds * inside + 1.0 - inside) ** 2
