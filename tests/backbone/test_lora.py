"""Adapters: few weights are tuned, the rest stays, and what is saved is the plain model."""

import pytest
import torch

from rporec.backbone import finetune
from rporec.backbone.finetune import fine_tune, mean_loss, tuned_weights
from rporec.backbone.lora import add_adapters, merge_adapters
from rporec.backbone.source import load_writer
from tests.backbone.models import llama, qwen3
from tests.backbone.test_finetune import examples, same, tuning, weights
from tests.kills import killed

MAKERS = pytest.mark.parametrize("make", [qwen3, llama])


def tuned(make, kept, **changes):
    writer = make()
    adapted = add_adapters(writer.model, 4, seed=5)
    losses = fine_tune(writer.model, examples(), tuning(**changes), kept).losses
    return merge_adapters(adapted), losses


@MAKERS
def test_adapters_learn_and_are_merged_into_a_plain_folder(make, tmp_path):
    writer = make()
    before, names = mean_loss(writer.model, examples(), tuning()), set(weights(writer.model))
    model, _ = tuned(make, tmp_path / "kept", epochs=15)
    after = mean_loss(model.eval(), examples(), tuning())
    assert after < 0.7 * before
    assert set(weights(model)) == names
    assert type(model) is type(writer.model)
    type(writer)(model=model, tokenizer=writer.tokenizer).save(tmp_path / "saved")
    assert not list((tmp_path / "saved").glob("adapter*"))
    back = load_writer(tmp_path / "saved").model
    assert same(weights(back), weights(model))
    assert mean_loss(back, examples(), tuning()) == pytest.approx(after, abs=1e-6)


@MAKERS
def test_fresh_adapters_change_nothing(make):
    plain, writer = make().model, make()
    merged = merge_adapters(add_adapters(writer.model, 4, seed=5))
    assert same(weights(plain), weights(merged))


@MAKERS
def test_only_linear_layers_within_the_blocks_move(make, tmp_path):
    before = weights(make().model)
    after = weights(tuned(make, tmp_path / "kept", epochs=2)[0])
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.endswith("_proj.weight")}


def test_few_weights_are_tuned_and_kept(tmp_path):
    writer = llama()
    whole = sum(weight.numel() for weight in tuned_weights(writer.model))
    add_adapters(writer.model, 1, seed=5)
    few = sum(weight.numel() for weight in tuned_weights(writer.model))
    assert 0 < few < 0.15 * whole
    fine_tune(writer.model, examples(), tuning(), tmp_path / "kept")
    assert (tmp_path / "kept").stat().st_size < 3 * 4 * few + 60_000


def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    whole, losses = tuned(qwen3, tmp_path / "whole")
    with killed(finetune, "_update", after=5):
        tuned(qwen3, tmp_path / "kept")
    again, resumed = tuned(qwen3, tmp_path / "kept")
    assert resumed == losses
    assert same(weights(again), weights(whole))


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    add_adapters(qwen3().model, 2, seed=5)
    assert torch.equal(torch.rand(1), expected)
