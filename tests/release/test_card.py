from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rporec.release import card, document, layout
from rporec.release.document import Grid, Paragraph, Points, Section
from tests.release import world

HOSTILE = "# *big* | `x` [a](http://b) <script>alert(1)</script>\n- more \u202e _end_"
LINEAGE = {"profile": "demo", "data_hash": "ab" * 32, "as_of": "2026-01-01", "ships": "backbone"}
PARAMS = {
    "ingest": {"source": "folder"}, "package": {"intended_use": "a test", "data_terms": "CC BY 4.0, of somebody"},
    "backbone": {"name": None}, "rechead": {"architecture": "hybrid"}, "align": {"steps": 1},
}  # fmt: skip


class _Text(HTMLParser):
    """Text and elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.elements = "", set[str]()
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}, "nothing from outside"


@pytest.fixture
def facts() -> card.CardFacts:
    return card.CardFacts(LINEAGE, PARAMS, world.metrics(), world.samples())  # type: ignore[arg-type]


def test_the_card_tells_use_terms_figures_limits_and_samples(facts: card.CardFacts) -> None:
    shown = document.markdown(card.title(facts), card.build(facts))
    for told in (
        "# rporec-demo", "## Intended use", "a test", "terms: CC BY 4.0, of somebody", "hash of the tables: abab",
        "| rporec | 0.1000 | 0.2000 | 0.0500 | 0.1000 | 0.0800 | \\[0.0500, 0.1500\\] |",
        "| fusion | 0.0100 | \\[-0.0100, 0.0300\\] |", "| item_tail | 5 | 0.0200 |",
        "weak in slice item_tail: NDCG@10 0.0200 on 5 rows", "95.0% of the completions", "## Reasoning that helped",
        "thought: They stay with Acme.", "(rank 2; 7 without reasoning)", "thought: \\<think\\>t", "answer: none",
    ):  # fmt: skip
        assert told in shown, told
    assert shown.count("answer: none") == 3, "at most three of a kind"
    assert "simulated" not in shown


def test_both_forms_say_the_same(facts: card.CardFacts) -> None:
    sections = card.build(facts)
    page = _Text(document.html(card.title(facts), sections))
    assert "script" not in page.elements
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Paragraph):
                texts: tuple[str, ...] = (block.text,)
            else:
                texts = block.texts if isinstance(block, Points) else (*block.head, *block.rows[0])
            assert all(text in page.text for text in texts)


def test_an_evaluation_without_rows_has_a_card(facts: card.CardFacts) -> None:
    found = world.metrics()
    empty = {"difference": None, "low": None, "high": None, "smallest_detectable": None, "n": 0, "users": 0}
    found["comparisons"] = {ranker: {"ndcg@10": empty} for ranker in world.RANKERS if ranker != "rporec"}
    found["rankers"] = {ranker: {**dict.fromkeys(world.FIGURES), "n": 0} for ranker in world.RANKERS}
    found |= {"slices": {}, "intervals": dict.fromkeys(world.RANKERS), "form": {"well_formed": None, "grounded": None}}
    sections = card.build(card.CardFacts(LINEAGE, PARAMS, found, {"good": [], "bad": []}))
    assert "| rporec | – |" in document.markdown("x", sections)
    assert "Slices" not in document.markdown("x", sections)


def test_what_a_text_holds_changes_neither_form() -> None:
    blocks = (Paragraph(HOSTILE), Points((HOSTILE,)), Grid(("a", "b"), ((HOSTILE, "1"),)))
    shown = document.markdown(HOSTILE, [Section("name", blocks)])
    lines = [line for line in shown.splitlines() if line]
    assert len(lines) == 7, "no text makes a line of its own"
    assert len(re.findall(r"(?<!\\)\|", lines[-1])) == 3, "nor a cell"
    assert "<script" not in shown.replace("\\<", "")
    page = _Text(document.html(HOSTILE, [Section("name", blocks)]))
    assert not {"script", "b", "a"} & page.elements
    assert "<script>alert(1)</script>" in page.text


def test_a_package_holds_both_and_neither_tells_where_or_when(package: Path) -> None:
    for name in (layout.CARD, layout.CARD_PAGE):
        text = (package / name).read_text(encoding="utf-8")
        assert "rporec-demo" in text
        assert str(package.parent) not in text
        assert not re.search(r"\b\d\d:\d\d\b|\b[0-9a-f]{40}\b", text), "no time, no commit"
