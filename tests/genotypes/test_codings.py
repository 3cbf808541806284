"""Codings: the published numbers, orthogonality, which allele is counted, real dosages."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslmm.genotypes.codings import Scale, additive, dominance, encode, moments


def coded(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(b, k) codes of the dosages x (k,)."""
    return np.polynomial.polynomial.polyval(x, coefficients.T)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.25, 0.5, 0.9])
def test_dominance_is_vitezicas_table(p: float) -> None:
    expected = np.array([-2 * p**2, 2 * p * (1 - p), -2 * (1 - p) ** 2]) / (2 * p * (1 - p))
    found = coded(dominance(np.array([2 * p])), np.array([0.0, 1.0, 2.0]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    gcta = (np.array([0, 2 * p, 4 * p - 2]) - 2 * p**2) / (2 * p * (1 - p))
    np.testing.assert_allclose(found, gcta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5])
def test_in_hardy_weinberg_proportions_the_codings_are_orthonormal(p: float) -> None:
    x = np.array([0.0, 1.0, 2.0])
    frequency = np.array([(1 - p) ** 2, 2 * p * (1 - p), p**2])
    a = coded(additive(np.array([2 * p]), np.ones(1), 10, "gcta"), x)[0]
    d = coded(dominance(np.array([2 * p])), x)[0]
    basis = np.stack([np.ones(3), a, d])
    np.testing.assert_allclose(basis * frequency @ basis.T, np.eye(3), atol=1e-12)


def test_out_of_hardy_weinberg_they_are_not() -> None:
    x, frequency = np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.2, 0.3])
    mean = np.array([frequency @ x])
    assert abs(frequency @ coded(dominance(mean), x)[0]) > 0.5


def test_dominance_does_not_ask_which_allele_is_counted() -> None:
    x = np.linspace(0, 2, 41)  # real dosages, too
    for p in (0.02, 0.37):
        one = coded(dominance(np.array([2 * p])), x)
        other = coded(dominance(np.array([2 - 2 * p])), 2 - x)
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.float64])
def test_encode_chooses_rows_and_leaves_missing_at_zero(dtype: type) -> None:
    missing = -9 if dtype is np.int8 else np.nan
    dosages = np.array([[0, 1, 2, missing], [2, 2, 0, 1], [1, 1, missing, 0]]).astype(dtype)
    coefficients = np.array([[1.0, 10.0, 100.0], [2.0, 0.0, 0.0]])
    z = np.full((2, 4), 7.0, np.float32)
    encode(z, dosages, np.array([2, 0]), coefficients)
    np.testing.assert_array_equal(z, [[111, 111, 0, 1], [2, 2, 2, 0]])


def test_moments_of_what_is_observed() -> None:
    dosages = np.array([[0, 1, 2, np.nan], [1.5, 1.5, np.nan, 1.5], [np.nan] * 4])
    mean, about_mean, varies = moments(dosages)
    np.testing.assert_allclose(mean, [1, 1.5, 0])
    np.testing.assert_allclose(about_mean, [2, 0, 0], atol=1e-15)
    assert varies.tolist() == [True, False, False]


@pytest.mark.parametrize(("scale", "sd"), [("centred", 1.0), ("sample", np.sqrt(2 / 3))])
def test_dosages_that_vary_are_standardised(scale: Scale, sd: float) -> None:
    dosages = np.array([[0, 0, 0, 0], [0, 1, 2, -9]], np.int8)
    mean, about_mean, varies = moments(dosages)
    rows = np.flatnonzero(varies)
    z = np.empty((rows.size, 4))
    encode(z, dosages, rows, additive(mean[rows], about_mean[rows], 4, scale))
    np.testing.assert_allclose(z, [[-1 / sd, 0, 1 / sd, 0]])
