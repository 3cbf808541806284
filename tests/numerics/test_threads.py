"""One BLAS thread for a while, and pieces of work that threads share."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, get_ident

import pytest
import scipy.linalg  # noqa: F401 (its BLAS is limited, too)
from threadpoolctl import threadpool_info, threadpool_limits

from bayeslmm.numerics.threads import blas_threads, one_thread, sharing


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    with threadpool_limits(2):
        yield


def limits() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_one_thread_is_a_limit_for_a_while() -> None:
    before = limits()
    assert blas_threads() == max(before)
    with one_thread():
        assert limits() == {blas_threads()} == {1}
        with one_thread():
            assert limits() == {1}
        assert limits() == {1}
    assert limits() == before
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert limits() == before


def test_as_a_decorator() -> None:
    @one_thread()
    def inside() -> set[int]:
        return limits()

    assert inside() == inside() == {1}


def test_pieces_are_shared_in_order_by_single_threads() -> None:
    together = Barrier(2, timeout=60)

    def piece(k: int) -> tuple[int, int, set[int]]:
        together.wait()  # passes only if two work at once
        return k, get_ident(), limits()

    with sharing(2) as share:
        found = list(share(piece, range(6)))
    assert [k for k, _, _ in found] == list(range(6))
    assert len({thread for _, thread, _ in found}) == 2
    assert all(seen == {1} for _, _, seen in found)


def test_as_many_as_blas_may_use() -> None:
    count = blas_threads()
    together = Barrier(count, timeout=60)
    with sharing() as share:
        assert list(share(lambda k: together.wait() < count, range(count))) == [True] * count
    with one_thread(), sharing() as share:
        assert len({*share(lambda k: get_ident(), range(20))}) == 1


def test_an_error_in_a_piece_is_raised() -> None:
    before = limits()

    def piece(k: int) -> int:
        return 1 // k

    with pytest.raises(ZeroDivisionError), sharing(2) as share:
        list(share(piece, [1, 0, 2]))
    assert limits() == before
