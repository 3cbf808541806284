"""Predicted genetic values and records, against Henderson's equations and dense formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from engine_oracles import sibships, simulated
from kernel_problems import PEDIGREE, genomic, people, relationship_of_pedigree
from scipy import sparse
from scipy.sparse.linalg import spsolve

from bayeslmm import models
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.distributions.phenotype import require_marginal, set_phenotype
from bayeslmm.errors import InputError, ModelError
from bayeslmm.individuals import individual_index
from bayeslmm.inference.compiled import OFTEN
from bayeslmm.inference.effects import covariance_draws
from bayeslmm.inference.fit import fit
from bayeslmm.posterior.blup import compute_blup
from bayeslmm.posterior.prediction import prediction_table
from bayeslmm.posterior.prediction_records import predict_phenotype
from bayeslmm.posterior.running import RunningMoments
from bayeslmm.relationship.pedigree.matrix import additive_relationship, invert_relationship
from bayeslmm.relationship.pedigree.pedigree import read_pedigree
from bayeslmm.relationship.relationship import Relationship

N = 16
PED = np.asarray(relationship_of_pedigree(PEDIGREE), dtype=np.float64)
OLD = np.array([1, 3, 4, 5, 7, 8, 9, 11, 13, 14])  # who has a record; the pedigree's others do not


def genomic_matrix(seed: int, m: int = 60) -> Any:
    dosages = np.random.default_rng(seed).binomial(2, 0.4, (N, m))
    return np.asarray(genomic(dosages, centred=True, standardised=True), dtype=np.float64) / m


GENOMIC = 0.95 * genomic_matrix(1) + 0.05 * np.eye(N)  # invertible, for the equations
OTHER = 0.9 * genomic_matrix(2) + 0.1 * np.eye(N)
SINGULAR = genomic_matrix(3)  # centred: rows sum to zero


def pedigree() -> Relationship:
    return Relationship(PED, people(N), estimator="pedigree", kernel_scale="none")


def grm(matrix: Any = GENOMIC, name: str = "additive") -> Relationship:
    return Relationship(matrix, people(N), name)


def cohort(rows: Sequence[int] = OLD, trait: str = "trait", seed: int = 5, **more: Any) -> Cohort:
    rows = np.asarray(rows)
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(len(rows)), rng.standard_normal(len(rows))])
    y = 10 + X[:, 1] + rng.standard_normal(len(rows))
    index = people(N)[rows]
    if not index.is_unique:
        more["records"] = tuple(f"r{k}" for k in range(len(rows)))
    return Cohort(y, X, index, ("intercept", "age"), trait, **more)


def henderson(
    y: Any, X: Any, R: Any, effects: Sequence[tuple[Any, Any]]
) -> tuple[Any, list[Any], list[Any]]:
    """β̂, û and prediction error variances from the mixed model equations.

    `effects`: the incidence Z (n, q) and Var(u) (q, q) of each set of effects, independent.
    """
    W = np.hstack([X, *(Z for Z, _ in effects)])
    Ri = np.linalg.inv(R)
    left = W.T @ Ri @ W
    start, places = X.shape[1], []
    for Z, G in effects:
        part = slice(start, start + Z.shape[1])
        left[part, part] += np.linalg.inv(G)
        places.append(part)
        start = part.stop
    inverse = np.linalg.inv(left)
    solution = inverse @ (W.T @ Ri @ y)
    return (
        solution[: X.shape[1]],
        [solution[part] for part in places],
        [np.diagonal(inverse)[part] for part in places],
    )


def incidence(rows: Any, q: int = N) -> Any:
    return np.eye(q)[np.asarray(rows)]


def scaled(relationship: Relationship, rows: Any = OLD) -> Any:
    rows = pd.unique(np.asarray(rows))
    return relationship.matrix / relationship.on(people(N)[rows]).factor


def component(table: pd.DataFrame, name: str, trait: str | None = None) -> pd.DataFrame:
    chosen = table["component"] == name
    if trait is not None:
        chosen &= table["trait"] == trait
    found = table[chosen].set_index(["FID", "IID"])
    assert list(found.index) == list(people(N))  # everybody, in the relationship's order
    return found


def check(table: pd.DataFrame, name: str, mean: Any, pev: Any, trait: str | None = None) -> None:
    found = component(table, name, trait)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found["sd"] ** 2, pev, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("relationship", [pedigree(), grm()], ids=["pedigree", "genomic"])
@pytest.mark.parametrize("name", ["additive", "additive_cholesky"])
def test_blup_of_one_kernel_is_hendersons(relationship: Relationship, name: str) -> None:
    data = cohort()
    model = models.load(name)(data, relationship)
    found = compute_blup(
        model, data, {"additive": relationship}, {"additive": 0.7, "residual": 1.2}
    )
    A = scaled(relationship)
    beta, (u,), (pev,) = henderson(
        data.y, data.X, 1.2 * np.eye(len(OLD)), [(incidence(OLD), 0.7 * A)]
    )
    check(found, "additive", u, pev)
    np.testing.assert_allclose(found.attrs["beta"], beta, rtol=1e-8)
    table = component(found, "additive")
    np.testing.assert_allclose(
        table["reliability"], np.clip(1 - pev / (0.7 * np.diag(A)), 0, 1), atol=1e-8
    )
    assert table["phenotyped"].to_numpy().tolist() == [k in OLD for k in range(N)]


def two_kernels() -> tuple[Cohort, Any, dict[str, Relationship]]:
    data = cohort()
    kernels = {"additive": grm(), "dominance": grm(OTHER, "dominance")}
    return data, models.load("dominance")(data, *kernels.values()), kernels


def test_blup_of_two_kernels_is_hendersons() -> None:
    data, model, kernels = two_kernels()
    variances = {"additive": 0.7, "dominance": 0.4, "residual": 0.9}
    found = compute_blup(model, data, kernels, variances)
    Z = incidence(OLD)
    parts = [(Z, 0.7 * scaled(kernels["additive"])), (Z, 0.4 * scaled(kernels["dominance"]))]
    _, u, pev = henderson(data.y, data.X, 0.9 * np.eye(len(OLD)), parts)
    check(found, "additive", u[0], pev[0])
    check(found, "dominance", u[1], pev[1])
    _, (total,), (total_pev,) = henderson(
        data.y, data.X, 0.9 * np.eye(len(OLD)), [(Z, parts[0][1] + parts[1][1])]
    )
    check(found, "total", total, total_pev)


REPEATED = np.array([1, 3, 3, 4, 5, 5, 5, 8, 9, 11, 13, 14, 1])


def repeated() -> tuple[Cohort, Any, dict[str, Relationship]]:
    data = cohort(REPEATED)
    return data, models.load("repeated")(data, pedigree()), {"additive": pedigree()}


def test_blup_of_repeated_records_is_hendersons() -> None:
    data, model, kernels = repeated()
    variances = {"additive": 0.5, "permanent": 0.3, "residual": 0.8}
    found = compute_blup(model, data, kernels, variances)
    Z, R = incidence(REPEATED), 0.8 * np.eye(len(REPEATED))
    _, u, pev = henderson(data.y, data.X, R, [(Z, 0.5 * PED), (Z, 0.3 * np.eye(N))])
    check(found, "additive", u[0], pev[0])
    assert set(found["component"]) == {"additive"}  # the environment is no genetic value


DAMS = np.array([2, 2, 1, 1, 2, 6, 6, 7, 9, 9])


def maternal() -> tuple[Cohort, Any, dict[str, Relationship]]:
    columns = pd.DataFrame({"dam": [f"i{k}" for k in DAMS]})
    data = cohort(columns=columns)
    return data, models.load("maternal")(data, pedigree()), {"additive": pedigree()}


def test_blup_of_maternal_effects_is_hendersons() -> None:
    data, model, kernels = maternal()
    S = np.array([[0.8, -0.2], [-0.2, 0.4]])
    variances = {"additive": S, "maternal_environment": 0.3, "residual": 0.9}
    found = compute_blup(model, data, kernels, variances)
    Z = np.hstack([incidence(OLD), incidence(DAMS)])
    R = 0.9 * np.eye(len(OLD))
    _, u, pev = henderson(
        data.y, data.X, R, [(Z, np.kron(S, PED)), (incidence(DAMS), 0.3 * np.eye(N))]
    )
    check(found, "direct", u[0][:N], pev[0][:N])
    check(found, "maternal", u[0][N:], pev[0][N:])


def reaction_norm() -> tuple[Cohort, Any, dict[str, Relationship]]:
    x = np.random.default_rng(8).standard_normal(len(REPEATED))
    columns = pd.DataFrame({"environment": x, "group": ["a", "b"] * 6 + ["a"]})
    data = cohort(REPEATED, columns=columns)
    return data, models.load("gxe")(data, pedigree()), {"additive": pedigree()}


def test_blup_of_a_reaction_norm_is_hendersons() -> None:
    data, model, kernels = reaction_norm()
    x = data.column("environment").to_numpy(dtype=float)
    x = (x - x.mean()) / x.std()
    S = np.array([[0.8, 0.1], [0.1, 0.3]])
    found = compute_blup(model, data, kernels, {"additive": S, "residual": [0.5, 1.1]})
    Z = incidence(REPEATED)
    residual = np.where(data.column("group") == "a", 0.5, 1.1)
    parts = [(np.hstack([Z, x[:, None] * Z]), np.kron(S, PED))]
    _, (u,), (pev,) = henderson(data.y, data.X, np.diag(residual), parts)
    check(found, "intercept", u[:N], pev[:N])
    check(found, "slope", u[N:], pev[N:])


def two_traits(complete: bool) -> tuple[Cohort, Any, dict[str, Relationship], Any]:
    second = OLD if complete else np.array([0, 1, 3, 5, 7, 8, 11, 12, 14])
    one, two = cohort(trait="A"), cohort(second, trait="B", seed=5 if complete else 6)
    if complete:
        two = replace(two, y=two.y[::-1].copy())
    data = stack_traits([one, two])
    return data, models.load("bivariate")(data, pedigree()), {"additive": pedigree()}, second


G2 = np.array([[0.8, 0.3], [0.3, 0.5]])
R2 = np.array([[1.0, -0.4], [-0.4, 0.6]])


@pytest.mark.parametrize("complete", [True, False])
def test_blup_of_two_traits_is_hendersons(complete: bool) -> None:
    data, model, kernels, second = two_traits(complete)
    found = compute_blup(model, data, kernels, {"additive": G2, "residual": R2})
    rows = np.concatenate([OLD, second])
    trait = np.repeat([0, 1], [len(OLD), len(second)])
    Z = np.zeros((len(rows), 2 * N))
    Z[np.arange(len(rows)), trait * N + rows] = 1.0
    R = R2[np.ix_(trait, trait)] * (rows[:, None] == rows)
    _, (u,), (pev,) = henderson(data.y, data.X, R, [(Z, np.kron(G2, PED))])
    check(found, "additive", u[:N], pev[:N], "A")
    check(found, "additive", u[N:], pev[N:], "B")
    measured = component(found, "additive", "B")["phenotyped"].to_numpy()
    assert np.flatnonzero(measured).tolist() == sorted(second)


def fixed_tree(model: pm.Model, beta: Any, draws: int = 1, seed: int = 3) -> xr.DataTree:
    """A "posterior" that is one point of the prior, `draws` times, with a given β."""
    point = pm.draw(model.free_RVs, random_seed=seed, mode=OFTEN)
    values = {rv.name: np.asarray(x) for rv, x in zip(model.free_RVs, point, strict=True)}
    values["beta"] = np.asarray(beta)
    found = {
        name: (
            (*("chain", "draw"), *(f"{name}_{i}" for i in range(x.ndim))),
            np.broadcast_to(x, (1, draws, *x.shape)),
        )
        for name, x in values.items()
    }
    return xr.DataTree.from_dict({"posterior": xr.Dataset(found)})


def covariance_at(model: pm.Model, tree: xr.DataTree) -> list[Any]:
    found = tree["posterior"].to_dataset()
    variables: Any = {str(k): (v.dims, v.to_numpy()) for k, v in found.data_vars.items()}
    return [x[0] for x in covariance_draws(model, variables)]


def one_kernel(matrix: Any = SINGULAR) -> tuple[Cohort, Any, dict[str, Relationship]]:
    data = cohort()
    return data, models.load("additive")(data, grm(matrix)), {"additive": grm(matrix)}


def variances_at(name: str, model: pm.Model, tree: xr.DataTree) -> Mapping[str, Any]:
    found = covariance_at(model, tree)
    c = found[0]

    def sym(a: float, b: float, d: float) -> Any:
        return np.array([[a, b], [b, d]])

    return {
        "one": lambda: {"additive": c[0], "residual": c[1]},
        "dominance": lambda: {"additive": c[0], "dominance": c[1], "residual": c[2]},
        "repeated": lambda: {"additive": c[0], "permanent": c[1], "residual": c[2]},
        "maternal": lambda: {
            "additive": sym(*c[:3]),
            "maternal_environment": c[3],
            "residual": c[4],
        },
        "gxe": lambda: {"additive": sym(*c[:3]), "residual": c[3:]},
        "complete": lambda: {"additive": found[0], "residual": found[1]},
        "incomplete": lambda: {"additive": sym(*c[:3]), "residual": sym(*c[3:])},
    }[name]()


@cache
def case(name: str) -> tuple[Cohort, Any, dict[str, Relationship]]:
    return {
        "one": one_kernel,
        "dominance": two_kernels,
        "repeated": repeated,
        "maternal": maternal,
        "gxe": reaction_norm,
        "complete": lambda: two_traits(True)[:3],
        "incomplete": lambda: two_traits(False)[:3],
    }[name]()


CASES = ("one", "dominance", "repeated", "maternal", "gxe", "complete", "incomplete")


@pytest.mark.parametrize("name", CASES)
def test_the_posterior_mean_at_fixed_variances_is_the_blup(name: str) -> None:
    data, model, kernels = case(name)
    tree = fixed_tree(model, np.zeros(data.p))
    variances = variances_at(name, model, tree)
    closed = compute_blup(model, data, kernels, variances)
    tree = fixed_tree(model, closed.attrs["beta"])
    found = prediction_table(model, tree, data, kernels)
    assert list(found["component"]) == list(closed["component"])
    scale = np.sqrt(closed["mean"].abs().max() + 1)
    np.testing.assert_allclose(found["mean"], closed["mean"], rtol=1e-8, atol=1e-8 * scale)
    np.testing.assert_allclose(found["reliability"], closed["reliability"], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["additive", "additive_cholesky"])
def test_reliability_is_the_mean_of_hendersons_over_the_posterior(name: str) -> None:
    """PEV at the variances of each draw: the uncertainty of the variances is no part of it."""
    data, exact, kernels = one_kernel(GENOMIC)
    tree = fit(exact, draws=40, seed=3, genetic_values=True)
    found = prediction_table(models.load(name)(data, grm()), tree, data, kernels)
    A, wanted = scaled(grm()), np.zeros(N)
    for u, e in tree["posterior"]["variance"].to_numpy().reshape(-1, 2):
        _, _, (pev,) = henderson(data.y, data.X, e * np.eye(len(OLD)), [(incidence(OLD), u * A)])
        wanted += (1 - pev / (u * np.diag(A))) / 40
    np.testing.assert_allclose(component(found, "additive")["reliability"], wanted, atol=1e-7)


def test_reliability_of_a_kernel_of_few_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its eigenbasis is incomplete: one node stands for all that the kernel does not reach."""
    monkeypatch.setattr("bayeslmm.likelihood.decompose.SMALL", 10)
    n, rng = 60, np.random.default_rng(8)
    Z = rng.standard_normal((n, 8))
    Z -= Z.mean(axis=0)
    kernel = Relationship(Z @ Z.T / 8, people(n), root=Z / np.sqrt(8), kernel_scale="none")
    data = Cohort(
        rng.standard_normal(40), np.ones((40, 1)), people(n)[:40], ("intercept",), "trait"
    )
    model = models.load("additive")(data, kernel)
    spectrum = require_marginal(model).spectrum
    assert spectrum is not None
    assert spectrum.basis.null > 0
    tree = fixed_tree(model, np.zeros(1))
    variances = variances_at("one", model, tree)
    closed = compute_blup(model, data, {"additive": kernel}, variances)
    found = prediction_table(model, tree, data, {"additive": kernel})
    np.testing.assert_allclose(found["reliability"], closed["reliability"], rtol=1e-7, atol=1e-9)
    assert found["reliability"].between(0.1, 1.0).all()


