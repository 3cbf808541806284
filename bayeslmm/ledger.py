"""The ledger: what was dropped at each step, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

type Unit = Literal["individuals", "records", "variants", "covariates"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a `Ledger`.

    Parameters
    ----------
    unit
        What is counted: individuals, records of individuals, variants or covariates.
    reason
        Why they were dropped, in words.
    dropped, remaining
        Number dropped by the step, and number remaining after it.
    examples
        Names of the first few dropped.
    """

    unit: Unit
    reason: str
    dropped: int
    remaining: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ledger:
    """An immutable list of `Step`, part of every output.

    Examples
    --------
    >>> ledger = Ledger().add("individuals", "phenotype missing", ["F1 I1"], remaining=9)
    >>> print(ledger)
    individuals: 1 dropped, 9 remain: phenotype missing (F1 I1)
    """

    steps: tuple[Step, ...] = ()

    def add(self, unit: Unit, reason: str, names: Iterable[object], *, remaining: int) -> Self:
        """Append a step that dropped the named ones, even if there are none."""
        dropped = [str(name) for name in names]
        step = Step(unit, reason, len(dropped), remaining, tuple(dropped[:5]))
        return type(self)((*self.steps, step))

    def count(self, unit: Unit, reason: str, dropped: int, *, remaining: int) -> Self:
        """Append a step with a number but no names."""
        return type(self)((*self.steps, Step(unit, reason, dropped, remaining)))

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(self.steps + other.steps)

    def records(self) -> list[dict[str, object]]:
        """Return plain dictionaries, for JSON and templates."""
        return [
            {
                "unit": step.unit,
                "reason": step.reason,
                "dropped": step.dropped,
                "remaining": step.remaining,
                "examples": list(step.examples),
            }
            for step in self.steps
        ]

    def __str__(self) -> str:
        lines = []
        for step in self.steps:
            names = ", ".join(step.examples) + (", ..." if step.dropped > 5 else "")
            shown = f" ({names})" if step.examples else ""
            lines.append(
                f"{step.unit}: {step.dropped} dropped, {step.remaining} remain: "
                f"{step.reason}{shown}"
            )
        return "\n".join(lines)
