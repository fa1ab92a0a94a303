"""The published fusion (arXiv 2605.21967): history, thought and answer behind learned gates make one query.

The query is g_h h + g_t t + g_a a with gates that sum to 1; scores are its dot products with all item vectors. Because
dot products are linear, the history's part is g_h times the logits of the history tower, so the architecture stands
behind the same interface as the hybrid: it returns what reasoning changes. Thought and answer are read in text space.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rporec.rechead.reader import Evidence

_HISTORY_FIRST = 2.0  # gates start at about (0.8, 0.1, 0.1): the history tower is trained already
_SCALE = 10.0  # text rows have length 1; logits spread over about ten units


class PaperReasoning(nn.Module):
    """Towers of thought and answer, and the gates over all three.

    Args:
        items: [N, T] text vectors.
        seed: of the initial weights.
    """

    items: Tensor

    def __init__(self, items: Tensor, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        width = items.shape[1]
        self.register_buffer("items", items, persistent=False)  # the reader keeps them
        small = 0.1 / math.sqrt(width)
        self.thought = nn.Parameter(torch.eye(width) + torch.randn(width, width, generator=rng) * small)
        self.answer = nn.Parameter(torch.eye(width) + torch.randn(width, width, generator=rng) * small)
        self.gates = nn.Parameter(torch.randn(2 * width, 3, generator=rng) * small)
        self.gate_bias = nn.Parameter(torch.tensor([_HISTORY_FIRST, 0.0, 0.0]))
        self.scale = nn.Parameter(torch.tensor(math.log(_SCALE)))

    def forward(self, logits: Tensor, evidence: Evidence) -> Tensor:
        """Return what reasoning adds to the history's logits, [B, N]; exactly 0 without reasoning."""
        thought, answer = evidence.mean(evidence.thought), evidence.mean(evidence.answer)  # [B, T]
        gates = torch.softmax(torch.cat([thought, answer], dim=1) @ self.gates + self.gate_bias, dim=1)  # [B, 3]
        text = gates[:, 1:2] * (thought @ self.thought) + gates[:, 2:] * (answer @ self.answer)  # [B, T]
        change = (gates[:, :1] - 1) * logits + self.scale.exp() * (text @ self.items.T)
        return (evidence.counts() > 0).to(logits.dtype) * change

    def fit_features(self, logits: Tensor, evidence: Evidence) -> None:
        """Nothing to scale here: the gates read unit vectors."""

    def settle(self, told: Iterable[Evidence]) -> None:
        """Nothing to take out: the published fusion reads the texts as they are."""
