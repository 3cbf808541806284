"""Simulate cohorts with known truth: genotypes with LD and families, covariates, a phenotype."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.genotypes.genotypes import Genotypes, from_array, write_plink1
from bayeslmm.individuals import individual_index
from bayeslmm.simulation.genotypes import Families, nuclear_families, simulate_dosages, unrelated
from bayeslmm.system.files import PathArg, write_text

INTERCEPT, BETA_SEX, BETA_AGE = 10.0, 0.3, 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """A simulated cohort and its truth.

    Parameters
    ----------
    genotypes
        n individuals, m variants on 22 chromosomes.
    phenotypes
        (n,) rows indexed by FID and IID, column ``y``.
    covariates
        (n,) rows, columns ``sex`` (1 male, 2 female) and ``age`` (years).
    truth
        True parameters ``h2, sigma2_u, sigma2_e, beta[intercept], beta[sex], beta[age]``; and
        realised shares ``pve_fixed, pve_random, pve_total``: sample variances (ddof 1) relative
        to the sample variance of y.
    families
        Parents (PAT, MAT; "0" for none) and sex, for the ``.fam``.
    """

    genotypes: Genotypes
    phenotypes: pd.DataFrame
    covariates: pd.DataFrame
    truth: dict[str, float]
    families: pd.DataFrame


def simulate(
    n: int = 1000,
    m: int = 5000,
    h2: float = 0.5,
    *,
    families: bool = False,
    n_causal: int | None = None,
    intercept: float = INTERCEPT,
    beta_sex: float = BETA_SEX,
    beta_age: float = BETA_AGE,
    missing: float = 0.0,
    seed: int = 1,
) -> Simulation:
    """Simulate genotypes, covariates and a phenotype under the additive polygenic model.

    ``y = intercept + beta_sex sex + beta_age age + g + e`` with ``g = c W a``. W are the causal
    dosages standardised by √(2p(1-p)) with the sample's p, a is standard normal, and c makes the
    average semivariance of ``Var(g | W)`` equal to h2. So over draws of a the expected sample
    variances of g and e are exactly h2 and 1 - h2. A fit with the GCTA-type GRM of the same
    variants, scaled to average semivariance one, has the same h2.

    Parameters
    ----------
    n, m
        Numbers of individuals (at least 2) and variants (at least 1).
    h2
        Heritability, in [0, 1]; default 0.5. At 0 there is no genetic part, at 1 no residual.
    families
        Whether to simulate nuclear families of two parents and three children, with Mendelian
        transmission and recombination. Default: unrelated individuals.
    n_causal
        Number of causal variants, chosen at random. Default: all m.
    intercept, beta_sex, beta_age
        Fixed effects: y at sex 0 and age 0, effect per unit of sex (1 male, 2 female), effect per
        year.
    missing
        Share of the genotypes set to missing at random after y is made; default 0.
    seed
        Seed; the same seed gives the same data.

    Returns
    -------
    simulation
        Genotypes, phenotypes, covariates, truth.

    Raises
    ------
    InputError
        If a number is out of its range, or no causal variant varies.
    """
    _check(n, m, h2, m if n_causal is None else n_causal, missing)
    rng = np.random.default_rng(seed)
    people = nuclear_families(n, rng) if families else unrelated(n, rng)
    dosages, variants = simulate_dosages(people, m, rng)
    index = individual_index(people.fid, people.iid)
    g, e = _effects(dosages, h2, n_causal, rng)
    age = _ages(people, rng)
    fixed = intercept + beta_sex * people.sex + beta_age * age
    truth = {
        "h2": float(h2),
        "sigma2_u": float(h2),
        "sigma2_e": 1.0 - h2,
        "beta[intercept]": intercept,
        "beta[sex]": beta_sex,
        "beta[age]": beta_age,
    } | _realised(fixed, g, e)
    if missing:
        dosages[rng.random(dosages.shape) < missing] = -9
    return Simulation(
        from_array(dosages.T, index, variants),
        pd.DataFrame({"y": fixed + g + e}, index=index),
        pd.DataFrame({"sex": people.sex.astype(float), "age": age.astype(float)}, index=index),
        truth,
        pd.DataFrame({"PAT": people.father, "MAT": people.mother, "SEX": people.sex}, index=index),
    )


def write_simulation(simulation: Simulation, prefix: PathArg) -> list[Path]:
    """Write a simulated cohort; each file is written whole or not at all.

    Parameters
    ----------
    simulation
        The cohort.
    prefix
        Path of the files without suffix: ``PREFIX.bed/.bim/.fam``, ``PREFIX.pheno`` (``FID IID
        y``), ``PREFIX.covar`` (``FID IID sex age``) and ``PREFIX.truth.tsv`` (``quantity value``).
        The tables are tab-separated with header.

    Returns
    -------
    paths
        The six files.
    """
    paths = write_plink1(simulation.genotypes, prefix, fam=simulation.families)
    truth = pd.DataFrame(simulation.truth.items(), columns=["quantity", "value"])
    tables = {
        ".pheno": simulation.phenotypes.reset_index(),
        ".covar": simulation.covariates.astype(int).reset_index(),
        ".truth.tsv": truth,
    }
    for suffix, table in tables.items():
        path = Path(os.fspath(prefix) + suffix)
        write_text(path, table.to_csv(sep="\t", index=False, lineterminator="\n"))
        paths.append(path)
    return paths


def _ages(people: Families, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw ages in years: 20 to 70; in families 45 to 70 for parents, 18 to 40 for children."""
    n, child = len(people.iid), people.child
    if not child.any():
        return rng.integers(20, 71, n)
    return np.where(child, rng.integers(18, 41, n), rng.integers(45, 71, n))


