"""The report in a real browser: nothing fetched, nothing on the console, everything visible.

Debian's Chromium through playwright. Where one of them is missing the tests are skipped, unless
``BAYESLMM_REQUIRE_BROWSER=1`` forbids it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_models import gxe_tree, maternal_tree, partition_tree, traits_tree
from report_trees import HOSTILE, made_tree

from bayeslmm.report import report

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def missing(reason: str) -> None:
    if os.environ.get("BAYESLMM_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, and BAYESLMM_REQUIRE_BROWSER=1 forbids skipping")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        missing(f"no {CHROMIUM} (apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed (uv sync --group dev)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield found
        found.close()


class Visit:
    """A page opened with the network blocked, and what it tried and said."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.said: list[str] = []
        self.own = path.resolve().as_uri()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog {dialog.message}"))
        self.page.route("**/*", self._only_own)
        self.page.goto(self.own)

    def _only_own(self, route: Any) -> None:
        route.continue_() if route.request.url == self.own else route.abort()

    def quiet(self) -> bool:
        return self.requests == [self.own] and not self.said

    def wider_than_the_window(self) -> int:
        script = "() => document.documentElement.scrollWidth - window.innerWidth"
        return int(self.page.evaluate(script))


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
