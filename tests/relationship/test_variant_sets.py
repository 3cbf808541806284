"""Sets of variants: names, edges, LD scores, files, and what they refuse."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.genotypes.genotypes import Genotypes, from_array
from bayeslmm.relationship.ld_scores import ld_scores
from bayeslmm.relationship.variant_sets import (
    VariantSets,
    by_chromosome,
    by_file,
    by_ld,
    by_maf,
    choose_sets,
)


def genotypes(n: int = 100, m: int = 120, *, low: float = 0.1, **columns: object) -> Genotypes:
    rng = np.random.default_rng(1)
    dosages = rng.binomial(2, rng.uniform(low, 0.9, m), (n, m))
    table = {"CHROM": "1", "POS": np.arange(1, m + 1) * 50_000, "ID": [f"v{k}" for k in range(m)]}
    return from_array(dosages, variants=pd.DataFrame(table | {"A1": "A", "A0": "C"} | columns))


def with_counts(counts: list[int], n: int = 100) -> Genotypes:
    """Variants with these numbers of A1 alleles."""
    dosages = np.zeros((n, len(counts)), np.int8)
    for k, count in enumerate(counts):
        dosages[: count // 2, k] = 2
        dosages[count // 2, k] += count % 2
    return from_array(dosages)


def test_by_chromosome_has_one_name_for_one_chromosome() -> None:
    chromosomes = np.repeat(["chr2", "2", "01", "X"], 30)
    sets = by_chromosome(genotypes(CHROM=chromosomes))
    assert sets.names == ("chr2", "chr1", "chrX")
    assert sets.counts == [60, 30, 30]
    np.testing.assert_array_equal(sets.codes, np.repeat([0, 1, 2], [60, 30, 30]))
    assert sets.unassigned == 0


def test_bins_of_frequency_have_their_upper_edge_and_the_first_its_lower_one() -> None:
    # of 200 alleles: 0.005 0.005 | 0.01 0.05 | 0.055 0.1 | 0.45 0.5 (0.55 and 0.945 are minor)
    found = with_counts([1, 1, 2, 10, 11, 180, 110, 100, 0])
    sets = by_maf(found)
    assert sets.names == ("maf(0,0.01)", "maf[0.01,0.05]", "maf(0.05,0.1]", "maf(0.4,0.5]")
    assert sets.codes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, -1]
    assert sets.notes == ("no variant, and no kernel, in maf(0.1,0.2], maf(0.2,0.3], maf(0.3,0.4]",)
    assert sets.unassigned == 1  # monomorphic
    assert "maf(0.05,0.1]: 2 variants" in str(sets)
    assert "in no set: 1 variants" in str(sets)


def test_given_edges_leave_out_what_is_beyond_and_say_what_is_empty() -> None:
    found = with_counts([1, 2, 10, 11, 20, 100])
    sets = by_maf(found, edges=[0.01, 0.05, 0.1])
    assert sets.codes.tolist() == [-1, 0, 0, 1, 1, -1]
    with pytest.warns(BayesLMMWarning, match=r"no kernel, in maf\(0\.1,0\.4\]"):
        by_maf(with_counts([1, 2, 3]), edges=[0.0, 0.1, 0.4])
    with pytest.raises(InputError, match="no variant in any set"):
        by_maf(found, edges=[0.3, 0.4])
    with pytest.raises(InputError, match=r"1 variants in the set 'maf\(0\.1,0\.5\]'"):
        by_maf(found, edges=[0.0, 0.1, 0.5])


@pytest.mark.parametrize(
    "edges", [[0.1], [0.2, 0.1], [0.1, 0.1], [-0.1, 0.5], [0.1, 0.6], [np.nan]]
)
def test_wrong_edges_are_refused(edges: list[float]) -> None:
    with pytest.raises(InputError, match=r"two or more, increasing, from 0 to 0\.5"):
        by_maf(genotypes(), edges=edges)


def test_quarters_of_the_ld_scores() -> None:
    data = genotypes(POS=np.r_[-9, np.arange(1, 120) * 50_000])
    sets = by_ld(data, window_kb=300)
    scores = ld_scores(data, window_kb=300)
    assert sets.names == ("ld1", "ld2", "ld3", "ld4")
    assert sets.codes[0] == -1
    assert max(sets.counts) - min(sets.counts) <= 1
    top = [scores[sets.codes == code].max() for code in range(4)]
    bottom = [scores[sets.codes == code].min() for code in range(4)]
    assert all(high < low for high, low in zip(top[:-1], bottom[1:], strict=True))
    assert sets.notes[0].startswith("edges of the LD scores: ")
    assert by_ld(data, bins=2).names == ("ld1", "ld2")
    with pytest.raises(InputError, match="1 bins"):
        by_ld(data, bins=1)
    with pytest.raises(InputError, match="none of the 120 variants has a position"):
        by_ld(genotypes(POS=0))


@pytest.mark.parametrize("header", ["", "ID GROUP\n", "#whatever\tgroup\n", "SNP set\n"])
def test_by_file_in_the_order_of_the_file(tmp_path: Path, header: str) -> None:
    path = tmp_path / "groups"
    path.write_text(header + "".join(f"v{k}\t{'ab'[k % 2]}\n" for k in range(119, -1, -1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sets = by_file(genotypes(), path)
    assert sets.names == ("b", "a")
    np.testing.assert_array_equal(sets.codes, (np.arange(120) + 1) % 2)
    assert str(path) in sets.how


def test_a_variant_may_have_the_name_of_a_header(tmp_path: Path) -> None:
    path = tmp_path / "groups"
    path.write_text("snp a\nv1 a\n")
    names = ["snp", *(f"v{k}" for k in range(1, 120))]
    with pytest.warns(BayesLMMWarning, match="118 of 120 variants are in no group"):
        assert by_file(genotypes(ID=names), path).counts == [2]


def test_what_a_file_does_not_know_and_what_the_genotypes_do_not(tmp_path: Path) -> None:
    path = tmp_path / "groups"
    path.write_text("v1 a\nv2 a\nother b\n")
    with pytest.warns(BayesLMMWarning) as seen:
        sets = by_file(genotypes(), path)
    texts = " ".join(str(one.message) for one in seen)
    assert "1 of 3 variants are not among the genotypes" in texts
    assert "118 of 120 variants are in no group" in texts
    assert "no variant, and no kernel, in b" in texts
    assert sets.names == ("a",)
    assert sets.unassigned == 118


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v1 a\nv2\n", ":2: 1 columns -> two columns"),
        ("v1 a\n\nv2 a\n", ":2: a blank line"),
        ("v1 a\nv2 a\nv1 b\n", ":3: v1 as in line 1 -> every variant once"),
        ("", "no rows"),
        ("ID GROUP\n", "no rows"),
        ("x a\ny a\n", "none of its 2 variants is among"),
        ("v1 a\nv2 a\nv3 b\n", "1 variants in the set 'b'"),
    ],
)
@pytest.mark.filterwarnings("ignore::bayeslmm.errors.BayesLMMWarning")
def test_bad_files_are_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "groups"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        by_file(genotypes(), path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_id_that_two_variants_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups"
    path.write_text("v2 a\nv1 a\n")
    names = ["v1", "v1", *(f"v{k}" for k in range(2, 120))]
    with pytest.raises(InputError, match=r"groups:2: v1 occurs more than once among the variants"):
        by_file(genotypes(ID=names), path)


def test_sets_in_words(tmp_path: Path) -> None:
    data = genotypes(CHROM=np.repeat(["1", "2"], 60))
    assert choose_sets(data, "chromosome").names == ("chr1", "chr2")
    assert choose_sets(data, "maf").how == "by minor allele frequency"
    assert choose_sets(data, "maf:0.05,0.25,0.5").names == ("maf[0.05,0.25]", "maf(0.25,0.5]")
    assert choose_sets(data, "ld:2").names == ("ld1", "ld2")
    assert len(choose_sets(data, "ld").names) == 4
    for bad in ("maf:a,b", "ld:x"):
        with pytest.raises(InputError, match="numbers after the colon"):
            choose_sets(data, bad)
    with pytest.raises(InputError, match="no such file"):
        choose_sets(data, str(tmp_path / "chromosomes"))


@pytest.mark.parametrize(
    ("names", "codes", "message"),
    [
        (("a", "a"), [0, 0, 1, 1], "different names"),
        ((), [-1, -1], "different names"),
        (("a",), [0, 1, 0], "each -1 to 0"),
        (("a",), [], "each -1 to 0"),
        (("a", "b"), [0, 0, 1, -1], "1 variants in the set 'b'"),
    ],
)
def test_sets_that_are_none(names: tuple[str, ...], codes: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        VariantSets(names, np.array(codes, dtype=np.intp))
