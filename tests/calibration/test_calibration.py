"""Calibration passes a right posterior, sees wrong ones, and does not depend on how it is run."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytest
from calibration_samplers import (
    fails_now_and_then,
    ignores_the_data,
    n_for_n_minus_p,
    narrower,
    shifted,
    wider,
)
from engine_oracles import simulated
from pytensor.graph.basic import Constant
from pytensor.graph.traversal import ancestors

from bayeslmm import models
from bayeslmm.calibration.problem import given_problem, small_problem
from bayeslmm.calibration.result import Calibration, covered, holm
from bayeslmm.calibration.run import ranked
from bayeslmm.calibration.sbc import calibrate
from bayeslmm.calibration.truth import simulator
from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.errors import InputError, ModelError
from bayeslmm.relationship.relationship import Relationship

N_SIMS = 100


@cache
def model() -> pm.Model:
    """The additive model on its small problem, compiled once for all tests."""
    file = models.load("additive")
    problem = small_problem(file)
    return file.build(problem.cohort, problem.matrices, {})


@cache
def right() -> Calibration:
    return calibrate(model(), N_SIMS, seed=5)


def column(found: Calibration, name: str) -> dict[str, float]:
    table = found.table()
    return dict(zip(table["quantity"].tolist(), table[name].tolist(), strict=True))


def p(found: Calibration) -> dict[str, float]:
    return column(found, "p")


def test_truths_can_be_drawn_after_nuts_has_compiled_the_model() -> None:
    """nutpie makes the constants of a graph read-only, as is done by hand here: it takes 20 s.

    NumPy then refused to broadcast the writeable views of the functions compiled before.
    """
    file = models.load("bivariate")
    problem = small_problem(file)
    fresh = file.build(problem.cohort, problem.matrices, {})
    draw = simulator(fresh)
    first = draw(np.random.SeedSequence(1))
    for variable in ancestors([fresh["phenotype"]]):
        if isinstance(variable, Constant) and isinstance(variable.data, np.ndarray):
            variable.data.flags.writeable = False
    np.testing.assert_array_equal(draw(np.random.SeedSequence(1)).y, first.y)


def test_a_right_posterior_passes() -> None:
    found = right()
    assert found.ok
    assert found.verdict().startswith("calibrated")
    assert found.engine == "exact"
    assert found.n_sims == N_SIMS
    assert not found.failed.any()
    assert np.all((found.u > 0) & (found.u < 1))
    assert np.all(found.sizes == 100)
    wanted = {"h2", "sigma2[additive]", "sigma2[residual]", "total_sd", "pve_random", "beta[x]"}
    wanted |= {"log_likelihood", "max_blup", "h2_log_likelihood", "pve_share[residual]"}
    assert wanted <= set(found.names)
    assert "sigma2_u" not in found.names
    assert "share[additive]" not in found.names


def test_the_model_keeps_its_phenotype_and_units() -> None:
    before = {v.name: v.get_value().copy() for v in model().data_vars}
    calibrate(model(), 20)
    for name, value in before.items():
        np.testing.assert_array_equal(model()[name].get_value(), value)


def test_a_posterior_that_ignores_the_data_is_seen_by_what_depends_on_them() -> None:
    found = calibrate(model(), 60, engine=ignores_the_data, seed=5)
    assert not found.ok
    assert found.verdict().startswith("NOT CALIBRATED")
    assert p(found)["h2"] > 0.01
    assert p(found)["total_sd"] > 0.01
    assert p(found)["log_likelihood"] < 1e-6
    assert p(found)["max_blup"] < 1e-6


def test_the_curve_of_ranks_leaves_its_band_where_the_table_says_so() -> None:
    found = calibrate(model(), 40, engine=fails_now_and_then)  # the failed fits have no rank
    wrong = calibrate(model(), 60, engine=ignores_the_data, seed=5)
    for one in (found, wrong):
        for name, inside in one.table().set_index("quantity")["inside"].items():
            curve = one.ecdf(str(name))
            ranks = one.u[~one.failed, one.names.index(str(name))]
            counted = [np.mean(ranks <= z) for z in curve["z"]]
            np.testing.assert_allclose(curve["proportion"], counted)
            within = curve["proportion"].between(curve["lower"] - 1e-9, curve["upper"] + 1e-9)
            assert within.all() == inside, name
    assert not wrong.table()["inside"].all()


@pytest.mark.parametrize(("sampler", "covers"), [(wider, 0.7), (narrower, 0.3)])
def test_a_wrong_width_is_seen(sampler: Any, covers: float) -> None:
    found = calibrate(model(), N_SIMS, engine=sampler, seed=5)
    assert not found.ok
    assert np.sign(column(found, "coverage_50")["beta[x]"] - 0.5) == np.sign(covers - 0.5)
    assert column(found, "p_holm")["beta[x]"] < 0.05


def test_a_shift_is_seen_with_its_sign() -> None:
    found = calibrate(model(), 60, engine=shifted, seed=5)
    assert not found.ok
    assert p(found)["h2"] < 1e-4
    assert column(found, "mean_z")["h2"] < -0.3  # truth below the draws


def test_n_for_n_minus_p_is_seen() -> None:
    """30 records, 7 covariates: degrees of freedom matter."""
    data = simulated(30, 8, 0.5, seed=3)
    rest: dict[str, Any] = {
        "cohort": cohort_from_arrays(data.y, data.X, quantitative=True),
        "matrices": {"additive": data.relationship()},
        "seed": 8,
    }
    wrong = calibrate(models.load("additive"), 50, engine=n_for_n_minus_p, **rest)
    assert not wrong.ok
    assert p(wrong)["total_sd"] < 1e-4
    assert calibrate(models.load("additive"), 50, **rest).ok


def test_failed_fits_are_counted_and_fail_the_verdict() -> None:
    found = calibrate(model(), 40, engine=fails_now_and_then)
    failed = int(found.failed.sum())
    assert 0 < failed < 40
    assert not found.ok
    assert f"{failed} of 40 fits failed" in found.verdict()
    assert "did not converge" in found.verdict()
    assert set(found.table()["n_ranked"]) == {40 - failed}
    assert set(found.table()["n_failed"]) == {failed}


def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    parts = tmp_path / "additive.parts"

    def stop(done: int, total: int) -> None:
        if done == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(model(), 30, seed=5, parts=parts, progress=stop)
    with open(parts, "a", encoding="ascii") as file:
        file.write('{"index": 17, "size": 1')  # killed in the middle of a line
    seen: list[int] = []
    again = calibrate(model(), N_SIMS, seed=5, parts=parts, progress=lambda i, _: seen.append(i))
    assert seen[0] == 17
    np.testing.assert_array_equal(again.u, right().u)
    np.testing.assert_array_equal(again.z, right().z)
    assert again.names == right().names
    fewer = calibrate(model(), 20, seed=5, parts=parts)  # nothing left to do
    np.testing.assert_array_equal(fewer.u, right().u[:20])


def test_parts_of_another_calibration_are_refused(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    calibrate(model(), 20, parts=parts)
    with pytest.raises(InputError, match=r"another calibration \(seed 1, now 2\)"):
        calibrate(model(), 20, seed=2, parts=parts)
    parts.write_text("FID IID\n", encoding="utf-8")
    with pytest.raises(InputError, match="no calibration wrote"):
        calibrate(model(), 20, parts=parts)


def test_ranks_of_ties_are_random_and_uniform() -> None:
    rng = np.random.default_rng(0)
    u = np.array([ranked([np.zeros(10)], rng)[0][0] for _ in range(4000)])
    assert abs(u.mean() - 0.5) < 4 * np.sqrt(1 / 12 / u.size)
    assert u.min() < 0.01
    assert u.max() > 0.99
    low, _ = ranked([np.array([0.0, 1, 2, 3])], rng)
    high, z = ranked([np.array([9.0, 1, 2, 3])], rng)
    assert low[0] < 0.25
    assert high[0] > 0.75
    assert z[0] == pytest.approx(7.0)  # (9 - 2) / 1
    assert np.isnan(ranked([np.array([0.0, np.nan, 1.0])], rng)[0][0])


def test_a_quantity_without_a_number_has_no_rank() -> None:
    """nan anywhere: no rank; a draw of -inf (a density of zero): a rank, but no z."""
    columns = [np.array(x) for x in ([0.0, -np.inf, 1.0], [0.0, np.nan, 1.0], [np.nan, 0.0, 1.0])]
    u, z = ranked(columns, np.random.default_rng(1))
    assert 1 / 3 <= u[0] <= 2 / 3
    assert np.isnan(u[1:]).all()
    assert np.isnan(z).all()


def test_holm_and_coverage() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, np.nan, 0.4])), [0.8, np.nan, 0.8])
    assert covered(np.array([0.1, 0.3, 0.6, 0.9]), 0.5) == 0.5
    assert covered(np.array([0.01, 0.3, 0.6, 0.98]), 0.95) == 0.5


USERS = '''"""A model of one's own: two kernels side by side, and the dam, which nobody knows."""
COLUMNS = ("{column}",)
def build(cohort, kinship):
    raise AssertionError("not reached")
