"""Composed thoughts name only what the history holds; the target stands in the answer alone."""

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.reasoning.compose import PHRASES, Source, compose
from rporec.reasoning.evidence import FollowCounts
from rporec.reasoning.ground import Grounder, words_of
from rporec.reasoning.parse import parse, render
from rporec.reasoning.prompt import item_line
from rporec.reasoning.words import EVERYDAY
from tests.reasoning.shop import ATTACK, ROWS, catalogue, titles_only

ITEMS = st.integers(0, len(ROWS) - 1)
HISTORIES = st.lists(ITEMS, max_size=6)


def source(events=(), shop=None):
    return Source(shop or catalogue(), FollowCounts.fit(events))


def kinds(history, target, given_source):
    """All thoughts over many seeds."""
    return {compose(history, target, given_source, seed).thought for seed in range(40)}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(HISTORIES, st.lists(ITEMS, min_size=1, max_size=3)), max_size=8), HISTORIES, ITEMS, ITEMS)
def test_a_thought_names_only_what_the_history_holds(events, history, target, seed):
    shop = catalogue()
    said = compose(history, target, source([*events, (history, [target])], shop), seed)
    assert Grounder(shop).check(said.thought, history).missing == ()
    held = {word for item in history for word in words_of(" ".join(map(str, ROWS[item][1:5])))}
    held |= {word for item in history for word in words_of(item_line(item, shop))}
    named = set(words_of(said.thought)) - EVERYDAY - held
    assert all(word.isdigit() and int(word) <= len(history) for word in named), named


@given(HISTORIES, ITEMS, st.integers(0, 2**64 - 1))
def test_the_format_survives_every_title(history, target, seed):
    said = compose(history, target, source(), seed)
    parsed = parse(render(said.thought, said.answer))
    assert (parsed.well_formed, parsed.thought, parsed.answer, parsed.outside) == (True, said.thought, said.answer, 0)


def test_the_answer_is_the_line_of_the_target():
    shop = catalogue()
    for target in range(len(ROWS)):
        assert compose([0], target, source(), 1).answer == item_line(target, shop)


def test_the_evidence_that_speaks_for_the_target_is_named():
    assert all("Steel Hammer" in thought for thought in kinds([0, 2], 0, source()))  # bought before
    assert all("Acme" in thought for thought in kinds([0, 2, 3], 1, source()))  # the brand of the target
    assert all("2 of 3" in thought for thought in kinds([2, 2, 0], 7, source()))  # as often as it is there
    # The brand "Garden Co" differs, so that only the category speaks.
    garden = catalogue([*ROWS, ("i", "Rake", "", "Garden Co", "garden", None)])
    assert all("garden" in thought and "Willow Basket" in thought for thought in kinds([3, 0], 8, source(shop=garden)))


def test_what_followed_in_other_events_counts_and_the_own_event_does_not():
    history, target = [3, 2], 4
    own = (history, [target])
    alone = kinds(history, target, source([own]))
    backed = kinds(history, target, source([own, ([3], [4])]))
    assert not any("others" in thought.lower() for thought in alone)
    assert all("Willow Basket" in thought and "others" in thought.lower() for thought in backed)


def test_a_line_of_a_basket_is_no_evidence_for_another():
    basket = [4, 0, 1]
    events = source([([2], basket)])
    for target in basket:
        thoughts = {compose([2], target, events, seed, basket).thought.lower() for seed in range(40)}
        assert not any("others" in thought or "buy" in thought for thought in thoughts), thoughts


def test_habits_need_two_other_events():
    own = ([2], [4])
    once = kinds([2], 4, source([own, ([2], [0])]))
    twice = kinds([2], 4, source([own, ([2], [0]), ([2], [1])]))
    assert not any("Bolt" in thought and "to others" in thought for thought in once)
    assert all("to others" in thought for thought in twice)
    assert all("stay with Bolt" in thought for thought in kinds([2], 4, source([own, *[([2], [7])] * 3])))


def test_phrasings_differ_by_seed_and_a_seed_repeats_itself():
    assert len(kinds([0], 3, source())) > 1
    assert compose([0], 3, source(), 5) == compose([0], 3, source(), 5)


def test_works_for_titles_alone():
    shop = titles_only(["RED PAPER PARASOL", "BLUE PAPER PARASOL", "DOGGY RUBBER"])
    said = compose([0, 2], 1, source(shop=shop), 3)
    assert said.answer == "BLUE PAPER PARASOL"
    assert Grounder(shop).check(said.thought, [0, 2]).share == 1.0
    assert compose([], 1, source(shop=shop), 3).thought


def test_the_words_of_the_phrasings_are_everyday_words():
    own = " ".join(phrase for phrases in PHRASES.values() for phrase in phrases)
    plain = "".join(literal for literal, *_ in string.Formatter().parse(own))
    assert set(words_of(plain)) <= EVERYDAY


def test_an_attacking_title_is_named_harmlessly():
    said = compose([ATTACK], 0, source(), 0)
    assert not set(said.thought + said.answer) & set('<>"')
