"""Distinct n-grams and self-BLEU, on numbers worked by hand and against the plain definition."""

import math
import random
from collections import Counter

import pytest

from rporec.reasoning.diversity import distinct, self_bleu


def words(*texts):
    return [text.split() for text in texts]


@pytest.mark.parametrize(
    ("texts", "order", "share"),
    [
        (["a b", "b c"], 1, 3 / 4),
        (["a b", "b c"], 2, 1.0),
        (["a b a b", "a b"], 2, 2 / 4),  # ab, ba, ab; ab
        (["a", "a", "a", "a"], 1, 1 / 4),
        (["a"], 2, None),
        ([], 1, None),
    ],
)
def test_distinct(texts, order, share):
    assert distinct(words(*texts), order) == share


def test_copies_have_self_bleu_one_and_strangers_almost_none():
    assert self_bleu(words("a b c d e", "a b c d e", "a b c d e"), 9, 0) == pytest.approx(1.0)
    # Every order has .1 matches among 4, 3, 2, 1 n-grams.
    strangers = (0.1**4 / (4 * 3 * 2 * 1)) ** (1 / 4)
    assert self_bleu(words("a b c d", "e f g h"), 9, 0) == pytest.approx(strangers)


def test_a_half_copy_worked_by_hand():
    # "a b c": 1-grams 2 of 3, 2-grams 1 of 2, 3-grams .1 of 1; same length. "a b d" alike.
    both = (2 / 3 * 1 / 2 * 0.1) ** (1 / 3)
    assert self_bleu(words("a b c", "a b d"), 9, 0) == pytest.approx(both)


def test_the_shorter_text_is_penalised():
    # "a b" against "a b c d": both precisions 1, exp(1 - 4/2). "a b c d": 2/4, 1/3, .1/2, .1/1, no penalty.
    long = (2 / 4 * 1 / 3 * 0.1 / 2 * 0.1) ** (1 / 4)
    assert self_bleu(words("a b", "a b c d"), 9, 0) == pytest.approx((math.exp(-1) + long) / 2)


def test_counts_are_clipped_at_the_best_single_reference():
    # "a a a" against "a a" and "a b": 2 of 3; 2-grams 1 of 2; 3-grams .1 of 1; nearest length 2, no penalty.
    first = (2 / 3 * 1 / 2 * 0.1) ** (1 / 3)
    second = (2 / 2 * 1 / 1) ** (1 / 2)  # "a a": nearest length 2, that of "a b"
    third = (1 / 2 * 0.1) ** (1 / 2)  # "a b"
    assert self_bleu(words("a a a", "a a", "a b"), 9, 0) == pytest.approx((first + second + third) / 3)


def naive(texts):
    scores = []
    for place, text in enumerate(texts):
        others = texts[:place] + texts[place + 1 :]
        logs = []
        for order in range(1, 5):
            grams = Counter(tuple(text[at : at + order]) for at in range(len(text) - order + 1))
            if grams:
                best = Counter()
                for other in others:
                    best |= Counter(tuple(other[at : at + order]) for at in range(len(other) - order + 1))
                logs.append(math.log(((grams & best).total() or 0.1) / grams.total()))
        nearest = min((len(other) for other in others), key=lambda length: (abs(length - len(text)), length))
        scores.append(math.exp(sum(logs) / len(logs)) * min(1.0, math.exp(1 - nearest / len(text))))
    return sum(scores) / len(scores)


def test_it_is_the_plain_definition_on_random_texts():
    chooser = random.Random(3)
    for _ in range(20):
        texts = [[chooser.choice("abc") for _ in range(chooser.randint(1, 9))] for _ in range(chooser.randint(2, 8))]
        assert self_bleu(texts, 99, 0) == pytest.approx(naive(texts))


def test_a_large_collection_is_sampled_by_seed_and_too_little_has_none():
    texts = [[str(number % 7), "x", str(number % 5)] for number in range(60)]
    assert self_bleu(texts, 20, 1) == self_bleu(texts, 20, 1)
    assert len({self_bleu(texts, 20, seed) for seed in range(5)}) > 1
    assert self_bleu(words("a b"), 9, 0) is None
    assert self_bleu([[], [], ["a"]], 9, 0) is None
