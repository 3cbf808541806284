"""REML of several traits: against one trait, closed forms, and GEMMA on the mice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gemma import Gemma
from kernel_problems import problems
from multitrait_oracles import covariance, traits
from oracles import log_reml
from scipy.optimize import minimize_scalar

from bayeslmm.errors import InputError
from bayeslmm.estimates import reml_traits as multitrait_reml
from bayeslmm.estimates.reml_traits import reml_mode, restricted_logp, spectral_start
from bayeslmm.estimates.traits import reml_traits
from bayeslmm.genotypes.genotypes import read_genotypes
from bayeslmm.genotypes.qc import quality_control
from bayeslmm.likelihood.canonical import canonical_basis
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.relationship.genomic import grm
from bayeslmm.tables.phenotypes import read_phenotypes

# GEMMA's documentation, CD8 and MCH, null model: lower triangles of Vg and Ve
VG, VE = (1.39398, -0.226714, 2.08168), (0.348882, 0.0490525, 0.414433)


def families(n: int, T: int, seed: int) -> tuple[Spectrum, Any, Any, Any]:
    """Sibships of five with a covariate: spectrum, rotated Y, and the G and R it was made with."""
    rng = np.random.default_rng(seed)
    K = np.kron(np.eye(n // 5), 0.5 + 0.5 * np.eye(5))
    S = decompose(K, np.column_stack([np.ones(n), rng.standard_normal(n)]))
    G, R = covariance(rng, T), covariance(rng, T)
    marginal = KernelMarginal(S, T, tuple(map(str, range(T))), matrices=True)
    y, _ = marginal.simulate(rng.standard_normal(2 * T), [G, R], rng)
    return S, marginal.rotate(y), G, R


@pytest.mark.parametrize("a", [0.0, 0.5, 2.0])
def test_the_restricted_likelihood_of_one_trait(a: float) -> None:
    problem = problems()["uncentred GRM, 4 covariates"]
    S = decompose(problem.kernel, problem.X)
    found, *_ = restricted_logp(S.rotate(problem.y[:, None]), np.array([[a]]), np.array([[0.8]]), S)
    expected = log_reml(problem.y, problem.X, problem.K, a, 0.8)
    assert found == pytest.approx(expected, rel=1e-10)


def test_its_gradient_is_the_slope() -> None:
    """Central differences of 1e-5: error about 1e-10 and 1e-10."""
    S, rotated, G, R = families(60, 3, seed=1)
    _, dG, dR = restricted_logp(rotated, G, R, S)
    rng = np.random.default_rng(2)
    for A, slope, k in ((G, dG, 0), (R, dR, 1)):
        D = rng.standard_normal(A.shape)
        D = 1e-5 * (D + D.T)
        ends = [
            restricted_logp(rotated, *((A + c * D, R) if k == 0 else (G, A + c * D)), S)[0]
            for c in (1, -1)
        ]
        assert (ends[0] - ends[1]) / 2 == pytest.approx((slope * D).sum(), rel=1e-6)


def test_steps_of_em_never_lower_the_likelihood() -> None:
    S, rotated, *_ = families(100, 2, seed=3)
    values = [
        restricted_logp(rotated, *spectral_start(rotated, S, steps), S)[0] for steps in range(12)
    ]
    assert (np.diff(values) > 0).all()
    assert reml_mode(rotated, S).log_likelihood > values[-1]


def test_a_step_of_em_that_cannot_be_taken_leaves_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where G + R has no basis any more, here from the fourth step on, EM ends with what it has."""
    S, rotated, *_ = families(100, 2, seed=3)
    wanted, asked = spectral_start(rotated, S, 3), 0

    def failing(G: Any, R: Any) -> Any:
        nonlocal asked
        asked += 1
        possible, *found = canonical_basis(G, R)
        return (possible and asked <= 3, *found)

    monkeypatch.setattr(multitrait_reml, "canonical_basis", failing)
    found = spectral_start(rotated, S)
    assert asked == 4
    for A, B in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(A, B)
        assert np.linalg.eigvalsh(A)[0] > 0


@pytest.mark.parametrize("T", [1, 2, 4])
def test_the_mode_is_stationary_and_the_truth_is_near(T: int) -> None:
    """1 000 individuals in sibships of five. At the mode 2 (log L̂ - log L(truth)) ~ χ²(T(T + 1)):
    below its 1 - 1e-4 quantile, about df + 4.5 sqrt(2 df) + 6."""
    S, rotated, G, R = families(1000, T, seed=4)
    found = reml_mode(rotated, S)
    assert found.gradient < 1e-3
    drop = 2 * (found.log_likelihood - restricted_logp(rotated, G, R, S)[0])
    df = T * (T + 1)
    assert 0 <= drop < df + 4.5 * np.sqrt(2 * df) + 6


