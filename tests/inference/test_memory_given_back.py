"""A model that is dropped gives its n × n arrays back, whatever the kind of its density."""

from __future__ import annotations

import ctypes
import gc
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytest

from bayeslmm import models
from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.distributions.marginal import Handle
from bayeslmm.distributions.phenotype import marginal_of
from bayeslmm.errors import ModelError
from bayeslmm.inference.fit import fit
from bayeslmm.likelihood.spectrum import SPECTRA, SpectrumCache
from bayeslmm.relationship.relationship import Relationship

pytestmark = pytest.mark.filterwarnings("ignore")  # few draws, random kernels

N = 300
ARRAYS = tracemalloc.DomainFilter(True, 389047)  # what NumPy allocates


def kernel(seed: int, name: str = "additive") -> Relationship:
    Z = np.random.default_rng(seed).standard_normal((N, 3 * N))
    return Relationship(Z @ Z.T / (3 * N), people(), name=name)


def people() -> pd.MultiIndex:
    return cohort().individuals


def cohort(seed: int = 0, missing: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    ids = [f"i{k}" for k in range(N)]
    keep = np.sort(rng.permutation(N)[: N - missing])
    y = rng.standard_normal(N)[keep]
    return cohort_from_arrays(y, individuals=[ids[k] for k in keep], trait=f"t{missing}")


def one_kernel(seed: int) -> pm.Model:
    return models.additive(cohort(seed), kernel(seed))


def dense(seed: int) -> pm.Model:
    return models.partitioned(cohort(seed), kernel(seed, "a"), kernel(seed + 100, "b"))


def complete(seed: int) -> pm.Model:
    one, two = cohort(seed), cohort(seed + 50)
    two = cohort_from_arrays(two.y, individuals=two.individuals, trait="u")
    return models.bivariate(stack_traits([one, two]), kernel(seed))


def incomplete(seed: int) -> pm.Model:
    return models.bivariate(stack_traits([cohort(seed), cohort(seed + 50, 40)]), kernel(seed))


def latent(seed: int) -> pm.Model:
    return models.additive_cholesky(cohort(seed), kernel(seed))


class Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of glibc: sizes in bytes."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


@contextmanager
def counting(machine_code: bool = False) -> Iterator[Callable[[], int]]:
    """Bytes in use, when called.

    malloc counts NumPy's and Numba's arrays, not Python's small objects, at no cost; but also
    machine code that is compiled, which LLVM keeps. tracemalloc, for that case or where the C
    library does not tell, counts NumPy's arrays only; it follows all of Python's objects, which
    makes a fit five times as slow.
    """
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is not None and not machine_code:
        mallinfo.restype = Mallinfo

        def given_out() -> int:
            found = mallinfo()
            return int(found.uordblks + found.hblkhd)

        yield given_out
        return
    tracemalloc.start()
    try:
        yield lambda: sum(
            trace.size for trace in tracemalloc.take_snapshot().filter_traces([ARRAYS]).traces
        )
    finally:
        tracemalloc.stop()


def held(build: Callable[[int], pm.Model], count: int, **options: Any) -> list[float]:
    """What is still held after each of some fits on different kernels, in n² numbers."""
    found = []
    with counting(machine_code=options.get("engine") == "nuts") as bytes_in_use:
        for seed in range(count):
            tree = fit(build(seed), draws=200, **options)
            assert np.isfinite(tree["posterior"]["variance"]).all()
            del tree
            gc.collect()
            found.append(bytes_in_use() / (8 * N * N))
    return found


@pytest.fixture(scope="module")
def imported() -> None:
    """What any fit imports and compiles is there before bytes are counted."""
    fit(one_kernel(99), draws=200)


@pytest.mark.parametrize("machine_code", [False, True])
def test_an_array_that_is_held_is_counted(machine_code: bool) -> None:
    with counting(machine_code) as bytes_in_use:
        before = bytes_in_use()
        array = np.ones((N, N))
        assert bytes_in_use() - before == pytest.approx(array.nbytes, rel=0.01)
        del array
        assert bytes_in_use() - before == pytest.approx(0, abs=0.01 * 8 * N * N)


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize(
    ("build", "options"),
    [
        (one_kernel, {}),
        (dense, {}),
        (complete, {}),
        (incomplete, {}),
        pytest.param(latent, {"engine": "nuts", "tune": 20}, marks=pytest.mark.slow),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_four_fits_hold_no_more_than_one(build: Any, options: dict[str, Any]) -> None:
    """The first fit also imports and compiles; from then on 0.3 n² in all are left to chance."""
    found = held(build, 4, **options)
    assert found[-1] - found[0] < 0.3, found


def test_a_density_lives_as_long_as_its_model() -> None:
    model = one_kernel(1)
    density = marginal_of(model)
    assert density is not None
    handle, alone = Handle(density), weakref.ref(density)
    del density
    gc.collect()
    assert handle() is marginal_of(model)
    del model
    gc.collect()
    assert alone() is None
    with pytest.raises(ModelError, match="the model of this variable is gone"):
        handle()


def test_building_a_model_peaks_at_four_and_a_half_matrices() -> None:
    """The kernel itself included; individuals in another order than the matrix."""
    n, rng = 1200, np.random.default_rng(1)  # the graph of the model is small beside it
    Z = rng.standard_normal((n, n + 50))
    ids = cohort_from_arrays(rng.standard_normal(n), individuals=[f"i{k}" for k in range(n)])
    K = Relationship(Z @ Z.T / n, ids.individuals)
    del Z
    order = rng.permutation(n)
    moved = cohort_from_arrays(ids.y[order], individuals=ids.individuals[order])
    models.additive(cohort(4), kernel(4))  # imports
    SPECTRA.clear()
    gc.collect()
    tracemalloc.start()
    model = models.additive(moved, K)
    peak = tracemalloc.get_traced_memory()[1] / (8 * n * n)
    tracemalloc.stop()
    assert marginal_of(model) is not None
    assert peak + 1.0 < 4.5


def test_the_cache_of_spectra_is_bounded_by_bytes_and_can_be_off() -> None:
    def spectrum_of(seed: int) -> Any:
        found = marginal_of(one_kernel(seed))
        assert found is not None
        return found.spectrum

    def broken() -> Any:
        raise AssertionError("not in the cache")

    S = spectrum_of(1)
    cache = SpectrumCache(S.nbytes)
    assert cache.get("a", lambda: S) is S
    assert cache.get("a", broken) is S
    small = SpectrumCache(S.nbytes - 1)  # too large to keep, but there while somebody holds it
    assert small.get("a", lambda: S) is S
    assert small.get("a", broken) is S
    assert small._newest is None
    off = SpectrumCache(0)
    off.get("a", lambda: S)
    with pytest.raises(AssertionError, match="not in the cache"):
        off.get("a", broken)
