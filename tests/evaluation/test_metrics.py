"""Metrics by hand, and what a tie may never do."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.evaluation.metrics import Ranks, metric_rows, rank_targets, summarise


def ranks(above: list[int], ties: list[int]) -> Ranks:
    return Ranks(np.array(above, dtype=np.int64), np.array(ties, dtype=np.int64))


def test_ranks_count_higher_and_equal_scores_over_the_whole_catalogue() -> None:
    scores = np.array([[3.0, 1.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    found = rank_targets(scores, np.array([0, 0, 0, 1]), np.array([0, 1, 3, 2]))
    assert found.above.tolist() == [0, 3, 1, 0]
    assert found.ties.tolist() == [0, 0, 1, 3]


def test_items_that_cannot_be_recommended_tie_at_the_bottom() -> None:
    scores = np.array([[1.0, -np.inf, -np.inf]])
    found = rank_targets(scores, np.array([0]), np.array([2]))
    assert (found.above[0], found.ties[0]) == (1, 1)


def test_chunks_do_not_change_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (7, 11)).astype(np.float32)
    rows, targets = rng.integers(0, 7, 50), rng.integers(0, 11, 50)
    whole = rank_targets(scores, rows, targets)
    monkeypatch.setattr("rporec.evaluation.metrics._CELLS", 25)
    parts = rank_targets(scores, rows, targets)
    assert whole.above.tolist() == parts.above.tolist()
    assert whole.ties.tolist() == parts.ties.tolist()


def test_nan_scores_are_refused_since_they_would_seem_to_win() -> None:
    with pytest.raises(ValueError, match="NaN"):
        rank_targets(np.array([[np.nan, 1.0]]), np.array([0]), np.array([0]))


def test_metrics_by_hand_without_ties() -> None:
    rows = metric_rows(ranks([0, 2, 9, 10], [0, 0, 0, 0]), (5, 10))
    assert rows["hr@5"].tolist() == [1, 1, 0, 0]
    assert rows["hr@10"].tolist() == [1, 1, 1, 0]
    assert rows["ndcg@5"] == pytest.approx([1, 0.5, 0, 0])
    assert rows["ndcg@10"] == pytest.approx([1, 0.5, 1 / math.log2(11), 0])
    assert rows["mrr"] == pytest.approx([1, 1 / 3, 1 / 10, 1 / 11])


def test_metrics_by_hand_with_ties() -> None:
    rows = metric_rows(ranks([4, 0], [1, 3]), (5,))
    # Row 0 stands at 5 or 6; row 1 at 1, 2, 3 or 4.
    assert rows["hr@5"] == pytest.approx([0.5, 1.0])
    gains = [1 / math.log2(rank + 1) for rank in (1, 2, 3, 4)]
    assert rows["ndcg@5"] == pytest.approx([0.5 / math.log2(6), sum(gains) / 4])
    assert rows["mrr"] == pytest.approx([(1 / 5 + 1 / 6) / 2, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4])


def test_a_constant_ranker_gets_chance_not_a_win() -> None:
    found = rank_targets(np.zeros((1, 100), dtype=np.float32), np.array([0]), np.array([17]))
    assert metric_rows(found, (10,))["hr@10"][0] == pytest.approx(0.1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 25))
def test_a_tie_never_helps(above: int, ties: int, k: int) -> None:
    tied, alone = (metric_rows(ranks([above], [t]), (k,)) for t in (ties, 0))
    assert all(tied[name][0] <= alone[name][0] + 1e-12 for name in tied)
    assert all(0 <= tied[name][0] <= 1 for name in tied)


def test_no_rows_give_unknown_not_zero() -> None:
    found = summarise(metric_rows(ranks([], []), (5,)))
    assert found == {"hr@5": None, "ndcg@5": None, "mrr": None, "n": 0}
