"""The page of a calibration: what it says, and names that try to be something else."""

from __future__ import annotations

import re

import numpy as np

from bayeslmm.calibration.ecdf_band import p_value
from bayeslmm.calibration.result import Calibration
from bayeslmm.report.calibration import render_calibration

HOSTILE = "share[<script>alert(1)</script>\u202e]"


def made(bad: bool, failed: int) -> Calibration:
    rng = np.random.default_rng(1)
    n = 200
    names = ("h2", HOSTILE, "beta[x]", "log_likelihood")
    u = rng.uniform(size=(n, 4))
    if bad:
        u[:, 3] = rng.beta(2.0, 1.0, n)
    u[:failed] = np.nan
    p = np.array([p_value(x[np.isfinite(x)]) for x in u.T])
    problems = tuple("NUTS did not converge" if i < failed else "" for i in range(n))
    k, fell = np.full(n, 0.3), np.zeros(n, dtype=np.bool_)
    return Calibration("mine<b>", "48 people", "laplace", "auto: few", 100, 1, names, u,
                       rng.standard_normal((n, 4)), p, np.full(n, 100), k, fell, problems,
                       np.full(n, 0.3))  # fmt: skip


def test_names_are_shown_and_nothing_more() -> None:
    page = render_calibration(made(bad=False, failed=0), "bayeslmm calibrate --out 'a<b'")
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    assert "mine&lt;b&gt;" in page
    assert page.count("<svg") == 1
    assert not re.search(r"(src|href)=\"https?:", page)


def test_verdicts_in_words() -> None:
    assert "<strong>Calibrated:</strong> in 200 simulations" in render_calibration(
        made(bad=False, failed=0), "x"
    )
    page = render_calibration(made(bad=True, failed=0), "x")
    assert "<strong>Not calibrated:</strong> the ranks of log_likelihood" in page
    assert "(not uniform)" in page
    page = render_calibration(made(bad=False, failed=3), "x")
    assert "3 of 200 fits failed, more than 1 in 100" in page
    assert "among 100 near-independent draws" in page
