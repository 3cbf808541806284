"""Damaged files: mutants of every format, text of every kind for the parsers, and past finds.

The mutation fuzzer itself is in tests/fuzz (its README tells how to run it for longer).
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fuzz.formats import BY_NAME
from fuzz.run import fuzz, mutant, write
from fuzz.seeds import SEEDS, npz_bomb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayeslmm.cli import outputs
from bayeslmm.cohort.records import read_records
from bayeslmm.errors import BayesLMMError, BayesLMMWarning, InputError
from bayeslmm.genotypes.plink_tables import (
    read_bim,
    read_fam,
    read_fam_phenotypes,
    read_psam,
    read_pvar,
)
from bayeslmm.individuals import individual_index
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.relationship.files import read_grm, read_grm_ids
from bayeslmm.relationship.pedigree.pedigree import read_pedigree
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.system import hdf5
from bayeslmm.tables.phenotypes import read_covariates, read_ids, read_phenotypes
from bayeslmm.tables.values import MISSING

EACH = 125  # mutants of each of the 19 formats: 2 375


def assert_all_refused_or_read(cases: int, start: int = 0) -> None:
    tallies = fuzz(list(BY_NAME), cases, start)
    bad = [one for tally in tallies.values() for one in tally.bad]
    assert not bad, bad[:5]
    for name, tally in tallies.items():
        assert tally.counts.total() == cases
        assert tally.counts["refused"] > 0.2 * cases, name  # the mutators do damage it
        assert tally.counts["read"] > 0.02 * cases, name  # and do not always
    names = ("pheno", "covar", "records", "pedigree", "afreq", "frq", "freq")
    tables = [tallies[name] for name in names]
    lines = sum(tally.lines for tally in tables)
    assert lines > 0.9 * sum(tally.counts["refused"] for tally in tables)


def test_two_thousand_mutants_are_read_or_refused_in_words() -> None:
    assert_all_refused_or_read(EACH)


@pytest.mark.slow
def test_a_hundred_thousand_mutants_are_read_or_refused_in_words() -> None:
    assert_all_refused_or_read(5300, start=1_000_000)


def test_mutants_can_be_made_again() -> None:
    for format in BY_NAME.values():
        first, changed = mutant(format, 7)
        again, _ = mutant(format, 7)
        assert first == again
        assert changed
        assert all(first.get(name) != SEEDS[format.name]()[name] for name in changed)


def test_the_fuzzer_sees_a_reader_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The five kinds of bug are found when they are there."""
    import fuzz.formats as formats
    import fuzz.run as run

    def outcome(read: Callable[[Path], tuple[int, ...]]) -> str:
        one = formats.Format("pheno", read, lambda files, changed: (6,))
        with tempfile.TemporaryDirectory() as folder:
            return run.run_one(one, 0, Path(folder)).kind

    def raises(error: Exception) -> Callable[[Path], tuple[int, ...]]:
        def read(prefix: Path) -> tuple[int, ...]:
            raise error

        return read

    def takes(prefix: Path) -> tuple[int, ...]:
        np.ones(30 << 20)
        raise InputError("found", "expected", "fix", path=prefix)

    assert outcome(raises(ValueError("x"))) == "other error"
    assert outcome(raises(InputError("found", "expected", "fix"))) == "no file named"
    assert outcome(lambda prefix: (99,)) == "shape"
    assert outcome(takes) == "memory"
    monkeypatch.setattr(run, "HANG_CPU", -1.0)
    assert outcome(lambda prefix: (6,)) == "hang"


# --- text of every kind for the parsers ------------------------------------------------------

