"""Fitting: a killed fit ends with the same bytes, every weight moves, packed training equals one row at a time."""

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from rporec.errors import InputError
from rporec.rechead import train as training
from rporec.rechead.examples import Examples
from rporec.rechead.packing import pack
from rporec.rechead.tower import HistoryTower, Noise
from rporec.rechead.train import choose_tower, query, refit_tower, valid_ndcg
from tests.kills import killed
from tests.rechead import world

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data() -> tuple[Examples, Examples]:
    return Examples.from_rows(world.rows(300, seed=1)), Examples.from_rows(world.rows(100, seed=2))


@pytest.fixture(scope="module")
def texts() -> torch.Tensor:
    return world.reader().items


def test_a_killed_fit_ends_with_the_same_bytes(data, texts, tmp_path):
    whole = choose_tower(*data, texts, world.fit(), tmp_path / "whole")
    with killed(training, "_epoch", after=2):
        choose_tower(*data, texts, world.fit(), tmp_path / "cut")
    again = choose_tower(*data, texts, world.fit(), tmp_path / "cut")
    assert again.curve == whole.curve
    assert again.epochs == whole.epochs
    assert (tmp_path / "cut/best.safetensors").read_bytes() == (tmp_path / "whole/best.safetensors").read_bytes()
    cut, undisturbed = (load_file(tmp_path / name / "last.safetensors") for name in ("cut", "whole"))
    assert all(torch.equal(cut[name], tensor) for name, tensor in undisturbed.items())


def test_the_best_epoch_is_kept(data, texts, tmp_path):
    fitted = choose_tower(*data, texts, world.fit(), tmp_path)
    reached = [epoch.ndcg for epoch in fitted.curve]
    assert fitted.epochs == int(np.argmax(reached)) + 1
    assert valid_ndcg(fitted.tower, data[1]) == pytest.approx(max(reached))
    assert max(reached) > reached[0]
    assert len(reached) <= fitted.epochs + world.fit().patience


def test_a_refit_walks_the_same_schedule(data, texts, tmp_path):
    chosen = choose_tower(*data, texts, world.fit(), tmp_path / "a")
    again = refit_tower(data[0], texts, world.fit(), chosen.epochs, tmp_path / "b")
    assert again.epochs == chosen.epochs
    for name, tensor in chosen.tower.state_dict().items():
        assert torch.equal(tensor, again.tower.state_dict()[name])


@pytest.mark.parametrize("kind", [{}, {"ids": False}, {"text_dim": 0}])
def test_every_trainable_weight_moves_and_the_texts_do_not(data, texts, tmp_path, kind):
    own = None if kind.get("text_dim") == 0 else texts
    fit = world.fit(shape=world.shape(**kind), epochs=1)
    before = HistoryTower(fit.shape, own, fit.seed)
    after = refit_tower(data[0], own, fit, 1, tmp_path).tower
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert not torch.equal(old, new), name
    if own is not None:
        assert torch.equal(before.texts, after.texts)


def test_packed_loss_equals_the_loss_of_rows_one_by_one(data, texts):
    examples = Examples.from_rows(
        pl.concat(
            [world.rows(20, seed=1), world.rows(20, seed=1, first=100).with_columns(pl.col("history").list.head(1))]
        )
    )
    tower = HistoryTower(world.shape(dropout=0.0), texts, seed=1)
    packed = pack(examples)
    everything = (examples, training._rows_by_group(examples))
    loss, rows = training._batch_loss(tower, np.arange(len(packed.carriers)), packed, everything, Noise(0.0, 1, 1))
    vectors = tower.item_vectors()
    scores = query(tower, vectors, examples.histories) @ vectors.T
    plain = torch.nn.functional.cross_entropy(scores[examples.owner], torch.from_numpy(examples.targets))
    assert rows == len(examples.targets)
    assert len(packed.carriers) < len(examples)
    torch.testing.assert_close(loss, plain, atol=1e-5, rtol=1e-5)


def test_rows_without_any_history_cannot_be_fitted(data, texts, tmp_path):
    empty = Examples(np.array([1]), [np.array([], dtype=int)], np.array([0]), np.array([1]))
    with pytest.raises(InputError, match="no training row has a history"):
        choose_tower(empty, data[1], texts, world.fit(), tmp_path)


def test_without_valid_rows_all_epochs_are_run(data, texts, tmp_path):
    nothing = data[1].take([])
    assert choose_tower(data[0], nothing, texts, world.fit(epochs=2), tmp_path).epochs == 2


def test_a_checkpoint_is_not_read_into_the_callers_vectors(data, texts, tmp_path):
    choose_tower(*data, texts, world.fit(epochs=1), tmp_path)
    own = -texts
    choose_tower(*data, own, world.fit(epochs=1), tmp_path)
    assert torch.equal(own, -texts)
