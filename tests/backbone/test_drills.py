"""Copying drills: other names, the same relations; what a drill says is true of its own prompt alone."""

from collections import Counter

from rporec.backbone.drills import deal_names, make_drills
from rporec.backbone.examples import Drawing, draw_events
from rporec.reasoning.compose import Source
from rporec.reasoning.ground import Grounder, words_of
from rporec.reasoning.lookup import count_follows
from rporec.reasoning.parse import THINK_CLOSE, THINK_OPEN
from tests.backbone.models import qwen3
from tests.backbone.test_examples import rows
from tests.reasoning.shop import catalogue

SHOP, WRITER = catalogue(), qwen3(context=1024)
EVENTS = draw_events(rows(), Drawing(max_items=3, per_group=9, most=100, seed=4))
SOURCE = Source(SHOP, count_follows(rows()))


def test_names_are_dealt_anew_and_relations_stay():
    dealt = deal_names(SHOP, 3)
    assert dealt.brands != SHOP.brands
    assert sorted(Counter(dealt.brands).values()) == sorted(Counter(SHOP.brands).values())
    assert len(set(zip(SHOP.brands, dealt.brands, strict=True))) == len(set(SHOP.brands))  # one name a brand
    words = sorted(" ".join(SHOP.title_terms(item)) for item in range(SHOP.n))
    assert sorted(dealt.titles) == words
    assert dealt.titles != [" ".join(SHOP.title_terms(item)) for item in range(SHOP.n)]
    assert (dealt.categories, dealt.item_ids) == (SHOP.categories, SHOP.item_ids)
    assert [dealt.price_band(item) for item in range(SHOP.n)] == [SHOP.price_band(item) for item in range(SHOP.n)]
    assert deal_names(SHOP, 3).titles == dealt.titles


def test_every_drill_is_a_thought_true_of_its_prompt_and_no_answer():
    drills = make_drills(EVENTS, SOURCE, WRITER, 900, 1.0, 7)
    assert sorted(drill.row for drill in drills) == sorted(row for event in EVENTS for row in event.rows)
    grounder, named = Grounder(SHOP), 0
    for drill in drills:
        thought = WRITER.tokenizer.decode(drill.completion_ids)
        assert thought.startswith(THINK_OPEN)
        assert thought.endswith(THINK_CLOSE)
        shown = set(words_of(WRITER.tokenizer.decode(drill.prompt_ids)))
        words = grounder.check(thought[len(THINK_OPEN) : -len(THINK_CLOSE)], []).named
        named += len(words)
        assert all(shown.issuperset(word.split()) for word in words if not word.isdigit()), (shown, thought)
    assert named


def test_a_share_of_the_events_is_drilled_the_same_ones_every_time():
    assert make_drills(EVENTS, SOURCE, WRITER, 900, 0.0, 7) == []
    many = [event for number in range(50) for event in draw_events(
        rows().with_columns(group=rows()["group"] + 1000 * number), Drawing(3, 9, 100, 4)
    )]  # fmt: skip
    half = make_drills(many, SOURCE, WRITER, 900, 0.5, 7)
    total = sum(len(event.rows) for event in many)
    assert 0.3 * total < len(half) < 0.7 * total
    assert make_drills(many, SOURCE, WRITER, 900, 0.5, 7) == half
