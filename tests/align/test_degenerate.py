"""Degenerate completions, at any planted rank, never beat an honest one of the same rank."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.align.scorer import RewardScorer
from rporec.reasoning.prompt import item_line
from tests.align import world
from tests.align.judged import CATALOGUE, DEFAULT, FACTS, GROUNDED, RANK_REWARDS, Blind, V, scorer
from tests.release import world as shop

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
