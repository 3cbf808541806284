"""The posterior beside REML, Haseman-Elston, GCTA and GEMMA: scales, table, report, command."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import engine_oracles
import numpy as np
import pytest
import sbc_models
import xarray as xr
from gemma import Gemma
from numpy.typing import NDArray
from report_trees import made_tree

from bayeslmm import models
from bayeslmm.checks.agreement import COLUMNS, add_agreement, agreement, estimates, estimates_of
from bayeslmm.checks.disagreement import disagreements
from bayeslmm.checks.external_scale import external_estimate
from bayeslmm.cli import main
from bayeslmm.cli.outputs import read_tree, write_tree
from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.estimates.estimate import Estimate
from bayeslmm.estimates.external import External, read_external
from bayeslmm.estimates.haseman_elston import haseman_elston_one_kernel
from bayeslmm.estimates.reml import reml_one_kernel
from bayeslmm.individuals import as_individuals
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.report import render
from bayeslmm.report.agreement import agreement_sentences
from bayeslmm.tables.phenotypes import read_phenotypes

type Floats = NDArray[np.float64]

NAN = math.nan


def usual(source: str = "REML", h2: float = 0.5, se: float = 0.05, **more: Any) -> Estimate:
    """An estimate with its ± 1.96 standard errors."""
    known: dict[str, Any] = {"scale": "asv", "odds": 1.0, "note": ""} | more
    return Estimate("h2", source, h2, se, h2 - 1.96 * se, h2 + 1.96 * se, **known)


def kernel(**facts: Any) -> str:
    """The attribute ``relationships`` of a tree with one kernel."""
    known = {"estimator": "gcta", "kernel_scale": "asv", "factor": 1.25, "kind": "genetic"}
    return json.dumps({"additive": known | facts})


def hsq(folder: Path, h2: float, n: int = 120) -> Path:
    """A file as GCTA writes it."""
    path = folder / "x.hsq"
    rows = ["Source\tVariance\tSE", f"V(G)\t{2 * h2}\t0.1", f"V(e)\t{2 - 2 * h2}\t0.1",
            "Vp\t2\t0.1", f"V(G)/Vp\t{h2}\t0.03", "logL\t-3", f"n\t{n}"]  # fmt: skip
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_the_table() -> None:
    tree = made_tree("exact")
    with warnings.catch_warnings(record=True):  # the made data and the made posterior differ
        warnings.simplefilter("always", BayesLMMWarning)
        table = agreement(tree)
    assert list(table.columns) == COLUMNS
    assert table["source"].tolist() == ["posterior", "REML", "Haseman-Elston"]
    data = tree["constant_data"]
    s, e = data["eigenvalue"].to_numpy(), data["contrasts"].to_numpy()
    wanted = [0.6, reml_one_kernel(s, e).h2, haseman_elston_one_kernel(s, e).h2]
    assert table["h2"].to_numpy() == pytest.approx(wanted, abs=1e-6)
    assert table["h2_here"].tolist() == table["h2"].tolist()
    assert set(table["scale"]) == {"average semivariance one among the individuals analysed"}
    ends = table["h2"] - 1.959964 * table["se"]
    assert table["lower"][1:].to_numpy() == pytest.approx(ends[1:].to_numpy())


@pytest.mark.parametrize("odds", [0.36, 1.0, 1.7])
def test_a_change_of_scale_moves_the_odds(odds: float) -> None:
    one = usual(h2=0.4, odds=odds)
    moved = one.value_here
    assert moved / (1 - moved) == pytest.approx(odds * 0.4 / 0.6)
    step = (usual(h2=0.4001, odds=odds).value_here - moved) / 1e-4
    assert one.se_here == pytest.approx(0.05 * step, rel=1e-3)
    assert one.here(0.0) == 0.0
    assert one.here(1.0) == pytest.approx(1.0)
    assert one.here(-0.1) == pytest.approx(-0.1 * odds)  # a straight line beyond
    assert one.here(1.1) == pytest.approx(1 + 0.1 / odds)
    assert math.isnan(usual(odds=NAN).value_here)


def test_the_scale_by_an_oracle(tmp_path: Path) -> None:
    """REML with K and with f K: GCTA's number there is ours here."""
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((80, 100))
    K, X = 1.6 * Z @ Z.T / 100, np.ones((80, 1))
    y = Z @ rng.standard_normal(100) / 8 + rng.standard_normal(80)

    def reml(matrix: Floats) -> Any:
        spectrum = decompose(matrix, X)
        return reml_one_kernel(spectrum.eigenvalues, spectrum.rotate(y)[1:])

    factor = float((np.trace(K) - K.sum() / 80) / 79)
    there, here = reml(K), reml(K / factor)
    tree = made_tree("exact")
    tree.attrs["relationships"] = kernel(factor=factor)
    one = External("GCTA", tmp_path, there.h2, there.se, (there.variances[0],), 1.0, 120)
    found = estimates(tree, [one])[-1]
    assert found.value_here == pytest.approx(here.h2, abs=1e-5)
    assert found.se_here == pytest.approx(here.se, rel=1e-3)
    centred = K - K.mean(axis=0) - K.mean(axis=1)[:, None] + K.mean()
    gemma = reml(centred / np.trace(centred) * 80)  # mean diagonal one
    one = External("GEMMA", tmp_path, gemma.h2, gemma.se, (NAN,), NAN, 80)
    assert estimates(tree, [one])[-1].value_here == pytest.approx(here.h2, abs=1e-5)
    # a pedigree that is analysed as it is: only the eigenvalues know its average semivariance
    tree.attrs["relationships"] = kernel(estimator="pedigree", kernel_scale="none", factor=1.0)
    s = decompose(K, X).eigenvalues
    data = tree["constant_data"].to_dataset().drop_vars(["design", "eigenvalue", "contrasts"])
    tree["constant_data"].dataset = data.drop_dims("individual", errors="ignore").assign(
        eigenvalue=("contrast", s), contrasts=("contrast", np.ones(79)),
        design=(("individual", "covariate"), np.ones((120, 1))),
    )  # fmt: skip
    assert estimates(tree, [one])[-1].value_here == pytest.approx(there.h2, abs=1e-5)


