"""The exact engine's quadrature against dense integration, closed forms and itself refined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_oracles import (
    SCALE_PRIORS,
    Data,
    beta_logit,
    brute,
    explained,
    flat_grid,
    log_marginal,
    reml,
    sibships,
    simulated,
    small,
)
from numpy.typing import NDArray
from own_models import own_model
from scipy import stats
from scipy.special import kve

from bayeslmm.errors import ModelError
from bayeslmm.inference.exact import exact, quadrature
from bayeslmm.inference.exact.marginal import marginal

Floats = NDArray[np.float64]

FLAT = {"beta": "flat()", "total_sd": "lognormal(0, 70)"}  # flat β, p(σ²) ∝ 1/σ² but proper


def solved(model: Any, draws: int = 8) -> exact.Exact:
    return exact.fit_one(model, draws, np.random.default_rng(1))[0]


def shortest(h: Floats, weights: Floats, prob: float = 0.95) -> tuple[float, float]:
    """Shortest interval by going through every start on the grid."""
    cdf = np.cumsum(weights)
    best = (0.0, 1.0)
    for i in range(0, h.size, 4):
        before = cdf[i - 1] if i else 0.0
        if before + prob > cdf[-1]:
            break
        j = int(np.searchsorted(cdf, before + prob))
        if h[min(j, h.size - 1)] - h[i] < best[1] - best[0]:
            best = (h[i], h[min(j, h.size - 1)])
    return best


@pytest.mark.parametrize(
    ("n", "h2", "kernel"),
    [(60, 0.5, "grm"), (100, 0.0, "sibs"), (100, 1.0, "sibs"), (400, 0.3, "sibs")],
)
def test_posterior_of_h2_under_flat_priors_equals_the_grid_of_20_000_points(
    n: int, h2: float, kernel: str
) -> None:
    data = simulated(n, 2, h2, seed=n, K=sibships(n) if kernel == "sibs" else None)
    share = solved(data.model(**FLAT)).share
    h, w = flat_grid(data)
    mean = w @ h
    sd = np.sqrt(w @ (h - mean) ** 2)
    found_mean, found_sd = share.moments()
    assert found_mean == pytest.approx(mean, abs=2e-6)
    assert found_sd == pytest.approx(sd, rel=1e-4)
    cdf = np.cumsum(w)
    for u in (0.025, 0.5, 0.975):
        assert float(share.quantile(u)) == pytest.approx(np.interp(u, cdf, h + 2.5e-5), abs=2e-4)
    assert share.below(0.01) == pytest.approx(float(np.interp(0.01, h + 2.5e-5, cdf)), abs=2e-5)
    # of starts 2e-4 apart: its ends are not told to better than 1e-3 (test_share_marginal.py has
    # both ends to 1e-6), but its width is
    lower, upper = shortest(h, w)
    assert share.hdi(0.95) == pytest.approx((lower, upper), abs=2e-3)
    assert np.ptp(share.hdi(0.95)) == pytest.approx(upper - lower, abs=1.5e-4)
    top = int(np.argmax(w))
    mode = {0: 0.0, h.size - 1: 1.0}.get(top, h[top])
    assert share.mode() == pytest.approx(mode, abs=1e-4)


def test_the_contrast_form_of_the_oracle_is_the_dense_textbook_form() -> None:
    """A1: the grid above stands on error contrasts; here against n × n determinants."""
    data = simulated(40, 3, 0.5, seed=9)
    h = np.array([0.01, 0.3, 0.7, 0.99])
    logs, rss = reml(data, h)
    dense = -0.5 * (37 * np.log(rss) + logs)
    share = solved(data.model(**FLAT)).share
    found = np.interp(np.log(h / (1 - h)), share.z, np.log(share.density))
    assert found - found[0] == pytest.approx(dense - dense[0], abs=2e-4)


CASES = [
    ("beta(1, 1)", (1, 1), name)
    for name in SCALE_PRIORS
    if name not in ("uniform(0, 4)", "half_normal(1)", "lognormal(0, 1)", "gamma(2, 1.5)")
] + [
    ("beta(0.5, 0.5)", (0.5, 0.5), "half_t(3, 2.5)"),
    ("beta(0.5, 0.5)", (0.5, 0.5), "half_normal(0.01)"),
    ("beta(2, 5)", (2, 5), "half_t(3, 2.5)"),
    ("beta(2, 5)", (2, 5), "lognormal(3, 0.1)"),
]


@pytest.mark.parametrize(("h2", "shape", "total_sd"), CASES)
def test_moments_and_evidence_equal_brute_force_over_dense_normals(
    h2: str, shape: tuple[float, float], total_sd: str
) -> None:
    """Twelve individuals; normal β; priors that agree with the data, and that do not."""
    wanted = brute().posterior(beta_logit(*shape), SCALE_PRIORS[total_sd])
    found = solved(small().model(h2=h2, total_sd=total_sd))
    mean, sd = found.share.moments()
    assert mean == pytest.approx(wanted["mean"], abs=1e-6)
    assert sd == pytest.approx(wanted["sd"], abs=1e-6)
    assert found.log_evidence == pytest.approx(wanted["log_evidence"], abs=1e-6)
    assert found.log_evidence_at_zero == pytest.approx(wanted["log_evidence_h2_0"], abs=1e-6)


def test_the_brute_force_is_scipys_multivariate_normal() -> None:
    data = small()
    z, t = np.array([-2.0, 0.0, 3.0]), np.array([0.5, 1.0, 1.5])
    found = log_marginal(data, z, t)
    unit = data.unit
    x = data.X[:, 1]
    J = unit * np.array([[1.0, -x.mean() / x.std(ddof=1)], [0.0, 1.0 / x.std(ddof=1)]])
    for i in range(3):
        h = 1 / (1 + np.exp(-z[i]))
        V = np.exp(2 * t[i]) * (h * data.K + (1 - h) * np.eye(12))
        cov = V + 100 * data.X @ J @ J.T @ data.X.T
        mean = np.full(12, data.y.mean())
        assert found[i] == pytest.approx(stats.multivariate_normal(mean, cov).logpdf(data.y))


def require_scale_prior(model: Any, data: Data, low: float, high: float, law: Any) -> None:
    """Exact fit against Gauss-Legendre between the bounds: a trapezoid would stumble over jumps.

    `law` is the prior of τ in units of sd(y | X), `low` and `high` hold all of it that matters.
    """
    z = np.linspace(-36, 36, 145)
    x, weights = np.polynomial.legendre.leggauss(200)
    start = max(low, 0.05)
    place = 0.5 * (high - start) * x + 0.5 * (high + start)
    weights = weights * 0.5 * (high - start) * law.pdf(place)
    log_tau = np.log(data.unit * place)
    log_like = np.stack([log_marginal(data, np.full(200, v), log_tau) for v in z])
    rows = np.exp(log_like - log_like.max()) @ weights * np.exp(beta_logit(1, 1)(z))
    h = 1 / (1 + np.exp(-z))
    found = solved(model, 4000)
    mean = rows @ h / rows.sum()
    assert found.share.moments()[0] == pytest.approx(mean, abs=2e-5)
    evidence = np.log(rows.sum() * (z[1] - z[0])) + log_like.max()
    assert found.log_evidence == pytest.approx(evidence, abs=2e-4)
    drawn = np.exp(found.draws.t) / data.unit
    assert low < drawn.min()
    assert drawn.max() < high


def require_share_prior(model: Any, data: Data, low: float, high: float, law: Any) -> None:
    """The same for the prior `law` of h²; τ half-t(3, 2.5) in units of sd(y | X)."""
    t = np.log(data.unit) + np.linspace(-3.5, 5.5, 300)
    x, weights = np.polynomial.legendre.leggauss(80)
    h = 0.5 * (high - low) * x + 0.5 * (high + low)
    log_like = np.stack([log_marginal(data, np.full(300, np.log(v / (1 - v))), t) for v in h])
    prior = SCALE_PRIORS["half_t(3, 2.5)"](np.exp(t) / data.unit) + t - np.log(data.unit)
    rows = (np.exp(log_like + prior - log_like.max()) * weights[:, None]).sum(axis=1)
    rows *= 0.5 * (high - low) * law.pdf(h)
    evidence = np.log(rows.sum() * (t[1] - t[0])) + log_like.max()
    mean = rows @ h / rows.sum()
    found = solved(model, 4000)
    assert found.log_evidence == pytest.approx(evidence, abs=1e-5)
    assert found.share.moments()[0] == pytest.approx(mean, abs=1e-5)
    share = found.share
    assert share.moments()[1] == pytest.approx(np.sqrt(rows @ (h - mean) ** 2 / rows.sum()), 1e-4)
    assert low <= share.hdi(0.95)[0] < share.hdi(0.95)[1] <= high
    drawn = 1 / (1 + np.exp(-found.draws.z))
    assert low < drawn.min()
    assert drawn.max() < high
    at_zero = brute().posterior(beta_logit(1, 1), SCALE_PRIORS["half_t(3, 2.5)"])
    assert found.log_evidence_at_zero == pytest.approx(at_zero["log_evidence_h2_0"], abs=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.0, 4.0), (0.5, 1.1)])
def test_uniform_total_sd_is_integrated_between_its_bounds(low: float, high: float) -> None:
    data = small()
    model = data.model(total_sd=f"uniform({low}, {high})")
    require_scale_prior(model, data, low, high, stats.uniform(low, high - low))


def test_uniform_h2_on_a_part_of_its_range() -> None:
    data = small()
    require_share_prior(data.model(h2="uniform(0.1, 0.6)"), data, 0.1, 0.6, stats.uniform(0.1, 0.5))


SCALE = "from bayeslmm.modelling import phenotype_unit\nunit = phenotype_unit(cohort)\n"
BOUNDED_SCALES = {
    "between": ("pm.TruncatedNormal('t', 0.8 * unit, 0.3 * unit, lower=0.5 * unit, "
                "upper=1.1 * unit)", 0.5, 1.1, stats.truncnorm(-1.0, 1.0, 0.8, 0.3)),
    "below": ("pm.TruncatedNormal('t', 0.8 * unit, 0.3 * unit, lower=0, upper=1.1 * unit)",
              0.0, 1.1, stats.truncnorm(-8.0 / 3.0, 1.0, 0.8, 0.3)),
    "above zero": ("pm.TruncatedNormal('t', 0.8 * unit, 0.3 * unit, lower=0)",
                   0.0, 3.2, stats.truncnorm(-8.0 / 3.0, np.inf, 0.8, 0.3)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDED_SCALES)
def test_other_bounded_priors_of_the_total_sd(name: str, tmp_path: Path) -> None:
    """Until 2026-11-22 only `pm.Uniform` was bounded; other priors gave another τ silently."""
    text, low, high, law = BOUNDED_SCALES[name]
    data = small()
    lines = f"{SCALE}h = pm.Uniform('h', 0, 1)\nt = {text}\nu, e = h * t**2, (1 - h) * t**2"
    require_scale_prior(own_model(tmp_path, lines, data), data, low, high, law)


BOUNDED_SHARES = {
    "truncated normal": ("pm.TruncatedNormal('h', 0.3, 0.2, lower=0.1, upper=0.6)", 0.1, 0.6,
                         stats.truncnorm(-1.0, 1.5, 0.3, 0.2)),
    "truncated": ("pm.Truncated('h', pm.Normal.dist(0.3, 0.2), lower=0.1, upper=0.6)", 0.1, 0.6,
                    stats.truncnorm(-1.0, 1.5, 0.3, 0.2)),
    "all of it": ("pm.TruncatedNormal('h', 0.3, 0.2, lower=0, upper=1)", 0.0, 1.0,
                  stats.truncnorm(-1.5, 3.5, 0.3, 0.2)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDED_SHARES)
def test_other_bounded_priors_of_h2(name: str, tmp_path: Path) -> None:
    text, low, high, law = BOUNDED_SHARES[name]
    data = small()
    lines = (
        f"{SCALE}h = {text}\nt = pm.HalfStudentT('t', nu=3, sigma=2.5 * unit)\n"
        "u, e = h * t**2, (1 - h) * t**2"
    )
    require_share_prior(own_model(tmp_path, lines, data), data, low, high, law)


def test_equal_half_normal_sds_against_the_closed_form(tmp_path: Path) -> None:
    """A1: p(h|y) ∝ (h(1-h))^-½ Π d^-½ (qτ²)^(ν/2) K_ν(√q/τ), q = Σ η²/d, ν = 1 - m/2."""
    tau = 2.5
    data = simulated(50, 2, 0.6, seed=21, K=sibships(50, 5))
    lines = f"su = pm.HalfNormal('sigma_u', {tau})\nse = pm.HalfNormal('sigma_e', {tau})\n"
    model = own_model(tmp_path, lines + "u, e = su**2, se**2", data, '"flat()"')
    angle = (np.arange(20_000) + 0.5) / 20_000 * np.pi / 2  # h = sin² angle
    h = np.sin(angle) ** 2
    basis = np.linalg.svd(data.X)[0][:, 2:]
    xi, V = np.linalg.eigh(basis.T @ data.K @ basis)
    eta = V.T @ basis.T @ data.y
    d = h[:, None] * xi + (1 - h)[:, None]
    q, nu = (eta**2 / d).sum(axis=1), 1 - 24.0
    root = np.sqrt(q) / tau
    log_p = -0.5 * np.log(d).sum(axis=1) + 0.5 * nu * np.log(q) + np.log(kve(nu, root)) - root
    w = np.exp(log_p - log_p.max())
    w /= w.sum()
    mean, sd = solved(model).share.moments()
    assert mean == pytest.approx(w @ h, abs=1e-6)
    assert sd == pytest.approx(np.sqrt(w @ (h - w @ h) ** 2), rel=1e-5)


PARAMETERS = {
    "total variance": "h = pm.Beta('h2', 1, 1)\nv = pm.Exponential('v', scale=9.0)\n"
    "u, e = h * v, (1 - h) * v",
    "uniform": "h = pm.Uniform('h2', 0, 1)\nv = pm.Exponential('v', scale=9.0)\n"
    "u, e = h * v, (1 - h) * v",
    "probit": "h = pm.math.invprobit(pm.Normal('theta'))\nv = pm.Exponential('v', scale=9.0)\n"
    "u, e = h * v, (1 - h) * v",
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_parameters_of_the_same_prior_do_not_matter(name: str, tmp_path: Path) -> None:
    """h² uniform and τ² exponential, in three ways; brute force says what comes out."""
    data = small()
    found = solved(own_model(tmp_path, PARAMETERS[name], data))

    def total_sd(x: Floats) -> Floats:  # τ = unit x
        tau = x * data.unit
        return stats.expon.logpdf(tau**2, scale=9.0) + np.log(2 * tau * data.unit)

    wanted = brute().posterior(beta_logit(1, 1), total_sd)
    assert found.share.moments() == pytest.approx((wanted["mean"], wanted["sd"]), abs=1e-6)
    assert found.log_evidence == pytest.approx(wanted["log_evidence"], abs=1e-6)


LOGIT = """
x, t = pm.Normal('x', 0, 1.5), pm.HalfNormal('t', 3)
h2 = pm.math.sigmoid(x)
u, e = h2 * t**2, (1 - h2) * t**2
"""


def test_the_model_without_g_is_a_limit_where_the_total_has_the_prior(tmp_path: Path) -> None:
    """With half-t sds p(τ | h²) becomes τ p_e(τ) as h² → 0: not the prior of the residual."""
    own = "u, e = pm.HalfStudentT('s', nu=3, sigma=2) ** 2, pm.HalfNormal('r', 2) ** 2"
    assert not solved(own_model(tmp_path, own, small())).limit_at_zero
    found = solved(own_model(tmp_path, LOGIT, small()))
    assert found.limit_at_zero

    def total_sd(x: Floats) -> Floats:
        return stats.halfnorm.logpdf(x * small().unit, scale=3.0) + np.log(small().unit)

    wanted = brute().posterior(beta_logit(1, 1), total_sd)["log_evidence_h2_0"]
    assert found.log_evidence_at_zero == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("n", "h2"), [(400, 0.3), (400, 0.5), (2000, 0.05)])
def test_more_nodes_change_nothing(n: int, h2: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Posteriors between narrow and boundless are the hardest: a spike on two long tails."""
    data = simulated(n, 1, h2, seed=3, K=np.eye(n) if n < 0 else sibships(n, 2 if h2 < 0.4 else 4))
    model = data.model()
    coarse = solved(model)
    monkeypatch.setattr(quadrature, "NODES_Z", 4 * quadrature.NODES_Z)
    monkeypatch.setattr(quadrature, "NODES_T", 2 * quadrature.NODES_T)
    fine = solved(model)
    assert coarse.log_evidence == pytest.approx(fine.log_evidence, abs=2e-5)
    assert coarse.share.moments() == pytest.approx(fine.share.moments(), abs=2e-6)
    assert coarse.share.hdi(0.95) == pytest.approx(fine.share.hdi(0.95), abs=1e-3)


