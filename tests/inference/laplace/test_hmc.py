"""The density that NUTS sees, whitened; chains of it are in test_importance.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import nutpie
import pytest

from bayeslmm.inference.laplace import hmc
from bayeslmm.inference.laplace.hmc import _start, _whitened
from bayeslmm.inference.laplace.mode import Mode
from bayeslmm.inference.laplace.target import Target

CENTRE = np.array([1.0, -2.0])
ROOT = np.array([[2.0, 0.0], [0.5, 0.3]])


def log_density(u: np.ndarray) -> float:
    """Something that is no quadratic; zero where the first coordinate is above 4."""
    if u[0] > 4.0:
        return -np.inf
    return float(-np.cosh(u[0]) - u[0] * u[1] - u[1] ** 4)


def slope(u: np.ndarray) -> tuple[float, np.ndarray]:
    gradient = np.array([-np.sinh(u[0]) - u[1], -u[0] - 4 * u[1] ** 3])
    return log_density(u), gradient if u[0] <= 4.0 else np.full(2, np.nan)


def prepared(points: np.ndarray) -> Callable[[int], float]:
    values = [log_density(point) for point in points]
    return lambda i: values[i]


def law(log_density: Callable[[np.ndarray], float], *more: object, **options: object) -> Target:
    return Target(("a", "b"), np.zeros(2), log_density, *more, **options)  # type: ignore[arg-type]


TARGETS = {
    "gradient": law(log_density, slope),
    "differences": law(log_density),
    "prepared": law(log_density, prepare=prepared),
}


@pytest.mark.parametrize("name", TARGETS)
def test_value_and_slope_in_whitened_coordinates(name: str) -> None:
    """By the chain rule; a central difference of step t is wrong by t²/6 third derivatives."""
    counts = {"evaluations": 0, "gradients": 0}
    function = _whitened(TARGETS[name], CENTRE, ROOT, counts)
    x = np.array([0.3, -1.1])
    value, gradient = function(x)
    u = CENTRE + ROOT @ x
    assert value == log_density(u)
    expected = ROOT.T @ slope(u)[1]
    exact = name == "gradient"
    np.testing.assert_allclose(gradient, expected, rtol=1e-14 if exact else 1e-5)
    assert gradient.flags.c_contiguous
    assert counts == {"evaluations": 0 if exact else 5, "gradients": int(exact)}


@pytest.mark.parametrize("name", TARGETS)
def test_where_the_density_is_zero_a_step_fails(name: str) -> None:
    function = _whitened(TARGETS[name], CENTRE, ROOT, {"evaluations": 0, "gradients": 0})
    value, gradient = function(np.array([2.0, 0.0]))  # u = 5
    assert value == -np.inf
    assert (gradient == 0.0).all()
    value, _ = function(np.array([1.4999, 0.0]))  # differences reach over the edge
    assert np.isfinite(value) == (name == "gradient")


def test_a_chain_begins_where_the_density_is_not_zero() -> None:
    first = np.random.default_rng(3).standard_normal(2)
    np.testing.assert_array_equal(_start(law(lambda u: 0.0), CENTRE, ROOT, 3), first)
    near = law(lambda u: 0.0 if np.abs(u - CENTRE).max() < 0.05 else -np.inf)
    assert 0 < np.abs(ROOT @ _start(near, CENTRE, ROOT, 3)).max() < 0.05
    assert (_start(law(lambda u: -np.inf), CENTRE, ROOT, 3) == 0.0).all()


def test_chains_are_cancelled_when_they_are_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """nutpie's own `wait` would give the draws so far as if they were all."""
    cancelled: list[bool] = []

    class Running:
        def wait(self) -> None:
            raise KeyboardInterrupt

        def cancel(self) -> None:
            cancelled.append(True)

    def start(*_: object, **options: object) -> Running:
        assert options["blocking"] is False
        return Running()

    monkeypatch.setattr(nutpie, "sample", start)
    mode = Mode(CENTRE, 0.0, ROOT @ ROOT.T, 0, 0, ())
    with pytest.raises(KeyboardInterrupt):
        hmc.sample(TARGETS["gradient"], mode=mode, draws=10, tune=10, chains=2)
    assert cancelled == [True]
