"""A binary trait by the file of models/README.md: the threshold model, from file to report.

Families of six whose relationships are all 3/4 have a marginal likelihood of one integral a
family, so that the posterior of h² is known without any Markov chain::

    g_i = σ_g (√r a + √(1-r) b_i)
    P(y | β, σ²_g) = ∫ φ(a) Π_i Φ(± (x_iβ + σ_g √r a)/√(1 + (1-r) σ²_g)) da
"""

from __future__ import annotations

import json
import re
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from report_pages import Page
from scipy.special import log_ndtr, logsumexp

from bayeslmm.cli import main
from bayeslmm.cli.outputs import read_tree
from bayeslmm.individuals import individual_index
from bayeslmm.models.gallery import folder as gallery
from bayeslmm.relationship.files import write_grm
from bayeslmm.relationship.relationship import Relationship

type Floats = NDArray[np.float64]

FAMILIES, SIZE, R = 40, 6, 0.75
N = FAMILIES * SIZE
H2, BETA = 0.5, np.array([-0.3, 0.4])
GAUSSIAN_ROWS = ("pve_", "p_rlrt", "se_expected")
GAUSSIAN_WORDS = (
    *("observed scale", "var(y)", "restricted", "RLRT", "expected SE", "expected standard error"),
    *("REML", "Haseman", "leave-one-out", "Skewness", "squared units", "GEMMA", "GCTA"),
)


def simulated() -> tuple[Floats, Floats, Relationship]:
    """Design (n, 2), binary phenotype (n,) and kernel of families with a known truth."""
    rng = np.random.default_rng(5)
    K = np.kron(np.eye(FAMILIES), (1 - R) * np.eye(SIZE) + R)
    X = np.column_stack([np.ones(N), rng.normal(size=N)])
    sigma = np.sqrt(H2 / (1 - H2))
    liability = X @ BETA + sigma * np.linalg.cholesky(K) @ rng.normal(size=N) + rng.normal(size=N)
    people = individual_index([f"F{k // SIZE}" for k in range(N)], [f"i{k:03}" for k in range(N)])
    return X, (liability > 0).astype(float), Relationship(K, people, kernel_scale="none")


