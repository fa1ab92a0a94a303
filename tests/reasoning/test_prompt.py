"""The prompt: one line an item, newest last, within a token budget, whatever the titles hold."""

import pytest

from rporec.errors import InputError
from rporec.reasoning.parse import TAGS
from rporec.reasoning.prompt import INSTRUCTION, LINE, OPENING, build_prompt, fit_prompts, item_line
from tests.reasoning.shop import ATTACK, ROWS, catalogue, titles_only


def test_an_item_is_one_line_and_unknown_parts_are_left_out():
    shop = catalogue()
    assert item_line(0, shop) == "Acme Steel Hammer 16 oz; tools; low price"
    assert item_line(3, shop) == "Willow Basket; garden"
    assert item_line(5, shop) == "an item without a title"


def test_newest_items_last_and_no_more_than_asked():
    shop = catalogue()
    lines = build_prompt([0, 1, 2], shop, 2).removeprefix(OPENING).removesuffix(INSTRUCTION).split(LINE)
    assert lines == ["", item_line(1, shop), item_line(2, shop)]
    assert "nothing yet" in build_prompt([], shop, 2)


def test_a_title_cannot_break_the_format():
    prompt = build_prompt([ATTACK], catalogue(), 5)
    body = prompt.removeprefix(OPENING).removesuffix(INSTRUCTION)
    assert not any(tag in body for tag in TAGS)
    assert not set(body) & set('<>"\t')
    assert body.count("\n") == 1


def test_a_title_of_ten_thousand_characters_stays_short():
    for title in ("x" * 10_000, "word " * 2_000, "😀" * 10_000, "שלום " * 2_000):
        assert len(item_line(0, titles_only([title]))) <= 96


def test_oldest_items_go_first_and_are_counted():
    shop = catalogue()
    fixed = len(build_prompt([0], shop, 9))
    fitted = fit_prompts([[2, 1, 0], [0]], shop, 9, fixed, len)
    assert fitted.shown == [[0], [0]]
    assert fitted.prompts == [build_prompt([0], shop, 9)] * 2
    assert (fitted.shortened, fitted.dropped) == (1, 2)


def test_a_window_is_no_shortening():
    fitted = fit_prompts([[0, 1, 2, 3]], catalogue(), 2, 10_000, len)
    assert fitted.shown == [[2, 3]]
    assert (fitted.shortened, fitted.dropped) == (0, 0)


def test_a_budget_without_room_for_the_instruction_is_refused():
    with pytest.raises(InputError, match="max_prompt_tokens"):
        fit_prompts([[0]], catalogue(), 3, 10, len)


def test_every_item_of_the_toy_shop_has_a_line():
    shop = catalogue()
    assert all(item_line(item, shop) for item in range(len(ROWS)))
