"""Formats of genotypes that are not read, and the commands that convert them to PLINK files."""

from __future__ import annotations

import os
from typing import NamedTuple


class Foreign(NamedTuple):
    """A format that is not read.

    Parameters
    ----------
    name
        Name of the format in messages.
    options
        Options by which other programs are given such a file.
    suffixes
        Suffixes of its files, the longest first.
    remedy
        How to convert it: ``{file}`` is the file, ``{prefix}`` its name without the suffix.
    """

    name: str
    options: tuple[str, ...]
    suffixes: tuple[str, ...]
    remedy: str


FOREIGN = (
    Foreign(
        "VCF", ("--vcf",), (".vcf.gz", ".vcf.bgz", ".vcf.zst", ".vcf"),
        "plink2 --vcf {file} --make-pgen --out {prefix} (imputed dosages: --vcf {file} dosage=DS), "
        "then --pfile {prefix}",
    ),
    Foreign(
        "BCF", ("--bcf",), (".bcf",),
        "plink2 --bcf {file} --make-pgen --out {prefix}, then --pfile {prefix}",
    ),
    Foreign(
        "BGEN", ("--bgen",), (".bgen",),
        "plink2 --bgen {file} ref-first --sample {prefix}.sample --make-pgen --out {prefix}, then "
        "--pfile {prefix}",
    ),
    Foreign(
        "Oxford .gen", ("--gen", "--data"), (".gen.gz", ".gen.zst", ".gen"),
        "plink2 --gen {file} ref-first --sample {prefix}.sample --make-pgen --out {prefix}, then "
        "--pfile {prefix}",
    ),
    Foreign(
        "PLINK text (.ped and .map)", ("--file", "--ped"), (".ped", ".map"),
        "plink --file {prefix} --make-bed --out {prefix} (plink 1.9), then --bfile {prefix}",
    ),
    Foreign(
        "transposed PLINK text (.tped and .tfam)", ("--tfile", "--tped"), (".tped", ".tfam"),
        "plink --tfile {prefix} --make-bed --out {prefix} (plink 1.9), then --bfile {prefix}",
    ),
    Foreign(
        "BIMBAM", ("--bimbam",), (".geno.txt.gz", ".geno.txt", ".bimbam", ".mgf", ".geno.gz"),
        "its lines hold no IDs of individuals: compute the relationship matrix, gemma -g {file} -p "
        "PHENOTYPES -gk 1 -o K, then --grm K.cXX.txt --fam FAM, the individuals in their order",
    ),
)  # fmt: skip


def foreign_file(path: str) -> tuple[str, str] | None:
    """Return name and remedy of the foreign format that the suffix of a path shows, or None.

    >>> foreign_file("study/chr1.bcf")
    ('BCF', 'plink2 --bcf study/chr1.bcf --make-pgen --out study/chr1, then --pfile study/chr1')
    >>> foreign_file("study/chr1.bed") is None
    True
    """
    for one in FOREIGN:
        for suffix in one.suffixes:
            if path.endswith(suffix):
                return one.name, one.remedy.format(file=path, prefix=path.removesuffix(suffix))
    return None


def foreign_beside(prefix: str) -> tuple[str, str] | None:
    """Return name and remedy of a file of a foreign format with this prefix, or None."""
    for one in FOREIGN:
        for suffix in one.suffixes:
            if os.path.isfile(prefix + suffix):
                return foreign_file(prefix + suffix)
    return None


def foreign_option(option: str, value: str) -> tuple[str, str]:
    """Return name and remedy of the format that an option of other programs stands for."""
    one = next(one for one in FOREIGN if option in one.options)
    suffix = next((suffix for suffix in one.suffixes if value.endswith(suffix)), "")
    return one.name, one.remedy.format(file=value, prefix=value.removesuffix(suffix))
