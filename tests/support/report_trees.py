"""Fits as the engines return them, made of a known posterior instead of a model: fast."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import expit

from bayeslmm import models

SHARES = ("fixed", "random", "covariance", "residual")
PARTS = ["fixed", "random", "covariance", "residual"]

INDIVIDUALS = [f"IND{i}" for i in range(120)]

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "height\u202egnp.exe",
    "a\x00b\x1b[31m",
    "{{ 7 * 7 }}{% raw %}",
    "$x$ & 'y'",
    "身長",
    "طول",
]


def made_tree(
    engine: str,
    *,
    trait: str = "height",
    covariates: Sequence[str] = ("sex",),
    spread: float = 1.0,
    spectral: bool = True,
    sick: bool = False,
    seed: int = 1,
) -> xr.DataTree:
    """A tree with the groups, dimensions and attributes of `bayeslmm.fit`.

    Parameters
    ----------
    engine
        "exact" (with a quadrature) or "nuts" (with divergences and energy).
    trait, covariates
        Names from the data.
    spread
        Log sd of the eigenvalues; a small one makes h² weakly informed.
    spectral
        Whether eigenvalues and contrasts are there.
    sick
        Move one chain away from the others.
    seed
        Of the made draws.
    """
    rng = np.random.default_rng(seed)
    n, p = len(INDIVIDUALS), 1 + len(covariates)
    m = n - p
    shape = (4, 250)
    h2 = rng.beta(60, 40, shape)
    if sick:
        h2[0] = rng.beta(10, 90, shape[1])
    total = rng.gamma(400, 1 / 400, shape)
    u, e = h2 * total, (1 - h2) * total
    effects = np.linspace(2.0, -0.3, p)
    beta = rng.normal(effects, 0.1, (*shape, p))
    share = rng.dirichlet([5, 55, 1, 40], shape)
    eigenvalue = np.sort(np.exp(spread * rng.standard_normal(m)))
    eigenvalue /= eigenvalue.mean()
    draws = ("chain", "draw")
    posterior: dict[str, Any] = {
        "h2": (draws, h2),
        "total_sd": (draws, np.sqrt(total)),
        "sigma2_u": (draws, u),
        "sigma2_e": (draws, e),
        "beta": ((*draws, "covariate"), beta),
        "variance": ((*draws, "component"), np.stack([u, e], axis=-1)),
        "pve_fixed": (draws, share[..., 0]),
        "pve_random": (draws, share[..., 1]),
        "pve_total": (draws, share[..., :3].sum(axis=-1)),
        "pve_share": ((*draws, "pve_part"), share),
    }
    design = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    y = design @ effects + rng.standard_normal(n)
    constant: dict[str, Any] = {"design": (("individual", "covariate"), design)}
    if spectral:
        contrasts = np.sqrt(0.6 * eigenvalue + 0.4) * rng.standard_normal(m)
        constant |= {"eigenvalue": ("contrast", eigenvalue), "contrasts": ("contrast", contrasts)}
    stats: dict[str, Any] = {"lp": (draws, rng.standard_normal(shape))}
    if engine == "nuts":
        stats["diverging"] = (draws, np.zeros(shape, dtype=bool))
        stats["energy"] = (draws, rng.standard_normal(shape))
    groups = {
        "posterior": xr.Dataset(
            posterior,
            {
                "chain": np.arange(4),
                "draw": np.arange(250),
                "covariate": ["intercept", *covariates],
                "component": ["additive", "residual"],
                "pve_part": PARTS,
            },
        ),
        "sample_stats": xr.Dataset(stats),
        "prior": xr.Dataset({"h2": (draws, rng.uniform(size=(1, 1000)))}),
        "observed_data": xr.Dataset({"phenotype": ("individual", y)}, {"individual": INDIVIDUALS}),
        "constant_data": xr.Dataset(constant),
    }
    if engine == "exact":
        groups["quadrature"] = made_quadrature()
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = made_attributes(engine, trait)
    return tree


def made_quadrature() -> xr.Dataset:
    """The exact marginal Beta(60, 40) of h² on the logit grid of the engine."""
    from scipy.stats import beta

    z = np.linspace(-3.0, 4.0, 1537)
    share = beta(60, 40)
    h2 = expit(z)
    values = {
        "density": share.pdf(h2),
        "cdf": share.cdf(h2),
        "prior_density": np.ones_like(h2),
        "logit_h2": z,
    }
    return xr.Dataset(
        {name: ("h2", value) for name, value in values.items()},
        {"h2": h2},
        {
            "mean": 0.6,
            "sd": float(share.std()),
            "median": float(share.median()),
            "mode": 59 / 98,
            "log_evidence": -200.0,
            "log_evidence_h2_0": -230.0,
            "limit_at_zero": 1,
            "why_no_h2_0": "",
        },
    )


def made_attributes(engine: str, trait: str) -> dict[str, Any]:
    """Provenance as `bayeslmm.inference.tree.provenance` writes it."""
    model = models.load("additive")
    step = {
        "unit": "individuals",
        "reason": f"phenotype missing: {trait}",
        "dropped": 1,
        "remaining": len(INDIVIDUALS),
        "examples": ["FAM1 IND7"],
    }
    kernel = {
        "name": "additive",
        "estimator": "gcta",
        "n_individuals": len(INDIVIDUALS),
        "n_variants": 1234,
        "kernel_scale": "asv",
        "factor": 1.25,
        "source": "",
    }
    nested = {
        "versions": {"bayeslmm": "0.1.0", "numpy": "2.4.0"},
        "priors": {"h2": "uniform between 0 and 1", "total_sd": "half-t with 3 degrees of freedom"},
        "ledger": [step],
        "relationships": {"additive": kernel},
    }
    return {key: json.dumps(value) for key, value in nested.items()} | {
        "created_at": "2026-01-02T03:04:05+00:00",
        "python": "3.13.0",
        "model": "additive",
        "model_file": "additive.py",
        "model_sha256": model.sha256,
        "trait": trait,
        "n": len(INDIVIDUALS),
        "engine": engine,
        "engine_reason": "asked for",
        "seed": 1,
        "draws": 1000,
        "chains": 4,
        "tune": 1000,
    }