def test_one_trait_by_a_search_over_h2() -> None:
    problem = problems()["pedigree"]
    S = decompose(problem.kernel, problem.X)

    def profile(h: float) -> float:
        d = h * S.eigenvalues + 1 - h
        e = S.rotate(problem.y)[S.p :]
        return float(0.5 * np.log(d).sum() + 0.5 * S.m * np.log((e**2 / d).mean()))

    best = minimize_scalar(profile, bounds=(0, 1), method="bounded", options={"xatol": 1e-10})
    found = reml_mode(S.rotate(problem.y[:, None]), S)
    h2 = found.genetic[0, 0] / (found.genetic[0, 0] + found.residual[0, 0])
    assert h2 == pytest.approx(best.x, abs=1e-4)


def test_a_mode_on_the_edge() -> None:
    """Four families tell little of three traits: the best G is singular, which is no error."""
    problem = problems()["blocks of ones"]
    S = decompose(problem.kernel, problem.X)
    Y, _ = traits(problem, 3, seed=5)
    found = reml_mode(S.rotate(Y), S)
    values = np.linalg.eigvalsh(found.genetic)
    assert values[0] > -1e-12
    assert values[0] < 1e-3 * values[-1]
    assert found.gradient < 1e-3
    start = spectral_start(S.rotate(Y), S)
    assert found.log_likelihood >= restricted_logp(S.rotate(Y), *start, S)[0]


def test_dependent_traits_and_a_kernel_of_zero_are_refused() -> None:
    problem = problems()["pedigree"]
    S = decompose(problem.kernel, problem.X)
    y = problem.y
    for Y in (np.column_stack([y, 2 * y + 3]), np.column_stack([y, problem.X[:, 1]])):
        with pytest.raises(InputError, match="linear combinations"):
            spectral_start(S.rotate(Y), S)
    nothing = decompose(np.zeros((16, 16)), problem.X)
    with pytest.raises(InputError, match="kernel of zero"):
        spectral_start(nothing.rotate(y[:, None]), nothing)


# Mice


def mice(prefix: Path, K: Any) -> tuple[Any, Spectrum]:
    """CD8 and MCH of the mice that have both, as GEMMA takes them."""
    Y = read_phenotypes(f"{prefix}.pheno.tsv")[["CD8", "MCH"]].to_numpy(dtype=float)
    both = np.isfinite(Y).all(axis=1)
    S = decompose(np.ascontiguousarray(K[np.ix_(both, both)]), np.ones((both.sum(), 1)))
    return S.rotate(Y[both]), S


def triangles(found: Any) -> list[float]:
    return [float(A[i]) for A in found for i in ((0, 0), (1, 0), (1, 1))]


def test_gemmas_documented_bivariate_reml(shared_data: Path) -> None:
    """Our centred kernel on the scale of ``gemma -gk 1``; GEMMA's standard errors are 0.157,
    0.136, 0.236 for Vg and 0.0206, 0.0166, 0.0267 for Ve: within 0.05 of them."""
    prefix = shared_data / "mouse_hs1940/mouse_hs1940"
    kernel = grm(quality_control(read_genotypes(prefix), chr_set=19), scale="centred")
    found = reml_mode(*mice(prefix, kernel.matrix))
    errors = np.array([0.157, 0.136, 0.236, 0.0206, 0.0166, 0.0267])
    distance = np.array(triangles((found.genetic, found.residual))) - [*VG, *VE]
    assert np.abs(distance / errors).max() < 0.05


def test_gemma_itself(gemma: Gemma) -> None:
    """GEMMA's own matrix, its own REML estimates and standard errors, to the digits it prints."""
    log = gemma.fit("both", [1, 6], test=1)[0].read_text()
    wanted = [
        float(number)
        for name in ("Vg", "Ve")
        for number in log.split(f"REMLE estimate for {name} in the null model:")[1].split()[:3]
    ]
    K = np.asarray(gemma.kernel().matrix, dtype=np.float64)
    rotated, S = mice(gemma.prefix, K)
    found = reml_mode(rotated, S)
    assert triangles((found.genetic, found.residual)) == pytest.approx(wanted, abs=1e-4, rel=1e-4)
    errors = [
        float(number)
        for name in ("Vg", "Ve")
        for number in log.split(f"se({name}):")[1].split()[:3]
    ]
    ours = np.sqrt(np.diag(reml_traits(S, rotated).sampling_covariance))
    assert ours == pytest.approx(errors, abs=1e-4, rel=1e-4)
