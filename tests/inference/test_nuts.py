"""NUTS that is stopped: chains that still run are told to end."""

from __future__ import annotations

from typing import Any

import nutpie
import pymc as pm
import pytest

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
