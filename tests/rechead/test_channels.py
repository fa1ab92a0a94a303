"""The channels on a market of four items, worked by hand; a saved folder keeps them."""

import numpy as np
import pytest
import torch

from rporec.rechead.channels import NAMES, WINDOWS, Channels, nearest
from rporec.rechead.examples import Examples
from tests.counted import by_row

# Items 0 and 1 say nearly the same, 2 stands alone, 3 has no text.
TEXTS = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.0, 0.0]])
PRIOR = 2.0


@pytest.fixture
def channels() -> Channels:
    """Three rows in time order: 0 -> 2, 0 1 -> 2, 2 -> 3; half of a step back."""
    histories = [np.array([0]), np.array([0, 1]), np.array([2])]
    examples = Examples(np.arange(3), histories, np.arange(3), np.array([2, 2, 3]))
    transitions = by_row(histories, examples.targets, 4, decay=0.5)
    return Channels.count(examples, transitions, TEXTS, nearest(TEXTS))


def signal(channels: Channels, name: str, *history: int) -> np.ndarray:
    return channels.signals([np.array(history, dtype=np.int64)], PRIOR)[NAMES.index(name), 0].numpy()


def test_followed_and_preceded_by_hand(channels):
    # Counts: 0 -> 2 weighs 1 + 1/2 (one step back), 1 -> 2 weighs 1, 2 -> 3 weighs 1. Popularity: 0 0 2 1, plus one
    # each, of 3 + 4.
    base = np.array([1, 1, 3, 2]) / 7
    np.testing.assert_allclose(
        signal(channels, "followed", 0), np.log((np.eye(4)[2] * 1.5 + 2 * base) / 3.5), atol=1e-6
    )
    before = np.array([1.5, 1.0, 0.0, 0.0])  # what stood before 2
    np.testing.assert_allclose(signal(channels, "preceded", 2), np.log((before + 2 * base) / 4.5), atol=1e-6)


def test_kin_share_what_followed(channels):
    # Nearest of 2 by text are 1 (cosine .6) and, with cosine 0, the others: all weight goes to 1.
    base = np.array([1, 1, 3, 2]) / 7
    expected = np.log((np.eye(4)[1] * 1.5 + 2 * base) / 3.5)
    np.testing.assert_allclose(signal(channels, "kin_followed", 0), expected, atol=1e-6)


def test_alike_is_the_cosine_with_the_decayed_history(channels):
    np.testing.assert_allclose(signal(channels, "alike", 0), [1, 0.8, 0, 0], atol=1e-6)
    taste = np.array([0.6, 1.0])  # 2 is newest, 0 a step back
    taste /= np.linalg.norm(taste)
    np.testing.assert_allclose(signal(channels, "alike", 0, 2), TEXTS.numpy() @ taste, atol=1e-6)


def test_held_items_fade(channels):
    np.testing.assert_allclose(signal(channels, "held", 0, 2, 0), [1.25, 0, 0.5, 0], atol=1e-6)


def test_what_sells_now_forgets_what_sold(channels):
    for name, window in zip(("sells_lately", "sells_now"), WINDOWS, strict=True):
        ages = np.array([2, 1, 0]) / 3
        sold = np.zeros(4)
        np.add.at(sold, [2, 2, 3], 0.5 ** (ages / window))
        expected = np.log(sold / max(1, sold.sum()) * 4 + 0.1)
        np.testing.assert_allclose(signal(channels, name, 0), expected, atol=1e-5)
    assert signal(channels, "sells_now", 1)[3] > signal(channels, "sells_now", 1)[2]


def test_an_empty_history_has_finite_signals(channels):
    signals = channels.signals([np.array([], dtype=np.int64)], PRIOR)
    assert torch.isfinite(signals).all()
    np.testing.assert_allclose(signals[NAMES.index("followed"), 0].exp(), np.array([1, 1, 3, 2]) / 7, atol=1e-6)


def test_item_features_by_hand(channels):
    expected = [[0, 1, 1], [0, 1, 1], [np.log(3), 0, 1], [np.log(2), 0, 1]]
    np.testing.assert_allclose(channels.item_features, expected, atol=1e-6)
    assert channels.followers.tolist() == [1.5, 1.0, 1.0, 0.0]


def test_nobody_is_their_own_kin_and_chunks_change_nothing(monkeypatch):
    texts = torch.nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    whole = nearest(texts)
    assert (whole.diagonal() == 0).all()
    np.testing.assert_allclose(np.asarray(whole.sum(axis=1)).ravel(), 1, atol=1e-5)
    monkeypatch.setattr("rporec.rechead.channels._CHUNK", 7)
    np.testing.assert_allclose(nearest(texts).toarray(), whole.toarray(), atol=1e-6)
    cosines = (texts @ texts.T).fill_diagonal_(-1)
    best = set(cosines[5].topk(20).indices.tolist())
    assert set(whole[[5]].indices.tolist()) == best
    assert nearest(texts[:1]).nnz == 0


def test_a_saved_folder_keeps_them(channels, tmp_path):
    channels.save(tmp_path)
    again = Channels.load(tmp_path, TEXTS)
    histories = [np.array([0, 2]), np.array([3])]
    assert torch.equal(again.signals(histories, PRIOR), channels.signals(histories, PRIOR))
    assert torch.equal(again.item_features, channels.item_features)


def test_one_history_alone_has_the_signals_that_it_has_among_others(channels):
    histories = [np.array(one, dtype=np.int64) for one in ([], [0], [2, 1], [0, 1, 0, 3])]
    together = channels.signals(histories, PRIOR)
    for place, history in enumerate(histories):
        torch.testing.assert_close(channels.signals([history], PRIOR)[:, 0], together[:, place], atol=1e-6, rtol=1e-6)
