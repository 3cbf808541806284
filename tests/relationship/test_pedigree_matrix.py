"""A, its inverse, inbreeding and dominance against printed matrices and brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.pedigree.matrix import (
    additive_relationship,
    dominance_relationship,
    inbreeding,
    invert_relationship,
    mendelian_variances,
)
from bayeslmm.relationship.pedigree.pedigree import Pedigree, read_pedigree

type Rows = list[tuple[int, int]]  # sire and dam of 1, 2, 3, ...; 0 unknown

# Mrode 2014, Linear Models for the Prediction of Animal Breeding Values, 3rd ed., table 2.1 and
# sections 2.2 to 2.4 (the rules of Henderson 1976 and Quaas 1976)
MRODE_2: Rows = [(0, 0), (0, 0), (1, 2), (1, 0), (4, 3), (5, 2)]
MRODE_2_A = [
    [1.00, 0.00, 0.50, 0.50, 0.50, 0.25],
    [0.00, 1.00, 0.50, 0.00, 0.25, 0.625],
    [0.50, 0.50, 1.00, 0.25, 0.625, 0.563],
    [0.50, 0.00, 0.25, 1.00, 0.625, 0.313],
    [0.50, 0.25, 0.625, 0.625, 1.125, 0.688],
    [0.25, 0.625, 0.563, 0.313, 0.688, 1.125],
]
MRODE_2_INVERSE = [
    [1.833, 0.500, -1.000, -0.667, 0.000, 0.000],
    [0.500, 2.033, -1.000, 0.000, 0.533, -1.067],
    [-1.000, -1.000, 2.500, 0.500, -1.000, 0.000],
    [-0.667, 0.000, 0.500, 1.833, -1.000, 0.000],
    [0.000, 0.533, -1.000, -1.000, 2.533, -1.067],
    [0.000, -1.067, 0.000, 0.000, -1.067, 2.133],
]
# Mrode 2014, page 64 (example 4.1)
MRODE_4: Rows = [(0, 0), (0, 0), (0, 0), (1, 2), (3, 0), (1, 5), (3, 4), (1, 7)]
MRODE_4_INVERSE = [
    [2.50, 0.50, 0.00, -1.00, 0.50, -1.00, 0.50, -1.00],
    [0.50, 1.50, 0.00, -1.00, 0.00, 0.00, 0.00, 0.00],
    [0.00, 0.00, 1.83, 0.50, -0.67, 0.00, -1.00, 0.00],
    [-1.00, -1.00, 0.50, 2.50, 0.00, 0.00, -1.00, 0.00],
    [0.50, 0.00, -0.67, 0.00, 1.83, -1.00, 0.00, 0.00],
    [-1.00, 0.00, 0.00, 0.00, -1.00, 2.00, 0.00, 0.00],
    [0.50, 0.00, -1.00, -1.00, 0.00, 0.00, 2.50, -1.00],
    [-1.00, 0.00, 0.00, 0.00, 0.00, 0.00, -1.00, 2.00],
]
# K. Christensen, Population Genetics (KVL Copenhagen, www.ihh.kvl.dk/htm/kc/popgen), section 7.5
KVL: Rows = [(0, 0), (0, 0), (0, 0), (0, 0), (1, 2), (1, 2), (3, 4), (5, 6)]
KVL_A = [
    [1.00, 0.00, 0.00, 0.00, 0.50, 0.50, 0.00, 0.50],
    [0.00, 1.00, 0.00, 0.00, 0.50, 0.50, 0.00, 0.50],
    [0.00, 0.00, 1.00, 0.00, 0.00, 0.00, 0.50, 0.00],
    [0.00, 0.00, 0.00, 1.00, 0.00, 0.00, 0.50, 0.00],
    [0.50, 0.50, 0.00, 0.00, 1.00, 0.50, 0.00, 0.75],
    [0.50, 0.50, 0.00, 0.00, 0.50, 1.00, 0.00, 0.75],
    [0.00, 0.00, 0.50, 0.50, 0.00, 0.00, 1.00, 0.00],
    [0.50, 0.50, 0.00, 0.00, 0.75, 0.75, 0.00, 1.25],
]
KVL_INVERSE = [
    [2.0, 1.0, 0.0, 0.0, -1.0, -1.0, 0.0, 0.0],
    [1.0, 2.0, 0.0, 0.0, -1.0, -1.0, 0.0, 0.0],
    [0.0, 0.0, 1.5, 0.5, 0.0, 0.0, -1.0, 0.0],
    [0.0, 0.0, 0.5, 1.5, 0.0, 0.0, -1.0, 0.0],
    [-1.0, -1.0, 0.0, 0.0, 2.5, 0.5, 0.0, -1.0],
    [-1.0, -1.0, 0.0, 0.0, 0.5, 2.5, 0.0, -1.0],
    [0.0, 0.0, -1.0, -1.0, 0.0, 0.0, 2.0, 0.0],
    [0.0, 0.0, 0.0, 0.0, -1.0, -1.0, 0.0, 2.0],
]
# Mrode 2014, page 206 (example 12.1), twelve pigs; row 7 of D as printed
MRODE_12: Rows = [
    *[(0, 0)] * 4,
    *[(1, 2), (3, 4), (6, 5), (0, 5), (3, 8), (3, 8), (6, 8), (6, 8)],
]
MRODE_12_D_7 = [0, 0, 0, 0, 0, 0, 1.0, 0, 0.062, 0.062, 0.125, 0.125]


def make(rows: Rows, order: ArrayLike | None = None, *, selfing: bool = True) -> Pedigree:
    """Individuals "1", "2", ..., in another order of rows if wanted."""
    q = len(rows)
    order = np.arange(q) if order is None else np.asarray(order)
    place = np.append(np.argsort(order), -1)  # the last for unknown parents
    sire, dam = (place[np.array([rows[i][side] for i in order]) - 1] for side in (0, 1))
    ids = individual_index(["0"] * q, [str(i + 1) for i in order])
    return Pedigree(ids, sire, dam, allow_selfing=selfing)


def tabular(rows: Rows) -> np.ndarray:
    """A by the tabular method (Emik & Terrill 1949), parents first."""
    A = np.zeros((len(rows), len(rows)))
    for i, (s, d) in enumerate(rows):
        A[i, i] = 1.0 + (0.5 * A[s - 1, d - 1] if s and d else 0.0)
        for parent in (s, d):
            if parent:
                A[i, :i] += 0.5 * A[parent - 1, :i]
        A[:i, i] = A[i, :i]
    return A


def random_rows(q: int, seed: int, *, selfing: bool) -> Rows:
    """Small overlapping generations: much inbreeding, unknown parents of one or both sides."""
    rng = np.random.default_rng(seed)
    rows: Rows = [(0, 0)] * 6
    for i in range(6, q):
        s, d = (int(parent) + 1 for parent in rng.integers(max(0, i - 12), i, 2))
        if not selfing:  # even numbers sire, odd ones dam
            s, d = 2 * (s // 2) or 2, 2 * (d // 2) + 1
            d = min(d, i - 1 + i % 2)
        rows.append((0 if rng.random() < 0.1 else s, 0 if rng.random() < 0.1 else d))
    return rows


@pytest.mark.parametrize(
    ("rows", "A", "inverse", "digits"),
    [
        (MRODE_2, MRODE_2_A, MRODE_2_INVERSE, 5.1e-4),  # three digits are printed
        (MRODE_4, None, MRODE_4_INVERSE, 5.1e-3),  # two digits
        (KVL, KVL_A, KVL_INVERSE, 1e-12),  # exact
    ],
)
def test_printed_matrices(
    rows: Rows, A: list[list[float]] | None, inverse: list[list[float]], digits: float
) -> None:
    pedigree = make(rows, selfing=False)
    if A is not None:
        np.testing.assert_allclose(additive_relationship(pedigree).matrix, A, rtol=0, atol=digits)
    found = invert_relationship(pedigree).toarray()
    np.testing.assert_allclose(found, inverse, rtol=0, atol=digits)


def test_printed_inbreeding_and_mendelian_variances() -> None:
    """Mrode 2014, section 2.3: F of 5 and 6 is 0.125, D = diag(1, 1, 0.5, 0.75, 0.5, 0.469)."""
    pedigree = make(MRODE_2)
    assert inbreeding(pedigree).tolist() == [0, 0, 0, 0, 0.125, 0.125]
    assert mendelian_variances(pedigree).tolist() == [1, 1, 0.5, 0.75, 0.5, 0.46875]


def test_full_sib_mating_is_the_recurrence_of_the_textbooks() -> None:
    """F_t = (1 + 2 F_{t-1} + F_{t-2})/4 (Wright 1921; Falconer & Mackay 1996, chapter 5)."""
    rows: Rows = [(0, 0), (0, 0)]
    for t in range(20):
        rows += [(2 * t + 1, 2 * t + 2)] * 2
    F = inbreeding(make(rows))[::2]
    expected = [0.0, 0.0]
    while len(expected) < F.size:
        expected.append((1 + 2 * expected[-1] + expected[-2]) / 4)
    np.testing.assert_allclose(F, expected, rtol=0, atol=1e-14)
    assert F[2] == 0.25
    assert F[3] == 0.375


def test_a_selfed_line_loses_half_of_its_heterozygosity_a_generation() -> None:
    q = 30
    pedigree = make([(0, 0), *((i, i) for i in range(1, q))])
    F = 1.0 - 0.5 ** np.arange(q)
    np.testing.assert_allclose(inbreeding(pedigree), F, rtol=0, atol=1e-15)
    A = additive_relationship(pedigree).matrix
    np.testing.assert_allclose(A, 1.0 + np.minimum.outer(F, F), rtol=0, atol=1e-14)
    with pytest.raises(InputError, match="allow selfing"):
        make([(0, 0), (1, 1)], selfing=False)


def test_lines_inbred_completely_have_no_inverse_but_a_matrix() -> None:
    """After 60 generations F = 1 to rounding: the cross of two lines has no Mendelian sampling."""
    rows: Rows = [(0, 0), *((i, i) for i in range(1, 60)), (0, 0)]
    rows += [(i, i) for i in range(61, 120)]
    rows.append((60, 120))
    pedigree = make(rows)
    A = additive_relationship(pedigree).matrix
    assert A[-1, -1] == 1.0
    assert A[-1, 59] == pytest.approx(1.0)
    with pytest.raises(InputError, match="completely inbred parents"):
        invert_relationship(pedigree)


@pytest.mark.parametrize("selfing", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_pedigrees_against_the_tabular_method(seed: int, selfing: bool) -> None:
    """In a random order of rows; 1e-12: sums of up to 150 products of numbers near one."""
    rows = random_rows(150, seed, selfing=selfing)
    A = tabular(rows)
    assert A.diagonal().max() > 1.2
    order = np.random.default_rng(seed).permutation(len(rows))
    pedigree = make(rows, order, selfing=selfing)
    found = additive_relationship(pedigree)
    np.testing.assert_allclose(found.matrix, A[np.ix_(order, order)], rtol=0, atol=1e-12)
    np.testing.assert_allclose(inbreeding(pedigree), A.diagonal()[order] - 1, rtol=0, atol=1e-12)
    inverse = invert_relationship(pedigree)
    assert abs(inverse - inverse.T).max() == 0.0
    np.testing.assert_allclose(inverse @ found.matrix, np.eye(150), rtol=0, atol=1e-10)
    assert inverse.nnz <= 9 * 150


def test_a_part_of_the_individuals_in_their_own_order() -> None:
    rows = random_rows(150, 4, selfing=True)
    pedigree = make(rows)
    chosen = np.random.default_rng(5).permutation(150)[:40]
    ids = individual_index(["F"] * 40, [str(i + 1) for i in chosen])  # matched by IID
    part = additive_relationship(pedigree, ids)
    np.testing.assert_allclose(
        part.matrix, tabular(rows)[np.ix_(chosen, chosen)], rtol=0, atol=1e-12
    )
    assert part.individuals.equals(ids)
    with pytest.raises(InputError, match=r"1 of 1 individuals are not in the pedigree: 999"):
        additive_relationship(pedigree, individual_index(["0"], ["999"]))


def test_columns_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(150, 6, selfing=False)
    monkeypatch.setattr("bayeslmm.relationship.pedigree.matrix.BLOCK", 1000)  # 6 columns at once
    np.testing.assert_allclose(
        additive_relationship(make(rows)).matrix, tabular(rows), rtol=0, atol=1e-12
    )


def test_a_pedigree_matrix_is_not_scaled_and_says_so() -> None:
    pedigree = make(KVL)
    for relationship, name in (
        (additive_relationship(pedigree), "additive"),
        (dominance_relationship(make(MRODE_12)), "dominance"),
    ):
        about = relationship.provenance()
        assert (about["estimator"], about["kernel_scale"]) == ("pedigree", "none")
        assert (about["name"], about["factor"]) == (name, 1.0)
        assert relationship.kind == "genetic"
        assert relationship.on(relationship.individuals) is relationship


def test_the_gryphon_pedigree(shared_data: Path) -> None:
    pedigree = read_pedigree(shared_data / "gryphon/pedigree.tsv", "rows")
    A = additive_relationship(pedigree).matrix
    rank = np.append(np.argsort(pedigree.order), -1) + 1
    rows = list(zip(rank[pedigree.sire], rank[pedigree.dam], strict=True))
    rows = [(int(s), int(d)) for s, d in (rows[i] for i in pedigree.order)]
    wanted = tabular(rows)[np.ix_(rank[:-1] - 1, rank[:-1] - 1)]
    np.testing.assert_allclose(A, wanted, rtol=0, atol=1e-14)
    inverse = invert_relationship(pedigree)
    np.testing.assert_allclose(inverse @ A, np.eye(pedigree.n), rtol=0, atol=1e-10)
    np.testing.assert_allclose(inbreeding(pedigree), A.diagonal() - 1, rtol=0, atol=1e-14)


def test_printed_dominance() -> None:
    D = dominance_relationship(make(MRODE_12, selfing=False)).matrix
    np.testing.assert_allclose(D[6], MRODE_12_D_7, rtol=0, atol=5.1e-4)  # three digits
    assert D[8, 9] == D[10, 11] == 0.25  # full sibs, parents unrelated
    assert (D == D.T).all()
    assert (D.diagonal() == 1).all()


def test_dominance_of_relatives() -> None:
    """Full sibs ¼, double first cousins 1/16, half sibs and parents 0 (Cockerham 1954)."""
    rows: Rows = [*[(0, 0)] * 5, (1, 2), (1, 2), (3, 4), (3, 4), (6, 8), (7, 9), (1, 5)]
    D = dominance_relationship(make(rows)).matrix
    assert D[5, 6] == 0.25
    assert D[9, 10] == 1 / 16
    assert D[5, 11] == D[5, 0] == D[0, 1] == 0.0
    part = dominance_relationship(make(rows), individual_index("00", ["11", "10"]))
    assert part.matrix.tolist() == [[1, 1 / 16], [1 / 16, 1]]


def test_dominance_of_inbred_individuals_warns() -> None:
    with pytest.warns(BayesLMMWarning, match=r"1 of 8 individuals are inbred"):
        dominance_relationship(make(KVL))


def test_a_matrix_that_does_not_fit_is_refused_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bayeslmm.system.memory.available_memory", lambda: 1000)
    with pytest.raises(InputError, match="the pedigree's A of 150 individuals needs"):
        additive_relationship(make(random_rows(150, 1, selfing=True)))