def probit() -> str:
    """The file of models/README.md."""
    text = (gallery() / "README.md").read_text(encoding="utf-8")
    (found,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "SCALE =" in b]
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of the command; codes 1 and 2, as PLINK writes them."""
    folder = tmp_path_factory.mktemp("probit")
    X, y, kernel = simulated()
    (folder / "probit.py").write_text(probit(), encoding="utf-8")
    write_grm(kernel, folder / "kin")
    table = pd.DataFrame(
        {"case": y.astype(int) + 1, "x": X[:, 1]}, index=kernel.individuals
    ).reset_index()
    table[["FID", "IID", "case"]].to_csv(folder / "case.tsv", sep="\t", index=False)
    table[["FID", "IID", "x"]].to_csv(folder / "x.tsv", sep="\t", index=False)
    words = (
        "h2 --grm {d}/kin --kernel-scale none --pheno {d}/case.tsv --covar {d}/x.tsv "
        "--model {d}/probit.py --draws 1200 --checkpoint {d}/kept --out {d}/out"
    )
    return {"folder": folder, "options": words.format(d=folder).split()}


@pytest.fixture(scope="module")
def fitted(run: dict[str, Any]) -> dict[str, Any]:
    said, shown = StringIO(), StringIO()
    with redirect_stderr(said), redirect_stdout(shown):
        code = main(run["options"])
    assert code in (0, 1)  # so few draws need not be enough
    prefix = run["folder"] / "out"
    return {
        "said": said.getvalue(),
        "shown": shown.getvalue(),
        "table": pd.read_csv(f"{prefix}.h2.tsv", sep="\t").set_index("quantity"),
        "tree": read_tree(f"{prefix}.nc"),
        "page": Page(Path(f"{prefix}.html").read_text(encoding="utf-8")).text,
        "record": json.loads(Path(f"{prefix}.run.json").read_text(encoding="utf-8")),
    }


def exact_h2(centre: Floats) -> tuple[float, float]:
    """Mean and sd of h² by quadrature over (h², β near its centre) and one integral a family."""
    X, y, _ = simulated()
    nodes, weights = hermegauss(20)
    log_w = np.log(weights) - 0.5 * np.log(2 * np.pi)
    sign = (2 * y - 1).reshape(FAMILIES, SIZE, 1)
    h2 = (np.arange(30) + 0.5) / 30
    grids = [np.linspace(c - 0.7, c + 0.7, 13) for c in centre]
    log_p = np.empty((h2.size, 13, 13))
    for k, share in enumerate(h2):
        variance = share / (1 - share)
        scale = np.sqrt(1 + (1 - R) * variance)
        for i, b0 in enumerate(grids[0]):
            for j, b1 in enumerate(grids[1]):
                eta = (b0 + b1 * X[:, 1]).reshape(FAMILIES, SIZE, 1)
                z = sign * (eta + np.sqrt(R * variance) * nodes) / scale
                family = logsumexp(log_ndtr(z).sum(axis=1) + log_w, axis=1)
                log_p[k, i, j] = family.sum() - 0.5 * (b0**2 + b1**2) / 2.0**2
    p = np.exp(log_p - log_p.max())
    assert max(p[:, 0].max(), p[:, -1].max(), p[:, :, 0].max(), p[:, :, -1].max()) < 5e-3
    mass = p.sum(axis=(1, 2)) / p.sum()
    mean = float(mass @ h2)
    return mean, float(np.sqrt(mass @ (h2 - mean) ** 2))


def test_the_posterior_is_the_one_by_quadrature_and_has_the_truth(fitted: dict[str, Any]) -> None:
    table: pd.DataFrame = fitted["table"]
    effects = ["beta[intercept]", "beta[x]"]
    mean, sd = exact_h2(table.loc[effects, "mean"].to_numpy())
    h2 = table.loc["h2"]
    assert abs(h2["mean"] - mean) < 5 * h2["mcse"]
    assert h2["sd"] == pytest.approx(sd, rel=0.25)
    assert h2["lower"] < H2 < h2["upper"]
    for name, truth in zip(effects, BETA, strict=True):
        assert table.loc[name, "lower"] < truth < table.loc[name, "upper"]
    assert table.loc["sigma2[residual]", "mean"] == 1.0


def test_the_scale_is_named_everywhere(fitted: dict[str, Any]) -> None:
    assert "  h2 on the liability scale = 0." in fitted["shown"]
    assert "variance on the liability scale, mean" in fitted["shown"]
    (trait,) = fitted["record"]["traits"].values()
    assert (trait["family"], trait["scale"]) == ("Bernoulli", "liability scale")
    assert fitted["tree"].attrs["family"] == "Bernoulli"
    assert fitted["tree"].attrs["scale"] == "liability scale"
    page = fitted["page"]
    assert "h² of case on the liability scale is" in page
    assert "Of the variance of case on the liability scale among the 240 individuals" in page
    assert "Per unit of the covariate, on the liability scale." in page
    assert "Bernoulli, h² on the liability scale" in page
    assert "The phenotype is of the family Bernoulli. The checks of contrasts" in page


def test_nothing_that_is_gaussian_is_said(fitted: dict[str, Any]) -> None:
    table: pd.DataFrame = fitted["table"]
    assert not [row for row in table.index if str(row).startswith(GAUSSIAN_ROWS)]
    for text in (fitted["said"], fitted["shown"], fitted["page"]):
        assert not [words for words in GAUSSIAN_WORDS if words in text]
    tree: xr.DataTree = fitted["tree"]
    assert not [name for name in tree["posterior"].data_vars if str(name).startswith("pve_")]
    assert {"agreement", "relatives"}.isdisjoint(tree.children)


@pytest.mark.usefixtures("fitted")
def test_json_names_family_and_scale(
    run: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """From the checkpoint: nothing is drawn again."""
    assert main([*run["options"][:-1], f"{run['folder']}/json", "--json"]) in (0, 1)
    (trait,) = json.loads(capsys.readouterr().out)["traits"]
    assert (trait["family"], trait["scale"]) == ("Bernoulli", "liability scale")
    names = [row["quantity"] for row in trait["quantities"]]
    assert "h2" in names
    assert not [name for name in names if name.startswith(GAUSSIAN_ROWS)]


def test_estimates_of_other_programs_are_refused_before_the_fit(
    run: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are on the scale of y."""
    file = run["folder"] / "gcta.hsq"
    file.write_text("Source\tVariance\tSE\nV(G)\t0.1\t0.02\nV(e)\t0.1\t0.02\nVp\t0.2\t0.02\n"
                    "V(G)/Vp\t0.5\t0.05\nlogL\t-1\nn\t360\n")  # fmt: skip
    monkeypatch.setattr("bayeslmm.inference.fit.fit", lambda *_, **__: pytest.fail("fitted"))
    words = [word for word in run["options"] if "kept" not in word and word != "--checkpoint"]
    options = [*words[:-1], f"{run['folder']}/other", "--external", str(file)]
    assert main(options) == 2
    message = "--external: estimates of other programs for a phenotype of the family Bernoulli"
    assert message in capsys.readouterr().err
