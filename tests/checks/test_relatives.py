"""Checks of relatives: against brute force, silent on right models, loud on wrong ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from model_cases import case
from numpy.typing import NDArray
from scipy.stats import kstest, norm

from bayeslmm import models
from bayeslmm.checks.families import families_of
from bayeslmm.checks.pairs import bin_edges, sum_by_relationship
from bayeslmm.checks.records import extreme_p
from bayeslmm.checks.relatives import RelativeChecks, check_contrasts, check_relatives
from bayeslmm.checks.simple_models import contrasts_of
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.errors import InputError
from bayeslmm.estimates.reml import profile
from bayeslmm.individuals import individual_index
from bayeslmm.likelihood.contrasts import Contrasts, DenseContrasts, KernelContrasts
from bayeslmm.likelihood.decompose import decompose, decompose_root
from bayeslmm.likelihood.dense import dense_form
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.likelihood.terms import Covariance, Grouping, kernel_term, simple_term
from bayeslmm.relationship.pedigree.matrix import additive_relationship
from bayeslmm.relationship.pedigree.pedigree import Pedigree
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.report import add_relatedness, render
from bayeslmm.report.relatives import (
    alarms,
    as_dataset,
    family_sentences,
    pair_sentences,
    record_sentences,
    relative_checks_of,
)

type Floats = NDArray[np.float64]

FAMILIES = 40
# Two grandparents, two of their children with spouses (the first with a second one), and eight
# grandchildren: full sibs, half sibs and cousins; who lives with whom.
FOUNDER = (-1, -1)
PARENTS = [FOUNDER] * 2 + [(0, 1)] * 2 + [FOUNDER] * 3
PARENTS += [(2, 4)] * 3 + [(3, 5)] * 3 + [(2, 6)] * 2
HOUSES = [0, 0, 1, 2, 1, 2, 3, *[1] * 3, *[2] * 3, *[3] * 2]


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Families, their matrix, its root and spectrum, and who lives together."""

    relationship: Relationship
    spectrum: Spectrum
    root: Floats
    house: NDArray[np.intp]


@cache
def study() -> Study:
    size = len(PARENTS)
    n = FAMILIES * size
    parents = np.array([(s + size * f * (s >= 0), d + size * f * (d >= 0))
                        for f in range(FAMILIES) for s, d in PARENTS])  # fmt: skip
    fids = [f"F{k // size}" for k in range(n)]
    people = individual_index(fids, [f"{fid}_{k % size}" for k, fid in enumerate(fids)])
    A = additive_relationship(Pedigree(people, parents[:, 0], parents[:, 1]))
    house = np.array([4 * f + h for f in range(FAMILIES) for h in HOUSES])
    X = np.column_stack([np.ones(n), np.arange(n) % 2.0])
    return Study(A, decompose(A.matrix, X), np.linalg.cholesky(A.matrix), house)


def fitted(y: Floats, seed: int, draws: int = 400) -> tuple[Contrasts, Floats]:
    """Contrasts and posterior draws of (σ²_u, σ²_e), flat priors on h² and log σ², by a grid."""
    spectrum = study().spectrum
    contrasts = KernelContrasts(spectrum, y)
    s, e = spectrum.contrasts(y)
    e2 = e**2
    h = np.linspace(0.0025, 0.9975, 200)
    weight = np.array([profile(s, e2, one) for one in h])
    rng = np.random.default_rng(seed)
    h = rng.choice(h, draws, p=np.exp(weight - weight.max()) / np.exp(weight - weight.max()).sum())
    total = np.array([np.sum(e2 / (one * s + 1 - one)) for one in h]) / rng.chisquare(s.size, draws)
    return contrasts, np.column_stack([h * total, (1 - h) * total])


def checked(y: Floats, seed: int) -> RelativeChecks:
    contrasts, variance = fitted(y, seed)
    one = study().relationship
    labels = one.individuals.get_level_values("IID").tolist()
    return check_contrasts(contrasts, variance, labels, one, seed=seed)


def parts(seed: int) -> tuple[Floats, Floats]:
    """A genetic value of variance one, and noise of variance one."""
    rng = np.random.default_rng([7, seed])
    n = study().root.shape[0]
    g: Floats = study().root @ rng.standard_normal(n)
    return g, np.asarray(rng.standard_normal(n))


# --- the algebra


