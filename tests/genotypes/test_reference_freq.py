"""Allele frequencies of a reference: formats, matching, flips; against plink2 and hand counts."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bayeslmm.cli import main
from bayeslmm.cli.parser import build_parser
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.genotypes.array import ArrayReader
from bayeslmm.genotypes.frequency_check import FrequencyCheck
from bayeslmm.genotypes.genotypes import Genotypes, from_array, read_genotypes, write_plink1
from bayeslmm.genotypes.qc import quality_control, variant_counts
from bayeslmm.genotypes.reference_freq import reference_rows
from bayeslmm.genotypes.reference_match import (
    ABSENT,
    OTHER_ALLELES,
    OTHER_STRAND,
    SAME,
    match_reference,
)
from bayeslmm.relationship.genomic import grm
from bayeslmm.system.files import sha256

type Write = Callable[[str | bytes], Path]

needs_plink2 = pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not on PATH")

# files of one data set as plink2 and plink 1.9 write them, and as GCTA's sources do:
# rs1 A/C, 3 C of 8; rs2 G/T, 2 T of 10; rs3 AT/A, nobody called
VCF = """##fileformat=VCFv4.2
##contig=<ID=1>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\tc\td\te
1\t10\trs1\tA\tC\t.\t.\t.\tGT\t0/0\t0/1\t1/1\t0/0\t./.
1\t20\trs2\tG\tT\t.\t.\t.\tGT\t0/0\t0/1\t0/1\t0/0\t0/0
1\t30\trs3\tAT\tA\t.\t.\t.\tGT\t./.\t./.\t./.\t./.\t./.
1\t40\trs4\tA\tC,T\t.\t.\t.\tGT\t0/0\t0/1\t1/2\t0/2\t0/0
"""
AFREQ = """#CHROM\tID\tREF\tALT\tALT_FREQS\tOBS_CT
1\trs1\tA\tC\t0.375\t8
1\trs2\tG\tT\t0.2\t10
1\trs3\tAT\tA\tnan\t0
"""
FILES = {
    "plink2": AFREQ,
    "plink2, more columns": """#CHROM\tPOS\tID\tREF\tALT1\tALT\tREF_FREQ\tALT1_FREQ\tALT_FREQS
1\t10\trs1\tA\tC\tC\t0.625\t0.375\t0.375
1\t20\trs2\tG\tT\tT\t0.8\t0.2\t0.2
1\t40\trs3\tAT\tA\tA\tnan\tnan\tnan
""",
    "plink 1.9": """ CHR  SNP   A1   A2          MAF  NCHROBS
   1  rs1    C    A        0.375        8
   1  rs2    T    G          0.2       10
   1  rs3    A   AT           NA        0
""",
    "GCTA 1.9": """CHR\tSNP\tPOS\tA1\tA2\tAF\tNCHROBS