def test_one_empty_direction_is_proper_two_are_an_error_that_names_the_cause() -> None:
    """Each pair of copies adds -½ log(1 - h²): proper with one, not with two (reliability A6)."""
    data = simulated(60, 1, 0.5, seed=4)
    assert 0 < solved(explained(data, 1).model()).share.moments()[0] < 1
    for pairs in (2, 3):
        with pytest.raises(ModelError, match=r"improper.*same genotype and the same phenotype"):
            solved(explained(data, pairs).model())
    assert 0 < solved(explained(data, 2).model(h2="beta(1, 2)")).share.moments()[0] < 1


def test_a_prior_that_is_all_at_the_edge_is_an_error_not_a_number() -> None:
    with pytest.raises(ModelError, match="so close to 0"):
        solved(simulated(60, 1, 0.0, seed=2, K=sibships(60)).model(h2="beta(0.05, 1)"))


def test_prior_density_of_h2_is_the_prior() -> None:
    data = small()
    for h2, a, b in (("beta(1, 1)", 1, 1), ("beta(2, 5)", 2, 5)):
        found = solved(data.model(h2=h2))
        z = found.share.z
        inside = np.abs(z) < 8
        log_density = beta_logit(a, b)(z) + np.logaddexp(0, -z) + np.logaddexp(0, z)
        assert np.log(found.prior_h2[inside]) == pytest.approx(log_density[inside], abs=2e-3)


