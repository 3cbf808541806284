"""Facts of one trait for the report, read once from its tree."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.inference.diagnostics import Diagnosis, diagnose, importance_ess
from bayeslmm.models.family import Family, recorded_family
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


NESTED = ("versions", "priors", "ledger", "relationships")


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """One trait of a fit.

    Parameters
    ----------
    trait
        Its name in the data, not escaped.
    tree
        Its tree.
    table
        Its rows of `bayeslmm.posterior.summary.heritability`, by quantity.
    diagnosis
        Result of `bayeslmm.inference.diagnostics.diagnose`.
    attrs
        Attributes of the tree, JSON decoded.
    prior_share
        Posterior variance of h² divided by its prior variance; nan without prior draws, or with
        several traits.
    genetic
        Components that h² includes (`genetic_components`).
    """

    trait: str
    tree: xr.DataTree
    table: pd.DataFrame
    diagnosis: Diagnosis
    attrs: dict[str, Any]
    prior_share: float
    genetic: list[str]

    def number(self, quantity: str, column: str = "mean") -> float:
        """Return a cell of the table; nan without such a row."""
        if quantity not in self.table.index:
            return float("nan")
        return float(self.table[column].to_numpy()[self.table.index.get_loc(quantity)])

    def rows(self, prefix: str) -> list[str]:
        """Return the quantities of the table that start with `prefix`, in its order."""
        return [str(name) for name in self.table.index if str(name).startswith(prefix)]

    @property
    def n(self) -> int:
        """Number of records analysed, which is the number of individuals if each has one."""
        return int(self.tree["observed_data"].sizes["individual"])

    @property
    def people(self) -> int:
        """Number of individuals analysed, smaller than `n` if they have several records."""
        for one in self.relationships.values():
            return min(int(one.get("n_individuals", self.n)), self.n)
        return self.n

    @property
    def relationships(self) -> dict[str, dict[str, Any]]:
        """Recorded facts of each relationship, by its name in the model."""
        return dict(self.attrs.get("relationships") or {})

    @property
    def traits(self) -> list[str]:
        """Names of the traits of a multi-trait model; empty for one trait."""
        posterior = self.tree["posterior"]
        if "trait" not in posterior["h2"].dims:
            return []
        return [str(name) for name in posterior["trait"].to_numpy()]

    @property
    def h2_rows(self) -> dict[str, str]:
        """Quantity of each trait's h²: ``{trait: "h2"}``, or ``"h2[A]"`` for several traits."""
        return {name: f"h2[{name}]" for name in self.traits} or {self.trait: "h2"}

    @property
    def prob(self) -> float:
        """Probability of the intervals."""
        return self.number(next(iter(self.h2_rows.values())), "prob")

    @property
    def interval(self) -> str:
        """Level and kind of the interval of h², "95 % HDI"."""
        return self.interval_of(next(iter(self.h2_rows.values())))

    def interval_of(self, quantity: str) -> str:
        """Level and kind of the interval of a quantity, "95 % HDI"."""
        kind = str(self.table.loc[quantity, "interval"]).upper()
        return f"{100 * self.number(quantity, 'prob'):g}\N{NO-BREAK SPACE}% {kind}"

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return str(self.attrs.get("engine", ""))

    @property
    def exact(self) -> bool:
        """Whether the draws are independent, from the exact engine."""
        return "quadrature" in self.tree.children

    @property
    def chains(self) -> bool:
        """Whether the draws are Markov chains (also if the Laplace engine fell back to NUTS)."""
        return not self.exact and not math.isfinite(importance_ess(self.tree))

    @property
    def statistics(self) -> dict[str, Any]:
        """Attributes of the sample statistics: k̂, log evidence and so on."""
        found = self.tree["sample_stats"].attrs if "sample_stats" in self.tree.children else {}
        return {str(key): value for key, value in found.items()}

    @property
    def components(self) -> list[str]:
        """Names of the variance components, the residual last."""
        return [str(name) for name in self.tree["posterior"]["component"].to_numpy()]

    @property
    def signed(self) -> list[str]:
        """Components that are covariances, with some negative draws."""
        lowest = self.draws("variance").min(axis=(0, 1))
        return [name for name, low in zip(self.components, lowest, strict=True) if low < 0]

    @property
    def covariates(self) -> list[str]:
        """Names of the fixed effects, the intercept first."""
        return [str(name) for name in self.tree["posterior"]["covariate"].to_numpy()]

    def draws(self, name: str) -> Floats:
        """Return the posterior draws (chain, draw, ...)."""
        variable = self.tree["posterior"].to_dataset()[name].transpose("chain", "draw", ...)
        return np.asarray(variable.to_numpy(), dtype=np.float64)

    def prior(self, name: str) -> Floats | None:
        """Return the prior draws (draws,) of a scalar, or None."""
        if "prior" not in self.tree.children or name not in self.tree["prior"]:
            return None
        return np.asarray(self.tree["prior"][name].to_numpy(), dtype=np.float64).ravel()

    def constant(self, name: str) -> Floats | None:
        """Return a constant of the model, or None."""
        if name not in self.tree["constant_data"]:
            return None
        return np.asarray(self.tree["constant_data"][name].to_numpy(), dtype=np.float64)

    @property
    def family(self) -> Family:
        """Distribution of the phenotype, and the scale of h²."""
        return recorded_family(self.attrs)

    @property
    def spectral(self) -> bool:
        """Whether the fit holds Gaussian error contrasts (one kernel, two variances)."""
        known = self.tree["constant_data"]
        if not self.family.gaussian:
            return False
        return "eigenvalue" in known and "contrasts" in known and len(self.components) == 2

    @property
    def repeated(self) -> bool:
        """Whether individuals have several records of one trait."""
        return self.people < self.n and not self.traits


