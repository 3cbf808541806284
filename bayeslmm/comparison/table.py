"""Model comparison: leave-one-out and marginal likelihood of models of the same records.

The two answer different questions. Leave-one-out: which model predicts a record best from all
others, its relatives included? Marginal likelihood: under which model, with its priors, are the
data most probable? The first hardly depends on the priors and hardly penalises a superfluous
component. The second penalises superfluous parameters by an amount that depends on their priors.

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
    """Comparison of models of the same records.

    Parameters
    ----------
    table
        The result of `compare`.
    leave_one_out
        Leave-one-out of every model, in the order of the table.
    evidence
        Marginal likelihood of every model that has one; empty if they are not comparable.
    notes
        Why they are not comparable, and other limits of the comparison.
    """

    table: pd.DataFrame
    leave_one_out: dict[str, LeaveOneOut]
    evidence: dict[str, Evidence]
    notes: tuple[str, ...]

    @property
    def probabilities(self) -> dict[str, float]:
        """Posterior probabilities of the models under equal prior ones; empty if unknown."""
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
        Two or more results of `bayeslmm.fit`, by the name of the model.
    models
        Their models by the same names, for trees that are copies or were read from files.
    seed, cores
        For refits and for marginal likelihoods by bridge sampling.

    Returns
    -------
    DataFrame
        Columns ``model elpd se elpd_diff diff_se weight log_ml pareto_k_max``, one row per model,
        the best elpd first. ``elpd``: sum over the records of log p(y_i | all others); ``se``: its
        standard error over records. ``elpd_diff``, ``diff_se``: elpd minus the first model's elpd
        (0 or less), and the standard error of the difference. ``weight``: stacking weight.
        ``log_ml``: log marginal likelihood; nan if not comparable (a flat prior on β and different
        fixed effects). ``pareto_k_max``: largest k̂ after correction.

    Raises
    ------
    InputError
        If there is one model only, or records, phenotypes or units of the priors differ.
    """
    return weigh_models(trees, models, seed=seed, cores=cores).table


@one_thread()
def weigh_models(
    trees: Mapping[str, xr.DataTree],
    models: Mapping[str, pm.Model] | None = None,
    *,
    seed: int = 1,
    cores: int | None = None,
    leave_one_out: Mapping[str, LeaveOneOut] | None = None,
) -> Comparison:
    """Compare as `compare`, but return all results; reuse those in `leave_one_out`."""
    import arviz as az

    if len(trees) < 2:
        raise InputError(f"{len(trees)} model to compare", "two or more", "name another one")
    notes = check_comparable(trees)
    known = {name: model_of(tree, (models or {}).get(name)) for name, tree in trees.items()}
    done: dict[str, Any] = dict(leave_one_out or {})
    for name, tree in trees.items():
        if name not in done:
            done[name] = loo(tree, known[name], seed=seed, cores=cores)
    evidence: dict[str, Evidence] = {}
    if reason := _why_no_evidence(known, notes):
        notes = [*notes, reason]
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
    """Build the model without kernel, y ~ N(Xβ, τ² I), with the priors of `additive`.

    It is the model `additive` with an identity kernel, so h² has no effect on the density. Several
    records of an individual are independent, too.

    Parameters
    ----------
    cohort
        The records.
    priors
        Priors of ``total_sd`` and ``beta``, by name. Default: as in `additive`.
    """
    from bayeslmm.individuals import individual_index
    from bayeslmm.models.gallery import load
    from bayeslmm.relationship.relationship import Relationship

    if cohort.records is not None:  # treat every record as an individual
        alone = individual_index(["0"] * cohort.n, list(cohort.records))
        cohort = replace(cohort, individuals=alone, records=None)
    identity = Relationship(
        np.eye(cohort.n), cohort.people, name="fixed", estimator="identity", kernel_scale="none"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesLMMWarning)  # that h² is not identified
        model = load("additive").build(cohort, {"additive": identity}, priors or {})
    model.provenance = model.provenance | {"model": "fixed"}
    return model


def _why_no_evidence(models: Mapping[str, pm.Model], notes: list[str]) -> str:
    """Return why marginal likelihoods of these models are not comparable; "" if they are."""
    flat = [name for name, model in models.items() if has_flat_effects(model)]
    if not flat or (len(flat) == len(models) and not notes):
        return ""
    return (
        f"the prior of β is flat in {', '.join(flat)}, so the marginal likelihood has an arbitrary "
        "constant that depends on the fixed effects: it is not comparable with other fixed effects "
        "or a proper prior; give β a proper prior, for instance beta=normal(0, 10)"
    )
