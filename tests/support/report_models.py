"""Fits of the gallery's other models as the engines return them, made of known posteriors: fast."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from report_trees import INDIVIDUALS, made_attributes

from bayeslmm import models

type Floats = NDArray[np.float64]

SHAPE = (4, 250)
DRAWS = ("chain", "draw")
HERE = {"chain": np.arange(SHAPE[0]), "draw": np.arange(SHAPE[1])}


def kernel_facts(name: str, **facts: Any) -> dict[str, Any]:
    """What `Relationship.provenance` says."""
    usual = {
        "name": name,
        "kind": "genetic",
        "estimator": "gcta",
        "n_individuals": len(INDIVIDUALS),
        "n_variants": 100,
        "kernel_scale": "asv",
        "factor": 1.25,
        "source": "",
    }
    return {**usual, **facts}


def sampled(fallen_back: bool, rng: np.random.Generator) -> xr.Dataset:
    """Sample statistics of the Laplace engine, healthy or gone on to NUTS."""
    values: dict[str, Any] = {"lp": (DRAWS, rng.standard_normal(SHAPE))}
    if fallen_back:
        values["diverging"] = (DRAWS, np.zeros(SHAPE, dtype=bool))
        values["energy"] = (DRAWS, rng.standard_normal(SHAPE))
    out = xr.Dataset(values)
    out.attrs = {
        "pareto_k": 1.73 if fallen_back else 0.31,
        "log_evidence": -321.5,
        "log_evidence_mcse": 0.02,
        "evaluations": 2345,
        "rounds": json.dumps(["mode: log p = -318.2 <b>"]),
        "step": "",
    }
    if not fallen_back:
        out.attrs["ess_importance"] = 612.0
    return out


def attributes(model: str, kernels: Mapping[str, dict[str, Any]], trait: str) -> dict[str, Any]:
    """Provenance of a Laplace fit of a model of the gallery."""
    out = made_attributes("laplace", trait)
    out |= {"model": model, "model_file": f"{model}.py", "model_sha256": models.load(model).sha256}
    out["relationships"] = json.dumps(dict(kernels))
    return out


def components_tree(
    model: str,
    shares: Mapping[str, Floats | float],
    genetic: Sequence[str],
    *,
    kernels: Mapping[str, dict[str, Any]] | None = None,
    extra: Mapping[str, tuple[tuple[str, ...], Floats]] | None = None,
    coords: Mapping[str, Sequence[str]] | None = None,
    fallen_back: bool = False,
    trait: str = "height",
    seed: int = 1,
) -> xr.DataTree:
    """A fit of one trait with several components and a total variance near 2.

    Parameters
    ----------
    model
        Name in the gallery.
    shares
        Draws (4, 250) of the share of each component, or its mean (then a narrow Beta); the
        residual is what they leave.
    genetic
        Components that h² counts.
    kernels, extra, coords
        Relationships; further variables with their dimensions; coordinates of those.
    fallen_back
        Draws by NUTS after importance sampling has failed.
    trait, seed
        Name of the trait, seed of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = {
        name: rng.beta(900 * share, 900 * (1 - share), SHAPE)
        if isinstance(share, float)
        else np.asarray(share)
        for name, share in shares.items()
    }
    names = [*drawn, "residual"]
    parts = np.stack([*drawn.values(), 1 - np.sum(list(drawn.values()), axis=0)], axis=-1)
    total = rng.gamma(400, 2 / 400, SHAPE)
    variance = parts * total[..., None]
    n, random = len(INDIVIDUALS), variance[..., :-1].sum(axis=-1)
    design = np.column_stack([np.ones(n), rng.standard_normal(n)])
    realised = rng.dirichlet(np.full(len(names) + 2, 5.0), SHAPE)
    posterior = {
        "h2": (DRAWS, parts[..., [names.index(g) for g in genetic]].sum(axis=-1)),
        "variance": ((*DRAWS, "component"), variance),
        "sigma2_u": (DRAWS, random),
        "sigma2_e": (DRAWS, variance[..., -1]),
        "beta": ((*DRAWS, "covariate"), rng.normal([2.0, -0.3], 0.1, (*SHAPE, 2))),
        "pve_fixed": (DRAWS, realised[..., 0]),
        "pve_random": (DRAWS, realised[..., 1]),
        "pve_total": (DRAWS, realised[..., :2].sum(axis=-1)),
        "pve_share": ((*DRAWS, "pve_part"), realised),
        **(extra or {}),
    }
    used = {
        **HERE,
        "covariate": ["intercept", "sex"],
        "component": names,
        "pve_part": ["fixed", *names[:-1], "covariance", "residual"],
        **(coords or {}),
    }
    y = design @ [2.0, -0.3] + np.sqrt(2) * rng.standard_normal(n)
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(posterior, used),
            "sample_stats": sampled(fallen_back, rng),
            "prior": xr.Dataset({"h2": (DRAWS, rng.uniform(size=(1, 1000)))}),
            "observed_data": xr.Dataset(
                {"phenotype": ("individual", y)}, {"individual": INDIVIDUALS}
            ),
            "constant_data": xr.Dataset({"design": (("individual", "covariate"), design)}),
        }
    )
    known = {name: kernel_facts(name) for name in genetic} if kernels is None else kernels
    tree.attrs = attributes(model, known, trait)
    return tree