FIELD = st.one_of(
    st.sampled_from(
        ["FID", "IID", "#IID", "#FID", "id", "sire", "dam", "a", "b", "NA", "0", "-9", ".", "1.5",
         "1e999", "nan", "inf", "0x1", "1_0", '"a"', "<b>", "=1+1", "٣", "é", "\u202e", "\u00a0"]
    ),
    st.text(max_size=4),
    st.integers().map(str),
    st.floats().map(str),
)  # fmt: skip
LINE = st.builds(
    lambda separator, fields: separator.join(fields),
    st.sampled_from([" ", "\t", ",", "  "]),
    st.lists(FIELD, max_size=7),
)
TEXT = st.one_of(
    st.builds(
        lambda end, lines, bom: (bom + end.join(lines)).encode(errors="surrogatepass"),
        st.sampled_from(["\n", "\r\n", "\r"]),
        st.lists(LINE, max_size=6),
        st.sampled_from(["", "", "\ufeff"]),
    ),
    st.binary(max_size=60),
)
PARSERS: dict[str, Callable[[Path], object]] = {
    "pheno": read_phenotypes,
    "covar": lambda path: read_covariates(path, categorical=["a"]),
    "keep": read_ids,
    "records": lambda path: read_records(path, "id"),
    "pedigree": read_pedigree,
    "fam": read_fam,
    "fam phenotypes": read_fam_phenotypes,
    "bim": read_bim,
    "psam": read_psam,
    "pvar": read_pvar,
    "ids": read_grm_ids,
}


@pytest.mark.parametrize("name", list(PARSERS))
@settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=TEXT)
def test_any_text_is_parsed_or_refused_with_its_file(
    name: str, tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesLMMWarning)
        message = ""
        try:
            PARSERS[name](path)
        except BayesLMMError as error:
            message = str(error)
    if message:
        assert message.startswith(f"{path}:")
        assert message.count(" -> ") >= 2  # found -> expected -> fix


NUMBER = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr), st.sampled_from(["NA", ".", "nan"])
)


