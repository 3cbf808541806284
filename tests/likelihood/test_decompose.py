"""From a kernel to its spectrum: basis, policy on negative eigenvalues, reuse."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_problems import Problem, people, problems
from spectra import same

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.likelihood import decompose as module
from bayeslmm.likelihood.decompose import (
    compress,
    decompose,
    decompose_root,
    kernel_key,
    root_key,
    spectrum,
    variant_spectrum,
)
from bayeslmm.likelihood.one_kernel import spectral_logp
from bayeslmm.likelihood.one_kernel_solve import semivariance
from bayeslmm.likelihood.spectrum import SPECTRA, Spectrum
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

EACH = pytest.mark.parametrize("problem", problems().values(), ids=lambda p: p.name)


@pytest.fixture(autouse=True)
def _nothing_in_memory() -> None:
    SPECTRA.clear()


def blocks(S: Spectrum) -> Any:
    """WᵀKW by what the spectrum says: K₁₁ = T + C s⁺ Cᵀ."""
    s, C = S.eigenvalues, S.coupling
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    return np.block([[S.schur + (C * inverse) @ C.T, C], [C.T, np.diag(s)]])


def kernel_of(S: Spectrum) -> Any:
    """K (n, n) by what the spectrum says."""
    return S.basis.columns @ blocks(S) @ S.basis.columns.T


@EACH
def test_the_basis_is_orthogonal_and_takes_x_and_k_to_their_blocks(problem: Problem) -> None:
    """Rounding only: 1e-13 of the size of X (a year of 1990) and of K."""
    K, X = problem.kernel, problem.X
    S = decompose(K, X)
    assert (S.n, S.p, S.m) == (*X.shape, X.shape[0] - X.shape[1])
    W = S.basis.columns
    np.testing.assert_allclose(W.T @ W, np.eye(S.n), atol=1e-13)
    expected = np.vstack([S.triangle, np.zeros((S.m, S.p))])
    np.testing.assert_allclose(W.T @ X, expected, atol=1e-13 * np.linalg.norm(X))
    np.testing.assert_array_equal(np.triu(S.triangle), S.triangle)
    size = np.linalg.norm(K, 2)
    np.testing.assert_allclose(
        S.basis.columns.T @ K @ S.basis.columns, blocks(S), atol=1e-13 * size
    )
    np.testing.assert_array_equal(np.sort(S.eigenvalues), S.eigenvalues)
    assert S.eigenvalues[0] >= 0
    y = problem.y
    np.testing.assert_allclose(S.unrotate(S.rotate(y)), y, rtol=1e-13)
    columns = np.column_stack([y, y**2])
    np.testing.assert_allclose(S.rotate(columns)[:, 1], S.rotate(y**2), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "rank", "schur_rank"),
    [
        ("centred GRM, X = 1", 15, 0),
        ("centred GRM, 4 covariates", 12, 3),
        ("fewer variants than individuals", 6, 0),
        ("uncentred GRM, 4 covariates", 12, 4),
        ("uncentred GRM of 6 variants, 4 covariates", 6, 0),
        ("tutorial", 3, 0),
        ("blocks of ones", 3, 1),
        ("pedigree", 14, 2),
    ],
)
def test_rank_and_exact_zeros(name: str, rank: int, schur_rank: int) -> None:
    """What is zero in exact arithmetic is exactly zero, not 1e-16: at h² → 1 it decides."""
    S = decompose(problems()[name].kernel, problems()[name].X)
    assert S.rank == rank
    assert np.count_nonzero(S.eigenvalues) == rank
    assert np.linalg.matrix_rank(S.schur, tol=1e-12) == schur_rank
    if schur_rank == 0:
        assert not S.schur.any()
    if "centred GRM" in name and not name.startswith("uncentred"):
        assert not S.schur[0].any()  # the intercept is a null vector
        np.testing.assert_allclose(S.coupling[0], 0.0, atol=1e-14)


def test_coupling_is_there_for_an_uncentred_kernel() -> None:
    problem = problems()["uncentred GRM, 4 covariates"]
    S = decompose(problem.kernel, problem.X)
    assert np.abs(S.coupling).max() > 0.5
    assert np.linalg.eigvalsh(S.schur)[0] > 0.1


# Negative eigenvalues

N = 20


def kernel_with(eigenvalue: float, where: str) -> tuple[Any, Any]:
    """A kernel with one negative eigenvalue: among the contrasts, or in the space of X."""
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    Q = np.linalg.qr(np.column_stack([X, rng.standard_normal((N, N - 2))]))[0]
    values = np.linspace(0.5, 2.0, N)
    values[{"contrasts": 7, "X": 1}[where]] = eigenvalue
    K = (Q * values) @ Q.T
    return 0.5 * (K + K.T), X


@pytest.mark.parametrize("where", ["contrasts", "X"])
def test_small_negative_eigenvalues_are_rounding(where: str) -> None:
    K, X = kernel_with(-1e-7, where)
    S = decompose(K, X)
    assert S.eigenvalues[0] >= 0
    assert np.linalg.eigvalsh(S.schur)[0] >= 0
    np.testing.assert_allclose(kernel_of(S), K, atol=2e-7)


@pytest.mark.parametrize("where", ["contrasts", "X"])
def test_negative_eigenvalues_below_one_percent_are_set_to_zero_with_a_warning(where: str) -> None:
    K, X = kernel_with(-0.01, where)
    with pytest.warns(BayesLMMWarning, match=r"negative eigenvalues down to -0\.01 \(0\.50% of"):
        S = decompose(K, X)
    positive, _ = kernel_with(0.0, where)
    np.testing.assert_allclose(kernel_of(S), positive, atol=1e-12)
    assert S.key == kernel_key(K, X)


@pytest.mark.parametrize("where", ["contrasts", "X"])
def test_large_negative_eigenvalues_are_an_error_with_a_remedy(where: str) -> None:
    K, X = kernel_with(-0.1, where)
    message = r"the kernel has the eigenvalue -0\.1, 5\.0% of the largest -> a positive .* GRM"
    with pytest.raises(InputError, match=message):
        decompose(K, X)


def test_an_indefinite_kernel_that_couples_x_and_the_contrasts_becomes_its_positive_part() -> None:
    """GRM of pairwise complete genotypes: K_cc alone could be positive and C²/s be huge."""
    rng = np.random.default_rng(4)
    Q = np.linalg.qr(rng.standard_normal((N, N)))[0]
    values = np.append(np.linspace(0.0, 2.0, N - 1), -0.015)
    K = (Q * values) @ Q.T
    K = 0.5 * (K + K.T)
    X = np.column_stack([np.ones(N), rng.standard_normal((N, 3))])
    with pytest.warns(BayesLMMWarning, match="set to zero"):
        S = decompose(K, X)
    expected = (Q * np.maximum(values, 0)) @ Q.T
    np.testing.assert_allclose(kernel_of(S), expected, atol=1e-12)


def test_a_singular_kernel_rounded_to_float32_is_silent() -> None:
    """GCTA's .grm.bin is float32: 5e-8 of noise on each entry must not warn nor matter."""
    rng = np.random.default_rng(5)
    Z = rng.standard_normal((60, 10))
    exact = Z @ Z.T / 10
    K = exact.astype(np.float32).astype(np.float64)
    X = np.column_stack([np.ones(60), rng.standard_normal((60, 4))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        S = decompose(K, X)
    np.testing.assert_allclose(kernel_of(S), exact, atol=1e-5)


def test_kernels_are_left_as_they_were() -> None:
    """The decomposition works in memory of its own, also where K has to be taken once more."""
    for eigenvalue in (0.5, -0.01):
        K, X = kernel_with(eigenvalue, "contrasts")
        given = Relationship(K.copy(), people(N), kernel_scale="none")
        cohort = Cohort(X[:, 1].copy(), X, given.individuals, ("intercept", "x1"), "trait")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            alone, found = decompose(given.matrix, X), spectrum(cohort, given)
        np.testing.assert_array_equal(given.matrix, K)
        assert same(alone, found)


# Few columns


def test_a_kernel_that_reaches_few_contrasts_is_compressed() -> None:
    problem = problems()["fewer variants than individuals"]
    whole = decompose(problem.kernel, problem.X)
    found = compress(whole)
    assert (found.basis.nodes, found.nodes, found.weights[0]) == (1, 1 + 6, 14 - 6)
    assert found.basis.columns.shape == (16, 2 + 6)
    assert found.key == whole.key
    np.testing.assert_allclose(found.kernel(), problem.kernel, atol=1e-13)
    assert compress(found) is found


def test_a_kernel_is_not_compressed_where_that_saves_little_or_1_is_not_in_the_space_of_x() -> None:
    rng = np.random.default_rng(7)
    n, r = 40, 37
    Z = rng.standard_normal((n, r))
    whole = decompose(Z @ Z.T, np.ones((n, 1)))
    assert compress(whole) is whole  # two of 39 contrasts
    Z = Z[:, :5]
    whole = decompose(Z @ Z.T, rng.standard_normal((n, 1)))
    assert compress(whole) is whole
    whole = decompose(Z @ Z.T, rng.standard_normal((n, 1)) * 0 + 3.0)
    assert compress(whole).nodes == 6


@pytest.mark.parametrize("r", [1, 5, 13, 14, 15, 16, 30])
def test_a_root_of_any_number_of_columns(r: int) -> None:
    """K = GGᵀ: nodes at the eigenvalues among the contrasts, one more for all the others."""
    rng = np.random.default_rng(r)
    X = np.column_stack([np.ones(16), rng.standard_normal(16)])
    root = rng.standard_normal((16, r))
    found, whole = decompose_root(root, X), decompose(root @ root.T, X)
    inside = min(r, 14)
    null = found.basis.nodes
    assert null == (r < 14)
    assert (found.rank, found.nodes) == (inside, inside + null)
    assert found.weights.tolist() == [14.0 - inside] * null + [1.0] * inside
    np.testing.assert_allclose(
        found.eigenvalues[null:], whole.eigenvalues[14 - inside :], rtol=1e-9
    )
    np.testing.assert_allclose(found.kernel(), root @ root.T, atol=1e-12 * r)
    np.testing.assert_allclose(found.triangle, whole.triangle, rtol=1e-12)
    np.testing.assert_allclose(found.schur, whole.schur, atol=1e-11)


def test_a_root_within_the_space_of_x_reaches_no_contrast() -> None:
    X = np.column_stack([np.ones(9), np.arange(9.0)])
    found = decompose_root(X @ np.array([[2.0], [0.5]]), X)
    assert (found.rank, found.eigenvalues.tolist(), found.weights.tolist()) == (0, [0.0], [7.0])
    v = X @ np.array([2.0, 0.5])
    np.testing.assert_allclose(found.kernel(), np.outer(v, v), atol=1e-12)


@pytest.fixture
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen records are many."""
    monkeypatch.setattr(module, "SMALL", 16)


@pytest.mark.usefixtures("_large")
def test_a_relationship_with_a_root_is_decomposed_without_its_matrix(calls: list[Any]) -> None:
    """The key says that it was made of a root; records of an individual share its row."""
    problem = problems()["pedigree"]
    root = np.random.default_rng(8).standard_normal((16, 3))
    given = Relationship(root @ root.T, people(16), root=root)
    one = problem.cohort
    S = spectrum(one, given)
    assert calls == []
    aligned = given.on(one.people)
    assert aligned.root is not None
    np.testing.assert_allclose(S.kernel(), aligned.matrix, atol=1e-12)
    assert S.key == root_key(aligned.root, one.X)
    assert S.key != kernel_key(aligned.root, one.X)
    twice = np.r_[:16, 3, 3, 7]
    names = tuple(f"r{k}" for k in range(19))
    ids, X = one.individuals[twice], np.ascontiguousarray(one.X[twice])
    records = Cohort(one.y[twice], X, ids, one.covariates, "trait", records=names)
    found = spectrum(records, given)
    assert calls == []
    np.testing.assert_allclose(found.kernel(), aligned.matrix[np.ix_(twice, twice)], atol=1e-12)


@pytest.mark.usefixtures("_large")
def test_a_root_of_many_columns_is_no_help(calls: list[Any]) -> None:
    root = np.random.default_rng(9).standard_normal((16, 8))
    one = problems()["pedigree"].cohort
    S = spectrum(one, Relationship(root @ root.T, people(16), root=root))
    assert len(calls) == 1
    assert S.basis.nodes == 1  # 6 of 14 contrasts are not reached


def test_of_few_records_all_eigenvectors_are_kept(calls: list[Any]) -> None:
    """Also where a root would do without them: n × n numbers are no burden."""
    root = np.random.default_rng(9).standard_normal((16, 3))
    one = problems()["pedigree"].cohort
    given = Relationship(root @ root.T, people(16), root=root)
    S = spectrum(one, given)
    assert len(calls) == 1
    assert (S.basis.nodes, S.basis.columns.shape) == (0, (16, 16))
    assert same(S, decompose(given.on(one.people).matrix, one.X))


def test_variants_fewer_than_the_individuals_or_not() -> None:
    """K = WWᵀ/c either way, c the average semivariance of WWᵀ among the individuals."""
    one = problems()["pedigree"].cohort
    rng = np.random.default_rng(10)
    for m in (6, 40):
        W = rng.binomial(2, 0.4, (16, m)) - 0.8
        S = variant_spectrum(one, Variants(W, one.individuals))
        K = W @ W.T
        K /= (np.trace(K) - K.sum() / 16) / 15
        np.testing.assert_allclose(S.kernel(), K, atol=1e-12)
        assert S.basis.nodes == (m == 6)
        assert semivariance(S) == pytest.approx(1.0, rel=1e-12)


# Reuse


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Every decomposition from here on."""
    made: list[tuple[int, ...]] = []
    original = module._decompose

    def counted(K: Any, X: Any, *rest: Any) -> Spectrum:
        made.append(X.shape)
        return original(K, X, *rest)

    monkeypatch.setattr(module, "_decompose", counted)
    return made


def test_two_traits_with_the_same_x_share_one_decomposition(calls: list[Any]) -> None:
    problem = problems()["pedigree"]
    first, K = problem.cohort, problem.relationship()
    other = Cohort(first.y**2, first.X.copy(), first.individuals, first.covariates, "other")
    S = spectrum(first, K)
    assert spectrum(other, K) is S
    assert len(calls) == 1
    fewer = Cohort(first.y, first.X[:, :1].copy(), first.individuals, ("intercept",), "trait")
    assert spectrum(fewer, K).p == 1
    assert len(calls) == 2
    scaled = Relationship(K.matrix, K.individuals, kernel_scale="none")
    changed = Relationship(K.matrix + np.eye(K.n), K.individuals)
    assert spectrum(first, scaled).n == spectrum(first, changed).n == 16
    assert len(calls) > 2
    assert spectrum(first, K) is S


def test_a_file_is_used_if_it_holds_this_kernel_and_replaced_if_not(
    tmp_path: Path, calls: list[Any]
) -> None:
    problem = problems()["pedigree"]
    path = tmp_path / "kept.npz"
    cohort, K = problem.cohort, problem.relationship()
    S = spectrum(cohort, K, path=path)
    assert same(Spectrum.load(path), S)
    SPECTRA.clear()
    alive = spectrum(cohort, K, path=path)
    assert same(alive, S)
    assert len(calls) == 1
    changed = Relationship(K.matrix + np.eye(K.n), K.individuals)
    found = spectrum(cohort, changed, path=path)  # another key: computed again, the file replaced
    assert len(calls) == 2
    assert found.key != S.key
    assert same(Spectrum.load(path), found)
    again = spectrum(cohort, K, path=path)  # from memory, and the file follows
    assert again is alive
    assert len(calls) == 2
    assert same(Spectrum.load(path), again)


def test_a_damaged_file_is_not_overlooked(tmp_path: Path) -> None:
    problem = problems()["pedigree"]
    (tmp_path / "kept.npz").write_text("nonsense")
    with pytest.raises(InputError, match="not a spectrum file"):
        spectrum(problem.cohort, problem.relationship(), path=tmp_path / "kept.npz")


def test_the_order_of_the_relationships_rows_plays_no_role() -> None:
    """Aligned by ID: permuted rows and two individuals more; log p is the same to 1e-10."""
    problem = problems()["uncentred GRM, 4 covariates"]
    cohort, n = problem.cohort, 16
    rng = np.random.default_rng(6)
    larger = np.eye(n + 2)
    larger[:n, :n] = problem.kernel
    ids = people(n + 2)
    order = rng.permutation(n + 2)
    base = spectrum(cohort, problem.relationship())
    moved = spectrum(cohort, Relationship(larger[np.ix_(order, order)], ids[order]))
    wrong = spectrum(cohort, Relationship(larger[np.ix_(order, order)], ids))  # IDs that lie
    beta, variance = np.array([30.0, 0.001, 0.3, 1.0]), np.array([2.0, 1.0])

    def logp(S: Spectrum) -> float:
        parts = S.arrays
        return float(spectral_logp(S.rotate(cohort.y), beta, variance, *parts)[0])

    assert logp(moved) == pytest.approx(logp(base), rel=1e-10)
    assert abs(logp(wrong) - logp(base)) > 1e-3


def test_memory_is_asked_for_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayeslmm.system.memory.available_memory", lambda: 1000)
    with pytest.raises(InputError, match="eigendecomposition of a 16 × 16 kernel needs"):
        decompose(problems()["pedigree"].kernel, problems()["pedigree"].X)


def test_the_key_depends_on_every_number_and_on_the_shape() -> None:
    K, X = np.eye(4), np.ones((4, 1))
    assert kernel_key(K, X) == kernel_key(K.copy(order="F"), X)
    others = [(K + 1e-16 * np.ones((4, 4)), X), (K, 2 * X), (K, np.ones((2, 2)))]
    assert len({kernel_key(*pair) for pair in [(K, X), *others]}) == 4
