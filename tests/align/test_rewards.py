"""Truth tables of the reward's terms, worked by hand."""

import math

import numpy as np
import pytest

from rporec.align import rewards
from rporec.errors import InputError

PUBLISHED = (0.1, 0.1, 0.5, 0.1, 0.1, 0.1, 0.0)


def terms(**changes: float) -> rewards.Terms:
    values = dict.fromkeys(("well_formed", "valid", *rewards.TERMS), 1.0)
    return rewards.Terms(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "reward"),
    [
        ({}, 1.0),
        ({"well_formed": 0.0}, 0.0),
        ({"valid": 0.0}, 0.0),
        ({"valid": 0.5}, 0.5),
        ({"rank": 0.0}, 0.5),
        ({"rank": 0.5, "similar": 0.0}, 0.65),
        ({"outside": 0.0, "entropy": 0.0}, 0.8),
        ({"grounded": 0.0}, 1.0),
    ],
)
def test_mix(changes, reward):
    assert rewards.mix(terms(**changes), PUBLISHED) == pytest.approx(reward)


def test_what_is_true_pays_where_it_has_a_weight():
    assert rewards.mix(terms(grounded=0.5), (*PUBLISHED[:6], 0.2)) == pytest.approx(1.1)


@pytest.mark.parametrize(("characters", "value"), [(0, 1.0), (25, 0.75), (100, 0.0), (1000, 0.0)])
def test_outside(characters, value):
    assert rewards.outside(characters, 100) == pytest.approx(value)


def test_ndcg_gain_is_ndcg_at_k():
    gains = rewards.rank_gains("ndcg", 100)
    assert gains[0] == 1.0
    assert gains[1] == pytest.approx(1 / math.log2(3))
    assert gains[9] == pytest.approx(1 / math.log2(11))
    assert gains[10] == 0.0
    deep = rewards.rank_gains("ndcg_1000", 2000)
    assert deep[999] == pytest.approx(1 / math.log2(1001))
    assert deep[1000] == 0.0


def test_reciprocal_log_gain_runs_from_one_to_zero():
    gains = rewards.rank_gains("reciprocal_log", 3)
    last = 0.5  # 1 / log2(4)
    assert gains == pytest.approx([1.0, (1 / math.log2(3) - last) / last, 0.0])


@pytest.mark.parametrize("kind", ["ndcg", "reciprocal_log"])
def test_a_random_ranker_earns_about_nothing(kind):
    assert rewards.rank_gains(kind, 4000).mean() < 0.02


def test_a_random_ranker_earns_a_quarter_of_the_published_rank_reward():
    gains = rewards.published_gains()
    assert len(gains) == 50
    assert gains[0] == 1.0
    assert gains.mean() == pytest.approx(0.26, abs=0.005)


def test_an_unknown_rank_reward_is_refused():
    with pytest.raises(InputError, match="rank_reward"):
        rewards.rank_gains("hits", 10)


def test_rank_is_the_mean_over_ties_and_a_tie_never_helps():
    gains = rewards.rank_gains("ndcg", 50)
    assert rewards.rank(gains, 0, 0) == 1.0
    assert rewards.rank(gains, 0, 1) == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert rewards.rank(gains, 9, 1) == pytest.approx(1 / math.log2(11) / 2)
    assert rewards.rank(gains, 49, 0) == 0.0
    for above in range(5):
        assert rewards.rank(gains, above, 3) < rewards.rank(gains, above, 0)


@pytest.mark.parametrize(
    ("p", "value"), [(1.0, 1.0), (0.1, 0.5), (0.01, 0.0), (1e-9, 0.0)], ids=["sure", "tenth", "uniform", "less"]
)
def test_log_probability(p, value):
    assert rewards.log_probability(math.log(p), 100) == pytest.approx(value, abs=1e-9)


def test_log_probability_of_zero_is_zero():
    assert rewards.log_probability(-math.inf, 100) == 0.0


@pytest.mark.parametrize(("well_formed", "value"), [(True, 1.0), (False, 0.0)])
def test_form(well_formed, value):
    assert rewards.form(well_formed) == value


