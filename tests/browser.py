"""A page in a real browser: Chromium as the system has it, driven by Playwright, cut off from any network but its own.

For tests of pages that people look at. Not for tests of markup, which need no browser.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, Request, sync_playwright

DESK, PHONE = (1280, 900), (360, 740)  # pixels
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
wanted = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)")


@dataclass
class Seen:
    """A page, what it asked for beyond itself, and what it complained of."""

    page: Page
    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def scrolls_sideways(self) -> bool:
        """Tell whether the page is wider than the window."""
        wide = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return bool(wide)


@contextmanager
def browser(size: tuple[int, int], origin: str = "") -> Iterator[Seen]:
    """Open a window of a size [pixels] whose page has no network but one origin, such as "http://127.0.0.1:3000".

    Requests beyond it, and beyond files where none is given, are noted and do not go out.
    """
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = chromium.new_page(viewport={"width": size[0], "height": size[1]})
            seen = Seen(page)
            page.context.set_offline(not origin)
            at_home = (f"{origin}/",) if origin else ("file:", "data:")

            def note(request: Request) -> None:
                if not request.url.startswith(at_home):
                    seen.asked.append(request.url)

            if origin:
                page.route(lambda url: not url.startswith(at_home), lambda route: route.abort())

            page.on("request", note)
            page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: seen.errors.append(str(error)))
            yield seen
        finally:
            chromium.close()
