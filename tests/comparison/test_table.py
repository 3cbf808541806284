"""Model comparison: the table, what it is made of, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import arviz as az
import numpy as np
import pytest
import xarray as xr
from engine_oracles import gram, simulated
from model_cases import case
from scipy.special import logsumexp
from two_kernels import kernels

from bayeslmm import models
from bayeslmm.comparison.evidence import estimate_evidence
from bayeslmm.comparison.loo.elpd import loo
from bayeslmm.comparison.table import COLUMNS, compare, null_model, weigh_models
from bayeslmm.comparison.zero_tests import weigh_zeros, why_no_zeros
from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.fit import fit
from bayeslmm.report.compare_lines import comparison_lines
from bayeslmm.report.compare_text import conclusions

pytestmark = pytest.mark.filterwarnings("ignore:GRM rank", "ignore:h² is not identified")

DATA = simulated(60, 2, 0.6, seed=9, K=gram(60, 25, np.random.default_rng(8)))
SECOND = gram(60, 20, np.random.default_rng(9))


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    cohort = DATA.cohort()
    first, second = kernels(DATA, SECOND)
    return {
        "null": null_model(cohort),
        "one": models.load("additive")(cohort, first),
        "two": models.load("additive")(cohort, second),
        "both": models.load("partitioned")(cohort, first, second),
    }


@pytest.fixture(scope="module")
def trees(built: dict[str, Any]) -> dict[str, Any]:
    return {name: fit(model, draws=1000) for name, model in built.items()}


@pytest.fixture(scope="module")
def comparison(trees: dict[str, Any]) -> Any:
    return weigh_models(trees)


def test_table(comparison: Any, trees: dict[str, Any]) -> None:
    table = comparison.table
    assert tuple(table.columns) == COLUMNS
    assert sorted(table["model"]) == sorted(trees)
    elpd = table["elpd"].to_numpy()
    assert np.all(np.diff(elpd) <= 0)
    assert np.allclose(table["elpd_diff"], elpd - elpd[0])
    assert table["weight"].sum() == pytest.approx(1, abs=1e-6)
    assert np.all(table["weight"] >= -1e-9)
    one = comparison.leave_one_out["one"]
    row = table.set_index("model").loc["one"]
    assert row["elpd"] == pytest.approx(float(one.elpd_i.sum()))
    n = one.elpd_i.size
    assert row["se"] == pytest.approx(float(np.sqrt(n) * one.elpd_i.std()), rel=0.02)
    assert row["pareto_k_max"] == pytest.approx(float(one.pareto_k.max()))
    best = np.asarray(comparison.leave_one_out[table["model"][0]].elpd_i)
    for name, diff_se in zip(table["model"][1:], table["diff_se"][1:], strict=True):
        apart = best - np.asarray(comparison.leave_one_out[name].elpd_i)
        assert diff_se == pytest.approx(np.sqrt(n) * apart.std(), rel=0.02)


def test_leave_one_out_is_given_to_arviz(comparison: Any, trees: dict[str, Any]) -> None:
    ranked = az.compare(comparison.leave_one_out, round_to="none")
    assert list(ranked.index) == list(comparison.table["model"])
    assert np.allclose(ranked["weight"], comparison.table["weight"], atol=1e-6)
    again = compare({name: trees[name] for name in ("one", "null")})
    whole = comparison.table.set_index("model")["log_ml"]
    assert np.allclose(again["log_ml"], [whole[name] for name in again["model"]])


def test_null_model_is_the_one_without_heritability(comparison: Any, trees: dict[str, Any]) -> None:
    """Its evidence is that of h² = 0 in additive; its elpd that of independent residuals."""
    log_ml = comparison.table.set_index("model")["log_ml"]
    attrs = trees["one"]["quadrature"].attrs
    assert log_ml["null"] == pytest.approx(attrs["log_evidence_h2_0"], abs=1e-6)
    tree = trees["null"]
    variance = tree["posterior"]["variance"].sum("component").to_numpy().ravel()
    beta = tree["posterior"]["beta"].to_numpy().reshape(-1, 2)
    density = -0.5 * (DATA.y[:, None] - DATA.X @ beta.T) ** 2 / variance
    density -= 0.5 * np.log(2 * np.pi * variance)
    raw = -(logsumexp(-density, axis=1) - np.log(variance.size))  # importance sampling, unsmoothed
    found = float(comparison.leave_one_out["null"].elpd)
    assert found == pytest.approx(raw.sum(), abs=0.3)


def test_probabilities(comparison: Any) -> None:
    log_ml = {name: one.log_ml for name, one in comparison.evidence.items()}
    total = logsumexp(list(log_ml.values()))
    for name, chance in comparison.probabilities.items():
        assert chance == pytest.approx(np.exp(log_ml[name] - total))
    assert sum(comparison.probabilities.values()) == pytest.approx(1)


def test_zero_tests_agree_with_the_table(
    comparison: Any, trees: dict[str, Any], built: dict[str, Any]
) -> None:
    """A model less a kernel is another model of the table."""
    log_ml = comparison.table.set_index("model")["log_ml"]
    found = {test.components: test for test in weigh_zeros(trees["both"], built["both"])}
    assert next(iter(found)) == ("one", "two")
    assert found["one", "two"].of_h2
    for gone, other in ((("one", "two"), "null"), (("one",), "two"), (("two",), "one")):
        wanted = (log_ml[other] - log_ml["both"]) / np.log(10)
        assert found[gone].by_evidence.log10 == pytest.approx(wanted, abs=1e-4)
        assert 0 <= found[gone].p_value <= 1
    (alone,) = weigh_zeros(trees["one"])
    assert alone.by_evidence.log10 == pytest.approx(
        (log_ml["null"] - log_ml["one"]) / np.log(10), abs=1e-6
    )


def test_what_does_not_compare(trees: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="two or more"):
        compare({"one": trees["one"]})
    other = simulated(60, 2, 0.6, seed=10, K=DATA.K)
    with pytest.raises(InputError, match="different records"):
        compare({"one": trees["one"], "other": fit(other.model(), draws=100)})


def test_flat_and_proper_effects_have_no_common_evidence(trees: dict[str, Any]) -> None:
    flat = fit(DATA.model(beta="flat()"), draws=400)
    found = weigh_models({"proper": trees["one"], "flat": flat})
    assert found.table["log_ml"].isna().all()
    assert found.probabilities == {}
    assert "prior of β is flat" in found.notes[-1]
    both = weigh_models({"a": flat, "b": fit(DATA.model("additive", beta="flat()"), draws=400)})
    assert both.table["log_ml"].notna().all()


def test_leave_one_out_done_before_is_not_done_again(trees: dict[str, Any]) -> None:
    known = {name: loo(trees[name]) for name in ("one", "two")}
    found = weigh_models({name: trees[name] for name in known}, leave_one_out=known)
    assert all(found.leave_one_out[name] is known[name] for name in known)


def test_a_model_without_evidence_stays_in_the_table(
    trees: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row has no log_ml, a note says why, and nobody gets a probability."""
    known = {name: loo(trees[name]) for name in ("one", "two")}

    def refuse(tree: Any, *more: Any, **options: Any) -> Any:
        if tree is trees["two"]:
            raise ModelError("β cannot be integrated out")
        return estimate_evidence(tree, *more, **options)

    monkeypatch.setattr("bayeslmm.comparison.table.estimate_evidence", refuse)
    found = weigh_models({name: trees[name] for name in known}, leave_one_out=known)
    rows = found.table.set_index("model")
    assert np.isnan(rows.loc["two", "log_ml"])
    assert np.isfinite(rows.loc["one", "log_ml"])
    assert found.probabilities == {}
    assert "the marginal likelihood of two is not known: β cannot" in found.notes[-1]
    assert not any("probability" in text for text in conclusions(found))
    assert comparison_lines(found, DATA.cohort())[3].split()[-2] in (
        "-",
        f"{rows.log_ml['one']:.2f}",
    )