def test_matrices_that_are_not_ours_are_not_compared(tmp_path: Path) -> None:
    tree = made_tree("exact")
    tree.attrs["relationships"] = kernel(estimator="pedigree")
    found = estimates(tree, [hsq(tmp_path, 0.5)])[-1]
    assert found.value == 0.5
    assert math.isnan(found.value_here)
    assert "another matrix" in found.note
    two = External("GCTA", tmp_path, 0.5, 0.1, (1.0, 1.0), 1.0, 7)
    assert math.isnan(estimates(made_tree("exact"), [two])[-1].value_here)


def test_several_matrices_of_gcta_have_each_its_factor(tmp_path: Path) -> None:
    tree = made_tree("exact")
    facts = {"estimator": "gcta", "kernel_scale": "asv", "kind": "genetic"}
    tree.attrs["relationships"] = json.dumps(
        {
            "a": facts | {"factor": 0.5},
            "b": facts | {"factor": 2.0},
            "home": {"estimator": "group", "kind": "environment"},
        }
    )
    one = External("GCTA", tmp_path, 0.75, 0.1, (2.0, 1.0), 1.0, 120)
    found = estimates(tree, [one])[-1]
    assert found.value_here == pytest.approx((2.0 * 0.5 + 1.0 * 2.0) / (2.0 * 0.5 + 2.0 + 1.0))


@pytest.mark.parametrize("centred", [False, True])
def test_gemmas_scale_by_the_matrix_of_the_model(centred: bool, tmp_path: Path) -> None:
    """With covariates and a kernel that is used as it is, only the model knows its matrix."""
    one = engine_oracles.simulated(40, 3, 0.5, seed=2)
    K = 1.7 * one.K if centred else 1.7 * one.K + 0.4
    model = replace(one, K=K).model()
    y = xr.Dataset({"phenotype": ("individual", one.y)})
    data = xr.Dataset({"design": (("individual", "covariate"), one.X)})
    tree = xr.DataTree.from_dict({"observed_data": y, "constant_data": data})
    given = External("GEMMA", tmp_path, 0.4, 0.1, (NAN,), NAN, 40)
    pedigree = [json.loads(kernel(kernel_scale="none", estimator="pedigree"))["additive"]]
    found = external_estimate(given, tree, pedigree, model)
    semivariance = (np.trace(K) - K.sum() / 40) / 39
    assert found.odds == pytest.approx(40 / 39 / semivariance, rel=1e-10)
    assert f"whose average semivariance is {semivariance:.4g}" in found.note
    for kernels, known in ((pedigree, None), (pedigree * 2, model)):  # no model; which of the two?
        unknown = external_estimate(given, tree, kernels, known)
        assert unknown.value == 0.4
        assert math.isnan(unknown.value_here)
        assert "the average semivariance of our matrix is not known" in unknown.note


