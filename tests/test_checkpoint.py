"""A loop that is stopped and resumed from a checkpoint ends with the same weights."""

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
