"""Terms with unidentified variances are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bayeslmm.errors import InputError
from bayeslmm.likelihood.dense import dense_form
from bayeslmm.likelihood.identified import check_identified
from bayeslmm.likelihood.terms import Covariance, Term, simple_term

RNG = np.random.default_rng(4)
n = 24
Z = RNG.standard_normal((n, 40))
K = Z @ Z.T / 40
EACH = np.arange(n)
PAIRS = EACH // 2
X = np.column_stack([np.ones(n), RNG.standard_normal(n)])


def check(*terms: Term, X: Any = X) -> None:
    check_identified(dense_form(Covariance(terms, np.zeros(n, dtype=np.intp)), X))


def test_terms_that_differ_pass() -> None:
    check(simple_term("a", K, EACH), simple_term("pair", None, PAIRS))
    levels = np.column_stack([EACH, EACH])
    two = Term("norm", ("u", "v"), K, levels, np.column_stack([np.ones(n), np.zeros(n)]))
    check(two, simple_term("pair", None, PAIRS))  # entries of a larger Σ are the prior's


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([simple_term("each", None, EACH)], "of the terms each, residual are not identified"),
        (
            [simple_term("a", K, EACH), simple_term("b", 3 * K, EACH)],
            "of the terms a, b are not identified",
        ),
        (
            [simple_term("a", K, EACH), simple_term("b", 2 * K + np.eye(n), EACH)],
            "of the terms a, b, residual are not identified",
        ),
        (
            [simple_term("a", K, EACH), simple_term("one", None, np.zeros(n, dtype=np.intp))],
            "the term 'one' is explained by the fixed effects",
        ),
    ],
)
def test_terms_that_do_not_are_named(terms: list[Term], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(*terms)


def test_a_group_that_is_a_fixed_effect_too() -> None:
    half = (n // 2 > EACH).astype(np.intp)
    design = np.column_stack([np.ones(n), half])
    terms = simple_term("a", K, EACH), simple_term("half", None, half)
    with pytest.raises(InputError, match="'half' is explained by the fixed effects"):
        check(*terms, X=design)
    check(*terms)
