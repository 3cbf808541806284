"""What the effects realise in the records, against covariances written out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from engine_oracles import exact_tree

from bayeslmm.likelihood.realised import realised_pve

# Published: five individuals of the tutorial (reference/tutorial.json)
X1 = np.array([0, 2, 1, 0, 0], dtype=float)
G = np.array([0.138947617910543, -0.0549034803561418, -0.361939370612396, -0.167006355132184,
              0.44490158911121])  # fmt: skip
Y = np.array([-0.273050856641571, 1.56614655382245, 0.0668354074598494, -0.813277501707751,
              0.239788556186344])  # fmt: skip


def test_shares_add_to_one_in_every_draw() -> None:
    share = exact_tree()["posterior"]["pve_share"]
    parts = ["fixed", "random", "covariance", "residual"]
    assert share.coords["pve_part"].to_numpy().tolist() == parts
    assert share.sum("pve_part").to_numpy() == pytest.approx(np.ones((4, 1000)), abs=1e-12)
    assert (share.sel(pve_part=["fixed", "random", "residual"]).to_numpy() >= 0).all()
    rng = np.random.default_rng(1)
    y, fixed, g = rng.standard_normal(30), *rng.standard_normal((2, 5, 30))
    found = realised_pve(fixed, [g], y, np.full(30, 30**-0.5))["pve_share"]
    residual = y - fixed - g
    for i in range(5):
        cov = np.cov(np.stack([fixed[i], g[i], residual[i]]))
        parts = np.array([cov[0, 0], cov[1, 1], 2 * cov[0, 1], cov[2, 2]])
        assert found[i] == pytest.approx(parts / parts.sum(), abs=1e-12)


def test_several_parts_are_the_tabulated_covariances() -> None:
    """var(Xβ), each var(g_k), twice all covariances between them, var(ε): of np.cov; a part of
    which nothing is there changes nothing but the number of entries.
    """
    rng = np.random.default_rng(2)
    y, fixed = rng.standard_normal(30), rng.standard_normal((5, 30))
    parts = list(rng.standard_normal((3, 5, 30)))
    found = realised_pve(fixed, parts, y, np.full(30, 30**-0.5))
    for i in range(5):
        residual = y - fixed[i] - sum(part[i] for part in parts)
        cov = np.cov(np.stack([fixed[i], *(part[i] for part in parts), residual]))
        within = cov[:4, :4]
        between = within.sum() - np.trace(within)
        expected = np.array([*np.diag(within), between, cov[4, 4]])
        assert found["pve_share"][i] == pytest.approx(expected / expected.sum(), abs=1e-12)
        assert found["pve_random"][i] == pytest.approx(
            sum(part[i] for part in parts).var() / y.var(), rel=1e-12
        )
    none = np.zeros((5, 30))
    same = realised_pve(fixed, [*parts, none], y, np.full(30, 30**-0.5))
    assert np.delete(same["pve_share"], 4, axis=1) == pytest.approx(found["pve_share"], abs=1e-15)
    assert (same["pve_share"][:, 4] == 0).all()


def test_the_coordinates_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    n = 12
    y, fixed, g, h = rng.standard_normal(n), *rng.standard_normal((3, 4, n))
    ones = np.full(n, n**-0.5)
    W = np.linalg.qr(rng.standard_normal((n, n)))[0]
    plain = realised_pve(fixed, [g, h], y, ones)
    turned = realised_pve(fixed @ W, [g @ W, h @ W], W.T @ y, W.T @ ones)
    for name, value in plain.items():
        assert turned[name] == pytest.approx(value, abs=1e-12)


def test_an_intercept_alone_explains_nothing() -> None:
    rng = np.random.default_rng(4)
    y, g = rng.standard_normal(20), rng.standard_normal((3, 20))
    found = realised_pve(np.full((3, 20), 1e8), [g], y + 1e8, np.full(20, 20**-0.5))
    assert (found["pve_fixed"] == 0).all()
    assert found["pve_total"] == pytest.approx(found["pve_random"], rel=1e-12)


def test_the_tutorials_numbers_to_every_printed_digit() -> None:
    x = (X1 - X1.mean()) / X1.std(ddof=1)
    found = realised_pve(0.8 * x[None], [G[None]], Y, np.full(5, 5**-0.5))
    printed = {name: f"{float(found[f'pve_{name}'][0]):.4g}" for name in ("fixed", "random")}
    assert printed == {"fixed": "0.8187", "random": "0.1212"}
    assert f"{float(found['pve_total'][0]):.2f}" == "0.67"


def test_the_numbers_above_are_the_reference(shared_data: Path) -> None:
    reference = json.loads((shared_data.parent / "reference/tutorial.json").read_text())
    assert reference["y"] == Y.tolist()
    assert reference["g"] == G.tolist()
    assert [row[0] for row in reference["dosage_of_alternative_allele"]] == X1.tolist()