def dominance_tree(**options: Any) -> xr.DataTree:
    """Additive 0.4, dominance piled up at zero."""
    near = np.random.default_rng(2).beta(0.3, 40, SHAPE)
    kernels = {
        "additive": kernel_facts("additive"),
        "dominance": kernel_facts("dominance", estimator="dominance"),
    }
    parts = {"additive": 0.4, "dominance": near}
    return components_tree("dominance", parts, list(parts), kernels=kernels, **options)


def partition_tree(count: int = 20, **options: Any) -> xr.DataTree:
    """Chromosomes: the third and seventh have a part, the others are at zero or near it."""
    rng = np.random.default_rng(3)
    parts: dict[str, Floats | float] = {}
    for k in range(1, count + 1):
        parts[f"chr{k}"] = rng.beta(0.4, 60, SHAPE) if k not in (3, 7) else (0.3 if k == 3 else 0.2)
    return components_tree("partitioned", parts, list(parts), **options)


def maternal_tree(**options: Any) -> xr.DataTree:
    """Direct 0.3, maternal 0.1, their covariance negative in most draws."""
    rng = np.random.default_rng(4)
    covariance = rng.normal(-0.05, 0.02, SHAPE)
    extra = {
        "h2_direct": (DRAWS, rng.beta(300, 700, SHAPE)),
        "h2_total": (DRAWS, rng.normal(0.25, 0.05, SHAPE)),
        "r_direct_maternal": (DRAWS, np.clip(5 * covariance, -0.999, 0.999)),
    }
    parts = {
        "direct": 0.3, "maternal": 0.1, "direct_maternal": covariance, "maternal_environment": 0.08,
    }  # fmt: skip
    pedigree = kernel_facts("additive", estimator="pedigree", kernel_scale="none", n_variants=None)
    genetic = ["direct", "maternal", "direct_maternal"]
    return components_tree(
        "maternal", parts, genetic, kernels={"additive": pedigree}, extra=extra, **options
    )


