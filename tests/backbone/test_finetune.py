"""Fine-tuning: it learns, on completion tokens only, and a killed run ends with the same weights."""

import pytest
import torch

from rporec import checkpoint
from rporec.backbone import finetune
from rporec.backbone.finetune import Example, Tuning, fine_tune, mean_loss, plan_batches, schedule, tuned_weights
from rporec.errors import InputError
from tests.backbone.models import llama, qwen3
from tests.kills import killed


def tuning(**changes):
    values = {
        "epochs": 4, "batch_tokens": 96, "learning_rate": 0.01, "autocast": False, "seed": 3, "checkpoint_every": 2,
        **changes,
    }  # fmt: skip
    return Tuning(**values)


def examples(count=24):
    made = []
    for row in range(count):
        prompt = [270 + (row * 5 + place) % 17 for place in range(3 + row % 7)]
        made.append(Example(prompt_ids=prompt, completion_ids=[prompt[-1], prompt[0], 1], row=row))
    return made


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def test_the_loss_falls_and_the_model_writes_what_it_learned(tmp_path):
    model = qwen3().model
    before = mean_loss(model, examples(), tuning())
    tuned = fine_tune(model, examples(), tuning(epochs=25), tmp_path / "kept")
    after = mean_loss(model, examples(), tuning())
    assert after < 0.3 * before
    assert tuned.losses[-1] < 0.3 * tuned.losses[0]
    assert tuned.tokens == 25 * sum(map(len, examples()))
    assert not model.training


def test_any_causal_model_can_be_tuned(tmp_path):
    model = llama().model
    before = mean_loss(model, examples(), tuning())
    fine_tune(model, examples(), tuning(epochs=10), tmp_path / "kept")
    assert mean_loss(model, examples(), tuning()) < before


def test_every_weight_moves(tmp_path):
    model = qwen3().model
    before = weights(model)
    fine_tune(model, examples(), tuning(epochs=1), tmp_path / "kept")
    assert [name for name, tensor in weights(model).items() if torch.equal(tensor, before[name])] == []


def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    undisturbed = qwen3().model
    whole = fine_tune(undisturbed, examples(), tuning(), tmp_path / "whole")
    with killed(finetune, "_update", after=5):
        fine_tune(qwen3().model, examples(), tuning(), tmp_path / "kept")
    resumed = qwen3().model
    again = fine_tune(resumed, examples(), tuning(), tmp_path / "kept")
    assert again == whole
    assert same(weights(resumed), weights(undisturbed))


def test_the_checkpoint_is_used(tmp_path, monkeypatch):
    fine_tune(qwen3().model, examples(), tuning(checkpoint_every=1), tmp_path / "kept")
    monkeypatch.setattr(finetune, "_update", lambda *_, **__: pytest.fail("a finished run learned again"))
    model = qwen3(seed=9).model
    fine_tune(model, examples(), tuning(checkpoint_every=1), tmp_path / "kept")
    kept = qwen3(seed=4).model
    assert checkpoint.load(tmp_path / "kept", tuned_weights(kept), torch.optim.AdamW(kept.parameters()))
    assert same(weights(model), weights(kept))


def test_only_completion_tokens_are_learned():
    model = qwen3().model
    rows = examples(4)
    expected, count = 0.0, 0
    for example in rows:
        ids = torch.tensor([[*example.prompt_ids, *example.completion_ids]])
        with torch.no_grad():
            logprobs = torch.log_softmax(model(ids).logits[0], dim=-1)
        for place in range(len(example.prompt_ids), len(example)):
            expected -= float(logprobs[place - 1, ids[0, place]])
            count += 1
    assert mean_loss(model, rows, tuning()) == pytest.approx(expected / count, abs=1e-5)


def test_batches_hold_every_example_once_and_keep_the_budget():
    rows = examples(50)
    for epoch in range(2):
        batches = plan_batches(rows, tuning(), epoch)
        assert sorted(place for batch in batches for place in batch) == list(range(50))
        for batch in batches:
            lengths = [len(rows[place]) for place in batch]
            assert len(batch) * max(lengths) <= 96
            assert max(lengths) - min(lengths) <= 1
    assert plan_batches(rows, tuning(), 0) != plan_batches(rows, tuning(), 1)
    assert plan_batches(rows, tuning(), 0) == plan_batches(rows, tuning(), 0)


def test_an_example_beyond_the_budget_has_its_own_batch():
    long = Example(prompt_ids=[300] * 200, completion_ids=[1], row=99)
    batches = plan_batches([*examples(5), long], tuning(), 0)
    assert [5] in batches


def test_the_learning_rate_warms_up_and_falls_to_nearly_nothing():
    rates = [schedule(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[4] == 1.0
    assert 0 < rates[-1] < 0.02
    assert [schedule(step, 1) for step in range(1)] == [1.0]


def test_bfloat16_autocast_learns_too(tmp_path):
    model = qwen3().model
    before = mean_loss(model, examples(), tuning())
    fine_tune(model, examples(), tuning(autocast=True, epochs=6), tmp_path / "kept")
    assert mean_loss(model, examples(), tuning()) < before
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_weights_that_would_round_small_updates_away_are_refused(tmp_path):
    with pytest.raises(ValueError, match="float32"):
        fine_tune(qwen3().model.to(torch.bfloat16), examples(), tuning(), tmp_path / "kept")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    model = qwen3().model
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(InputError, match=r"backbone\.learning_rate"):
        fine_tune(model, examples(), tuning(), tmp_path / "kept")


def test_nothing_to_learn_from_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to fine-tune"):
        fine_tune(qwen3().model, [], tuning(), tmp_path / "kept")
