"""Several traits with missing values: a fast form of one covariance.

It has the covariance of a `DenseMarginal` with the terms ``G ⊗ K`` and ``R ⊗ I``. The density and
the linear systems use the complete covariance (`bayeslmm.likelihood.incomplete`). Methods that need
the matrices of the records (model gradients, leave-one-out) compute them on first use.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bayeslmm.likelihood.dense_marginal import DenseMarginal
from bayeslmm.likelihood.fixed_effects import BetaQuadratic
from bayeslmm.likelihood.incomplete import (
    IncompleteTraits,
    quadratic,
    rotated_records,
    solve_each,
)
from bayeslmm.likelihood.marginal import Gradient, Parameters, Quadratic
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run
from bayeslmm.system.memory import available_cores

TOGETHER = 125  # number of draws whose linear systems are solved together


@dataclass(frozen=True, eq=False)
class IncompleteMarginal(DenseMarginal):
    """Density of traits with missing values; `pattern` holds kernel, design and missing cells."""

    pattern: IncompleteTraits = field(kw_only=True)

    def quadratic(self, y: Floats) -> Quadratic:
        """Return ``c → log p(y | β, c)`` as a quadratic in β."""
        records = rotated_records(self.pattern, y)

        def at(c: Parameters) -> BetaQuadratic | None:
            G, R = self.covariance.unpack(c[0])[0]
            return quadratic(self.pattern, records, G, R)

        return at

    def gradient(self, y: Floats) -> Gradient | None:
        """Return None: finite differences are cheaper."""
        return None

    def solve(self, c: Parameters, r: Floats) -> Floats:
        """Compute ``V(c)⁻¹ r`` for rows r (draws, n), in blocks independent of the cores."""
        G, R = self.covariance.unpack(c[0])[0]
        blocks = [slice(start, start + TOGETHER) for start in range(0, len(r), TOGETHER)]
        solved = run(
            lambda rows: solve_each(self.pattern, G[rows], R[rows], r[rows]),
            blocks,
            available_cores(),
        )
        return np.concatenate(solved)
