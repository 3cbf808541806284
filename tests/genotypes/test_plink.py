"""PLINK 1 and 2 files: what is read, and what each damaged file is told."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.genotypes.genotypes import Genotypes, read_genotypes
from bayeslmm.genotypes.plink_tables import (
    read_bim,
    read_fam,
    read_fam_phenotypes,
    read_psam,
    read_pvar,
)

CODE = {2: 0b00, -9: 0b01, 1: 0b10, 0: 0b11}  # of copies of A1, from the PLINK 1 specification
RNG = np.random.default_rng(3)
N, M = 6, 12
DOSAGES = RNG.choice([0, 1, 2, -9], size=(M, N), p=[0.4, 0.3, 0.2, 0.1])  # (variants, people)
DOSAGES[0] = [2, 1, 0, -9, 0, 1]


def bed_bytes(dosages: np.ndarray) -> bytes:
    """Encode by the letter of the specification, independently of the package."""
    out = bytearray(b"\x6c\x1b\x01")
    for row in dosages:
        for start in range(0, len(row), 4):
            byte = 0
            for shift, value in enumerate(row[start : start + 4]):
                byte |= CODE[int(value)] << (2 * shift)
            out.append(byte)
    return bytes(out)


def fam_text(n: int) -> str:
    return "".join(f"F{k} I{k} 0 0 1 {k}.5\n" for k in range(1, n + 1))


def bim_text(m: int) -> str:
    return "".join(f"{1 + k % 3}\trs{k}\t0\t{100 + k}\tA\tG\n" for k in range(m))


@pytest.fixture
def bfile(tmp_path: Path) -> Path:
    prefix = tmp_path / "data"
    prefix.with_suffix(".bed").write_bytes(bed_bytes(DOSAGES))
    prefix.with_suffix(".bim").write_text(bim_text(M))
    prefix.with_suffix(".fam").write_text(fam_text(N))
    return prefix


def write_pfile(prefix: Path, dosages: np.ndarray) -> Path:
    """(m, n) float dosages in a .pgen, missing < 0."""
    from pgenlib import PgenWriter

    m, n = dosages.shape
    writer = PgenWriter(bytes(prefix.with_suffix(".pgen")), n, m, False, dosage_present=True)
    for row in dosages:
        writer.append_dosages(row.astype(np.float32))
    writer.close()
    rows = "".join(f"{1 + k % 3}\t{100 + k}\trs{k}\tG\tA\n" for k in range(m))
    prefix.with_suffix(".pvar").write_text("##source=test\n#CHROM\tPOS\tID\tREF\tALT\n" + rows)
    people = "".join(f"I{k}\t1\n" for k in range(1, n + 1))
    prefix.with_suffix(".psam").write_text("#IID\tSEX\n" + people)
    return prefix


def int8(genotypes: Genotypes, size: int = 5) -> np.ndarray:
    return np.concatenate([block for _, block in genotypes.blocks(size, np.int8)])


def float32(genotypes: Genotypes, size: int = 5) -> np.ndarray:
    return np.concatenate([block for _, block in genotypes.blocks(size)])


def fails(prefix: Path, *words: str) -> None:
    """The set is refused, and the message holds each of the words."""
    with pytest.raises(InputError) as caught:
        read_genotypes(prefix)
    for word in words:
        assert word in str(caught.value)


def edit(prefix: Path, suffix: str, old: str, new: str) -> None:
    path = prefix.with_suffix(suffix)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# what is read


def test_bed_counts_a1(bfile: Path) -> None:
    genotypes = read_genotypes(bfile)
    assert (genotypes.n, genotypes.m) == (N, M)
    np.testing.assert_array_equal(int8(genotypes), DOSAGES)
    expected = np.where(DOSAGES < 0, np.nan, DOSAGES)
    np.testing.assert_array_equal(float32(genotypes), expected)
    assert genotypes.individuals[0] == ("F1", "I1")
    first = genotypes.variants.to_dict("records")[0]
    assert first == {"CHROM": "1", "POS": 100, "ID": "rs0", "A1": "A", "A0": "G"}


def test_bed_reader_serves_where_pgenlib_is_missing(
    bfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pgenlib", None)
    genotypes = read_genotypes(bfile)
    assert type(genotypes.source.reader).__name__ == "BedReaderReader"
    np.testing.assert_array_equal(int8(genotypes), DOSAGES)
    chosen = genotypes.select([0, 2, 5], [1, 2, 7, 11])
    np.testing.assert_array_equal(int8(chosen, 3), DOSAGES[[1, 2, 7, 11]][:, [0, 2, 5]])
    np.testing.assert_array_equal(
        float32(genotypes), np.where(DOSAGES < 0, np.nan, DOSAGES).astype(np.float32)
    )


def test_pgen_without_pgenlib_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = write_pfile(tmp_path / "p", np.ones((3, 4)))
    monkeypatch.setitem(sys.modules, "pgenlib", None)
    fails(prefix, "pgenlib cannot be imported", "pip install pgenlib", "--make-bed")


def test_pgen_dosages(tmp_path: Path) -> None:
    dosages = np.array([[0.0, 1.25, 2.0, -9.0, 1.05], [1.0, 1.0, 0.5, 0.0, 2.0]])
    genotypes = read_genotypes(write_pfile(tmp_path / "p", dosages))
    expected = np.where(dosages < 0, np.nan, dosages)
    np.testing.assert_allclose(float32(genotypes), expected, atol=2**-14)
    np.testing.assert_array_equal(int8(genotypes), [[0, -9, 2, -9, 1], [1, 1, -9, 0, 2]])
    assert genotypes.individuals.tolist()[:2] == [("0", "I1"), ("0", "I2")]
    assert genotypes.variants[["A1", "A0"]].to_numpy()[0].tolist() == ["A", "G"]
    assert not genotypes.source.hard_calls


def test_pgen_scattered_selection(tmp_path: Path) -> None:
    dosages = RNG.integers(0, 3, size=(20, 9)).astype(float)
    genotypes = read_genotypes(write_pfile(tmp_path / "p", dosages))
    chosen = genotypes.select(individuals=[8, 1], variants=[0, 3, 4, 19])
    np.testing.assert_array_equal(float32(chosen, 3), dosages[[0, 3, 4, 19]][:, [1, 8]])


def test_multiallelic_variants_are_dropped_and_counted(tmp_path: Path) -> None:
    from pgenlib import PgenWriter

    prefix = tmp_path / "p"
    writer = PgenWriter(bytes(prefix.with_suffix(".pgen")), 3, 3, False, allele_ct_limit=3)
    for alleles, count in (
        ([0, 0, 0, 1, 1, 1], 2),
        ([0, 1, 1, 2, 2, 2], 3),
        ([1, 1, 0, 1, 0, 0], 2),
    ):
        writer.append_alleles(np.array(alleles, np.int32), allele_ct=count)
    writer.close()
    prefix.with_suffix(".pvar").write_text(
        "#CHROM POS ID REF ALT\n1 1 a G A\n1 2 b G A,T\n1 3 c G A\n"
    )
    prefix.with_suffix(".psam").write_text("#FID IID\nf 1\nf 2\nf 3\n")
    genotypes = read_genotypes(prefix)
    np.testing.assert_array_equal(int8(genotypes), [[0, 1, 2], [2, 1, 0]])
    assert genotypes.variants["ID"].tolist() == ["a", "c"]
    (step,) = genotypes.ledger.steps
    assert (step.dropped, step.remaining, step.examples) == (1, 2, ("b",))
    assert step.reason == "more than two alleles"


def test_windows_line_ends_and_byte_order_mark(bfile: Path) -> None:
    for suffix in (".bim", ".fam"):
        path = bfile.with_suffix(suffix)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    genotypes = read_genotypes(bfile)
    assert genotypes.individuals[0] == ("F1", "I1")
    assert genotypes.variants["CHROM"][0] == "1"
    assert genotypes.variants["A0"][0] == "G"


def test_any_file_of_the_set_names_it(bfile: Path) -> None:
    for suffix in ("", ".bed", ".bim", ".fam"):
        assert read_genotypes(str(bfile) + suffix).m == M


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#FID IID SEX\nf a 1\nf b 2\n", [("f", "a"), ("f", "b")]),
        ("##note\n#IID SEX\na 1\nb 2\n", [("0", "a"), ("0", "b")]),
        ("f a 0 0 1\nf b 0 0 2\n", [("f", "a"), ("f", "b")]),
    ],
)
def test_psam_headers(tmp_path: Path, text: str, expected: list[tuple[str, str]]) -> None:
    path = tmp_path / "x.psam"
    path.write_text(text)
    assert read_psam(path).tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        "##a\n#CHROM POS ID REF ALT QUAL\n1 5 rs1 G A .\n",
        "1 rs1 0 5 A G\n",
        "1 rs1 5 A G\n",
    ],
)
def test_pvar_headers(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.pvar"
    path.write_text(text)
    variants, alleles = read_pvar(path)
    assert variants.to_numpy()[0].tolist() == ["1", 5, "rs1", "A", "G"]
    assert alleles.tolist() == [2]


def test_fam_phenotypes(tmp_path: Path) -> None:
    path = tmp_path / "x.fam"
    path.write_text("f a 0 0 1 1.5 NA\nf b 0 0 1 -9 2e3\nf c 0 0 1 0 nan\n")
    table = read_fam_phenotypes(path)
    assert table.columns.tolist() == ["pheno1", "pheno2"]
    assert table.index.names == ["FID", "IID"]
    np.testing.assert_array_equal(table, [[1.5, np.nan], [np.nan, 2000.0], [0.0, np.nan]])


@pytest.mark.parametrize("value", ["high", "inf"])
def test_fam_phenotypes_are_numbers(tmp_path: Path, value: str) -> None:
    path = tmp_path / "x.fam"
    path.write_text(f"f a 0 0 1 1 2\nf b 0 0 1 3 {value}\n")
    with pytest.raises(InputError, match=rf"x\.fam:2:7: phenotype '{value}' -> a finite number"):
        read_fam_phenotypes(path)


# damaged .bed files


def test_wrong_magic(bfile: Path) -> None:
    bfile.with_suffix(".bed").write_bytes(b"PK\x03" + bed_bytes(DOSAGES)[3:])
    fails(bfile, "data.bed", "offset 0 holds 50 4b 03", "6c 1b 01")


def test_sample_major(bfile: Path) -> None:
    bfile.with_suffix(".bed").write_bytes(b"\x6c\x1b\x00" + bed_bytes(DOSAGES)[3:])
    fails(bfile, "sample-major", "re-make with plink2 --make-bed")


@pytest.mark.parametrize("change", [-1, 1, -2, 2])
def test_truncated_or_extra_bytes(bfile: Path, change: int) -> None:
    data = bed_bytes(DOSAGES)
    bfile.with_suffix(".bed").write_bytes(data[:change] if change < 0 else data + b"\0" * change)
    fails(bfile, f"{len(data) + change} bytes", f"{len(data)} bytes = 3 + {M} variants of data.bim")


@pytest.mark.parametrize("suffix", [".bed", ".bim", ".fam"])
def test_files_of_size_zero(bfile: Path, suffix: str) -> None:
    bfile.with_suffix(suffix).write_bytes(b"")
    fails(bfile, f"data{suffix}", "empty" if suffix == ".bed" else "no rows")


@pytest.mark.parametrize("change", [-1, 1])
def test_bim_of_another_set(bfile: Path, change: int) -> None:
    bfile.with_suffix(".bim").write_text(bim_text(M + change))
    fails(bfile, f"{M} variants ->", f"{M + change} variants of data.bim", "data.fam")


@pytest.mark.parametrize("size", [5, 7, 8])
def test_fam_with_rows_too_few_or_too_many(bfile: Path, size: int) -> None:
    """The same ceil(n / 4): no size check sees it, and bed-reader accepts it."""
    bfile.with_suffix(".fam").write_text(fam_text(size))
    if size < N:
        fails(bfile, "data.fam has 5 rows", "padding bits", "rows are missing from the .fam")
    else:
        fails(bfile, f"individual {size}, the last of data.fam", "code 00", "extra rows")


def test_padding_is_checked_in_every_variant(bfile: Path) -> None:
    dosages = np.full((M, 6), 2)
    dosages[:, :5] = DOSAGES[:, :5]
    dosages[-1, 5] = 0  # only the last variant shows that there is a sixth individual
    bfile.with_suffix(".bed").write_bytes(bed_bytes(dosages))
    assert read_genotypes(bfile).n == 6
    bfile.with_suffix(".fam").write_text(fam_text(5))
    fails(bfile, "padding bits that are 0 after individual 5 in each of the 12 variants")


def test_few_variants_cannot_tell_padding_from_genotypes(bfile: Path) -> None:
    dosages = DOSAGES[:3].copy()
    dosages[:, -1] = 2
    bfile.with_suffix(".bed").write_bytes(bed_bytes(dosages))
    bfile.with_suffix(".bim").write_text(bim_text(3))
    with pytest.warns(BayesLMMWarning, match="code 00 .* in all 3 variants; perhaps the .fam"):
        read_genotypes(bfile)


def test_last_individual_may_be_homozygous_in_a_byte_of_its_own(bfile: Path) -> None:
    """With n % 4 == 1 the size of the file shows an extra row, so this is data."""
    dosages = DOSAGES[:, :5].copy()
    dosages[:, -1] = 2
    bfile.with_suffix(".bed").write_bytes(bed_bytes(dosages))
    bfile.with_suffix(".fam").write_text(fam_text(5))
    np.testing.assert_array_equal(int8(read_genotypes(bfile)), dosages)


# damaged tables


@pytest.mark.parametrize("suffix", [".fam", ".bim"])
@pytest.mark.parametrize("where", ["middle", "last", "first"])
def test_blank_lines(bfile: Path, suffix: str, where: str) -> None:
    path = bfile.with_suffix(suffix)
    lines = path.read_text().splitlines(keepends=True)
    at = {"first": 0, "middle": 2, "last": len(lines)}[where]
    path.write_text("".join([*lines[:at], "\n", *lines[at:]]))
    fails(bfile, f"data{suffix}:{at + 1}: a blank line")


def test_wrong_number_of_columns(bfile: Path) -> None:
    edit(bfile, ".bim", "2\trs4\t0\t", "2\trs4\t")
    fails(bfile, "data.bim:5: 5 columns -> 6 columns")
    bfile.with_suffix(".bim").write_text(bim_text(M))
    edit(bfile, ".fam", "F3 I3 0 0 1 3.5", "F3 I3 0 0 1 3.5 7")
    fails(bfile, "data.fam:3: 7 columns -> 6 columns (6 or more, the same in every line)")
    bfile.with_suffix(".fam").write_text("F1 I1 0\n" * N)
    fails(bfile, "data.fam:1: 3 columns -> 6 columns")


@pytest.mark.parametrize("position", ["1.5", "x", "1e6", "٣", "-", "9" * 30])
def test_positions_are_whole_numbers(bfile: Path, position: str) -> None:
    edit(bfile, ".bim", "\t103\t", f"\t{position}\t")
    fails(bfile, f"data.bim:4:POS: position '{position}' -> base pairs, a whole number")


def test_unknown_positions_are_kept(bfile: Path) -> None:
    edit(bfile, ".bim", "\t103\t", "\t-9\t")
    assert read_genotypes(bfile).variants["POS"][3] == -9


def test_repeated_individuals(bfile: Path) -> None:
    edit(bfile, ".fam", "F5 I5", "F2 I2")
    fails(bfile, "data.fam:5: 1 repeated individuals: F2 I2 (lines 2 and 5)", "rename")


def test_first_five_repeated_individuals_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "x.fam"
    path.write_text(fam_text(8) * 2)
    with pytest.raises(InputError, match="8 repeated individuals: ") as caught:
        read_fam(path)
    assert len(re.findall(r"lines \d+ and \d+", str(caught.value))) == 5


def test_repeated_variants_warn_but_dots_do_not(bfile: Path) -> None:
    edit(bfile, ".bim", "rs3", ".")
    edit(bfile, ".bim", "rs4", ".")
    read_genotypes(bfile)
    edit(bfile, ".bim", "rs5", "rs6")
    with pytest.warns(BayesLMMWarning, match=r"1 variant IDs occur more than once \(rs6\)"):
        read_genotypes(bfile)


@pytest.mark.parametrize("suffix", [".fam", ".bim"])
def test_latin_1(bfile: Path, suffix: str) -> None:
    path = bfile.with_suffix(suffix)
    path.write_bytes(path.read_bytes().replace(b"I2" if suffix == ".fam" else b"rs2", b"\xe9", 1))
    fails(bfile, f"data{suffix}:", "byte 0xe9 at offset", "UTF-8", "iconv -f LATIN1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#CHROM ID REF ALT\n1 a G A\n", r"x\.pvar:1: header without POS"),
        ("#POS CHROM ID REF ALT\n", r"x\.pvar:1: header begins with '#POS' -> #CHROM"),
        ("#CHROM POS ID REF ALT\n1 5 a G\n", r"x\.pvar:2: 4 columns -> 5 columns"),
        ("#CHROM POS ID REF ALT\n", "no rows"),
    ],
)
def test_damaged_pvar(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.pvar"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_pvar(path)


def test_damaged_psam(tmp_path: Path) -> None:
    path = tmp_path / "x.psam"
    path.write_text("#FID SEX\nf 1\n")
    with pytest.raises(InputError, match=r"x\.psam:1: header '#?FID SEX' without IID"):
        read_psam(path)


def test_single_tables_name_a_missing_file(tmp_path: Path) -> None:
    for read in (read_fam, read_bim, read_psam, read_pvar, read_fam_phenotypes):
        with pytest.raises(InputError, match="no such file"):
            read(tmp_path / "nothing")


# sets


@pytest.mark.parametrize("suffix", [".bed", ".bim", ".fam"])
def test_missing_file_of_the_set_is_named(bfile: Path, suffix: str) -> None:
    bfile.with_suffix(suffix).unlink()
    fails(bfile, f"data{suffix}: no such file -> all of .bed, .bim, .fam")


def test_nothing_there(tmp_path: Path) -> None:
    fails(tmp_path / "nothing", "no such files", "nothing.bed .bim .fam or", "check the path")


def test_both_kinds_there(bfile: Path) -> None:
    write_pfile(bfile, np.ones((2, 4)))
    fails(bfile, "both PLINK 1 and PLINK 2 files", "--bfile or --pfile")
    assert read_genotypes(bfile, kind="bfile").m == M
    assert read_genotypes(bfile, kind="pfile").m == 2
    assert read_genotypes(str(bfile) + ".pvar").m == 2


def test_compressed_pvar(tmp_path: Path) -> None:
    prefix = write_pfile(tmp_path / "p", np.ones((2, 4)))
    prefix.with_suffix(".pvar").rename(str(prefix) + ".pvar.zst")
    fails(prefix, "p.pvar: no such file", "zstd -d", "p.pvar.zst")


@pytest.mark.parametrize(("suffix", "what"), [(".psam", "individuals"), (".pvar", "variants")])
def test_pgen_counts(tmp_path: Path, suffix: str, what: str) -> None:
    prefix = write_pfile(tmp_path / "p", np.ones((3, 4)))
    path = prefix.with_suffix(suffix)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    fails(prefix, "p.pgen", "4 individuals and 3 variants", what, "written together")


@pytest.mark.parametrize("size", [0, 2, 11, 13, -1, -20])
def test_truncated_pgen(tmp_path: Path, size: int) -> None:
    prefix = write_pfile(tmp_path / "p", RNG.uniform(0, 2, (30, 40)))
    path = prefix.with_suffix(".pgen")
    path.write_bytes(path.read_bytes()[:size])
    fails(prefix, "p.pgen", "whole" if size not in (0, 2) else "offset 0 holds")


def test_pgen_wrong_magic(tmp_path: Path) -> None:
    prefix = write_pfile(tmp_path / "p", np.ones((3, 4)))
    prefix.with_suffix(".pgen").write_bytes(b"not a pgen file at all")
    fails(prefix, "p.pgen", "offset 0 holds 6e 6f 74", "6c 1b")


def test_damage_after_opening_is_an_input_error(bfile: Path) -> None:
    genotypes = read_genotypes(bfile)
    bfile.with_suffix(".bed").write_bytes(b"")
    with pytest.raises(InputError, match="pgenlib cannot read it"):
        int8(genotypes)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, overwrite, delete, insert or repeat a few bytes."""
    at = int(rng.integers(len(data)))
    end = min(len(data), at + int(rng.integers(1, 30)))
    noise = rng.integers(0, 256, end - at, dtype=np.uint8).tobytes()
    return [
        data[:at],
        data[:at] + noise + data[end:],
        data[:at] + data[end:],
        data[:at] + noise + data[at:],
        data[:end] + data[at:],
    ][int(rng.integers(5))]