def test_reliability_does_not_fall_with_the_size_of_the_prediction() -> None:
    """h² near 0.1 ± 0.07: 1 - sd²/(E[σ²] K_ii) was 0 for the largest values, correlation -0.88."""
    data = simulated(200, 1, 0.1, seed=4, K=sibships(200, 5))
    relationship = data.relationship()
    model = models.load("additive")(data.cohort(), relationship)
    tree = fit(model, draws=2000, seed=1)
    table = prediction_table(model, tree, data.cohort(), {"additive": relationship})
    h2 = tree["posterior"]["h2"].to_numpy()
    assert h2.std() > 0.4 * h2.mean()
    size = table["mean"].abs()
    assert abs(np.corrcoef(size, table["reliability"])[0, 1]) < 0.3
    assert table["reliability"].std() < 0.02  # all have four siblings
    assert table["reliability"][size.nlargest(5).index].min() > 0.05


@pytest.mark.parametrize("name", CASES)
def test_the_posterior_sd_at_fixed_parameters(name: str) -> None:
    """Given β the variance is Var(u) - Cov(u, y) V⁻¹ Cov(y, u): BLUP with a known β."""
    data, model, kernels = case(name)
    draws = 4000
    tree = fixed_tree(model, np.zeros(data.p), draws)
    variances = variances_at(name, model, tree)
    found = prediction_table(model, tree, data, kernels)
    known = replace_design(data)
    closed = compute_blup(model, known, kernels, variances)
    # the relative error of a variance of that many draws is √(2/draws) = 2%: five of them
    np.testing.assert_allclose(found["sd"] ** 2, closed["sd"] ** 2, rtol=0.12, atol=1e-9)
    width = found["upper"] - found["lower"]
    np.testing.assert_allclose(width, 2 * 1.96 * closed["sd"], rtol=0.12, atol=1e-6)
    middle = 0.5 * (found["upper"] + found["lower"]) - found["mean"]
    assert np.abs(middle / np.maximum(closed["sd"], 1e-6)).max() < 0.2


