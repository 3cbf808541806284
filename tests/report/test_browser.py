"""The report in a real browser: nothing fetched, nothing on the console, everything visible.

Debian's Chromium through playwright. Where one of them is missing the tests are skipped, unless
``BAYESLMM_REQUIRE_BROWSER=1`` forbids it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import Visit
from browser import browser as _browser
from report_models import gxe_tree, maternal_tree, partition_tree, traits_tree
from report_trees import HOSTILE, made_tree

from bayeslmm.report import report

browser = _browser  # the fixture


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    return report(made_tree("nuts"), path, command="x" * 300)


def test_page_needs_nothing_and_says_nothing(browser: Any, chains: Path) -> None:
    visit = Visit(browser, chains)
    assert visit.quiet(), (visit.requests, visit.said)
    assert visit.page.locator("h2").first.inner_text() == "height"
    for figure in visit.page.locator("svg").all():
        box = figure.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 50
    visit.context.close()


@pytest.mark.parametrize(
    "options",
    [{"viewport": {"width": 380, "height": 800}}, {"color_scheme": "dark"}],
    ids=["telephone", "dark"],
)
def test_page_fits_other_screens(browser: Any, chains: Path, options: dict[str, Any]) -> None:
    visit = Visit(browser, chains, **options)
    assert visit.quiet(), (visit.requests, visit.said)
    assert visit.wider_than_the_window() <= 0
    script = "() => ['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k])"
    ink, paper = visit.page.evaluate(script)
    assert ink != paper
    visit.context.close()


def test_hostile_names_do_nothing(browser: Any, tmp_path: Path) -> None:
    tree = made_tree("exact", trait="".join(HOSTILE), covariates=HOSTILE)
    visit = Visit(browser, report(tree, tmp_path / "report.html", command=" ".join(HOSTILE)))
    assert visit.quiet(), (visit.requests, visit.said)
    assert visit.page.locator("script, img").count() == 0
    visit.context.close()


@pytest.mark.parametrize("width", [380, 1000])
@pytest.mark.parametrize(
    "make", [partition_tree, maternal_tree, gxe_tree, traits_tree], ids=lambda make: make.__name__
)
def test_models_of_several_parts_fit_and_no_label_lies_on_another(
    browser: Any, tmp_path: Path, make: Any, width: int
) -> None:
    visit = Visit(
        browser, report(make(), tmp_path / "report.html"), viewport={"width": width, "height": 800}
    )
    assert visit.quiet(), (visit.requests, visit.said)
    assert visit.wider_than_the_window() <= 0
    # words in a figure, in the units of the screen: no two may share more than a hair
    script = """() => [...document.querySelectorAll('svg')].flatMap(figure => {
        const boxes = [...figure.querySelectorAll('text')].map(
            text => [text.textContent, text.getBoundingClientRect()]);
        const found = [];
        boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
            const across = Math.min(p.right, q.right) - Math.max(p.left, q.left);
            const down = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
            if (across > 2 && down > 4) found.push(`${a} / ${b}`);
        }));
        return found;
    })"""
    assert visit.page.evaluate(script) == []
    visit.context.close()