def gxe_tree(groups: Sequence[str] = ("farm", "field"), **options: Any) -> xr.DataTree:
    """Intercepts 0.3, slopes 0.15, residual variances by group, two records an individual."""
    rng = np.random.default_rng(5)
    extra = {
        "r_intercept_slope": (DRAWS, rng.uniform(-0.5, 0.9, SHAPE)),
        "residual_variance": ((*DRAWS, "group"), rng.gamma(50, 0.02, (*SHAPE, len(groups)))),
    }
    kernel = kernel_facts("additive", n_individuals=len(INDIVIDUALS) // 2)
    parts = {"intercept": 0.3, "slope": 0.15}
    return components_tree(
        "gxe", parts, list(parts), kernels={"additive": kernel}, extra=extra,
        coords={"group": list(groups)}, **options,
    )  # fmt: skip


def repeated_tree(**options: Any) -> xr.DataTree:
    """Additive 0.3 and permanent environment 0.2 of individuals with two records each."""
    extra = {"repeatability": (DRAWS, np.random.default_rng(6).beta(500, 500, SHAPE))}
    kernel = kernel_facts("additive", n_individuals=len(INDIVIDUALS) // 2)
    parts = {"additive": 0.3, "permanent": 0.2}
    return components_tree(
        "repeated", parts, ["additive"], kernels={"additive": kernel}, extra=extra, **options
    )


def traits_tree(
    traits: Sequence[str] = ("height", "weight"),
    *,
    r_g: Floats | None = None,
    fallen_back: bool = False,
    seed: int = 1,
) -> xr.DataTree:
    """A fit of several traits, 120/T individuals with all of them.

    Parameters
    ----------
    traits
        Names.
    r_g
        Draws (4, 250) of every genetic correlation; default near 0.6.
    fallen_back, seed
        As for `components_tree`.
    """
    rng = np.random.default_rng(seed)
    T, n = len(traits), len(INDIVIDUALS)
    q = n // T
    h2 = rng.beta(60, 40, (*SHAPE, T))
    total = rng.gamma(400, 1 / 400, (*SHAPE, T)) * 10.0 ** np.arange(T)
    genetic = rng.normal(0.6, 0.05, SHAPE) if r_g is None else r_g
    matrices = {}
    for name, r in (("r_g", genetic), ("r_e", rng.normal(-0.2, 0.1, SHAPE))):
        matrix = np.ones((*SHAPE, T, T))
        a, b = np.triu_indices(T, 1)
        matrix[..., a, b] = matrix[..., b, a] = r[..., None]
        matrices[name] = ((*DRAWS, "trait", "other_trait"), matrix)
    realised = rng.dirichlet([1, 55, 1, 40], (*SHAPE, T))
    beta = np.zeros((*SHAPE, T)) + 0.01 * rng.standard_normal((*SHAPE, T))
    posterior = {
        "h2": ((*DRAWS, "trait"), h2),
        "variance": ((*DRAWS, "component"), np.concatenate([h2 * total, (1 - h2) * total], -1)),
        **matrices,
        "beta": ((*DRAWS, "covariate"), beta),
        "pve_fixed": ((*DRAWS, "trait"), realised[..., 0]),
        "pve_random": ((*DRAWS, "trait"), realised[..., 1]),
        "pve_total": ((*DRAWS, "trait"), realised[..., :3].sum(axis=-1)),
        "pve_share": ((*DRAWS, "trait", "pve_part"), realised),
    }
    coords = {
        **HERE,
        "trait": list(traits),
        "other_trait": list(traits),
        "component": [f"{part}:{trait}" for part in ("additive", "residual") for trait in traits],
        "covariate": [f"intercept[{trait}]" for trait in traits],
        "pve_part": ["fixed", "random", "covariance", "residual"],
    }
    design = np.kron(np.eye(T), np.ones((q, 1)))
    y = (np.sqrt(10.0 ** np.arange(T))[:, None] * rng.standard_normal((T, q))).ravel()
    eigenvalue = np.sort(np.exp(rng.standard_normal(q - 1)))
    labels = [f"IND{i} {trait}" for trait in traits for i in range(q)]
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(posterior, coords),
            "sample_stats": sampled(fallen_back, rng),
            "prior": xr.Dataset({"h2": ((*DRAWS, "trait"), rng.uniform(size=(1, 1000, T)))}),
            "observed_data": xr.Dataset({"phenotype": ("individual", y)}, {"individual": labels}),
            "constant_data": xr.Dataset(
                {
                    "design": (("individual", "covariate"), design),
                    "eigenvalue": ("contrast", eigenvalue),
                }
            ),
        }
    )
    tree.attrs = attributes(
        "bivariate", {"additive": kernel_facts("additive", n_individuals=q)}, ",".join(traits)
    )
    return tree
