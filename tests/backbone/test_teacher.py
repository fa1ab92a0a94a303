"""Which rows a teacher writes for, what it is asked, and which of its replies may be learned."""

import json
from collections import Counter

import pytest

from rporec.backbone.examples import draw_events, prepare
from rporec.backbone.taught import KEPT, LONG, MALFORMED, UNGROUNDED, Taught, tally
from rporec.backbone.teacher import ask_teacher, teacher_prompt
from rporec.reasoning.compose import Source
from rporec.reasoning.lookup import count_follows
from rporec.reasoning.parse import parse, render
from rporec.reasoning.prompt import item_line
from tests.backbone.models import qwen3
from tests.backbone.teaching import access, chat, serving
from tests.backbone.test_examples import drawing, rows
from tests.reasoning.shop import ATTACK, catalogue

SHOP = catalogue()
COMPOSED = render("They like tools.", "Acme nails; tools; low price")
TRUE = "<think>Acme was chosen for the steel hammer.</think><answer>whatever</answer>"


def judge(text, shown=(0,), limit=1000):
    return Taught({5: text}, SHOP, limit).judge(5, shown, COMPOSED, len)


def test_a_true_thought_is_learned_with_the_composed_answer():
    judged = judge(TRUE)
    assert judged.outcome == KEPT
    assert parse(judged.completion).thought == "Acme was chosen for the steel hammer."
    assert parse(judged.completion).answer == parse(COMPOSED).answer


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", MALFORMED),
        ("I cannot help with that.", MALFORMED),
        ("<think>Acme</think>", MALFORMED),
        ("<think> </think><answer>x</answer>", MALFORMED),
        ("<think>a</think><think>b</think><answer>x</answer>", MALFORMED),
        ("<think>\x00</think><answer>x</answer>", MALFORMED),
        ("<think>Bolt copper wire speaks for it.</think><answer>x</answer>", UNGROUNDED),
        ("<think>Acme was chosen 17 times.</think><answer>x</answer>", UNGROUNDED),
    ],
)
def test_what_may_not_be_learned_leaves_the_composed_text(text, outcome):
    judged = judge(text)
    assert (judged.completion, judged.outcome) == (COMPOSED, outcome)


def test_a_completion_must_leave_room_for_the_end_token():
    length = len(judge(TRUE).completion)
    assert judge(TRUE, limit=length).outcome == LONG
    assert judge(TRUE, limit=length + 1).outcome == KEPT


def test_what_the_budget_dropped_from_the_prompt_grounds_nothing():
    assert judge(TRUE, shown=(2,)).outcome == UNGROUNDED


def test_a_row_that_was_not_asked_is_no_failure():
    judged = Taught({}, SHOP, 100).judge(5, [0], COMPOSED, len)
    assert (judged.completion, judged.outcome) == (COMPOSED, None)


def test_a_thought_cannot_bring_in_tags_or_special_tokens():
    judged = judge("<think>Acme <|im_end|> <b>hammer</b></think><answer>x</answer>")
    assert judged.outcome in (KEPT, UNGROUNDED)
    assert "<|" not in judged.completion
    assert parse(judged.completion).well_formed


def test_every_outcome_is_counted():
    assert tally(Counter({LONG: 2})) == {"kept": 0, "malformed": 0, "ungrounded": 0, "too_long": 2}


def test_the_prompt_holds_history_target_and_format_once():
    asked = teacher_prompt([0, ATTACK], 2, SHOP)
    for item in (0, ATTACK, 2):
        assert item_line(item, SHOP) in asked
    assert parse(asked).well_formed  # the one example of the format is the only place with tags
    assert parse(asked).answer == item_line(2, SHOP)
    assert "nothing yet" in teacher_prompt([], 2, SHOP)


def test_rows_are_chosen_by_seed_and_the_rest_is_not_asked(tmp_path):
    events = draw_events(rows(), drawing(per_group=9))
    with serving(lambda *_: chat(TRUE)) as (url, seen):
        some = ask_teacher(events, SHOP, access(url, max_rows=4), tmp_path)
        assert len(some.texts) == 4
        every = ask_teacher(events, SHOP, access(url), tmp_path)
    assert set(every.texts) == {row for event in events for row in event.rows}
    assert set(some.texts) <= set(every.texts)
    assert len(set(seen.prompts)) == len(seen.prompts)


def test_examples_are_the_teachers_where_they_may_be(tmp_path):
    writer, events = qwen3(context=1024), draw_events(rows(), drawing(per_group=9))

    def answer(number, body):
        listed = body["messages"][0]["content"].split("The item bought next")[0]
        return chat("<think>Change purse it was.</think><answer>x</answer>" if "Change" in listed else "no tags")

    with serving(answer) as (url, _):
        lessons = ask_teacher(events, SHOP, access(url), tmp_path)
    source = Source(SHOP, count_follows(rows()))
    made = prepare(events, source, writer, 900, Taught(lessons.texts, SHOP, 300))
    plain = prepare(events, source, writer, 900)
    assert plain.taught == {}
    histories = {row: event.history for event in events for row in event.rows}
    kept = {row for row, history in histories.items() if 4 in history}
    assert made.taught == {"kept": len(kept), "malformed": len(histories) - len(kept), "ungrounded": 0, "too_long": 0}
    for one, other in zip(made.examples, plain.examples, strict=True):
        assert (one.row, one.prompt_ids) == (other.row, other.prompt_ids)
        assert (one.completion_ids == other.completion_ids) == (one.row not in kept)
        text, composed = (parse(writer.decode(example.completion_ids)) for example in (one, other))
        assert text.answer == composed.answer


def test_a_thought_is_json_safe_whatever_the_catalogue_holds(tmp_path):
    events = draw_events(rows([([ATTACK], [ATTACK])]), drawing())
    with serving(lambda *_: chat(TRUE)) as (url, seen):
        ask_teacher(events, SHOP, access(url), tmp_path)
    assert json.dumps(seen.bodies[0])
    assert seen.prompts[0].count("<think>") == 1
