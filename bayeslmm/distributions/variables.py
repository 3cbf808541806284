"""Variables of a model's graph: the operation behind each, and the parameters of its distribution.

No other module looks into ``variable.owner``, so that a change of PyTensor's graphs ends here.
"""

from __future__ import annotations

from typing import Any

IMPROPER = ("FlatRV", "HalfFlatRV")  # priors that do not integrate to one


def operation(variable: Any) -> Any:
    """Return the operation that gives a variable of the graph; None for an input."""
    return None if variable.owner is None else variable.owner.op


def inputs_of(variable: Any) -> list[Any]:
    """Return the inputs of the operation behind a variable, as PyMC's transforms want them."""
    return [] if variable.owner is None else list(variable.owner.inputs)


def kind(rv: Any) -> str:
    """Return the class of a random variable's distribution: "NormalRV"."""
    return type(operation(rv)).__name__


def parameters(rv: Any) -> list[Any]:
    """Return the parameters of a random variable's distribution, as variables of the graph."""
    return list(operation(rv).dist_params(rv.owner))
