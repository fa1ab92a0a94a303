"""Where the backbone computes: a device that is not there is refused, and no tensor is left behind on the CPU.

On a machine without a GPU the second is tested on a pretended device (`pretend`); the tests marked `on_cuda` are for
a machine with one.
"""

import contextlib
import copy

import pytest
import torch

from rporec.backbone.choose import pick
from rporec.backbone.device import require_device
from rporec.backbone.finetune import Example, Tuning, fine_tune, mean_loss
from rporec.backbone.generate import Sampling, generate_ids
from rporec.backbone.source import load_writer
from rporec.errors import InputError
from steps.align import align
from steps.backbone import backbone
from steps.cot import cot
from steps.stage import CUBLAS
from tests.backbone import pretend
from tests.backbone.models import bloom, llama, qwen3
from tests.steps.data_flow import run, workspace

torch.set_num_threads(1)
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
PROMPTS = [[300 + (7 * row + 3 * place) % 19 for place in range(2 + 5 * (row % 4))] for row in range(6)]
EXAMPLES = [Example(prompt, [310, 311], row) for row, prompt in enumerate(PROMPTS)]
TUNING = Tuning(epochs=4, batch_tokens=64, learning_rate=0.003, autocast=False, seed=1, checkpoint_every=3)


def written(model, eos_id, temperature, samples=4):
    settings = Sampling(num_samples=samples, temperature=temperature, max_new_tokens=12, batch_size=12, seed=5)
    return generate_ids(model, PROMPTS, range(6), eos_id, settings)


def assert_same(one, other):
    """See that two results are equal, log-probabilities up to the rounding of another order of sums."""
    for a, b in zip((x for xs in one for x in xs), (x for xs in other for x in xs), strict=True):
        assert (a.ids, a.finished) == (b.ids, b.finished)
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


@without_cuda
@pytest.mark.parametrize(("name", "body"), [("backbone", backbone), ("cot", cot), ("align", align)])
def test_a_gpu_that_is_not_there_is_told_before_any_work(name, body, tmp_path):
    workspace(tmp_path, {"run": {"device": "cuda"}})  # without outputs: reading any would be another error
    with pytest.raises(InputError, match="there is no CUDA device") as caught:
        run(tmp_path, name, body)
    message = caught.value.message()
    for word in ("run.device", "cuda", "torch.cuda.is_available()", "set run.device to cpu"):
        assert word in message


def test_a_gpu_is_asked_for_by_name_only(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: asked.append(True) or True)
    require_device("cpu")
    assert not asked
    require_device("cuda")
    assert asked


def test_the_pretended_device_refuses_to_mix():
    with pretend.device() as device:
        there = torch.arange(3.0, device=device)
        with pytest.raises(pretend.MixedDevicesError):
            there + torch.ones(3)
        with pytest.raises(pretend.MixedDevicesError):
            torch.ones(3)[torch.arange(2, device=device)]
        with pytest.raises(RuntimeError, match="same bits"):
            there.cumsum(0)
        assert (there + 1).device.type == device
        assert there.cpu().tolist() == [0, 1, 2]


@pytest.mark.parametrize("make", [qwen3, llama, bloom])  # sharing prompts, fewer key heads, no positions
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_generation_stays_on_the_model_s_device(make, temperature):
    writer = make()
    here = written(writer.model, writer.eos_id, temperature)
    with pretend.device() as device:
        model = copy.deepcopy(writer.model).to(device)
        assert_same(written(model, writer.eos_id, temperature), here)


def test_rows_that_ended_are_dropped_on_the_model_s_device():
    writer = qwen3()
    ends = written(writer.model, -1, 1.0, 8)[0][0].ids[2]  # a token that some rows write early
    here = written(writer.model, ends, 1.0, 8)
    assert len({len(one.ids) for samples in here for one in samples}) > 2
    with pretend.device() as device:
        assert_same(written(copy.deepcopy(writer.model).to(device), ends, 1.0, 8), here)


def test_a_token_is_chosen_on_the_device_of_its_scores():
    scores, numbers = torch.randn(5, 200, generator=torch.Generator().manual_seed(1)), torch.rand(5)
    with pretend.device() as device:
        tokens, _ = pick(scores.to(device), numbers.to(device), 1.0)
        assert tokens.device.type == device
        assert torch.equal(tokens.cpu(), pick(scores, numbers, 1.0)[0])


def test_the_loss_is_computed_on_the_model_s_device(monkeypatch):
    writer = llama()
    here = mean_loss(writer.model, EXAMPLES, TUNING)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # it knows real devices alone
    with pretend.device() as device:
        assert mean_loss(copy.deepcopy(writer.model).to(device), EXAMPLES, TUNING) == pytest.approx(here, rel=1e-5)


@on_cuda
@pytest.mark.parametrize("make", [qwen3, llama, bloom])
def test_cuda_writes_what_the_cpu_writes(make, tmp_path, monkeypatch):
    monkeypatch.setenv(*CUBLAS)
    make().save(tmp_path)
    here, there = load_writer(tmp_path), load_writer(tmp_path, device="cuda")
    assert there.model.device.type == "cuda"
    torch.use_deterministic_algorithms(mode=True)
    try:
        for temperature in (0.0, 1.0):
            first, again = (written(there.model, there.eos_id, temperature) for _ in range(2))
            assert first == again
            pairs = zip(written(here.model, here.eos_id, temperature), first, strict=True)
            equal = [a.ids == b.ids for one, two in pairs for a, b in zip(one, two, strict=True)]
            assert sum(equal) >= 0.9 * len(equal)  # another device rounds otherwise
    finally:
        torch.use_deterministic_algorithms(mode=False)


@on_cuda
def test_tuning_on_cuda_goes_on_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setenv(*CUBLAS)
    torch.use_deterministic_algorithms(mode=True)
    try:
        whole = fine_tune(qwen3().model.to("cuda"), EXAMPLES, TUNING, tmp_path / "whole.safetensors")
        resumed = fine_tune(qwen3().model.to("cuda"), EXAMPLES, TUNING, tmp_path / "whole.safetensors")
    finally:
        torch.use_deterministic_algorithms(mode=False)
    assert resumed.losses == whole.losses
    assert whole.losses[-1] < whole.losses[0]
