"""Covariates that are the trait, or the relationship; axes that dominate: named, or not there."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bayeslmm import models
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.individuals import individual_index
from bayeslmm.models.confounding import (
    check_confounded_trait,
    confounded_kernel,
    covariate_blocks,
    dominating_axis,
    level_codes,
)
from bayeslmm.relationship.relationship import Relationship

type Floats = NDArray[np.float64]

N = 200


def people(n: int = N) -> pd.MultiIndex:
    return individual_index(["F"] * n, [f"i{k}" for k in range(n)])


def with_batch(batch: NDArray[np.intp], y: Floats, *more: Floats) -> Cohort:
    """A cohort with the categorical covariate "batch" (levels 0, 1, ...) and numeric ones."""
    dummies = [(batch == level).astype(float) for level in range(1, int(batch.max()) + 1)]
    names = [f"batch[{level}]" for level in range(1, int(batch.max()) + 1)]
    X = np.ascontiguousarray(np.column_stack([np.ones(len(y)), *dummies, *more]))
    names += [f"x{k}" for k in range(len(more))]
    return Cohort(y, X, people(len(y)), ("intercept", *names), "height")


def kernel(structure: Floats | None = None, seed: int = 2, n: int = N) -> Relationship:
    """A GRM of 600 variants; `structure` (n,) shifts the allele frequencies along an axis."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, 600))
    if structure is not None:
        Z += 0.5 * structure[:, None] * rng.standard_normal(600)
    Z -= Z.mean(axis=0)
    return Relationship(Z @ Z.T / 600, people(n))


def families(size: int) -> Relationship:
    family = np.arange(N) // size
    matrix = np.where(family[:, None] == family, 0.5, 0.0) + 0.5 * np.eye(N)
    return Relationship(matrix, people())


def healthy(seed: int) -> Cohort:
    rng = np.random.default_rng(seed)
    batch, age = rng.integers(0, 5, N), rng.standard_normal(N)
    return with_batch(batch, rng.standard_normal(N) + 0.5 * age + 0.3 * batch, age)


