"""The mixer starts as plain late fusion, learns what a sum cannot, goes on after a kill; company changes nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rporec.errors import InputError
from rporec.evaluation.metrics import ndcg, rank_targets
from rporec.rechead import mixed
from rporec.rechead.channels import Channels, nearest
from rporec.rechead.examples import Examples
from rporec.rechead.head import HeadWeights, HistoryHead, count
from rporec.rechead.mixed import Like, MixedHead, fit_mixer
from rporec.rechead.mixer import ROW_FEATURES, SIGNALS, Mixer
from rporec.rechead.tower import HistoryTower
from tests.kills import killed
from tests.rechead import world

torch.set_num_threads(1)
HISTORIES = [[3], [1, 2, 3], [39, 0, 0, 0, 5, 5], [], [7, 7]]


def fresh(seed: int = 1) -> MixedHead:
    texts = world.reader().items
    tower = HistoryTower(world.shape(), texts, seed=1)
    rows = Examples.from_rows(world.rows(500, 3))
    transitions = count(rows, world.N, 0.5, None)
    return MixedHead(tower, Channels.count(rows, transitions, texts, nearest(texts)), Mixer(seed), 16.0)


@pytest.fixture(scope="module")
def held() -> Examples:
    return Examples.from_rows(world.rows(400, 4))


def test_it_starts_as_the_plain_weighted_sum():
    head = fresh()
    head.mixer.begin(*head.read(HISTORIES), head.channels.item_features, {0: 0.7, 1: 0.4})
    plain = HistoryHead(head.tower, head.transitions).logits(HISTORIES, HeadWeights(0.7, 0.4, 16.0))
    full = [place for place, history in enumerate(HISTORIES) if history]
    expected = torch.log_softmax(plain, dim=1)[full]
    torch.testing.assert_close(torch.log_softmax(head.logits(HISTORIES), dim=1)[full], expected, atol=1e-4, rtol=0)


def test_it_beats_the_sum_that_it_starts_from(held, tmp_path):
    head = fresh()
    losses = fit_mixer(head, held, {0: 0.1, 1: 0.5}, 3, tmp_path)
    later = Examples.from_rows(world.rows(400, 5))
    plain = HistoryHead(head.tower, head.transitions).logits(later.histories, HeadWeights(0.1, 0.5, 16.0))
    reached = [
        ndcg(rank_targets(logits.numpy(), later.owner, later.targets), 10).mean()
        for logits in (head.logits(later.histories), plain)
    ]
    assert losses[-1] < losses[0]
    assert reached[0] > reached[1] + 0.02


def test_every_weight_of_the_mixer_learns_and_the_tower_stays(held, tmp_path):
    head = fresh()
    before = {name: value.clone() for name, value in head.mixer.named_parameters()}
    tower = {name: value.clone() for name, value in head.tower.state_dict().items()}
    fit_mixer(head, held, {0: 1.0}, 3, tmp_path)
    for name, value in head.mixer.named_parameters():
        assert not torch.equal(value, before[name]), name
    assert all(torch.equal(value, tower[name]) for name, value in head.tower.state_dict().items())
    K, R, h = SIGNALS, ROW_FEATURES, 16
    assert sum(p.numel() for p in head.mixer.parameters()) == K + R * K + K * h + 3 * h + R * h + h + h


def test_a_history_of_ten_thousand_items_is_read_by_its_newest():
    head = fresh()
    head.mixer.begin(*head.read(HISTORIES), head.channels.item_features, {0: 0.7, 1: 0.4})
    long = np.random.default_rng(0).integers(world.N, size=10_000).tolist()
    found = head.logits([[3], long, [7, 7]])
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[1:2], head.logits([long[-world.H :]]), atol=2e-4, rtol=0)
    torch.testing.assert_close(found[[0, 2]], head.logits([[3], [7, 7]]), atol=2e-4, rtol=0)


def test_a_killed_fit_goes_on(held, tmp_path):
    whole, cut, resumed = fresh(), fresh(), fresh()
    losses = fit_mixer(whole, held, {0: 1.0}, 3, tmp_path / "whole")
    with killed(mixed, "_epoch", after=2):
        fit_mixer(cut, held, {0: 1.0}, 3, tmp_path / "cut")
    assert fit_mixer(resumed, held, {0: 1.0}, 3, tmp_path / "cut") == losses
    for name, value in whole.mixer.state_dict().items():
        assert torch.equal(value, resumed.mixer.state_dict()[name]), name


def test_company_and_chunks_change_nothing(held, tmp_path, monkeypatch):
    head = fresh()
    fit_mixer(head, held, {0: 1.0}, 3, tmp_path)
    together = head.logits(HISTORIES)
    torch.testing.assert_close(together, torch.cat([head.logits([h]) for h in HISTORIES]), atol=2e-4, rtol=0)
    monkeypatch.setattr(mixed, "_CHUNK_CELLS", 2 * world.N)
    monkeypatch.setattr(mixed, "_MIXED_CELLS", 3 * 7)  # pieces of the catalogue, the last one shorter
    torch.testing.assert_close(together, head.logits(HISTORIES), atol=2e-4, rtol=0)


def test_an_empty_history_ranks_by_popularity():
    head = fresh()
    order = head.logits([[]])[0].argsort(descending=True)
    sold = head.transitions.popularity[order.numpy()]
    assert (np.diff(sold) <= 0).all()


def test_a_long_history_is_read_at_its_newest_items():
    head = fresh()
    long = list(range(30))
    torch.testing.assert_close(head.logits([long]), head.logits([long[-world.H :]]))
    with pytest.raises(InputError, match="does not know"):
        head.logits([[world.N]])


def test_made_again_it_counts_the_new_rows_and_keeps_the_mixer(held, tmp_path):
    head = fresh()
    fit_mixer(head, held, {0: 1.0}, 3, tmp_path)
    again = head.again(head.tower, held)
    assert again.mixer is head.mixer
    assert np.array_equal(again.channels.sold, np.bincount(held.targets, minlength=world.N))
    assert again.prior == head.prior


def test_nothing_held_out_leaves_the_mixer_untrained(tmp_path):
    head = fresh()
    empty = Examples.from_rows(world.rows(0, 1))
    assert fit_mixer(head, empty, {0: 1.0}, 3, tmp_path) == []


def test_a_saved_folder_scores_the_same(held, tmp_path: Path):
    rows = Examples.from_rows(world.rows(300, 6))
    texts = world.reader().items
    head = MixedHead.fit(HistoryTower(world.shape(), texts, seed=1), rows, held, Like(texts, 0.5, 1), tmp_path / "fit")
    (tmp_path / "saved").mkdir()
    head.save(tmp_path / "saved")
    assert torch.equal(MixedHead.load(tmp_path / "saved", texts).logits(HISTORIES), head.logits(HISTORIES))