1\trs1\t10\tC\tA\t0.375000\t8
1\trs2\t20\tT\tG\t0.200000\t10
1\trs3\t40\tA\tAT\tnan\t0
""",
    "GCTA 1.2": "rs1\tC\t0.375\nrs2\tT\t0.2\nrs3\tA\tnan\n",
    "order of columns": "ALT_FREQS ALT REF ID\n.375 C A rs1\n2e-1 T G rs2\n. A AT rs3\n",
    "comments": "## plink2\n##made=today\n" + AFREQ,
    "no line end, CRLF, byte order mark": "\ufeff" + AFREQ.replace("\n", "\r\n").rstrip(),
    "byte order mark without header": "\ufeffrs1\tC\t0.375\nrs2\tT\t0.2\nrs3\tA\tnan\n",
    "old Macintosh": AFREQ.replace("\n", "\r"),
    "blank lines at the end": AFREQ + "\n \n",
}


def table(*variants: tuple[str, str, str]) -> pd.DataFrame:
    """Variants of (ID, A1, A0)."""
    names, a1, a0 = zip(*variants, strict=True)
    data = {"CHROM": "1", "POS": np.arange(1, len(names) + 1), "ID": names, "A1": a1, "A0": a0}
    return pd.DataFrame(data)


OURS = table(("rs2", "T", "G"), ("rs1", "A", "C"), ("rs3", "A", "AT"), ("rs9", "A", "C"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def text(content: str | bytes) -> Path:
        path = tmp_path / "ref.afreq"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return text


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_formats_say_the_same(name: str, write: Write) -> None:
    """By ID, never by position; the swapped alleles of rs1 give 1 - 3/8."""
    found = match_reference(OURS, write(FILES[name]))
    assert found.match.tolist() == [SAME, SAME, SAME, ABSENT]
    np.testing.assert_allclose(found.frequency, [0.2, 0.625, math.nan, math.nan], rtol=1e-12)
    assert found.swapped.tolist() == [False, True, False, False]
    lines = FILES[name].splitlines()  # LF, CRLF, CR
    for k, rs in enumerate(OURS["ID"][:3]):
        assert rs in lines[found.line[k] - 1]


def test_every_row_is_read(write: Write) -> None:
    rows = list(reference_rows(write("#ID REF ALT ALT_FREQS\nx a c,g,t .1,0.2,0\n. 0 . NA\n")))
    assert rows[0] == (2, "x", ("C", "G", "T", "A"), (0.1, 0.2, 0.0))
    assert rows[1][:3] == (3, ".", ("0", "0"))
    assert math.isnan(rows[1].frequencies[0])


BAD: dict[str, tuple[Any, ...]] = {
    "empty": ("", "ref.afreq: an empty file", "a row for each variant", "plink2 --freq"),
    "only blank lines": ("\n \n", "ref.afreq: an empty file"),
    "only comments": ("##a\n", "ref.afreq: an empty file"),
    "header only": (AFREQ.split("1\t")[0], "ref.afreq: no variant"),
    "no header": (AFREQ.split("\n", 1)[1], "ref.afreq:1: the first line '1 rs1 A C 0.375 8'",
                  "a header with ID REF ALT ALT_FREQS (plink2), SNP A1 A2 MAF (plink 1.9) or SNP "
                  "A1 A2 AF (GCTA), or no header and three columns", "plink2 --freq"),
    "counts": (AFREQ.replace("ALT_FREQS", "ALT_CTS"), "ref.afreq:1: the first line '#CHROM ID"),
    "columns parted by commas": (AFREQ.replace("\t", ","), "ref.afreq:1: the first line '#CHROM,"),
    "a column twice": (AFREQ.replace("OBS_CT", "ALT"), "ref.afreq:1:ALT: the column 'ALT' occurs"),
    "a field too few": (AFREQ.replace("\t10", ""), "ref.afreq:3: 5 fields -> 6, as in the first"),
    "above one": (AFREQ.replace("0.2", "1.2"), "ref.afreq:3:ALT_FREQS: the frequency '1.2' -> a "
                  "number from 0 to 1, or NA"),
    "negative": (AFREQ.replace("0.2", "-0.2"), "ref.afreq:3:ALT_FREQS: the frequency '-0.2'"),
    "text": (AFREQ.replace("0.2", "rare"), "ref.afreq:3:ALT_FREQS: the frequency 'rare'"),
    "infinite": (AFREQ.replace("0.2", "inf"), "ref.afreq:3:ALT_FREQS: the frequency 'inf'"),
    "Python's own numbers": (AFREQ.replace("0.2", "0_1"), "the frequency '0_1'"),
    "long text": (AFREQ.replace("0.2", "9" * 99), f"the frequency '{'9' * 37}...'"),
    "allele=frequency": (AFREQ.replace("0.2", "T=0.2"), "the frequency 'T=0.2'", "plink2 --freq"),
    "in a .frq": (FILES["plink 1.9"].replace(" 0.2", " 2"), "ref.afreq:3:MAF: the frequency '2'"),
    "without header": (FILES["GCTA 1.2"].replace("0.2", "x"), "ref.afreq:2:3: the frequency 'x'"),
    "two of one": (AFREQ.replace("0.2", "0.1,0.1"), "ref.afreq:3:ALT_FREQS: 2 frequencies of 1"),
    "one of two": (AFREQ.replace("G\tT", "G\tT,A"), "ref.afreq:3:ALT_FREQS: 1 frequencies of 2"),
    "more than one": (AFREQ.replace("G\tT\t0.2", "G\tT,A\t0.6,0.5"), "ref.afreq:3:ALT_FREQS: "
                      "frequencies 0.6,0.5 that add to 1.1 -> at most 1"),
    "no allele": (AFREQ.replace("G\tT\t0.2", "G\tT,\t0.1,0"), "ref.afreq:3: the name '' -> print"),
    "a mark of direction": (AFREQ.replace("rs2", "rs\u202e"), "ref.afreq:3: the name 'rs\\u202e'"),
    "a blank line": (AFREQ.replace("1\trs2", "\n1\trs2"), "ref.afreq:3: a blank line"),
    "a second header": (AFREQ + AFREQ, "ref.afreq:5:ALT_FREQS: the frequency 'ALT_FREQS'"),
    "twice": (AFREQ + "1\trs2\tG\tT\t0.3\t10\n", "ref.afreq:5: the variant rs2 with the alleles "
              "T/G again (lines 3 and 5)", "a row for each variant"),
    "twice, swapped": (AFREQ + "1\trs2\tT\tG\t0.8\t10\n", "ref.afreq:5: the variant rs2"),
    "none in common": (AFREQ.replace("rs", "1:10:"), "ref.afreq: none of its 3 variants is among "
                       "the 4 of the genotypes (here rs2, there 1:10:1)", "--set-all-var-ids"),
    "no names": (re.sub(r"rs\d", ".", AFREQ), "none of its 3 variants", "(here rs2, there .)"),
    "NUL": (AFREQ.replace("rs2", "r\0s2"), "ref.afreq:3: a NUL byte at offset"),
    "Latin-1": (AFREQ.encode().replace(b"rs2", b"rs\xe9"), "ref.afreq:3: byte 0xe9 at offset",
                "UTF-8", "iconv"),
    "gzip": (b"\x1f\x8b\x08\0", "ref.afreq: a compressed file -> text -> unpack it first: gunzip"),
    "zstd": (b"\x28\xb5\x2f\xfd", "ref.afreq: a compressed file -> text -> unpack it first: zstd"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name: str, write: Write) -> None:
    content, *words = BAD[name]
    with pytest.raises(InputError) as caught:
        match_reference(OURS, write(content))
    text = str(caught.value)
    assert text.count(" -> ") == 2
    at = 0
    for one in words:
        assert one in text[at:], text
        at = text.index(one, at)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ref\.afreq: no such file"):
        match_reference(OURS, tmp_path / "ref.afreq")
    with pytest.raises(InputError, match="is a directory"):
        match_reference(OURS, tmp_path)


def test_a_file_that_may_not_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(AFREQ)
    monkeypatch.setattr("bayeslmm.genotypes.reference_freq.open", refuse, raising=False)
    with pytest.raises(InputError, match=r"ref\.afreq: cannot be read: Permission denied"):
        match_reference(OURS, path)


def test_variants_that_are_not_ours_may_stand_there_twice(write: Write) -> None:
    found = match_reference(OURS, write(AFREQ + 2 * "1\tother\tG\tT\t0.3\t10\n"))
    assert found.match.tolist() == [SAME, SAME, SAME, ABSENT]


# --- matching --------------------------------------------------------------------------------

# ours A1, A0; theirs ALT, REF (f = 0.3 of ALT); expected match, frequency of our A1
PAIRS = [
    ("A", "C", "A", "C", SAME, 0.3),
    ("C", "A", "A", "C", SAME, 0.7),
    ("a", "c", "A", "C", SAME, 0.3),
    ("A", "C", "T", "G", OTHER_STRAND, 0.3),
    ("C", "A", "T", "G", OTHER_STRAND, 0.7),
    ("A", "G", "C", "T", OTHER_STRAND, 0.7),
    ("A", "T", "A", "T", SAME, 0.3),  # its own complement: the same strand is taken
    ("A", "T", "T", "A", SAME, 0.7),
    ("C", "G", "G", "C", SAME, 0.7),
    ("A", "C", "A", "G", OTHER_ALLELES, math.nan),
    ("A", "C", "A", "T", OTHER_ALLELES, math.nan),
    ("A", "T", "C", "G", OTHER_ALLELES, math.nan),
    ("AT", "A", "AT", "A", SAME, 0.3),
    ("AT", "A", "TA", "T", OTHER_ALLELES, math.nan),  # no complement is guessed for longer ones
    ("1", "2", "2", "1", SAME, 0.7),
    ("A", "C", "A", "0", SAME, 0.3),  # an allele that was not seen stands for the other
    ("A", "C", "C", "0", SAME, 0.7),
    ("A", "C", "0", "C", SAME, 0.3),
    ("A", "C", ".", "A", SAME, 0.7),
    ("A", "C", "T", "0", OTHER_STRAND, 0.3),
    ("A", "T", "T", "0", SAME, 0.7),
    ("A", "C", "DEL", "0", OTHER_ALLELES, math.nan),
    ("A", "C", "0", "0", SAME, math.nan),
]


@pytest.mark.parametrize(("a1", "a0", "alt", "ref", "match", "f"), PAIRS)
def test_alleles(
    a1: str, a0: str, alt: str, ref: str, match: int, f: float, write: Write
) -> None:  # fmt: skip
    path = write(f"#ID REF ALT ALT_FREQS\nx {ref} {alt} 0.3\n")
    found = match_reference(table(("x", a1, a0)), path)
    assert found.match[0] == match
    np.testing.assert_allclose(found.frequency[0], f, rtol=1e-12)
    if match != OTHER_ALLELES and not math.isnan(f):
        assert found.swapped[0] == (f > 0.5)  # counted from the reference's other allele
    swapped = match_reference(table(("x", a0, a1)), path)
    np.testing.assert_allclose(swapped.frequency[0], 1 - f, rtol=1e-12)
    assert swapped.match[0] == match


def test_several_alleles_and_several_rows_of_an_id(write: Write) -> None:
    """Of x 60 % A, 20 % C, 20 % T: A against T is 6/8; y in two rows; z fits on both strands."""
    path = write(
        "#ID REF ALT ALT_FREQS\nx A C,T 0.2,0.2\ny A C 0.1\ny A T 0.4\nz T G 0.1\nz C A 0.4\n"
        "w A C,T 0,0\nv A C,G nan\n"
    )
    ours = table(
        ("x", "A", "T"), ("x", "T", "C"), ("y", "T", "A"), ("y", "A", "C"), ("z", "A", "C"),
        ("w", "C", "T"), ("y", "G", "A"), ("v", "C", "A"),
    )  # fmt: skip
    found = match_reference(ours, path)
    expected = [0.75, 0.5, 0.4, 0.9, 0.4, math.nan, math.nan, math.nan]
    np.testing.assert_allclose(found.frequency, expected, rtol=1e-12)
    assert found.match.tolist() == [SAME] * 6 + [OTHER_ALLELES, SAME]
    assert found.alleles == {6: "C/A"}
    assert found.line.tolist() == [2, 2, 4, 3, 6, 7, 3, 8]


def test_variants_without_id_match_nothing(write: Write) -> None:
    path = write("#ID REF ALT ALT_FREQS\n. A C 0.2\n. A C 0.3\nx A C 0.1\n")
    found = match_reference(table((".", "C", "A"), ("x", "C", "A")), path)
    assert found.match.tolist() == [ABSENT, SAME]


# --- against plink2 --------------------------------------------------------------------------


def plink2(*words: object) -> None:
    subprocess.run(["plink2", *map(str, words)], check=True, capture_output=True)


@needs_plink2
def test_plink2_writes_what_is_expected(tmp_path: Path) -> None:
    """AFREQ above is its output; rs4 has 6 A, 2 C, 2 T of 10."""
    (tmp_path / "x.vcf").write_text(VCF)
    plink2("--vcf", tmp_path / "x.vcf", "--freq", "--out", tmp_path / "x")
    text = (tmp_path / "x.afreq").read_text()
    assert text == AFREQ + "1\trs4\tA\tC,T\t0.2,0.2\t10\n"
    plink2("--vcf", tmp_path / "x.vcf", "--freq", "zs", "--out", tmp_path / "x")
    with pytest.raises(InputError, match=r"a compressed file .* zstd -d .*x\.afreq\.zst"):
        match_reference(OURS, tmp_path / "x.afreq.zst")
    plink2("--vcf", tmp_path / "x.vcf", "--freq", "counts", "--out", tmp_path / "x")
    with pytest.raises(InputError, match=r"x\.acount:1: the first line '#CHROM ID"):
        match_reference(OURS, tmp_path / "x.acount")


@needs_plink2
def test_frequencies_of_the_same_data_by_plink2(tmp_path: Path) -> None:
    """Our own data as the reference, half of the alleles swapped by plink2: no difference."""
    rng = np.random.default_rng(4)
    m, pairs = 200, np.array([["A", "C"], ["T", "A"], ["G", "C"], ["T", "G"]])
    alleles = pairs[rng.integers(0, 4, m)]
    variants = table(*((f"v{k}", a, b) for k, (a, b) in enumerate(alleles)))
    dosages = rng.binomial(2, rng.uniform(0.02, 0.98, m), (80, m)).astype(float)
    dosages[rng.random(dosages.shape) < 0.03] = np.nan
    genotypes = from_array(dosages, variants=variants)
    write_plink1(genotypes, tmp_path / "x")
    forced = variants[["ID", "A1"]].iloc[::2]  # plink2 counts the other allele of these
    forced.to_csv(tmp_path / "ref", sep="\t", index=False, header=False)
    plink2("--bfile", tmp_path / "x", "--ref-allele", "force", tmp_path / "ref", 2, 1,
           "--make-pgen", "--out", tmp_path / "y")  # fmt: skip
    plink2("--pfile", tmp_path / "y", "--freq", "--nonfounders", "--out", tmp_path / "x")
    found = match_reference(variants, tmp_path / "x.afreq")
    f = variant_counts(genotypes)["af"]
    np.testing.assert_allclose(found.frequency, f, atol=2e-6)  # 6 digits are printed
    assert found.swapped.tolist() == [k % 2 == 0 for k in range(m)]
    chosen = quality_control(genotypes, maf=0, max_missing=1, reference_freq=tmp_path / "x.afreq")
    check = chosen.frequency_check
    assert check is not None
    assert (check.compared, check.swapped, check.discordant, check.absent) == (m, m // 2, 0, 0)


# --- in quality control ----------------------------------------------------------------------


def study(n: int = 400) -> tuple[Genotypes, np.ndarray]:
    """Dosages with columns of frequency close to 0.1, 0.25 and 0.45, and A/C or A/T by turns."""
    rng = np.random.default_rng(6)
    f = np.tile([0.1, 0.25, 0.45], 20)
    dosages = rng.binomial(2, f, (n, f.size)).astype(float)
    variants = table(*((f"rs{k}", "A", "CT"[k % 2]) for k in range(f.size)))
    return from_array(dosages, variants=variants), dosages


def panel(path: Path, genotypes: Genotypes, f: np.ndarray) -> Path:
    """A .frq with the frequencies f of A1."""
    rows = zip(genotypes.variants["ID"], genotypes.variants["A1"], genotypes.variants["A0"], f,
               strict=True)  # fmt: skip
    lines = [f"1 {name} {a1} {a0} {p:.6f} 1000\n" for name, a1, a0, p in rows]
    path.write_text("CHR SNP A1 A2 MAF NCHROBS\n" + "".join(lines))
    return path


def checked(genotypes: Genotypes, path: Path) -> tuple[FrequencyCheck, str]:
    """The check and what was warned of."""
    with pytest.warns(BayesLMMWarning) as caught:
        chosen = quality_control(genotypes, reference_freq=path)
    assert chosen.frequency_check is not None
    return chosen.frequency_check, "\n".join(str(one.message) for one in caught)


def test_a_flip_in_one_batch_is_seen_and_leaves_the_grm_when_excluded(tmp_path: Path) -> None:
    """b = 1/2 of the individuals: f moves by |1 - 2f|/2, 0.4 and 0.25 of the first two kinds.

    0.05 of the third is not seen. A flip in everybody (b = 1) leaves the GRM as it is.
    """
    clean, dosages = study()
    path = panel(tmp_path / "ref.frq", clean, np.tile([0.1, 0.25, 0.45], 20))
    batch, whole = dosages.copy(), dosages.copy()
    hit = np.arange(30, 60)
    batch[200:, hit] = 2 - batch[200:, hit]
    whole[:, hit] = 2 - whole[:, hit]
    check, words = checked(from_array(batch, variants=clean.variants), path)
    seen = [f"rs{k}" for k in hit if k % 3 != 2]
    assert check.doubtful == tuple(seen)
    assert (check.compared, check.discordant) == (60, 20)
    assert "20 of 60 variants differ from the reference by more than 0.2" in words
    # both flips are of the same variants, and only the batch's changes the GRM
    K, broken, same = (
        grm(from_array(one, variants=clean.variants)).matrix for one in (dosages, batch, whole)
    )
    np.testing.assert_allclose(same, K, atol=1e-12)
    assert np.abs(broken - K).max() > 0.1
    left = ~clean.variants["ID"].isin([f"rs{k}" for k in hit]).to_numpy()
    (tmp_path / "out").write_text("\n".join(f"rs{k}" for k in hit))
    kept = quality_control(from_array(batch, variants=clean.variants), exclude=tmp_path / "out")
    np.testing.assert_allclose(
        grm(kept).matrix, grm(clean.select(variants=left)).matrix, atol=1e-12
    )
    # a flip in everybody: f near 1 - f_r, of A/T perhaps the strand
    check, words = checked(from_array(whole, variants=clean.variants), path)
    assert check.discordant == 20  # 0.45 against 0.55 cannot be seen
    assert check.maybe_flipped == 10
    assert "(10 of them, A/T or C/G with nearly 1 - f there, may be flipped" in words


def test_what_agrees_is_counted_and_nothing_is_warned_of(tmp_path: Path) -> None:
    """(Warnings are errors.) Nothing changes but the ledger's last step."""
    genotypes, dosages = study()
    path = panel(tmp_path / "ref.frq", genotypes, dosages.mean(axis=0) / 2)
    plain, chosen = quality_control(genotypes), quality_control(genotypes, reference_freq=path)
    assert plain.frequency_check is None
    check = chosen.frequency_check
    assert check is not None
    assert check.facts() == {
        "path": str(path), "variants": 60, "absent": 0, "other_alleles": 0, "no_frequency": 0,
        "compared": 60, "swapped": 0, "other_strand": 0, "discordant": 0, "maybe_flipped": 0,
        "doubtful": [],
    }  # fmt: skip
    pd.testing.assert_frame_equal(plain.variants, chosen.variants)
    assert chosen.ledger.steps[:-1] == plain.ledger.steps
    last = chosen.ledger.steps[-1]
    assert (last.unit, last.dropped, last.remaining) == ("variants", 0, 60)
    assert last.reason == str(check)
    assert last.reason == (
        "allele frequencies of 60 variants compared with ref.frq (0 have the alleles swapped, 0 "
        "are on the other strand): 0 differ by more than 0.2; 0 have other alleles there, 0 are "
        "not in it"
    )
    assert chosen.select(variants=[0]).frequency_check is check  # it is kept


