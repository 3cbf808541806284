"""What a study could say: against exact fits of simulated data sets."""

from __future__ import annotations

import numpy as np
import pytest
from engine_oracles import gram, sibships
from numpy.typing import NDArray

from bayeslmm.estimates.boundary import expected_se
from bayeslmm.study.detectable import expected_intervals
from bayeslmm.study.power import expected_power

type Floats = NDArray[np.float64]


def spectra() -> dict[str, Floats]:
    rng = np.random.default_rng(3)
    return {
        "families": np.linalg.eigvalsh(sibships(200, 5))[1:],
        "grm": np.linalg.eigvalsh(gram(150, 400, rng))[1:],
    }


@pytest.mark.parametrize("name", ["families", "grm"])
def test_the_intervals_are_those_of_the_power_command(name: str) -> None:
    s, reps = spectra()[name], 1500
    found = expected_intervals(s, (0.1, 0.5), reps=reps)
    wanted = expected_power(s, (0.1, 0.5), reps=reps, threads=1)
    for one, (_, row) in zip(found, wanted.iterrows(), strict=True):
        assert one.se == pytest.approx(row["se_expected"], rel=1e-12)
        # 4.5 standard errors of two simulations, and 0.01 for the prior of the total variance,
        # which is flat on its logarithm here
        assert one.width == pytest.approx(row["width"], abs=0.01 + 4.5 * 0.15 * np.sqrt(2 / reps))
        p = row["p_excludes_0"]
        error = 4.5 * np.sqrt(2 * max(p * (1 - p), 0.01) / reps)
        assert one.excludes_0 == pytest.approx(p, abs=error + 0.02)


def test_a_large_study_has_normal_intervals() -> None:
    rng = np.random.default_rng(1)
    s = np.exp(rng.standard_normal(20_000))
    s /= s.mean()
    (one,) = expected_intervals(s, (0.4,), reps=50)
    assert one.width == pytest.approx(2 * 1.96 * expected_se(s, 0.4), rel=0.02)
    assert one.excludes_0 == 1.0


def test_an_uninformative_kernel_has_intervals_as_wide_as_the_prior() -> None:
    s = 1 + 1e-3 * np.random.default_rng(1).standard_normal(300)
    (one,) = expected_intervals(s, (0.3,))
    assert one.width == pytest.approx(0.95, abs=0.02)


def test_the_same_seed_gives_the_same_numbers() -> None:
    s = spectra()["families"]
    assert expected_intervals(s, seed=4) == expected_intervals(s, seed=4)
    assert expected_intervals(s, seed=4) != expected_intervals(s, seed=5)
