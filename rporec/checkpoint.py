"""Checkpoints of a training loop: module and AdamW state as safetensors, written atomically.

A killed loop that re-seeds its randomness from (seed, step) needs nothing else to end with the bytes of an
undisturbed one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from rporec.files import atomic_file

_STATE = ("exp_avg", "exp_avg_sq", "step")


def save(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, position: dict[str, str]) -> None:
    """Write one checkpoint file.

    Args:
        path: the file, replaced as a whole.
        module: its parameters and buffers are kept (tied tensors once a name).
        optimizer: an Adam-type optimizer over `module`'s parameters.
        position: where the loop stands (epoch, step, best metric), as text.
    """
    tensors = {f"module/{name}": tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        state = optimizer.state.get(parameter, {})
        for key in _STATE:
            if key in state:
                tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(state[key]).detach().clone()
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata=position)


def load(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, str] | None:
    """Put a checkpoint into `module` and `optimizer`; return its position, or None when there is none."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as stored:
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
        position = dict(stored.metadata() or {})
    module.load_state_dict({k.removeprefix("module/"): v for k, v in tensors.items() if k.startswith("module/")})
    for name, parameter in module.named_parameters():
        if f"optimizer/step/{name}" in tensors:
            kept = {key: tensors[f"optimizer/{key}/{name}"] for key in _STATE}
            optimizer.state[parameter] = {
                key: tensor.to(_place(key, parameter, optimizer)) for key, tensor in kept.items()
            }
    return position


def _place(key: str, parameter: torch.Tensor, optimizer: torch.optim.Optimizer) -> torch.device:
    """Return where AdamW wants its state: beside the weight, but the step on the CPU unless the kernels are fused."""
    return parameter.device if key != "step" or optimizer.defaults["fused"] else torch.device("cpu")