def replace_design(data: Cohort) -> Any:
    """The cohort without fixed effects: β is known, and no part of the error."""

    class Known:
        def __getattr__(self, name: str) -> Any:
            return data.X[:, :0] if name == "X" else getattr(data, name)

    return Known()


def test_new_values_are_the_regression_on_the_old_ones_also_of_a_singular_kernel() -> None:
    data, model, kernels = case("one")
    found = component(
        compute_blup(model, data, kernels, {"additive": 0.6, "residual": 0.5}), "additive"
    )["mean"].to_numpy()
    new = np.setdiff1d(np.arange(N), OLD)
    K = scaled(kernels["additive"])
    regression = K[np.ix_(new, OLD)] @ np.linalg.pinv(K[np.ix_(OLD, OLD)], 1e-10, True)
    np.testing.assert_allclose(found[new], regression @ found[OLD], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("variance", [(1.3, 1e-12), (1.3, 0.0), (1e-12, 1.0), (0.0, 1.0)])
def test_at_the_edges_of_h2_the_values_are_those_of_the_posterior(variance: Any) -> None:
    """A singular kernel, whose null directions would be divided by the residual variance."""
    data, model, kernels = case("one")
    beta, total = np.array([[10.0, 0.4]]), float(np.sum(variance))
    tree = fixed_tree(model, beta[0])
    values = {"h2": variance[0] / total, "total_sd": np.sqrt(total)}
    filled = {k: v for k, v in tree["posterior"].to_dataset().items() if k not in values}
    for name, value in values.items():
        filled[name] = (("chain", "draw"), np.full((1, 1), value))
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(filled)})
    found = component(prediction_table(model, tree, data, kernels), "additive")
    assert np.isfinite(found[["mean", "sd"]].to_numpy()).all()
    at = np.array([covariance_at(model, tree)[0]])
    expected = require_marginal(model).genetic_mean(data.y, beta, [at])[0][0]
    np.testing.assert_allclose(found["mean"].to_numpy()[OLD], expected, rtol=1e-8, atol=1e-8)


