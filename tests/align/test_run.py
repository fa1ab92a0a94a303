"""A run of alignment: it learns, moves what it should, leaves the rest, and survives kills."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from rporec.align.checkpoints import mark_whole, newest_whole
from rporec.align.curves import COLUMNS, Journal
from rporec.align.settings import grpo_config
from rporec.align.trainer import Policy, prompt_order
from rporec.errors import InputError
from rporec.files import sha256_path
from steps.stage import CUBLAS
from tests.align import runs, world


@pytest.fixture(scope="module")
def undisturbed(backbone, tmp_path_factory):
    return runs.run(backbone, tmp_path_factory.mktemp("undisturbed"), runs.small())


def test_a_planted_reward_is_learned(backbone, tmp_path):
    params = runs.small(steps=16, eval_every=16, checkpoint_every=16, learning_rate=0.004, prompts_per_step=8)
    before = sha256_path(backbone)
    head = world.PlantedHead()
    head.gain.requires_grad_(True)
    rows = runs.run(backbone, tmp_path, params, head).rows
    assert [row["step"] for row in rows] == list(range(17))
    first, last = (sum(row["rank"] for row in part) / 4 for part in (rows[1:5], rows[-4:]))
    assert last > first + 0.15
    assert head.gain.grad is None
    assert head.gain.item() == 4.0, "the head is frozen"
    assert sha256_path(backbone) == before


def test_every_weight_of_the_policy_moves(backbone, undisturbed):
    old, new = (load_file(folder / "model.safetensors") for folder in (backbone, undisturbed.folder))
    assert old.keys() == new.keys()
    assert [name for name in old if torch.equal(old[name], new[name])] == []


def test_curves_and_rollouts_are_complete(undisturbed):
    trained = undisturbed.rows[1:]
    for row in undisturbed.rows:
        assert set(row) == set(COLUMNS)
    for name in ("reward", "kl", "policy_entropy", "length", "well_formed", "zero_variance", "rank", "loss"):
        assert all(row[name] is not None for row in trained), name
    assert trained[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert trained[-1]["kl"] > 0
    assert [row["step"] for row in undisturbed.rows if row["heldout_ndcg@10"] is not None] == [0, 2, 4, 6]
    assert {r["step"] for r in undisturbed.rollouts} == set(range(1, 7))
    group = [r["advantage"] for r in undisturbed.rollouts[:4]]
    assert sum(group) == pytest.approx(0.0, abs=1e-3)


def test_what_is_kept_holds_no_pickle(undisturbed):
    assert {file.suffix for file in undisturbed.folder.iterdir()} == {".json", ".safetensors"}


def test_a_finished_run_is_not_handed_out_for_one_of_other_parameters(backbone, tmp_path):
    params = runs.small(steps=2)
    done = runs.run(backbone, tmp_path, params)
    assert runs.run(backbone, tmp_path, params) == done
    with pytest.raises(InputError, match="other parameters") as error:
        runs.run(backbone, tmp_path, runs.small(steps=2, beta=0.5))
    assert error.value.field == "align.beta"


def test_where_no_kl_is_measured_none_is_told(backbone, tmp_path):
    trained = runs.run(backbone, tmp_path, runs.small(steps=2, beta=0.0))
    assert [row["kl"] for row in trained.rows] == [None] * 3


@pytest.mark.parametrize("steps", [(1,), (3,), (3, 5, 6)], ids=["before a checkpoint", "after one", "three times"])
def test_a_run_that_is_stopped_ends_with_the_same_bytes(backbone, undisturbed, tmp_path, steps):
    for step in steps:
        runs.run_until(step, backbone, tmp_path, runs.small())
    resumed = runs.run(backbone, tmp_path, runs.small())
    assert resumed.rows == undisturbed.rows
    assert resumed.rollouts == undisturbed.rollouts
    assert sha256_path(resumed.folder) == sha256_path(undisturbed.folder)


def test_a_torn_checkpoint_costs_steps_but_not_the_result(backbone, undisturbed, tmp_path):
    runs.run_until(5, backbone, tmp_path, runs.small())
    torn = tmp_path / "checkpoints" / "checkpoint-4" / "optimizer.safetensors"
    torn.write_bytes(torn.read_bytes()[:100])
    resumed = runs.run(backbone, tmp_path, runs.small())
    assert resumed.rows == undisturbed.rows
    assert sha256_path(resumed.folder) == sha256_path(undisturbed.folder)


def test_a_finished_run_is_not_run_again(backbone, undisturbed, monkeypatch):
    monkeypatch.setattr(Policy, "train", lambda *_, **__: pytest.fail("trained again"))
    work = undisturbed.folder.parent
    again = runs.run(backbone, work, runs.small())
    assert again == undisturbed


def test_a_half_written_checkpoint_is_ignored(tmp_path):
    for step in (2, 4, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"0" * step)
    mark_whole(tmp_path / "checkpoint-2")
    mark_whole(tmp_path / "checkpoint-4")
    assert newest_whole(tmp_path) == (4, tmp_path / "checkpoint-4"), "10 has no marker"
    (tmp_path / "checkpoint-4" / "model.safetensors").write_bytes(b"0")
    assert newest_whole(tmp_path) == (2, tmp_path / "checkpoint-2")
    shutil.rmtree(tmp_path / "checkpoint-2")
    assert newest_whole(tmp_path) is None


@pytest.mark.parametrize("steps", [1, 6])
def test_a_writer_that_is_never_well_formed_stops_the_run(tmp_path, steps):
    world.write_backbone(tmp_path / "backbone", steps=0)
    with pytest.raises(InputError, match="well formed") as error:
        runs.run(tmp_path / "backbone", tmp_path / "work", runs.small(steps=steps))
    assert "backbone.epochs" in error.value.cure


def test_journal_forgets_steps_that_are_done_again(tmp_path):
    journal = Journal(tmp_path)
    for step in range(4):
        journal.write(step, {"step": step}, [{"step": step}])
    journal.forget_after(1)
    assert journal.rows() == [{"step": 0}, {"step": 1}]
    assert journal.rollouts() == [{"step": 0}, {"step": 1}]


def test_prompt_order_uses_every_prompt_before_any_again():
    params = world.align_params(steps=5, prompts_per_step=4)
    order = prompt_order(8, params, seed=1)
    assert len(order) == 20
    assert sorted(order[:8]) == sorted(order[8:16]) == list(range(8))
    assert order[:8] != order[8:16]
    assert prompt_order(8, params, seed=1) == order
    assert prompt_order(8, params, seed=2) != order


def test_the_traps_of_the_trainer_are_set(tmp_path):
    args = grpo_config(world.align_params(), world.setup(tmp_path, tmp_path))
    assert (args.use_cpu, args.bf16, args.top_k, args.gradient_checkpointing) == (True, False, 0, False)
    assert not args.mask_truncated_completions
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (8, 2)


def test_the_number_format_of_the_backbone_is_that_of_the_passes(backbone, tmp_path):
    """Weights stay in float32: what is kept can be told from a run in float32, and is no other kind of file."""
    short = runs.small(steps=2, eval_every=2)
    setup = replace(world.setup(backbone, tmp_path), dtype="bfloat16")
    assert grpo_config(short, setup).bf16
    prompts = [(g, world.prompt(g)) for g in prompt_order(16, short, setup.seed)]
    reads = world.scorer(short, world.facts(runs.TARGET))
    policy = Policy(short, setup, prompts, world.writer(backbone).tokenizer, reads)
    kinds = []
    block = policy.writer.model.model.layers[0].mlp.gate_proj
    block.register_forward_hook(lambda _module, _given, found: kinds.append((found.dtype, torch.is_grad_enabled())))
    policy.train()
    assert {kind for kind, _ in kinds} == {torch.bfloat16}, "sampled and trained alike"
    assert {grad for _, grad in kinds} == {True, False}
    assert {weight.dtype for weight in policy.model.parameters()} == {torch.float32}
    assert any(not torch.equal(new, old) for new, old in zip(
        policy.model.parameters(), world.writer(backbone).model.parameters(), strict=True
    ))  # fmt: skip


def test_one_gpu_of_several_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    args = grpo_config(world.align_params(), world.setup(tmp_path, tmp_path, "cuda"))
    assert not args.use_cpu
    assert (args.n_gpu, args.train_batch_size) == (1, 8)  # two would split the batch over copies of the policy


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_a_policy_is_trained_on_cuda(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv(*CUBLAS)
    trained = runs.run(backbone, tmp_path, runs.small(), device="cuda")
    assert [row["step"] for row in trained.rows] == list(range(7))
    old, new = (load_file(folder / "model.safetensors") for folder in (backbone, trained.folder))
    assert [name for name in old if torch.equal(old[name], new[name])] == []
