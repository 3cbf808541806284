"""A page in headless Chromium, with the network blocked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
