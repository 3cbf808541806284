"""The report: what it says, that names cannot break out of it, that it is the same every time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from report_pages import Page, facts_of
from report_trees import HOSTILE, INDIVIDUALS, made_tree

from bayeslmm.checks import predictive
from bayeslmm.errors import InputError
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.report import add_relatedness, numbers, relatedness, render, report, sections, svg
from bayeslmm.report import density as densities
from bayeslmm.report import text as words
from bayeslmm.report.chain_plots import rank_counts
from bayeslmm.report.relatedness import relatedness_of


@pytest.fixture(scope="module")
def exact() -> xr.DataTree:
    return made_tree("exact")


@pytest.fixture(scope="module")
def exact_text(exact: xr.DataTree) -> str:
    return render(exact, command="bayeslmm h2 --bfile x --out y")


def test_headline_gives_number_kind_and_level(exact: xr.DataTree, exact_text: str) -> None:
    from bayeslmm.posterior.summary import heritability

    row = heritability(exact).set_index("quantity").loc["h2"]
    text = Page(exact_text).text
    expected = f"h² of height is {row['mean']:.2f} , 95 % HDI {row['lower']:.2f}–{row['upper']:.2f}"
    assert expected in text
    assert f"mode {row['mode']:.2f}" in text
    for part in ("P(h² < 0.01)", "Bayes factor", "p-value", "expected SE", "95 % ETI"):
        assert part in text


def test_page_is_well_formed_without_script_or_anything_remote(exact_text: str) -> None:
    page = Page(exact_text)
    assert not page.open
    assert not {"script", "img", "iframe", "object", "embed"} & set(page.tags)
    for key in ("src", "href", "xlink:href", "action", "data"):
        assert all(value.startswith(("#", "data:,")) for value in page.values(key))
    assert not re.search(r"url\((?!#)|@import", exact_text)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    referred = re.findall(r"url\(#([^)]+)\)", exact_text)
    referred += [v[1:] for v in (*page.values("href"), *page.values("xlink:href")) if v[0] == "#"]
    assert referred
    assert set(referred) <= set(ids)


def test_figures_are_described_and_small(exact_text: str) -> None:
    page = Page(exact_text)
    titles = [v for tag, key, v in page.attributes if tag == "svg" and key == "aria-labelledby"]
    assert len(titles) == page.tags.count("svg") >= 6
    assert set(titles) <= set(page.values("id"))
    assert len(exact_text) < 1_500_000


def test_same_tree_same_text(exact: xr.DataTree, exact_text: str) -> None:
    assert render(exact, command="bayeslmm h2 --bfile x --out y") == exact_text


def test_report_carries_model_sample_and_provenance(exact: xr.DataTree, exact_text: str) -> None:
    text = Page(exact_text).text
    assert "1,234 variants" in text
    assert "divided by 1.25" in text
    assert "phenotype missing" in text
    assert "FAM1 IND7" in text
    assert "uniform between 0 and 1" in text
    assert "bayeslmm h2 --bfile x --out y" in text
    assert exact.attrs["model_sha256"] in text
    assert "2026-01-02T03:04:05" in text
    assert "Additive polygenic model" in text  # the docstring of the model file
    assert "independent by construction" in text


def test_docstring_of_another_or_missing_file_is_not_shown(exact: xr.DataTree) -> None:
    facts = facts_of(exact)
    assert sections.model_section(facts)["doc"].startswith("Additive polygenic model")
    facts.attrs["model_sha256"] = "0" * 64
    assert sections.model_section(facts)["doc"] is None
    facts.attrs.update(model="mine", model_file="../mine.py")
    assert sections.model_section(facts)["doc"] is None


def test_other_scales_follow_from_the_factor(exact: xr.DataTree, exact_text: str) -> None:
    h2 = exact["posterior"]["h2"].to_numpy()
    genetic = exact["posterior"]["sigma2_u"].to_numpy()
    raw = float(np.mean(h2 / (h2 + 1.25 * (1 - h2))))
    text = Page(exact_text).text
    found = re.search(r"/1\.25 = ([\d.]+), and vg/\(vg \+ ve\) = ([\d.]+)", text)
    assert found is not None
    assert float(found[1]) == pytest.approx(float(genetic.mean()) / 1.25, abs=0.006)
    assert float(found[2]) == pytest.approx(raw, abs=0.006)


def test_healthy_chains_get_rank_and_trace_plots() -> None:
    text = render(made_tree("nuts"))
    assert 'id="trait-1-chains-title"' in text
    assert 'class="alarm"' not in text
    assert "4 chains of 250 draws after 1,000 warm-up draws each" in Page(text).text


def test_sick_fit_without_spectrum_is_said_loudly_and_first() -> None:
    text = render(made_tree("nuts", sick=True, spectral=False))
    assert text.index('class="alarm" role="alert"') < text.index('class="headline"')
    page = Page(text)
    assert "Do not use these numbers." in page.text
    assert "R-hat of" in page.text
    assert "relatives cannot be decorrelated" in page.text
    assert "trait-1-spectrum-title" not in page.values("id")


def test_several_kernels_get_a_row_each() -> None:
    tree = made_tree("nuts", spectral=False)
    posterior = tree["posterior"].to_dataset()
    u, e = posterior["sigma2_u"], posterior["sigma2_e"]
    split = xr.concat([0.25 * u, 0.75 * u, e], "component").transpose("chain", "draw", "component")
    names = ["additive", "<b>household", "residual"]
    tree["posterior"] = (
        posterior.drop_dims("component").assign(variance=split).assign_coords(component=names)
    )
    page = Page(render(tree))
    assert "b" not in page.tags
    assert {"additive", "<b>household", "residual", "all but the residual"} <= set(page.texts)
    found = sections.variance_section(facts_of(tree), "k")["rows"]
    means = {row["label"]: float(row["mean"]) for row in found}
    assert means["additive"] == pytest.approx(0.25 * float(u.mean()), abs=0.006)
    assert means["<b>household"] == pytest.approx(0.75 * float(u.mean()), abs=0.006)


def test_weakly_informed_is_warned_with_the_part_of_the_prior(exact: xr.DataTree) -> None:
    from bayeslmm.posterior.summary import prior_contribution

    assert words.weakly_informed(facts_of(exact)) is None
    tree = made_tree("exact", spread=0.01)
    text = str(words.weakly_informed(facts_of(tree)))
    assert "Weakly informed." in text
    assert f"{100 * prior_contribution(tree):.2g}\u00a0% of the prior variance" in text


def test_interval_that_reaches_zero_is_said() -> None:
    tree = made_tree("nuts")
    h2 = tree["posterior"]["h2"]
    h2.values[:] = np.random.default_rng(1).beta(1, 20, h2.shape)
    assert "reaches down to 0" in words.meaning(facts_of(tree))
    assert "0.00–0.1" in words.headline(facts_of(tree))


def test_the_bayes_factor_says_how_it_was_found() -> None:
    cards = {label: str(told) for label, _, told in words.evidence(facts_of(made_tree("exact")))}
    assert "(marginal likelihoods)" in cards["log₁₀ Bayes factor"]  # by quadrature
    tree = made_tree("nuts")
    facts = facts_of(tree)
    assert "(Savage–Dickey, draws near 0)" in words.bayes_factor(1.0, words.how_weighed(facts))[1]
    tree["sample_stats"].attrs["log_evidence_nested"] = '{"h2": -50.0}'  # of several kernels
    assert "(marginal likelihoods)" in words.bayes_factor(1.0, words.how_weighed(facts))[1]


@pytest.fixture(scope="module")
def hostile_text() -> str:
    tree = made_tree("exact", trait="".join(HOSTILE), covariates=HOSTILE)
    return render(tree, command=" ".join(HOSTILE))


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_text(hostile_text: str, name: str) -> None:
    page = Page(hostile_text)
    assert not page.open
    assert not {"script", "img"} & set(page.tags)
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    assert svg.clean(name) in page.texts
    assert svg.clean("".join(HOSTILE)) in page.texts
    forbidden = "[\\x00-\\x08\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]"
    assert not re.search(forbidden, hostile_text)


def test_several_traits_get_an_overview(tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict(
        {"height": made_tree("exact"), "weight": made_tree("exact", trait="weight", seed=5)}
    )
    tree.attrs["command"] = "bayeslmm h2 --seed 7"
    path = report(tree, tmp_path / "new" / "a.html")
    assert path == tmp_path / "new" / "a.html"
    assert [p.name for p in path.parent.iterdir()] == ["a.html"]
    page = Page(path.read_text(encoding="utf-8"))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {"overview", "trait-1", "trait-2", "reproduce"} <= set(ids)
    assert "2 traits" in page.text
    assert "bayeslmm h2 --seed 7" in page.text


def test_tree_without_posterior_is_refused() -> None:
    with pytest.raises(InputError, match=r"no posterior in the tree -> .*PREFIX\.nc"):
        render(xr.DataTree())


def related(n: int = 40) -> Relationship:
    rng = np.random.default_rng(3)
    Z = rng.standard_normal((n, 100))
    matrix = Z @ Z.T / 100
    matrix[1], matrix[:, 1] = matrix[0], matrix[:, 0]
    matrix[1, 1] = matrix[0, 1] = matrix[1, 0] = matrix[0, 0]
    individuals = pd.MultiIndex.from_arrays(
        [[f"F{i}" for i in range(n)], [f"I{i}" for i in range(n)]], names=["FID", "IID"]
    )
    return Relationship(matrix, individuals)


def test_relatedness_counts_every_pair_once() -> None:
    found = relatedness(related())
    matrix = related().matrix
    above = matrix[np.triu_indices(40, 1)]
    assert found.pairs == 780
    assert found.edges[[0, -1]] == pytest.approx([above.min(), above.max()])
    np.testing.assert_array_equal(found.counts, np.histogram(above, found.edges)[0])
    assert found.diagonal_counts.sum() == 40
    assert "F0 I0" in found.notes[-1]


def test_relatedness_is_kept_with_the_tree() -> None:
    tree = made_tree("exact")
    assert relatedness_of(tree) is None
    assert add_relatedness(tree, related()) is tree
    kept = relatedness_of(tree)
    assert kept is not None
    expected = relatedness(related())
    np.testing.assert_array_equal(kept.counts, expected.counts)
    np.testing.assert_array_equal(kept.diagonal_edges, expected.diagonal_edges)
    assert kept.notes == expected.notes
    shown = sections.kernel_section(facts_of(tree), "k", relatedness_of(tree))
    assert 'id="k-related-title"' in shown["figures"][1]
    assert "780 pairs of 40 individuals" in shown["sentences"][1]
    assert "twins, or duplicated samples" in shown["notes"][-1]
    given = sections.kernel_section(facts_of(made_tree("exact")), "k", expected)
    assert given["figures"] == shown["figures"]


def test_relatedness_without_h2_has_nothing_to_agree_with() -> None:
    tree = made_tree("exact")
    tree["posterior"] = tree["posterior"].to_dataset().drop_vars("h2")
    kept = relatedness_of(add_relatedness(tree, related()))
    assert kept is not None
    assert kept.pairs == 780
    assert "agreement" not in tree.children


def test_relatedness_of_one_individual_and_of_the_identity() -> None:
    one = Relationship(np.eye(1), related().individuals[:1])
    assert relatedness(one).pairs == 0
    same = relatedness(Relationship(np.eye(5), related().individuals[:5]))
    assert same.pairs == 10
    assert same.diagonal_counts.sum() == 5


def test_bounded_density_is_a_density_up_to_the_edges() -> None:
    draws = np.random.default_rng(1).beta(1, 3, 20000)
    x = np.linspace(0, 1, 2001)
    density = densities.bounded_density(draws, x)
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-3)
    assert density[0] == pytest.approx(3.0, rel=0.1)  # Beta(1, 3) has the density 3 at 0
    inside = (x > 0.1) & (x < 0.9)
    assert np.abs(density - 3 * (1 - x) ** 2)[inside].max() < 0.12


def test_eigenvalue_bins_cover_everything_once() -> None:
    for m in (1, 5, 8, 9, 30, 1409):
        bins = predictive.eigenvalue_bins(np.arange(m, dtype=float))
        covered = np.concatenate([np.arange(m)[b] for b in bins])
        np.testing.assert_array_equal(covered, np.arange(m))
        assert min(b.stop - b.start for b in bins) >= min(m, 8)


def test_variance_check_has_the_level_it_says_under_the_model() -> None:
    rng = np.random.default_rng(4)
    s = np.sort(rng.gamma(0.5, 2.0, 500))
    u, e = np.full(400, 0.6), np.full(400, 0.4)
    outside = bins = 0
    for seed in range(60):
        contrasts = np.sqrt(0.6 * s + 0.4) * rng.standard_normal(500)
        check = predictive.variance_check(s, contrasts, u, e, seed)
        outside += check.outside()
        bins += check.size.size
    assert outside / bins == pytest.approx(0.05, abs=0.025)
    wrong = predictive.variance_check(s, np.sqrt(s) * rng.standard_normal(500), 0 * u, e + 1, 1)
    assert wrong.outside() > 0.4 * wrong.size.size


def test_variance_check_does_not_depend_on_the_order_of_eigenvalues() -> None:
    rng = np.random.default_rng(4)
    s, e = rng.gamma(0.5, 2.0, 100), rng.standard_normal(100)
    u = np.full(10, 0.5)
    order = np.argsort(s)
    first = predictive.variance_check(s, e, u, u, 1)
    second = predictive.variance_check(s[order], e[order], u, u, 1)
    np.testing.assert_array_equal(first.observed, second.observed)
    np.testing.assert_array_equal(first.replicated, second.replicated)


def test_normal_check_covers_the_whole_sample() -> None:
    z = np.random.default_rng(2).standard_normal(5000)
    check = predictive.normal_check(z)
    assert check.observed.size <= 240
    assert check.observed[[0, -1]] == pytest.approx([z.min(), z.max()])
    assert check.largest == pytest.approx(np.abs(z).max())
    assert abs(check.skewness) < 0.1
    assert abs(check.kurtosis) < 0.25
    heavy = predictive.normal_check(np.random.default_rng(2).standard_t(3, 5000))
    assert heavy.share_outside > 0.5


def test_ranks_of_independent_chains_are_even() -> None:
    draws = np.random.default_rng(2).standard_normal((4, 1000))
    counts = rank_counts(draws)
    np.testing.assert_array_equal(counts.sum(axis=1), 1000)
    np.testing.assert_array_equal(counts.sum(axis=0), 200)


def test_numbers_read_as_they_should() -> None:
    cases: list[tuple[Callable[..., str], tuple[float, ...], str]] = [
        (numbers.number, (0.60059, 0.0326), "0.601"),
        (numbers.number, (-1523.4, 12.0), "−1523"),
        (numbers.number, (float("nan"), 1.0), "–"),
        (numbers.number, (-0.0001, 0.1), "0.00"),
        (numbers.plain, (1.015564,), "1.02"),
        (numbers.plain, (0.000012,), "1.20 × 10⁻⁵"),
        (numbers.plain, (float("inf"),), "∞"),
        (numbers.probability, (0.0,), "< 0.0001"),
        (numbers.probability, (0.03,), "0.03"),
        (numbers.probability, (1.0,), "> 0.9999"),
        (numbers.p_value, (0.0314,), "= 0.031"),
        (numbers.p_value, (1e-5,), "= 1.0 × 10⁻⁵"),
        (numbers.percent, (1.05,), "105\u00a0%"),
        (numbers.percent, (0.0131,), "1.3\u00a0%"),
        (numbers.span, (0.536, 0.664, 0.033), "0.536–0.664"),
        (numbers.span, (-0.1, 0.2, 0.08), "−0.100 to 0.200"),
        (numbers.span, (0.0, 0.0, 0.0), "0"),
    ]
    assert [(f(*values)) for f, values, _ in cases] == [expected for _, _, expected in cases]


def test_trees_are_json_where_nested(exact: xr.DataTree) -> None:
    assert json.loads(exact.attrs["ledger"])  # the made tree has the shape of a real one
    assert len(INDIVIDUALS) == exact["observed_data"].sizes["individual"]
