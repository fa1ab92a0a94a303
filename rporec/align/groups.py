"""Groups whose completions all earn the same, and so teach nothing: found, sampled again, or left out of the loss.

Sampling again is a function of seed, step and try, so that a resumed run draws the same. Leaving out makes the loss
that of the batch without these groups: neither their KL nor their number of rows counts. Not here: the reward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rporec.align.scorer import Scored

_SAME = 1e-8  # rewards that differ by less are equal
_SCALE_FLOOR = 1e-4  # TRL's, under the deviation of the rewards


@dataclass(frozen=True)
class Draw:
    """One sampled completion: ids with the end token, and the entropies of its thought's tokens in nats."""

    ids: list[int]
    entropies: list[float]


Sample = Callable[[Sequence[int], int], list[list[Draw]]]  # (places of prompts, try) -> G completions each
Score = Callable[[Sequence[int], Sequence[Draw]], list[Scored]]  # (place of each completion's prompt, completions)


def flat(rewards: Sequence[float], generations: int) -> npt.NDArray[np.bool_]:
    """Return which of B groups [B] have rewards [B*G] without variance."""
    spread = np.ptp(np.asarray(rewards, dtype=np.float64).reshape(-1, generations), axis=1)
    return np.asarray(spread < _SAME)


def sample_again(
    prompts: int, tries: int, sample: Sample, score: Score
) -> tuple[list[list[Draw]], list[list[Scored]], list[bool]]:
    """Sample every prompt, and again the ones whose completions all earn the same, at most `tries` times.

    Args:
        prompts: B.
        tries: after the first.
        sample: of the places of some prompts and the number of the try, 0 for the first.
        score: of completions.

    Returns:
        B lists of G completions, their rewards, and whether the first draw was without variance; the last draw stays
        where no try brought any.
    """
    draws: list[list[Draw]] = [[] for _ in range(prompts)]
    scored: list[list[Scored]] = [[] for _ in range(prompts)]
    places, first = list(range(prompts)), [False] * prompts
    for attempt in range(tries + 1):
        fresh = sample(places, attempt)
        owners = [place for place, own in zip(places, fresh, strict=True) for _ in own]
        rewards = iter(score(owners, [one for own in fresh for one in own]))
        for place, own in zip(places, fresh, strict=True):
            draws[place], scored[place] = own, [next(rewards) for _ in own]
        places = [place for place in places if flat([one.reward for one in scored[place]], len(scored[place])).all()]
        if not attempt:
            first = [place in places for place in range(prompts)]
        if not places:
            break
    return draws, scored, first


def scaled(rewards: Sequence[float], kept: npt.NDArray[np.bool_], generations: int) -> npt.NDArray[np.float32]:
    """Return the advantages [B*G] of `scale_rewards: batch` when only the kept rows [B*G] are the batch."""
    values = np.asarray(rewards, dtype=np.float64).reshape(-1, generations)
    centred = (values - values.mean(axis=1, keepdims=True)).reshape(-1)
    deviation = float(np.std(values.reshape(-1)[kept], ddof=1)) if kept.sum() > 1 else 0.0
    return np.asarray(centred / (deviation + _SCALE_FLOOR), dtype=np.float32)


def leave_out(batch: dict[str, Any], kept: Tensor, parts: int, whole: int, counted: float) -> list[dict[str, Any]]:
    """Cut the kept rows of a batch into micro-batches, each with the `weight` of its loss.

    A part without a row gets one that is left out, at weight 0: every process must run every part.

    Args:
        batch: tensors [R, ...] and numbers.
        kept: [R] bool.
        parts: micro-batches.
        whole: rows that stay together, neighbours; divides R.
        counted: kept rows of a process, mean over all of them; 0 where nothing is kept.
    """
    units = kept.view(-1, whole)[:, 0].nonzero()[:, 0]
    made = []
    for some in torch.tensor_split(units, parts):
        rows = (some[:, None] * whole + torch.arange(whole, device=kept.device)).flatten()
        weight = len(rows) * parts / counted if counted else 0.0
        if not len(rows):
            rows, weight = torch.zeros(1, dtype=torch.long, device=kept.device), 0.0
        made.append({name: value[rows] if _has_rows(value) else value for name, value in batch.items()})
        made[-1]["weight"] = weight
    return made


def reorder(batch: dict[str, Any], order: Tensor) -> dict[str, Any]:
    """Return a batch with its rows in another order."""
    return {name: value[order.to(value.device)] if _has_rows(value) else value for name, value in batch.items()}


def _has_rows(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0