@pytest.mark.filterwarnings("ignore::bayeslmm.errors.BayesLMMWarning")
@pytest.mark.parametrize("suffix", [".bed", ".bim", ".fam", ".pgen", ".pvar", ".psam"])
def test_mutated_files_give_an_input_error_or_the_same_shape(bfile: Path, suffix: str) -> None:
    """Never a crash, another error, another shape or a number outside [0, 2]."""
    rng = np.random.default_rng(17)
    write_pfile(bfile, rng.uniform(0, 2, (M, N)))
    path = bfile.with_suffix(suffix)
    original = path.read_bytes()
    refused = 0
    for _ in range(100):
        path.write_bytes(mutate(original, rng))
        try:
            genotypes = read_genotypes(path)
            x = float32(genotypes)
        except InputError:
            refused += 1
            continue
        assert x.shape == (M, N)
        assert (np.isnan(x) | ((x >= 0) & (x <= 2))).all()
    assert refused > 50


def test_only_multiallelic_variants(tmp_path: Path) -> None:
    prefix = write_pfile(tmp_path / "p", np.ones((2, 4)))
    path = prefix.with_suffix(".pvar")
    path.write_text(path.read_text().replace("\tA\n", "\tA,T\n"))
    fails(prefix, "all 2 variants have more than two alleles", "bcftools norm")


def test_bed_under_the_name_of_a_pgen(tmp_path: Path) -> None:
    """plink2 reads it as storage mode 1, and so does pgenlib."""
    prefix = write_pfile(tmp_path / "p", np.ones((M, N)))
    prefix.with_suffix(".pgen").write_bytes(bed_bytes(DOSAGES))
    np.testing.assert_array_equal(int8(read_genotypes(prefix)), DOSAGES)


def test_bed_reader_errors_are_input_errors(bfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pgenlib", None)
    genotypes = read_genotypes(bfile)
    assert genotypes.source.name == str(bfile) + ".bed"
    bfile.with_suffix(".bed").write_bytes(bed_bytes(DOSAGES)[:9])
    with pytest.raises(InputError, match="bed-reader cannot read it"):
        int8(genotypes)


def test_pvar_of_comments_only(tmp_path: Path) -> None:
    path = tmp_path / "x.pvar"
    path.write_text("##one\n##two\n")
    with pytest.raises(InputError, match="no rows -> one row or more"):
        read_pvar(path)