def household() -> tuple[Cohort, Any, dict[str, Relationship]]:
    data = cohort()
    homes = np.arange(N) // 3
    C = (homes[:, None] == homes).astype(float)
    home = Relationship(C, people(N), "home", "group", kernel_scale="none", kind="environment")
    return data, models.load("household")(data, grm(), home), {"additive": grm(), "home": home}


def test_a_household_is_no_genetic_value_but_part_of_a_new_record() -> None:
    data, model, kernels = household()
    beta, rows = np.array([10.0, 0.5]), np.array([0, 2, 15])
    tree = fixed_tree(model, beta)
    a, c, e = covariance_at(model, tree)[0]
    genetic = {"additive": kernels["additive"]}
    assert set(prediction_table(model, tree, data, genetic)["component"]) == {"additive"}
    X = np.column_stack([np.ones(3), np.zeros(3)])
    with pytest.raises(InputError, match="'home' of F i0, F i2, F i15 is not known"):
        predict_phenotype(model, tree, data, genetic, people(N)[rows], X)
    found = predict_phenotype(model, tree, data, kernels, people(N)[rows], X)
    both = a * scaled(kernels["additive"]) + c * kernels["home"].matrix
    V = both[np.ix_(OLD, OLD)] + e * np.eye(len(OLD))
    mean, _ = conditional(
        V, both[np.ix_(rows, OLD)], both[np.ix_(rows, rows)], data.y - data.X @ beta
    )
    np.testing.assert_allclose(found["mean"], 10.0 + mean, rtol=1e-8)


