"""One kernel, of few columns: every verb of its density against the matrices written out.

The spectrum is complete, compressed or made of a root; nothing behind it may tell which. One trait
by its variances (T = 0), and one, two by covariances. Means and covariances of draws are exact: a
draw is affine in its normal numbers (`affine.moments`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytest
from affine import moments
from low_rank import (
    FORMS,
    PROBLEMS,
    SMALL,
    LowRank,
    data,
    dense_parts,
    design,
    low_rank,
    matrices,
    parameters,
)
from multitrait_oracles import dense
from numpy.typing import NDArray
from oracles import LONG, log_marginal_density, log_normal_density, relative
from pytensor.compile.mode import Mode
from scipy.stats import multivariate_normal
from spectra import same

from bayeslmm.distributions.multi_trait_normal import multi_trait_normal
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.likelihood.fixed_effects import integrate_beta
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.one_kernel_solve import semivariance
from bayeslmm.likelihood.realised import realised_pve
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.likelihood.terms import Term

type Floats = NDArray[np.float64]

PYTHON = Mode(linker="py", optimizer="fast_compile")
EACH = pytest.mark.parametrize("name", PROBLEMS)
FEW = pytest.mark.parametrize("name", SMALL)
FORM = pytest.mark.parametrize("form", FORMS)
TRAITS = pytest.mark.parametrize("T", [0, 1, 2])


def close(found: Any, expected: Any, tolerance: float = 1e-9) -> None:
    """Within a tolerance of the largest entry."""
    expected = np.asarray(expected)
    size = tolerance * max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=size)


def draws(c: list[Floats], count: int = 1) -> list[Floats]:
    """c with a leading axis."""
    return [np.repeat(x[None], count, axis=0) for x in c]


# The density


@EACH
@FORM
@TRAITS
def test_density_and_gradients(name: str, form: str, T: int) -> None:
    """1e-10 against the complete spectrum; extended precision where that takes no minutes."""
    problem = low_rank(name)
    (y, beta), where = data(problem, T, 1), parameters(T, 2)
    found, complete = (
        [one.logp_gradient(one.rotate(y), beta, *c) for c in where]
        for one in (problem.marginal(form, T), problem.marginal("complete", T))
    )
    exact = oracle(problem, y, beta, where, T) if name in SMALL else None
    for k, (at, other) in enumerate(zip(found, complete, strict=True)):
        agree(at, other)
        if exact is not None:
            agree(at, [part[k] for part in exact])
    if T < 2:
        for at, c in zip(found, where, strict=True):
            normal = multivariate_normal(design(problem, T) @ beta, dense_parts(problem, c)[0])
            assert relative(at[0], normal.logpdf(y)) < 1e-10


def agree(found: Any, expected: Any) -> None:
    """1e-10: log p and ∂/∂β of themselves, ∂/∂c of its largest entry (R's, towards h² = 1)."""
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert relative(one, other) < 1e-10
    slopes = (np.concatenate([np.ravel(x) for x in one[2:]]) for one in (found, expected))
    close(*slopes, 1e-10)


def oracle(problem: LowRank, y: Floats, beta: Floats, where: Any, T: int) -> list[Any]:
    """Log density and gradients in extended precision."""
    if T == 0:
        betas = np.tile(beta, (len(where), 1))
        return list(log_normal_density(y, problem.X, [problem.K], betas, [c[0] for c in where]))
    Y, B = y.reshape(T, -1).T, beta.reshape(T, -1).T
    logp, dB, dG, dR = dense(Y, problem.X, problem.K, B, [tuple(c) for c in where])
    return [logp, np.swapaxes(dB, 1, 2).reshape(len(where), -1), dG, dR]


@FEW
@FORM
@TRAITS
def test_the_quadratic_in_beta_and_its_integral(name: str, form: str, T: int) -> None:
    problem = low_rank(name)
    y, beta = data(problem, T, 3)
    marginal, whole = (problem.marginal(one, T).quadratic(y) for one in (form, "complete"))
    factor = np.diag(np.linspace(1.0, 3.0, beta.size))
    for c in parameters(T, 4):
        V = dense_parts(problem, c)[0]
        found, complete = marginal(c), whole(c)
        assert found is not None
        assert complete is not None
        normal = multivariate_normal(design(problem, T) @ beta, V)
        assert found.at(beta) == pytest.approx(normal.logpdf(y), rel=1e-8)
        for prior in (factor, None):
            value = integrate_beta(found, beta, prior)
            mean = None if prior is None else beta
            exact = log_marginal_density(y, design(problem, T), [V], [1.0], mean, prior)[0]
            assert value == pytest.approx(exact, rel=1e-9)
            assert value == pytest.approx(integrate_beta(complete, beta, prior), rel=1e-10)


@FEW
@FORM
@pytest.mark.parametrize("h2", [1e-8, 1 - 1e-8])
def test_next_to_the_ends_of_the_range_of_h2(name: str, form: str, h2: float) -> None:
    """1e-8 in extended precision, K = GGᵀ in it too, where ½ rᵀV⁻¹r is 1e8.

    1e-6 where K has a null vector in the space of X that is no column of it: 1 - h² = 1e-8 stands
    beside the rounding of T, 1e-16 of its largest entry.
    """
    problem, tolerance = low_rank(name), 1e-6 if "within" in name else 1e-8
    y, beta = data(problem, 0, 26)
    marginal, c = problem.marginal(form, 0), 2.0 * np.array([h2, 1 - h2])
    root = np.asarray(problem.G, dtype=LONG)
    exact = log_normal_density(y, problem.X, [root @ root.T], beta[None], c[None])
    value, d_beta, slope = marginal.logp_gradient(marginal.rotate(y), beta, c)
    assert relative(value, exact[0][0]) < tolerance
    assert relative(d_beta, exact[1][0]) < tolerance
    assert relative(slope[1], exact[2][0, 1]) < tolerance
    found = marginal.quadratic(y)([c])
    assert found is not None
    assert found.at(beta) == pytest.approx(float(exact[0][0]), rel=tolerance)


def test_where_the_covariance_is_not_definite_there_is_no_density() -> None:
    problem = low_rank("8 columns, 3 covariates")
    for T, bad in ((0, [np.array([1.0, 0.0])]), (2, [np.eye(2), np.zeros((2, 2))])):
        y, beta = data(problem, T, 5)
        marginal = problem.marginal("root", T)
        assert marginal.quadratic(y)(bad) is None
        value, *slopes = marginal.logp_gradient(marginal.rotate(y), beta, *bad)
        assert value == -np.inf
        assert not any(slope.any() for slope in slopes)


# Given c: solutions, means, draws


@EACH
@FORM
@TRAITS
def test_solve(name: str, form: str, T: int) -> None:
    problem, where = low_rank(name), parameters(T, 6)
    marginal = problem.marginal(form, T)
    r = np.random.default_rng(7).standard_normal((len(where), marginal.n))
    found = marginal.solve([np.stack(x) for x in zip(*where, strict=True)], r)
    for x, c, one in zip(found, where, r, strict=True):
        V = dense_parts(problem, c)[0]
        close(V @ x, one, 1e-9)
        close(x, np.linalg.solve(V, one), 1e-8)


def conditional(
    problem: LowRank, y: Floats, beta: Floats, c: list[Floats], T: int
) -> tuple[Floats, Floats]:
    """Mean and covariance of g given y, β and c."""
    V, genetic = dense_parts(problem, c)
    half = np.linalg.solve(V, genetic)
    return half.T @ (y - design(problem, T) @ beta), genetic - genetic @ half


@FEW
@FORM
@TRAITS
def test_genetic_values_have_the_conditional_mean_and_covariance(
    name: str, form: str, T: int
) -> None:
    problem = low_rank(name)
    y, beta = data(problem, T, 8)
    marginal = problem.marginal(form, T)
    for c in parameters(T, 9, count=3):
        mean, cov = conditional(problem, y, beta, c, T)

        def draw(rng: Any, c: list[Floats] = c) -> Floats:
            ((where, found),) = marginal.random_effects(y, beta[None], draws(c), rng)
            assert where.tolist() == [0]
            return np.hstack([found[effect][0] for effect in marginal.effect_names])

        found = moments(draw)
        close(found[0], mean, 1e-8)
        close(found[1], cov, 1e-8)
        close(np.hstack(marginal.genetic_mean(y, beta[None], draws(c)))[0], mean, 1e-8)


@FEW
@FORM
@TRAITS
def test_simulated_records_have_the_covariance(name: str, form: str, T: int) -> None:
    """Also with covariances that are singular; the parts are what the records are made of."""
    problem = low_rank(name)
    _, beta = data(problem, T, 10)
    marginal, X = problem.marginal(form, T), design(problem, T)
    singular = [np.array([2.0, 0.0])] if T == 0 else [np.ones((T, T)), np.zeros((T, T))]
    for c in [*parameters(T, 11, count=3), singular]:
        mean, cov = moments(lambda rng, c=c: marginal.simulate(beta, c, rng)[0])
        close(mean, X @ beta, 1e-12)
        close(cov, dense_parts(problem, c)[0], 1e-10)
    y, parts = marginal.simulate(beta, parameters(T, 11)[1], np.random.default_rng(12))
    ones, fixed = np.full(len(problem.X), len(problem.X) ** -0.5), X @ beta
    for t, one in enumerate(parts):
        rows = np.flatnonzero(marginal.trait_index == t)
        g = marginal.nodes.unrotate(one.parts[0][0])
        expected = realised_pve(fixed[None, rows], [g[None]], y[rows], ones)
        for key, value in realised_pve(*one).items():
            close(value, expected[key], 1e-10)


@FEW
@FORM
@TRAITS
def test_what_is_realised_is_what_is_drawn(name: str, form: str, T: int) -> None:
    """The same numbers in rotated coordinates and in those of the records."""
    problem = low_rank(name)
    y, beta = data(problem, T, 13)
    marginal, count = problem.marginal(form, T), 5
    c, betas = draws(parameters(T, 14)[1], count), np.tile(beta, (count, 1))
    ((_, drawn),) = marginal.random_effects(y, betas, c, np.random.default_rng(15))
    (found,) = marginal.realised(y, betas, c, np.random.default_rng(15))
    g = np.hstack([drawn[effect] for effect in marginal.effect_names])
    close(found.genetic(), g, 1e-10)
    ones, fixed = np.full(len(problem.X), len(problem.X) ** -0.5), betas @ marginal.design.T
    for t, one in enumerate(found.traits):
        rows = np.flatnonzero(marginal.trait_index == t)
        expected = realised_pve(fixed[:, rows], [g[:, rows]], y[rows], ones)
        for key, value in realised_pve(*one).items():
            close(value, expected[key], 1e-10)


@FEW
@FORM
@TRAITS
def test_predictions_of_those_without_a_record(name: str, form: str, T: int) -> None:
    """m = E[u | y]; d has the conditional covariance, also among the seven others."""
    problem = low_rank(name)
    y, beta = data(problem, T, 16)
    marginal, everybody = problem.marginal(form, T), problem.everybody
    n, size = len(problem.X), len(everybody)
    levels = np.tile(np.arange(n), max(T, 1))[:, None] * np.ones(max(T, 1), dtype=int)
    weights = np.repeat(np.eye(max(T, 1)), n, axis=0)
    term = Term("additive", marginal.effect_names, everybody @ everybody.T, levels, weights)
    for c in parameters(T, 17, count=3):

        def draw(rng: Any, c: list[Floats] = c) -> Floats:
            (one,) = marginal.predict(y, beta[None], draws(c), [term], rng)
            return np.stack([
                np.hstack([part[x][0] for x in marginal.effect_names])
                for part in (one.mean, one.deviation)
            ])  # fmt: skip

        mean, cov = moments(lambda rng: draw(rng)[1])
        wide = np.kron(matrices(c)[0], everybody @ everybody.T)
        seen = np.flatnonzero(np.tile(np.arange(size) < n, max(T, 1)))
        half = np.linalg.solve(dense_parts(problem, c)[0], wide[seen])
        close(draw(np.random.default_rng(18))[0], half.T @ (y - design(problem, T) @ beta), 1e-7)
        close(mean, np.zeros(wide.shape[0]))
        close(cov, wide - wide[:, seen] @ half, 1e-7)


# Error contrasts


@FEW
@FORM
def test_contrasts_whiten_the_records(name: str, form: str) -> None:
    """``H⁻¹Qᵀ`` column by column: it takes V to I and X to 0; P from it is the textbook's."""
    problem = low_rank(name)
    y, _ = data(problem, 0, 19)
    marginal, X, n = problem.marginal(form, 0), problem.X, len(problem.X)
    rows = np.array([3, 0, 7])
    for c in parameters(0, 20, count=3):
        V = dense_parts(problem, c)[0]
        H = np.stack([white(marginal, one, c) for one in np.eye(n)], axis=1)
        close(H @ V @ H.T, np.eye(n - X.shape[1]), 1e-8)
        assert np.abs(H @ X).max() < 1e-9 * np.abs(H).max() * np.abs(X).max()
        Vi = np.linalg.inv(V)
        P = Vi - Vi @ X @ np.linalg.solve(X.T @ Vi @ X, X.T @ Vi)
        contrasts = marginal.contrasts(y)
        assert contrasts is not None
        assert (contrasts.n, contrasts.cheap, contrasts.form) == (n, True, None)
        at = contrasts.at(c[0])
        close(at.scores(), P @ y, 1e-7)
        close(at.diagonal(), np.diag(P), 1e-7)
        close(at.block(rows), P[np.ix_(rows, rows)], 1e-7)
        M = np.eye(n) - X @ np.linalg.solve(X.T @ X, X.T)
        close(contrasts.residuals(), M @ y, 1e-11)
        mean, cov = moments(lambda rng, at=at: at.residuals(1, rng)[:, 0])
        close(mean, np.zeros(n))
        close(cov, M @ V @ M, 1e-10)
        mean, cov = moments(
            lambda rng, draw=contrasts.replicates, at=c[0]: draw(at[None], 1, rng)[:, 0]
        )
        close(mean, np.zeros(n))
        close(cov, M @ V @ M, 1e-10)


def white(marginal: KernelMarginal, y: Floats, c: list[Floats]) -> Floats:
    """The white contrasts of y."""
    contrasts = marginal.contrasts(y)
    assert contrasts is not None
    return contrasts.at(c[0]).white


def test_several_traits_have_no_contrasts_of_that_kind() -> None:
    problem = low_rank("3 columns, centred")
    assert problem.marginal("root", 2).contrasts(data(problem, 2, 1)[0]) is None


# The spectrum


@EACH
@FORM
def test_the_spectrum_itself(name: str, form: str) -> None:
    problem = low_rank(name)
    n, r, p = PROBLEMS[name]
    S, K = problem.spectrum(form), problem.K
    assert (S.n, S.p, S.m) == (n, p, n - p)
    close(S.design, problem.X, 1e-12)
    close(S.kernel(), K, 1e-12)
    assert semivariance(S) == pytest.approx((np.trace(K) - K.sum() / n) / (n - 1), rel=1e-10)
    axis = S.leading_axis()
    assert axis @ K @ axis == pytest.approx(S.eigenvalues[-1], rel=1e-10)
    assert S.weights.sum() == n - p
    if form == "root" or (form == "compressed" and "one dim" not in name):
        assert S.basis.columns.shape[1] <= p + r  # nothing n × n is kept
        assert S.nbytes <= 8 * (n * (p + r) + p * (r + 1))
    else:
        assert S.basis.columns.shape == (n, n)


@EACH
@FORM
@pytest.mark.parametrize("T", [1, 2])
def test_contrasts_one_by_one_and_with_the_sums_of_squares_of_the_nodes(
    name: str, form: str, T: int
) -> None:
    problem = low_rank(name)
    S, whole = problem.spectrum(form).together(T), problem.spectrum("complete")
    Y = data(problem, T, 21)[0].reshape(T, -1).T
    rotated, e = S.rotate(Y), whole.rotate(Y)[whole.p :]
    s, one_by_one = S.contrasts(Y)
    expanded, sums = S.expanded(rotated)
    for values, found in ((s, one_by_one), (expanded, sums)):
        np.testing.assert_allclose(values, whole.eigenvalues, rtol=1e-9, atol=1e-12)
        assert found.shape == e.shape
        for power in (0, 1, 2, -1):
            w = (values + 0.3) ** power
            close((found.T * w) @ found, (e.T * (whole.eigenvalues + 0.3) ** power) @ e, 1e-9)
    close(S.unrotate(S.basis.project(problem.K[:, :T])), problem.K[:, :T], 1e-11)


@FORM
def test_files_and_traits(form: str, tmp_path: Path) -> None:
    S = low_rank("8 columns, 3 covariates").spectrum(form)
    S.save(tmp_path / "S.npz")
    found = Spectrum.load(tmp_path / "S.npz")
    assert same(found, S)
    assert found.together(1) is found
    assert same(found.together(3).together(1), S)
    assert same(found.together(3), S.together(3))


@FORM
def test_some_of_the_records(form: str) -> None:
    problem = low_rank("8 columns, 3 covariates")
    marginal, (y, beta), c = problem.marginal(form, 0), data(problem, 0, 22), parameters(0, 23)[1]
    some = np.random.default_rng(24).permutation(60)[:45]
    found = marginal.subset(some)
    assert found is not None
    V = dense_parts(problem, c)[0][np.ix_(some, some)]
    expected = multivariate_normal(problem.X[some] @ beta, V).logpdf(y[some])
    value = found.logp_gradient(found.rotate(y[some]), beta, *c)[0]
    assert value == pytest.approx(expected, rel=1e-9)
    assert marginal.subset(some[:3]) is None  # four fixed effects
    assert problem.marginal(form, 2).subset(some) is None


@FORM
def test_the_individuals_that_have_some_of_the_traits(form: str) -> None:
    problem = low_rank("8 columns, 3 covariates")
    y, _ = data(problem, 2, 25)
    marginal, Y = problem.marginal(form, 2), y.reshape(2, -1).T
    for traits in ((0,), (1,), (1, 0)):
        S, rotated = marginal.in_own_basis(y, *traits)
        np.testing.assert_array_equal(rotated, S.rotate(np.ascontiguousarray(Y[:, list(traits)])))
        e, rest = rotated[S.p :], Y[:, list(traits)]
        close(e.T @ e, rest.T @ (rest - problem.X @ np.linalg.lstsq(problem.X, rest)[0]), 1e-9)


@FORM
def test_what_a_fit_keeps(form: str) -> None:
    """The design, eigenvalues and, of one trait, each contrast: Σ e²/d is the restricted RSS."""
    problem = low_rank("8 columns, 3 covariates")
    (y, _), c = data(problem, 0, 27), np.array([0.7, 0.4])
    kept = problem.marginal(form, 0).constant_data(y)
    (_, X), (_, s), (_, e) = (kept[name] for name in ("design", "eigenvalue", "contrasts"))
    close(X, problem.X, 1e-12)
    Vi = np.linalg.inv(dense_parts(problem, [c])[0])
    P = Vi - Vi @ X @ np.linalg.solve(X.T @ Vi @ X, X.T @ Vi)
    assert (e**2 / (c[0] * s + c[1])).sum() == pytest.approx(y @ P @ y, rel=1e-9)
    several = problem.marginal(form, 2).constant_data(data(problem, 2, 28)[0])
    assert sorted(several) == ["design", "eigenvalue"]
    close(several["eigenvalue"][1], s, 1e-12)


@FORM
def test_models_of_one_trait_and_of_two(form: str) -> None:
    """`spectral_normal` and `multi_trait_normal` take the spectrum as it is."""
    problem = low_rank("8 columns, 3 covariates")
    S, zero = problem.spectrum(form), np.zeros(4)
    with pm.Model() as one:
        variance = pm.Exponential("variance", 1.0, shape=2)
        y = data(problem, 0, 29)[0]
        spectral_normal("phenotype", zero, variance, spectrum=S, observed=y, dims=None)
    with pm.Model() as two:
        G, R = (pm.Exponential(name, 1.0) * np.eye(2) for name in "GR")
        Y = data(problem, 2, 30)[0]
        spread = {"spectrum": S, "observed": Y, "dims": None}
        multi_trait_normal("phenotype", np.zeros(8), G, R, **spread)
    for model, records, T in ((one, y, 1), (two, Y, 2)):
        V = np.kron(np.eye(T), problem.K + np.eye(60))  # log-variances of zero
        values = [np.zeros(x.type.shape) for x in model.value_vars]
        logp = pytensor.function(model.value_vars, model.logp(vars=model.observed_RVs), mode=PYTHON)
        assert logp(*values) == pytest.approx(
            multivariate_normal(None, V).logpdf(records), rel=1e-10
        )
