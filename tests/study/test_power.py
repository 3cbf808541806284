"""Expected power from the spectrum, and the spectra of studies that are planned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from engine_oracles import gram, sibships
from scipy import integrate

from bayeslmm.errors import InputError
from bayeslmm.estimates.boundary import expected_se, restricted_lrt
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.study.coverage import simulator
from bayeslmm.study.eigenvalues import (
    effective_segments,
    marchenko_pastur,
    read_eigenvalues,
    relationship_eigenvalues,
)
from bayeslmm.study.power import COLUMNS, critical_value, expected_power


def people(n: int) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([["0"] * n, [f"I{k}" for k in range(n)]], names=["FID", "IID"])


def test_table_is_what_the_data_sets_say() -> None:
    s = marchenko_pastur(400, 800)
    table = expected_power(s, (0.0, 0.3), reps=300, seed=4, threads=1)
    assert tuple(table.columns) == COLUMNS
    assert list(table["n"]) == [400, 400]
    assert list(table["n_reps"]) == [300, 300]
    assert table["se_expected"].to_numpy() == pytest.approx([expected_se(s), expected_se(s, 0.3)])
    study = simulator(s, seed=4, threads=1).at(0.3, 300)
    row = table.iloc[1]
    assert row["width"] == pytest.approx(np.ptp(study.fits.hdi, axis=1).mean())
    assert row["p_excludes_0"] == np.mean(study.fits.hdi[:, 0] > 0)
    critical = critical_value(s, seed=4)
    assert row["p_rlrt"] == np.mean(study.fits.statistic > critical)


def test_numbers_do_not_depend_on_the_threads() -> None:
    s = marchenko_pastur(300, 500)
    one, three = (expected_power(s, (0.0, 0.4), reps=500, threads=k) for k in (1, 3))
    pd.testing.assert_frame_equal(one, three, check_exact=True)


@pytest.mark.parametrize("kernel", ["sibships", "unrelated"])
def test_test_of_zero_has_its_size_and_agrees_with_the_p_value(kernel: str) -> None:
    """5 % of 8000 data sets within four standard errors; decisions as by `restricted_lrt`."""
    s = decompose(sibships(120, 4), np.ones((120, 1))).eigenvalues
    s = s if kernel == "sibships" else marchenko_pastur(200, 400)
    table = expected_power(s, (0.0,), reps=8000, seed=5)
    # sibships have two eigenvalues: nothing else in the statistic is rounded
    assert table["p_rlrt"][0] == pytest.approx(
        0.05, abs=4 * np.sqrt(0.0475 / 8000 + 0.0475 / 20_000)
    )
    critical, rng = critical_value(s), np.random.default_rng(6)
    agree = 0
    for _ in range(40):
        e = np.sqrt(0.15 * s + 0.85) * rng.standard_normal(s.size)
        test = restricted_lrt(s, e, simulations=4000)
        clear = abs(test.p_value - 0.05) > 4 * test.standard_error + 0.006
        agree += (not clear) or ((test.statistic > critical) == (test.p_value < 0.05))
    assert agree == 40


def test_power_grows_with_heritability_and_with_individuals() -> None:
    h2 = (0.0, 0.1, 0.3, 0.6)
    few, many = (expected_power(marchenko_pastur(n, 2000), h2, reps=400) for n in (500, 2000))
    for table in (few, many):
        assert (np.diff(table["p_excludes_0"]) >= 0).all()
        assert (np.diff(table["p_rlrt"]) >= 0).all()
    assert (many["width"] < 0.6 * few["width"]).all()
    assert many["p_rlrt"][1] > few["p_rlrt"][1] + 0.3
    # at 4 and more expected standard errors the interval is normal
    wide = many.iloc[3]
    assert wide["width"] == pytest.approx(2 * 1.96 * wide["se_expected"], rel=0.05)


@pytest.mark.parametrize(("n", "segments"), [(1000, 50_000), (1000, 2000), (600, 200)])
def test_marchenko_pastur_has_its_moments(n: int, segments: float) -> None:
    """Mean 1, variance γ, third moment 1 + 3γ + γ² with γ = n/Me, and the zeros of a low rank."""
    s, ratio = marchenko_pastur(n, segments), n / segments
    assert s.size == n - 1
    assert s.mean() == pytest.approx(1.0)
    assert s.var() == pytest.approx(ratio, rel=0.01)
    assert np.mean(s**3) == pytest.approx(1 + 3 * ratio + ratio**2, rel=0.02)
    assert np.mean(s == 0) == pytest.approx(max(0.0, 1 - segments / n), abs=2 / n)
    assert effective_segments(s, n) == pytest.approx(segments, rel=0.01)


def test_marchenko_pastur_is_the_law_of_a_grm() -> None:
    """Quantiles of the density by adaptive quadrature, and of one simulated GRM."""
    n, segments = 400, 1000
    s, ratio = marchenko_pastur(n, segments), n / segments
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2

    def density(x: float) -> float:
        return float(np.sqrt(max((high - x) * (x - low), 0.0)) / (2 * np.pi * ratio * x))

    for place in (20, 200, 380):
        below = integrate.quad(density, low, s[place], limit=200)[0]
        assert below == pytest.approx((place + 0.5) / s.size, abs=2e-3)  # s is scaled to mean 1
    Z = np.random.default_rng(7).standard_normal((n, segments))
    found = decompose(Z @ Z.T / segments, np.ones((n, 1))).eigenvalues
    assert np.abs(np.sort(found) - s).max() < 0.1


def test_a_part_of_a_relationship_is_decomposed_as_such() -> None:
    relationship = Relationship(gram(80, 200, np.random.default_rng(8)), people(80))
    whole = relationship_eigenvalues(relationship)
    np.testing.assert_allclose(whole, decompose(relationship.matrix, np.ones((80, 1))).eigenvalues)
    part = relationship_eigenvalues(relationship, n=50, seed=2)
    assert part.size == 49
    assert part.mean() == pytest.approx(1.0)  # scaled on the fifty
    assert (part == relationship_eigenvalues(relationship, n=50, seed=2)).all()
    assert (part != relationship_eigenvalues(relationship, n=50, seed=3)).any()
    covariates = relationship_eigenvalues(relationship, fixed_effects=4)
    assert covariates.size == 76
    assert (covariates <= whole[-76:] + 1e-12).all()  # Cauchy's interlacing
    assert (covariates >= whole[:76] - 1e-12).all()
    with pytest.raises(InputError, match="80 individuals for 79 fixed effects"):
        relationship_eigenvalues(relationship, fixed_effects=79)


def test_eigenvalues_are_read_from_a_spectrum_and_from_text(tmp_path: Path) -> None:
    K = gram(40, 100, np.random.default_rng(9))
    X = np.column_stack([np.ones(40), np.arange(40.0)])
    spectrum = decompose(K, X)
    spectrum.save(tmp_path / "a.npz")
    s, p = read_eigenvalues(tmp_path / "a.npz")
    assert p == 2
    assert (s == spectrum.eigenvalues).all()
    (tmp_path / "a.txt").write_text("# made by hand\n0.5\n1.0 # middle\n\n1.5\n")
    s, p = read_eigenvalues(tmp_path / "a.txt")
    assert (list(s), p) == ([0.5, 1.0, 1.5], 1)
    (tmp_path / "bad.txt").write_text("0.5\nx\n")
    with pytest.raises(InputError, match=r"bad.txt:2: .*'x'"):
        read_eigenvalues(tmp_path / "bad.txt")
    for name, content in (("b.npz", b"no zip"), ("c.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not a spectrum file"):
            read_eigenvalues(tmp_path / name)
    np.savez(tmp_path / "d.npz", eigenvalues=np.ones((2, 2)), triangle=np.eye(2))
    with pytest.raises(InputError, match="do not belong to a spectrum"):
        read_eigenvalues(tmp_path / "d.npz")
    with pytest.raises(InputError, match="no such file"):
        read_eigenvalues(tmp_path / "missing.npz")


@pytest.mark.parametrize(("n", "segments"), [(3, 0.0), (2, 100.0), (100, float("nan"))])
def test_no_study_no_eigenvalues(n: int, segments: float) -> None:
    with pytest.raises(InputError, match=f"n = {n} with 1 fixed effects"):
        marchenko_pastur(n, segments)