def test_gryphon_breeding_values_are_hendersons(shared_data: Path) -> None:
    """1309 animals, 854 of them with a birth weight, at the published variances."""
    folder = shared_data / "gryphon"
    ped = read_pedigree(folder / "pedigree.tsv", "rows")
    A = additive_relationship(ped)
    records = pd.read_csv(folder / "phenotypes.tsv", sep="\t", dtype={"ANIMAL": str})
    records = records.dropna(subset=["BWT"])
    where = {one: k for k, one in enumerate(A.individuals.get_level_values(1))}
    rows = np.array([where[one] for one in records["ANIMAL"]])
    y = records["BWT"].to_numpy(dtype=float)
    X = np.ones((len(y), 1))
    data = Cohort(y, X, A.individuals[rows], ("intercept",), "BWT")
    model = models.load("additive")(data, A)
    va, vr = 3.395398, 3.828602
    found = compute_blup(model, data, {"additive": A}, {"additive": va, "residual": vr})
    Z = sparse.csr_array((np.ones(len(y)), (np.arange(len(y)), rows)), shape=(len(y), A.n))
    inverse = invert_relationship(ped)
    random = Z.T @ Z / vr + inverse / va
    corner = np.array([[len(y) / vr]])
    side = Z.T @ X / vr
    left = sparse.block_array([[corner, side.T], [side, random]], format="csc")
    solution = spsolve(left, np.concatenate([[y.sum() / vr], Z.T @ y / vr]))
    order = [where[one] for one in found["IID"]]
    np.testing.assert_allclose(found["mean"], solution[1:][order], rtol=1e-8, atol=1e-8)
    assert found.attrs["beta"][0] == pytest.approx(solution[0], rel=1e-9)
    assert found["phenotyped"].sum() == 854


