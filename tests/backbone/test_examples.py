"""Which rows are learned from, and that prompt, thought and answer belong together."""

import polars as pl

from rporec.backbone.examples import Drawing, draw_events, prepare
from rporec.reasoning.compose import Source
from rporec.reasoning.ground import Grounder
from rporec.reasoning.lookup import count_follows
from rporec.reasoning.parse import parse
from rporec.reasoning.prompt import build_prompt, item_line
from tests.backbone.models import qwen3
from tests.reasoning.shop import ROWS, catalogue

BASKETS = [([0, 1], [2]), ([], [3]), ([1, 2, 3], [4, 5, 6, 7, 0]), ([2], [2, 3, 4])]


def rows(baskets=BASKETS):
    lines = [(group, history, target) for group, (history, targets) in enumerate(baskets) for target in targets]
    return pl.DataFrame(
        {
            "row_id": range(len(lines)),
            "group": [10 * group for group, _, _ in lines],
            "history": [history for _, history, _ in lines],
            "target": [target for _, _, target in lines],
        },
        schema={"row_id": pl.Int64, "group": pl.Int64, "history": pl.List(pl.Int32), "target": pl.Int32},
    )


def drawing(**changes):
    return Drawing(**{"max_items": 2, "per_group": 2, "most": 100, "seed": 4, **changes})


def test_a_basket_gives_no_more_than_its_share_and_keeps_its_whole_event():
    events = draw_events(rows(), drawing())
    assert [len(event.targets) for event in events] == [1, 1, 2, 2]
    assert [event.history for event in events] == [[0, 1], [], [2, 3], [2]]
    assert [sorted(event.basket) for event in events] == [[2], [3], [0, 4, 5, 6, 7], [2, 3, 4]]
    assert all(set(event.targets) <= set(event.basket) for event in events)


def test_the_draw_depends_on_seed_and_row_alone():
    events = draw_events(rows(), drawing())
    assert events == draw_events(rows(), drawing())
    drawn = {seed: tuple(tuple(e.targets) for e in draw_events(rows(), drawing(seed=seed))) for seed in range(8)}
    assert len(set(drawn.values())) > 1
    # Other groups do not change what is drawn from a group.
    alone = draw_events(rows().filter(pl.col("group") == 20), drawing())
    assert alone == [event for event in events if len(event.basket) == 5]


def test_no_more_examples_than_asked():
    events = draw_events(rows(), drawing(most=3))
    assert sum(len(event.targets) for event in events) == 3


def test_prompt_thought_and_answer_belong_together():
    writer, shop = qwen3(context=1024), catalogue()
    events = draw_events(rows(), drawing(per_group=9))
    made = prepare(events, Source(shop, count_follows(rows())), writer, 900)
    grounder = Grounder(shop)
    assert len(made.examples) == rows().height
    targets = dict(rows().select("row_id", "target").iter_rows())
    histories = {row: event.history for event in events for row in event.rows}
    for example, text in zip(made.examples, made.texts, strict=True):
        assert example.completion_ids[-1] == writer.eos_id
        said = parse(writer.decode(example.completion_ids))
        assert said.well_formed
        assert said.outside == 0
        assert said.answer == item_line(targets[example.row], shop)
        assert parse(text) == said
        assert grounder.check(said.thought, histories[example.row]).share == 1.0
        assert writer.tokenizer.decode(example.prompt_ids) == build_prompt(histories[example.row], shop, 2)


def test_a_thought_never_names_an_item_that_the_budget_dropped():
    writer, shop = qwen3(context=1024), catalogue()
    pairs = [([2, 3], [7]), ([2, 0], [2])]  # without the budget the thoughts would name item 2
    events = draw_events(rows(pairs), drawing())
    budget = max(writer.count(build_prompt([item], shop, 1)) for item in (3, 0))
    made = prepare(events, Source(shop, count_follows(rows(pairs))), writer, budget)
    assert (made.shortened, made.dropped) == (2, 2)
    thoughts = [parse(writer.decode(example.completion_ids)).thought for example in made.examples]
    assert not any("Bolt" in thought or "Wire" in thought for thought in thoughts)


def test_evidence_is_counted_over_the_rows_handed_in():
    assert count_follows(rows()).after(3) == dict.fromkeys([0, 4, 5, 6, 7], 1)
    assert len(ROWS) == 8
