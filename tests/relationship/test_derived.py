"""Kernels of groups, of products, and of environments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.derived import (
    environment_interaction,
    group_kernel,
    hadamard,
    within_environments,
)
from bayeslmm.relationship.relationship import Relationship, average_semivariance

N = 8
IDS = individual_index(["F"] * N, list("abcdefgh"))
HOUSES = pd.Series([1, 1, 2, 2, 2, 3, 4, 1], index=IDS, name="household")
BACKWARDS = IDS[::-1]


def kernel(seed: int = 1, name: str = "additive", **fields: object) -> Relationship:
    Z = np.random.default_rng(seed).standard_normal((N, 30))
    return Relationship(Z @ Z.T / 20, IDS, name=name, **fields)  # type: ignore[arg-type]


def test_a_group_kernel_is_the_crossproduct_of_the_indicators() -> None:
    K = group_kernel(HOUSES)
    Z = pd.get_dummies(HOUSES).to_numpy(dtype=float)
    np.testing.assert_array_equal(K.matrix, Z @ Z.T)
    assert (K.name, K.kind, K.estimator, K.kernel_scale) == (
        *("household", "environment", "group", "none"),
    )
    assert K.on(IDS) is K


def test_groups_are_matched_by_identifier() -> None:
    text = HOUSES.map({1: "x", 2: "y", 3: "z", 4: "w"}).sample(frac=1, random_state=1)
    plain = pd.Series(text.to_numpy(), index=text.index.get_level_values("IID"), name="household")
    for labels in (text, plain):
        K = group_kernel(labels, BACKWARDS, name="home")
        np.testing.assert_array_equal(K.matrix, group_kernel(HOUSES).matrix[::-1, ::-1])
        assert K.name == "home"


@pytest.mark.parametrize("missing", [None, "NA", " ", ".", np.nan])
def test_individuals_without_a_group_are_named(missing: object) -> None:
    labels = HOUSES.astype(object)
    labels.iloc[[1, 4]] = missing
    with pytest.raises(
        InputError, match=r"2 of 8 individuals have no value of 'household': F b, F e"
    ):
        group_kernel(labels)
    with pytest.raises(InputError, match=r"1 of 8 individuals have no value of 'household': F c"):
        group_kernel(HOUSES.drop(("F", "c")), IDS)


def test_groups_that_say_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"a single group among the 8 .* from the intercept"):
        group_kernel(HOUSES * 0)
    with pytest.raises(InputError, match=r"no two individuals in one group .* from the residual"):
        group_kernel(pd.Series(range(N), index=IDS))
    with pytest.raises(InputError, match="a single group"):
        group_kernel(HOUSES, IDS[2:5])  # among these individuals


def test_repeated_labels_are_refused() -> None:
    with pytest.raises(InputError, match="repeated individuals"):
        group_kernel(pd.concat([HOUSES, HOUSES.iloc[:1]]), IDS)


def test_epistasis_is_the_product_with_mean_diagonal_one() -> None:
    """Vitezica et al. 2017, equation for G_AA: the product over the mean of its diagonal."""
    A, D = kernel(), kernel(2, "dominance")
    K = hadamard(A, D)
    product = A.matrix * D.matrix
    np.testing.assert_allclose(K.matrix, product / product.diagonal().mean(), rtol=1e-14)
    assert K.factor == pytest.approx(product.diagonal().mean())
    assert (K.name, K.estimator, K.kernel_scale) == ("additive_dominance", "hadamard", "asv")
    assert hadamard(A, A).name == "additive_additive"
    assert hadamard(A, A, name="epistasis").name == "epistasis"


def test_the_scale_of_the_factors_does_not_matter_after_scaling() -> None:
    A, D = kernel(), kernel(2, "dominance")
    scaled = hadamard(A.on(IDS), D).on(BACKWARDS)
    plain = hadamard(A, D, individuals=BACKWARDS).on(BACKWARDS)
    np.testing.assert_allclose(scaled.matrix, plain.matrix, rtol=1e-12)
    assert scaled.factor == pytest.approx(plain.factor, rel=1e-12)
    assert average_semivariance(plain.matrix) == pytest.approx(1.0, abs=1e-12)


def test_products_of_pedigree_kernels_are_not_scaled() -> None:
    A = kernel(kernel_scale="none", estimator="pedigree", source="a.ped")
    K = hadamard(A, A)
    np.testing.assert_array_equal(K.matrix, A.matrix**2)
    assert (K.factor, K.kernel_scale, K.source) == (1.0, "none", "a.ped")


def test_a_product_without_a_diagonal_is_refused() -> None:
    people = kernel().individuals
    n = len(people)
    one = Relationship(np.diag((np.arange(n) % 2).astype(float)), people, name="odd")
    two = Relationship(np.diag((np.arange(n) % 2 == 0).astype(float)), people, name="even")
    with pytest.raises(InputError, match="of odd and even has the mean diagonal 0 -> a positive"):
        hadamard(one, two)


def test_a_product_with_a_group_is_genetic_of_two_groups_is_not() -> None:
    homes = group_kernel(HOUSES)
    assert hadamard(kernel(), homes).kind == "genetic"
    assert hadamard(homes, homes).kind == "environment"


def test_the_kernel_of_slopes() -> None:
    """K ∘ eeᵀ = diag(e) K diag(e), e standardised on the individuals with ddof 1."""
    A = kernel(kernel_scale="none")
    raw = np.array([3.0, 1, 4, 1, 5, 9, 2, 6])
    e = (raw - raw.mean()) / raw.std(ddof=1)
    K = environment_interaction(A, pd.Series(raw, index=IDS, name="temperature"))
    np.testing.assert_allclose(K.matrix, np.diag(e) @ A.matrix @ np.diag(e), rtol=1e-13, atol=1e-15)
    assert (K.name, K.estimator, K.kind) == ("additive_x_temperature", "gxe", "genetic")
    some = pd.Series(raw, index=IDS, name="temperature").sample(frac=1, random_state=2)
    again = environment_interaction(A, some * 10 - 7, individuals=BACKWARDS)
    np.testing.assert_allclose(again.matrix, K.matrix[::-1, ::-1], rtol=1e-12, atol=1e-14)
    assert again.individuals.equals(BACKWARDS)


def test_the_kernel_is_scaled_before_the_slopes() -> None:
    e = pd.Series(np.arange(N), index=IDS, name="e")
    K, A = environment_interaction(kernel(), e), kernel().on(IDS)
    assert K.factor == A.factor
    z = (np.arange(N) - 3.5) / np.std(np.arange(N), ddof=1)
    np.testing.assert_allclose(K.matrix, A.matrix * np.outer(z, z), rtol=1e-13)


def test_environments_that_cannot_serve() -> None:
    values = pd.Series(np.arange(N, dtype=float), index=IDS, name="e")
    with pytest.raises(InputError, match="'e' does not vary"):
        environment_interaction(kernel(), values * 0 + 3)
    with pytest.raises(InputError, match="numbers -> use within_environments"):
        environment_interaction(kernel(), values.map(lambda value: f"x{value}"))
    values.iloc[3] = np.inf
    with pytest.raises(InputError, match=r"1 of 8 individuals have no value of 'e': F d"):
        environment_interaction(kernel(), values)


def test_within_environments() -> None:
    A = kernel(kernel_scale="none")
    K = within_environments(A, HOUSES)
    np.testing.assert_array_equal(K.matrix, A.matrix * group_kernel(HOUSES).matrix)
    assert (K.name, K.estimator) == ("additive_within_household", "gxe")
    with pytest.raises(InputError, match="no two individuals"):
        within_environments(A, pd.Series(range(N), index=IDS))


def test_memory_is_asked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayeslmm.system.memory.available_memory", lambda: 100)
    with pytest.raises(InputError, match="the kernel 'household' of 8 individuals needs"):
        group_kernel(HOUSES)
    with pytest.raises(InputError, match="the kernel 'additive_additive' of 8 individuals needs"):
        hadamard(kernel(), kernel())
