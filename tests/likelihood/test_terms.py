"""Terms and their matrices: against W A Wᵀ written out with dense incidence matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from kernel_problems import people
from model_cases import kernels, made, relationship, text
from numpy.typing import NDArray

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index
from bayeslmm.likelihood.terms import (
    Covariance,
    Grouping,
    Term,
    codes_of,
    dam_index,
    individual_term,
    kernel_term,
    maternal_term,
    reaction_norm_term,
    residual_trait_term,
    scaled_rows,
    simple_term,
    trait_term,
)
from bayeslmm.relationship.relationship import Relationship

type Floats = NDArray[np.float64]

RNG = np.random.default_rng(1)
A = np.asarray(kernels()["A"], dtype=np.float64)
LEVELS = RNG.integers(0, 16, (7, 2))
WEIGHTS = RNG.standard_normal((7, 2))


def dense_incidence(term: Term, j: int) -> Floats:
    """W_j (n, q), entry by entry."""
    W = np.zeros((len(term.levels), term.q))
    for i, level in enumerate(term.levels[:, j]):
        W[i, level] += term.weights[i, j]
    return W


def two(kernel: Any = A) -> Term:
    return Term("two", ("a", "b"), kernel, LEVELS, WEIGHTS)


@pytest.mark.parametrize("kernel", [A, None], ids=["kernel", "identity"])
def test_blocks_and_matrices(kernel: Any) -> None:
    term = two(kernel)
    full = A if kernel is not None else np.eye(term.q)
    W = [dense_incidence(term, j) for j in range(2)]
    for i in range(2):
        np.testing.assert_array_equal(term.incidence(i).toarray(), W[i])
        for j in range(2):
            np.testing.assert_allclose(term.block(i, j), W[i] @ full @ W[j].T, atol=1e-13)
    assert term.pairs == [(0, 0), (1, 0), (1, 1)]
    found = list(term.matrices())
    cross = W[1] @ full @ W[0].T
    expected = [W[0] @ full @ W[0].T, cross + cross.T, W[1] @ full @ W[1].T]
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_the_covariance_is_that_of_the_effects() -> None:
    """V(c) = Σ_ij Σ[i, j] W_i A W_jᵀ + diag(σ²_e[class]); `unpack` is the way back."""
    classes = np.array([0, 1, 2, 0, 1, 2, 0])
    other = simple_term("other", None, np.array([0, 0, 1, 1, 2, 2, 2]))
    covariance = Covariance((two(), other), classes)
    c = np.array([2.0, -0.5, 1.0, 0.7, 0.1, 0.2, 0.3])
    S = np.array([[2.0, -0.5], [-0.5, 1.0]])
    W = [dense_incidence(two(), j) for j in range(2)]
    V = np.diag(c[4:][classes]) + 0.7 * other.block(0, 0)
    for i in range(2):
        for j in range(2):
            V += S[i, j] * W[i] @ A @ W[j].T
    np.testing.assert_allclose(covariance.dense(c), V, atol=1e-13)
    assert (covariance.n, covariance.classes, covariance.size) == (7, 3, 7)
    assert len(list(covariance.matrices())) == 7
    many = np.stack([c, 2 * c])
    (first, second), residual = covariance.unpack(many)
    np.testing.assert_array_equal(first, np.stack([S, 2 * S]))
    np.testing.assert_array_equal(second, [[[0.7]], [[1.4]]])
    np.testing.assert_array_equal(residual, many[:, 4:])
    with pytest.raises(ValueError, match="zip"):
        covariance.dense(c[:-1])


def test_a_term_may_be_the_residual() -> None:
    covariance = Covariance((two(),), None)
    assert (covariance.n, covariance.classes, covariance.size) == (7, 0, 3)
    assert len(list(covariance.matrices())) == 3


@pytest.mark.parametrize(
    ("levels", "weights", "message"),
    [
        (LEVELS[:, :1], WEIGHTS, "levels .7, 1. and weights"),
        (LEVELS, WEIGHTS[:5], "weights .5, 2., not .7, 2."),
        (LEVELS + 16, WEIGHTS, "levels from 0 to 15 only"),
        (LEVELS - 16, WEIGHTS, "levels from 0 to 15 only"),
    ],
)
def test_levels_have_to_fit(levels: Any, weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Term("two", ("a", "b"), A, levels, weights)


# Terms of a cohort


WHO = np.array([3, 1, 3, 8, 1, 3])


def records() -> Cohort:
    return made(WHO, 2, seed=1, records=True)


def test_a_kernel_of_repeated_records() -> None:
    """Scaled on the individuals, each counted once, and expanded by Z."""
    term = kernel_term(records(), relationship("A"))
    inside = [3, 1, 8]
    G = A[np.ix_(inside, inside)]
    G = G / ((np.trace(G) - G.sum() / 3) / 2)
    Z = (WHO[:, None] == inside).astype(float)
    np.testing.assert_allclose(term.block(0, 0), Z @ G @ Z.T, rtol=1e-12)
    assert (term.name, term.columns, term.genetic, term.q) == ("additive", ("additive",), True, 3)
    assert term.people is not None
    assert term.people.equals(people(16)[inside])
    named = kernel_term(records(), relationship("household", "house", group=True), "home")
    assert (named.name, named.columns, named.genetic) == ("home", ("home",), False)


def test_an_effect_of_each_group() -> None:
    """One label a record, whoever it belongs to; as many of them as there are records."""
    labels = ("b", "a", "a", "c", "b", "a")
    term = kernel_term(records(), Grouping("nest", labels))
    same = np.array(labels)[:, None] == np.array(labels)
    np.testing.assert_array_equal(term.block(0, 0), same.astype(float))
    assert (term.name, term.q, term.genetic) == ("nest", 3, False)
    wanted = r"5 labels of 'nest' -> one for each of the 6 records -> .* the cohort's columns"
    with pytest.raises(InputError, match=wanted):
        kernel_term(records(), Grouping("nest", labels[:5]))


def test_groups_of_records_that_say_nothing_are_refused() -> None:
    """Else a component that the intercept or the residual cannot be told from would be fitted."""
    for labels, what in (("aaaa", "one group"), ("abcd", "4 groups of one record each")):
        with pytest.raises(InputError, match=rf"'nest' has {what} -> several groups.*leave it out"):
            Grouping("nest", tuple(labels))
    facts = Grouping("nest", tuple("abca")).provenance()
    assert (facts["name"], facts["kind"], facts["n_groups"]) == ("nest", "environment", 3)


def test_an_effect_of_each_individual() -> None:
    term = individual_term(records(), "permanent")
    np.testing.assert_array_equal(term.block(0, 0), (WHO[:, None] == WHO).astype(float))
    assert (term.columns, term.genetic, term.q) == (("permanent",), False, 3)


def test_an_effect_of_any_levels() -> None:
    codes = np.array([0, 2, 2])
    term = simple_term("nest", None, codes, genetic=False)
    np.testing.assert_array_equal(term.block(0, 0), (codes[:, None] == codes).astype(float))
    assert (term.q, term.people, term.genetic) == (3, None, False)
    assert simple_term("A", A, np.arange(16)).block(0, 0) == pytest.approx(A)


def pedigree(scale: Any) -> Relationship:
    return Relationship(A, people(16), kernel_scale=scale)


@pytest.mark.parametrize("scale", ["asv", "none"])
def test_rows_of_others_have_the_scale_of_those_analysed(scale: Any) -> None:
    inside, wanted = people(16)[[2, 5, 7, 11]], people(16)[[0, 5]]
    found = scaled_rows(pedigree(scale), wanted, inside)
    G = A[np.ix_([2, 5, 7, 11], [2, 5, 7, 11])]
    factor = (np.trace(G) - G.sum() / 4) / 3 if scale == "asv" else 1.0
    np.testing.assert_allclose(found, A[np.ix_([0, 5], [0, 5])] / factor, rtol=1e-12)
    again = scaled_rows(pedigree(scale).on(people(16)[::-1]), wanted, inside)
    np.testing.assert_allclose(again, found, rtol=1e-12)


def with_dams(dams: Any) -> Cohort:
    who = np.arange(5, 5 + len(dams))
    return made(who, 1, seed=2, columns={"dam": text(dams)})


def test_direct_and_maternal_effects() -> None:
    """Dams that have no record and dams that have one; Z_m says whose each record is."""
    cohort = with_dams(["i1", "i2", "i1", "i5", "i6"])
    term = maternal_term(cohort, pedigree("none"))
    own, dam = np.arange(5, 10), np.array([1, 2, 1, 5, 6])
    for i, rows in enumerate((own, dam)):
        for j, columns in enumerate((own, dam)):
            np.testing.assert_allclose(term.block(i, j), A[np.ix_(rows, columns)], rtol=1e-12)
    assert (term.columns, term.genetic, term.q) == (("direct", "maternal"), True, 7)
    assert term.people is not None
    assert term.people[:5].equals(cohort.people)
    assert [iid for _, iid in dam_index(cohort)] == ["i1", "i2", "i1", "i5", "i6"]


def test_a_dam_that_nobody_knows() -> None:
    with pytest.raises(InputError, match=r"have no row in the additive relationship: .*i99"):
        maternal_term(with_dams(["i1", "i2", "i1", "i99", "i6"]), pedigree("none"))
    with pytest.raises(InputError, match="no column 'dam'"):
        maternal_term(records(), pedigree("none"))


def environments(values: Any) -> Cohort:
    return made(WHO, 1, seed=3, records=True, columns={"environment": values})


def test_a_reaction_norm() -> None:
    """Weights are 1 and the environment standardised over the records."""
    e = np.array([10.0, 12.0, 31.0, -4.0, 5.0, 6.0])
    term = reaction_norm_term(environments(e), relationship("A"))
    x = (e - e.mean()) / e.std()
    K = kernel_term(records(), relationship("A")).block(0, 0)
    np.testing.assert_allclose(term.block(0, 0), K, rtol=1e-12)
    np.testing.assert_allclose(term.block(1, 0), K * x[:, None], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(term.block(1, 1), K * np.outer(x, x), rtol=1e-12, atol=1e-14)
    assert term.columns == ("intercept", "slope")
    shifted = reaction_norm_term(environments(5 - 3 * e), relationship("A"))
    np.testing.assert_allclose(shifted.block(1, 1), term.block(1, 1), rtol=1e-10, atol=1e-13)
    numbers = reaction_norm_term(environments(text(e)), relationship("A"))
    np.testing.assert_allclose(numbers.weights, term.weights)


@pytest.mark.parametrize("values", [np.full(6, 3.0), text(["hot", "1", "2", "3", "4", "5"])])
def test_what_is_no_environment(values: Any) -> None:
    with pytest.raises(InputError, match="the environment 'environment' is not numeric"):
        reaction_norm_term(environments(values), relationship("A"))


def test_traits() -> None:
    """E_tu ⊗ K and E_tu ⊗ I without the rows of what is missing."""
    stacked = stack_traits(
        [made(np.arange(6), 1, seed=4, trait="a"), made(np.arange(2, 9), 1, seed=5, trait="b")]
    )
    K = kernel_term(stacked, relationship("A")).kernel
    assert K is not None
    term, residual = trait_term(stacked, relationship("A")), residual_trait_term(stacked)
    who, trait = np.r_[np.arange(6), np.arange(2, 9)], np.repeat([0, 1], [6, 7])
    for t in range(2):
        for u in range(2):
            mask = np.outer(trait == t, trait == u)
            np.testing.assert_allclose(term.block(t, u), K[np.ix_(who, who)] * mask, rtol=1e-12)
            same = (who[:, None] == who) * mask
            np.testing.assert_array_equal(residual.block(t, u), same)
    assert term.columns == ("additive:a", "additive:b")
    assert residual.columns == ("residual:a", "residual:b")
    assert (term.genetic, residual.genetic) == (True, False)
    for build in (lambda c: trait_term(c, relationship("A")), residual_trait_term):
        with pytest.raises(InputError, match="one trait -> two or more"):
            build(records())


def test_codes() -> None:
    codes, names = codes_of(["b", "a", "b", "c"], "group")
    assert (codes.tolist(), names) == ([1, 0, 1, 2], ["a", "b", "c"])
    tuples = list(individual_index(["F", "F", "G"], ["1", "2", "1"]))
    assert codes_of(tuples, "dam")[0].tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="no group in record 2"):
        codes_of(["b", None], "group")
    with pytest.raises(InputError, match="no dam in record 1"):
        codes_of(pd.Series([np.nan, "x"], dtype=object), "dam")