def test_latent_values_give_the_same_predictions() -> None:
    data, exact, kernels = one_kernel(GENOMIC)
    marginal = prediction_table(exact, fit(exact, draws=2000), data, kernels)
    model = models.load("additive_cholesky")(data, grm())
    tree = fit(exact, draws=2000, genetic_values=True)  # a posterior of g, β and the variances
    latent = prediction_table(model, tree, data, kernels)
    gap = (latent["mean"] - marginal["mean"]) / marginal["sd"]
    assert gap.abs().max() < 0.1  # 2000 independent draws: 0.022 is one standard error
    np.testing.assert_allclose(latent["sd"], marginal["sd"], rtol=0.1)
    with pytest.raises(ModelError, match="genetic_values=True"):
        prediction_table(model, fit(exact, draws=400), data, kernels)


def test_a_fit_predicts_everybody_or_those_who_are_named() -> None:
    data, model, kernels = case("one")
    tree = fit(model, draws=2000)
    table = prediction_table(model, tree, data, kernels, 0.9, 7)
    assert list(table["IID"]) == [f"i{k}" for k in range(N)]
    assert table["reliability"].between(0, 1).all()
    assert (table["lower"] < table["mean"]).all()
    assert (table["mean"] < table["upper"]).all()
    pd.testing.assert_frame_equal(
        table, prediction_table(model, tree, data, kernels, prob=0.9, seed=7)
    )
    few = prediction_table(model, tree, data, kernels, individuals=people(N)[[2, 3]])
    assert list(few["IID"]) == sorted({f"i{k}" for k in [*OLD, 2]}, key=lambda i: int(i[1:]))
    merged = few.merge(table, on="IID")
    np.testing.assert_allclose(merged["mean_x"], merged["mean_y"], rtol=1e-8, atol=1e-8)


def test_individuals_in_another_order_get_the_same_predictions() -> None:
    data, model, kernels = case("one")
    tree = fixed_tree(model, np.zeros(2), 50)
    order = np.random.default_rng(2).permutation(N)
    shuffled = Relationship(SINGULAR[np.ix_(order, order)], people(N)[order])
    found = prediction_table(model, tree, data, {"additive": shuffled})
    assert list(found["IID"]) == [f"i{k}" for k in order]
    expected = prediction_table(model, tree, data, kernels).set_index("IID")["mean"]
    np.testing.assert_allclose(found.set_index("IID")["mean"][expected.index], expected, atol=1e-9)


