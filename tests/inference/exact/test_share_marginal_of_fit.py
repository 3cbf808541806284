"""The mode of h² on nodes too far apart for a polynomial."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from bayeslmm.inference.exact.share_marginal import ShareMarginal, cumulate, node_masses


def share_of(z: np.ndarray, log_density: np.ndarray) -> ShareMarginal:
    density = np.exp(log_density)
    cdf = cumulate(node_masses(z, density))
    return ShareMarginal(z, cdf / cdf[-1], density)


@pytest.mark.parametrize("centre", [0.3, 0.7])
def test_a_plateau_with_steep_sides_has_its_mode_at_the_highest_node(centre: float) -> None:
    """The polynomial through seven nodes bends upwards there; its extremum is no maximum."""
    z = np.log(centre / (1 - centre)) + 0.05 * np.arange(-12, 13)
    sides = -20.0 * (np.abs(np.arange(-12, 13)) - 2.0) + 17.0
    log_density = np.where(np.abs(np.arange(-12, 13)) < 2, -1e-3, np.minimum(sides - 20.0, -3.0))
    log_density[12] = 0.0
    assert share_of(z, log_density).mode() == pytest.approx(expit(z[12]), abs=1e-15)


def test_a_smooth_density_has_its_mode_between_the_nodes() -> None:
    """log p = -(z - c)² / 2s² as a density of h²: the polynomial is exact."""
    c, z = 0.013, 0.05 * np.arange(-12, 13)
    assert share_of(z, -0.5 * ((z - c) / 0.2) ** 2).mode() == pytest.approx(expit(c), abs=1e-12)