def small(kind: str) -> tuple[Contrasts, Floats, Floats, Floats, Floats]:
    """Contrasts of one kernel (of full rank, of rank six) or of two, coefficients, V, X and y."""
    rng = np.random.default_rng(2)
    n, m = 24, 6 if kind == "few" else 40
    Z = rng.standard_normal((n, m))
    K, H = Z @ Z.T / m, (np.arange(n)[:, None] % 6 == np.arange(n) % 6).astype(float)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    y = rng.standard_normal(n)
    if kind != "several":
        spectrum = decompose(K, X) if kind == "one" else decompose_root(Z / np.sqrt(m), X)
        V = 0.7 * K + 0.4 * np.eye(n)
        return KernelContrasts(spectrum, y), np.array([0.7, 0.4]), V, X, y
    each = np.arange(n)
    terms = (simple_term("K", K, each), simple_term("H", None, each % 6))
    form = dense_form(Covariance(terms, np.zeros(n, dtype=np.intp)), X)
    c = np.array([0.7, 0.3, 0.4])
    return DenseContrasts(form, y), c, 0.7 * K + 0.3 * H + 0.4 * np.eye(n), X, y


@pytest.mark.parametrize("kind", ["one", "few", "several"])
def test_precision_of_the_residuals_and_replicates(kind: str) -> None:
    contrasts, c, V, X, y = small(kind)
    inverse = np.linalg.inv(V)
    P = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
    M = np.eye(len(y)) - X @ np.linalg.solve(X.T @ X, X.T)
    there = contrasts.at(c)
    assert there.block(np.arange(len(y))) == pytest.approx(P, abs=1e-10)
    some = np.array([7, 2, 19])
    assert there.block(some) == pytest.approx(P[np.ix_(some, some)], abs=1e-10)
    assert there.scores() == pytest.approx(P @ y, abs=1e-10)
    assert there.diagonal() == pytest.approx(np.diagonal(P), abs=1e-10)
    assert contrasts.residuals() == pytest.approx(M @ y, abs=1e-10)
    assert np.sum(there.white**2) == pytest.approx(y @ P @ y, abs=1e-9)
    drawn = there.residuals(40_000, np.random.default_rng(1))
    found = drawn @ drawn.T / drawn.shape[1]  # entries of size one, Monte Carlo error 0.007
    assert found == pytest.approx(M @ V @ M, abs=0.05)


@pytest.mark.parametrize("kind", ["one", "few", "several"])
@pytest.mark.parametrize("left", [[3], [2, 9, 17]])
def test_what_the_others_say_by_leaving_out(kind: str, left: list[int]) -> None:
    """Mean of the records left out, predicted by generalised least squares from the others."""
    contrasts, c, V, X, y = small(kind)
    kept = np.setdiff1d(np.arange(len(y)), left)
    inverse = np.linalg.inv(V[np.ix_(kept, kept)])
    cross = V[np.ix_(left, kept)] @ inverse
    information = X[kept].T @ inverse @ X[kept]
    beta = np.linalg.solve(information, X[kept].T @ inverse @ y[kept])
    rest = X[left] - cross @ X[kept]
    mean = X[left] @ beta + cross @ (y[kept] - X[kept] @ beta)
    variance = V[np.ix_(left, left)] - cross @ V[np.ix_(kept, left)]
    variance += rest @ np.linalg.solve(information, rest.T)
    wanted = (y[left] - mean).sum() / np.sqrt(variance.sum())
    fids = ["all" if i in left else f"alone{i}" for i in range(len(y))]
    people = individual_index(fids, [f"i{i}" for i in range(len(y))])
    labels = [str(i) for i in range(len(y))]
    found = check_contrasts(contrasts, c[None], labels, people=people)
    if len(left) == 1:
        assert found.records.z[left[0]] == pytest.approx(wanted, abs=1e-9)
    else:
        assert found.families.names == ("all",)
        assert found.families.size.tolist() == [3]
        assert found.families.z[0] == pytest.approx(wanted, abs=1e-9)
    assert found.pairs is None