def test_gemmas_scale_beside_an_environment_is_not_known(tmp_path: Path) -> None:
    """One genetic kernel and a household: matrices that have no spectrum in common."""
    cohort, matrices = sbc_models.problem("household")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few variants
        model = models.load("household")(cohort, *matrices)
    y = xr.Dataset({"phenotype": ("individual", cohort.y)})
    tree = xr.DataTree.from_dict({"observed_data": y, "constant_data": xr.Dataset()})
    given = External("GEMMA", tmp_path, 0.4, 0.1, (NAN,), NAN, None)
    pedigree = [json.loads(kernel(kernel_scale="none", estimator="pedigree"))["additive"]]
    found = external_estimate(given, tree, pedigree, model)
    assert math.isnan(found.odds)
    assert "not known" in found.note


@pytest.mark.parametrize("facts", [{"estimator": "gcta"}, {"estimator": "pedigree"}])
def test_gemmas_traits_with_another_matrix(facts: dict[str, Any], tmp_path: Path) -> None:
    tree = made_tree("exact")
    tree.attrs["relationships"] = kernel(**facts)
    one = External("GEMMA", tmp_path / "two.log.txt", NAN, NAN, (1.4,), 0.35, 120, 2)
    found = estimates(tree, [one])[-1]
    assert found.value == pytest.approx(1.4 / 1.75)
    assert math.isnan(found.value_here)
    assert found.note == "another matrix than ours: the scales cannot be compared"


def test_two_traits_of_gemma(tmp_path: Path) -> None:
    tree = made_tree("exact")
    tree.attrs["relationships"] = kernel(estimator="centred", factor=0.36)
    one = External("GEMMA", tmp_path / "two.log.txt", NAN, NAN, (1.4,), 0.35, 120, 2)
    found = estimates(tree, [one])[-1]
    assert found.source == "GEMMA (two.log.txt, trait 2)"
    assert found.value == pytest.approx(1.4 / 1.75)
    assert found.value_here == pytest.approx(1.4 * 0.36 / (1.4 * 0.36 + 0.35))


def test_differences_that_are_said() -> None:
    posterior = Estimate("h2", "posterior", 0.5, 0.05, 0.4, 0.6, "")
    reml, he = usual(), usual("Haseman-Elston", 0.55, 0.1)
    gcta = usual("GCTA (x.hsq)", 0.505)
    assert disagreements([posterior, reml, he, gcta]) == []
    (said,) = disagreements([posterior, reml, replace(he, value=0.9), gcta])
    assert "4.6 standard errors" in said  # 0.4 / √(0.1² - 0.05²)
    (said,) = disagreements([posterior, reml, replace(gcta, value=0.6)])
    assert said.startswith("GCTA (x.hsq) gives 0.6 on our scale, our REML 0.5")
    assert disagreements([posterior, reml, replace(gcta, value=0.6, odds=2 / 3)]) == []
    assert disagreements([posterior, reml, replace(gcta, value=0.9, odds=NAN)]) == []
    (said,) = disagreements([replace(posterior, upper=0.45), reml])
    assert "the prior decides" in said
    assert disagreements([posterior]) == []


def test_differences_of_several_traits_name_the_trait() -> None:
    posterior, reml = Estimate("h2", "posterior", 0.5, 0.05, 0.4, 0.45, ""), usual()
    found = [
        replace(one, quantity=quantity)
        for quantity in ("h2[a]", "h2[b]", "r_g[a,b]")
        for one in (posterior, reml)
    ]
    found[2] = replace(found[2], upper=0.6)  # of b they agree; r_g is not compared
    (said,) = disagreements(found)
    assert said.startswith("h2[a]: REML (0.5) lies outside the posterior's interval (0.4 to 0.45)")


def test_kept_with_the_tree_through_a_file(tmp_path: Path) -> None:
    tree = made_tree("exact")
    found = add_agreement(tree, [hsq(tmp_path, 0.55, n=119)])
    assert found[-1].source == "GCTA (x.hsq)"
    assert "119 individuals there, 120 records here" in found[-1].note
    assert found[-1].odds == 1.25
    write_tree(tree, tmp_path / "x.nc")
    again = read_tree(tmp_path / "x.nc")
    kept = estimates_of(again)
    assert kept is not None
    assert [one.source for one in kept] == [one.source for one in found]
    assert [one.odds for one in kept] == [one.odds for one in found]
    assert [one.source for one in estimates(again)] == [one.source for one in found]
    assert estimates_of(made_tree("exact")) is None
    text = render(again)
    for words in ("Agreement with other estimates", "GCTA (x.hsq)", "Haseman-Elston", "V(G)"):
        assert words in text


