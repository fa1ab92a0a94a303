"""Fitting the reasoning module on frozen, held-out head logits, and the weights of a finished Rechead.

The tower that gives the logits has not seen these rows, nor has the backbone that wrote their reasoning: a memorised
target would be a leak. (The hybrid's mixer, some hundred values, was weighed on them: `rporec.rechead.mixed`.)
Full-catalogue cross-entropy; thought and answer are dropped at random, so that neither is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rporec import checkpoint
from rporec.reasoning.parse import Parsed
from rporec.rechead.calibration import calibrate
from rporec.rechead.examples import Examples
from rporec.rechead.fusion import fit_weights
from rporec.rechead.head import held_sample, ready
from rporec.rechead.loss import grouped_cross_entropy
from rporec.rechead.model import Head, ReasoningModule, Weights
from rporec.rechead.reader import Evidence, Reader, Reasoning

log = logging.getLogger(__name__)
_BATCH = 128  # groups
# AdamW. A handful of gate values must move further than the matrices, which at .002 memorised the slice (Industrial).
_RATE, _GATE_RATE, _DECAY = 0.0005, 0.02, 0.01
_LEAST = 1e-3  # sharpness of a head that knows nothing
_FEW = 16  # values: scalars and gates
_CHUNK_CELLS = 1 << 21
_KEPT_CELLS = 1 << 26  # head logits (256 MB) that are kept over the epochs; more are computed again

LogitsOf = Callable[[np.ndarray], Tensor]  # places of groups to the head's logits [e, N]


@dataclass(frozen=True)
class Told:
    """Groups with their reasoning: `samples[e]` belongs to group e of `examples`."""

    examples: Examples
    samples: list[list[Parsed]]

    @staticmethod
    def of(examples: Examples, completions: Iterable[tuple[int, Parsed]]) -> Told:
        """Join groups with their (group, parsed completion) pairs; a group without any has no samples."""
        found: dict[int, list[Parsed]] = {int(group): [] for group in examples.groups}
        for group, parsed in completions:
            if group in found:
                found[group].append(parsed)
        return Told(examples, list(found.values()))

    def take(self, places: np.ndarray) -> Told:
        """Return the groups at these places (ascending)."""
        return Told(self.examples.take(places), [self.samples[place] for place in places])

    def sample(self, n_items: int) -> Told:
        """Return as many groups as a fit of weights looks at."""
        kept = held_sample(self.examples, n_items)
        return self.take(np.searchsorted(self.examples.groups, kept.groups))


@dataclass(frozen=True)
class ReasoningFit:
    """How the module is fitted.

    Args:
        epochs: passes over the reason slice.
        text_dropout: share of groups trained without their thought, and without their answer, in [0, 1].
        seed: of order and dropout.
    """

    epochs: int
    text_dropout: float
    seed: int


@dataclass(frozen=True)
class Frozen:
    """What the module is fitted on top of: a head fitted on earlier rows, and the reader of texts."""

    head: Head
    reader: Reader

    def logits(self, examples: Examples) -> Tensor:
        """Return the head's logits [E, N]."""
        return self.head.logits(examples.histories)


def fit_reasoning(module: ReasoningModule, base: Frozen, told: Told, fit: ReasoningFit, folder: Path) -> list[float]:
    """Train `module` in place; return the mean loss a row of each epoch.

    Args:
        module: fresh.
        base: frozen head and reader.
        told: the reason slice; groups without well-formed reasoning teach nothing and are left out.
        fit: how.
        folder: checkpoints.
    """
    places = [p for p, samples in enumerate(told.samples) if any(one.well_formed for one in samples)]
    if not places:
        log.warning("no well-formed reasoning to learn from: the reasoning module keeps its first weights")
        module.eval()
        return []
    told = told.take(np.array(places))
    optimizer = _optimizer(module)
    path = folder / "reasoning.safetensors"
    position = checkpoint.load(path, module, optimizer)
    losses = [float(loss) for loss in position["losses"].split()] if position else []
    if not losses:
        first = told.take(np.arange(min(4 * _BATCH, len(told.examples))))
        module.fit_features(base.logits(first.examples), base.reader.read(first.samples))
    logits_of = _kept_logits(base, told.examples)
    while len(losses) < fit.epochs:
        losses.append(_epoch(module.train(), optimizer, (base.reader, logits_of), told, (fit, len(losses))))
        checkpoint.save(path, module, optimizer, {"losses": " ".join(map(repr, losses))})
    starts = range(0, len(told.samples), _BATCH)
    module.eval().settle(base.reader.read(told.samples[start : start + _BATCH]) for start in starts)
    return losses


