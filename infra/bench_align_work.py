"""Operations of a step of reinforcement learning, counted, and how many a second this machine does at best.

Only matrix products count, two operations a multiplication with addition; a backward pass is twice its forward pass.
The scorer's are left out, and the optimizer's: together under a hundredth.
"""

from __future__ import annotations

import time

import torch

from infra.bench_align_world import G, L, P
from rporec.backbone.source import Writer

_SIDE, _TRIES = 1024, 20


def operations(writer: Writer, prompts: int, *, shared: bool) -> dict[str, float]:
    """Return the operations of each part of a step at P, L, G.

    Args:
        writer: gives the sizes of the model.
        prompts: B of a step.
        shared: whether a prompt is computed once for its G completions, and the vocabulary scored only where a token
            of a completion follows; else as TRL does on a CPU: every row whole, the vocabulary scored at every place
            of loss and reference, and once more in the backward pass.
    """
    model = writer.model.config
    rows = prompts * G
    copies = prompts if shared else rows
    inside = sum(w.numel() for name, w in writer.model.named_parameters() if w.ndim == 2 and "embed_tokens" not in name)
    layers = 2 * (copies * P + rows * (L - 1)) * inside
    look = 4 * model.num_hidden_layers * model.num_attention_heads * model.head_dim  # one token at one token
    attention = look * (copies * P * P / 2 + rows * (L - 1) * (P + L / 2))
    score = 2 * model.hidden_size * model.vocab_size  # of one place
    generate = layers + attention + score * rows * L
    heads = score * (rows * L if shared else rows * (P + L - 1))
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