@pytest.mark.parametrize("seed", range(20))
def test_healthy_data_give_no_warning(seed: int) -> None:
    cohort = healthy(seed)
    assert check_confounded_trait(cohort) == []
    for relationship in (kernel(seed=seed), families(5)):
        assert confounded_kernel(cohort, relationship) == []
        s = np.linalg.eigvalsh(relationship.matrix)
        assert dominating_axis(s) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_disease_in_small_batches_gives_no_warning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = (rng.random(N) < 0.05).astype(float)
    cases[:2] = 1.0
    assert check_confounded_trait(with_batch(np.arange(N) // 10, cases)) == []


def test_a_batch_that_is_the_trait_is_refused_by_its_name() -> None:
    batch = np.arange(N) % 2
    with pytest.raises(InputError, match=r"'batch' determines the trait 'height'.*its 2 levels"):
        check_confounded_trait(with_batch(batch, batch.astype(float)))
    cases = np.isin(np.arange(N) % 4, [1, 3]).astype(float)
    with pytest.raises(InputError, match="its 4 levels have the same value") as caught:
        check_confounded_trait(with_batch(np.arange(N) % 4, cases))
    assert "remove 'batch'" in str(caught.value)


def test_a_covariate_that_is_the_trait_in_other_units_is_refused() -> None:
    y = np.random.default_rng(1).standard_normal(N)
    cohort = with_batch(np.arange(N) % 3, y, 100 * y + 3)
    with pytest.raises(InputError, match=r"'x0' determines.*a linear function of the other"):
        check_confounded_trait(cohort)


def test_a_covariate_that_nearly_is_the_trait_is_named() -> None:
    rng = np.random.default_rng(1)
    y = rng.standard_normal(N)
    cohort = with_batch(np.arange(N) % 3, y, y + 0.05 * rng.standard_normal(N))
    (text,) = check_confounded_trait(cohort)
    assert text.startswith("the covariate 'x0' explains 99.")
    assert "of the trait 'height'" in text


def test_batches_of_cases_and_batches_of_controls_are_named() -> None:
    rng = np.random.default_rng(1)
    batch = np.repeat(np.arange(4), 50)
    cases = np.concatenate([np.ones(50), np.zeros(50), rng.integers(0, 2, 100)]).astype(float)
    (text,) = check_confounded_trait(with_batch(batch, cases))
    assert "'batch' is confounded with the trait 'height'" in text
    assert "the reference level (n = 50) have 1" in text
    assert "batch[1] (n = 50) have 0" in text
    assert "batch[2]" not in text
    # one batch of cases alone may be a clinic; without one of controls the rest can be compared
    cases[50:100] = rng.integers(0, 2, 50)
    assert check_confounded_trait(with_batch(batch, cases)) == []


def test_a_batch_that_is_a_population_is_named() -> None:
    population = np.repeat([0, 1], 100)
    y = np.random.default_rng(1).standard_normal(N)
    structured = kernel(2.0 * population - 1)
    (text,) = confounded_kernel(with_batch(population, y), structured)
    centred = structured.matrix - structured.matrix.mean(axis=0)
    centred = centred - centred.mean(axis=1)[:, None]
    u = (2.0 * population - 1) / np.sqrt(N)
    part = u @ centred @ u / np.trace(centred)  # the part of PKP along the contrast
    assert f"{part:.0%} of its variance lies between the 2 levels (0.5% if" in text
    assert "'batch' goes with the additive relationship" in text
    mixed = np.arange(N) % 2
    assert confounded_kernel(with_batch(mixed, y), structured) == []


def test_families_as_a_covariate_are_named_and_principal_components_are_not() -> None:
    y = np.random.default_rng(1).standard_normal(N)
    (text,) = confounded_kernel(with_batch(np.arange(N) // 5, y), families(5))
    assert "lies between the 40 levels" in text
    structured = kernel(np.repeat([1.0, -1.0], 100))
    axis = np.linalg.eigh(structured.matrix)[1][:, -1]
    mixed = np.arange(N) % 2
    assert confounded_kernel(with_batch(mixed, y, axis), structured) == []


def test_repeated_records_count_with_their_individual() -> None:
    population = np.repeat([0, 1], 20)
    relationship = kernel(2.0 * population - 1, n=40)
    twice = np.repeat(np.arange(40), 2)
    one = with_batch(population, np.random.default_rng(1).standard_normal(40))
    batch = population[twice].astype(float)
    cohort = Cohort(
        np.random.default_rng(1).standard_normal(80),
        np.ascontiguousarray(np.column_stack([np.ones(80), batch])),
        relationship.individuals[twice],
        ("intercept", "batch[1]"),
        "height",
        records=tuple(f"r{k}" for k in range(80)),
    )
    (several,), (single,) = (confounded_kernel(c, relationship) for c in (cohort, one))
    assert several.split(":")[1].split(" of")[0] == single.split(":")[1].split(" of")[0]


def test_an_axis_of_structure_is_named_with_its_ends() -> None:
    axis = np.linspace(-1, 1, N)
    s, U = np.linalg.eigh(kernel(2 * axis).matrix)
    text = dominating_axis(s, U[:, -1], [f"i{k}" for k in range(N)])
    assert text is not None
    assert f"one axis of the relationship matrix holds {s[-1] / s.sum():.0%}" in text
    ends = text.split("(at its ends ")[1].split(")")[0]
    ordered = sorted(range(N), key=lambda k: U[k, -1])
    assert f"i{ordered[0]}" in ends
    assert f"i{ordered[-1]}" in ends
    assert "principal components" in text


def test_few_individuals_and_few_variants_have_no_dominating_axis() -> None:
    rng = np.random.default_rng(1)
    few = np.linalg.svd(rng.standard_normal((60, 30)), compute_uv=False) ** 2
    assert few.max() / few.sum() > 0.05
    assert dominating_axis(few) is None
    mice = np.concatenate([[50.4, 40.6, 36.6, 22.3], np.full(996, 0.85)])  # test_mouse's spectrum
    assert mice.max() / mice.sum() > 0.05
    assert dominating_axis(mice) is None
    mice[:3] = 140.0  # three axes of four equal populations
    assert dominating_axis(mice) is not None
    low_rank = np.zeros(1000)  # 15 variants: each axis holds 7 %
    low_rank[:15] = rng.uniform(0.9, 1.1, 15)
    assert dominating_axis(low_rank) is None


def test_the_model_says_all_of_it_when_it_is_built() -> None:
    population = np.repeat([0, 1], 100)
    y = np.random.default_rng(1).standard_normal(N)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        models.additive(with_batch(population, y), kernel(2.0 * population - 1))
    texts = [str(one.message) for one in caught if one.category is BayesLMMWarning]
    assert any("'batch' goes with the additive relationship" in text for text in texts)
    with pytest.warns(BayesLMMWarning, match="one axis of the relationship matrix holds"):
        models.additive(with_batch(np.arange(N) % 2, y), kernel(2.0 * population - 1))


def test_a_healthy_model_is_built_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models.additive(healthy(1), families(5))


def test_blocks_and_levels() -> None:
    names = ("intercept", "batch[2]", "batch[3]", "age", "C(site)[T.b]", "sex[2]:age")
    assert covariate_blocks(names) == {
        "batch": [1, 2], "age": [3], "C(site)": [4], "sex[2]:age": [5],
    }  # fmt: skip
    columns = np.array([[0.0, 0], [1, 0], [0, 1], [0, 0]])
    codes = level_codes(columns)
    assert codes is not None
    assert list(codes) == [0, 1, 2, 0]
    assert level_codes(columns * 2) is None
    assert level_codes(np.ones((3, 2))) is None