def test_several_traits_are_refused() -> None:
    tree = xr.DataTree.from_dict({"A": made_tree("exact"), "B": made_tree("exact")})
    with pytest.raises(InputError, match="several traits"):
        agreement(tree)


def test_an_estimate_without_an_error_is_not_compared_in_words() -> None:
    found = [usual(), usual("Haseman-Elston", se=0.1)]
    assert "2.0 times REML's" in " ".join(agreement_sentences(found))
    unknown = [usual(se=math.nan), usual("Haseman-Elston", se=0.1)]
    assert "nan" not in " ".join(agreement_sentences(unknown))


def test_a_fit_without_h2_is_refused() -> None:
    tree = made_tree("nuts")
    tree["posterior"] = xr.DataTree(tree["posterior"].to_dataset().drop_vars("h2"))
    with pytest.raises(InputError, match="without a posterior of h²"):
        agreement(tree)


def test_a_fit_without_contrasts_or_model_has_the_posterior_alone(tmp_path: Path) -> None:
    tree = made_tree("nuts", spectral=False)
    assert agreement(tree)["source"].tolist() == ["posterior"]
    assert "Agreement with" not in render(tree)
    assert agreement(tree, [hsq(tmp_path, 0.5)])["source"].tolist()[1] == "GCTA (x.hsq)"


# --- the command


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    prefix = folder / "sim"
    made = ["simulate", "--n", "200", "--m", "400", "--h2", "0.6", "--families", "--out"]
    assert main([*made, str(prefix)]) == 0
    return prefix


def asked(prefix: Path, *more: str) -> list[str]:
    return ["h2", "--bfile", str(prefix), "--pheno", f"{prefix}.pheno", "--out", f"{prefix}.r",
            *more]  # fmt: skip


def test_the_command(simulated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = hsq(simulated.parent, 0.55, n=200)
    assert main(asked(simulated, "--external", str(file))) == 0
    tree = read_tree(f"{simulated}.r.nc")
    found = estimates_of(tree)
    assert found is not None
    assert [one.source for one in found][-1] == "GCTA (x.hsq)"
    factor = json.loads(tree.attrs["relationships"])["additive"]["factor"]
    assert found[-1].odds == pytest.approx(factor)
    assert {"relatives", "agreement"} <= set(tree.children)
    page = Path(f"{simulated}.r.html").read_text(encoding="utf-8")
    for words in ("Likeness of relatives", "Each record against all others", "GCTA (x.hsq)"):
        assert words in page
    out = simulated.parent / "again.html"
    assert main(["report", f"{simulated}.r.nc", "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == page
    record = json.loads(Path(f"{simulated}.r.run.json").read_text(encoding="utf-8"))
    assert str(file) in json.dumps(record)


def test_bad_files_are_refused_before_anything_is_computed(
    simulated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (simulated.parent / "bad.hsq").write_text("nothing\n", encoding="utf-8")
    for text, words in (
        (f"{simulated.parent}/none.hsq", "none.hsq"),
        (f"{simulated.parent}/bad.hsq", "starts with 'Source Variance SE'"),
        (f"other={hsq(simulated.parent, 0.5)}", "for the trait 'other'"),
    ):
        assert main(asked(simulated, "--external", text)) != 0
        assert words in capsys.readouterr().err


def test_gemmas_own_log_of_the_mice(gemma: Gemma) -> None:
    """Our REML with GEMMA's matrix, to the digits that GEMMA prints."""
    log, _ = gemma.fit("cd8", [1], test=4)
    (there,) = read_external(log)
    y = read_phenotypes(f"{gemma.prefix}.pheno.tsv")["CD8"].dropna()
    kernel_of_mice = gemma.kernel().on(as_individuals(y.index))
    spectrum = decompose(kernel_of_mice.matrix, np.ones((len(y), 1)))
    e = spectrum.rotate(y.to_numpy(dtype=np.float64))[1:]
    found = reml_one_kernel(spectrum.eigenvalues, e)
    assert there.n == len(y) == 1410
    assert found.variances[0] / kernel_of_mice.factor == pytest.approx(there.genetic[0], rel=2e-5)
    assert found.variances[1] == pytest.approx(there.residual, rel=2e-5)
    line = next(x for x in log.read_text().splitlines() if "REMLE log-likelihood" in x)
    assert found.log_likelihood == pytest.approx(float(line.split("=")[1]), abs=6e-3)
    ours = usual("GEMMA", there.h2, there.se, odds=1410 / 1409)
    assert found.h2 == pytest.approx(ours.value_here, abs=2e-6)
    assert found.se == pytest.approx(ours.se_here, rel=1e-4)
