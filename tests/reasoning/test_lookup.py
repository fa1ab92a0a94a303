"""Evidence in prompts: only older rows count, each kind adds its own lines alone, and descriptions stay data."""

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from rporec import tables
from rporec.backbone.examples import Drawing, draw_events
from rporec.backbone.learn import source_of
from rporec.errors import InputError
from rporec.reasoning import lookup
from rporec.reasoning.compose import Source, compose
from rporec.reasoning.evidence import FollowCounts
from rporec.reasoning.ground import Grounder
from rporec.reasoning.lookup import Evidence, Kinds, as_of, nearest_items
from rporec.reasoning.parse import TAGS
from rporec.reasoning.prompt import (
    DESCRIBED,
    FOLLOWED,
    INSTRUCTION,
    NEIGHBOURS,
    OPENING,
    build_prompt,
    fit_prompts,
    item_line,
    render_facts,
    split_prompt,
)  # fmt: skip
from tests.reasoning.shop import catalogue
from tests.reasoning.test_hostile import TITLES

ROWS = [
    ("a", "Acme Steel Hammer 16 oz", "A forged head that lasts, for every day", "Acme", "tools", 10.0),
    ("b", "Acme Brass Nails 500-Pack", "", "Acme", "tools", 4.0),
    ("c", "Bolt Copper Wire 3/8 inch", "Insulated wire", "Bolt", "electric", 25.0),
    ("d", "Willow Basket", "", "", "garden", None),
    ("e", "Change Purse", "", "Milwaukee", "", 70.0),
]
SHOP = catalogue(ROWS)
ALL = Kinds(3, 2, 4)
NEAR = np.array([[1, 2], [0, 2], [0, 1], [-1, -1], [-1, -1]], dtype=np.int32)
SLICE_ROWS = [  # slice, history, target
    ("fit", [0], 1), ("fit", [0], 1), ("fit", [0], 2), ("reason", [0], 3), ("align", [0], 4),
    ("valid", [1], 2), ("test", [1], 4),
]  # fmt: skip


def rows(lines=SLICE_ROWS):
    made = [(n, n, f"u{n}", None, history, target, name) for n, (name, history, target) in enumerate(lines)]
    return pl.DataFrame(made, schema=tables.ROWS.columns, orient="row")


def evidence(kinds=ALL, events=(), shop=SHOP, near=NEAR):
    return Evidence(kinds, shop, FollowCounts.fit(events), near)


def followed(facts):
    return {fact.item: fact.times for fact in facts if fact.heading == FOLLOWED}


def test_a_slice_counts_the_slices_before_it_and_no_other():
    found = as_of(lookup.SLICES[1:], rows(), Kinds(9), SHOP, NEAR)
    assert {name: followed(one.look_up([0])) for name, one in found.items()} == {
        "reason": {1: 2, 2: 1}, "align": {1: 2, 2: 1, 3: 1},
        "valid": {1: 2, 2: 1, 3: 1, 4: 1}, "test": {1: 2, 2: 1, 3: 1, 4: 1},
    }  # fmt: skip
    assert [followed(found[name].look_up([1])) for name in ("valid", "test")] == [{}, {2: 1}]


def test_a_fit_row_counts_the_events_before_it_and_never_its_own():
    lines = [("fit", [0], 1), ("fit", [0], 2), ("fit", [3], 3), ("fit", [0], 2), ("fit", [0, 2], 2)]
    table = rows(lines)
    events = draw_events(table, Drawing(5, 9, 99, 1))
    found = evidence(Kinds(9)).look_back(table, {event.group for event in events}, 5)
    assert [followed(found[group]) for group in range(5)] == [{}, {1: 1}, {}, {1: 1, 2: 1}, {2: 2, 1: 1}]
    assert found == evidence(Kinds(9)).look_back(table.reverse(), range(5), 5)


def test_all_lines_of_a_basket_are_the_own_event():
    table = rows([("fit", [0], 1), ("fit", [0], 2), ("fit", [0], 3)]).with_columns(group=pl.Series([0, 7, 7]))
    assert followed(evidence(Kinds(9)).look_back(table, {7}, 5)[7]) == {1: 1}


def test_the_newest_item_weighs_most_and_ties_go_to_what_sells():
    events = [([0], [1]), ([2], [3]), ([4], [2]), ([4], [2]), ([3], [2])]
    assert FollowCounts.fit(events).often_after([0, 2], 9) == [(3, 1), (1, 1)]
    assert FollowCounts.fit([*events, ([0], [1])]).often_after([0, 2], 9) == [(1, 2), (3, 1)]
    assert FollowCounts.fit([([0], [1]), ([0], [2]), ([4], [2])]).often_after([0], 1) == [(2, 1)]


