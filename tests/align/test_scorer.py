"""Integrity of the reward: independent of company, and not to be won by degenerate completions."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from rporec.align.scorer import candidates, thought_entropies
from rporec.backbone.source import Writer
from rporec.errors import InputError
from tests.align import world

HONEST = "<think> likely bought next </think> <answer> red chair </answer>"  # item 1
DEGENERATE = {
    "empty": "",
    "no thought": "<think></think><answer>red chair</answer>",
    "one word": "<think>likely</think><answer>red chair</answer>",
    "repeated word": "<think>likely likely likely likely</think><answer>red chair</answer>",
    "copied history": "<think>red lamp red lamp red lamp</think><answer>red chair</answer>",
    "all titles": f"<think>{' '.join(world.catalogue().titles)}</think><answer>red chair</answer>",
    "all titles as answer": f"<think>likely bought next</think><answer>{' '.join(world.catalogue().titles)}</answer>",
    "tags in title": "<think>likely <answer>red</answer> next</think><answer>red chair</answer>",
    "answer between the tags": "<think>likely bought next</think>red chair<answer>maybe</answer>",
    "talk between the tags": "<think>likely bought next</think> I am quite sure <answer>red chair</answer>",
    "outside the catalogue": "<think>likely bought next</think><answer>red chair made of pure gold</answer>",
}


def score(groups, completions, entropies=None, **changes):
    params = world.align_params(**changes)
    given = entropies or [[0.5, 1.0, 0.2]] * len(completions)
    return world.scorer(params, world.facts()).score(groups, completions, given)


def test_an_honest_completion_earns_by_hand():
    (one,) = score([1], [HONEST])
    expected = {"well_formed": 1, "valid": 1, "format": 1, "outside": 1, "rank": 1, "concise": 1, "similar": 1}
    assert {name: pytest.approx(asdict(one.terms)[name]) for name in expected} == expected
    entropy = (1.0 - 1.7 / 3) / math.log(len(world.tokenizer()))
    assert one.terms.entropy == pytest.approx(entropy)
    assert one.reward == pytest.approx(0.9 + 0.1 * entropy)


def test_a_better_rank_earns_more():
    right, near, wrong = score(
        [1] * 3, [HONEST, HONEST.replace("red chair", "red table"), HONEST.replace("red chair", "blue lamp")]
    )
    assert right.reward > near.reward > wrong.reward


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("rank_reward", ["ndcg", "ndcg_1000", "reciprocal_log", "log_probability"])
def test_a_degenerate_completion_never_beats_an_honest_one(name, rank_reward):
    honest, degenerate = score([1, 1], [HONEST, DEGENERATE[name]], rank_reward=rank_reward)
    assert degenerate.terms.rank <= honest.terms.rank + 1e-9, "the comparison is at the same rank or worse"
    assert degenerate.reward < honest.reward


@pytest.mark.parametrize("rank_reward", ["ndcg", "ndcg_1000", "reciprocal_log", "log_probability"])
def test_company_order_and_batch_size_do_not_matter(rank_reward):
    rng = np.random.default_rng(1)
    texts = [world.completion(rng) for _ in range(40)] + list(DEGENERATE.values())
    groups = [int(g) for g in rng.integers(16, size=len(texts))]
    entropies = [list(rng.random(int(rng.integers(1, 9)))) for _ in texts]
    together = score(groups, texts, entropies, rank_reward=rank_reward)
    alone = [score([g], [t], [e], rank_reward=rank_reward)[0] for g, t, e in zip(groups, texts, entropies, strict=True)]
    order = rng.permutation(len(texts))
    mixed = score(
        [groups[i] for i in order], [texts[i] for i in order], [entropies[i] for i in order], rank_reward=rank_reward
    )
    for place, i in enumerate(order):
        assert mixed[place].reward == pytest.approx(together[i].reward, abs=1e-5)
        assert alone[i].reward == pytest.approx(together[i].reward, abs=1e-5)


def test_what_a_thought_names_is_looked_up_in_its_prompt():
    true, false = (
        "<think>red lamp likely bought next</think><answer>red chair</answer>",
        "<think>blue lamp likely bought next</think><answer>x</answer>",
    )
    one, two = score([0, 0], [true, false])  # group 0 shows item 0, the red lamp
    assert (one.terms.grounded, two.terms.grounded) == (1.0, 0.5)


def test_the_published_form_differs_where_it_is_said_to():
    names = ["one word", "talk between the tags", "outside the catalogue"]
    completions = [DEGENERATE[name] for name in names]
    ours, published = (score([1] * 3, completions, [[0.0, 9.0]] * 3, form=form) for form in ("ours", "published"))
    assert ours[0].terms.concise < score([1], [HONEST])[0].terms.concise
    assert published[0].terms.concise > score([1], [HONEST], form="published")[0].terms.concise
    assert ours[1].terms.outside < published[1].terms.outside == 1.0
    assert ours[2].terms.valid < published[2].terms.valid == 1.0
    assert ours[0].terms.entropy <= 1.0 < published[0].terms.entropy


def test_published_candidates_are_drawn_once_and_never_hold_the_target_twice():
    drawn = candidates(7, 3, 500)
    assert len(drawn) == len(set(drawn.tolist())) == 49
    assert 3 not in drawn
    assert np.array_equal(drawn, candidates(7, 3, 500))
    assert not np.array_equal(drawn, candidates(8, 3, 500))
    assert sorted(candidates(7, 3, 12).tolist()) == [item for item in range(12) if item != 3]


def test_every_reward_is_a_number_between_zero_and_one():
    odd = [
        "\x00",
        "<think>",
        "</think><think>",
        "<think>\ud83d\ude00</think><answer>\u202e</answer>",
        "a" * 10_000,
        "<answer>x</answer>" * 50,
    ]
    for one in score([0] * len(odd), odd, [[]] * len(odd)):
        assert 0.0 <= one.reward <= 1.0
        assert all(0.0 <= value <= 1.0 for value in asdict(one.terms).values())


def test_a_basket_earns_the_mean_over_its_targets():
    known = world.facts() | {99: world.fact((0,), (1, 2))}
    scorer = world.scorer(world.align_params(rank_reward="ndcg"), known)
    (basket,) = scorer.score([99], [HONEST], [[]])
    known[99] = world.fact((0,), (1,))
    (first,) = scorer.score([99], [HONEST], [[]])
    known[99] = world.fact((0,), (2,))
    (second,) = scorer.score([99], [HONEST], [[]])
    assert basket.terms.rank == pytest.approx((first.terms.rank + second.terms.rank) / 2)


def test_a_rechead_of_another_catalogue_is_refused():
    head = world.PlantedHead()
    head.n_items = 13
    with pytest.raises(InputError, match="another catalogue"):
        world.RewardScorer(head, world.BagOfWords(), world.catalogue(), {}, world.align_params(), 10)


def test_thought_entropies_are_those_of_the_tokens_between_the_tags():
    words, unread = world.tokenizer(), torch.nn.Module()
    unread.generation_config = None
    writer = Writer(unread, words)
    ids = words(f"{HONEST} <eos>")["input_ids"]
    values = [float(i) for i in range(len(ids))]
    assert thought_entropies(writer, ids, values)[:3] == [1.0, 2.0, 3.0]
    assert len(thought_entropies(writer, ids, values)) <= 4  # a closing tag that begins with a space may count
    assert thought_entropies(writer, words("likely bought <eos>")["input_ids"], [1.0, 2.0, 3.0]) == []
