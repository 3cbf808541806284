"""Kernels with unidentified variances are refused, nearly collinear pairs are reported."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index
from bayeslmm.models import kernel_checks
from bayeslmm.models.kernel_checks import check_kernels
from bayeslmm.relationship.derived import group_kernel
from bayeslmm.relationship.relationship import Relationship

N = 60
IDS = individual_index(["0"] * N, [f"i{k}" for k in range(N)])
UPPER = np.triu_indices(N)


def random(seed: int, m: int = 100) -> np.ndarray:
    Z = np.random.default_rng(seed).standard_normal((N, m))
    Z -= Z.mean(axis=0)
    K: np.ndarray = Z @ Z.T / m
    return K


def named(**matrices: np.ndarray) -> list[Relationship]:
    return [Relationship(K, IDS, name=name) for name, K in matrices.items()]


def test_different_kernels_pass_without_a_word() -> None:
    assert check_kernels(named(a=random(1), b=random(2), c=random(3), d=random(4))) == []
    assert check_kernels([]) == []
    houses = pd.Series(np.arange(N) // 3, index=IDS, name="household")
    assert check_kernels([*named(a=random(1)), group_kernel(houses)]) == []


@pytest.mark.parametrize("rows", [1, 7, N])
def test_correlations_are_those_of_the_upper_triangle(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_checks, "NUMBERS", rows * N * 3)
    K = [random(1), random(2) + 0.3 * random(1) + 5.0, random(3)]
    moments = kernel_checks._moments(K)
    for offset, found in ((0, moments.with_diagonal), (1, moments.without_diagonal)):
        upper = np.triu_indices(N, offset)
        wanted = np.corrcoef([one[upper] for one in K])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    P = np.eye(N) - 1 / N
    flat = np.array([(P @ one @ P).ravel() for one in K])
    np.testing.assert_allclose(moments.centred, flat @ flat.T, rtol=1e-11)
    np.testing.assert_allclose(moments.traces, [np.trace(P @ one) for one in K], rtol=1e-11)


def test_a_pair_that_is_nearly_the_same_is_named() -> None:
    K = random(1)
    near = K + 0.05 * random(2)
    r, off = (np.corrcoef(K[at], near[at])[0, 1] for at in (UPPER, np.triu_indices(N, 1)))
    assert check_kernels(named(a=K, b=near, c=random(3))) == [
        f"the entries of the kernels 'a' and 'b' correlate by {r:.4f} (off the diagonal by "
        f"{off:.4f}): the data inform the sum of their variances, but hardly each of them"
    ]
    (sentence,) = check_kernels(named(a=random(1, 20_000), b=random(2, 20_000)))
    assert "both are near the identity matrix" in sentence
    far = K + 0.3 * random(2)
    assert np.corrcoef(K[UPPER], far[UPPER])[0, 1] < 0.99
    assert check_kernels(named(a=K, b=far)) == []


@pytest.mark.parametrize(
    "other", [lambda K: K, lambda K: 3 * K, lambda K: K + 2, lambda K: 0.1 * K.round(8)]
)
def test_identical_kernels_are_refused(other: object) -> None:
    K = random(1)
    with pytest.raises(InputError, match=r"'a' and 'b' are the same up to a factor"):
        check_kernels(named(a=K, c=random(2), b=other(K)))  # type: ignore[operator]


@pytest.mark.parametrize("constant", [0.0, 0.5])
def test_a_kernel_proportional_to_the_identity_is_refused(constant: float) -> None:
    noise = np.random.default_rng(1).standard_normal((N, N)) * 1e-8
    for K in (np.eye(N), 2 * np.eye(N) + noise + noise.T):
        with pytest.raises(InputError, match=r"'b' is proportional to the identity"):
            check_kernels(named(a=random(1), b=K + constant))
    unequal = np.diag(np.linspace(0.5, 1.5, N))
    assert check_kernels(named(b=unequal)) == []


def test_a_constant_kernel_is_refused() -> None:
    for K in (np.ones((N, N)), np.zeros((N, N))):
        with pytest.raises(InputError, match=r"'b' is constant.*the intercept absorbs it"):
            check_kernels(named(a=random(1), b=K))


def test_linear_combinations_are_refused_and_named() -> None:
    """Three chromosomes and their sum; and a kernel that is another one plus I."""
    a, b, c = random(1), random(2), random(3)
    with pytest.raises(InputError, match="linearly dependent") as caught:
        check_kernels(named(one=a, two=b, third=c, sum=2 * a + b))
    text = str(caught.value)
    assert text.startswith("3 kernels are")
    assert all(re.search(rf"× {name}\b", text) for name in ("one", "two", "sum"))
    assert "third" not in text
    with pytest.raises(InputError, match=r"linearly dependent.*× I \(the residual\)"):
        check_kernels(named(a=a, b=a + 3 * np.eye(N)))
    assert check_kernels(named(one=a, two=b, other=c, sum=a + b + 0.1 * random(4))) == []


def test_kernels_of_other_individuals_are_refused() -> None:
    one = named(a=random(1))[0]
    other = Relationship(random(2), IDS[::-1], name="b")
    with pytest.raises(InputError, match=r"'a' \(60 individuals\) and 'b' \(60\) differ.*order"):
        check_kernels([one, other])
    strange = individual_index(["0"] * N, [f"i{k + 1}" for k in range(N)])
    with pytest.raises(InputError, match="i60 missing"):
        check_kernels([one, Relationship(random(2), strange, name="b")])


def test_kernels_of_one_name_are_told_apart_by_position() -> None:
    K = random(1)
    with pytest.raises(InputError, match=r"'a \(1\)' and 'a \(2\)' are the same"):
        check_kernels([Relationship(K, IDS, name="a")] * 2)