@pytest.mark.parametrize("piece", [1 << 21, 100, 7])  # one piece of all rows, five, many
def test_sums_over_pairs(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayeslmm.checks.pairs.PIECE", piece)
    rng = np.random.default_rng(3)
    K = rng.uniform(-0.1, 0.6, (30, 30))
    K = (K + K.T) / 2
    levels = np.r_[np.arange(30), 4, 4, 7]
    v = rng.standard_normal((33, 3))
    pairs, sums = sum_by_relationship(K, levels, v, 1.7, least=20)
    i, j = np.triu_indices(33, 1)
    same = levels[i] == levels[j]
    x = 1.7 * K[levels[i], levels[j]]
    b = np.where(same, pairs.edges.size + 1, np.searchsorted(pairs.edges, x))
    assert pairs.same
    assert pairs.count.tolist() == np.bincount(b).tolist()
    assert pairs.count[-1] == 4  # three records of one individual, two of another
    assert pairs.count[:-1].min() >= 20
    assert pairs.relationship == pytest.approx(np.bincount(b, x) / pairs.count, abs=1e-12)
    for k in range(3):
        assert sums[:, k] == pytest.approx(np.bincount(b, v[i, k] * v[j, k]), abs=1e-10)


def test_bins_of_a_pedigree_are_its_degrees() -> None:
    found = checked(parts(0)[0], 0)
    assert found.pairs is not None
    assert found.pairs.pairs.relationship == pytest.approx([0, 0.125, 0.25, 0.5], abs=1e-9)
    kin, count = np.unique(study().relationship.matrix[np.triu_indices(600, 1)], return_counts=True)
    assert kin == pytest.approx([0, 0.125, 0.25, 0.5])
    assert found.pairs.pairs.count.tolist() == count.tolist()


def test_bins_without_pairs_or_of_one_value() -> None:
    assert bin_edges(np.linspace(0, 1, 11), np.zeros(10, dtype=np.int64), 30).size == 0
    pairs, _ = sum_by_relationship(np.full((9, 9), 0.25), np.arange(9), np.ones((9, 1)))
    assert pairs.count.tolist() == [36]


# --- right models and wrong ones


def test_right_models_pass() -> None:
    """40 data sets: p-values of single records and families are uniform, of fitted ones not more
    often small than they should be (5 of 40 below 0.05 has probability 0.05)."""
    found = []
    for seed in range(40):
        g, e = parts(seed)
        found.append(checked(np.sqrt(0.4) * g + np.sqrt(0.6) * e, seed))
    pairs = [one.pairs.p_value() for one in found if one.pairs is not None]
    assert len(pairs) == 40
    for values in (
        pairs,
        [one.families.p_worst() for one in found],
        [one.records.p_worst() for one in found],
        [one.records.p_kurtosis() for one in found],
        [one.records.p_outliers() for one in found],
    ):
        assert np.sum(np.array(values) < 0.05) <= 5
        assert np.sum(np.array(values) < 0.002) == 0
    assert [words for one in found for words in alarms(one)] == []
    for worst in ([f.families.p_worst() for f in found], [f.records.p_worst() for f in found]):
        assert kstest(worst, "uniform").pvalue > 0.001
    assert found[0].families.expected_inside() == (35, 40)  # of 40, 38 expected
    outside = sum(one.families.outside() for one in found) / (40 * FAMILIES)
    assert outside == pytest.approx(0.05, abs=0.017)  # three standard errors of 1600 families
    z = np.concatenate([one.records.z for one in found])
    assert np.mean(np.abs(z) > norm.isf(0.025)) == pytest.approx(0.05, abs=0.006)


def test_a_shared_household_taken_for_genes() -> None:
    """Cousins and half sibs are less alike than sibs' likeness says."""
    seen, less = 0, 0
    for seed in range(6):
        _, e = parts(seed)
        rng = np.random.default_rng([8, seed])
        house = rng.standard_normal(4 * FAMILIES)[study().house]
        found = checked(np.sqrt(0.5) * house + np.sqrt(0.5) * e, seed)
        assert found.pairs is not None
        distance = found.pairs.z()
        assert distance[3] > 0 > distance[2]
        seen += found.pairs.p_value() < 0.05
        if found.pairs.p_value() <= 0.01:
            said = str(pair_sentences(found.pairs))
            assert "not as alike as the model says" in said
            low, _, high = found.pairs.band()
            outside = (found.pairs.observed < low) | (found.pairs.observed > high)
            assert ("pairs related by 0.25 (1,200) are less alike" in said) == outside[2]
            assert ("pairs related by 0.5 (1,120) are more alike" in said) == outside[3]
            less += int(outside[2])
    assert seen >= 5
    assert less >= 2


def test_heavy_tails() -> None:
    for seed in range(4):
        g, _ = parts(seed)
        tails = np.random.default_rng([9, seed]).standard_t(3, g.size) / np.sqrt(3)
        records = checked(np.sqrt(0.3) * g + np.sqrt(0.7) * tails, seed).records
        assert records.kurtosis() > 0
        assert records.p_kurtosis() < 0.01
        assert "heavier than the normal" in record_sentences(records)


def test_a_family_that_is_shifted() -> None:
    for seed in range(4):
        g, e = parts(seed)
        y = np.sqrt(0.4) * g + np.sqrt(0.6) * e
        y[15 * 7 : 15 * 8] += 2.5
        found = checked(y, seed)
        families = found.families
        if families.p_worst() < 0.001:
            assert any(words.startswith("family F7 lies") for words in alarms(found))
        assert families.basis == "family IDs"
        assert [families.names[i] for i in families.outliers()] == ["F7"]
        assert families.p_worst() < 0.01
        said = str(family_sentences(families))
        assert "<bdi>F7</bdi> (15 records" in said
        assert "above" in said


def test_an_outlier() -> None:
    for seed in range(4):
        g, e = parts(seed)
        y = np.sqrt(0.4) * g + np.sqrt(0.6) * e
        y[50] -= 8
        found = checked(y, seed)
        records = found.records
        assert any(words.startswith("record F3_5 lies") for words in alarms(found))
        assert records.labels[records.outliers()[0]] == "F3_5"
        assert records.z[50] < -4
        assert records.p_worst() < 0.001
        said = str(record_sentences(records))
        assert "<bdi>F3_5</bdi> (−" in said
        assert "error of measurement" in said


@pytest.mark.parametrize("kind", ["one", "several"])
def test_a_record_with_a_covariate_of_its_own_is_not_judged(kind: str) -> None:
    """The others say nothing of it: what is left is rounding, not a deviation."""
    one = study().relationship
    n, own = one.n, 5
    X = np.column_stack([np.ones(n), np.arange(n) == own]).astype(np.float64)
    g, e = parts(0)
    y = 1e6 + np.sqrt(0.4) * g + np.sqrt(0.6) * e
    labels = [str(k) for k in range(n)]
    terms = (simple_term("A", one.matrix, np.arange(n)),)
    whole = Covariance(terms, np.zeros(n, dtype=np.intp))
    contrasts: Contrasts = DenseContrasts(dense_form(whole, X), y)
    if kind == "one":
        contrasts = KernelContrasts(decompose(one.matrix, X), y)
    found = check_contrasts(contrasts, np.array([[0.4, 0.6]]), labels, people=one.individuals)
    assert found.records.labels == (*labels[:own], *labels[own + 1 :])
    assert np.abs(found.records.z).max() < 5
    assert alarms(found) == []


def test_several_kernels_see_the_household_that_one_does_not_know() -> None:
    """The model with the household in it passes where the one without it does not."""
    one = study().relationship
    n = one.n
    terms = (simple_term("A", one.matrix, np.arange(n)), simple_term("H", None, study().house))
    X = np.ones((n, 1))
    form = dense_form(Covariance(terms, np.zeros(n, dtype=np.intp)), X)
    _, e = parts(1)
    rng = np.random.default_rng([8, 1])
    y = np.sqrt(0.7) * rng.standard_normal(4 * FAMILIES)[study().house] + np.sqrt(0.3) * e
    contrasts = DenseContrasts(form, y)
    labels = [str(k) for k in range(n)]
    variance = np.array([[0.02, 0.68, 0.3]]) * rng.uniform(0.95, 1.05, (50, 1))
    right = check_contrasts(contrasts, variance, labels, one)
    assert right.pairs is not None
    assert right.pairs.p_value() > 0.05
    assert right.whitened.std() == pytest.approx(1.0, abs=0.1)
    wrong = check_contrasts(contrasts, variance[:, [1, 0, 2]], labels, one)
    assert wrong.pairs is not None
    assert wrong.pairs.p_value() < 0.05


# --- families, names, files


def test_contrasts_need_one_trait_and_a_definite_covariance() -> None:
    two = case("bivariate")
    with pytest.raises(InputError, match="not a marginal normal distribution of one trait"):
        contrasts_of(models.load("bivariate")(two.cohort, *two.matrices))
    one = case("dominance")
    contrasts = contrasts_of(models.load("dominance")(one.cohort, *one.matrices))
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        contrasts.at(np.array([1.0, 1.0, -50.0]))


def test_what_makes_a_family() -> None:
    K = np.asarray(np.kron(np.eye(5), np.full((2, 2), 0.5) + 0.5 * np.eye(2)), dtype=np.float64)
    ids = [f"i{k}" for k in range(10)]
    each = np.arange(10)
    alone = Relationship(K, individual_index(ids, ids))
    groups, basis = families_of(alone.individuals, alone, each)
    assert basis == "relationship"
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        f"i{2 * k}": [2 * k, 2 * k + 1] for k in range(5)
    }
    named = replace(alone, individuals=individual_index(["0"] * 6 + ["B"] * 4, ids))
    groups, basis = families_of(named.individuals, named, each)
    assert basis == "family IDs"
    assert list(groups) == ["B"]  # "0" is no family
    everybody = Relationship(np.full((10, 10), 0.5) + 0.5 * np.eye(10), alone.individuals)
    groups, basis = families_of(everybody.individuals, everybody, each)
    assert groups == {}
    assert "relationships connect more than a third" in basis
    twice, _ = families_of(alone.individuals, alone, np.r_[each, 3])
    assert twice["i2"].tolist() == [2, 3, 10]


