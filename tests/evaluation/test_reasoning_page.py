"""The page about the written reasoning: whole, offline, its figures those of reasoning.json, data never markup."""

import re

import pytest

from rporec.evaluation.markup import text
from rporec.evaluation.reasoning_page import render_reasoning
from rporec.evaluation.written import judge
from rporec.reasoning.prompt import item_line
from tests.evaluation.test_report import Balanced
from tests.reasoning.test_figures import HAMMER, SHOP, WRITTEN, completions, finished


def page(valid, test=()):
    texts = {"policy_test": completions(list(test), "test", 20), "backbone_valid": completions(valid)}
    return render_reasoning("The reasoning of <b>toys</b>", judge("policy", finished(**texts), 0.05, 1))


@pytest.mark.parametrize("written", [[], WRITTEN, [WRITTEN[3]]])
def test_the_page_is_balanced_and_offline(written):
    html = page(written)
    reader = Balanced()
    reader.feed(html)
    assert reader.open == []
    assert not reader.seen & {"script", "iframe", "img", "link"}
    assert not re.search(r"(src|href)=|http", html)


def test_figures_and_definitions_are_shown():
    html = page(WRITTEN, [("Acme", HAMMER, 1.0)])
    for wanted in (
        "0.7500",
        "0.8333",
        "0.6667",
        "The policy ships. policy, test: 1 texts for 1 groups; backbone, valid: 4 texts",
        "Fine-tuned on 1",
        "self-BLEU",
    ):
        assert wanted in html, wanted
    assert "not applicable" in html
    assert html.count('class="sample"') == 5


def test_samples_show_history_thought_answer_and_what_is_missing():
    html = page([("Bolt Bros., Inc. <again>", "a & b", 0.0), ("", "", None)])
    assert f'<pre dir="auto">{item_line(0, SHOP)}</pre>' in html
    assert "Bolt Bros., Inc. &lt;again&gt;" in html
    assert "a &amp; b" in html
    assert "bolt bros inc" in html
    assert "broken &lt;think&gt;" in html
    assert "<b>toys" not in html


def test_any_text_can_be_shown():
    assert text("a<b\x00\u202ec\nd") == "a&lt;b\\u0000\\u202ec\nd"
    assert text("👩‍👧") == "👩‍👧"
    assert text("x" * 2_001) == "x" * 2_000 + " … (1 characters more)"
