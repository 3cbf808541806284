"""Small whole file sets, written by the letter of their formats, from which mutants are made."""

from __future__ import annotations

import gzip
import io
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

type Files = dict[str, bytes]  # by the name in the folder

N, M = 6, 12  # N is no multiple of 4, so that a .fam off by one leaves the .bed's size as it is
CODE = {2: 0b00, -9: 0b01, 1: 0b10, 0: 0b11}  # of copies of A1


def dosages() -> np.ndarray:
    rng = np.random.default_rng(3)
    found = rng.choice([0, 1, 2, -9], size=(M, N), p=[0.4, 0.3, 0.2, 0.1])
    found[0] = [2, 1, 0, -9, 0, 1]
    return found


def bfile() -> Files:
    bed = bytearray(b"\x6c\x1b\x01")
    for row in dosages():
        for start in range(0, N, 4):
            codes = (CODE[int(v)] << (2 * k) for k, v in enumerate(row[start : start + 4]))
            bed.append(sum(codes))
    bim = "".join(f"{1 + k % 3}\trs{k}\t0\t{100 + k}\tA\tG\n" for k in range(M))
    return {"x.bed": bytes(bed), "x.bim": bim.encode(), "x.fam": fam()}


def fam() -> bytes:
    return "".join(f"F{k} I{k} 0 0 1 {k}.5\n" for k in range(1, N + 1)).encode()


def pfile(hard: bool = False) -> Files:
    from pgenlib import PgenWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pgen"
        writer = PgenWriter(bytes(path), N, M, False, dosage_present=not hard)
        for k, row in enumerate(dosages()):
            if hard:
                writer.append_biallelic(row.astype(np.int8))
            else:
                fraction = 0.25 * (k % 2)
                writer.append_dosages(np.where((row == 1), row + fraction, row).astype(np.float32))
        writer.close()
        pgen = path.read_bytes()
    rows = "".join(f"{1 + k % 3}\t{100 + k}\trs{k}\tG\tA\n" for k in range(M))
    people = "".join(f"I{k}\t1\n" for k in range(1, N + 1))
    pvar = "##source=test\n#CHROM\tPOS\tID\tREF\tALT\n" + rows
    return {"x.pgen": pgen, "x.pvar": pvar.encode(), "x.psam": ("#IID\tSEX\n" + people).encode()}


def matrix() -> np.ndarray:
    Z = np.random.default_rng(1).standard_normal((N, 50))
    return np.asarray(Z @ Z.T / 50)


def ids(header: str = "") -> bytes:
    return (header + "".join(f"F{k}\tI{k}\n" for k in range(1, N + 1))).encode()


def gcta() -> Files:
    lower = matrix()[np.tril_indices(N)]
    counts = np.full(lower.size, 321.0)
    return {
        "x.grm.bin": lower.astype("<f4").tobytes(),
        "x.grm.N.bin": counts.astype("<f4").tobytes(),
        "x.grm.id": ids(),
    }


def gcta_text() -> Files:
    K = matrix()
    pairs = [(i, j) for i in range(N) for j in range(i + 1)]
    text = "".join(f"{i + 1}\t{j + 1}\t321\t{K[i, j]:.6e}\n" for i, j in pairs)
    return {"x.grm.gz": gzip.compress(text.encode(), mtime=0), "x.grm.id": ids()}


def text_matrix() -> bytes:
    return "".join("\t".join(f"{x:.10g}" for x in row) + "\n" for row in matrix()).encode()


def gemma() -> Files:
    return {"x.cXX.txt": text_matrix(), "x.fam": fam()}


def rel() -> Files:
    return {"x.rel": text_matrix(), "x.rel.id": ids("#FID\tIID\n")}


def rel_bin() -> Files:
    return {"x.rel.bin": matrix().astype("<f8").tobytes(), "x.rel.id": ids("#FID\tIID\n")}


def pheno() -> Files:
    values = ["1.5", "NA", "-0.25", "3e2", "7", "0.125"]
    rows = "".join(f"F{k}\tI{k}\t{v}\t{k}\n" for k, v in enumerate(values, 1))
    return {"x.pheno": ("FID\tIID\ty\tz\n" + rows).encode()}


def covar() -> Files:
    rows = "".join(f"F{k} I{k} {'MF'[k % 2]} {20 + k}\n" for k in range(1, N + 1))
    return {"x.covar": ("#FID IID sex age\n" + rows).encode()}


def id_list() -> Files:
    return {"x.keep": ids()}


def variant_list() -> Files:
    return {"x.extract": b"".join(b"rs%d\n" % k for k in range(0, M, 2))}


FREQUENCIES = ["0.25", "0", "1", "0.5", "nan", "1e-3", ".75", "0.125", "0.3", "0.9", "NA", "0.2"]


