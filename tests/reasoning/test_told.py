"""A writer that is told the target is caught; one that only guesses well is not."""

import polars as pl
import pytest

from rporec import tables
from rporec.errors import InputError
from rporec.reasoning.prompt import build_prompt, item_line
from rporec.reasoning.told import Text, check, refuse, telling_words
from tests.reasoning.shop import catalogue, titles_only

MARGIN = 0.05
# Items 0-19 were learned; 20-39 were never seen, each with a word of its own; 40 and 41 have none.
TITLES = (
    [f"steel tool type{number % 4}" for number in range(20)]
    + [f"steel tool unique{number}" for number in range(20, 40)]
    + ["steel red tool", "red steel tool"]
)
SHOP = titles_only(TITLES)
TELLING = telling_words(SHOP, range(20))


def texts(said, targets=range(20, 40)):
    """One group a target, with one learned item in the prompt and what `said` makes of the target."""
    return [Text(build_prompt([target % 20], SHOP, 3), [said(target)], [target]) for target in targets]


def test_telling_words_are_of_one_item_alone_and_never_of_a_learned_one():
    assert {item: set(TELLING[item]) for item in (20, 39)} == {20: {("unique20",)}, 39: {("unique39",)}}
    assert not set(TELLING) & set(range(20))
    # Without a word of its own an item has its name, in its order.
    assert TELLING[40] == {("steel", "red", "tool")}
    assert telling_words(SHOP, range(42)) == {}


def test_everyday_words_and_names_within_longer_names_tell_nothing():
    assert telling_words(titles_only(["one more box", "box", "one more", "more"]), []) == {}
    assert telling_words(titles_only(["red box", "red box lamp", "lamp"]), []) == {1: {("red", "box", "lamp")}}


def test_a_writer_that_is_told_the_target_is_caught():
    found = check(texts(lambda target: f"<think>so</think><answer>{item_line(target, SHOP)}</answer>"), TELLING, MARGIN)
    assert (found.rows, found.named, found.by_chance, found.excess, found.told) == (20, 1.0, 0.0, 1.0, True)
    assert found.examples == ("unique20", "unique21", "unique22")
    with pytest.raises(InputError, match=r"leak: .*unique20") as caught:
        refuse(found, "policy_test", MARGIN)
    assert "policy_test: named in 100.0% of 20 rows" in caught.value.message()
    assert "evaluate.told_margin" in caught.value.message()


def test_a_hint_in_a_third_of_the_texts_is_enough_even_when_the_format_is_broken():
    found = check(texts(lambda target: f"unique{target}" if target % 3 == 0 else "steel"), TELLING, MARGIN)
    assert found.named == 7 / 20
    assert found.told


def test_a_writer_that_names_learned_items_and_shared_words_is_not():
    found = check(texts(lambda target: item_line(target % 20, SHOP)), TELLING, MARGIN)
    assert (found.rows, found.named, found.by_chance, found.told) == (20, 0.0, 0.0, False)
    refuse(found, "test", MARGIN)


def test_chance_is_what_the_texts_of_other_groups_say():
    # Every text names every unseen item, its own too: nothing beyond chance.
    everything = " ".join(TITLES)
    found = check(texts(lambda _: everything), TELLING, MARGIN)
    assert (found.named, found.by_chance, found.excess, found.told) == (1.0, 1.0, 0.0, False)
    # Every text names item 20 alone: right in 1 of 20 rows, but all others say it of theirs too.
    found = check(texts(lambda _: "unique20"), TELLING, MARGIN)
    assert found.named == 1 / 20
    assert found.by_chance == 1 / 20
    assert not found.told


def test_what_the_prompt_holds_is_no_leak():
    shown = [Text(build_prompt([target], SHOP, 3), [f"unique{target}"], [target]) for target in range(20, 40)]
    assert check(shown, TELLING, MARGIN).named == 0.0


def test_one_fresh_target_is_enough_beside_other_rows():
    others = [Text("", ["steel"], [number]) for number in range(10)]
    fresh = [Text("", ["unique20"], [20]) for _ in range(5)]
    assert check(fresh + others, TELLING, MARGIN).told
    liked = [Text("", ["unique20"], [number]) for number in range(10)]  # it says so to everybody
    found = check(fresh + liked, TELLING, MARGIN)
    assert (found.rows, found.excess, found.told) == (5, 0.0, False)


def test_a_basket_is_no_chance_for_itself_and_any_sample_counts():
    basket = [Text("", ["steel", "unique20 unique21"], [20, 21]), Text("", ["steel"], [22])]
    found = check(basket, TELLING, MARGIN)
    assert (found.rows, found.named, found.by_chance) == (3, 2 / 3, 0.0)


def test_a_name_is_found_in_its_order_only():
    told = [Text("", [said], [target]) for said, target in (("a steel red tool", 40), ("tool steel red", 41))]
    assert check(told, TELLING, MARGIN).named == 1 / 2


def test_few_lucky_guesses_are_no_proof():
    lucky = check(texts(lambda target: f"unique{target}" if target == 20 else "", range(20, 23)), TELLING, MARGIN)
    assert lucky.named == 1 / 3
    assert not lucky.told


@pytest.mark.parametrize("groups", [[], [Text("", ["unique20"], [20])], [Text("", ["steel"], [3])]])
def test_without_rows_to_compare_nothing_is_said(groups):
    found = check(groups, TELLING, MARGIN)
    assert (found.rows, found.named, found.by_chance, found.excess, found.told) == (0, None, None, None, False)


def test_catalogue_of_shop_has_telling_words_from_brand_category_and_line():
    shop = catalogue()
    tables.check(pl.DataFrame(schema=tables.COMPOSED.columns), tables.COMPOSED, "here")
    assert ("milwaukee",) in telling_words(shop, [])[4]
    assert ("willow",) in telling_words(shop, [])[3]
