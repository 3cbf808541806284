"""The report of models with several components, kernels and traits: what it says of each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from report_models import (
    DRAWS,
    SHAPE,
    components_tree,
    dominance_tree,
    gxe_tree,
    kernel_facts,
    maternal_tree,
    partition_tree,
    repeated_tree,
    traits_tree,
)
from report_pages import Page, facts_of
from report_trees import HOSTILE, made_tree

from bayeslmm.posterior.summary import heritability
from bayeslmm.report import (
    checks,
    engine_text,
    kernel_text,
    model_text,
    names,
    overview,
    parts,
    render,
    sections,
    several,
    svg,
)
from bayeslmm.report import text as words
from bayeslmm.report.chain_plots import shown_draws
from bayeslmm.report.estimates import pve_labels
from bayeslmm.report.facts import read_facts
from bayeslmm.report.part_plots import Segment, stack_figure

TREES: dict[str, Callable[[], xr.DataTree]] = {
    "dominance": dominance_tree,
    "partition": partition_tree,
    "maternal": maternal_tree,
    "gxe": gxe_tree,
    "repeated": repeated_tree,
    "two traits": traits_tree,
    "three traits": lambda: traits_tree(("a", "b", "c")),
    "fallen back to NUTS": lambda: dominance_tree(fallen_back=True),
    "two traits by NUTS": lambda: traits_tree(fallen_back=True),
}


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {name: render(make()) for name, make in TREES.items()}


@pytest.mark.parametrize("name", TREES)
def test_every_page_is_well_formed_and_described(texts: dict[str, str], name: str) -> None:
    page = Page(texts[name])
    assert not page.open
    assert not {"script", "img", "b"} & set(page.tags)  # <b> stands in a step of the engine
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    titles = [v for tag, key, v in page.attributes if tag == "svg" and key == "aria-labelledby"]
    assert len(titles) == page.tags.count("svg") >= 4
    assert set(titles) <= set(ids)
    assert "nan" not in re.sub(r"[a-z]+nan|nan[a-z]+", "", page.text.lower()).split()
    assert 'class="alarm"' not in texts[name]


@pytest.mark.parametrize("name", ["maternal", "two traits by NUTS"])
def test_same_tree_same_text(texts: dict[str, str], name: str) -> None:
    assert render(TREES[name]()) == texts[name]


def test_h2_is_said_to_be_all_genetic_components(texts: dict[str, str]) -> None:
    text = Page(texts["dominance"]).text
    assert "all genetic components together ( additive and dominance )" in text
    mean = float(dominance_tree()["posterior"]["h2"].mean())
    assert f"about {100 * mean:.0f} % is genetic" in text


def test_genetic_components_are_found_from_the_draws() -> None:
    assert facts_of(repeated_tree()).genetic == ["additive"]
    assert facts_of(maternal_tree()).genetic == ["direct", "maternal", "direct_maternal"]
    assert facts_of(maternal_tree()).signed == ["direct_maternal"]
    assert facts_of(made_tree("nuts")).genetic == ["additive"]
    tree = repeated_tree()  # an h² of the model's own, no sum of shares
    tree["posterior"]["h2"].values[:] = np.random.default_rng(1).uniform(size=SHAPE)
    facts = facts_of(tree)
    assert facts.genetic == []
    assert "h² as the model defines it" in words.meaning(facts)


def test_other_components_are_named_with_their_share(texts: dict[str, str]) -> None:
    assert re.search(
        r"genetic \(component additive \); the other components are permanent \(2\d.%\)",
        Page(texts["repeated"]).text,
    )


def test_parts_have_the_numbers_of_the_draws() -> None:
    tree = dominance_tree()
    found = parts.parts_section(facts_of(tree), "k")
    assert found is not None
    variance = tree["posterior"]["variance"].to_numpy()
    share = variance / variance.sum(axis=-1, keepdims=True)
    for k, row in enumerate(found["rows"]):
        assert row["label"] == ["additive", "dominance", "residual"][k]
        assert float(row["mean"]) == pytest.approx(share[..., k].mean(), abs=6e-4)
        assert float(row["variance"]) == pytest.approx(variance[..., k].mean(), abs=6e-3)
    below = float(np.mean(share[..., 1] < 0.01))
    assert below > parts.AT_ZERO
    assert found["rows"][1]["below"] == f"{below:.3f}".rstrip("0")
    assert [row["word"] for row in found["rows"]] == ["", "at zero", ""]
    assert [row["below"] for row in found["rows"]][::2] == ["< 0.0001", "–"]


def test_at_zero_reaching_zero_and_above_zero_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    tree = components_tree(
        "partitioned",
        {"one": 0.3, "none": rng.beta(0.3, 60, SHAPE), "maybe": rng.beta(1, 12, SHAPE)},
        ["one", "none", "maybe"],
    )
    facts = facts_of(tree)
    at_zero = {part.name: (part.at_zero, part.reaches_zero) for part in parts.parts_of(facts)}
    assert at_zero == {
        "one": (False, False),
        "none": (True, False),
        "maybe": (False, True),
        "residual": (False, False),
    }
    said = [str(sentence) for sentence in parts.zero_sentences(parts.parts_of(facts))]
    assert "Above zero" in said[0]
    assert "one" in said[0]
    assert said[1].startswith("At zero")
    assert "none" in said[1]
    assert "do not show" in said[2]
    assert "maybe" in said[2]
    p = float(np.mean(facts.draws("variance")[..., 2] / facts.draws("variance").sum(-1) < 0.01))
    assert f"({p:.3f}".rstrip("0") in said[2]


def test_parts_of_a_simple_model_have_no_section() -> None:
    for tree in (made_tree("exact"), traits_tree()):
        assert parts.parts_section(facts_of(tree), "k") is None


def test_twenty_parts_stay_readable(texts: dict[str, str]) -> None:
    page = Page(texts["partition"])
    bar = re.search(r'<svg[^>]*aria-labelledby="trait-1-stack-title".*?</svg>', texts["partition"],
                    re.DOTALL)  # fmt: skip
    assert bar is not None
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", bar[0])
    assert {"chr3", "chr7", "residual"} <= set(drawn)
    assert "chr5" not in drawn  # too narrow for a name
    assert "chr5 " in bar[0]  # but described
    forest = re.search(r'<svg[^>]*aria-labelledby="trait-1-parts-title".*?</svg>',
                       texts["partition"], re.DOTALL)  # fmt: skip
    assert forest is not None
    assert all(f">chr{k}</text>" in forest[0] for k in range(1, 21))
    assert "At zero: 18 of 20 components" in page.text
    assert "chr1 , chr2 , chr4 , chr5 and 14 more" in page.text
    assert len(texts["partition"]) < 1_500_000


def test_stacked_bar_turns_and_drops_labels_that_do_not_fit() -> None:
    pieces = [Segment("wide one", 0.9, "genetic"), Segment("short", 0.03, "genetic"),
              Segment("much_too_long_a_name", 0.05, "genetic"),
              Segment("x", 0.005, "residual")]  # fmt: skip
    text = str(stack_figure([("", pieces)], "k", "d"))
    placed = {name: where for where, name in re.findall(r"<text([^>]*)>([^<]*)</text>", text)}
    assert "rotate(-90" not in placed["wide one"]
    assert "rotate(-90" in placed["short"]
    assert not {"x", "much_too_", "much_too_long_a_name"} & set(placed)
    wide = str(stack_figure([("", [Segment("maternal_environment", 0.14, "genetic"),
                                   Segment("residual", 0.86, "residual")])], "k", "d"))  # fmt: skip
    assert ">maternal_</text>" in wide
    assert ">environment</text>" in wide


def test_covariance_is_one_and_not_tested_against_zero(texts: dict[str, str]) -> None:
    page = Page(texts["maternal"])
    assert re.search(r"direct_maternal : a covariance, which may be negative", page.text)
    found = parts.parts_section(facts_of(maternal_tree()), "k")
    assert found is not None
    row = next(row for row in found["rows"] if row["label"] == "direct_maternal")
    assert (row["kind"], row["below"], row["word"]) == ("covariance", "–", "")
    assert row["mean"].startswith("−")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("maternal", {"h2_direct", "h2_total", "r_direct_maternal"}),
        ("repeated", {"repeatability"}),
        ("gxe", {"r_intercept_slope", "residual_variance[farm]", "residual_variance[field]"}),
        ("dominance", set()),
        ("two traits", set()),
    ],
)
def test_other_quantities_are_in_a_table(name: str, expected: set[str]) -> None:
    facts = facts_of(TREES[name]())
    rows = {row["label"]: row for row in parts.others_section(facts)}
    assert set(rows) == expected
    for label, row in rows.items():
        assert row["meaning"]
        assert float(row["mean"].replace("−", "-")) == pytest.approx(
            facts.number(label), abs=0.5 * 10.0 ** -len(row["mean"].partition(".")[2]) + 1e-9
        )
    if "repeatability" in rows:
        assert rows["repeatability"]["kind"] == "95\u00a0% HDI"
    if "r_direct_maternal" in rows:
        r = facts.draws("r_direct_maternal")
        assert (
            f"P(r < 0) = {np.mean(r < 0):.3f}".rstrip("0") in rows["r_direct_maternal"]["meaning"]
        )
        assert rows["r_direct_maternal"]["kind"] == "95\u00a0% ETI"


def test_records_are_counted_beside_individuals(texts: dict[str, str]) -> None:
    assert "120 records of 60 individuals were analysed" in Page(texts["repeated"]).text
    assert "120 individuals were analysed" in Page(texts["dominance"]).text
    assert "120 records of 60 individuals" in Page(texts["two traits"]).text


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("dominance", ["<sub><bdi>dominance</bdi></sub>", "σ²<sub>1</sub> + σ²<sub>2</sub>"]),
        ("partition", ["Σ<sub>k</sub>", "1, …, 20"]),
        ("maternal", ["σ<sub>am</sub>", "Σ ⊗ <var>A</var>"]),
        ("gxe", ["σ²<sub>e, group of i</sub>"]),
        ("repeated", ["<var>Zu</var>", "repeatability = "]),
        ("two traits", ["<var>G</var> ⊗ <var>K</var>", "<var>r</var><sub>g</sub>"]),
    ],
)
def test_formula_is_that_of_the_model(texts: dict[str, str], name: str, pieces: list[str]) -> None:
    formula = texts[name].split('<div class="formula">')[1].split("</div>")[0]
    assert all(piece in formula for piece in pieces)


def test_formula_of_household_counts_the_genetic_part_only() -> None:
    tree = components_tree("household", {"additive": 0.3, "<i>home": 0.2}, ["additive"])
    lines = [str(line) for line in model_text.formula(facts_of(tree), "household")]
    assert "<var>c</var><sub>2</sub>" in lines[0]
    assert "&lt;i&gt;home" in lines[2]
    above = lines[-1].split("<span>")[1]
    assert "σ²<sub>1</sub>" in above
    assert "σ²<sub>2</sub>" not in above


def test_formula_of_a_changed_file_is_not_shown() -> None:
    tree = dominance_tree()
    tree.attrs["model_sha256"] = "0" * 64
    assert sections.model_section(facts_of(tree))["formula"] == []


def test_several_traits_get_rows_for_each(texts: dict[str, str]) -> None:
    tree = traits_tree()
    text = Page(texts["two traits"]).text
    for k, trait in enumerate(("height", "weight")):
        h2 = tree["posterior"]["h2"].to_numpy()[..., k]
        assert f"{h2.mean():.2f} for {trait}" in text
    r = tree["posterior"]["r_g"].to_numpy()[..., 0, 1]
    assert f"The genetic correlation is {r.mean():.2f}" in text
    found = several.traits_section(facts_of(tree), "k")
    assert found is not None
    genetic, residual = found["correlations"]
    assert (genetic["kind"], residual["kind"]) == ("genetic", "residual")
    assert float(genetic["mean"]) == pytest.approx(r.mean(), abs=6e-4)
    r_e = tree["posterior"]["r_e"].to_numpy()[..., 0, 1]
    assert float(residual["negative"]) == pytest.approx(np.mean(r_e < 0), abs=6e-4)
    assert found["notes"] == []
    assert [row["label"] for row in found["rows"]] == ["height", "weight"]


def test_three_traits_have_three_pairs_in_a_forest(texts: dict[str, str]) -> None:
    found = several.traits_section(facts_of(traits_tree(("a", "b", "c"))), "k")
    assert found is not None
    assert [row["label"] for row in found["correlations"]] == ["a, b", "a, c", "b, c"] * 2
    assert "r_g  b, c" in found["correlation_figure"]
    assert "The genetic correlation of a and b is" in Page(texts["three traits"]).text


def test_correlation_at_its_boundary_is_said_in_words() -> None:
    rng = np.random.default_rng(1)
    tree = traits_tree(r_g=1 - rng.beta(1, 40, SHAPE))
    facts = facts_of(tree)
    [note] = several.notes(facts, "r_g", ("height", "weight"))
    assert "reaches 1: the genetic parts of the two traits may be the same" in note
    p = np.mean(tree["posterior"]["r_g"].to_numpy()[..., 0, 1] > 0.95)
    assert f"0.95) = {p:.3f}".rstrip("0") in note
    assert note in render(tree)
    tree = traits_tree(r_g=rng.uniform(-1, 1, SHAPE))
    vague = several.notes(facts_of(tree), "r_g", ("height", "weight"))
    assert any("hardly known" in note for note in vague)
    tree = traits_tree(r_g=rng.beta(1, 60, SHAPE) - 1)
    assert "reaches −1" in several.notes(facts_of(tree), "r_g", ("height", "weight"))[0]
    constant = several.notes(facts_of(traits_tree(r_g=np.zeros(SHAPE))), "r_g",
                             ("height", "weight"))  # fmt: skip
    assert "has not been estimated" in constant[0]


def test_h2_of_a_trait_that_reaches_zero_is_said() -> None:
    tree = traits_tree()
    tree["posterior"]["h2"].values[..., 1] = np.random.default_rng(1).beta(1, 20, SHAPE)
    found = several.traits_section(facts_of(tree), "k")
    assert found is not None
    [note] = found["zero"]
    assert "weight" in note
    assert "height" not in note


def test_overview_has_a_row_for_every_trait() -> None:
    tree = xr.DataTree.from_dict(
        {"both": traits_tree(), "growth": made_tree("exact", trait="growth")}
    )
    page = Page(render(tree))
    assert "2 traits" in page.text  # sections
    rows = overview.overview(read_facts(tree, heritability(tree)))["rows"]
    assert [svg.clean(row["trait"]) for row in rows] == [
        f"<bdi>{name}</bdi>" for name in ("height", "weight", "growth")
    ]
    assert rows[0]["id"] == rows[1]["id"] == "trait-1"


def test_importance_sampling_is_explained_with_its_health() -> None:
    text = engine_text.engine(facts_of(dominance_tree()))
    for part in ("2,345 evaluations", "k̂ of the weights is 0.31: good", "importance ESS is 612",
                 "−321.500 (Monte Carlo standard error 0.020)"):  # fmt: skip
        assert part in text
    assert "independent by construction" not in text


@pytest.mark.parametrize(("k", "word"), [(-0.1, "good"), (0.49, "good"), (0.5, "usable"),
                                         (0.69, "usable"), (0.7, "unreliable")])  # fmt: skip
def test_bands_of_pareto_k(k: float, word: str) -> None:
    assert engine_text.pareto_meaning(k).startswith(word)
    assert engine_text.k_hat(k) == f"{k:.2f}".replace("-", "−")
    assert engine_text.k_hat(float("inf")) == "∞"


def test_importance_ess_bounds_the_table(texts: dict[str, str]) -> None:
    found = sections.diagnostics_section(facts_of(dominance_tree()), "k")
    ess = {float(row["ess_bulk"].replace(",", "")) for row in found["rows"]}
    assert max(ess) <= 612
    assert found["bounded"]
    assert found["figure"] is None  # resampled draws are no chains
    labels = [row["label"] for row in found["rows"]]
    assert {"h2", "share[dominance]", "beta[sex]"} <= set(labels)
    assert "Every ESS is limited by the importance ESS" in Page(texts["dominance"]).text
    assert "mode: log p = -318.2 <b>" in Page(texts["dominance"]).text


def test_fit_that_went_on_to_nuts_shows_chains_and_says_so(texts: dict[str, str]) -> None:
    text = Page(texts["fallen back to NUTS"]).text
    assert "fallen back to NUTS" in text
    assert "k̂ = 1.73" in text
    assert "4 chains of 250 draws" in text
    assert "−321.5" not in text  # the evidence of weights that failed
    assert "which failed: the draws come from NUTS" in text
    assert 'id="trait-1-chains-title"' in texts["fallen back to NUTS"]
    assert "Every ESS is limited by" not in text


def test_chain_plots_show_the_shares_that_mixed_worst() -> None:
    tree = partition_tree(fallen_back=True)
    variance = tree["posterior"]["variance"].values
    variance[0, :, 4] += 0.5  # one chain elsewhere in chr5
    shown = list(shown_draws(facts_of(tree)))
    assert len(shown) == 6
    assert shown[0] == "h²"
    assert "share[chr5]" in shown
    both = shown_draws(facts_of(traits_tree(fallen_back=True)))
    assert set(both) == {"h²[height]", "h²[weight]", "r_g[height,weight]", "r_e[height,weight]"}


def test_kernels_are_told_with_their_kind_and_scale() -> None:
    kernels = {
        "additive": kernel_facts("additive", estimator="pedigree", kernel_scale="none",
                                 n_variants=None, source="<ped>.txt"),
        "home": kernel_facts("home", estimator="group", kernel_scale="none", kind="environment",
                             n_variants=None),
    }  # fmt: skip
    tree = components_tree(
        "household", {"additive": 0.3, "home": 0.2}, ["additive"], kernels=kernels
    )
    first, second = (str(sentence) for sentence in kernel_text.kernels(facts_of(tree)))
    assert "variance of the base population" in first
    assert "&lt;ped&gt;.txt" in first
    assert "variants" not in first
    assert "of the environment (not counted in h²)" in second
    assert "variance between groups" in second
    [scaled] = kernel_text.kernels(facts_of(gxe_tree()))
    assert "divided by 1.25" in scaled
    assert "GEMMA" not in scaled  # other scales are those of one kernel and one component


def test_many_kernels_are_a_table(texts: dict[str, str]) -> None:
    facts = facts_of(partition_tree())
    table = kernel_text.kernel_table(facts)
    assert [row["name"] for row in table] == facts.components[:-1]
    assert table[0]["variants"] == "100"
    assert table[0]["divided"] == "1.25"
    assert len(kernel_text.kernels(facts)) == 1
    assert Page(texts["partition"]).text.count("each variant centred and divided") == 20


def test_spectrum_is_shown_only_where_there_is_one(texts: dict[str, str]) -> None:
    assert 'id="trait-1-spectrum-title"' in texts["two traits"]
    assert 'id="trait-1-spectrum-title"' not in texts["dominance"]


def test_residuals_are_checked_trait_by_trait() -> None:
    tree = traits_tree()
    facts = facts_of(tree)
    found = checks.residual_checks(facts, "k")
    assert len(found["figures"]) == 2
    y = tree["observed_data"]["phenotype"].to_numpy()
    design = facts.constant("design")
    assert design is not None
    np.testing.assert_array_equal(checks.records_of(facts, "weight", design), np.arange(120) >= 60)
    beta = tree["posterior"]["beta"].to_numpy().mean(axis=(0, 1))
    for k, trait in enumerate(("height", "weight")):
        own = y[60 * k : 60 * (k + 1)] - beta[k]
        sentence = next(str(w) for w in found["sentences"] if f"Xβ of <bdi>{trait}" in str(w))
        value = float(re.search(r"sample variance ([\d.]+);", sentence)[1])  # type: ignore[index]
        assert value == pytest.approx(own.var(ddof=1), rel=0.05)
    assert "coarse check" in found["sentences"][-1]


def test_realised_parts_are_named_after_the_components(texts: dict[str, str]) -> None:
    realised, shares = pve_labels(facts_of(repeated_tree()))
    assert list(shares.values()) == [
        *("fixed Xβ", "additive", "permanent", "2 × covariances", "residual ε")
    ]
    assert realised["pve_random"] == "all random parts"
    realised, shares = pve_labels(facts_of(traits_tree()))
    assert realised["pve_random[weight]"] == "weight: random g"
    assert shares["pve_share[height, covariance]"] == "height: 2 cov(Xβ, g)"


def test_hostile_names_of_components_traits_and_groups_are_text() -> None:
    hostile = [name for name in HOSTILE if "\x00" not in name]
    pages = [
        components_tree("partitioned", dict.fromkeys(hostile, 0.1), hostile),
        traits_tree(hostile[:2], fallen_back=True),
        gxe_tree(hostile[:2]),
    ]
    pages[0].attrs["relationships"] = json.dumps(
        {name: kernel_facts(name, source=name, estimator=name) for name in hostile}
    )
    for tree in pages:
        text = render(tree)
        page = Page(text)
        assert not page.open
        assert not {"script", "img"} & set(page.tags)
        assert not [key for _, key, _ in page.attributes if key.startswith("on")]
        assert not re.search("[\\u202a-\\u202e]", text)
        assert svg.clean(hostile[0]) in page.text


def test_lists_in_words() -> None:
    assert names.some(["a"]) == "<bdi>a</bdi>"
    assert names.listed(["a", "b", "<c>"]) == "a, b and &lt;c&gt;"
    assert names.some(list("abcdef")).endswith("<bdi>d</bdi> and 2 more")
    assert names.some(list("abcde")).endswith("<bdi>e</bdi>")


def test_weak_words_need_the_spectrum_of_one_kernel() -> None:
    assert words.weakly_informed(facts_of(traits_tree())) is None
    assert words.weakly_informed(facts_of(partition_tree(3, extra={"x": (DRAWS, np.ones(SHAPE))})))\
        is None  # fmt: skip