LINES = {
    Kinds(followed=2): f"{FOLLOWED}\n- {item_line(2, SHOP)} (2)\n- {item_line(1, SHOP)} (1)",
    Kinds(neighbours=1): f"{NEIGHBOURS}\n- {item_line(1, SHOP)}",
    Kinds(description_words=2): f"{DESCRIBED} forged head",
    Kinds(): "",
}


@pytest.mark.parametrize(("kinds", "own"), LINES.items(), ids=("followed", "neighbours", "description", "nothing"))
def test_a_kind_changes_the_prompt_by_its_own_lines_alone(kinds, own):
    facts = evidence(kinds, [([0], [1]), ([0], [2]), ([0], [2])]).look_up([3, 0])
    plain = f"{OPENING}\n- {item_line(3, SHOP)}\n- {item_line(0, SHOP)}{INSTRUCTION}"
    prompt = build_prompt([3, 0], SHOP, 9, facts)
    assert build_prompt([3, 0], SHOP, 9) == plain
    assert prompt == plain.removesuffix(INSTRUCTION) + own + INSTRUCTION
    assert split_prompt(prompt) == ([item_line(3, SHOP), item_line(0, SHOP)], own)


def test_the_kinds_stand_in_one_order_and_an_empty_history_has_none():
    found = evidence(events=[([0], [1])])
    assert [fact.heading for fact in found.look_up([0])] == [FOLLOWED, NEIGHBOURS, NEIGHBOURS, DESCRIBED]
    assert found.look_up([]) == ()
    assert found.look_up([3]) == ()  # nothing followed it, nothing is like it, nothing is said of it


def test_evidence_goes_line_by_line_before_any_item_and_both_are_counted():
    facts = evidence(events=[([0], [1]), ([0], [2])]).look_up([2, 0])
    sizes = [len(build_prompt([2, 0], SHOP, 9, facts[:kept])) for kept in range(len(facts) + 1)]
    for kept, size in enumerate(sizes):
        fitted = fit_prompts([[2, 0]], SHOP, 9, size, len, [facts])
        assert (fitted.facts, fitted.withheld, fitted.dropped) == ([facts[:kept]], len(facts) - kept, 0)
    fitted = fit_prompts([[2, 0], [2, 0]], SHOP, 9, sizes[0] - 1, len, [facts, ()])
    assert fitted.prompts == [build_prompt([0], SHOP, 9)] * 2
    assert (fitted.facts, fitted.withheld, fitted.dropped) == ([(), ()], len(facts), 2)


@pytest.mark.parametrize("text", TITLES.values(), ids=TITLES)
def test_a_description_stays_data(text):
    shop = catalogue([("a", "Plain Cup", text, "", "", None), ("b", text, text, "", "", None)])
    facts = evidence(Kinds(2, 1, 12), [([0], [1])], shop, np.array([[1], [0]])).look_up([0])
    prompt = build_prompt([0], shop, 1, facts)
    body = prompt.removeprefix(OPENING).removesuffix(INSTRUCTION)
    assert not any(tag in body for tag in TAGS)
    assert not set(body) & set('<>"\t\r\x00\x1b\u202e\u2028')
    assert max(map(len, body.split("\n"))) <= 340
    assert body.count("\n") == body.count("\n- ") + sum(
        heading in body for heading in (FOLLOWED, NEIGHBOURS, DESCRIBED)
    )
    assert split_prompt(prompt) == ([item_line(0, shop)], render_facts(facts))


def test_a_thought_may_cite_what_the_prompt_shows_and_only_then():
    grounder = Grounder(SHOP)
    source = Source(SHOP, FollowCounts.fit([]))
    facts = evidence(events=[([0], [4])] * 3 + [([0], [2])]).look_up([0])
    for target, words in ((4, ("Change Purse", "3")), (2, ("Copper Wire", "once")), (1, ("Brass Nails",))):
        thoughts = {compose([0], target, source, seed, facts=facts).thought for seed in range(30)}
        assert all(word.casefold() in thought.casefold() for thought in thoughts for word in words), thoughts
        for thought in thoughts:
            assert grounder.check(thought, [0], render_facts(facts)).missing == ()
            assert grounder.check(thought, [0]).missing != ()
    assert not any("Purse" in compose([0], 4, source, seed).thought for seed in range(30))
    shown = facts[1:]  # the budget took the purse away
    assert not any("Purse" in compose([0], 4, source, seed, facts=shown).thought for seed in range(30))


