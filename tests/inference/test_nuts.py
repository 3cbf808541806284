"""NUTS without chains of its own: how it stops them, and what calibration takes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import nutpie
import pymc as pm
import pytest
from numpy.typing import NDArray

from bayeslmm.inference import nuts


class Running:
    """A chain as nutpie shows it; the first one ends, by an error."""

    def __init__(self, number: int) -> None:
        self.number, self.cancelled = number, False

    @property
    def is_finished(self) -> bool:
        if self.number:
            raise TimeoutError
        return True

    def wait(self) -> Any:
        raise KeyboardInterrupt

    def cancel(self) -> None:
        self.cancelled = True


def test_other_chains_are_cancelled_when_one_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Running] = []

    def start(*_: Any, **options: Any) -> Running:
        assert not options["blocking"]
        started.append(Running(len(started)))
        return started[-1]

    monkeypatch.setattr(nuts, "compiled", lambda model: model)
    monkeypatch.setattr(nutpie, "sample", start)
    with pm.Model() as model:
        pm.Normal("x")
    with pytest.raises(KeyboardInterrupt):
        nuts.sample(model, draws=10, chains=5, seed=1, cores=3)
    assert len(started) == 4  # the fourth took the place of the first
    assert [one.cancelled for one in started] == [False, True, True, True]


def chains(rho: float, length: int, seed: int) -> NDArray[np.float64]:
    """Two chains of a stationary autoregression, (chain, draw)."""
    rng = np.random.default_rng(seed)
    noise = np.sqrt(1 - rho**2) * rng.standard_normal((2, length))
    x = np.empty((2, length))
    x[:, 0] = rng.standard_normal(2)
    for t in range(1, length):
        x[:, t] = rho * x[:, t - 1] + noise[:, t]
    return x


@pytest.mark.parametrize(
    ("correlations", "runs", "at_least", "problem"),
    [
        ((0.0,), 1, 100, False),  # independent draws: as many as asked for
        ((0.99, 0.9), 2, 60, False),  # a first run with an ESS of 5, a longer one that is enough
        ((0.999, 0.999), 2, 1, True),
    ],
)
def test_calibration_takes_nearly_independent_draws(
    correlations: tuple[float, ...],
    runs: int,
    at_least: int,
    problem: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At most 100 draws and at most the ESS, from equal distances; a second run is longer."""
    asked: list[tuple[int, int, int]] = []
    kept: list[NDArray[np.float64]] = []

    def sample(_: Any, draws: int, count: int, seed: int, *, tune: int, cores: int) -> Any:
        asked.append((draws, tune, seed))
        assert (count, cores) == (2, 1)
        x = chains(correlations[len(asked) - 1], draws, 3)
        kept.append(x)
        latent = np.broadcast_to(np.zeros(20), (2, draws, 20))  # too long to be monitored
        constant = np.ones((2, draws, 1))
        variables = {
            "variance": (("chain", "draw", "component"), np.exp(x)[..., None]),
            "effect": (("chain", "draw", "k"), np.concatenate([x[..., None], constant], axis=2)),
            "g": (("chain", "draw", "individual"), latent),
        }
        return variables, None

    monkeypatch.setattr(nuts, "sample", sample)
    with pm.Model() as model:
        pm.Normal("effect", shape=2)
        pm.Normal("g", shape=20)
        pm.Deterministic("variance", pm.math.exp(model["effect"][:1]))
    found = nuts.replicate(model, 100, np.random.default_rng(1))
    assert [length for length, _, _ in asked] == [500, 2000][:runs]
    assert [tune for _, tune, _ in asked] == [500, 2000][:runs]
    assert len({seed for _, _, seed in asked}) == runs
    taken = found.values["effect"][:, 0]
    assert at_least <= len(taken) <= 100
    flat = kept[-1].ravel()
    places = np.array([int(np.flatnonzero(flat == one)[0]) for one in taken])
    assert np.ptp(np.diff(places)) <= 1 if len(places) > 1 else True
    assert np.array_equal(found.values["variance"][:, 0], np.exp(taken))
    assert found.values["g"].shape == (len(taken), 20)
    assert ("NUTS did not converge: R-hat" in str(found.problem)) == problem


def test_a_chain_that_does_not_move_is_no_sample() -> None:
    chosen, problem = nuts._thin([np.ones((2, 50)), chains(0.0, 50, 1)], 10)
    assert chosen.tolist() == [50]
    assert problem == "NUTS did not converge: R-hat inf, ESS 0"
