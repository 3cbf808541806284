"""Files of GCTA and GEMMA: what they print, and errors that teach."""

from __future__ import annotations

import contextlib
import math
import random
from pathlib import Path

import pytest

from bayeslmm.errors import InputError
from bayeslmm.estimates.external import read_external

ONE = """\
Source\tVariance\tSE
V(G)\t0.006697\t0.000593
V(e)\t0.014934\t0.000567
Vp\t0.021631\t0.000291
V(G)/Vp\t0.309599\t0.026340
logL\t16299.208
logL0\t16219.785
LRT\t158.847
df\t1
Pval\t0
n\t11443
"""
TWO = """\
Source\tVariance\tSE
V(G1)\t0.294615\t0.102976
V(G2)\t0.322424\t0.144884
V(e)\t0.377467\t0.104458
Vp\t0.994506\t0.027059
V(G1)/Vp\t0.296242\t0.102655
V(G2)/Vp\t0.324205\t0.145112

Sum of V(G)/Vp\t0.620447\t0.105741
logL\t-1357.892
n\t2753
"""
OLD = """\
Source  Variance        SE
V(1)    0.389350        0.161719
V(e)    0.582633        0.160044
Vp      0.971984        0.031341
V(1)/Vp 0.400573        0.164937
The estimate of variance explained on the observed scale is transformed to that on the underlying scale:
(Proportion of cases in the sample = 0.5; User-specified disease prevalence = 0.1)
V(1)/Vp_L       0.657621        0.189123
logL    -945.65
Pval    4.41e-4
n       2000
"""  # noqa: E501
TRAITS = """\
Source\tVariance\tSE
V(G)_tr1\t0.479647\t0.179078
V(G)_tr2\t0.286330\t0.181329
C(G)_tr12\t0.230828\t0.147958
V(e)_tr1\t0.524264\t0.176650
V(e)_tr2\t0.734654\t0.181146
C(e)_tr12\t0.404298\t0.146863
Vp_tr1\t1.003911\t0.033202
Vp_tr2\t1.020984\t0.033800
V(G)/Vp_tr1\t0.477779\t0.176457
V(G)/Vp_tr2\t0.280445\t0.176928
rG\t0.622864\t0.217458
logL\t-2052.9
n\t3669
"""
GEMMA = """\
##
## GEMMA Version    = 0.98.5 (2021-08-25)
##
## number of total individuals = 1940
## number of analyzed individuals = 1410
## number of covariates = 1
## number of phenotypes = 1
## REMLE log-likelihood in the null model = -1584.07
## pve estimate in the null model = 0.609672
## se(pve) in the null model = 0.0327788
## vg estimate in the null model = 1.47914
## ve estimate in the null model = 0.340552
## beta estimate in the null model =   7.98636e-17
"""
BIVARIATE = """\
## GEMMA Version    = 0.98.5 (2021-08-25)
## number of analyzed individuals = 1197
## number of phenotypes = 2
## REMLE estimate for Vg in the null model: \n\
1.39482\t
-0.225765\t2.08207\t
## se(Vg): \n\
0.15673\t
0.136344\t0.23584\t
## REMLE estimate for Ve in the null model: \n\
0.348551\t
0.0489655\t0.414222\t
## se(Ve): \n\
0.0206234\t
0.0166265\t0.0266945\t
## MLE estimate for Vg in the null model: \n\
1.39677\t-0.225782\t
-0.225782\t2.0858\t
"""


def written(folder: Path, text: str, name: str = "x.hsq") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_one_matrix(tmp_path: Path) -> None:
    (found,) = read_external(written(tmp_path, ONE))
    assert (found.program, found.n, found.trait) == ("GCTA", 11443, 0)
    assert (found.h2, found.se) == (0.309599, 0.026340)
    assert (found.genetic, found.residual) == ((0.006697,), 0.014934)
    assert (found.genetic_se, found.residual_se) == ((0.000593,), 0.000567)


def test_two_matrices(tmp_path: Path) -> None:
    for text in (TWO, TWO.replace("\t", " "), TWO.replace("\t", "    "), TWO.replace("\n", "\r\n")):
        (found,) = read_external(written(tmp_path, text))
        assert (found.h2, found.se) == (0.620447, 0.105741)
        assert found.genetic == (0.294615, 0.322424)
        assert found.genetic_se == (0.102976, 0.144884)
        assert found.n == 2753