def read_facts(
    tree: xr.DataTree, summary: pd.DataFrame, diagnoses: Mapping[str, Diagnosis] | None = None
) -> list[Facts]:
    """Read the facts of every trait of a fit, in the order of the tree.

    Parameters
    ----------
    tree
        A fit of one trait or of several.
    summary
        Result of `bayeslmm.posterior.summary.heritability`.
    diagnoses
        Results of `bayeslmm.inference.diagnostics.diagnose` by trait; computed by default.
    """
    from bayeslmm.posterior.summary import prior_contribution, trait_trees

    out = []
    for trait, one in trait_trees(tree).items():
        attrs: dict[str, Any] = {**{str(key): value for key, value in tree.attrs.items()}}
        attrs |= {str(key): value for key, value in one.attrs.items()}
        for key in NESTED:
            if isinstance(attrs.get(key), str):
                attrs[key] = json.loads(attrs[key])
        table = summary[summary["trait"].astype(str) == trait].set_index("quantity")
        name = str(attrs.get("trait", trait))
        several = "trait" in one["posterior"]["h2"].dims
        share = float("nan") if several else prior_contribution(one)
        health = (diagnoses or {}).get(trait) or diagnose(one)
        out.append(Facts(name, one, table, health, attrs, share, genetic_components(one)))
    return out


def genetic_components(tree: xr.DataTree, most: int = 500) -> list[str]:
    """Find the components of h², the shares that sum to it in every draw, of one trait.

    Only the model file defines h², so the components are recovered from `most` draws by least
    squares. The result is empty for several traits, and if h² is not a sum of shares.
    """
    posterior = tree["posterior"].to_dataset()
    if "trait" in posterior["h2"].dims:
        return []
    names = [str(name) for name in posterior["component"].to_numpy()]
    variance = posterior["variance"].transpose("chain", "draw", "component").to_numpy()
    h2 = posterior["h2"].transpose("chain", "draw").to_numpy().ravel()
    picked = np.unique(np.linspace(0, h2.size - 1, most).astype(int))
    variance, h2 = variance.reshape(-1, len(names))[picked], h2[picked]
    share = variance / variance.sum(axis=1, keepdims=True)
    size = np.maximum(np.abs(share).max(axis=0), 1e-12)
    weight = np.linalg.lstsq(share / size, h2, rcond=None)[0] / size
    counted = np.append(weight[:-1] > 0.5, False)
    if not np.allclose(share[:, counted].sum(axis=1), h2, atol=1e-6):
        return []
    return [name for name, yes in zip(names, counted, strict=True) if yes]