@settings(
    max_examples=100, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    names=st.lists(st.from_regex(r"[A-Za-z<>'=+@é]{1,6}", fullmatch=True), min_size=1, max_size=8,
                   unique_by=str.lower),
    values=st.lists(NUMBER, min_size=8, max_size=8),
    separator=st.sampled_from(["\t", " ", ","]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)  # fmt: skip
def test_a_good_table_is_read_as_written(
    tmp_path: Path, names: list[str], values: list[str], separator: str, end: str, bom: bytes
) -> None:
    rows = [["FID", "IID", "y"]]
    rows += [["f", f"{name}_", value] for name, value in zip(names, values, strict=False)]
    path = tmp_path / "y.txt"
    path.write_bytes(bom + end.join(separator.join(row) for row in rows).encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesLMMWarning)  # -9
        found = read_phenotypes(path)
    assert found.index.tolist() == [("f", f"{name}_") for name in names]
    for got, text in zip(found["y"], values, strict=False):
        assert (math.isnan(got) and text in MISSING) or got == float(text)


# --- what the fuzzer has found ---------------------------------------------------------------


def test_a_compressed_spectrum_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A .npz of 200 kB that unpacks to 200 MB."""
    path = tmp_path / "x.npz"
    path.write_bytes(npz_bomb())
    with pytest.raises(InputError, match=r"x\.npz: not a spectrum file \(.* is compressed\)"):
        Spectrum.load(path)


def npz(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"{name}.npy", data)
    return out.getvalue()


@pytest.mark.parametrize("shape", ["(1000000, 1000000)", "(-1,)", "(0, -5)", "(3,)"])
def test_a_spectrum_whose_header_lies_is_refused_before_memory_is_taken(
    tmp_path: Path, shape: str
) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (117 - len(header)) + "\n"
    path = tmp_path / "x.npz"
    path.write_bytes(npz("eigenvalues", b"\x93NUMPY\x01\x00\x76\x00" + header.encode() + bytes(8)))
    with pytest.raises(InputError, match=r"not a spectrum file \(eigenvalues\.npy has 136 bytes"):
        Spectrum.load(path)


def test_a_damaged_deflate_stream_is_our_error(tmp_path: Path) -> None:
    """zlib.error is no OSError: mutant 53 of the spectrum."""
    data = bytearray(SEEDS["spectrum"]()["x.npz"])
    at = data.find(b"PK\x01\x02") + 10  # the method of the first member in the directory: deflated
    data[at] = 8
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a spectrum file"):
        Spectrum.load(path)


def test_dosages_beyond_the_last_individual_are_refused(tmp_path: Path) -> None:
    """Every byte of a .pgen of six individuals by turns says: the seventh, the eighth, or both.

    In the bitmap of those who have a dosage pgenlib follows that and wrote the values into memory
    that was not its own; the process died later, or did not.
    """
    files = BY_NAME["pfile"].seed()
    good, refused = files["x.pgen"], set()
    for place, byte in product(range(len(good)), (0x40, 0x80, 0xC0)):
        bad = bytearray(good)
        bad[place] = byte
        write(files | {"x.pgen": bytes(bad)}, tmp_path)
        try:
            BY_NAME["pfile"].read(tmp_path / "x")
        except BayesLMMError as error:
            if "dosages of more than the 6 individuals" in str(error):
                refused.add(place)
    assert refused


def test_a_parent_of_five_thousand_digits(tmp_path: Path) -> None:
    """Python refuses to turn so many digits into a number: mutant 770 of the pedigree."""
    path = tmp_path / "x.ped"
    path.write_text(f"id sire dam\n1 NA NA\n2 {'1' * 5000} NA\n3 1 2\n")
    assert read_pedigree(path, "names").n == 4
    with pytest.raises(InputError, match=r"x\.ped:3:sire: the sire '1.*read as a row number"):
        read_pedigree(path, "rows")


@pytest.mark.parametrize(
    ("read", "text", "line"),
    [
        (read_pedigree, "id sire dam\na NA NA\nid sire dam\nb a NA\n", 3),
        (read_pedigree, "a NA NA\nid sire dam\nb a NA\n", 2),
        (read_ids, "FID IID\nF a\nFID IID\nF b\n", 3),
        (read_phenotypes, "IID y\na 1\nIID y\nb 2\n", 3),
    ],
)
def test_two_tables_in_one_file_are_refused_at_the_second_header(
    tmp_path: Path, read: Callable[[Path], object], text: str, line: int
) -> None:
    """The header was an individual called "id" or "IID": mutant 7 of the pedigree."""
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"x\.txt:{line}: (the|a) header .*-> one header"):
        read(path)


def test_a_pedigree_header_of_one_known_name_is_refused(tmp_path: Path) -> None:
    """It would have been an individual with two parents."""
    path = tmp_path / "x.ped"
    path.write_text("animal vater mutter\na NA NA\n")
    with pytest.raises(InputError, match=r"x\.ped:1: one known column name, 'animal'"):
        read_pedigree(path)


def test_a_matrix_near_the_largest_number_stays_finite() -> None:
    """The mean of two neighbours overflowed: mutant 1078 of .rel.bin."""
    matrix = np.full((2, 2), 1.7e308)
    matrix[0, 1] = np.nextafter(matrix[0, 1], 0)
    kernel = Relationship(matrix, individual_index(["0", "0"], ["a", "b"]))
    assert np.isfinite(kernel.matrix).all()


def test_many_ids_beside_a_short_pair_list_take_little_memory(tmp_path: Path) -> None:
    """(n, n) arrays were filled before a single pair was read: 18 bytes an ID squared."""
    import gzip

    n = 6000
    (tmp_path / "x.grm.gz").write_bytes(gzip.compress(b"1 1 10 1.0\n"))
    (tmp_path / "x.grm.id").write_text("".join(f"0\t{k}\n" for k in range(n)))
    before = _peak_reset()
    with pytest.raises(InputError, match=r"x\.grm\.gz: 1 pairs; the first missing pair is 2 1"):
        read_grm(tmp_path / "x")
    assert _status("VmHWM") - before < 150 << 20  # 9 n² are 309 MiB


@pytest.mark.parametrize("read", [read_phenotypes, lambda path: read_records(path, "c5")])
def test_very_many_columns_take_linear_time(
    tmp_path: Path, read: Callable[[Path], pd.DataFrame]
) -> None:
    """Names were looked for in a list, column by column: mutant 12206 of the phenotypes."""
    path = tmp_path / "x.txt"
    names = ["IID", *(f"c{k}" for k in range(60_000))]
    path.write_text(" ".join(names) + "\n" + " ".join(["1"] * len(names)) + "\n")
    start = time.process_time()
    assert read(path).shape == (1, 60_000)
    assert time.process_time() - start < 5


def test_a_header_of_ids_with_a_name_that_is_not_known(tmp_path: Path) -> None:
    """The families were not read: mutant 10706 of .rel.bin."""
    path = tmp_path / "x.rel.id"
    path.write_text("#FKD\tIID\nF1\tI1\n")
    with pytest.raises(InputError, match=r"x\.rel\.id:1: header '#FKD IID' -> #FID IID or #IID"):
        read_grm_ids(path)


def _status(key: str) -> int:
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(row.split()[1]) for row in rows if row.startswith(key))


def _peak_reset() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


# --- results: HDF5 is read by a child first --------------------------------------------------


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "x.nc"
    path.write_bytes(SEEDS["result"]()["x.nc"])
    return path


def test_a_whole_result_is_no_damage(result: Path) -> None:
    assert hdf5.why_damaged(result) is None
    assert outputs.read_tree(result)["posterior"]["h2"].shape == (4, 25)


def test_a_child_that_does_not_end_is_ended(result: Path) -> None:
    found = hdf5.why_damaged(result, seconds=0.01)
    assert found == "the HDF5 library does not finish within 0 s"


def test_a_child_that_is_killed_says_so(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = tmp_path / "dies.sh"
    dies.write_text("#!/bin/sh\nkill -SEGV $$\n")
    dies.chmod(0o755)
    monkeypatch.setattr(sys, "executable", os.fspath(dies))
    assert hdf5.why_damaged(result) == f"the HDF5 library is killed by signal {signal.SIGSEGV:d}"
    with pytest.raises(InputError, match=r"x\.nc: cannot be read as netCDF-4 \(the HDF5 library"):
        outputs.read_tree(result)


def test_an_array_larger_than_its_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "x.nc"
    with h5py.File(path, "w") as file:  # never written: no bytes in the file
        file.create_dataset("posterior/h2", shape=(4, 10**9), dtype="f8", chunks=(1, 1000))
    found = hdf5.why_damaged(path)
    assert found is not None
    assert "an array of shape (4, 1000000000) in a file of" in found


def test_a_result_that_its_record_vouches_for_is_not_probed(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = result.with_suffix(".run.json")
    monkeypatch.setattr(outputs, "why_damaged", lambda path: pytest.fail("probed"))
    record.write_text(json.dumps({"outputs_sha256": {"x.nc": outputs.sha256(result)}}))
    assert isinstance(outputs.read_tree(result), xr.DataTree)
    monkeypatch.setattr(outputs, "why_damaged", lambda path: None)
    record.write_text(json.dumps({"outputs_sha256": {"x.nc": "0" * 64}}))
    with pytest.warns(BayesLMMWarning, match=r"x\.nc: not the file that x\.run\.json speaks of"):
        outputs.read_tree(result)
    for text in ("[", "[]", "{}", "[" * 100_000, '{"outputs_sha256": 3}'):
        record.write_text(text)
        assert outputs.as_recorded(result) is None


def test_a_result_that_can_be_read_and_lacks_what_a_report_needs(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The seed of the fuzzer is such a file."""
    from bayeslmm.cli import main

    assert main(["report", str(result), "--out", str(result.with_suffix(".html"))]) == 2
    err = capsys.readouterr().err
    assert "x.nc: no report can be made of it" in err
    assert "run bayeslmm h2 again" in err
    assert not result.with_suffix(".html").exists()