def test_old_names_and_the_liability_scale_is_left_out(tmp_path: Path) -> None:
    (found,) = read_external(written(tmp_path, OLD))
    assert (found.h2, found.se, found.n) == (0.400573, 0.164937, 2000)


def test_two_traits_of_gcta(tmp_path: Path) -> None:
    first, second = read_external(written(tmp_path, TRAITS))
    assert (first.trait, first.h2, first.genetic) == (1, 0.477779, (0.479647,))
    assert (second.trait, second.h2, second.residual) == (2, 0.280445, 0.734654)
    assert first.n == second.n == 3669


def test_gemma(tmp_path: Path) -> None:
    (found,) = read_external(written(tmp_path, GEMMA, "cd8.log.txt"))
    assert (found.program, found.n) == ("GEMMA", 1410)
    assert (found.h2, found.se) == (0.609672, 0.0327788)
    assert (found.genetic, found.residual) == ((1.47914,), 0.340552)


def test_two_traits_of_gemma(tmp_path: Path) -> None:
    first, second = read_external(written(tmp_path, BIVARIATE, "two.log.txt"))
    assert (first.genetic, first.residual) == ((1.39482,), 0.348551)
    assert (second.genetic, second.residual) == ((2.08207,), 0.414222)
    assert (second.genetic_se, second.residual_se) == ((0.23584,), 0.0266945)
    assert math.isnan(first.h2)
    assert (first.trait, second.trait, first.n) == (1, 2, 1197)


BAD = {
    "empty": ("", "an empty file", None),
    "other": ("FID IID y\n1 1 2\n", "a file of another kind", None),
    "cut": (ONE.split("V(G)/Vp")[0], "no row 'V(G)/Vp'", None),
    "no V(e)": (ONE.replace("V(e)", "W(e)"), "no row 'V(e)'", None),
    "text": (ONE.replace("0.309599", "O.31"), "'O.31' as V(G)/Vp", 5),
    "se": (ONE.replace("0.026340", "--"), "'--' as the SE of V(G)/Vp", 5),
    "nan": (ONE.replace("0.309599", "-nan"), "V(G)/Vp is nan", None),
    "twice": (ONE + "V(G)\t1\t1\n", "'V(G)' twice", 12),
    "HE": ("HE-CP\nCoefficient\tEstimate\n", "a .HEreg", None),
    "gk": (GEMMA.split("## REMLE")[0], "no line '## pve estimate in the null model", None),
    "pve": (GEMMA.replace("0.609672", "abc"), "'abc' as pve", 9),
    "no pve": (GEMMA.replace("0.609672", ""), "nothing after 'pve", 9),
    "nan pve": (GEMMA.replace("0.609672", "nan"), "the pve is nan", None),
    "row": (BIVARIATE.replace("-0.225765\t2.08207", "2.08207", 1), "1 numbers in row 2", 6),
    "half": (BIVARIATE.split("## REMLE estimate for Ve")[0], "nothing below 'REMLE estimate for Ve",
             None),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_place_and_remedy(case: str, tmp_path: Path) -> None:
    text, message, line = BAD[case]
    path = written(tmp_path, text, "bad.txt")
    with pytest.raises(InputError) as caught:
        read_external(path)
    said = str(caught.value)
    assert message in said
    assert f"{path}:{line}" in said if line else str(path) in said
    assert "->" in said


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.hsq"):
        read_external(tmp_path / "none.hsq")
    with pytest.raises(InputError):
        read_external(tmp_path)
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="a file that is not text"):
        read_external(tmp_path / "binary")
    (tmp_path / "large").write_bytes(b"Source Variance SE\n" * 100_000)
    with pytest.raises(InputError, match="bytes"):
        read_external(tmp_path / "large")


@pytest.mark.parametrize("text", [ONE, TWO, TRAITS, GEMMA, BIVARIATE])
def test_damaged_files_never_raise_anything_else(text: str, tmp_path: Path) -> None:
    rng = random.Random(1)
    for _ in range(150):
        at = rng.randrange(len(text))
        damaged = text[:at] + rng.choice(["", "\t", "\n", "x", "=", "\x00", "-"]) + text[at + 1 :]
        damaged = damaged[: rng.choice([len(damaged), at])]
        with contextlib.suppress(InputError):
            assert read_external(written(tmp_path, damaged))
