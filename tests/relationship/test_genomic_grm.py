"""GRM: published examples, dense float64 algebra, plink2, GEMMA, invariances, memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

import bayeslmm.relationship.genomic as grm_module
from bayeslmm.errors import InputError
from bayeslmm.genotypes.genotypes import Genotypes, from_array, read_genotypes, write_plink1
from bayeslmm.relationship.files import read_grm
from bayeslmm.relationship.genomic import Scale, centre, grm
from bayeslmm.relationship.relationship import average_semivariance

SCALES: list[Scale] = ["gcta", "sample", "centred"]
PRECISIONS = [pytest.param(10**9, 1e-13, id="float64"), pytest.param(0, 1e-6, id="float32")]

# the seed example of five individuals and three variants, as printed
EXAMPLE = np.array([[0, 1, 2], [1, 1, 0], [2, 0, 1], [1, 2, 1], [0, 1, 0]])
EXAMPLE_GCTA = """
 1.444444 -.777778 -.500000  .055556 -.222222
          .472222  .055556 -.083333  .333333
                  1.694444 -.472222 -.777778
                           .722222 -.222222
                                    .888889"""

# the tutorial's example, as printed by R
TUTORIAL = np.array([[0, 1, 1], [2, 0, 0], [1, 1, 0], [0, 0, 0], [0, 2, 2]])
TUTORIAL_GRM = """
  0.23571429 -0.5261905 -0.18095238 -0.02619048  0.497619
 -0.52619048  1.2714286  0.30714286  0.1047619  -1.1571429
 -0.18095238  0.3071429  0.23571429 -0.02619048 -0.3357143
 -0.02619048  0.1047619 -0.02619048  0.6047619  -0.6571429
  0.49761905 -1.1571429 -0.33571429 -0.65714286  1.652381"""


def simulated(n: int, m: int, *, missing: float = 0.0, seed: int = 1) -> np.ndarray:
    """(n, m) dosages, all variants vary."""
    rng = np.random.default_rng(seed)
    dosages = rng.binomial(2, rng.uniform(0.05, 0.95, m), (n, m)).astype(float)
    dosages[0], dosages[1] = 0, 1
    dosages[rng.random((n, m)) < missing] = np.nan
    return dosages


def dense(dosages: np.ndarray, scale: Scale) -> np.ndarray:
    """The definition, variant by variant, in float64."""
    n, m = dosages.shape
    total, count = np.zeros((n, n)), 0
    for k in range(m):
        x = dosages[:, k]
        if np.isnan(x).all():
            continue
        p = np.nanmean(x) / 2
        z = np.where(np.isnan(x), 2 * p, x) - 2 * p
        if np.allclose(z, 0):
            continue
        divisor = {"gcta": np.sqrt(2 * p * (1 - p)), "sample": z.std(ddof=1), "centred": 1.0}
        total += np.outer(z, z) / divisor[scale] ** 2
        count += 1
    return total / count


def as_printed(matrix: np.ndarray, text: str) -> None:
    """Every number in `text` is the entry (of the upper triangle, or all) rounded as printed."""
    rows = [line.split() for line in text.strip().splitlines()]
    for i, row in enumerate(rows):
        for j, number in enumerate(row, start=matrix.shape[0] - len(row)):
            digits = len(number.split(".")[1])
            assert abs(matrix[i, j] - float(number)) <= 0.5000001 * 10.0**-digits, (i, j)


@pytest.fixture
def small_is(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(grm_module, "SMALL", request.param)


def test_seed_example_as_printed() -> None:
    relationship = grm(from_array(EXAMPLE))
    as_printed(relationship.matrix, EXAMPLE_GCTA)
    eigenvalues = np.linalg.eigvalsh(relationship.matrix)
    np.testing.assert_allclose(eigenvalues[2:], [0.887581, 1.920687, 2.413954], atol=5e-7)
    assert np.trace(relationship.matrix) / 5 == pytest.approx(1.044444, abs=5e-7)
    assert relationship.n_variants == 3
    assert grm(from_array(EXAMPLE), scale="centred").matrix[0, 0] == pytest.approx(
        0.693333, abs=5e-7
    )
    assert np.trace(grm(from_array(EXAMPLE), scale="sample").matrix) == pytest.approx(4, abs=1e-14)


def test_tutorial_to_every_printed_digit() -> None:
    as_printed(grm(from_array(TUTORIAL), scale="sample").matrix, TUTORIAL_GRM)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("small_is", "tolerance"), PRECISIONS, indirect=["small_is"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_equals_the_definition(
    small_is: None, tolerance: float, scale: Scale, missing: float
) -> None:
    dosages = simulated(60, 500, missing=missing)
    relationship = grm(from_array(dosages), scale=scale, block=32)
    expected = dense(dosages, scale)
    error = np.abs(relationship.matrix - expected).max() / np.diagonal(expected).mean()
    assert error < tolerance
    assert relationship.estimator == scale
    assert relationship.n_variants == 500
    assert relationship.factor == 1.0
    assert np.abs(relationship.matrix.sum(axis=1)).max() < 1e-12  # 1 is an exact null vector


@pytest.mark.parametrize(("small_is", "tolerance"), PRECISIONS, indirect=["small_is"])
def test_real_valued_dosages(small_is: None, tolerance: float) -> None:
    dosages = np.random.default_rng(3).uniform(0, 2, (40, 300)).astype(np.float32)
    dosages[4, 5] = np.nan
    np.testing.assert_allclose(
        grm(from_array(dosages)).matrix,
        dense(dosages.astype(float), "gcta"),
        rtol=0,
        atol=tolerance,
    )


def test_float32_sums_stay_accurate_over_many_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    genotypes = from_array(simulated(200, 40_000).astype(np.int8))
    exact = grm(genotypes).matrix
    monkeypatch.setattr(grm_module, "SMALL", 0)
    assert np.abs(grm(genotypes).matrix - exact).max() / np.diagonal(exact).mean() < 1e-6


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("small_is", "tolerance"), PRECISIONS, indirect=["small_is"])
def test_invariances(small_is: None, tolerance: float, scale: Scale) -> None:
    dosages = simulated(50, 300, missing=0.03)
    matrix = grm(from_array(dosages), scale=scale).matrix
    rng = np.random.default_rng(2)
    flip = rng.random(300) < 0.5
    people, variants = rng.permutation(50), rng.permutation(300)
    for changed in (
        np.where(flip, 2 - dosages, dosages),
        dosages[:, variants],
        np.repeat(dosages, 2, axis=1),
    ):
        found = grm(from_array(changed), scale=scale, block=77).matrix
        np.testing.assert_allclose(found, matrix, rtol=0, atol=10 * tolerance)
    permuted = grm(from_array(dosages[people]), scale=scale).matrix
    np.testing.assert_allclose(
        permuted, matrix[np.ix_(people, people)], rtol=0, atol=10 * tolerance
    )


@pytest.mark.parametrize("scale", SCALES)
def test_variants_that_do_not_vary_are_not_counted(scale: Scale) -> None:
    dosages = simulated(20, 30)
    flat = np.column_stack(
        [np.full(20, value) for value in (0.0, 1.0, 2.0, np.nan, 0.3)]
        + [np.r_[np.full(10, np.nan), np.full(10, 2.0)]]
    )
    relationship = grm(from_array(np.hstack([flat, dosages])), scale=scale, block=4)
    assert relationship.n_variants == 30
    np.testing.assert_allclose(relationship.matrix, dense(dosages, scale), atol=1e-13)


def test_the_scale_does_not_matter_after_on_if_frequencies_agree() -> None:
    dosages = np.array([np.random.default_rng(k).permutation([0, 1, 1, 2] * 5) for k in range(40)])
    genotypes = from_array(dosages.T)
    matrices = [grm(genotypes, scale=scale).on(genotypes.individuals).matrix for scale in SCALES]
    np.testing.assert_allclose(matrices[1], matrices[0], atol=1e-13)
    np.testing.assert_allclose(matrices[2], matrices[0], atol=1e-13)


def test_nothing_that_varies_is_an_error() -> None:
    with pytest.raises(InputError, match="none of the 2 variants varies among the 3 individuals"):
        grm(from_array(np.array([[0, 1], [0, 1], [0, 1]])))


def test_one_individual_is_an_error() -> None:
    with pytest.raises(InputError, match="two or more"):
        grm(from_array(np.array([[0, 1]])))


def test_wrong_options_are_errors() -> None:
    genotypes = from_array(EXAMPLE)
    with pytest.raises(InputError, match="'gcta', 'sample' or 'centred'"):
        grm(genotypes, scale="vanraden")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="block 0"):
        grm(genotypes, block=0)
    with pytest.raises(InputError, match="threads 0"):
        grm(genotypes, threads=0)


def test_progress_and_threads() -> None:
    calls = []

    def progress(done: int, total: int) -> None:
        blas = [lib for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]
        calls.append((done, total, {lib["num_threads"] for lib in blas}))

    grm(from_array(simulated(10, 25)), block=10, threads=1, progress=progress)
    assert calls == [(10, 25, {1}), (20, 25, {1}), (25, 25, {1})]


def test_memory_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayeslmm.system.memory.available_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"the GRM of 5 individuals needs .* -> .*--keep"):
        grm(from_array(EXAMPLE))


def test_peak_memory_does_not_depend_on_the_number_of_variants(tmp_path: Path) -> None:
    peaks = []
    for m in (2_000, 16_000):
        rng = np.random.default_rng(m)
        write_plink1(rng.integers(0, 3, (300, m)).astype(np.int8), tmp_path / f"m{m}")
        genotypes = read_genotypes(tmp_path / f"m{m}")
        grm(genotypes)
        tracemalloc.start()
        grm(genotypes)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_centre_is_the_double_projection() -> None:
    matrix = np.random.default_rng(1).standard_normal((600, 600))
    matrix = matrix + matrix.T
    P = np.eye(600) - 1 / 600
    expected = P @ matrix @ P
    centre(matrix)
    np.testing.assert_allclose(matrix, expected, atol=1e-13)
    np.testing.assert_array_equal(matrix, matrix.T)


# other programs


def run(*command: str | Path) -> None:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


@pytest.fixture(scope="module")
def bfile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("bfile") / "x"
    dosages = from_array(simulated(70, 400, missing=0.04))
    write_plink1(dosages, prefix)
    return prefix


def test_equals_plink2(bfile: Path) -> None:
    genotypes = read_genotypes(bfile)
    base = ("plink2", "--bfile", bfile, "--allow-no-sex", "--bad-freqs")
    run(*base, "--make-rel", "meanimpute", "bin", "--out", bfile)
    expected = read_grm(f"{bfile}.rel.bin").on(genotypes.individuals, kernel_scale="none")
    np.testing.assert_allclose(grm(genotypes).matrix, expected.matrix, atol=1e-12)
    run(*base, "--make-rel", "cov", "meanimpute", "bin", "--out", bfile)
    expected = read_grm(f"{bfile}.rel.bin").on(genotypes.individuals, kernel_scale="none")
    np.testing.assert_allclose(grm(genotypes, scale="centred").matrix, expected.matrix, atol=1e-12)


@pytest.mark.parametrize(("option", "scale"), [("1", "centred"), ("2", "sample")])
def test_equals_gemma(bfile: Path, option: str, scale: Scale) -> None:
    genotypes = read_genotypes(bfile)
    folder = bfile.parent
    fam = bfile.with_suffix(".fam")
    fam.write_text(fam.read_text().replace("\t-9\n", "\t1.5\n"))
    run(
        *("gemma", "-bfile", bfile, "-gk", option, "-outdir", folder, "-o", "k"),
        *("-miss", "1", "-maf", "0"),
    )
    name = f"k.{'c' if option == '1' else 's'}XX.txt"
    ours = grm(genotypes, scale=scale)
    theirs = read_grm(folder / name, fam=fam)
    assert ours.individuals.equals(theirs.individuals)
    ddof = 1.0 if option == "1" else (ours.n - 1) / ours.n  # GEMMA's -gk 2 divides by ddof 0
    np.testing.assert_allclose(ours.matrix, theirs.matrix * ddof, atol=1e-9)


@pytest.fixture(scope="module")
def mouse(shared_data: Path) -> Genotypes:
    """The mice's variants with a frequency of at least 0.01 (none is missing)."""
    genotypes = read_genotypes(shared_data / "mouse_hs1940" / "mouse_hs1940")
    p = np.concatenate([block.mean(axis=1) / 2 for _, block in genotypes.blocks()])
    return genotypes.select(variants=np.minimum(p, 1 - p) >= 0.01)


