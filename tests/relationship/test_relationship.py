"""Relationship: checks, choice of rows by ID, scale."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.relationship import Relationship, average_semivariance, mirror


def people(q: int, family: str = "F") -> pd.MultiIndex:
    return individual_index([family] * q, [f"i{k}" for k in range(q)])


def kernel(q: int, seed: int = 1) -> np.ndarray:
    Z = np.random.default_rng(seed).standard_normal((q, 3 * q))
    return Z @ Z.T / (3 * q)


def test_average_semivariance_is_the_trace_of_the_projected_matrix() -> None:
    n = 30
    K = kernel(n) + 0.3
    P = np.eye(n) - np.ones((n, n)) / n
    assert average_semivariance(K) == pytest.approx(np.trace(P @ K @ P) / (n - 1), rel=1e-13)


def test_average_semivariance_is_the_expected_sample_variance() -> None:
    K = kernel(12)
    draws = np.random.default_rng(2).multivariate_normal(np.zeros(12), K, size=200_000)
    found = draws.var(axis=1, ddof=1).mean()
    assert average_semivariance(K) == pytest.approx(found, rel=0.005)


def test_average_semivariance_of_one_individual_is_zero() -> None:
    assert average_semivariance(np.ones((1, 1))) == 0.0


def test_rows_are_chosen_by_id_whatever_the_order() -> None:
    ids = people(8)
    relationship = Relationship(kernel(8), ids)
    order = np.array([6, 1, 4])
    chosen = relationship.on(ids[order], kernel_scale="none")
    np.testing.assert_array_equal(chosen.matrix, kernel(8)[np.ix_(order, order)])
    assert list(chosen.individuals) == list(ids[order])
    assert chosen.factor == 1.0


@pytest.mark.parametrize("scale", [1.0, 17.3, 1e-9])
def test_scaled_to_average_semivariance_one_and_the_factor_says_by_what(scale: float) -> None:
    ids = people(20)
    relationship = Relationship(scale * kernel(20), ids)
    some = relationship.on(ids[3:15])
    assert average_semivariance(some.matrix) == pytest.approx(1.0, rel=1e-13)
    np.testing.assert_allclose(
        some.matrix * some.factor, scale * kernel(20)[3:15, 3:15], rtol=1e-13
    )
    fewer = some.on(ids[5:12])
    np.testing.assert_allclose(
        fewer.matrix * fewer.factor, scale * kernel(20)[5:12, 5:12], rtol=1e-13
    )
    assert average_semivariance(fewer.matrix) == pytest.approx(1.0, rel=1e-13)


def test_on_is_idempotent_to_the_last_bit() -> None:
    ids = people(20)
    once = Relationship(kernel(20), ids).on(ids[:15])
    assert once.on(ids[:15]) is once
    assert once.on(ids[:15], kernel_scale="asv") is once
    unscaled = Relationship(kernel(20), ids, kernel_scale="none")
    assert unscaled.on(ids) is unscaled


def test_the_scale_wanted_is_kept_until_another_is_asked_for() -> None:
    ids = people(20)
    unscaled = Relationship(kernel(20), ids).on(ids, kernel_scale="none")
    assert unscaled.kernel_scale == "none"
    assert unscaled.on(ids[:10]).factor == 1.0  # its own wish
    assert unscaled.on(ids[:10], kernel_scale="asv").factor != 1.0
    scaled = Relationship(kernel(20), ids).on(ids)
    kept = scaled.on(ids[:10], kernel_scale="none")
    assert kept.factor == scaled.factor
    np.testing.assert_array_equal(kept.matrix, scaled.matrix[:10, :10])


def test_matched_by_iid_where_one_side_has_no_families() -> None:
    relationship = Relationship(kernel(5), people(5, "0"))
    chosen = relationship.on(people(3, "F"), kernel_scale="none")
    np.testing.assert_array_equal(chosen.matrix, kernel(5)[:3, :3])
    assert chosen.individuals[0] == ("F", "i0")


def test_individuals_without_a_row_are_named() -> None:
    relationship = Relationship(kernel(3), people(3), source="my.grm.bin")
    with pytest.raises(InputError, match=r"my\.grm\.bin: 7 of 10 .*F i3, F i4, .*F i7, \.\.\. ->"):
        relationship.on(people(10))
    with pytest.raises(InputError, match=r"3 of 3 individuals have no row"):
        relationship.on(people(3, "G"))  # both sides have families, and they differ


def test_repeated_individuals_are_refused() -> None:
    ids = people(3)
    with pytest.raises(InputError, match="1 duplicate individual IDs: F i0 "):
        Relationship(kernel(3), ids[[0, 1, 0]])
    with pytest.raises(InputError, match="duplicate"):
        Relationship(kernel(3), ids).on(ids[[0, 1, 0]])


@pytest.mark.parametrize("matrix", [np.ones((4, 4)), np.zeros((4, 4)), -np.eye(4)])
def test_a_matrix_that_tells_nobody_apart_has_no_scale(matrix: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"average semivariance .*4 individuals: it does not tell"):
        Relationship(matrix, people(4)).on(people(4))
    assert Relationship(matrix, people(4)).on(people(4), kernel_scale="none").factor == 1.0


def test_one_individual_has_no_scale() -> None:
    with pytest.raises(InputError, match="average semivariance"):
        Relationship(kernel(4), people(4)).on(people(1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(value: float) -> None:
    matrix = kernel(4)
    matrix[2, 1] = value
    with pytest.raises(
        InputError, match=rf"x\.rel: .*F i2 and F i1 \(row 3, column 2\) is {value}"
    ):
        Relationship(matrix, people(4), source="x.rel")


def test_an_asymmetric_pair_is_named() -> None:
    matrix = kernel(4)
    matrix[1, 3] += 0.1
    with pytest.raises(InputError, match=r"F i1 and F i3 is .* in row 2, column 4 but .* in row 4"):
        Relationship(matrix, people(4))


def test_rounding_is_averaged_out_and_the_input_left_alone() -> None:
    matrix = kernel(4)
    matrix[1, 3] += 1e-8
    before = matrix.copy()
    relationship = Relationship(matrix, people(4))
    np.testing.assert_array_equal(relationship.matrix, relationship.matrix.T)
    assert relationship.matrix[1, 3] == pytest.approx(before[3, 1] + 0.5e-8, rel=1e-14)
    np.testing.assert_array_equal(matrix, before)


def test_the_matrix_is_read_only_and_the_array_given_is_not() -> None:
    matrix = kernel(4)
    relationship = Relationship(matrix, people(4))
    with pytest.raises(ValueError, match="read-only"):
        relationship.matrix[0, 0] = 1.0
    matrix[0, 0] = matrix[0, 0]


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (4,), (0, 0)])
def test_sizes_have_to_agree(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="for 4 individuals"):
        Relationship(np.ones(shape), people(4))


def test_individuals_need_the_levels_fid_and_iid() -> None:
    with pytest.raises(InputError, match="MultiIndex with the levels FID and IID"):
        Relationship(kernel(2), pd.Index(["a", "b"]))  # type: ignore[arg-type]


def test_unknown_scales_and_factors_are_refused() -> None:
    with pytest.raises(InputError, match="'asv' or 'none'"):
        Relationship(kernel(2), people(2), kernel_scale="mean")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'asv' or 'none'"):
        Relationship(kernel(2), people(2)).on(people(2), kernel_scale="mean")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="factor 0"):
        Relationship(kernel(2), people(2), factor=0.0)


@pytest.mark.parametrize("n", [1, 5, 512, 1200])
def test_mirror_fills_the_upper_triangle(n: int) -> None:
    whole = np.random.default_rng(n).standard_normal((n, n))
    whole = whole + whole.T
    lower = np.tril(whole) + np.triu(np.full((n, n), np.pi), 1)
    mirror(lower)
    np.testing.assert_array_equal(lower, whole)


def test_any_estimator_and_the_kind_are_kept_and_told() -> None:
    ids = people(6)
    K = kernel(6)
    relationship = Relationship(K, ids, name="household", estimator="group", kind="environment")
    chosen = relationship.on(ids[:4])
    assert (chosen.kind, chosen.estimator) == ("environment", "group")
    assert chosen.provenance()["kind"] == "environment"
    assert Relationship(K, ids).provenance()["kind"] == "genetic"


def test_a_name_and_an_estimator_are_words() -> None:
    for wrong in ({"name": ""}, {"estimator": " "}, {"name": 3}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} .* -> a printable word"):
            Relationship(kernel(3), people(3), **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'genetic' or 'environment'"):
        Relationship(kernel(3), people(3), kind="other")  # type: ignore[arg-type]


def test_a_root_goes_with_the_rows_and_the_scale() -> None:
    """GGᵀ stays the matrix, for any choice and order of individuals and on any scale."""
    ids, G = people(20), np.random.default_rng(3).standard_normal((20, 4))
    whole = Relationship(G @ G.T, ids, root=G)
    for who, scale in ((ids, "none"), (ids[[7, 2, 11, 5, 3, 19]], "none"), (ids[3:15], "asv")):
        found = whole.on(who, kernel_scale=scale)
        assert found.root is not None
        assert found.root.shape == (len(who), 4)
        np.testing.assert_allclose(found.root @ found.root.T, found.matrix, rtol=1e-12, atol=1e-12)
    assert whole.on(ids[[7, 2]], kernel_scale="none").root.tolist() == G[[7, 2]].tolist()


@pytest.mark.parametrize(
    "root", [np.ones((20, 4)), np.ones((19, 4)), np.ones(20)], ids=["other", "fewer", "flat"]
)
def test_a_root_of_another_matrix_is_left_out(root: np.ndarray) -> None:
    G = np.random.default_rng(3).standard_normal((20, 4))
    found = Relationship(G @ G.T, people(20), root=root)
    assert found.root is None
    np.testing.assert_array_equal(found.matrix, G @ G.T)
