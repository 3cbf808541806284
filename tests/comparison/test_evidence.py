"""The evidence by quadrature, importance sampling and bridge sampling, and when it compares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_oracles import gram, simulated

from bayeslmm import models
from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.comparison.evidence import (
    check_comparable,
    estimate_evidence,
    has_flat_effects,
    unconstrained_draws,
)
from bayeslmm.errors import InputError
from bayeslmm.inference.fit import fit
from bayeslmm.inference.laplace.hyper import hyper
from bayeslmm.relationship.relationship import Relationship

pytestmark = pytest.mark.filterwarnings("ignore:GRM rank")  # kernels of few variants

DATA = simulated(60, 2, 0.4, seed=3, K=gram(60, 25, np.random.default_rng(8)))
MODEL = DATA.model()


@pytest.fixture(scope="module")
def exact() -> Any:
    return fit(MODEL, "exact", draws=2000)


@pytest.fixture(scope="module")
def laplace() -> Any:
    return fit(MODEL, "laplace", draws=2000)


def test_three_ways_agree(exact: Any, laplace: Any) -> None:
    truth = estimate_evidence(exact)
    assert truth.method == "quadrature"
    assert truth.mcse == 0
    assert estimate_evidence(exact, method="quadrature").log_ml == truth.log_ml
    drawn = estimate_evidence(laplace)
    assert drawn.method == "importance"
    assert drawn.pareto_k < 0.7
    assert 0 < drawn.mcse < 0.1
    assert abs(drawn.log_ml - truth.log_ml) < 4 * drawn.mcse
    for tree in (exact, laplace):
        bridge = estimate_evidence(tree, method="bridge")
        assert bridge.method == "bridge"
        assert 0 < bridge.mcse < 0.1
        assert abs(bridge.log_ml - truth.log_ml) < 4 * bridge.mcse


def test_a_tree_without_evidence_gets_it_by_bridge_sampling(laplace: Any, exact: Any) -> None:
    """As after NUTS, whose trees have no evidence of their own."""
    tree = laplace.copy()
    for name in ("log_evidence", "ess_importance"):
        del tree["sample_stats"].attrs[name]
    with pytest.raises(InputError, match="tree without its model"):
        estimate_evidence(tree)
    found = estimate_evidence(tree, MODEL)
    assert found.method == "bridge"
    assert abs(found.log_ml - estimate_evidence(exact).log_ml) < 5 * found.mcse
    with pytest.raises(InputError, match="no evidence by importance"):
        estimate_evidence(tree, MODEL, method="importance")


def test_unconstrained_draws_are_those_of_the_posterior(exact: Any) -> None:
    split = hyper(MODEL)
    u, ess = unconstrained_draws(exact, MODEL, split)
    assert ess == 2000
    assert u.shape == (2000, 2)
    names = [name.partition("[")[0] for name in split.names]
    h2 = 1 / (1 + np.exp(-u[:, names.index("h2")]))
    total = np.exp(u[:, names.index("total_sd")])
    halves = exact["posterior"]["h2"].to_numpy()
    wanted = np.concatenate([halves[:, :250].ravel(), halves[:, 250:].ravel()])
    assert np.allclose(h2, wanted, atol=1e-12)
    assert np.allclose(np.sort(total), np.sort(exact["posterior"]["total_sd"].to_numpy().ravel()))


def test_other_records_or_units_are_refused(exact: Any) -> None:
    assert check_comparable({"a": exact, "b": exact}) == []
    other = exact.copy(deep=True)
    y = other["observed_data"]["phenotype"]
    y.to_numpy()[3] += 1.0
    with pytest.raises(InputError, match="different records"):
        check_comparable({"a": exact, "b": other})
    other = exact.copy(deep=True)
    other["constant_data"]["phenotype_unit"] = 2 * other["constant_data"]["phenotype_unit"]
    with pytest.raises(InputError, match="different units"):
        check_comparable({"a": exact, "b": other})
    other = exact.copy(deep=True)
    other["constant_data"]["design"] = 2 * other["constant_data"]["design"]
    assert check_comparable({"a": exact, "b": other}) == ["a and b have different fixed effects"]


def test_what_a_tree_does_not_say_is_not_compared(exact: Any) -> None:
    """Units may be missing (no refusal), the design may (it could be another one: a note)."""
    other = exact.copy(deep=True)
    constants = other["constant_data"].to_dataset()
    other["constant_data"] = constants.drop_vars(["phenotype_unit", "phenotype_centre"])
    assert check_comparable({"a": exact, "b": other}) == []
    other["constant_data"] = constants.drop_vars("design")
    assert check_comparable({"a": exact, "b": other}) == ["a and b have different fixed effects"]


def test_flat_effects_are_seen() -> None:
    cohort = cohort_from_arrays(DATA.y, DATA.X, quantitative=True)
    kernel = Relationship(DATA.K, cohort.individuals, kernel_scale="none")
    assert has_flat_effects(models.load("additive")(cohort, kernel, beta="flat()"))
    assert not has_flat_effects(MODEL)