@pytest.mark.parametrize("scale", SCALES)
def test_average_semivariance_of_the_mice(mouse: Genotypes, scale: Scale) -> None:
    shared = Path(mouse.source.name).parents[2]
    oracle = json.loads((shared / "reference" / "mouse_oracle.json").read_text())
    fam = (shared / "data" / "mouse_hs1940" / "mouse_hs1940.fam").read_text().splitlines()
    measured = np.array([line.split()[5] not in ("NA", "-9") for line in fam])
    relationship = grm(mouse, scale=scale)
    expected = oracle["traits"]["CD8"][scale]
    assert measured.sum() == expected["n"]
    assert relationship.n_variants == expected["n_variants"]
    chosen = relationship.on(mouse.individuals[measured])
    assert chosen.factor == pytest.approx(expected["asv"], abs=5.1e-7)
    assert average_semivariance(chosen.matrix) == pytest.approx(1.0, abs=1e-12)


def test_mice_as_plink2(mouse: Genotypes, tmp_path: Path) -> None:
    some = mouse.select(variants=(mouse.variants["POS"] >= 0).to_numpy())
    some = some.select(variants=np.arange(0, some.m, 8))
    (tmp_path / "ids").write_text("\n".join(some.variants["ID"]) + "\n")
    run(
        *("plink2", "--bfile", mouse.source.name.removesuffix(".bed"), "--nonfounders"),
        *("--extract", tmp_path / "ids", "--make-grm-bin", "--threads", "1"),
        *("--out", tmp_path / "x"),
    )
    theirs, ours = read_grm(tmp_path / "x"), grm(some)
    assert theirs.n_variants == ours.n_variants
    assert theirs.individuals.equals(ours.individuals)
    np.testing.assert_allclose(ours.matrix, theirs.matrix, atol=5e-7)
