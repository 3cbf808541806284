"""Twins, copies and outliers in a relationship matrix."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.linalg import null_space

from bayeslmm import models
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.relatedness import (
    check_duplicates,
    close_pairs,
    relationship_warnings,
    values_of_people,
)
from bayeslmm.relationship.relationship import Relationship

N = 60


def cohort(pairs: int, *, alike: float = 1.0, n: int = N, seed: int = 3) -> Relationship:
    """`pairs` twin pairs (0, 1), (2, 3), ... whose genotypes correlate by `alike`."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, 500))
    for k in range(pairs):
        Z[2 * k + 1] = alike * Z[2 * k] + np.sqrt(1 - alike**2) * Z[2 * k + 1]
    Z -= Z.mean(axis=0)
    return Relationship(Z @ Z.T / 500, individual_index(["F"] * n, [f"i{k}" for k in range(n)]))


def phenotype(copied: int, *, n: int = N) -> np.ndarray:
    y = np.random.default_rng(4).standard_normal(n)
    for k in range(copied):
        y[2 * k + 1] = y[2 * k]
    return y


def restricted_likelihood(K: np.ndarray, y: np.ndarray, h2: float) -> float:
    """Profile over σ², by dense algebra on error contrasts."""
    Q = null_space(np.ones((1, y.size)))
    V = Q.T @ (h2 * K + (1 - h2) * np.eye(y.size)) @ Q
    e = Q.T @ y
    quadratic = e @ np.linalg.solve(V, e)
    return float(-0.5 * (e.size * np.log(quadratic) + np.linalg.slogdet(V)[1]))


def accepted(relationship: Relationship, y: np.ndarray) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesLMMWarning)
        try:
            check_duplicates(relationship, y)
        except InputError:
            return False
    return True


def test_a_sample_without_peculiarities_gives_no_warning() -> None:
    assert relationship_warnings(cohort(0)) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_duplicates(cohort(0), phenotype(0))
        check_duplicates(cohort(9), phenotype(0))  # twins with phenotypes of their own


def test_outliers_on_the_diagonal_are_named() -> None:
    matrix = np.array(cohort(0).matrix)
    matrix[5, 5] *= 3
    matrix[7, 7] *= 0.2
    high, low = relationship_warnings(Relationship(matrix, cohort(0).individuals))
    assert "1 of 60" in high
    assert "above 2 times the mean (F i5)" in high
    assert "below half of the mean (F i7)" in low


def test_close_pairs_are_named_at_most_five() -> None:
    (text,) = relationship_warnings(cohort(7, alike=0.98))
    assert "7 pairs" in text
    assert "F i0 and F i1; " in text
    assert "F i8 and F i9; ...)" in text
    assert "F i10" not in text


def test_close_pairs_are_those_of_the_correlation_matrix() -> None:
    relationship = cohort(8, alike=0.96, n=700)
    D = np.diag(relationship.matrix) ** -0.5
    correlation = relationship.matrix * np.outer(D, D)
    expected = [(i, j) for i in range(700) for j in range(i + 1, 700) if correlation[i, j] > 0.95]
    assert [tuple(pair) for pair in close_pairs(relationship)] == expected
    assert 0 < len(expected) <= 8


def test_close_pairs_survive_a_zero_diagonal() -> None:
    assert close_pairs(Relationship(np.zeros((3, 3)), cohort(0).individuals[:3])).shape == (0, 2)


@pytest.mark.parametrize("alike", [1.0, 0.98])
def test_two_copies_of_a_continuous_trait_are_an_error_and_one_is_a_warning(alike: float) -> None:
    with pytest.warns(BayesLMMWarning, match="1 pair of individuals .*: F i0 and F i1;"):
        check_duplicates(cohort(3, alike=alike), phenotype(1))
    with pytest.raises(InputError, match=r"2 pairs .*F i0 and F i1; F i2 and F i3 -> .*improper"):
        check_duplicates(cohort(3, alike=alike), phenotype(2))


def test_binary_traits_of_twins_are_no_copies() -> None:
    y = np.random.default_rng(5).integers(0, 2, N).astype(float)
    y[:6] = [1, 1, 0, 0, 1, 1]
    with pytest.warns(BayesLMMWarning, match="3 pairs"):
        check_duplicates(cohort(3, alike=0.98), y)
    with pytest.raises(InputError, match="3 pairs"):
        check_duplicates(cohort(3), y)  # equal rows, all concordant
    y[5] = 0
    with pytest.warns(BayesLMMWarning, match="2 pairs"):
        check_duplicates(cohort(3), y)  # one pair differs: h² = 1 is impossible


