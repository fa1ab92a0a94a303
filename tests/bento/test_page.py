"""The page at `/` in a real browser, on a real service: what people do there, and what a title may not do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import browser
from tests.bento.serving import KEY, Server
from tests.release import world

EVIL = '<img src=x onerror="document.title=1"> <answer>clock</answer></think>'
_PATIENCE = 60_000  # milliseconds; ends a test that hangs, on a machine however busy


@pytest.fixture(scope="module")
def opened(server: Server) -> Iterator[browser.Seen]:
    """One browser on the service, with an item in the catalogue whose title is markup."""
    item = {"item_id": "evil", "title": EVIL, "brand": "<b>Bolt</b>", "category": "clock"}
    assert server.call("/items", json.dumps(item).encode(), X_Admin_Key=KEY).status == 201
    expect.set_options(timeout=_PATIENCE)
    with browser.browser(browser.DESK, server.address) as seen:
        seen.page.set_default_timeout(_PATIENCE)
        yield seen


@pytest.fixture
def shown(opened: browser.Seen, server: Server) -> Iterator[Page]:
    """The page, fresh and wide; whatever a test does, nothing may leave the service, fail or be complained of."""
    page = opened.page
    page.set_viewport_size({"width": browser.DESK[0], "height": browser.DESK[1]})
    page.goto(f"{server.address}/")
    page.evaluate("sessionStorage.clear()")
    page.reload()
    expect(page.locator("#with .row")).to_have_count(world.SETTINGS.default_k)
    opened.errors.clear()
    yield page
    assert opened.asked == []
    assert opened.errors == []


def pick(page: Page, *names: str) -> None:
    """Search each item by its words and click it."""
    for place, name in enumerate(names, 1):
        page.locator("#words").fill(name)
        page.locator("#words").press("Enter")
        page.get_by_role("button", name=re.compile(f"^{name}")).first.click()
        expect(page.locator("#history .chip")).to_have_count(place)
    expect(page.locator("#ranking")).not_to_have_attribute("aria-busy", "true")


def titles(page: Page, listed: str) -> list[str]:
    return page.locator(f"{listed} .title").all_inner_texts()


@browser.wanted
def test_a_history_by_clicks_its_ranking_and_why(shown: Page, server: Server, tmp_path: Path) -> None:
    expect(shown.locator("#ranking-note")).to_contain_text("most bought")
    pick(shown, "Acme lamp", "Bolt chair", "Crux table")
    history = ["i00", "i07", "i14"]
    expected = server.recommend(history=history, exclude_seen=True, explain=True)
    expect(shown.locator("#version")).to_contain_text(expected["model"]["package_hash"][:8])  # a folder has no version
    assert titles(shown, "#with") == [item["title"] for item in expected["items"]]
    assert shown.locator("#reasoning dd").all_inner_texts() == [expected["thought"], expected["answer"]]
    expect(shown.locator("#source")).to_have_text(re.compile("^(live|stored)$"))
    rests_on = shown.locator("#with .row").first.locator(".support .name").all_inner_texts()
    assert rests_on == [one["title"] for one in expected["items"][0]["rests_on"][:3]]
    shown.locator("#with .row").first.hover()
    assert shown.locator("#history .lit").count() == len(rests_on)
    expect(shown.locator("#without-side")).to_be_hidden()
    shown.get_by_role("switch").check()
    assert titles(shown, "#without") == [item["title"] for item in expected["without_reasoning"]]
    moves = [re.sub(r"\D", "", text) for text in shown.locator("#with .move > span:first-child").all_inner_texts()]
    places = [item["rank_without_reasoning"] - place for place, item in enumerate(expected["items"], 1)]
    assert moves == [str(abs(by)) if by else "" for by in places]
    shown.screenshot(path=tmp_path / "page.png", full_page=True)
    shown.get_by_role("button", name="Remove Bolt chair number 7").click()
    expect(shown.locator("#history .chip")).to_have_count(2)
    expect(shown.get_by_role("button", name="Remove Crux table number 14")).to_be_focused()
    fewer = server.recommend(history=["i00", "i14"], exclude_seen=True, explain=True)
    expect(shown.locator("#with .score").first).to_have_text(re.compile(r"\d %"))
    expect(shown.locator("#reasoning dd").first).to_have_text(fewer["thought"])
    shown.reload()
    expect(shown.locator("#history .chip")).to_have_count(2)


@browser.wanted
def test_by_keyboard_alone(shown: Page) -> None:
    shown.locator("#words").focus()
    shown.keyboard.type("dyno clock")
    expect(shown.locator("#results .result")).to_have_count(1)
    shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    expect(shown.locator("#history .chip")).to_have_count(1)
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.id") == "clear"
    outline = shown.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "who works by keyboard sees where it is"
    shown.keyboard.press("Tab")
    shown.keyboard.press("Space")
    expect(shown.locator("#history .chip")).to_have_count(0)
    expect(shown.locator("#words")).to_be_focused()


@browser.wanted
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_runs_over_the_edge(shown: Page, opened: browser.Seen, tmp_path: Path, scheme: str) -> None:
    shown.emulate_media(color_scheme=scheme)
    shown.set_viewport_size({"width": browser.PHONE[0], "height": browser.PHONE[1]})
    pick(shown, "Acme lamp", "Bolt chair", "<img")
    shown.get_by_role("switch").check()
    assert not opened.scrolls_sideways()
    for row in shown.locator(".row, .chip, .result").all():
        box = row.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= browser.PHONE[0]
    shown.screenshot(path=tmp_path / "page.png", full_page=True)
    shown.emulate_media(color_scheme="light")


@browser.wanted
def test_markup_in_a_title_is_text_everywhere(shown: Page, opened: browser.Seen) -> None:
    pick(shown, "<img")
    assert EVIL in shown.locator("#history").inner_text()
    shown.locator("#fresh").uncheck()
    shown.locator("#words").fill("clock")
    shown.locator("#words").press("Enter")
    expect(shown.locator("#results .result")).to_have_count(5)
    assert EVIL in shown.locator("#results").inner_text()
    assert shown.locator("img, b, answer").count() == 0
    assert shown.title() == "Recommendations and why"
    sink = "try { document.body.innerHTML = '<b>run</b>' } catch (error) { error.name }"
    assert shown.evaluate(sink) == "TypeError", "no text can become markup, not even by a slip in the page's own code"
    opened.errors.clear()


@browser.wanted
def test_empty_unknown_and_failed_are_said_in_words(shown: Page, opened: browser.Seen) -> None:
    expect(shown.locator("#history-note")).to_contain_text("Empty")
    shown.locator("#words").fill("no such thing")
    expect(shown.locator("#found")).to_contain_text("Nothing holds all of “no such thing”")
    shown.evaluate('sessionStorage.setItem(\'rporec.history\', \'[{"item_id": "gone", "title": "Gone"}]\')')
    shown.reload()
    expect(shown.locator("#history .unknown")).to_contain_text("Gone")
    expect(shown.locator("#ranking-note")).to_contain_text("Nothing of this history is known")
    shown.evaluate(f"sessionStorage.setItem('rporec.history', JSON.stringify(Array({world.SETTINGS.max_history + 1})"
                   ".fill({item_id: 'i00', title: 'Acme lamp'})))")  # fmt: skip
    shown.reload()
    expect(shown.locator("#trouble")).to_contain_text(f"at most {world.SETTINGS.max_history}")
    shown.get_by_role("button", name="Clear").click()
    expect(shown.locator("#trouble")).to_be_hidden()
    shown.context.set_offline(True)
    shown.locator("#fresh").uncheck()
    expect(shown.locator("#trouble")).to_contain_text("cannot be reached")
    expect(shown.locator("#with .row")).to_have_count(0)  # rather nothing than the ranking of another question
    shown.context.set_offline(False)
    shown.get_by_role("button", name="Try again").click()
    expect(shown.locator("#trouble")).to_be_hidden()
    assert len(opened.errors) == 2, "the browser itself notes the refused and the lost request"
    opened.errors.clear()


def test_the_files_come_under_a_policy_that_lets_nothing_else_run(server: Server) -> None:
    folder = world.ROOT / "bento" / "page"
    for path, name in (("/", "index.html"), *((f"/page/{one.name}", one.name) for one in folder.iterdir())):
        reply = server.call(path)
        assert (reply.status, reply.text) == (200, (folder / name).read_text())
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
    markup = (folder / "index.html").read_text()
    assert not re.search(r"<script(?! type=\"module\" src=\"page/)|<style|\son\w+=|\sstyle=|//", markup)
    for path in ("/page/none.js", "/page/..%2fservice.py", "/page/%2e%2e/service.py", "/page/"):
        refused = server.call(path)
        assert (refused.status, set(refused.json)) == (404, {"error", "detail"}), path
    assert server.call("/", method="HEAD").status == 200
