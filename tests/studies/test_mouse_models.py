"""Mice with several kernels and two traits: against GEMMA's documented REML, and engines alike."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bayeslmm import models
from bayeslmm.cohort.build import cohort, cohorts
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.genotypes.genotypes import Genotypes, read_genotypes
from bayeslmm.genotypes.qc import quality_control
from bayeslmm.inference.diagnostics import convergence, diagnose
from bayeslmm.inference.fit import fit
from bayeslmm.inference.laplace import laplace
from bayeslmm.inference.laplace.hmc import sample
from bayeslmm.inference.laplace.hyper import hyper
from bayeslmm.posterior.summary import heritability
from bayeslmm.relationship.genomic import compute_grms
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variant_sets import by_chromosome
from bayeslmm.tables.phenotypes import read_phenotypes

# GEMMA's manual, CD8 and MCH with the centred kernel: Vg and Ve as 11, 12, 22
GEMMA_G = np.array([1.39398, -0.226714, 2.08168])
GEMMA_E = np.array([0.348882, 0.0490525, 0.414433])


@cache
def genotypes(shared_data: Path) -> Genotypes:
    return quality_control(read_genotypes(shared_data / "mouse_hs1940/mouse_hs1940"), chr_set=19)


@cache
def phenotypes(shared_data: Path) -> pd.DataFrame:
    return read_phenotypes(shared_data / "mouse_hs1940/mouse_hs1940.pheno.tsv")


@cache
def kernels(shared_data: Path) -> dict[str, Relationship]:
    return compute_grms(genotypes(shared_data), ("additive", "dominance"))


def test_two_traits_against_gemma(shared_data: Path) -> None:
    """Posterior modes within 0.25 sd of GEMMA's REML, on the kernel scaled as there."""
    K = compute_grms(genotypes(shared_data), ("additive",), scale="centred")["additive"]
    table = phenotypes(shared_data)[["CD8", "MCH"]].dropna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = stack_traits(cohorts(table, ["CD8", "MCH"], individuals=K.individuals))
    tree = fit(models.load("bivariate")(both, K), draws=4000)
    posterior = tree["posterior"]
    variance = posterior["variance"].to_numpy().reshape(-1, 4)
    factor = K.on(both.people).factor  # σ²_u on GEMMA's kernel is that on ours over the factor
    r = {kind: posterior[kind].to_numpy()[..., 0, 1].ravel() for kind in ("r_g", "r_e")}
    a, b, c, d = variance.T
    drawn = np.column_stack(
        [
            a / factor,
            r["r_g"] * np.sqrt(a * b) / factor,
            b / factor,
            c,
            r["r_e"] * np.sqrt(c * d),
            d,
        ]
    )
    # the mode of a skewed margin from draws is noisy: half a mode is worth 3 medians - 2 means
    mode = 3 * np.median(drawn, axis=0) - 2 * drawn.mean(axis=0)
    wanted = np.concatenate([GEMMA_G, GEMMA_E])
    assert np.all(np.abs(mode - wanted) < 0.25 * drawn.std(axis=0)), (mode, wanted)
    rows = heritability(tree).set_index("quantity")
    assert rows.loc["p_r_g_below_0[CD8,MCH]", "mean"] > 0.9
    assert rows.loc["pareto_k", "mean"] < 0.7
    assert diagnose(tree).ok


def dominance_model(shared_data: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        K = kernels(shared_data)
        one = cohort(phenotypes(shared_data), "CD8", individuals=K["additive"].individuals)
        return models.load("dominance")(one, K["additive"], K["dominance"])


@pytest.mark.slow
def test_dominance_of_cd8_by_two_engines(shared_data: Path) -> None:
    """Importance sampling and NUTS on the marginal density agree; dominance is not zero."""
    model = dominance_model(shared_data)
    tree = fit(model, "laplace", draws=1000)
    share = tree["posterior"]["share"].to_numpy().reshape(-1, 3)
    ess = tree["sample_stats"].attrs["ess_importance"]
    split = hyper(model)
    target = laplace.target_of(split, split.effects_prior(*split.data))
    chains = sample(target, draws=250, chains=2, tune=200, seed=1, workers=2)
    u = np.concatenate([chains.points.reshape(-1, 3)[:, :2], np.zeros((500, 1))], axis=1)
    other = np.exp(u) / np.exp(u).sum(axis=1, keepdims=True)
    of_chains = [convergence(other[:, k].reshape(2, 250)) for k in range(3)]
    assert max(one["r_hat"] for one in of_chains) < 1.05  # two chains of 250 draws
    error = np.hypot(share.std(axis=0) / np.sqrt(ess), [one["mcse"] for one in of_chains])
    assert np.all(np.abs(share.mean(axis=0) - other.mean(axis=0)) < 4 * error)
    assert np.quantile(share[:, 1], 0.001) > 0.02
    assert not chains.diverging.any()


@pytest.mark.slow
def test_partition_by_chromosome(shared_data: Path) -> None:
    """19 kernels: 400 effective draws with k̂ < 0.7 (or healthy chains), shares at zero said."""
    parts = compute_grms(
        genotypes(shared_data), ("additive",), by_chromosome(genotypes(shared_data))
    )
    assert len(parts) == 19
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = cohort(phenotypes(shared_data), "CD8", individuals=genotypes(shared_data).individuals)
        tree = fit(models.load("partitioned")(one, *parts.values()), draws=4000)
    table = heritability(tree).set_index("quantity")
    assert diagnose(tree).ok
    assert table.loc["h2", "ess_bulk"] >= 400
    zero = [n for n in parts if table.loc[f"p_share_below_0.01[{n}]", "mean"] > 0.2]
    assert zero
    assert abs(table.loc["h2", "mean"] - 0.6) < 0.1
