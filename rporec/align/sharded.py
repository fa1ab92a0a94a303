"""Weights that lie in parts on several GPUs (FSDP): made whole for sampling, and gathered for saving.

Where they are not sharded nothing happens here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.distributed.fsdp import FSDPModule


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Hold all weights in every process for a while, so that each can run the model as often as it likes.

    Without, every token of one process would wait for a token of the others, and the first to end would hang the rest.
    """
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(reshard_after_forward=False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(reshard_after_forward=True, recurse=False)
            part.reshard()


def gathered(model: nn.Module, accelerator: Accelerator) -> dict[str, Any]:
    """Return all weights by name on the main process; every process must call this."""
    found: dict[str, Any] = accelerator.get_state_dict(model)
    return found