def test_with_evidence_on_nothing_is_said_of_what_only_the_future_shows():
    follows = FollowCounts.fit([([0], [4])] * 5)
    for kinds, of_others in ((Kinds(), True), (Kinds(3), False), (Kinds(0, 2), False)):
        source = source_of(evidence(kinds), follows)
        said = " ".join(compose([0], 4, source, seed).thought for seed in range(30))
        assert ("others" in said.lower()) == of_others, said


def test_an_untrue_count_or_item_is_still_found():
    text = render_facts(evidence(Kinds(1), [([0], [4])] * 3).look_up([0]))
    assert Grounder(SHOP).check("Change Purse came next 7 times, Willow Basket too", [0], text).missing == (
        "7", "willow", "basket",
    )  # fmt: skip


def test_evidence_does_not_speak_for_claims_of_the_history():
    text = f"{FOLLOWED}\n- Pro Grip Change Purse (9)\n- Willow Basket (4){NEIGHBOURS}\n- {item_line(4, SHOP)}"
    grounder = Grounder(SHOP)
    assert grounder.check("9 of 9 items are from Milwaukee.", [0, 1], text).missing == ("9", "milwaukee")
    assert grounder.check("2 of 2 items are from Acme. Change Purse came next 9 times.", [0, 1], text).missing == ()
    assert grounder.check("Willow Basket came next 9 times.", [0, 1], text).missing == ("9",)
    assert grounder.check("This customer has 9 items.", [0, 1], text).missing == ("9",)
    assert grounder.check("Milwaukee was chosen for Change Purse.", [0, 1], text).missing == (
        "milwaukee", "change", "purse",
    )  # fmt: skip
    assert grounder.check("Milwaukee is like the last item.", [0, 1], text).missing == ()


def test_the_nearest_are_by_cosine_without_the_item_itself_or_strangers():
    vectors = np.array([[1, 0, 0], [0.8, 0.6, 0], [0.6, 0.8, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32)
    assert nearest_items(vectors, 2).tolist() == [[1, 2], [2, 0], [1, 0], [-1, -1], [-1, -1]]
    assert nearest_items(vectors, 0).shape == (5, 0)
    assert nearest_items(vectors[:1], 3).tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize("k", [1, 3, 7, 40, 60])
def test_the_nearest_are_those_of_a_full_stable_sort_ties_included(k):
    rng = np.random.default_rng(k)
    vectors = rng.integers(-1, 3, (40, 4)).astype(np.float32)
    vectors[::7] = 0
    vectors[:12] = vectors[12:24]  # twins
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    cosines = np.round(vectors @ vectors.T, 5)
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    wanted = np.full((40, k), -1)
    wanted[:, : order.shape[1]] = np.where(np.take_along_axis(cosines, order, axis=1) > 0, order, -1)
    assert nearest_items(vectors, k).tolist() == wanted.tolist()


@pytest.mark.parametrize("lost", ["pairs", "sold", "near"])
def test_a_file_that_lacks_an_array_is_told(tmp_path, lost):
    path = tmp_path / "evidence.safetensors"
    evidence(events=[([0], [1])]).save(path)
    save_file({name: array for name, array in load_file(path).items() if name != lost}, path)
    with pytest.raises(InputError, match="lacks an array") as caught:
        Evidence.load(path, ALL, SHOP)
    assert lost in caught.value.message()


def test_what_is_saved_says_the_same(tmp_path):
    found = evidence(events=[([0], [1]), ([2, 0], [4, 1])])
    found.save(tmp_path / "evidence.safetensors")
    again = Evidence.load(tmp_path / "evidence.safetensors", ALL, SHOP)
    assert [again.look_up([item]) for item in range(5)] == [found.look_up([item]) for item in range(5)]
    with pytest.raises(InputError, match="another catalogue"):
        Evidence.load(tmp_path / "evidence.safetensors", ALL, catalogue())
    with pytest.raises(InputError, match="neighbours"):
        Evidence.load(tmp_path / "evidence.safetensors", Kinds(1, 3, 0), SHOP)
    (tmp_path / "evidence.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read"):
        Evidence.load(tmp_path / "evidence.safetensors", ALL, SHOP)