'''


def test_unknown_columns_are_an_error_that_teaches(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(USERS.format(column="diet"), encoding="utf-8")
    with pytest.raises(InputError, match=r"needs the column 'diet'.*calibrate it from Python"):
        calibrate(models.load(path), 20)


def test_dams_are_not_in_a_matrix() -> None:
    data = simulated(12, 2, 0.5, seed=3)
    relationships = {"additive": data.relationship()}
    with pytest.raises(InputError, match="leave out --grm"):
        given_problem(models.load("maternal"), relationships)


def test_a_subset_of_the_users_individuals() -> None:
    data = simulated(40, 2, 0.5, seed=3)
    matrix: Relationship = data.relationship()
    file = models.load("additive")
    problem = given_problem(file, {"additive": matrix}, n=25, seed=4)
    again = given_problem(file, {"additive": matrix}, n=25, seed=4)
    assert problem.cohort.n == 25
    assert set(problem.cohort.individuals) < set(matrix.individuals)
    assert problem.cohort.individuals.equals(again.cohort.individuals)
    other = given_problem(file, {"additive": matrix}, n=25, seed=5)
    assert not problem.cohort.individuals.equals(other.cohort.individuals)
    with pytest.raises(InputError, match="40 individuals are in all matrices"):
        given_problem(file, {"additive": matrix}, n=41)


def test_improper_priors_cannot_be_drawn_from() -> None:
    with pytest.raises(ModelError, match="improper"):
        calibrate(models.load("additive"), 20, priors={"beta": "flat()"})


def test_impossible_numbers() -> None:
    with pytest.raises(InputError, match="at least 20 simulations"):
        calibrate(model(), 19)


@pytest.mark.slow
def test_the_latent_model_with_nuts() -> None:
    """g is a parameter: 100 simulations, draws thinned to near-independence."""
    found = calibrate(models.load("additive_cholesky"), 100, seed=2)
    assert found.engine == "nuts"
    assert found.ok, found.verdict()
    assert found.sizes.min() >= 50