@pytest.mark.parametrize(
    ("true", "wanted", "value"), [(4, 4, 1.0), (1, 4, 0.25), (0, 4, 0.0), (9, 4, 1.0), (0, 0, 1.0), (3, 0, 1.0)]
)
def test_told(true, wanted, value):
    assert rewards.told(true, wanted) == pytest.approx(value)


@pytest.mark.parametrize(
    ("own", "wanted", "told", "value"),
    [
        (8, 8, 1.0, 1.0),
        (4, 8, 1.0, 1.0),
        (3, 8, 1.0, 0.75),
        (1, 8, 1.0, 0.25),
        (0, 8, 1.0, 0.0),
        (50, 8, 1.0, 1.0),
        (8, 8, 0.5, 1.0),  # half of the names are enough
        (8, 8, 0.25, 0.5),
        (8, 8, 0.0, 0.0),  # everyday words about nothing
    ],
)
def test_said(own, wanted, told, value):
    assert rewards.said(own, wanted, told) == pytest.approx(value)


@pytest.mark.parametrize(
    ("words", "own", "value"),
    [
        (8, 1.0, 1.0),  # as long as the reference
        (4, 1.0, 1.0),
        (1, 0.25, 0.25),  # one word says next to nothing
        (0, 0.0, 0.0),
        (12, 1.0, 0.5),  # half as long again
        (12, 0.5, 0.25),
        (16, 1.0, 0.0),  # twice as long
        (99, 1.0, 0.0),
    ],
)
def test_concise(words, own, value):
    assert rewards.concise(words, 8, own) == pytest.approx(value)


@pytest.mark.parametrize(("words", "value"), [(1, 0.875), (4, 0.5), (8, 0.0), (20, 0.0)])
def test_the_published_conciseness_likes_one_word_best(words, value):
    assert rewards.published_concise(words, 8) == pytest.approx(value)


def test_similar_is_a_clipped_cosine():
    x, y = np.array([1.0, 0.0]), np.array([0.6, 0.8])
    assert rewards.similar(x, x, 1.0) == 1.0
    assert rewards.similar(x, y, 1.0) == pytest.approx(0.6)
    assert rewards.similar(x, y, 0.5) == pytest.approx(0.3)
    assert rewards.similar(x, -x, 1.0) == 0.0
    assert rewards.similar(x, np.zeros(2), 1.0) == 0.0


@pytest.mark.parametrize(
    ("named", "missing", "own", "told", "value"),
    [
        (0, 0, 1.0, 1.0, 1.0),  # nothing to name
        (0, 0, 0.25, 1.0, 0.25),
        (0, 0, 0.0, 0.0, 0.0),  # nothing named, though there was
        (4, 0, 1.0, 1.0, 1.0),
        (4, 1, 1.0, 1.0, 0.75),
        (4, 1, 0.5, 1.0, 0.375),
        (4, 4, 1.0, 0.0, 0.0),
        (1, 0, 1.0, 0.25, 0.25),  # one true name, where the reference has four
        (4, 1, 1.0, 0.75, 0.5625),
    ],
)
def test_grounded(named, missing, own, told, value):
    assert rewards.grounded(named, missing, own, told) == pytest.approx(value)


def test_entropy():
    # top 20 % of five values is the largest, 4; mean of all is 1.2; V = e^4
    assert rewards.entropy([0.0, 1.0, 4.0, 1.0, 0.0], round(math.exp(4))) == pytest.approx(2.8 / 4, abs=1e-2)
    assert rewards.entropy([2.0] * 7, 100) == 0.0
    assert rewards.entropy([3.0], 100) == 0.0
    assert rewards.entropy([], 100) == 0.0
    assert rewards.published_entropy([0.0, 1.0, 4.0, 1.0, 0.0]) == pytest.approx(2.8)  # without a bound


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("big red oak lamp", 1.0),
        ("red lamp", 1.0),  # half of it
        ("lamp", 0.5),
        ("lamp lamp lamp", 1 / 3 * 0.5),
        ("red lamp red lamp", 0.5),
        ("red chair", 0.25),
        ("gold chair", 0.0),
        ("", 0.0),
    ],
)
def test_valid(answer, value):
    assert rewards.valid(answer, "big red oak lamp") == pytest.approx(value)


def test_an_item_without_words_is_no_answer():
    assert rewards.valid("lamp", "") == 0.0