def drop_text(evidence: Evidence, share: float, rng: np.random.Generator) -> Evidence:
    """Take the thought, and independently the answer, from a share of the groups."""
    kept = (rng.random((2, evidence.groups)) >= share).astype(np.float32)
    thought, answer = (torch.from_numpy(part)[evidence.owner, None] for part in kept)  # [S, 1]
    return replace(
        evidence, thought=evidence.thought * thought, answer=evidence.answer * answer, match=evidence.match * answer
    )


def fit_final_weights(base: Frozen, module: ReasoningModule, held: Told) -> Weights:
    """Fit the strength of the reasoning and the calibrations on held-out rows, all by cross-entropy.

    Args:
        base: head that was not fitted on `held`.
        module: fitted reasoning module.
        held: groups with the reasoning that will be read at test time.
    """
    held = held.sample(base.head.n_items)
    logits = base.logits(held.examples)
    alone = calibrate(logits, held.examples)
    residual = residuals(module, logits, base.reader, held.samples)
    if not residual.any():
        return Weights(0.0, alone, alone)
    sharpness, factor = fit_weights(ready([logits, residual], held.examples), (1.0, 0.5)).weights
    strength = factor / max(sharpness, _LEAST)
    return Weights(strength, calibrate(logits + strength * residual, held.examples), alone)


def residuals(module: ReasoningModule, logits: Tensor, reader: Reader, samples: Reasoning) -> Tensor:
    """Return the module's residual [E, N] for head logits [E, N], some groups at a time."""
    step = max(1, _CHUNK_CELLS // logits.shape[1])
    with torch.inference_mode():
        parts = [
            module(logits[start : start + step], reader.read(samples[start : start + step]))
            for start in range(0, len(logits), step)
        ]
    return torch.cat(parts)


def _kept_logits(base: Frozen, examples: Examples) -> LogitsOf:
    """Return a look-up of the head's logits by places of groups."""
    if len(examples) * base.head.n_items > _KEPT_CELLS:
        return lambda places: base.logits(examples.take(places))
    kept = base.logits(examples)
    return lambda places: kept[places]


def _optimizer(module: ReasoningModule) -> torch.optim.AdamW:
    few = [parameter for parameter in module.parameters() if parameter.numel() <= _FEW]
    many = [parameter for parameter in module.parameters() if parameter.numel() > _FEW]
    groups = [{"params": few, "lr": _GATE_RATE}, {"params": many, "lr": _RATE}]
    return torch.optim.AdamW(groups, weight_decay=_DECAY, fused=True)


def _epoch(
    module: ReasoningModule,
    optimizer: torch.optim.Optimizer,
    head: tuple[Reader, LogitsOf],
    told: Told,
    when: tuple[ReasoningFit, int],
) -> float:
    (reader, logits_of), (fit, number) = head, when
    rng = np.random.default_rng([fit.seed, number])
    total = 0.0
    order = rng.permutation(len(told.examples))
    for start in range(0, len(order), _BATCH):
        places = np.sort(order[start : start + _BATCH])
        part = told.take(places)
        evidence = drop_text(reader.read(part.samples), fit.text_dropout, rng)
        logits = logits_of(places).clone()  # a tensor born in inference mode takes no part in a gradient
        logits = logits + module(logits, evidence)
        owner, targets = torch.from_numpy(part.examples.owner), torch.from_numpy(part.examples.targets)
        loss = grouped_cross_entropy(logits, owner, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(targets)
    return total / len(told.examples.targets)