def test_probability_of_the_most_extreme() -> None:
    z = np.array([0.3, -3.0, 1.0])
    assert extreme_p(z) == pytest.approx(1 - (1 - 2 * norm.sf(3.0)) ** 3)
    assert np.isnan(extreme_p(np.empty(0)))


def test_kept_with_a_fit_and_read_again() -> None:
    import xarray as xr

    found = checked(parts(3)[0], 3)
    hostile = replace(found.families, names=("<script>", *found.families.names[1:]))
    found = replace(found, families=hostile)
    again = relative_checks_of(xr.DataTree.from_dict({"relatives": as_dataset(found)}))
    assert again is not None
    assert again.pairs is not None
    assert found.pairs is not None
    assert again.pairs.p_value() == found.pairs.p_value()
    assert again.pairs.pairs.count.tolist() == found.pairs.pairs.count.tolist()
    assert again.records.labels == found.records.labels
    assert again.families.names == hostile.names
    assert again.families.size.tolist() == hostile.size.tolist()
    assert again.whitened.tolist() == found.whitened.tolist()
    shifted = replace(hostile, z=np.r_[9.0, hostile.z[1:]])
    assert "&lt;script&gt;" in family_sentences(shifted)
    assert relative_checks_of(xr.DataTree()) is None


def test_of_a_fit() -> None:
    """A model of two kernels, fitted: its own draws, in the order of its covariance."""
    from bayeslmm import models
    from bayeslmm.inference.fit import fit

    one = study().relationship.on(study().relationship.individuals[: 15 * 8])
    n = one.n
    g, e = parts(5)
    house = np.random.default_rng(4).standard_normal(n)[study().house[:n]]
    y = np.sqrt(0.4) * (g[:n] + house) + np.sqrt(0.2) * e[:n]
    cohort = Cohort(y, np.ones((n, 1)), one.individuals, ("intercept",), "t")
    groups = Grouping("home", tuple(f"h{k}" for k in study().house[:n]))
    assert kernel_term(cohort, groups).q == 4 * 8
    model = models.load("household").build(cohort, {"additive": one, "home": groups}, {})
    tree = fit(model, draws=400)
    found = check_relatives(tree, one)
    assert found.pairs is not None
    assert found.pairs.p_value() > 0.01
    assert found.records.labels[:2] == ("F0_0", "F0_1")
    kept = add_relatedness(tree.copy(), one)  # a copy does not know its model
    assert "relatives" not in kept.children
    assert "whitened by" not in render(kept)
    add_relatedness(tree, one)
    page = render(tree.copy())
    for words in ("whitened by the Cholesky factor", "Likeness of relatives", "REML"):
        assert words in page
    variance = tree["posterior"]["variance"]
    swapped = tree.copy()
    order = ["home", "additive", "residual"]
    swapped["posterior"]["variance"] = variance.sel(component=order).assign_coords(
        component=variance["component"]
    )
    with pytest.raises(InputError, match="not in the order"):
        check_relatives(swapped, one, model=model)
    with pytest.raises(InputError, match="without its model"):
        check_relatives(tree.copy(), one)
    with pytest.raises(ValueError, match="levels"):
        check_relatives(tree, one, levels=np.arange(3))