def _effects(
    dosages: NDArray[np.int8], h2: float, n_causal: int | None, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw genetic values and residuals (n,), on the scale of `simulate`."""
    m, n = dosages.shape
    causal = np.arange(m) if n_causal is None else np.sort(rng.choice(m, n_causal, replace=False))
    effects = rng.standard_normal(len(causal))
    g, semivariance = np.zeros(n), 0.0
    for start in range(0, len(causal), 1024):
        chosen = slice(start, start + 1024)
        x = dosages[causal[chosen]].astype(np.float64)
        p = x.mean(axis=1, keepdims=True) / 2
        scale = np.sqrt(2 * p * (1 - p))
        # monomorphic variants have no effect
        w = np.divide(x - 2 * p, scale, out=np.zeros_like(x), where=scale > 0)
        semivariance += float(w.var(axis=1, ddof=1).sum())
        g += effects[chosen] @ w
    e = rng.standard_normal(n) * np.sqrt(1.0 - h2)
    if semivariance == 0.0 and h2 > 0:
        raise InputError("no causal variant varies", "h2 = 0 or more variants", "raise m or n")
    return g * np.sqrt(h2 / semivariance) if h2 > 0 else np.zeros(n), e


def _realised(
    fixed: NDArray[np.float64], g: NDArray[np.float64], e: NDArray[np.float64]
) -> dict[str, float]:
    """Return the sample variances of the parts relative to the sample variance of y."""
    total = float(np.var(fixed + g + e, ddof=1))
    parts = {"pve_fixed": fixed, "pve_random": g, "pve_total": fixed + g}
    return {name: float(np.var(part, ddof=1)) / total for name, part in parts.items()}


def _check(n: int, m: int, h2: float, n_causal: int, missing: float) -> None:
    rules = [
        (n >= 2, f"n = {n}", "2 individuals or more"),
        (m >= 1, f"m = {m}", "1 variant or more"),
        (0 <= h2 <= 1, f"h2 = {h2}", "0 to 1"),
        (1 <= n_causal <= m, f"n_causal = {n_causal}", f"1 to m = {m}"),
        (0 <= missing < 1, f"missing = {missing}", "0 or more, below 1"),
    ]
    for passed, found, expected in rules:
        if not passed:
            raise InputError(found, expected, "correct the option")
