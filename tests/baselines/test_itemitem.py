"""EASE against its definition, cosine neighbours by hand, what is chosen, and what takes EASE's place."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from rporec.baselines import itemitem
from rporec.baselines.itemitem import ItemItem, choose_item_item, ease, fit_item_item, neighbours, together
from rporec.rechead.examples import Examples

torch.set_num_threads(1)


def examples(lines: list[tuple[list[int], int]]) -> Examples:
    histories = [np.array(history, dtype=np.int64) for history, _ in lines]
    places = np.arange(len(lines))
    return Examples(places, histories, places, np.array([target for _, target in lines]))


def test_a_row_is_a_decayed_history_with_its_target():
    rows = together(examples([([0, 1], 2), ([], 3), ([1, 1], 1)]), 4, 0.5)
    assert rows.toarray().tolist() == [[0.25, 0.5, 1, 0], [0, 0, 0, 1], [0, 1.75, 0, 0]]


def test_rows_of_one_basket_share_a_history_and_nothing_else():
    basket = Examples(np.array([0]), [np.array([0])], np.array([0, 0]), np.array([1, 2]))
    assert together(basket, 3, 0.5).toarray().tolist() == [[0.5, 1, 0], [0.5, 0, 1]]


def test_ease_by_hand():
    """X'X = [[1, 1], [1, 1]], ridge 1: P = [[2, -1], [-1, 2]] / 3, so B_01 = -(-1/3) / (2/3) = 1/2."""
    assert ease(sp.csr_matrix(np.ones((1, 2), np.float32)), 1.0) == pytest.approx(np.array([[0, 0.5], [0.5, 0]]))


def test_ease_is_the_ridge_regression_of_every_item_on_the_others():
    x = np.random.default_rng(0).random((30, 6)).astype(np.float32)
    found = ease(sp.csr_matrix(x), 2.0)
    for item in range(6):
        others = np.delete(np.arange(6), item)
        a = x[:, others]
        plain = np.linalg.solve(a.T @ a + 2.0 * np.eye(5), a.T @ x[:, item])
        assert found[others, item] == pytest.approx(plain, abs=1e-4)
        assert found[item, item] == 0


def test_cosine_by_hand_with_shrinkage_and_without_itself():
    """Columns (3, 4), (0, 2) and (5, 0): lengths 5, 2, 5; products 8, 15, 0."""
    found = neighbours(sp.csr_matrix(np.array([[3, 0, 5], [4, 2, 0]], np.float32)), 5.0).toarray()
    assert found == pytest.approx(np.array([[0, 8 / 15, 15 / 30], [8 / 15, 0, 0], [15 / 30, 0, 0]]))


def test_only_the_best_neighbours_are_kept(monkeypatch):
    monkeypatch.setattr(itemitem, "_NEIGHBOURS", 1)
    found = neighbours(sp.csr_matrix(np.array([[3, 0, 5], [4, 2, 0]], np.float32)), 5.0)
    assert np.diff(found.indptr).tolist() == [1, 1, 1]
    assert found[0, 1] == pytest.approx(8 / 15)


def lines(count: int, seed: int) -> Examples:
    """Items 10 to 19 answer items 0 to 9."""
    return examples([([item], item + 10) for item in np.random.default_rng(seed).integers(0, 10, count).tolist()])


@pytest.mark.parametrize("most", [20, 19])
def test_pairs_are_found_by_either_ranker(most):
    train, valid = lines(300, 1), lines(50, 2)
    settings = choose_item_item(train, valid, 20, most)
    ranker = fit_item_item(train, 20, most, settings)
    assert sp.issparse(ranker.weights) == (most < 20)
    scores = ranker.scores([[3], [7], []])
    assert scores.dtype == np.float32
    assert scores[:2].argmax(axis=1).tolist() == [13, 17]
    assert np.argmax(scores[2]) == np.argmax(np.bincount(train.targets))


def test_popularity_orders_items_without_evidence_and_no_more():
    weights = np.zeros((4, 4), np.float32)
    weights[0, 1] = 0.5
    line = ItemItem(weights, np.array([0, 1, 3, 9], np.float32), 0.5).scores([[0]])[0]
    assert np.argsort(-line).tolist() == [1, 3, 2, 0]