def test_only_variants_that_are_analysed_count(tmp_path: Path) -> None:
    """rs1 is excluded, rs0 and rs3 are too rare."""
    genotypes, dosages = study()
    f = dosages.mean(axis=0) / 2
    f[:2] = 1 - f[:2]
    path = panel(tmp_path / "ref.frq", genotypes, f)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4] + lines[5:]))  # without rs3
    (tmp_path / "no").write_text("rs1\n")
    chosen = quality_control(genotypes, reference_freq=path, exclude=tmp_path / "no", maf=0.2)
    check = chosen.frequency_check
    assert check is not None
    assert chosen.m == 39
    assert (check.variants, check.compared, check.absent, check.discordant) == (39, 39, 0, 0)


def test_a_difference_that_is_no_flip_is_not_said_to_be_one(tmp_path: Path) -> None:
    """A/T, f = 0.1 and f_r = 0.7: 1 - f_r = 0.3 is 0.2 away."""
    genotypes, dosages = study()
    f = dosages.mean(axis=0) / 2
    here, f[3] = f[3], 0.7
    check, words = checked(genotypes, panel(tmp_path / "ref.frq", genotypes, f))
    assert (check.discordant, check.maybe_flipped) == (1, 0)
    assert f"rs3 A/T (column 4, ref.frq:5): A {here:.3f}, there 0.700. Nothing" in words
    assert "flipped, which" not in words


