"""Attention of many samples to one prompt: the prompt's keys and values are read once a prompt, not once a sample.

For decoding only: one new token a row. Plain caches repeat a prompt for each of its samples; at 8 samples a prompt of
50 tokens, reading and (where finished rows are dropped) copying these repeats took half of the time of a small model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from rporec.backbone.cache import RoomyLayer, roomy_cache

NAME = "rporec_shared_prompt"
# Architectures whose attention is nothing but scaled dot products over the whole past; others decode the plain way.
_KNOWN = frozenset({"llama", "mistral", "qwen2", "qwen3"})


@dataclass
class SharedPrompts:
    """Prompts in a cache of their own, and which prompt each running row belongs to.

    Attributes:
        keys: a layer's [B, key heads, head width, P], one tensor a layer: as the product with a query reads them.
        values: a layer's [B, key heads, P, head width].
        bias: [B, P] -inf where a prompt is padded, 0 elsewhere; added, as a sum is vectorised and a masked fill is not.
        slots: [R] place of each running row among the B * samples rows of these prompts.
        samples: G, rows of a prompt at the start.
    """

    keys: list[Tensor]
    values: list[Tensor]
    bias: Tensor
    slots: Tensor
    samples: int

    def keep(self, rows: Tensor) -> None:
        """Keep some of the running rows; prompts without any are dropped when they are many."""
        self.slots = self.slots[rows]
        prompts, place = torch.unique(self.slots // self.samples, return_inverse=True)
        if len(prompts) <= 0.75 * len(self.bias):
            self.slots = place * self.samples + self.slots % self.samples
            self.bias = self.bias[prompts]
            self.keys = [keys[prompts] for keys in self.keys]
            self.values = [values[prompts] for values in self.values]

    def by_prompt(self, x: Tensor) -> Tensor:
        """Turn [R, K, q, d] into [B, K, G*q, d]; rows that run no more are zero."""
        _, kept, queries, width = x.shape
        prompts = len(self.bias)
        if len(self.slots) < prompts * self.samples:
            spread = x.new_zeros((prompts * self.samples, kept, queries, width))
            spread[self.slots] = x
            x = spread
        return x.reshape(prompts, self.samples, kept, queries, width).transpose(1, 2).reshape(prompts, kept, -1, width)

    def by_row(self, x: Tensor) -> Tensor:
        """Turn [B, K, G*q, d] into [R, K, q, d]."""
        prompts, kept, _, width = x.shape
        spread = x.view(prompts, kept, self.samples, -1, width).transpose(1, 2)  # [B, G, K, q, d]
        rows = spread.reshape(prompts * self.samples, kept, -1, width)
        return rows[self.slots] if len(self.slots) < len(rows) else rows


def can_share(model: PreTrainedModel) -> bool:
    """Return whether the samples of a prompt can share it: a known architecture without sliding windows."""
    layers = roomy_cache(model.config).layers
    return model.config.model_type in _KNOWN and bool(layers) and all(type(one) is RoomyLayer for one in layers)


@contextmanager
def sharing(model: PreTrainedModel, attention: str = NAME) -> Iterator[None]:
    """Let the model attend for a while by what is registered under this name: by `attend`, or another's."""
    before = model.config._attn_implementation
    model.config._attn_implementation = attention
    try:
        yield
    finally:
        model.config._attn_implementation = before


def attend(  # noqa: PLR0913 - the signature of transformers
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - no token of a completion is padded
    scaling: float,
    shared: SharedPrompts,
    **others: object,  # noqa: ARG001
) -> tuple[Tensor, None]:
    """Attend from one new token a row to the row's prompt and to the row's own tokens.

    Args:
        module: knows its layer.
        query: [R, heads, 1, head width].
        key: [R, key heads, t, head width], the row's own tokens.
        value: as `key`.
        attention_mask: not read.
        scaling: of the dot products.
        shared: the prompts.
        others: what transformers hands over besides.

    Returns:
        [R, 1, heads, head width], and no weights.
    """
    rows, heads, _, width = query.shape
    layer, kept = int(module.layer_idx), key.shape[1]  # type: ignore[arg-type]
    mine = query.reshape(rows, kept, heads // kept, width) * scaling  # [R, K, q, d]
    before = shared.by_prompt(mine) @ shared.keys[layer]  # [B, K, G*q, P]
    before = shared.by_row(before.add_(shared.bias[:, None, None, :]))  # [R, K, q, P]
    weights = torch.softmax(torch.cat([before, mine @ key.transpose(-1, -2)], dim=-1), dim=-1)  # [R, K, q, P + t]
    length = before.shape[-1]
    read = shared.by_row(shared.by_prompt(weights[..., :length]) @ shared.values[layer])  # [R, K, q, d]
    return (read + weights[..., length:] @ value).reshape(rows, 1, heads, width), None


AttentionInterface.register(NAME, attend)
