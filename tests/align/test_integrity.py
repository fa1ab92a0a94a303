"""Integrity of the reward with a real Rechead and encoder: over any text and in any company it is the same number."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.align.rewards import TERMS
from rporec.align.scorer import Facts, RewardScorer
from rporec.catalogue import Catalogue
from rporec.reasoning.prompt import item_line
from rporec.rechead.model import Rechead
from rporec.rechead.paper import PaperReasoning
from tests.align import world
from tests.align.judged import CATALOGUE, FACTS, GROUNDED, GROUPS, RANK_REWARDS, Blind, V, scorer
from tests.release import world as shop

CHOICES = [{"rank_reward": kind} for kind in RANK_REWARDS] + [{"form": "published"}]
WHOLE = "<think>{a}</think><answer>{b}</answer>"
PAGES = st.text(max_size=60) | st.text(st.characters(categories=["Cc", "Cf", "Zs", "So", "Mn"]), max_size=20)


@pytest.fixture(scope="module")
def paper(head: Rechead) -> Rechead:
    return Rechead(head.head, head.reader, PaperReasoning(head.reader.items, seed=0), head.weights)


def written(count: int, seed: int) -> tuple[list[int], list[str], list[list[float]]]:
    """Return groups, completions of many lengths, most of them well formed, and entropies."""
    rng = np.random.default_rng(seed)
    words = ["The", "buyer", "é", "likes", "next", *CATALOGUE.titles, *shop.BRANDS]
    texts, entropies = [], []
    for _ in range(count):
        thought = " ".join(rng.choice(words, rng.integers(1, 40)))
        answer = item_line(int(rng.integers(shop.N)), CATALOGUE) + " gold" * int(rng.integers(0, 2))
        texts.append(f"{' so' * int(rng.integers(0, 3))}<think>{thought}</think> {answer[:2]}<answer>{answer}</answer>")
        entropies.append((rng.random(int(rng.integers(0, 30))) * 5).tolist())
    texts[::9] = ["no tags at all"] * len(texts[::9])
    return rng.integers(0, GROUPS, count).tolist(), texts, entropies


def numbers(scored: object) -> list[float]:
    return [scored.reward, *dataclasses.astuple(scored.terms)]


@pytest.mark.parametrize(
    ("architecture", "choice"), [*(("hybrid", choice) for choice in CHOICES), ("paper", CHOICES[-2])], ids=str
)
def test_order_batch_size_and_company_do_not_matter(head, paper, architecture, choice):
    own = scorer({"hybrid": head, "paper": paper}[architecture], weights=GROUNDED, **choice)
    rows = list(zip(*written(21, seed=2), strict=True))
    together = np.array([numbers(one) for one in own.score(*zip(*rows, strict=True))])
    assert np.ptp(together[:, 0]) > 0.3, "completions differ"
    order = np.random.default_rng(3).permutation(len(rows)).tolist()
    ways = {
        "alone": [own.score(*zip(row, strict=True))[0] for row in rows],
        "in sixes": [one for at in range(0, 21, 6) for one in own.score(*zip(*rows[at : at + 6], strict=True))],
    }
    mixed = dict(zip(order, own.score(*zip(*[rows[place] for place in order], strict=True)), strict=True))
    ways["in another order"] = [mixed[place] for place in range(len(rows))]
    long = (7, f"<think>{'long ' * 300}</think><answer>Acme lamp</answer>", [1.0] * 300)  # pads all others
    ways["beside a long one"] = own.score(*zip(*rows, long, strict=True))[:-1]
    for way, found in ways.items():
        assert np.array([numbers(one) for one in found]) == pytest.approx(together, abs=1e-5), way


@pytest.mark.parametrize("sharpness", [0.0, 5.0])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_a_random_ranker_earns_about_nothing_but_in_the_published_form(choice, sharpness):
    count, n_items = 500, 3686  # as large as Industrial
    titles = [f"{colour} {thing} {i}" for i in range(n_items // 12 + 1) for colour in "abcd" for thing in "xyz"][
        :n_items
    ]
    blank = [""] * n_items
    large = Catalogue(list(map(str, range(n_items))), titles, blank, blank, blank, np.full(n_items, np.nan), ())
    known = {group: Facts((1,), (group,), "likely bought next", 3, (1,), "") for group in range(count)}
    blind = Blind(n_items, None, sharpness)
    own = RewardScorer(blind, world.BagOfWords(), large, known, world.align_params(**choice), V)
    scored = own.score(
        range(count), ["<think>likely bought next</think><answer>1 thing</answer>"] * count, [[]] * count
    )
    earned = float(np.mean([one.terms.rank for one in scored]))
    if choice == {"form": "published"}:
        assert earned == pytest.approx(0.26, abs=0.03), "the fault that ours mends"
    else:
        assert earned < 0.04


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_no_text_and_no_entropies_make_a_reward_that_is_no_number(head, choice):
    own = scorer(head, weights=GROUNDED, **choice)
    ours = choice != {"form": "published"}

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(
        st.lists(st.tuples(PAGES, PAGES, PAGES, st.lists(st.floats(0, math.log(V)), max_size=8)), max_size=6),
        st.sampled_from(["{a}", WHOLE, f"{{c}}{WHOLE}{{c}}", WHOLE.replace("<answer>", "{c}<answer>")]),
    )
    def check(rows: list[tuple[str, str, str, list[float]]], shape: str) -> None:
        texts = [shape.replace("{a}", a).replace("{b}", b).replace("{c}", c) for a, b, c, _ in rows]
        texts += ["a" * 10_000, f"<think>{'word ' * 1000}</think><answer>{'x' * 10_000}</answer>", "\ud83d"]
        told = [entropies for *_, entropies in rows] + [[], [], []]
        for one in own.score([place % GROUPS for place in range(len(texts))], texts, told):
            found = dataclasses.asdict(one.terms)
            assert all(math.isfinite(value) for value in [one.reward, *found.values()])
            most = sum(GROUNDED.values())
            assert 0 <= one.reward <= (most + 1e-9 if ours else most + GROUNDED["entropy"] * math.log(V))
            assert all(0 <= value <= 1 for term, value in found.items() if ours or term != "entropy")

    check()


def test_another_groups_reference_changes_no_reward(head):
    groups, texts, entropies = written(20, seed=4)
    texts[1] = "<think>qualm thrush</think><answer>Acme lamp</answer>"  # words that only another's reference holds
    wanted = scorer(head, weights=GROUNDED).score(groups, texts, entropies)
    others = {g: dataclasses.replace(FACTS[g], reference="qualm thrush gambit", words=3) for g in range(GROUPS)}
    known = others | {g: FACTS[g] for g in groups}
    fewer = {g: FACTS[g] for g in groups}
    for facts_of in (known, fewer):
        own = RewardScorer(head, head.encoder, CATALOGUE, facts_of, world.align_params(weights=GROUNDED), V)
        assert own.score(groups, texts, entropies) == wanted


def test_a_reward_hangs_on_prompt_completion_and_target_alone(head):
    groups, texts, entropies = written(20, seed=4)
    wanted = scorer(head, weights=GROUNDED).score(groups, texts, entropies)
    own = scorer(head, weights=GROUNDED)
    own.score(*written(30, seed=9))  # what was scored before
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    own.facts = {
        **FACTS,
        **{g: dataclasses.replace(FACTS[g + 1], reference="other") for g in range(39) if g not in groups},
    }
    assert own.score(groups, texts, entropies) == wanted
    assert {one.name for one in dataclasses.fields(Facts)} == {
        "history", "targets", "reference", "words", "shown", "evidence",  # the prompt, and the targets
    }  # fmt: skip


def test_only_the_rank_sees_the_targets(head):
    groups, texts, entropies = written(20, seed=6)
    own = scorer(head, weights=GROUNDED)
    before = own.score(groups, texts, entropies)
    own.facts = {
        g: dataclasses.replace(known, targets=((known.targets[0] + 7) % shop.N,)) for g, known in FACTS.items()
    }
    after = own.score(groups, texts, entropies)
    changed = 0
    for old, new in zip(before, after, strict=True):
        assert dataclasses.replace(new.terms, rank=old.terms.rank) == old.terms
        changed += new.terms.rank != old.terms.rank
    assert changed > 10


def test_text_outside_the_two_parts_is_charged_and_read_by_no_term(head):
    own = scorer(head, weights=GROUNDED)
    target = item_line(FACTS[5].targets[0], CATALOGUE)
    plain = "<think>The buyer likes it</think><answer>Bolt chair</answer>"
    talk = plain.replace("</think>", f"</think> {target} ")
    one, two = own.score([5, 5], [plain, talk], [[1.0, 2.0]] * 2)
    assert dataclasses.replace(two.terms, outside=1.0) == one.terms
    assert two.terms.outside == pytest.approx(1 - len(target) / 100)


def test_every_term_is_told(head):
    assert set(TERMS) <= {one.name for one in dataclasses.fields(scorer(head).score([0], ["x"], [[]])[0].terms)}