def test_one_pass_over_the_genotypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genotypes, dosages = study()
    path = panel(tmp_path / "ref.frq", genotypes, dosages.mean(axis=0) / 2)
    passes = []
    read = ArrayReader.read

    def counted(self: ArrayReader, *args: object, **more: object) -> object:
        passes.append(1)
        return read(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ArrayReader, "read", counted)
    quality_control(genotypes, reference_freq=path)
    assert len(passes) == 1


def test_bad_references_are_refused_before_the_genotypes_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genotypes, _ = study()
    monkeypatch.setattr(ArrayReader, "read", lambda *_, **__: pytest.fail("read"))
    (tmp_path / "ref.frq").write_text("CHR SNP A1 A2 MAF NCHROBS\n1 rs0 A C 2 10\n")
    with pytest.raises(InputError, match=r"ref\.frq:2:MAF"):
        quality_control(genotypes, reference_freq=tmp_path / "ref.frq")


def test_what_the_warning_says(tmp_path: Path) -> None:
    """First five of each kind, with the lines of both files."""
    genotypes, dosages = study()
    write_plink1(genotypes, tmp_path / "x")
    f = dosages.mean(axis=0) / 2
    lines = panel(tmp_path / "ref.frq", genotypes, f).read_text().splitlines()
    for k in (1, 3, 4, 6, 7, 9, 10):  # f = 0.25, 0.1, 0.25 ...
        lines[k + 1] = re.sub(r"0\.\d+", f"{1 - f[k]:.3f}", lines[k + 1])
    lines[21] = "1 rs20 A G 0.5 10"
    lines[31] = "1 rs30 G T 0.9 10"  # A/C on the other strand, swapped: 0.1 of T
    lines[41] = "1 rs40 A C NA 0"
    (tmp_path / "ref.frq").write_text("\n".join(lines[:-2]) + "\n")
    check, words = checked(read_genotypes(tmp_path / "x"), tmp_path / "ref.frq")
    assert (check.variants, check.compared, check.absent, check.other_alleles) == (60, 56, 2, 1)
    assert (check.no_frequency, check.other_strand, check.swapped) == (1, 1, 1)
    assert (check.discordant, check.maybe_flipped) == (7, 4)
    assert check.doubtful == ("rs1", "rs3", "rs4", "rs6", "rs7", "rs9", "rs10", "rs20")
    assert str(check).endswith("1 have other alleles there, 2 are not in it, 1 have no frequency "
                               "there")  # fmt: skip
    first = f"rs1 A/T (x.bim:2, ref.frq:3): A {f[1]:.3f}, there {1 - f[1]:.3f} (other strand?); "
    assert f"{tmp_path}/ref.frq: 7 of 56 variants differ from the reference by more than" in words
    assert f"alleles cannot show): {first}rs3 A/T (x.bim:4, ref.frq:5)" in words
    assert f"rs4 A/C (x.bim:5, ref.frq:6): A {f[4]:.3f}" in words
    assert "(alleles exchanged?)" in words
    assert "rs7 A/T" in words
    assert "; .... 1 have other alleles there: rs20 A/C (x.bim:21, ref.frq:22): there A/G." in words
    assert "rs9 " not in words  # five are shown
    assert "1 have the alleles of the other strand there: rs30 A/C (x.bim:31, ref.frq:32)." in words
    assert "Nothing was dropped or changed." in words
    assert "one flipped in a batch, or wrong in another way, does -> compare the batches" in words
    assert words.count("\n") == 0


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    genotypes, _ = study()
    (tmp_path / "ref.frq").write_text("CHR SNP A1 A2 MAF NCHROBS\n1 rs0 A C NA 0\n")
    check, words = checked(genotypes, tmp_path / "ref.frq")
    assert (check.compared, check.no_frequency, check.absent) == (0, 1, 59)
    assert "ref.frq: none of the variants kept could be compared. Nothing was dropped" in words


