"""Priors: reading, words, densities with their unit, what fits which quantity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from scipy import stats

from bayeslmm.errors import InputError
from bayeslmm.priors.prior import FAMILIES, Prior, require_support

PYTHON = Mode(linker="py", optimizer="fast_compile")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("beta(1,1)", Prior("beta", (1.0, 1.0))),
        ("  half_t( 3 , 2.5 ) ", Prior("half_t", (3.0, 2.5))),
        ("normal(-1e2, 0.5)", Prior("normal", (-100.0, 0.5))),
        ("flat", Prior("flat")),
        ("flat()", Prior("flat")),
        ("flat( )", Prior("flat")),
    ],
)
def test_reading(text: str, expected: Prior) -> None:
    assert Prior.parse(text) == expected
    assert Prior.parse(expected) is expected
    assert Prior.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"prior '' -> family\(number"),
        ("beta(1,1", r"prior 'beta\(1,1'"),
        ("beta 1 1", "family"),
        ("beta(1,1) + 1", "family"),
        ("__import__('os')", r"family\(number"),
        ("beta(one, 1)", "numbers between the brackets"),
        ("beta(1,,1)", "numbers between the brackets"),
        ("beta(1,1,)", "numbers between the brackets"),
        ("cauchy(1)", "prior family 'cauchy' -> one of beta, .* -> for instance h2=beta"),
        ("BETA(1,1)", r"prior 'BETA\(1,1\)'"),
        ("beta(1)", r"prior beta\(1\) has 1 parameters -> beta\(a, b\)"),
        ("beta(1,1,1)", "has 3 parameters"),
        ("flat(1)", "has 1 parameters"),
        ("beta", "has 0 parameters"),
        ("beta(0,1)", r"a = 0 in prior beta\(0, 1\) -> a positive, finite number"),
        ("half_t(3,-2)", "scale = -2 in prior"),
        ("beta(nan,1)", "a = nan in prior"),
        ("half_normal(inf)", "scale = inf"),
        ("normal(inf,1)", "mean = inf .* -> a finite number"),
        ("normal(0,0)", "sd = 0"),
        ("uniform(1,1)", "lower < upper"),
        ("uniform(2,1)", "lower < upper"),
    ],
)
def test_what_is_no_prior_is_an_error_that_says_why(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Prior.parse(text)


UNIT = 1.7

# density of the variable x by SciPy, for a prior whose scale counts in units of 1.7
BY_SCIPY: dict[str, Any] = {
    "beta(2, 3.5)": stats.beta(2, 3.5),
    "uniform(0.5, 2)": stats.uniform(0.5 * UNIT, 1.5 * UNIT),
    "half_t(3, 2.5)": stats.t(3, scale=2.5 * UNIT),  # twice this on the positive side
    "half_normal(2)": stats.halfnorm(scale=2 * UNIT),
    "half_cauchy(0.7)": stats.halfcauchy(scale=0.7 * UNIT),
    "exponential(1.3)": stats.expon(scale=1.3 * UNIT),
    "gamma(2, 3)": stats.gamma(2, scale=UNIT / 3),
    "inverse_gamma(2, 3)": stats.invgamma(2, scale=3 * UNIT),
    "lognormal(0.3, 0.8)": stats.lognorm(0.8, scale=np.exp(0.3) * UNIT),
    "normal(0.4, 2)": stats.norm(0.4 * UNIT, 2 * UNIT),
    "flat()": None,
}


def test_every_family_is_tested() -> None:
    assert {Prior.parse(text).family for text in BY_SCIPY} == set(FAMILIES) - {"dirichlet"}


def test_a_dirichlet_is_a_prior_of_shares_alone() -> None:
    """Its density stands in test_shares."""
    prior = require_support("parts", Prior.parse("dirichlet(1)"), "simplex")
    assert prior.words() == "uniform on the simplex"
    assert Prior.parse("dirichlet(0.5)").words() == "Dirichlet with concentration 0.5"
    with pytest.raises(InputError, match=r"prior w=dirichlet\(...\) -> a prior of one quantity"):
        prior.variable("w")
    with pytest.raises(InputError, match="a distribution on shares that sum to one"):
        require_support("parts", Prior.parse("beta(1, 1)"), "simplex")


def test_densities_are_those_of_scipy_in_the_unit() -> None:
    """To 1e-12, the same closed form in the same precision; to 3e-9 for the half-t and the
    half-Cauchy, whose constant log 2 PyMC takes in single precision.
    """
    x = {text: np.linspace(0.05, 0.95, 7) for text in BY_SCIPY}
    x["uniform(0.5, 2)"] = np.linspace(0.9, 3.3, 7)
    x["normal(0.4, 2)"] = np.linspace(-6.0, 6.0, 7)
    points = {text: pt.dvector() for text in BY_SCIPY}
    with pm.Model():
        unit = pm.Data("unit", UNIT)
        logps = [
            pm.logp(Prior.parse(text).variable(f"x{k}", unit=unit), points[text])
            for k, text in enumerate(BY_SCIPY)
        ]
    function = pytensor.function(list(points.values()), logps, mode=PYTHON)
    for text, found in zip(BY_SCIPY, function(*x.values()), strict=True):
        dist = BY_SCIPY[text]
        expected = 0.0 if dist is None else dist.logpdf(x[text]) + np.log(2) * ("half_t" in text)
        exact = 3e-9 if text.startswith(("half_t", "half_cauchy")) else 1e-12
        np.testing.assert_allclose(found, np.broadcast_to(expected, 7), rtol=1e-12, atol=exact)


def test_a_prior_with_a_dimension_is_one_prior_for_each_entry() -> None:
    with pm.Model(coords={"covariate": ["a", "b", "c"]}) as model:
        variable = Prior.parse("normal(0, 10)").variable("x", dims="covariate")
    assert model.named_vars_to_dims["x"] == ("covariate",)
    assert variable.shape.eval().tolist() == [3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("beta(1,1)", "uniform between 0 and 1"),
        ("beta(2,3)", "Beta(2, 3)"),
        ("uniform(0,0.5)", "uniform between 0 and 0.5"),
        ("half_t(3,2.5)", "half-t with 3 degrees of freedom and scale 2.5"),
        ("half_normal(2)", "half-normal with scale 2"),
        ("half_cauchy(2)", "half-Cauchy with scale 2"),
        ("exponential(2)", "exponential with mean 2"),
        ("gamma(2,3)", "gamma with shape 2 and rate 3"),
        ("inverse_gamma(2,3)", "inverse gamma with shape 2 and scale 3"),
        ("lognormal(0,1)", "log-normal with median 1 and log-scale sd 1"),
        ("normal(0,10)", "normal with mean 0 and sd 10"),
        ("flat()", "flat (improper)"),
    ],
)
def test_words(text: str, words: str) -> None:
    assert Prior.parse(text).words() == words
    assert Prior.parse(text).words("sd(y | X)") == words + ", in units of sd(y | X)"


def test_the_words_of_a_mean_and_a_median_are_scipys() -> None:
    assert stats.expon(scale=2).mean() == 2
    assert stats.lognorm(1.0, scale=np.exp(0.0)).median() == pytest.approx(1.0)


FITS = {
    "unit": ["beta(1,1)", "uniform(0,1)", "uniform(0.2,0.5)"],
    "positive": ["half_t(3,2.5)", "uniform(0,5)", "uniform(1,2)", "gamma(1,1)", "lognormal(0,1)"],
    "real": ["normal(0,10)", "flat()"],
}
FITS["positive"] += ["half_normal(1)", "half_cauchy(1)", "exponential(1)", "inverse_gamma(1,1)"]
ALL = [*FITS["unit"], *FITS["positive"], *FITS["real"], "uniform(-1,1)", "uniform(-2,-1)"]


@pytest.mark.parametrize("support", FITS)
@pytest.mark.parametrize("text", ALL)
def test_only_priors_on_the_right_numbers_are_accepted(support: str, text: str) -> None:
    prior = Prior.parse(text)
    within = support == "positive" and text.startswith("uniform(0")  # a share is positive too
    if text in FITS[support] or within:
        assert require_support("x", prior, support) is prior
    else:
        words = {"unit": "between 0 and 1", "positive": "positive", "real": "reals"}[support]
        with pytest.raises(InputError, match=f"prior x={prior.family}.* -> a .*{words}.* -> try"):
            require_support("x", prior, support)