def test_a_cohort_without_family_identifiers_finds_its_relatives() -> None:
    data, model, kernels = case("one")
    bare = replace(
        data, individuals=individual_index(["0"] * len(OLD), data.individuals.get_level_values(1))
    )
    same = models.load("additive")(bare, kernels["additive"])
    tree = fixed_tree(model, np.zeros(2), 20)
    found = prediction_table(same, tree, bare, kernels)
    expected = prediction_table(model, tree, data, kernels)
    pd.testing.assert_frame_equal(found.drop(columns="FID"), expected.drop(columns="FID"))


def test_errors_say_what_to_give() -> None:
    data, model, kernels = case("dominance")
    tree = fixed_tree(model, np.zeros(2))
    with pytest.raises(InputError, match=r"no relationship 'dominance'.*additive"):
        prediction_table(model, tree, data, {"additive": kernels["additive"]})
    with pytest.raises(InputError, match="is not the kernel of the model"):
        prediction_table(model, tree, data, {**kernels, "dominance": grm(GENOMIC**2)})
    one, spectral, _ = case("one")
    with pytest.raises(InputError, match="is not the kernel of the model"):
        prediction_table(spectral, fixed_tree(spectral, np.zeros(2)), one, {"additive": grm()})
    absent = pd.MultiIndex.from_tuples([("F", "nobody")], names=["FID", "IID"])
    with pytest.raises(InputError, match="no row in the relationship"):
        prediction_table(model, tree, data, kernels, individuals=absent)
    with pytest.raises(InputError, match="variances of additive"):
        compute_blup(model, data, kernels, {"additive": 1.0})
    with pytest.raises(InputError, match="without a posterior"):
        prediction_table(model, xr.DataTree(), data, kernels)


