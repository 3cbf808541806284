"""The report's sections on the prior and on what the study could have found."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from engine_oracles import exact_tree
from report_models import partition_tree, traits_tree
from report_pages import facts_of
from report_trees import made_tree

from bayeslmm.checks.sensitivity import prior_sensitivity
from bayeslmm.report import render
from bayeslmm.report.detectable import detectable_section, sentence
from bayeslmm.report.sensitivity import sensitivity_section, verdicts
from bayeslmm.study.detectable import ExpectedInterval


def row(prior: str, mean: float, lower: float, upper: float, **more: object) -> dict[str, object]:
    usual = {
        "quantity": "h2", "fitted": prior == "flat", "sd": 0.1, "trusted": True,
        "prior_p_below_0.01": 0.05,
    }  # fmt: skip
    return {**usual, "prior": prior, "mean": mean, "lower": lower, "upper": upper, **more}


def text_of(rows: list[dict[str, object]]) -> str:
    (found,) = verdicts(facts_of(made_tree("exact")), rows)
    return re.sub(r"<[^>]*>", "", str(found))


@pytest.mark.parametrize(
    ("move", "words"),
    [(0.01, "hardly matters"), (0.05, "matters a little"), (0.12, "what these data say depends")],
)
def test_the_verdict_follows_how_far_the_posterior_moves(move: float, words: str) -> None:
    rows = [row("flat", 0.4, 0.2, 0.6), row("pc", 0.4 - move, 0.2 - move, 0.6 - move)]
    text = text_of(rows)
    assert words in text
    assert "0.20–0.60 under the prior of this fit" in text
    assert "stays clear of 0 under every one" in text


def test_whether_zero_is_reached_is_told_by_prior() -> None:
    rows = [
        row("flat", 0.2, 0.02, 0.4),
        row("pc", 0.1, 0.0, 0.3),
        row("beta(2,2)", 0.3, 0.1, 0.5, **{"prior_p_below_0.01": 0.0003}),
    ]
    text = text_of(rows)
    assert "depends on the prior: it does under pc, it does not under flat." in text
    rows[0]["lower"] = 0.0
    # Beta(2, 2) rules 0 out by itself: it is no witness
    assert "reaches 0 under every one of them that does not rule 0 out by itself" in text_of(rows)


def test_priors_that_all_rule_zero_out_say_nothing_of_it() -> None:
    never = {"prior_p_below_0.01": 0.0003}
    rows = [row("flat", 0.3, 0.1, 0.5, **never), row("beta(2,2)", 0.3, 0.1, 0.5, **never)]
    assert " 0 under every one" not in text_of(rows)


def test_untrusted_priors_are_left_out_of_the_verdict() -> None:
    rows = [row("flat", 0.4, 0.2, 0.6), row("pc", 0.0, 0.0, 0.1, trusted=False)]
    assert "not one that this report can exchange" in text_of(rows)


def test_one_kernel_has_table_figures_and_power_scaling() -> None:
    facts = facts_of(exact_tree())
    found = sensitivity_section(facts, "t")
    assert [one["label"] for one in found["rows"]] == [
        "flat (this fit)", "beta(0.5,0.5)", "beta(2,2)", "half-t", "pc",
    ]  # fmt: skip
    assert found["rows"][0]["prior"] == ["0.01", "0.05", "0.1"]
    assert found["densities"].count("<title") == 1
    assert "under flat, beta(0.5,0.5), beta(2,2), half-t, pc" in found["densities"]
    labels = [one["label"] for one in found["scaled"]]
    assert {"h2", "pve_fixed", "pve_random", "pve_total"} <= set(labels)
    assert any("cannot detect sensitivity to a flat prior" in note for note in found["notes"])
    assert found["by_bf"]


def test_a_given_table_is_used() -> None:
    facts, table = facts_of(exact_tree()), prior_sensitivity(exact_tree())
    table.loc[table["prior"] == "pc", "mean"] = 0.987
    found = sensitivity_section(facts, "t", table)
    assert found["rows"][-1]["mean"] == "0.99"


@pytest.mark.parametrize("tree", [partition_tree, traits_tree], ids=["partition", "traits"])
def test_models_without_densities_show_their_own_prior(tree: object) -> None:
    assert callable(tree)
    found = sensitivity_section(facts_of(tree()), "t")
    assert found["rows"]
    assert all(one["fitted"] for one in found["rows"])
    assert found["densities"] is None


def test_the_page_has_both_sections_and_the_warnings() -> None:
    tree = exact_tree().copy()
    tree.attrs["warnings"] = json.dumps(["height: weakly <script>alert(1)</script> informed"])
    page = render(tree)
    assert "Does the prior matter?" in page
    assert "What could this study have found?" in page
    assert "Warning</strong>" not in page
    assert "<strong>Warning of the run</strong>" in page
    assert "weakly &lt;script&gt;alert(1)&lt;/script&gt; informed" in page
    assert "Warning of the run" not in render(exact_tree())


def test_the_box_has_a_row_for_each_truth() -> None:
    found = detectable_section(facts_of(exact_tree()))
    assert found is not None
    assert [one["h2"] for one in found["rows"]] == ["0.1", "0.3", "0.5"]
    assert all(one["se"] != "–" for one in found["rows"])
    assert detectable_section(facts_of(traits_tree())) is None
    assert detectable_section(facts_of(made_tree("nuts", spectral=False))) is None


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ([(0.1, 0.93, 0.4), (0.5, 0.93, 0.5)], "Next to nothing"),
        ([(0.1, 0.4, 0.1), (0.5, 0.5, 0.6)], "even at a true h² of 0.5"),
        ([(0.1, 0.3, 0.5), (0.5, 0.4, 0.9)], "At a true h² of 0.5 the interval would exclude 0"),
        ([(0.1, 0.1, 0.97), (0.5, 0.1, 1.0)], "At a true h² of 0.1 the interval would exclude 0"),
    ],
)
def test_the_sentence_names_what_could_be_found(
    cases: list[tuple[float, float, float]], words: str
) -> None:
    found = tuple(ExpectedInterval(h2, 0.1, width, power) for h2, width, power in cases)
    assert words in str(sentence(found, 100))


def test_rows_of_a_joint_table_are_picked_by_trait() -> None:
    table = prior_sensitivity(exact_tree())
    other = table.assign(trait="other", mean=0.5)
    trait = str(exact_tree().attrs["trait"])
    both = pd.concat([table.assign(trait=trait), other])
    assert render(exact_tree(), sensitivity=both) == render(exact_tree())
    assert np.isfinite(table["mean"].iloc[0])