def test_null_model_of_repeated_records() -> None:
    """It is additive at h² = 0, whoever the records are of; priors are those that are given."""
    cohort = DATA.cohort()
    people = cohort.individuals[np.arange(cohort.n) // 2]
    records = tuple(f"r{k}" for k in range(cohort.n))
    repeated = replace(cohort, individuals=people, records=records)
    priors = {"total_sd": "half_t(3, 0.7)"}
    first, _ = kernels(DATA, SECOND)
    additive = models.load("additive").build(repeated, {"additive": first}, priors)
    alone = fit(null_model(repeated, priors), draws=100)["quadrature"].attrs["log_evidence"]
    at_zero = fit(additive, draws=100)["quadrature"].attrs["log_evidence_h2_0"]
    assert alone == pytest.approx(at_zero, abs=1e-6)


def observed(model: Any) -> xr.DataTree:
    """What a tree says of the data alone."""
    y = np.asarray(model.rvs_to_values[model["phenotype"]].eval())
    return xr.DataTree.from_dict({"observed_data": xr.Dataset({"phenotype": ("individual", y)})})


def test_correlated_effects_are_not_weighed_against_zero_and_the_reason_is_said() -> None:
    one = case("gxe")
    model = models.load("gxe")(one.cohort, *one.matrices)
    assert weigh_zeros(observed(model), model) == []
    reason = why_no_zeros(observed(model), model)
    assert reason.startswith("the effects intercept and slope are correlated; if the variance of")
    two = case("bivariate")
    traits = models.load("bivariate")(two.cohort, *two.matrices)
    assert weigh_zeros(observed(traits), traits) == []
    assert why_no_zeros(observed(traits), traits).startswith("the variances depend on")


def test_no_reason_where_shares_are_tested(trees: dict[str, Any], built: dict[str, Any]) -> None:
    assert why_no_zeros(trees["one"]) == ""
    assert why_no_zeros(trees["both"], built["both"]) == ""
