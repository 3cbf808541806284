"""The family of a model is read off its phenotype; the scale of h² is what the file says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from kernel_problems import problems

from bayeslmm import agreement, compute_blup, fit, heritability, models, predict_phenotype
from bayeslmm.checks.agreement import add_agreement
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.models.family import Family, family_of, recorded_family
from bayeslmm.posterior.summary import weakly_informed

Y = np.array([0.0, 1.0, 1.0, 0.0])
ONE = problems()["uncentred GRM, 4 covariates"]

Phenotype = Callable[[Any], Any]


def model_of(phenotype: Phenotype) -> pm.Model:
    with pm.Model() as model:
        phenotype(pm.Normal("eta", shape=4))
    return model


def own_logp(value: Any, mean: Any) -> Any:
    return -abs(value - mean)


@pytest.mark.parametrize(
    ("phenotype", "name", "scale"),
    [
        (lambda eta: pm.Normal("phenotype", eta, 2.0, observed=Y), "Gaussian", "observed scale"),
        (
            lambda eta: pm.MvNormal("phenotype", eta, np.eye(4), observed=Y),
            *("Gaussian", "observed scale"),
        ),
        (
            lambda eta: pm.Bernoulli("phenotype", pm.math.invprobit(eta), observed=Y),
            *("Bernoulli", "liability scale"),
        ),
        (
            lambda eta: pm.Bernoulli("phenotype", logit_p=eta, observed=Y),
            *("Bernoulli", "scale of the linear predictor"),
        ),
        (
            lambda eta: pm.OrderedProbit("phenotype", eta, cutpoints=[0.0, 1.0], observed=Y),
            *("Categorical", "liability scale"),
        ),
        (
            lambda eta: pm.OrderedLogistic("phenotype", eta, cutpoints=[0.0, 1.0], observed=Y),
            *("Categorical", "scale of the linear predictor"),
        ),
        (
            lambda eta: pm.Poisson("phenotype", pm.math.exp(eta), observed=Y),
            *("Poisson", "scale of the linear predictor"),
        ),
        (
            lambda eta: pm.NegativeBinomial("phenotype", pm.math.exp(eta), 1.0, observed=Y),
            *("NegativeBinomial", "scale of the linear predictor"),
        ),
        (
            lambda eta: pm.StudentT("phenotype", 4.0, eta, observed=Y),
            *("StudentT", "scale of the linear predictor"),
        ),
        (
            lambda eta: pm.CustomDist("phenotype", eta, logp=own_logp, observed=Y),
            *("own distribution", "scale of the linear predictor"),
        ),
    ],
)
def test_family_by_the_distribution_of_the_phenotype(
    phenotype: Phenotype, name: str, scale: str
) -> None:
    family = family_of(model_of(phenotype))
    assert family == Family(name, scale)
    assert family.gaussian == (name == "Gaussian")
    assert recorded_family(family.record()) == family


def test_old_fits_are_gaussian_and_words_of_the_scale() -> None:
    assert recorded_family({}) == Family()
    assert Family().on_scale == ""
    assert Family("Bernoulli", "liability scale").on_scale == " on the liability scale"
    assert recorded_family({"family": "Poisson"}).scale == "scale of the linear predictor"


def scaled(folder: Path, line: str) -> Any:
    """The model additive with a line of its own below the imports."""
    source = models.load("additive").source
    path = folder / "mine.py"
    path.write_text(source.replace("\n\ndef build", f"\n{line}\n\n\ndef build", 1))
    return models.load(path)(ONE.cohort, ONE.relationship())


@pytest.mark.parametrize(
    ("line", "scale"),
    [
        ('SCALE = "log"', "log scale"),
        ('SCALE = "scale of log(y + 1)"', "scale of log(y + 1)"),
        ("SCALE = None", "observed scale"),
    ],
)
def test_the_file_says_its_scale(tmp_path: Path, line: str, scale: str) -> None:
    model = scaled(tmp_path, line)
    assert family_of(model) == Family("Gaussian", scale)


@pytest.mark.parametrize("line", ["SCALE = 1", 'SCALE = " "'])
def test_a_scale_that_is_no_word_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=r'mine\.py: SCALE = .* -> write SCALE = "liability"'):
        scaled(tmp_path, line)


def binary(trait: str = "case") -> Any:
    from bayeslmm import cohort_from_arrays

    y = (ONE.y > np.median(ONE.y)).astype(float) + 1.0
    return cohort_from_arrays(y, ONE.X[:, 1:], ONE.cohort.individuals, trait)


def test_a_binary_trait_in_a_gaussian_model_is_on_the_observed_scale() -> None:
    cohort = binary()
    message = (
        r"the trait 'case' is binary, coded \{1, 2\}, analysed as \{0, 1\} .* h2 is on the observed"
    )
    with pytest.warns(BayesLMMWarning, match=message):
        model = models.additive(cohort, ONE.relationship())
    with pytest.warns(BayesLMMWarning, match="'other' is binary"):
        models.load("additive").exchange(model, binary("other"), {"additive": ONE.relationship()})


def as_bernoulli(tree: xr.DataTree) -> xr.DataTree:
    """The same numbers, said to be of a binary phenotype."""
    other = tree.copy()
    other.attrs |= {"family": "Bernoulli", "scale": "liability scale"}
    return other


def test_what_is_gaussian_alone_is_left_out_or_refused() -> None:
    model = models.additive(ONE.cohort, ONE.relationship())
    tree = fit(model, draws=400, chains=4)
    other = as_bernoulli(tree)
    rows, fewer = (set(heritability(one)["quantity"]) for one in (tree, other))
    assert rows - fewer == {"p_rlrt", "se_expected"}
    assert weakly_informed(tree) is not None
    assert weakly_informed(other) is None
    message = "REML and Haseman-Elston for a phenotype of the family Bernoulli -> a Gaussian"
    with pytest.raises(InputError, match=message):
        agreement(other)
    with pytest.raises(InputError, match=message):
        add_agreement(other)
    model.provenance |= {"family": "Poisson", "scale": "scale of the linear predictor"}
    kernels = {"additive": ONE.relationship()}
    with pytest.raises(InputError, match="BLUP in closed form for a phenotype of the family Poi"):
        compute_blup(model, ONE.cohort, kernels, {"additive": 1.0, "residual": 1.0})
    with pytest.raises(InputError, match="predicted records for a phenotype of the family Poisson"):
        predict_phenotype(model, tree, ONE.cohort, kernels, ONE.cohort.individuals, ONE.X)