def test_evidence_in_another_unit_of_y() -> None:
    """y in grams instead of kilograms: log p(y) shifts by n log 1000, h² stays."""
    data = small()
    other = Data(1000 * data.y, data.X, data.K)
    a, b = solved(data.model()), solved(other.model())
    assert b.log_evidence == pytest.approx(a.log_evidence - 12 * np.log(1000), abs=1e-9)
    assert b.share.moments() == pytest.approx(a.share.moments(), abs=1e-10)
    split = marginal(data.model())
    assert split.hyper == ("h2", "total_sd")
    assert split.effects == ("beta_std",)


def test_rows_are_followed_to_where_the_density_is_and_must_end() -> None:
    """Normal rows outside of the interval tried, wider and narrower; a flat one is refused."""
    law = stats.norm([[-30.0], [1.7], [40.0], [-1000.0]], [[4.0], [0.1], [0.2], [1e-3]])
    low, high = np.zeros(4), np.ones(4)
    t, values = quadrature.integrate_rows(law.logpdf, low, high)
    step = t[:, 1] - t[:, 0]
    assert np.exp(values).sum(axis=1) * step == pytest.approx(np.ones(4), abs=1e-9)
    with pytest.raises(ModelError, match=r"total standard deviation is improper: is its prior"):
        quadrature.integrate_rows(np.zeros_like, low, high)