@needs_plink2
def test_the_line_in_a_pvar_counts_its_header(tmp_path: Path) -> None:
    (tmp_path / "x.vcf").write_text(VCF)
    plink2("--vcf", tmp_path / "x.vcf", "--make-pgen", "--out", tmp_path / "x")
    genotypes = read_genotypes(tmp_path / "x")
    assert genotypes.m == 3  # rs4 is dropped
    lines = (tmp_path / "x.pvar").read_text().splitlines()
    chosen = genotypes.select(variants=[1])
    number = int(chosen.place(0).removeprefix("x.pvar:"))
    assert "rs2" in lines[number - 1]
    assert number > 2
    assert study()[0].select(variants=[7]).place(0) == "column 8"


# --- on the command line ---------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """x.bed, .bim, .fam, x.pheno, and ref.frq with five discordant variants."""
    genotypes, dosages = study(60)
    write_plink1(genotypes, tmp_path / "x")
    f = dosages.mean(axis=0) / 2
    f[[0, 3, 6, 9, 12]] = 0.9
    panel(tmp_path / "ref.frq", genotypes, f)
    y = np.random.default_rng(2).normal(size=60)
    rows = [
        f"{fid} {iid} {v:.4f}\n" for (fid, iid), v in zip(genotypes.individuals, y, strict=True)
    ]
    (tmp_path / "x.pheno").write_text("FID IID y\n" + "".join(rows))
    return tmp_path


