"""Two kernels that the data can tell apart, and models of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from engine_oracles import Data, gram
from numpy.typing import NDArray

from bayeslmm import models
from bayeslmm.relationship.relationship import Relationship

type Floats = NDArray[np.float64]
TRUTHS = {"both informative": (0.4, 0.3), "one at zero": (0.6, 0.0), "both near zero": (0.0, 0.0)}
TRUTH = TRUTHS["both near zero"]


def two_kernels(truth: tuple[float, float], n: int = 100) -> tuple[Data, Floats]:
    """y, X, K₁ and K₂ of n individuals; the kernels have few variants, so they are told apart."""
    rng = np.random.default_rng(100)
    K1, K2 = gram(n, 20, rng), gram(n, 20, rng)
    X = np.column_stack([np.ones(n), 2 + 1.5 * rng.standard_normal(n)])
    V = truth[0] * K1 + truth[1] * K2 + (1 - sum(truth)) * np.eye(n)
    y = X @ [7.0, 0.6] + 3 * np.linalg.cholesky(V) @ rng.standard_normal(n)
    return Data(y, X, K1), K2


def kernels(data: Data, second: Floats) -> list[Relationship]:
    people = data.cohort().individuals
    return [
        Relationship(K, people, kernel_scale="none", name=name)
        for K, name in ((data.K, "one"), (second, "two"))
    ]


@cache
def two(truth: tuple[float, float] = TRUTH, **priors: str) -> Any:
    data, second = two_kernels(truth)
    return models.load("partitioned")(data.cohort(), *kernels(data, second), **priors)
