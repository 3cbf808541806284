"""A spectrum and the cache of spectra. Its numbers against the kernel: test_low_rank.py."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
from kernel_problems import problems
from low_rank import low_rank

from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.spectrum import Spectrum, SpectrumCache


def test_a_spectrum_is_named_in_a_line() -> None:
    S = decompose(np.diag([3.0, 2.0, 1.0, 0.0]), np.ones((4, 1)))
    assert repr(S) == f"Spectrum(n=4, p=1, rank={S.rank}, key={S.key[:8]!r})"


def test_rotations_of_a_complete_spectrum_can_be_undone() -> None:
    problem = problems()["uncentred GRM, 4 covariates"]
    S = decompose(problem.kernel, problem.X)
    np.testing.assert_allclose(S.unrotate(S.rotate(problem.y)), problem.y, rtol=1e-13)
    np.testing.assert_allclose(S.design, problem.X, rtol=1e-12, atol=1e-12)
    assert S.together(5) is S
    s, e = S.contrasts(problem.y)
    np.testing.assert_array_equal(s, S.eigenvalues)
    np.testing.assert_array_equal(e, S.rotate(problem.y)[S.p :])
    assert S.nbytes == 8 * (16 * 16 + 4 * 12)


@pytest.mark.parametrize("T", [2, 3, 5])
def test_traits_share_the_weight_of_what_the_kernel_does_not_reach(T: int) -> None:
    S = low_rank("8 columns, 3 covariates").spectrum("root")
    several = S.together(T)
    assert several.together(T) is several
    assert (several.nodes, several.m, several.rank) == (T + 8, 56, 8)
    np.testing.assert_allclose(several.weights[:T], 48 / T)
    assert several.weights.sum() == pytest.approx(56, rel=1e-14)
    np.testing.assert_array_equal(several.eigenvalues[:T], 0.0)
    np.testing.assert_array_equal(several.coupling[:, T:], S.coupling[:, 1:])
    assert several.basis.columns is S.basis.columns
    np.testing.assert_allclose(several.kernel(), S.kernel(), atol=1e-14)


# The cache


def made(seed: int) -> Callable[[], Spectrum]:
    return lambda: decompose(np.eye(6) * (1 + seed), np.ones((6, 1)))


def refuse() -> Spectrum:
    raise AssertionError("computed again")


def test_spectra_that_live_and_the_newest_are_used_again() -> None:
    cache = SpectrumCache(10**6)
    first = cache.get("a", made(1))
    cache.get("b", made(2))
    assert cache.get("a", refuse) is first  # held here
    cache.get("c", made(3))
    gc.collect()
    second = cache.get("b", made(4))  # held by nobody, and no longer the newest
    assert second.eigenvalues[0] == pytest.approx(5.0)
    del second
    gc.collect()
    assert cache.get("b", refuse).eigenvalues[0] == pytest.approx(5.0)  # the newest


def test_what_is_larger_than_allowed_is_kept_as_long_as_it_lives() -> None:
    cache = SpectrumCache(100)
    large = cache.get("a", made(1))
    assert large.nbytes > 100
    assert cache.get("a", refuse) is large
    del large
    gc.collect()
    assert cache.get("a", made(2)).eigenvalues[0] == pytest.approx(3.0)


def test_the_cache_can_be_off_and_emptied() -> None:
    off = SpectrumCache(0)
    first = off.get("a", made(1))
    assert off.get("a", made(1)) is not first
    cache = SpectrumCache(10**6)
    first = cache.get("a", made(1))
    cache.clear()
    assert cache.get("a", made(2)) is not first


def test_the_newest_gives_its_memory_back_before_another_is_made() -> None:
    cache = SpectrumCache(10**6)
    cache.get("a", made(1))
    seen: list[bool] = []

    def make() -> Spectrum:
        gc.collect()
        seen.append("a" in cache._alive)
        return made(2)()

    cache.get("b", make)
    assert seen == [False]