COUNTS = (
    "allele frequencies of 60 variants compared with ref.frq (0 have the alleles swapped, 0 are on "
    "the other strand): 5 differ by more than 0.2; 0 have other alleles there, 0 are not in it"
)


def test_grm_tells_and_keeps_the_counts(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["grm", "--bfile", f"{files}/x", "--out"]
    assert main([*command, f"{files}/plain"]) == 0
    assert main([*command, f"{files}/out", "--reference-freq", f"{files}/ref.frq"]) == 0
    err = capsys.readouterr().err
    assert err.count(COUNTS) == 1
    assert f"warning: {files}/ref.frq: 5 of 60 variants differ from the reference by more" in err
    record = json.loads((files / "out.grm.run.json").read_text())
    check = record["frequency_check"]
    assert (check["compared"], check["discordant"]) == (60, 5)
    assert check["doubtful"] == ["rs0", "rs3", "rs6", "rs9", "rs12"]
    assert record["ledger"][-1]["reason"] == COUNTS
    read = {one["path"]: one["sha256"] for one in record["inputs"]}
    assert read[f"{files}/ref.frq"] == sha256(files / "ref.frq")
    assert len(record["warnings"]) == 1
    assert "frequency_check" not in json.loads((files / "plain.grm.run.json").read_text())
    same = [(files / f"{name}.grm.bin").read_bytes() for name in ("plain", "out")]
    assert same[0] == same[1]  # nothing is changed for it


def test_h2_tells_and_keeps_the_counts(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["h2", "--bfile", f"{files}/x", "--pheno", f"{files}/x.pheno", "--draws", "400"]
    main([*command, "--out", f"{files}/out", "--reference-freq", f"{files}/ref.frq"])
    err = capsys.readouterr().err
    assert err.count(COUNTS) == 1
    record = json.loads((files / "out.run.json").read_text())
    assert record["frequency_check"]["discordant"] == 5
    assert COUNTS in [step["reason"] for step in record["traits"]["y"]["ledger"]]
    assert [one["path"] for one in record["inputs"]].count(f"{files}/ref.frq") == 1
    page = " ".join((files / "out.html").read_text().split())
    assert f'<th scope="row">{COUNTS}</th>' in page
    assert "5 of 60 variants differ from the reference by more than 0.2" in page


def test_where_the_option_is(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command that opens genotypes has it; a matrix has no frequencies."""
    parser = build_parser()
    base = ["--bfile", "x", "--out", "x", "--reference-freq", "ref"]
    for words in (["grm"], ["h2"], ["compare", "--models", "a,b"]):
        assert parser.parse_args([*words, *base]).reference_freq == "ref"
    command = ["h2", "--grm", "x", "--pheno", "x", "--out", "x", "--reference-freq", "ref"]
    assert main(command) == 2
    assert "--reference-freq with --grm -> options of genotypes only" in capsys.readouterr().err
    assert main(["grm", "--bfile", f"{files}/x", "--out", "x", "--reference-freq", "none"]) == 2
    assert "error: none: no such file" in capsys.readouterr().err
