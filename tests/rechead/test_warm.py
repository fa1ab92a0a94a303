"""Towers that go on: ids follow their items, a new item is its text, and each tower goes on from its own namesake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from rporec import tables
from rporec.encode.static import StaticEncoder
from rporec.rechead import warm
from rporec.rechead.tower import HistoryTower, TowerShape
from rporec.rechead.train import query

SHAPE = TowerShape(n_items=4, text_dim=3, width=8, layers=1, heads=2, history_length=3, dropout=0.1)
WORDS = ["red lamp", "blue chair", "green rope", "old brush", "new bucket"]


def texts(n_items: int) -> torch.Tensor:
    return torch.nn.functional.normalize(
        torch.randn(n_items, 3, generator=torch.Generator().manual_seed(n_items)), dim=1
    )


def trained(seed: int = 1) -> HistoryTower:
    """A tower whose every weight is another than a fresh one's."""
    tower = HistoryTower(SHAPE, texts(4), seed)
    with torch.no_grad():
        for place, weight in enumerate(tower.parameters()):
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed + place))
    return tower


def test_a_moved_catalogue_ranks_as_before_and_a_new_item_is_its_text() -> None:
    old = trained()
    places = np.array([2, -1, 0, 3, 1])  # tonight's item 0 was item 2, item 1 is new
    now = texts(5)
    now[[0, 2, 3, 4]] = old.texts[[2, 0, 3, 1]]
    tower = warm.grown(old, HistoryTower(replace(SHAPE, n_items=5), now, seed=9), places)
    with torch.inference_mode():
        before, after = old.item_vectors(), tower.item_vectors()
        assert torch.equal(after[[0, 2, 3, 4]], before[[2, 0, 3, 1]])
        assert torch.equal(after[1], (now @ tower.project)[1]), "no id of its own yet"
        asked, moved = [np.array([2, 0, 1])], [np.array([0, 2, 4])]
        assert torch.equal(query(tower, after, moved), query(old, before, asked))
    tower.ids.data[1] = 1.0
    assert not torch.equal(tower.item_vectors()[1], after[1]), "and it can learn one"


def test_without_texts_a_new_item_starts_as_in_a_fresh_tower() -> None:
    shape = replace(SHAPE, text_dim=0)
    fresh = HistoryTower(replace(shape, n_items=5), None, seed=9)
    first = fresh.ids.detach()[4].clone()
    tower = warm.grown(HistoryTower(shape, None, seed=1), fresh, np.array([0, 1, 2, 3, -1]))
    assert torch.equal(tower.ids[4], first)


def test_longer_and_shorter_histories_are_read() -> None:
    old = trained()
    for length in (2, 5):
        tower = warm.grown(old, HistoryTower(replace(SHAPE, history_length=length), texts(4), 9), np.arange(4))
        both = min(length, 3)
        assert torch.equal(tower.distance[:, :both], old.distance[:, :both])
        assert torch.equal(tower.distance[:, 3:], old.distance[:, -1:].expand(-1, max(0, length - 3)))


def test_each_tower_goes_on_from_its_namesake_with_the_parents_encoder(tmp_path: Path) -> None:
    encoder = StaticEncoder.fit(WORDS[:4], 3, seed=0)
    for place, name in enumerate(warm.TOWERS):
        trained(seed=place).save(tmp_path / name / "tower.safetensors")
        (tmp_path / name / "text").mkdir()
        encoder.save(tmp_path / name / "text")
    tables.write(warm.known(["a", "b", "c", "d"]), tmp_path / warm.ITEMS, tables.KNOWN)
    found = warm.load(tmp_path, ["b", "new", "a"], epochs=2, vectors=tmp_path / "vectors")
    assert found.places.tolist() == [1, -1, 0]
    assert np.array_equal(found.encoder.encode(WORDS), encoder.encode(WORDS)), "new words too are read as before"
    now = texts(3)
    for place, name in enumerate(warm.TOWERS):
        tower = found.tower(name, replace(SHAPE, n_items=3), now, seed=9)
        assert torch.equal(tower.norm.weight, trained(seed=place).norm.weight)
    assert warm.misfit(found, replace(SHAPE, n_items=3, history_length=9, dropout=0.5)) is None
    assert warm.misfit(found, replace(SHAPE, width=16)) == "the parent's tower reward has another shape"
