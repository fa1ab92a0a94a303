"""Supervised fine-tuning: next-token cross-entropy on completion tokens only, resumable to the same bytes.

Rows are sorted by length and cut into batches by a token budget, so that hardly anything is padding. The order of the
batches is a function of (seed, epoch); nothing else is random.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from rporec import checkpoint
from rporec.backbone.randomness import keyed
from rporec.errors import InputError
from rporec.progress import Progress

log = logging.getLogger(__name__)

_WARM_UP = 0.05  # share of the steps
_CLIP = 1.0
_BETAS = (0.9, 0.95)
_WEIGHT_DECAY = 0.01


@dataclass(frozen=True, slots=True)
class Example:
    """One text to learn from: prompt and completion as token ids, end token included; `row` keys the shuffling."""

    prompt_ids: list[int]
    completion_ids: list[int]
    row: int

    def __len__(self) -> int:
        """Length in tokens."""
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True, slots=True)
class Tuning:
    """How to fine-tune.

    Attributes:
        epochs: passes over the examples.
        batch_tokens: tokens of a batch, padding included.
        learning_rate: peak of AdamW, after a short warm-up; falls linearly to 0.
        autocast: compute in bfloat16 (weights and optimizer stay float32).
        seed: of the order of the batches.
        checkpoint_every: steps between checkpoints.
    """

    epochs: int
    batch_tokens: int
    learning_rate: float
    autocast: bool
    seed: int
    checkpoint_every: int


@dataclass(frozen=True, slots=True)
class Tuned:
    """What fine-tuning did.

    Attributes:
        losses: mean cross-entropy (nats a completion token) of each step.
        tokens: tokens read, padding left out.
    """

    losses: list[float]
    tokens: int


def fine_tune(model: PreTrainedModel, examples: Sequence[Example], tuning: Tuning, kept: Path) -> Tuned:
    """Fine-tune a causal language model in place; goes on from the checkpoint `kept` where there is one.

    Args:
        model: its weights are changed, those that need no gradient are not; float32; left in eval mode.
        examples: at least one.
        tuning: how.
        kept: the checkpoint file, in a folder that survives a kill.

    Raises:
        InputError: there is no example, or the loss is no number any more.
        ValueError: a weight to be tuned is not float32.
    """
    if not examples:
        raise InputError(
            "there is nothing to fine-tune the backbone on", rule="at least one row of the fit slice",
            cure="lower sequence.reason_share and sequence.align_share, or give more data",
        )  # fmt: skip
    tuned = tuned_weights(model)
    optimizer = torch.optim.AdamW(tuned, lr=tuning.learning_rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY, fused=True)
    plan = [batch for epoch in range(tuning.epochs) for batch in plan_batches(examples, tuning, epoch)]
    position = checkpoint.load(kept, tuned, optimizer) or {}
    losses: list[float] = json.loads(position.get("losses", "[]"))
    tokens = sum(len(examples[place]) for batch in plan for place in batch)
    model.train()
    with Progress("fine-tune the backbone", tokens, "tokens") as progress:
        progress.skip(sum(len(examples[place]) for batch in plan[: len(losses)] for place in batch))
        for step in range(len(losses), len(plan)):
            batch = [examples[place] for place in plan[step]]
            for group in optimizer.param_groups:
                group["lr"] = tuning.learning_rate * schedule(step, len(plan))
            losses.append(_update(model, optimizer, batch, autocast=tuning.autocast))
            progress.advance(sum(map(len, batch)), f"loss {losses[-1]:.3f}")
            if (step + 1) % tuning.checkpoint_every == 0:
                checkpoint.save(kept, tuned, optimizer, {"losses": json.dumps(losses)})
    model.eval()
    return Tuned(losses=losses, tokens=tokens)


def tuned_weights(model: PreTrainedModel) -> nn.ParameterList:
    """Return the weights that are tuned, each once: what the optimizer moves and a checkpoint holds.

    Raises:
        ValueError: one of them is not float32: small updates would be rounded away.
    """
    tuned = nn.ParameterList(weight for weight in model.parameters() if weight.requires_grad)
    if wrong := {str(weight.dtype) for weight in tuned} - {str(torch.float32)}:
        raise ValueError(f"weights are tuned in float32, got {sorted(wrong)}")
    return tuned


def identity(model: PreTrainedModel) -> str:
    """Return a hash of a model's weights, hexadecimal; gigabytes take seconds."""
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def plan_batches(examples: Sequence[Example], tuning: Tuning, epoch: int) -> list[list[int]]:
    """Return the batches of an epoch as places in `examples`: rows of like length together, in shuffled order."""
    ties = keyed(tuning.seed, epoch, np.array([example.row for example in examples]))
    lengths = np.array([len(example) for example in examples])
    batches: list[list[int]] = [[]]
    for place in np.lexsort((ties, -lengths)).tolist():
        # The longest comes first, so the first row of a batch is its width.
        if batches[-1] and (len(batches[-1]) + 1) * lengths[batches[-1][0]] > tuning.batch_tokens:
            batches.append([])
        batches[-1].append(place)
    order = np.argsort(keyed(tuning.seed, epoch, np.arange(len(batches))), kind="stable")
    return [batches[number] for number in order.tolist()]


def schedule(step: int, steps: int) -> float:
    """Return the learning rate as a fraction of its peak: linear warm-up, then linear to 0 after the last step."""
    warm_up = max(1, round(_WARM_UP * steps))
    return min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))


@torch.inference_mode()
def mean_loss(model: PreTrainedModel, examples: Sequence[Example], tuning: Tuning) -> float:
    """Return the mean cross-entropy over all completion tokens of the examples, in nats; `model` in eval mode."""
    total, count = 0.0, 0
    for batch in plan_batches(examples, tuning, 0):
        rows = [examples[place] for place in batch]
        targets = sum(len(row.completion_ids) for row in rows)
        total += float(_loss(model, rows, autocast=tuning.autocast)) * targets
        count += targets
    return total / count


def _update(
    model: PreTrainedModel, optimizer: torch.optim.Optimizer, batch: Sequence[Example], *, autocast: bool
) -> float:
    loss = _loss(model, batch, autocast=autocast)
    value = float(loss.detach())
    if not np.isfinite(value):
        raise InputError(
            "the loss of the backbone is no number any more", field="backbone.learning_rate",
            rule="a finite loss", cure="lower backbone.learning_rate",
        )  # fmt: skip
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
    optimizer.step()
    return value


def _loss(model: PreTrainedModel, batch: Sequence[Example], *, autocast: bool) -> torch.Tensor:
    """Return the mean cross-entropy over the completion tokens of a batch (scalar)."""
    width = max(map(len, batch))
    ids = torch.zeros((len(batch), width), dtype=torch.long)  # [B, P + L]
    learned = torch.zeros_like(ids, dtype=torch.bool)  # whether the next token is learned
    for row, example in enumerate(batch):
        ids[row, : len(example)] = torch.tensor(example.prompt_ids + example.completion_ids)
        learned[row, len(example.prompt_ids) - 1 : len(example) - 1] = True
    ids, learned = ids.to(model.device), learned.to(model.device)
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=autocast):
        # Padding stands to the right, where causal attention never looks, so no mask is needed.
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state  # [B, P + L, D]
        # Vocabulary logits only where they are learned: they are a third of the work of a small model.
        logits = model.get_output_embeddings()(hidden[learned])  # [tokens, V]
    return F.cross_entropy(logits.float(), ids[:, 1:][learned[:, :-1]])
