"""Heterogeneous-stock mice: the whole path from files, against an independent oracle and GEMMA."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gemma import Gemma

from bayeslmm import models
from bayeslmm.cohort.build import cohort
from bayeslmm.errors import BayesLMMWarning
from bayeslmm.genotypes.genotypes import read_genotypes
from bayeslmm.genotypes.qc import quality_control
from bayeslmm.inference.exact import exact
from bayeslmm.relationship.genomic import grm
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.tables.phenotypes import read_phenotypes

FLAT = {"beta": "flat()", "total_sd": "lognormal(0, 70)"}
TRAITS = ("CD8", "CD8_a", "CD8_b", "CD8_a_binary", "CD8_b_binary", "MCH")
# GEMMA's documentation, centred K: CD8 pve 0.608801, se 0.032774
PVE, SE = 0.608801, 0.032774


@cache
def relationship(prefix: Path, scale: Any) -> Relationship:
    genotypes = quality_control(read_genotypes(prefix), chr_set=19)
    assert genotypes.n == 1940
    return grm(genotypes, scale=scale)


@cache
def phenotypes(prefix: Path) -> pd.DataFrame:
    return read_phenotypes(f"{prefix}.pheno.tsv")


@cache
def mice(shared_data: Path) -> Path:
    return shared_data / "mouse_hs1940/mouse_hs1940"


def posterior(
    prefix: Path, trait: str, kernel: Relationship, **priors: str
) -> tuple[exact.Exact, Any]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", BayesLMMWarning)
        one = cohort(phenotypes(prefix), trait, individuals=kernel.individuals)
        model = models.load("additive")(one, kernel, **priors)
    assert bool(said) == trait.endswith(
        "binary"
    )  # on the observed scale; near-copies agree by chance
    assert all("observed scale" in str(w.message) or "copies" in str(w.message) for w in said)
    return exact.fit_one(model, 8, np.random.default_rng(1))[0], model


@pytest.mark.parametrize("scale", ["gcta", "sample", "centred"])
@pytest.mark.parametrize("trait", TRAITS)
def test_posterior_of_every_trait_and_scale(trait: str, scale: str, shared_data: Path) -> None:
    """The default priors, against an oracle with flat ones."""
    prefix = mice(shared_data)
    oracle = json.loads((shared_data.parent / "reference/mouse_oracle.json").read_text())
    wanted = oracle["traits"][trait][scale]
    kernel = relationship(prefix, scale)
    found, model = posterior(prefix, trait, kernel)
    assert kernel.n_variants == wanted["n_variants"] == 10783
    provenance = model.provenance["relationships"]["additive"]
    assert model.provenance["n"] == wanted["n"]
    assert provenance["factor"] == pytest.approx(wanted["asv"], abs=6e-7)
    mean, sd = found.share.moments()
    assert mean == pytest.approx(wanted["mean"], abs=2e-3)
    assert sd == pytest.approx(wanted["sd"], rel=0.02)
    assert found.share.mode() == pytest.approx(wanted["mode"], abs=2e-3)
    assert found.share.hdi(0.95) == pytest.approx(wanted["hdi"], abs=3e-3)
    assert float(found.share.quantile(0.5)) == pytest.approx(wanted["median"], abs=2e-3)
    bayes_factor = (found.log_evidence_at_zero - found.log_evidence) / np.log(10)
    assert bayes_factor == pytest.approx(wanted["log10_bf_h2_0"], abs=0.1)


def test_flat_priors_agree_to_the_oracles_digits(shared_data: Path) -> None:
    prefix = mice(shared_data)
    oracle = json.loads((shared_data.parent / "reference/mouse_oracle.json").read_text())
    for trait in ("CD8", "CD8_b_binary"):
        wanted = oracle["traits"][trait]["gcta"]
        found, _ = posterior(prefix, trait, relationship(prefix, "gcta"), **FLAT)
        assert found.share.moments() == pytest.approx((wanted["mean"], wanted["sd"]), abs=3e-6)
        assert found.share.mode() == pytest.approx(wanted["mode"], abs=6e-5)
        assert found.share.hdi(0.95) == pytest.approx(wanted["hdi"], abs=4e-4)


def gemma_pve(share: Any, kernel: Relationship, prefix: Path) -> tuple[float, float]:
    """Mode and sd of GEMMA's pve = s·vg/(s·vg + ve), s the mean diagonal of the centred K.

    h² counts on K scaled to average semivariance one, trace/(n - 1) of the centred K, so
    pve = h²(n - 1)/n / (h²(n - 1)/n + 1 - h²): the same up to 1/n.
    """
    n = int(phenotypes(prefix)["CD8"].notna().sum())
    ratio = (n - 1) / n

    def pve(h: float) -> float:
        return ratio * h / (ratio * h + 1 - h)

    mode = share.mode()
    return pve(mode), share.moments()[1] * (pve(mode + 1e-4) - pve(mode - 1e-4)) / 2e-4


def test_gemmas_documented_pve_through_our_grm(shared_data: Path) -> None:
    prefix = mice(shared_data)
    kernel = relationship(prefix, "centred")
    found, _ = posterior(prefix, "CD8", kernel)
    mode, sd = gemma_pve(found.share, kernel, prefix)
    assert mode == pytest.approx(PVE, abs=3e-3)
    assert sd == pytest.approx(SE, rel=0.05)


def test_gemma_itself(gemma: Gemma) -> None:
    """GEMMA's own matrix and its own estimate of the pve."""
    prefix = gemma.prefix
    path, printed = gemma.fit("cd8", [1], test=4)
    log = path.read_text() + printed
    pve = float(log.split("## pve estimate in the null model = ")[1].split()[0])
    se = float(log.split("## se(pve) in the null model = ")[1].split()[0])
    kernel = gemma.kernel()
    assert kernel.n == 1940
    found, _ = posterior(prefix, "CD8", kernel, **FLAT)
    mode, sd = gemma_pve(found.share, kernel, prefix)
    assert mode == pytest.approx(pve, abs=2e-4)  # the same matrix, the same REML estimate
    assert sd == pytest.approx(se, rel=0.02)
    default, _ = posterior(prefix, "CD8", kernel)
    mode, sd = gemma_pve(default.share, kernel, prefix)
    assert mode == pytest.approx(PVE, abs=3e-3)
    assert sd == pytest.approx(SE, rel=0.05)
