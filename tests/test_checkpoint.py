"""A loop that is stopped and resumed from a checkpoint ends with the same weights."""

import pytest
import torch
from torch import nn

from rporec import checkpoint


def step(module, optimizer, number):
    torch.manual_seed(number)
    loss = module(torch.randn(4, 3)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def fresh():
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    return module, torch.optim.AdamW(module.parameters(), lr=0.1)


def test_resumed_equals_undisturbed(tmp_path):
    module, optimizer = fresh()
    for number in range(6):
        step(module, optimizer, number)
    first, first_optimizer = fresh()
    for number in range(3):
        step(first, first_optimizer, number)
    checkpoint.save(tmp_path / "c.safetensors", first, first_optimizer, {"step": "3"})
    second, second_optimizer = fresh()
    position = checkpoint.load(tmp_path / "c.safetensors", second, second_optimizer)
    assert position == {"step": "3"}
    for number in range(3, 6):
        step(second, second_optimizer, number)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), second.parameters(), strict=True))


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.load(tmp_path / "absent.safetensors", *fresh()) is None


@pytest.mark.filterwarnings("ignore:.*is a no-op")  # the weights themselves cannot be put there
@pytest.mark.parametrize("fused", [True, False])
def test_the_state_is_put_beside_the_weight(tmp_path, fused):
    module, optimizer = fresh()
    step(module, optimizer, 0)
    checkpoint.save(tmp_path / "c.safetensors", module, optimizer, {})
    with torch.device("meta"):  # stands for any device that is not the CPU
        there = nn.Linear(3, 2)
    back = torch.optim.AdamW(there.parameters(), lr=0.1)
    back.defaults["fused"] = fused  # torch takes it at the door for real devices alone
    checkpoint.load(tmp_path / "c.safetensors", there, back)
    for state in back.state.values():
        places = {key: tensor.device.type for key, tensor in state.items()}
        assert places == {"exp_avg": "meta", "exp_avg_sq": "meta", "step": "meta" if fused else "cpu"}
    assert len(back.state) == 2
