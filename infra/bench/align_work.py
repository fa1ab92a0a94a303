"""Operations of a step of reinforcement learning, counted, and how many a second this machine does at best.

Only matrix products count, two operations a multiplication with addition; a backward pass is twice its forward pass.
The scorer's are left out, and the optimizer's: together under a hundredth.
"""

from __future__ import annotations

import time

import torch

from infra.bench.align_world import Sizes
from rporec.backbone.source import Writer

_SIDE, _TRIES = 1024, 20


def operations(writer: Writer, sizes: Sizes, *, shared: bool) -> dict[str, float]:
    """Return the operations of each part of a step.

    Args:
        writer: gives the sizes of the model.
        sizes: of the step.
        shared: whether a prompt is computed once for its G completions, and the vocabulary scored only where a token
            of a completion follows; else as TRL does on a CPU: every row whole, the vocabulary scored at every place
            of loss and reference, and once more in the backward pass.
    """
    model = writer.model.config
    p, long = sizes.prompt_tokens, sizes.completion_tokens
    rows = sizes.prompts * sizes.samples
    copies = sizes.prompts if shared else rows
    inside = sum(w.numel() for name, w in writer.model.named_parameters() if w.ndim == 2 and "embed_tokens" not in name)
    layers = 2 * (copies * p + rows * (long - 1)) * inside
    look = 4 * model.num_hidden_layers * model.num_attention_heads * model.head_dim  # one token at one token
    attention = look * (copies * p * p / 2 + rows * (long - 1) * (p + long / 2))
    score = 2 * model.hidden_size * model.vocab_size  # of one place
    generate = layers + attention + score * rows * long
    heads = score * (rows * long if shared else rows * (p + long - 1))
    return {
        "generate": generate,
        "reference": layers + attention + heads,
        "update": 3 * (layers + attention) + (3 if shared else 4) * heads,
    }


def matrix_rate() -> float:
    """Return the operations a second of the best of some products of large float32 matrices."""
    a, b = torch.rand(_SIDE, _SIDE), torch.rand(_SIDE, _SIDE)
    seconds = []
    for _ in range(_TRIES):
        started = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - started)
    return 2 * _SIDE**3 / min(seconds)
