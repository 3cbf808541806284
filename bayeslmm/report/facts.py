"""What the report knows about one trait: its tree read once, into plain values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from bayeslmm.diagnostics import Diagnosis

type Floats = NDArray[np.float64]

NESTED = ("versions", "priors", "ledger", "relationships")


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """One trait of a fit.

    Parameters
    ----------
    trait
        Its name, as it stands in the data (not yet fit to be shown).
    tree
        Its tree.
    table
        Its rows of `bayeslmm.summary.heritability`, by quantity.
    diagnosis
        `bayeslmm.diagnostics.diagnose`.
    attrs
        Attributes of the tree, JSON decoded.
    prior_share
        Posterior over prior variance of h²; nan if the fit has no prior draws.
    """

    trait: str
    tree: xr.DataTree
    table: pd.DataFrame
    diagnosis: Diagnosis
    attrs: dict[str, Any]
    prior_share: float

    def number(self, quantity: str, column: str = "mean") -> float:
        """A cell of the table; nan if there is no such row."""
        if quantity not in self.table.index:
            return float("nan")
        return float(self.table[column].to_numpy()[self.table.index.get_loc(quantity)])

    def rows(self, prefix: str) -> list[str]:
        """Quantities of the table that start so, in its order."""
        return [str(name) for name in self.table.index if str(name).startswith(prefix)]

    @property
    def n(self) -> int:
        """Number of individuals analysed."""
        return int(self.tree["observed_data"].sizes["individual"])

    @property
    def prob(self) -> float:
        """Probability of the intervals."""
        return self.number("h2", "prob")

    @property
    def interval(self) -> str:
        """Level and kind of the interval of h², "95 % HDI"."""
        return self.interval_of("h2")

    def interval_of(self, quantity: str) -> str:
        """Level and kind of the interval of a quantity, "95 % HDI"."""
        kind = str(self.table.loc[quantity, "interval"]).upper()
        return f"{100 * self.number(quantity, 'prob'):g}\N{NO-BREAK SPACE}% {kind}"

    @property
    def exact(self) -> bool:
        """Whether the draws are independent, from the exact engine."""
        return str(self.attrs.get("engine")) == "exact"

    @property
    def components(self) -> list[str]:
        """Names of the variance components, the residual last."""
        return [str(name) for name in self.tree["posterior"]["component"].to_numpy()]

    @property
    def covariates(self) -> list[str]:
        """Names of the fixed effects, the intercept first."""
        return [str(name) for name in self.tree["posterior"]["covariate"].to_numpy()]

    def draws(self, name: str) -> Floats:
        """Posterior draws (chain, draw, ...)."""
        variable = self.tree["posterior"].to_dataset()[name].transpose("chain", "draw", ...)
        return np.asarray(variable.to_numpy(), dtype=np.float64)

    def prior(self, name: str) -> Floats | None:
        """Prior draws (draws,) of a scalar, if there are any."""
        if "prior" not in self.tree.children or name not in self.tree["prior"]:
            return None
        return np.asarray(self.tree["prior"][name].to_numpy(), dtype=np.float64).ravel()

    def constant(self, name: str) -> Floats | None:
        """A constant of the model, if there is such a one."""
        if name not in self.tree["constant_data"]:
            return None
        return np.asarray(self.tree["constant_data"][name].to_numpy(), dtype=np.float64)

    @property
    def spectral(self) -> bool:
        """Whether the fit holds eigenvalues and contrasts (one kernel, two variances)."""
        known = self.tree["constant_data"]
        return "eigenvalue" in known and "contrasts" in known and len(self.components) == 2


def read_facts(tree: xr.DataTree, summary: pd.DataFrame) -> list[Facts]:
    """Facts of every trait of a fit, in the order of the tree.

    Parameters
    ----------
    tree
        A fit of one trait or of several.
    summary
        Its `bayeslmm.summary.heritability`.
    """
    from bayeslmm.diagnostics import diagnose
    from bayeslmm.summary import prior_contribution, trait_trees

    out = []
    for trait, one in trait_trees(tree).items():
        attrs: dict[str, Any] = {**{str(key): value for key, value in tree.attrs.items()}}
        attrs |= {str(key): value for key, value in one.attrs.items()}
        for key in NESTED:
            if isinstance(attrs.get(key), str):
                attrs[key] = json.loads(attrs[key])
        table = summary[summary["trait"].astype(str) == trait].set_index("quantity")
        name = str(attrs.get("trait", trait))
        out.append(Facts(name, one, table, diagnose(one), attrs, prior_contribution(one)))
    return out
