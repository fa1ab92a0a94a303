"""Adapters in reinforcement learning: TRL's own loss and gradients, only adapters move, and what is kept is plain."""

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from rporec.align import passes
from rporec.align.settings import Setup, grpo_config, peft_config
from rporec.align.trainer import Policy
from rporec.backbone.source import load_writer
from rporec.files import sha256_path
from tests.align import runs, world
from tests.align.test_passes import (
    PARAMS,
    REWARDS,
    ROWS,
    SEED,
    G,
    L,
    Ours,
    Pair,
    Scores,
    Stock,
    in_our_order,
    max_relative_difference,
    one_step,
)  # fmt: skip
from tests.backbone.models import bloom, llama, qwen3

RANK = 4


def pair_of(writer, folder):
    """Stock with a peft configuration and ours with `align.lora_rank`, adapters at the same place off their start."""
    writer.save(folder / "backbone")
    params = PARAMS.model_copy(update={"lora_rank": RANK})
    setup = Setup(folder / "backbone", folder, seed=SEED, max_completion_tokens=L, device="cpu")
    stock = Stock(
        str(setup.backbone), reward_funcs=lambda **_: REWARDS, args=grpo_config(params, setup),
        train_dataset=Dataset.from_list(ROWS[::G]), processing_class=writer.tokenizer, peft_config=peft_config(params),
    )  # fmt: skip
    ours = Ours(params, setup, [(row["group"], row["prompt"]) for row in ROWS[::G]], writer.tokenizer, Scores())
    for trainer in (stock, ours):
        trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        torch.manual_seed(7)
        with torch.no_grad():
            for weight in tuned(trainer.model).values():
                weight.copy_(0.05 * torch.randn_like(weight))
    return Pair(stock, ours)


def tuned(model):
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize(("make", "shares"), [(qwen3, True), (llama, True), (bloom, False)])
def test_loss_and_gradients_are_those_of_trls_own_adapters(tmp_path, monkeypatch, make, shares):
    monkeypatch.setattr("trl.trainer.grpo_trainer.shuffle_sequence_dict", in_our_order)
    passed = []
    run = passes.run
    monkeypatch.setattr(passes, "run", lambda *given: passed.append(1) or run(*given))
    pair = pair_of(make(), tmp_path)
    assert all("lora" in name for name in tuned(pair.ours.model))
    for loss_type, beta, quantile in (("grpo", 0.1, 0.2), ("dapo", 0.0, 1.0)):
        stock, ours = (one_step(trainer, loss_type, beta, quantile) for trainer in pair.both())
        assert max_relative_difference(ours[0], stock[0]) < 1e-4
        assert stock[1].keys() == ours[1].keys()
        for name, gradient in stock[1].items():
            assert gradient.abs().max() > 0, name
            assert max_relative_difference(ours[1][name], gradient) < 1e-4, name
        if beta:
            kl = [trainer._metrics["train"]["kl"][-4:] for trainer in pair.both()]
            assert min(kl[0]) > 0, "the reference is the model with its adapters off"
            assert kl[1] == pytest.approx(kl[0], rel=1e-4)
    assert bool(passed) == shares


def test_every_adapter_moves_and_nothing_else(tmp_path):
    torch.set_num_threads(1)
    world.write_backbone(tmp_path / "backbone", steps=30)
    params = runs.small(lora_rank=2, steps=2)
    setup = world.setup(tmp_path / "backbone", tmp_path)
    prompts = [(g, world.prompt(g)) for g in range(8)]
    words = world.writer(tmp_path / "backbone").tokenizer
    policy = Policy(params, setup, prompts, words, world.scorer(params, world.facts(5)))
    before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
    policy.train()
    moved = {name for name, weight in policy.model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == set(tuned(policy.model))
    assert len(moved) == 2 * 7 * 2  # A and B of seven linear layers in two blocks


def test_what_is_kept_is_a_plain_model_and_the_same_after_a_stop(tmp_path):
    torch.set_num_threads(1)
    world.write_backbone(tmp_path / "backbone")
    params = runs.small(lora_rank=2, steps=4, learning_rate=0.02)
    whole = runs.run(tmp_path / "backbone", tmp_path / "whole", params)
    assert whole.best
    old, new = (load_file(folder / "model.safetensors") for folder in (tmp_path / "backbone", whole.folder))
    assert old.keys() == new.keys()
    assert {name for name in old if not torch.equal(old[name], new[name])} == {
        name for name in old if name.endswith("_proj.weight")
    }
    assert not list(whole.folder.glob("adapter*"))
    assert load_writer(whole.folder).model.config.use_cache
    runs.run_until(3, tmp_path / "backbone", tmp_path / "stopped", params)
    resumed = runs.run(tmp_path / "backbone", tmp_path / "stopped", params)
    assert resumed.rows == whole.rows
    assert sha256_path(resumed.folder) == sha256_path(whole.folder)
