"""Model comparison: leave-one-out and marginal likelihood of models of the same records.

Two questions, which need not have the same answer. Leave-one-out: which model predicts a record
best from all the others, its relatives included? Marginal likelihood: which model, with its priors,
made these data most probable? The first hardly depends on the priors, and a superfluous component
costs it next to nothing; the second punishes parameters that the data did not ask for, by an amount
that depends on their priors.

References
----------
Vehtari, Gelman & Gabry (2017) Stat Comput 27:1413; Yao et al. (2018) Bayesian Anal 13:917
(stacking); Kass & Raftery (1995) J Am Stat Assoc 90:773.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayeslmm.comparison.evidence import (
    Evidence,
    check_comparable,
    estimate_evidence,
    has_flat_effects,
)
from bayeslmm.comparison.loo.elpd import loo
from bayeslmm.errors import BayesLMMWarning, InputError, ModelError
from bayeslmm.inference.fitted import model_of
from bayeslmm.numerics.threads import one_thread

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr

    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.comparison.loo.result import LeaveOneOut


COLUMNS = (
    "model", "elpd", "se", "elpd_diff", "diff_se", "weight", "log_ml", "pareto_k_max",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Models of the same records, compared.

    Parameters
    ----------
    table
        What `compare` returns.
    left_out
        Leave-one-out of every model, in the order of the table.
    evidence
        Marginal likelihood of every model that has one; empty where they do not compare.
    notes
        Why they do not, and what else limits the comparison.
    """

    table: pd.DataFrame
    left_out: dict[str, LeaveOneOut]
    evidence: dict[str, Evidence]
    notes: tuple[str, ...]

    @property
    def probabilities(self) -> dict[str, float]:
        """Posterior probabilities of the models, all equally probable before; empty if unknown."""
        names = list(self.evidence)
        if len(names) < len(self.table):
            return {}
        logs = np.array([self.evidence[name].log_ml for name in names])
        odds = np.exp(logs - logs.max())
        return dict(zip(names, (odds / odds.sum()).tolist(), strict=True))


def compare(
    trees: Mapping[str, xr.DataTree],
    models: Mapping[str, pm.Model] | None = None,
    *,
    seed: int = 1,
    cores: int | None = None,
) -> pd.DataFrame:
    """Compare fits of several models to the same records.

    Parameters
    ----------
    trees
        What `bayeslmm.fit` returned, by the name of the model; two or more.
    models
        Their models by the same names, for trees that are copies or were read from files.
    seed, cores
        For what is refitted, and for marginal likelihoods by bridge sampling.

    Returns
    -------
    DataFrame
        Columns ``model elpd se elpd_diff diff_se weight log_ml pareto_k_max``, a row a model, the
        best elpd first. ``elpd``: sum over the records of log p(y_i | all others); ``se``: its
        standard error over records. ``elpd_diff``, ``diff_se``: this less that of the first
        model (0 or less), and the standard error of the difference. ``weight``: stacking weight.
        ``log_ml``: log marginal likelihood; nan where the models do not compare in it (a flat prior
        on β and different fixed effects). ``pareto_k_max``: worst k̂ left after correction.

    Raises
    ------
    InputError
        One model only; different records, phenotypes or units of the priors.
    """
    return weigh_models(trees, models, seed=seed, cores=cores).table


@one_thread()
def weigh_models(
    trees: Mapping[str, xr.DataTree],
    models: Mapping[str, pm.Model] | None = None,
    *,
    seed: int = 1,
    cores: int | None = None,
    left_out: Mapping[str, LeaveOneOut] | None = None,
) -> Comparison:
    """`compare` with all that is behind its table; `left_out`: what of it is done already."""
    import arviz as az

    if len(trees) < 2:
        raise InputError(f"{len(trees)} model to compare", "two or more", "name another one")
    notes = check_comparable(trees)
    known = {name: model_of(tree, (models or {}).get(name)) for name, tree in trees.items()}
    done: dict[str, Any] = dict(left_out or {})
    for name, tree in trees.items():
        if name not in done:
            done[name] = loo(tree, known[name], seed=seed, cores=cores)
    evidence: dict[str, Evidence] = {}
    if words := _why_no_evidence(known, notes):
        notes = [*notes, words]
    else:
        for name, tree in trees.items():
            try:
                evidence[name] = estimate_evidence(tree, known[name], seed=seed, workers=cores)
            except ModelError as error:
                notes = [*notes, f"the marginal likelihood of {name} is not known: {error}"]
    ranked = az.compare({name: done[name] for name in trees}, round_to="none")
    names = [str(name) for name in ranked.index]
    logs = [evidence[name].log_ml if name in evidence else np.nan for name in names]
    table = pd.DataFrame(
        {
            "model": names,
            "elpd": ranked["elpd"].to_numpy(dtype=np.float64),
            "se": ranked["se"].to_numpy(dtype=np.float64),
            "elpd_diff": ranked["elpd_diff"].to_numpy(dtype=np.float64),
            "diff_se": ranked["dse"].to_numpy(dtype=np.float64),
            "weight": ranked["weight"].to_numpy(dtype=np.float64),
            "log_ml": np.array(logs, dtype=np.float64),
            "pareto_k_max": [float(np.max(np.asarray(done[name].pareto_k))) for name in names],
        },
        columns=list(COLUMNS),
    )
    return Comparison(
        table,
        {name: done[name] for name in names},
        {name: evidence[name] for name in names if name in evidence},
        tuple(notes),
    )


def null_model(cohort: Cohort, priors: Mapping[str, str] | None = None) -> pm.Model:
    """The fixed effects and independent residuals alone: y ~ N(Xβ, τ² I), priors as in additive.

    It is the model additive with the identity for its kernel, in which h² has no meaning and
    nothing depends on it. Where individuals have several records, these are independent, too.

    Parameters
    ----------
    cohort
        The records.
    priors
        Of ``total_sd`` and ``beta``, by name. Default: those of additive.
    """
    from bayeslmm.individuals import individual_index
    from bayeslmm.models.gallery import load
    from bayeslmm.relationship.relationship import Relationship

    if cohort.records is not None:  # every record is an individual of its own
        alone = individual_index(["0"] * cohort.n, list(cohort.records))
        cohort = replace(cohort, individuals=alone, records=None)
    identity = Relationship(
        np.eye(cohort.n), cohort.people, name="fixed", estimator="identity", kernel_scale="none"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesLMMWarning)  # h² is not identified: it is not there
        model = load("additive").build(cohort, {"additive": identity}, priors or {})
    model.provenance = model.provenance | {"model": "fixed"}
    return model


def _why_no_evidence(models: Mapping[str, pm.Model], notes: list[str]) -> str:
    """Why marginal likelihoods of these models do not compare; "" if they do."""
    flat = [name for name, model in models.items() if has_flat_effects(model)]
    if not flat or (len(flat) == len(models) and not notes):
        return ""
    return (
        f"the prior of β is flat in {', '.join(flat)}, so that the marginal likelihood has an "
        "arbitrary constant that depends on the fixed effects: with other fixed effects, or beside "
        "a proper prior, it does not compare; give β a proper prior, for instance "
        "beta=normal(0, 10)"
    )
