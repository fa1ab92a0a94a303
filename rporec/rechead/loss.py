"""Cross-entropy over the full catalogue, with several targets a query, in place; and what any loss of a tower is given.

The plain autograd version writes the [G, N] matrix six times; this one writes it once and turns it into its own
gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rporec.rechead.tower import Noise


@dataclass(frozen=True)
class Batch:
    """What a loss of the history tower is computed from.

    Args:
        queries: [G, D], one a group.
        vectors: [N, D] of all items.
        owner: [n] place of each row's group.
        targets: [n] item index of each row.
        noise: randomness of this step, for losses that sample.
    """

    queries: Tensor
    vectors: Tensor
    owner: Tensor
    targets: Tensor
    noise: Noise


Loss = Callable[[Batch], Tensor]  # the mean over rows


class _CatalogueCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, vectors: Tensor, owner: Tensor, targets: Tensor) -> Tensor:  # noqa: ANN401
        scores = queries @ vectors.T  # [G, N]
        scores -= scores.amax(dim=1, keepdim=True)
        hit = scores[owner, targets]  # [n]
        scores.exp_()
        total = scores.sum(dim=1, keepdim=True)  # [G, 1]
        rows = torch.bincount(owner, minlength=len(queries)).to(scores.dtype)  # [G]
        loss = (total.squeeze(1).log() @ rows - hit.sum()) / len(targets)
        scores *= rows[:, None] / (total * len(targets))
        scores.index_put_((owner, targets), torch.full_like(hit, -1.0 / len(targets)), accumulate=True)
        ctx.save_for_backward(scores, queries, vectors)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        gradient, queries, vectors = ctx.saved_tensors
        return outer[0] * (gradient @ vectors), outer[0] * (gradient.T @ queries), None, None


def catalogue_cross_entropy(queries: Tensor, vectors: Tensor, owner: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over rows of -log softmax(q . v) at the row's target.

    Args:
        queries: [G, D], one a group.
        vectors: [N, D] of all items.
        owner: [n] place of each row's group.
        targets: [n] item index of each row.
    """
    return _CatalogueCrossEntropy.apply(queries, vectors, owner, targets)  # type: ignore[no-any-return, no-untyped-call]


def full_catalogue(batch: Batch) -> Tensor:
    """Return `catalogue_cross_entropy` of a batch: no item is left out, so nothing is drawn."""
    return catalogue_cross_entropy(batch.queries, batch.vectors, batch.owner, batch.targets)


def grouped_cross_entropy(logits: Tensor, owner: Tensor, targets: Tensor) -> Tensor:
    """Return the same from ready logits [G, N], differentiable in them."""
    log_total = torch.logsumexp(logits, dim=1)  # [G]
    return (log_total[owner] - logits[owner, targets]).mean()
