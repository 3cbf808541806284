"""The spectrum: the basis, the policy on negative eigenvalues, keeping and reusing it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from kernel_problems import Problem, people, problems

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.likelihood import spectrum as module
from bayeslmm.likelihood.decompose import decompose, kernel_key, spectrum
from bayeslmm.likelihood.one_kernel import spectral_logp
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.relationship.relationship import Relationship

EACH = pytest.mark.parametrize("problem", problems().values(), ids=lambda p: p.name)


@pytest.fixture(autouse=True)
def _nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECENT", {})


def blocks(S: Spectrum) -> Any:
    """WᵀKW by what the spectrum says: K₁₁ = T + C s⁺ Cᵀ."""
    s, C = S.eigenvalues, S.coupling
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    return np.block([[S.schur + (C * inverse) @ C.T, C], [C.T, np.diag(s)]])


@EACH
def test_the_basis_is_orthogonal_and_takes_x_and_k_to_their_blocks(problem: Problem) -> None:
    """Rounding only: 1e-13 of the size of X (a year of 1990) and of K."""
    K, X = problem.kernel, problem.X
    S = decompose(K, X)
    assert (S.n, S.p, S.m) == (*X.shape, X.shape[0] - X.shape[1])
    np.testing.assert_allclose(S.basis.columns.T @ S.basis.columns, np.eye(S.n), atol=1e-13)
    expected = np.vstack([S.triangle, np.zeros((S.m, S.p))])
    np.testing.assert_allclose(S.basis.columns.T @ X, expected, atol=1e-13 * np.linalg.norm(X))
    np.testing.assert_array_equal(np.triu(S.triangle), S.triangle)
    size = np.linalg.norm(K, 2)
    np.testing.assert_allclose(S.basis.columns.T @ K @ S.basis.columns, blocks(S), atol=1e-13 * size)
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
    np.testing.assert_allclose(S.basis.columns @ blocks(S) @ S.basis.columns.T, K, atol=2e-7)


@pytest.mark.parametrize("where", ["contrasts", "X"])
def test_negative_eigenvalues_below_one_percent_are_set_to_zero_with_a_warning(where: str) -> None:
    K, X = kernel_with(-0.01, where)
    with pytest.warns(BayesLMMWarning, match=r"negative eigenvalues down to -0\.01 \(0\.50% of"):
        S = decompose(K, X)
    positive, _ = kernel_with(0.0, where)
    np.testing.assert_allclose(S.basis.columns @ blocks(S) @ S.basis.columns.T, positive, atol=1e-12)
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
    np.testing.assert_allclose(S.basis.columns @ blocks(S) @ S.basis.columns.T, expected, atol=1e-12)


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
    np.testing.assert_allclose(S.basis.columns @ blocks(S) @ S.basis.columns.T, exact, atol=1e-5)


# Files


def same(a: Spectrum, b: Spectrum) -> bool:
    names = ("eigenvalues", "coupling", "schur", "triangle", "basis")
    return a.key == b.key and all(np.array_equal(getattr(a, k), getattr(b, k)) for k in names)


def test_save_and_load_give_back_every_bit(tmp_path: Path) -> None:
    problem = problems()["pedigree"]
    S = decompose(problem.kernel, problem.X)
    S.save(tmp_path / "a.npz")
    assert same(Spectrum.load(tmp_path / "a.npz"), S)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    archive = dict(np.load(path))
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("FID IID\n")
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "one bit":
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        path.write_bytes(bytes(changed))
    elif how == "an array":
        with open(path, "wb") as file:
            np.save(file, archive["basis"])
    elif how == "pickled":
        np.savez(path, **(archive | {"basis": np.array([{}, 1], dtype=object)}))
    elif how == "another version of .npy":
        np.savez(path, **{k: v for k, v in archive.items() if k != "basis"})
        with ZipFile(path, "a") as kept, kept.open("basis.npy", "w") as file:
            np.lib.format.write_array(file, archive["basis"], version=(2, 0))
    elif how == "a field missing":
        np.savez(path, **{k: v for k, v in archive.items() if k != "coupling"})
    elif how == "wrong shape":
        np.savez(path, **(archive | {"coupling": archive["coupling"][:, :-1]}))
    elif how == "not finite":
        np.savez(path, **(archive | {"eigenvalues": archive["eigenvalues"] * np.nan}))


DAMAGES = ["empty", "text", "truncated", "one bit", "an array", "pickled", "a field missing"]


@pytest.mark.parametrize("how", [*DAMAGES, "another version of .npy", "wrong shape", "not finite"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, how: str) -> None:
    problem = problems()["pedigree"]
    path = tmp_path / "kept.npz"
    decompose(problem.kernel, problem.X).save(path)
    damage(path, how)
    with pytest.raises(InputError, match=r"kept\.npz: not a spectrum file .* delete it"):
        Spectrum.load(path)


def test_a_spectrum_is_named_in_a_line() -> None:
    S = decompose(np.diag([3.0, 2.0, 1.0, 0.0]), np.ones((4, 1)))
    assert repr(S) == f"Spectrum(n=4, p=1, rank={S.rank}, key={S.key[:8]!r})"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz: no such file"):
        Spectrum.load(tmp_path / "none.npz")


# Reuse


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Every call of `decompose` from here on."""
    made: list[tuple[int, ...]] = []

    def counted(K: Any, X: Any) -> Spectrum:
        made.append(X.shape)
        return decompose(K, X)

    monkeypatch.setattr(module, "decompose", counted)
    return made


def test_two_traits_with_the_same_x_share_one_decomposition(calls: list[Any]) -> None:
    problem = problems()["pedigree"]
    first, K = problem.cohort, problem.relationship()
    other = Cohort(first.y**2, first.X.copy(), first.individuals, first.covariates, "other")
    assert spectrum(first, K) is spectrum(other, K)
    assert len(calls) == 1
    fewer = Cohort(first.y, first.X[:, :1].copy(), first.individuals, ("intercept",), "trait")
    assert spectrum(fewer, K).p == 1
    assert len(calls) == 2
    scaled = Relationship(K.matrix, K.individuals, kernel_scale="none")
    changed = Relationship(K.matrix + np.eye(K.n), K.individuals)
    assert spectrum(first, scaled).n == spectrum(first, changed).n == 16
    assert len(calls) > 2
    assert len(module._RECENT) == 2


def test_a_file_is_used_if_it_holds_this_kernel_and_replaced_if_not(
    tmp_path: Path, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problems()["pedigree"]
    path = tmp_path / "kept.npz"
    cohort, K = problem.cohort, problem.relationship()
    S = spectrum(cohort, K, path=path)
    assert same(Spectrum.load(path), S)
    monkeypatch.setattr(module, "_RECENT", {})
    assert same(spectrum(cohort, K, path=path), S)
    assert len(calls) == 1
    changed = Relationship(K.matrix + np.eye(K.n), K.individuals)
    found = spectrum(cohort, changed, path=path)  # another key: computed again, the file replaced
    assert len(calls) == 2
    assert found.key != S.key
    assert same(Spectrum.load(path), found)
    again = spectrum(cohort, K, path=path)  # from memory, and the file follows
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