@pytest.mark.parametrize("prob", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("draws", [1, 7, 1000])
def test_intervals_from_blocks_are_those_of_all_draws(prob: float, draws: int) -> None:
    rng = np.random.default_rng(draws)
    m, d = rng.standard_normal((2, draws, 4))
    running = RunningMoments(draws, prob)
    for start in range(0, draws, 300):
        running.add(m[start : start + 300], d[start : start + 300])
    tail = 0.5 * (1 - prob)
    expected = np.quantile(m + d, [tail, 1 - tail], axis=0)
    np.testing.assert_allclose(running.interval(), expected, rtol=1e-12, atol=1e-12)
    mean, sd = running.moments()
    np.testing.assert_allclose(mean, m.mean(axis=0), atol=1e-12)
    variance = m.var(axis=0, ddof=min(draws - 1, 1)) + (d**2).mean(axis=0)
    np.testing.assert_allclose(sd**2, variance, rtol=1e-10)


def conditional(model_V: Any, cross: Any, new: Any, r: Any) -> tuple[Any, Any]:
    solved = np.linalg.solve(model_V, cross.T)
    return solved.T @ r, np.diagonal(new - cross @ solved)


def test_new_records_at_fixed_parameters_are_the_conditional_normal() -> None:
    data, model, kernels = case("repeated")
    beta = np.array([10.0, 0.5])
    tree = fixed_tree(model, beta, 4000)
    a, c, e = (
        variances_at("repeated", model, tree)[k] for k in ("additive", "permanent", "residual")
    )
    rows = np.array([0, 2, 3, 5, 5, 15])  # some known, some not, one twice
    X = np.column_stack([np.ones(6), np.linspace(-1, 1, 6)])
    found = predict_phenotype(model, tree, data, kernels, people(N)[rows], X)
    both = a * PED + c * np.eye(N)
    V = both[np.ix_(REPEATED, REPEATED)] + e * np.eye(len(REPEATED))
    r = data.y - data.X @ beta
    mean, variance = conditional(V, both[np.ix_(rows, REPEATED)], both[np.ix_(rows, rows)], r)
    np.testing.assert_allclose(found["mean"], X @ beta + mean, rtol=1e-8)
    np.testing.assert_allclose(found["sd"] ** 2, variance + e, rtol=0.12)
    frame = pd.DataFrame({"age": X[:, 1], "intercept": 1.0})
    pd.testing.assert_frame_equal(
        found, predict_phenotype(model, tree, data, kernels, people(N)[rows], frame)
    )


@pytest.mark.parametrize("complete", [True, False])
def test_the_other_trait_predicts_by_both_correlations(complete: bool) -> None:
    name = "complete" if complete else "incomplete"
    data, model, kernels = case(name)
    second = two_traits(complete)[3]
    beta = np.array([10.0, 0.5, 9.0, -0.5])
    tree = fixed_tree(model, beta, 4000)
    variances = variances_at(name, model, tree)
    G, R = variances["additive"], variances["residual"]
    rows = np.array([2, 15]) if complete else np.array([2, 4, 9, 13])  # 4, 9, 13 have trait A
    X = np.column_stack([np.zeros((len(rows), 2)), np.ones(len(rows)), np.arange(len(rows))])
    found = predict_phenotype(model, tree, data, kernels, people(N)[rows], X, trait="B")
    where, trait = np.concatenate([OLD, second]), np.repeat([0, 1], [len(OLD), len(second)])
    full = np.kron(G, PED) + np.kron(R, np.eye(N))
    old, new = trait * N + where, N + rows
    mean, variance = conditional(
        full[np.ix_(old, old)],
        full[np.ix_(new, old)],
        full[np.ix_(new, new)],
        data.y - data.X @ beta,
    )
    np.testing.assert_allclose(found["mean"], X @ beta + mean, rtol=1e-8)
    np.testing.assert_allclose(found["sd"] ** 2, variance, rtol=0.12)
    assert set(found["trait"]) == {"B"}


def test_a_reaction_norm_predicts_with_its_environment() -> None:
    data, model, kernels = case("gxe")
    beta = np.array([10.0, 0.5])
    tree = fixed_tree(model, beta)
    variances = variances_at("gxe", model, tree)
    values = compute_blup(model, replace_y(data, beta), kernels, variances)
    rows, x = np.array([0, 3]), np.array([1.5, -0.5])
    X = np.column_stack([np.ones(2), np.zeros(2)])
    more: Any = {"weights": {"intercept": 1.0, "slope": x}, "group": [0, 1]}
    found = predict_phenotype(model, tree, data, kernels, people(N)[rows], X, **more)
    u0, u1 = (component(values, k)["mean"].to_numpy()[rows] for k in ("intercept", "slope"))
    np.testing.assert_allclose(found["mean"], 10.0 + u0 + x * u1, rtol=1e-8)
    with pytest.raises(ModelError, match="weights="):
        predict_phenotype(model, tree, data, kernels, people(N)[rows], X)
    more.pop("group")
    with pytest.raises(InputError, match="residual class"):
        predict_phenotype(model, tree, data, kernels, people(N)[rows], X, **more)
    with pytest.raises(InputError, match="intercept, age"):
        predict_phenotype(model, tree, data, kernels, people(N)[rows], X[:, :1])


def replace_y(data: Cohort, beta: Any) -> Any:
    """The cohort with y - Xβ in the place of y, and no fixed effects."""

    class Known:
        def __getattr__(self, name: str) -> Any:
            if name == "X":
                return data.X[:, :0]
            return data.y - data.X @ beta if name == "y" else getattr(data, name)

    return Known()


def test_predictive_intervals_of_held_out_individuals_cover() -> None:
    """40 families of 5, one of each held out, 25 data sets: 1000 intervals of 95%.

    Intervals of a data set share its estimates, so the standard error comes from the data sets;
    it is near the binomial √(0.95 × 0.05/1000) = 0.7%, and four of them are allowed.
    """
    rng = np.random.default_rng(11)
    family = np.repeat(np.arange(40), 5)
    A = 0.5 * (family[:, None] == family) + 0.5 * np.eye(200)
    L = np.linalg.cholesky(A)
    relationship = Relationship(A, people(200), kernel_scale="none")
    held = np.arange(200) % 5 == 0
    x = rng.standard_normal(200)
    X = np.column_stack([np.ones(200), x])
    names = ("intercept", "x")
    model, covered, shorter = None, [], []
    for _ in range(25):
        y = 3 + x + np.sqrt(0.6) * L @ rng.standard_normal(200)
        y += np.sqrt(0.4) * rng.standard_normal(200)
        data = Cohort(y[~held], np.ascontiguousarray(X[~held]), people(200)[~held], names, "t")
        if model is None:
            model = models.load("additive")(data, relationship)
        else:
            set_phenotype(model, data.y)
        tree = fit(model, draws=1000)
        found = predict_phenotype(
            model, tree, data, {"additive": relationship}, people(200)[held], X[held]
        )
        covered.append(np.mean(found["lower"].le(y[held]) & found["upper"].ge(y[held])))
        shorter.append(np.mean(found["sd"]))
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 1000)
    assert np.mean(shorter) < 0.95  # of a total sd of 1: the relatives help
