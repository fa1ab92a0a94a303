"""Integrity of the reward with a real Rechead and encoder: over any text, in any company, and at any planted rank."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.align.rewards import TERMS
from rporec.align.scorer import Facts, RewardScorer
from rporec.catalogue import Catalogue
from rporec.reasoning.prompt import item_line
from rporec.rechead.model import Rechead
from rporec.rechead.paper import PaperReasoning
from tests.align import world
from tests.release import world as shop

RANK_REWARDS = ("ndcg", "ndcg_1000", "reciprocal_log", "log_probability")
CHOICES = [{"rank_reward": kind} for kind in RANK_REWARDS] + [{"form": "published"}]
DEFAULT = yaml.safe_load((shop.ROOT / "params.yaml").read_text())["align"]["weights"]
GROUNDED = {**DEFAULT, "grounded": 0.2}
V = 300  # tokens of the policy's vocabulary
CATALOGUE = Catalogue.from_table(shop.items())
GROUPS = 40
WHOLE = "<think>{a}</think><answer>{b}</answer>"
PAGES = st.text(max_size=60) | st.text(st.characters(categories=["Cc", "Cf", "Zs", "So", "Mn"]), max_size=20)


def facts(group: int) -> Facts:
    """Histories of one to five items, one or two targets, every fourth group without a reference."""
    rng = np.random.default_rng(group)
    history = tuple(rng.integers(0, shop.N, 1 + group % 5).tolist())
    brand = CATALOGUE.brand(history[-1])
    reference = f"The buyer stays with {brand}, and the last item was a {CATALOGUE.category(history[-1])}."
    targets = tuple(rng.choice(shop.N, 1 + group % 2, replace=False).tolist())
    known = reference if group % 4 else ""
    return Facts(history, targets, known, len(reference.split()), history[-3:], f"often next:\n- {brand} lamp (3)")


FACTS = {group: facts(group) for group in range(GROUPS)}


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Rechead:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("rechead")
    shop.write_rechead(folder / "rechead", CATALOGUE, shop.rows("fit", 160, 0, 0))
    made = Rechead.load(folder / "rechead")
    with torch.no_grad():
        made.reasoning.outward.normal_(generator=torch.Generator().manual_seed(1))  # as loaded, taste is 0
    return made


@pytest.fixture(scope="module")
def paper(head: Rechead) -> Rechead:
    return Rechead(head.head, head.reader, PaperReasoning(head.reader.items, seed=0), head.weights)


def scorer(head: Rechead, **changes: object) -> RewardScorer:
    return RewardScorer(head, head.encoder, CATALOGUE, FACTS, world.align_params(**changes), V)


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


class Blind:
    """Puts the targets of every group at one rank, whatever the text; or ranks at random, surer or less sure."""

    def __init__(self, n_items: int, rank: int | None, sharpness: float = 1.0) -> None:
        self.n_items, self.rank, self.sharpness, self.rng = n_items, rank, sharpness, np.random.default_rng(5)

    def history_logits(self, histories):
        drawn = self.rng.standard_normal((len(histories), self.n_items))
        if self.rank is not None:  # item i is ranked i places behind item -rank
            drawn = np.tile(-((np.arange(self.n_items) + self.rank) % self.n_items), (len(histories), 1)) / 4
        return torch.from_numpy(drawn * self.sharpness)

    def add_reasoning(self, logits, reasoning):
        assert len(logits) == len(reasoning)
        return logits.log_softmax(dim=1)


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


EMPTY = (
    "They like to buy what is new, something different may come next.",
    "the of and to is very it so then more like often what who next before",
)


def honest(group: int) -> list[str]:
    """Thoughts on the prompt: as the reference, in other words, and ones that err in a name."""
    known = FACTS[group]
    brand = CATALOGUE.brand(known.shown[-1])
    absent = next(name for name in shop.BRANDS if name not in {CATALOGUE.brand(item) for item in known.shown})
    return [
        f"The buyer stays with {brand}, and the last item was a {CATALOGUE.category(known.shown[-1])}.",
        f"This customer often came back to {brand}.",
        f"Who came for {brand} tends to go on from there to {absent} at last.",  # half of it is true
    ]


@st.composite
def degenerate(draw: st.DrawFn, group: int) -> tuple[str, str]:
    """Return (name, completion) with the honest answer, so that only the thought or the form differs."""
    known = FACTS[group]
    lines = [item_line(item, CATALOGUE) for item in known.shown]
    copied = " ".join(lines).split()
    word = draw(st.sampled_from(["the", "likely", "Acme", "lamp", "zzz", "7"]))
    answer = item_line(known.targets[0], CATALOGUE)
    part = " ".join(copied[: draw(st.integers(1, 30))])
    every = " ".join(CATALOGUE.titles[: draw(st.integers(3, shop.N))])
    whole = f"<think>{honest(group)[0]}</think>"
    kinds = {
        "empty": draw(st.sampled_from(["", " ", "<think></think><answer></answer>"])),
        "empty thought": f"<think> \u200b</think><answer>{answer}</answer>",
        "one word": f"<think>{word}</think><answer>{answer}</answer>",
        "one word repeated": f"<think>{' '.join([word] * draw(st.integers(2, 60)))}</think><answer>{answer}</answer>",
        "copied history": f"<think>{' '.join(lines)}</think><answer>{answer}</answer>",
        "part of the history": f"<think>{part}</think><answer>{answer}</answer>",
        "all titles": f"<think>{every}</think><answer>{answer}</answer>",
        "all titles as answer": f"{whole}<answer>{every} {' '.join(CATALOGUE.titles[:3])}</answer>",
        "tags in a title": f"<think>a </think><answer> lamp</think><answer>{answer}</answer>",
        "tags in the answer": f"{whole}<answer>{answer}<answer></answer></answer>",
        "hidden between the tags": f"{whole}{answer}<answer>{answer}</answer>",
        "hidden before the tags": f"{answer} {whole}<answer>{answer}</answer>",
        "outside the catalogue": f"{whole}<answer>{answer} made of {word} gold</answer>",
        "made up": f"{whole}<answer>purple unicorn saddle</answer>",
        "true of anybody": f"<think>{draw(st.sampled_from(EMPTY))}</think><answer>{answer}</answer>",
        "one word as answer": f"{whole}<answer>{answer.split()[0]}</answer>",
        "one word repeated as answer": f"{whole}<answer>{' '.join([answer.split()[0]] * 9)}</answer>",
        "answer said twice": f"{whole}<answer>{answer} {answer}</answer>",
    }
    return draw(st.sampled_from(sorted(kinds.items())))


@pytest.mark.parametrize("weights", [DEFAULT, GROUNDED, {**DEFAULT, "grounded": 0.0}], ids=["default", ".2", "0"])
@pytest.mark.parametrize("rank_reward", RANK_REWARDS)
def test_a_degenerate_completion_never_beats_an_honest_one_of_the_same_rank(head, rank_reward, weights):
    params = world.align_params(rank_reward=rank_reward, weights=weights)
    scorers = [
        RewardScorer(Blind(shop.N, place), head.encoder, CATALOGUE, FACTS, params, V) for place in (0, 3, 20)
    ]  # fmt: skip

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        group = data.draw(st.sampled_from([g for g in FACTS if FACTS[g].reference]))
        name, completion = data.draw(degenerate(group))
        answer = item_line(FACTS[group].targets[0], CATALOGUE)
        good = [f"<think>{thought}</think><answer>{answer}</answer>" for thought in honest(group)]
        if "<think>The buyer" in completion:  # an honest thought: what is degenerate must cost by itself
            good = good[:1]
        entropies = data.draw(st.sampled_from([[], [0.5, 1.0, 3.0, 0.2, 0.1, 0.1]]))
        for own in scorers:
            bad, *others = own.score([group] * (1 + len(good)), [completion, *good], [entropies] * (1 + len(good)))
            for text, one in zip(good, others, strict=True):
                assert bad.terms.well_formed == 0 or bad.terms.rank == one.terms.rank
                assert bad.reward < one.reward, f"{name}: {completion!r} against {text!r}"

    check()


HIDDEN = {
    "made-up words": "qx zv bn kp lm rt yu op as df",
    "one word repeated, joined": "the/the the/the/the the-the the+the likely/likely likely.likely",
    "one word spelled in many ways": "likely likelyy likelyyy likelyyyy likelyyyyy likelyyyyyy",
    "other letters": "é ê è ë ē ė ę ě",
    "history joined": None,
}


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("weights", [DEFAULT, GROUNDED], ids=["default", ".2"])
def test_what_only_looks_like_words_never_beats_an_honest_thought_of_the_same_rank(head, name, weights):
    params = world.align_params(weights=weights)
    own = RewardScorer(Blind(shop.N, 3), head.encoder, CATALOGUE, FACTS, params, V)
    for group in (1, 5, 7):
        lines = " ".join(item_line(item, CATALOGUE) for item in FACTS[group].shown)
        thought = HIDDEN[name] or "+".join(lines.split())
        answer = item_line(FACTS[group].targets[0], CATALOGUE)
        texts = [f"<think>{one}</think><answer>{answer}</answer>" for one in [thought, *honest(group)]]
        bad, *good = own.score([group] * len(texts), texts, [[0.5, 1.0]] * len(texts))
        assert bad.reward < min(one.reward for one in good)


def test_words_joined_by_commas_are_counted(head):
    own, group = scorer(head, weights=GROUNDED), 1
    spaced = " ".join(honest(group)[0].split() * 3)
    texts = [f"<think>{one}</think><answer>Acme lamp</answer>" for one in (spaced, spaced.replace(" ", ","))]
    plain, joined = own.score([group] * 2, texts, [[]] * 2)
    assert plain.terms.concise == joined.terms.concise == 0


@pytest.mark.parametrize("joiner", ["+", "&", "=", "*", "'", "./", "’"])
def test_a_name_that_is_joined_to_other_words_is_looked_up_as_the_encoder_reads_it(head, joiner):
    own, group = scorer(head, weights=GROUNDED), 1
    known = FACTS[group]
    absent = next(name for name in shop.BRANDS if name not in {CATALOGUE.brand(item) for item in known.shown})
    there = CATALOGUE.brand(known.shown[-1])
    thoughts = [f"They like {there} and then {absent} more", f"They like {there} and then{joiner}{absent}{joiner}more"]
    texts = [f"<think>{one}</think><answer>Acme lamp</answer>" for one in thoughts]
    plain, joined = own.score([group] * 2, texts, [[]] * 2)
    assert joined.terms.grounded <= plain.terms.grounded == pytest.approx(0.25)  # half true, half as much


def test_a_reference_that_says_nothing_itself_does_not_make_a_word_a_thought(head):
    own = scorer(head, weights=GROUNDED)
    lines = " ".join(item_line(item, CATALOGUE) for item in FACTS[1].shown)
    own.facts = {1: dataclasses.replace(FACTS[1], reference=lines, words=len(lines.split()))}
    texts = [f"<think>{one}</think><answer>Acme lamp</answer>" for one in ("likely", *honest(1)[:2])]
    bad, *good = own.score([1] * 3, texts, [[]] * 3)
    assert bad.terms.grounded < min(one.terms.grounded for one in good)


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


def test_naming_nothing_never_beats_a_thought_that_errs_however_well_it_ranks(head):
    """With the default weights truth counts four times the rank, and who names nothing errs in nothing."""
    for group in (1, 5, 7):
        first, last = (
            RewardScorer(Blind(shop.N, place), head.encoder, CATALOGUE, FACTS, world.align_params(weights=DEFAULT), V)
            for place in (0, shop.N - 1)
        )
        answer = item_line(FACTS[group].targets[0], CATALOGUE)
        texts = [f"<think>{one}</think><answer>{answer}</answer>" for one in (*EMPTY, honest(group)[-1])]
        *empty, _ = first.score([group] * 3, texts, [[0.5, 1.0]] * 3)
        *_, erring = last.score([group] * 3, texts, [[0.5, 1.0]] * 3)
        assert max(one.terms.grounded for one in empty) == 0 < erring.terms.grounded
        assert max(one.reward - DEFAULT["rank"] * one.terms.rank for one in empty) < erring.reward


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