@pytest.mark.parametrize("twins", [2, 3, 5])
@pytest.mark.parametrize("discordant", [0, 1])
def test_the_rule_for_discrete_traits_is_the_propriety_of_the_posterior(
    twins: int, discordant: int
) -> None:
    relationship = cohort(twins)
    y = np.random.default_rng(6).integers(0, 4, N).astype(float)
    y[1 : 2 * twins : 2] = y[0 : 2 * twins : 2]
    y[1] += discordant
    near, nearer = (restricted_likelihood(relationship.matrix, y, 1 - d) for d in (1e-5, 1e-9))
    # k log(1e4)/2 more for k concordant pairs; the density of h² is not integrable for k >= 2
    assert (nearer > near + 0.9 * np.log(1e4)) == (discordant == 0)
    assert accepted(relationship, y) == (discordant == 1)


def test_phenotypes_have_to_fit_the_relationship() -> None:
    with pytest.raises(InputError, match=r"shape \(3,\) for 60 individuals"):
        check_duplicates(cohort(0), np.zeros(3))


def repeated(values: list[list[float]], who: list[list[int]], n: int = N) -> Cohort:
    """Individual `who[k]` has the records `values[k]`; everybody else one of its own."""
    rng = np.random.default_rng(8)
    people = individual_index(["F"] * n, [f"i{k}" for k in range(n)])
    rows, y = [], []
    given = {k: own for own, group in zip(values, who, strict=True) for k in group}
    for k in range(n):
        records = given.get(k, [float(rng.standard_normal())])
        rows += [k] * len(records)
        y += records
    return Cohort(
        np.array(y), np.ones((len(y), 1)), people[rows], ("intercept",), "height",
        records=tuple(f"r{k}" for k in range(len(y))),
    )  # fmt: skip


def test_individuals_with_the_same_records_have_the_same_number() -> None:
    cohort_ = repeated([[1.5, 2.5], [2.5, 1.5], [1.5]], [[0, 1], [2], [3]])
    found = values_of_people(cohort_)
    assert found[0] == found[1] == found[2]  # the order of the records does not matter
    assert found[3] != found[0]
    assert np.unique(found).size == N - 2


def test_copies_with_several_records_are_refused_when_the_model_is_built() -> None:
    relationship = cohort(2)
    copies = repeated([[1.5, 2.5], [0.3, 0.4]], [[0, 1], [2, 3]])
    with pytest.raises(InputError, match=r"F i0.*F i1|i0.*i1") as caught:
        models.repeated(copies, relationship)
    assert "2 pairs of individuals" in str(caught.value)
    assert "i2" in str(caught.value)
    twins = repeated([[1.5, 2.5], [1.6, 2.4], [0.3, 0.4], [0.2, 0.4]], [[0], [1], [2], [3]])
    assert accepted(relationship, values_of_people(twins))


def test_copies_in_two_traits_are_refused_and_twins_are_not() -> None:
    relationship = cohort(2)
    people = relationship.individuals
    ones = np.ones((N, 1))
    first, second = phenotype(2), np.random.default_rng(5).standard_normal(N)
    both = second.copy()
    both[[1, 3]] = both[[0, 2]]

    def stacked(b: np.ndarray) -> Cohort:
        parts = (("a", first), ("b", b))
        return stack_traits([Cohort(y, ones, people, ("intercept",), name) for name, y in parts])

    with pytest.raises(InputError, match="2 pairs of individuals"):
        models.bivariate(stacked(both), relationship)
    assert accepted(relationship, values_of_people(stacked(second)))


@pytest.mark.parametrize("pairs", [1, 2, 5, 20])
def test_copies_are_refused_where_reml_ends_at_one(pairs: int) -> None:
    # reliability.md A6: each copy adds ½ log 1/(1-h²); with two of them the flat-prior posterior
    # has no end, so that the likelihood itself is unbounded exactly where check_duplicates refuses
    relationship, y = cohort(pairs, n=200), phenotype(pairs, n=200)
    near = [restricted_likelihood(relationship.matrix, y, 1 - 10.0**-k) for k in (6, 8)]
    growth = (near[1] - near[0]) / np.log(100)
    assert growth == pytest.approx(0.5 * pairs, abs=0.02)
    assert accepted(relationship, y) == (pairs < 2)