def afreq() -> Files:
    """plink2's; one variant has three alleles."""
    rows = [f"{1 + k % 3}\trs{k}\tG\tA\t{f}\t12\n" for k, f in enumerate(FREQUENCIES)]
    rows[3] = "1\trs3\tG\tA,T\t0.5,0.25\t12\n"
    return {"x.afreq": ("#CHROM\tID\tREF\tALT\tALT_FREQS\tOBS_CT\n" + "".join(rows)).encode()}


def frq() -> Files:
    """plink 1.9's."""
    rows = "".join(
        f"{1 + k % 3:4d} {f'rs{k}':>6} {'AG'[k % 2]:>4} {'GA'[k % 2]:>4} {f:>12} {12:8d}\n"
        for k, f in enumerate(FREQUENCIES)
    )
    header = " CHR    SNP   A1   A2          MAF  NCHROBS\n"
    return {"x.frq": (header + rows).encode()}


def freq() -> Files:
    """GCTA's, without header."""
    rows = "".join(f"rs{k}\tA\t{f}\n" for k, f in enumerate(FREQUENCIES))
    return {"x.freq": rows.encode()}


def records() -> Files:
    rows = "".join(f"I{1 + k // 2},{k % 2},{k}.5,pen{k % 3}\n" for k in range(2 * N))
    return {"x.csv": ("id,year,y,pen\n" + rows).encode()}


def pedigree() -> Files:
    rows = ["s1 NA NA", "d1 NA NA", "d2 0 0", "a s1 d1", "b s1 d2", "c a d2", "e a b"]
    return {"x.ped": ("id sire dam\n" + "\n".join(rows) + "\n").encode()}


@cache
def _spectrum() -> bytes:
    from bayeslmm.likelihood.decompose import decompose

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        decompose(matrix(), np.ones((N, 1))).save(path)
        return path.read_bytes()


def spectrum() -> Files:
    return {"x.npz": _spectrum()}


@cache
def _result() -> bytes:
    """A result as `bayeslmm h2` keeps it: small, with every kind of group and attribute."""
    from bayeslmm.cli.outputs import write_tree

    rng = np.random.default_rng(5)
    chains = ("chain", "draw")
    posterior = xr.Dataset(
        {
            "h2": (chains, rng.beta(4, 4, (4, 25))),
            "sigma2_u": (chains, rng.gamma(4, 1, (4, 25))),
            "sigma2_e": (chains, rng.gamma(4, 1, (4, 25))),
            "beta": ((*chains, "covariate"), rng.normal(size=(4, 25, 2))),
        },
        coords={"chain": range(4), "draw": range(25), "covariate": ["intercept", "sex"]},
    )
    data = xr.Dataset({"phenotype": (("record",), rng.normal(size=N))})
    tree = xr.DataTree.from_dict({"posterior": posterior, "observed_data": data})
    tree.attrs |= {"trait": "y", "model": "additive", "engine": "exact", "n": N, "prob": 0.95}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.nc"
        write_tree(tree, path)
        return path.read_bytes()


def result() -> Files:
    return {"x.nc": _result()}


@cache
def npz_bomb() -> bytes:
    """200 MB of zeros in a .npz of 200 kB, with the names that a spectrum has."""
    out = io.BytesIO()
    np.savez_compressed(
        out, eigenvalues=np.zeros(5 << 20), coupling=np.zeros((1, 5)), schur=np.zeros((1, 1)),
        triangle=np.zeros((1, 1)), basis=np.zeros((4500, 4500)), key=np.array("k"),
    )  # fmt: skip
    return out.getvalue()


@cache
def gzip_bomb() -> bytes:
    """300 MB of one line in 300 kB."""
    return gzip.compress(bytes(300 << 20), compresslevel=6, mtime=0)


@cache
def frame() -> pd.MultiIndex:
    """The individuals of the genotype seeds."""
    names = [f"{k}" for k in range(1, N + 1)]
    return pd.MultiIndex.from_arrays(
        [[f"F{k}" for k in names], [f"I{k}" for k in names]], names=["FID", "IID"]
    )


SEEDS: dict[str, Callable[[], Files]] = {
    "bfile": bfile,
    "pfile": pfile,
    "pfile_hard": lambda: pfile(hard=True),
    "gcta": gcta,
    "gcta_text": gcta_text,
    "gemma": gemma,
    "rel": rel,
    "rel_bin": rel_bin,
    "pheno": pheno,
    "covar": covar,
    "records": records,
    "pedigree": pedigree,
    "keep": id_list,
    "extract": variant_list,
    "afreq": afreq,
    "frq": frq,
    "freq": freq,
    "spectrum": spectrum,
    "result": result,
}
