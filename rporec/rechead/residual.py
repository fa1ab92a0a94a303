"""Reasoning as a residual on the logits of a finished head.

Two channels, each behind a gate that can close: `votes` (the items whose line the answer's words name) and `taste`
(a learned direction in text space from thought and answer). Both live in text space only. Without reasoning the
residual is exactly 0, so the head alone is always a valid input. What all reasoning has in common is taken out of the
taste: else it learns what sells lately from any text, and shuffled reasoning helps as much as true one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rporec.rechead.reader import Evidence

_RANK = 32  # of the learned map from thought and answer to a direction; more only learned the training rows
_SHARPNESS = 20.0  # votes start at softmax(20 x cosine): a full match weighs e^10 of a half one
_VOTE_GATE, _TASTE_GATE = -1.0, -2.0  # before softplus: gates start nearly closed
_FEATURES = 4


class ReasoningResidual(nn.Module):
    """The residual of the architecture `hybrid`.

    Args:
        items: [N, T] text vectors.
        seed: of the initial weights.
    """

    items: Tensor
    center: Tensor
    spread: Tensor
    usual: Tensor

    def __init__(self, items: Tensor, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        width = items.shape[1]
        self.register_buffer("items", items, persistent=False)  # the reader keeps them
        self.register_buffer("center", torch.zeros(_FEATURES))
        self.register_buffer("spread", torch.ones(_FEATURES))
        self.register_buffer("usual", torch.zeros(width))
        self.sharpness = nn.Parameter(torch.tensor(math.log(_SHARPNESS)))
        self.floor = nn.Parameter(torch.tensor(0.0))
        self.gates = nn.Parameter(torch.zeros(2, _FEATURES))
        self.gate_bias = nn.Parameter(torch.tensor([_VOTE_GATE, _TASTE_GATE]))
        self.inward = nn.Parameter(torch.randn(2 * width, _RANK, generator=rng) / math.sqrt(width))
        self.outward = nn.Parameter(torch.zeros(_RANK, width))

    def forward(self, logits: Tensor, evidence: Evidence, taste: Tensor | None = None) -> Tensor:
        """Return the residual [B, N].

        Args:
            logits: [B, N] of the head.
            evidence: what was read.
            taste: [B, N] products of `aim` with all items, where they are known.
        """
        votes = self._votes(evidence)  # [B, N], mean over items 1
        features = (_features(logits, votes, evidence) - self.center) / self.spread  # [B, 4]
        gates = F.softplus(features @ self.gates.T + self.gate_bias)  # [B, 2]
        floor = self.floor.exp()
        lift = torch.log((votes + floor) / (1 + floor))  # 0 where an item gets an even share of the votes
        present = (evidence.counts() > 0).to(logits.dtype)  # [B, 1]
        if taste is None:
            taste = self.aim(evidence) @ self.items.T  # [B, N]
        return present * (gates[:, :1] * lift + gates[:, 1:] * taste)

    def aim(self, evidence: Evidence) -> Tensor:
        """Return the direction in text space that the reasoning tells, beyond what all reasoning tells, [B, T]."""
        aim = self._aim(evidence)
        if not self.training:
            return aim - self.usual
        present = (evidence.counts() > 0).to(aim.dtype)  # [B, 1]
        return aim - (aim * present).sum(dim=0) / present.sum().clamp(min=1)

    def fit_features(self, logits: Tensor, evidence: Evidence) -> None:
        """Set the scale of the gates' features from training groups that have reasoning."""
        with torch.no_grad():
            kept = _features(logits, self._votes(evidence), evidence)[evidence.counts()[:, 0] > 0]
            if len(kept) > 1:
                self.center.copy_(kept.mean(dim=0))
                self.spread.copy_(kept.std(dim=0).clamp(min=1e-3))

    def _votes(self, evidence: Evidence) -> Tensor:
        shares = torch.softmax(self.sharpness.exp() * evidence.match, dim=1)  # [S, N]
        return evidence.mean(shares) * evidence.match.shape[1]

    def settle(self, told: Iterable[Evidence]) -> None:
        """Keep what the reasoning of all training groups has in common; to be called once, after training."""
        with torch.no_grad():
            aims = torch.cat([self._aim(evidence) for evidence in told])
            self.usual.copy_(aims.mean(dim=0))

    def _aim(self, evidence: Evidence) -> Tensor:
        read = torch.cat([evidence.thought, evidence.answer], dim=1)  # [S, 2T]
        learned = torch.tanh(read @ self.inward) @ self.outward  # [S, T]
        return evidence.mean(evidence.answer + learned)


def _features(logits: Tensor, votes: Tensor, evidence: Evidence) -> Tensor:
    """Return what the gates look at, [B, 4].

    How sure the head is (log of its best probability, entropy), how well the answer names any item, and how far head
    and votes agree. No gradient: the gates judge the channels, they do not shape them.
    """
    with torch.no_grad():
        log_p = torch.log_softmax(logits, dim=1)
        p = log_p.exp()
        entropy = -(p * log_p).sum(dim=1, keepdim=True)
        agreement = torch.log((p * votes).sum(dim=1, keepdim=True) + 1e-3)
        best = evidence.mean(evidence.match.amax(dim=1, keepdim=True))
        return torch.cat([log_p.amax(dim=1, keepdim=True), entropy, best, agreement], dim=1)
