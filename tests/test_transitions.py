"""Transition counts worked by hand."""

import numpy as np
import pytest

from rporec.transitions import Transitions, weigh
from tests.counted import by_row

# 0 then 1, before target 2; 1 before target 2; 1 before target 3; nothing before target 0.
HISTORIES, TARGETS = [[0, 1], [1], [1], []], [2, 2, 3, 0]


@pytest.fixture
def counted() -> Transitions:
    return by_row(HISTORIES, TARGETS, n_items=4, decay=0.5)


def test_counts_by_hand(counted):
    expected = np.zeros((4, 4))
    expected[1, 2], expected[1, 3], expected[0, 2] = 2, 1, 0.5
    assert np.array_equal(counted.counts.toarray(), expected)
    assert counted.popularity.tolist() == [1, 0, 2, 1]


def test_scores_by_hand(counted):
    # History 0, 1: item 1 weighs 1, item 0 weighs 0.5: item 2 gets 2 + 0.5 x 0.5, item 3 gets 1.
    assert counted.scores([[0, 1], [1, 0], [3], []]).tolist() == [
        [0, 0, 2.25, 1], [0, 0, 1.5, 0.5], [0, 0, 0, 0], [0, 0, 0, 0],
    ]  # fmt: skip


def test_a_repeated_item_counts_each_time(counted):
    assert weigh([[1, 1]], 4, 0.5).toarray().tolist() == [[0, 1.5, 0, 0]]
    assert counted.scores([[1, 1]])[0, 2] == 3


def test_lines_of_one_basket_are_no_evidence_for_each_other():
    counted = by_row([[0], [0]], [1, 2], n_items=3, decay=0.5)
    assert counted.counts.toarray()[1:].sum() == 0


def test_probabilities_by_hand(counted):
    # Popularity with one count each: (2, 1, 3, 2) / 8. History 1: counts (0, 0, 2, 1), prior 2.
    base = np.array([2, 1, 3, 2]) / 8
    expected = (np.array([0, 0, 2, 1]) + 2 * base) / 5
    found = np.exp(counted.log_probabilities([[1], []], prior=2))
    assert np.allclose(found[0], expected)
    assert np.allclose(found[1], base)
    assert np.allclose(found.sum(axis=1), 1)


def test_older_rows_weigh_less():
    # Four rows: ages 3/4, 2/4, 1/4, 0 of all rows; half-life 1/4: weights 1/8, 1/4, 1/2, 1.
    counted = by_row([[0]] * 4, [1, 1, 2, 2], n_items=3, decay=0.5, half_life=0.25)
    assert counted.counts.toarray()[0].tolist() == [0, 0.375, 1.5]
    assert counted.popularity.tolist() == [0, 0.375, 1.5]


def test_groups_count_as_their_rows():
    apart = by_row([[0, 1], [0, 1], [2]], [2, 3, 3], n_items=4, decay=0.5, half_life=0.5)
    owner, targets = np.array([0, 0, 1]), np.array([2, 3, 3])
    by_group = Transitions.fit_groups([[0, 1], [2]], (owner, targets), n_items=4, decay=0.5, half_life=0.5)
    assert np.allclose(by_group.counts.toarray(), apart.counts.toarray())
    assert np.array_equal(by_group.popularity, apart.popularity)


def test_a_saved_file_scores_the_same(counted, tmp_path):
    counted.save(tmp_path / "t.safetensors")
    again = Transitions.load(tmp_path / "t.safetensors")
    assert np.array_equal(again.scores([[0, 1]]), counted.scores([[0, 1]]))
    assert again.decay == 0.5
    assert again.half_life is None
    assert np.array_equal(again.counts.toarray(), counted.counts.toarray())
