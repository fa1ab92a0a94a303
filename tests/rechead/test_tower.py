"""The tower: prefixes, padding and batches change nothing; noise is keyed and scaled."""

import numpy as np
import pytest
import torch

from rporec.rechead.tower import HistoryTower, Noise, pad
from rporec.rechead.train import query
from tests.rechead import world


@pytest.fixture(scope="module")
def tower() -> HistoryTower:
    texts = torch.nn.functional.normalize(torch.randn(world.N, 16, generator=torch.Generator().manual_seed(1)), dim=1)
    tower = HistoryTower(world.shape(), texts, seed=1)
    torch.nn.init.normal_(tower.distance, generator=torch.Generator().manual_seed(2))
    return tower.requires_grad_(requires_grad=False)


def test_a_prefix_reads_the_same_inside_a_longer_history(tower):
    vectors = tower.item_vectors()
    whole = tower(vectors, torch.tensor([[5, 1, 9, 2]]))[0]
    for length in range(1, 5):
        own = tower(vectors, torch.tensor([[5, 1, 9, 2][:length]]))[0, -1]
        torch.testing.assert_close(own, whole[length - 1], atol=1e-5, rtol=0)


def test_padding_and_company_change_nothing(tower):
    histories = [np.array(h) for h in ([3], [1, 2, 3, 4, 5, 6], [], [7, 7])]
    vectors = tower.item_vectors()
    together = query(tower, vectors, histories)
    alone = torch.cat([query(tower, vectors, [history]) for history in histories])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert (together[2] == 0).all()


def test_order_matters_and_only_the_newest_items_are_read(tower):
    vectors = tower.item_vectors()
    one, turned = (query(tower, vectors, [np.array(h)]) for h in ([1, 2, 3], [2, 1, 3]))
    assert not torch.allclose(one, turned, atol=1e-3)
    long = np.arange(world.H + 4)
    assert torch.equal(query(tower, vectors, [long]), query(tower, vectors, [long[-world.H :]]))


def test_item_vectors_are_text_plus_id(tower):
    bare = HistoryTower(world.shape(ids=False), tower.texts, seed=1)
    ids = HistoryTower(world.shape(text_dim=0), None, seed=1)
    assert bare.ids is None
    assert ids.project is None
    torch.testing.assert_close(tower.item_vectors(), tower.texts @ tower.project + tower.ids)
    assert torch.equal(ids.item_vectors(), ids.ids)


def test_noise_is_keyed_scaled_and_off_at_rate_zero():
    ones = torch.ones(200, 100)
    once = Noise(0.25, 1, 7)(ones)
    assert torch.equal(once, Noise(0.25, 1, 7)(ones))
    assert not torch.equal(once, Noise(0.25, 1, 8)(ones))
    assert once.unique().tolist() == pytest.approx([0, 4 / 3])
    assert once.mean() == pytest.approx(1, abs=0.02)
    assert Noise(0.0, 1, 7)(ones) is ones


def test_pad_by_hand():
    padded, lengths = pad([np.array([4, 5]), np.array([6])])
    assert padded.tolist() == [[4, 5], [6, 0]]
    assert lengths.tolist() == [2, 1]
