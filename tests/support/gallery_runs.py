"""Data for every model of the gallery, and the commands that fit them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm.cli import main
from bayeslmm.genotypes.genotypes import from_array, write_plink1
from bayeslmm.simulation.genotypes import nuclear_families, simulate_dosages

# The options of each run, and which kernel has which estimator. {d} is the folder of the data.
RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "dominance": (
        "--bfile {d}/sim --pheno {d}/sim.pheno --pheno-name A --model dominance --predict",
        {"additive": "gcta", "dominance": "dominance"},
    ),
    "chromosome": (
        "--bfile {d}/sim --pheno {d}/sim.pheno --pheno-name A,C --model partitioned",
        {"chr1": "gcta", "chr2": "gcta", "chr3": "gcta"},
    ),
    "maf": (
        "--bfile {d}/sim --pheno {d}/sim.pheno --pheno-name A --model partitioned "
        "--by maf:0,0.2,0.5 --scale sample",
        {"maf[0,0.2]": "sample", "maf(0.2,0.5]": "sample"},
    ),
    "ld": (
        "--bfile {d}/sim --pheno {d}/sim.pheno --pheno-name A --model partitioned --by ld:2",
        {"ld1": "gcta", "ld2": "gcta"},
    ),
    "file": (
        "--bfile {d}/sim --pheno {d}/sim.pheno --pheno-name A --model partitioned "
        "--by {d}/groups --group-column plot",
        {"genes": "gcta", "rest": "gcta", "plot": "group"},
    ),
    "two matrices": (
        "--grm additive={d}/k.additive,dominance={d}/k.dominance --pheno {d}/sim.pheno "
        "--pheno-name A --model dominance --kernel-scale none",
        {"additive": "file", "dominance": "file"},
    ),
    "three matrices": (
        "--grm {d}/c.chr1,{d}/c.chr2,{d}/c.chr3 --pheno {d}/sim.pheno --pheno-name A "
        "--model partitioned",
        {"c.chr1": "file", "c.chr2": "file", "c.chr3": "file"},
    ),
    "pedigree": (
        "--pedigree {d}/ped.tsv --pheno {d}/sim.pheno --pheno-name A --predict",
        {"additive": "pedigree"},
    ),
    "repeated": (
        "--pedigree {d}/ped.tsv --pheno {d}/birds.tsv --id-column ring --pheno-name mass "
        "--formula ~C(sex) --model repeated --predict",
        {"additive": "pedigree"},
    ),
    "household": (
        "--pedigree {d}/ped.tsv --pheno {d}/birds.tsv --id-column ring --pheno-name mass "
        "--model household --group-column plot,year --predict",
        {"additive": "pedigree", "plot": "group", "year": "group"},
    ),
    "maternal": (
        "--pedigree {d}/ped.tsv --pheno {d}/birds.tsv --id-column ring --pheno-name mass "
        "--model maternal",
        {"additive": "pedigree"},
    ),
    "gxe": (
        "--bfile {d}/sim --pheno {d}/birds.tsv --id-column ring --pheno-name mass "
        "--formula ~season --model gxe --environment-column season --residual-column sex",
        {"additive": "gcta"},
    ),
    "bivariate": (
        "--bfile {d}/sim --pheno {d}/sim.pheno --pheno-name A,B --model bivariate --predict",
        {"additive": "gcta"},
    ),
    "snp_effects": (
        "--bfile {d}/sim --pheno {d}/sim.pheno --pheno-name A --model snp_effects "
        "--breeding-values",
        {"additive": "gcta"},
    ),
}  # fmt: skip


M = 400


def write_data(folder: Path, n: int) -> None:
    """n genotyped people, M variants on three chromosomes, pedigree, traits, records, matrices."""
    rng = np.random.default_rng(8)
    people = nuclear_families(n, rng)
    dosages, variants = simulate_dosages(people, M, rng)
    variants["CHROM"] = np.repeat(["1", "2", "3"], [140, 130, 130])
    variants["POS"] = 10_000 * np.arange(1, M + 1)
    index = pd.MultiIndex.from_arrays([people.fid, people.iid], names=["FID", "IID"])
    write_plink1(from_array(dosages.T, index, variants), folder / "sim")

    W = dosages - dosages.mean(axis=1, keepdims=True)
    effects = rng.standard_normal((M, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    g = W.T @ effects
    g /= g.std(axis=0)
    plot = rng.integers(0, 15, n)
    e = rng.standard_normal((n, 2))
    traits = pd.DataFrame({"FID": people.fid, "IID": people.iid})
    traits["A"] = g[:, 0] + e[:, 0] + 0.5 * rng.standard_normal(15)[plot]
    traits["B"] = np.where(np.arange(n) < 20, np.nan, g[:, 1] + e[:, 1])
    traits["C"] = e[:, 1]
    traits["plot"] = [f"p{k}" for k in plot]
    traits["alone"] = [f"a{k}" for k in range(n)]
    traits.to_csv(folder / "sim.pheno", sep="\t", index=False, na_rep="NA")

    records = np.repeat(np.arange(n), rng.integers(1, 4, n))
    birds = pd.DataFrame({"ring": np.array(people.iid)[records]})
    birds["sex"] = people.sex[records]
    birds["season"] = rng.standard_normal(len(birds)).round(3)
    birds["year"] = rng.integers(2001, 2009, len(birds))
    birds["plot"] = traits["plot"].to_numpy()[records]
    permanent, slope = rng.standard_normal((2, n))[:, records] * [[0.5], [0.6]]
    noise = 0.7 * rng.standard_normal(len(birds))
    birds["mass"] = 20 + traits["A"].to_numpy()[records] + permanent + noise
    birds["mass"] += slope * birds["season"] + 0.3 * rng.standard_normal(8)[birds["year"] - 2001]
    birds.sample(frac=1, random_state=1).to_csv(folder / "birds.tsv", sep="\t", index=False)

    pedigree = pd.DataFrame({"animal": people.iid, "sire": people.father, "dam": people.mother})
    pedigree = pedigree.replace("0", "NA").sample(frac=1, random_state=2)
    pedigree.to_csv(folder / "ped.tsv", sep="\t", index=False)
    loop = {"F1_1": ["F1_3", "NA"]}
    for name, parents in loop.items():
        pedigree.loc[pedigree["animal"] == name, ["sire", "dam"]] = parents
    pedigree.to_csv(folder / "loop.tsv", sep="\t", index=False)
    groups = [f"{name} {'genes' if k % 3 else 'rest'}" for k, name in enumerate(variants["ID"])]
    (folder / "groups").write_text("ID GROUP\n" + "\n".join(groups) + "\n")
    grm = ["grm", "--bfile", str(folder / "sim"), "--out"]
    assert main([*grm, str(folder / "k"), "--kind", "additive,dominance"]) == 0
    assert main([*grm, str(folder / "c"), "--by", "chromosome"]) == 0
