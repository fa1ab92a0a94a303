"""Popularity and Markov by hand; ties."""

import numpy as np
import torch

from rporec.baselines.counting import DECAYS, Markov, Popularity, choose_counting, choose_recency, popular
from rporec.evaluation.metrics import rank_targets
from rporec.rechead.examples import Examples
from rporec.transitions import Transitions
from tests.counted import by_row

torch.set_num_threads(1)


def order(line: np.ndarray) -> list[int]:
    return np.argsort(-line, kind="stable").tolist()


def test_popularity_is_the_same_for_everyone():
    ranker = Popularity(np.array([1, 3, 2], np.float32))
    assert ranker.scores([[0], []]).tolist() == [[1, 3, 2]] * 2


def test_markov_counts_first_and_popularity_breaks_ties():
    # After 0 came 1 once and 2 once; item 2 was a target twice more, item 3 three times, item 0 never.
    counts = by_row([[0], [0], [], [], [], [], []], [1, 2, 2, 2, 3, 3, 3], n_items=4, decay=0.5)
    ranker = Markov(counts)
    assert order(ranker.scores([[0]])[0]) == [2, 1, 3, 0]
    assert order(ranker.scores([[3]])[0])[2:] == [1, 0]  # no evidence: popularity alone


def test_items_equal_in_both_stay_tied():
    counts = by_row([[0], [0]], [1, 2], n_items=4, decay=0.5)
    ranks = rank_targets(Markov(counts).scores([[0]]), np.array([0, 0]), np.array([1, 3]))
    assert ranks.above.tolist() == [0, 2]
    assert ranks.ties.tolist() == [1, 1]


def test_a_small_popularity_still_breaks_a_tie_of_large_counts():
    # 20,000,000 + 1 is 20,000,000 in float32: a plain sum would leave a tie.
    counts = Transitions(
        by_row([[0], [0]], [1, 2], 3, 0.5).counts * np.float32(2e7), np.array([0, 1, 2], np.float32), 0.5
    )
    line = Markov(counts).scores([[0]])[0]
    assert line[2] > line[1] > line[0]


def test_a_longer_memory_is_chosen_where_it_pays():
    rng = np.random.default_rng(1)

    def rows(count: int, step: int) -> Examples:
        histories = [rng.integers(0, 10, 3) for _ in range(count)]
        targets = np.array([10 + history[-step] for history in histories])
        return Examples(np.arange(count), histories, np.arange(count), targets)

    assert choose_counting(rows(400, 1), rows(100, 1), 20)[0] == DECAYS[0]
    assert choose_counting(rows(400, 3), rows(100, 3), 20)[0] == DECAYS[-1]


def test_recent_rows_are_trusted_where_what_follows_drifts():
    histories = [np.array([0])] * 400
    old_then_new = Examples(np.arange(400), histories, np.arange(400), np.array([1] * 250 + [2] * 150))
    steady = Examples(np.arange(400), histories, np.arange(400), np.array([1, 1, 2] * 133 + [1]))
    now = Examples(np.arange(50), histories[:50], np.arange(50), np.array([2] * 50))
    as_ever = Examples(np.arange(50), histories[:50], np.arange(50), np.array([1] * 50))
    assert choose_counting(old_then_new, now, 4)[1] is not None
    assert choose_counting(steady, as_ever, 4)[1] is None
    assert choose_recency(old_then_new, now, 4) is not None
    assert choose_recency(steady, as_ever, 4) is None


def test_a_row_one_half_life_older_counts_half():
    rows = Examples(np.arange(4), [np.array([0])] * 4, np.arange(4), np.array([1, 1, 2, 2]))
    assert popular(rows, 3, None).counts.tolist() == [0, 2, 2]
    # Ages 3, 2, 1, 0 of 4 rows; a half-life of a quarter is one row: 1/8 + 1/4 and 1/2 + 1.
    assert popular(rows, 3, 0.25).counts.tolist() == [0, 0.375, 1.5]
