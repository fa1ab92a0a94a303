"""The three Recheads of a run, which differ only in the rows that their head has seen.

`reward` (head on `fit`; scores reinforcement learning on `align`), `chosen` (head on train; decides on valid what
ships) and `final` (head on train + valid; evaluated and served). All three share one text reader and one reasoning
module, which was trained on `reason` with the logits of the head on `fit`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from rporec.catalogue import Catalogue
from rporec.encode import TextEncoder
from rporec.reasoning.prompt import item_line
from rporec.rechead.examples import Examples
from rporec.rechead.head import FUSED, TOWER_ONLY, fit_head, refit_head
from rporec.rechead.model import ARCHITECTURES, ReasoningModule, Rechead, Weights
from rporec.rechead.reader import Reader
from rporec.rechead.reasoning import (
    Frozen,
    ReasoningFit,
    Told,
    fit_final_weights,
    fit_reasoning,
    residuals,
    temperature,
)
from rporec.rechead.train import Epoch, Fit, choose_tower, refit_tower

log = logging.getLogger(__name__)
STARTS = {"hybrid": FUSED, "paper": TOWER_ONLY}


@dataclass(frozen=True)
class Rows:
    """What the Recheads learn from.

    Args:
        fit: oldest part of train.
        reason: later part of train, with reasoning by a backbone that has not seen it.
        train: all of train.
        valid: rows after train, with reasoning.
        everything: train and valid.
    """

    fit: Examples
    reason: Told
    train: Examples
    valid: Told
    everything: Examples


@dataclass(frozen=True)
class Recipe:
    """How all three are made.

    Args:
        architecture: `hybrid` or `paper` (text only: no ids, no transition channel).
        tower: fit of the history tower.
        reasoning: fit of the reasoning module.
        decay: of the transition counts.
    """

    architecture: str
    tower: Fit
    reasoning: ReasoningFit
    decay: float


@dataclass(frozen=True)
class Arms:
    """The Recheads, and how they came about.

    Args:
        reward, chosen, final: see the module.
        epochs: of the heads `reward` and (chosen on valid, used by both) `chosen` and `final`.
        curve: training curve of the head of `chosen`.
        reasoning_losses: mean loss a row of each epoch of the reasoning module.
    """

    reward: Rechead
    chosen: Rechead
    final: Rechead
    epochs: tuple[int, int]
    curve: list[Epoch]
    reasoning_losses: list[float]


def make_reader(catalogue: Catalogue, text_dim: int, seed: int) -> Reader:
    """Fit the text encoder on a catalogue and read its items."""
    texts = [catalogue.full_text(item) for item in range(catalogue.n)]
    lines = [item_line(item, catalogue) for item in range(catalogue.n)]
    return Reader.fit(TextEncoder.fit([*texts, *lines], text_dim, seed), texts, lines)


def make_arms(rows: Rows, reader: Reader, recipe: Recipe, folder: Path) -> Arms:
    """Fit the three Recheads; checkpoints below `folder` let a killed call go on."""
    early = choose_tower(rows.fit, rows.valid.examples, reader.items, recipe.tower, folder / "head-fit")
    start = STARTS[recipe.architecture]
    base, fusion = fit_head(early.tower, rows.fit, rows.reason.examples, recipe.decay, start)
    module = ARCHITECTURES[recipe.architecture](reader.items, recipe.reasoning.seed)
    losses = fit_reasoning(module, Frozen(base, fusion, reader), rows.reason, recipe.reasoning, folder)
    reward = Rechead(base, reader, module, _reward_weights(Frozen(base, fusion, reader), module, rows.valid))
    late = choose_tower(rows.train, rows.valid.examples, reader.items, recipe.tower, folder / "head-train")
    head, alone = fit_head(late.tower, rows.train, rows.valid.examples, recipe.decay, start)
    weights = fit_final_weights(Frozen(head, alone, reader), module, rows.valid)
    log.info("reasoning counts with strength %.3f, temperature %.3f", weights.strength, weights.temperature)
    last = refit_tower(rows.everything, reader.items, recipe.tower, late.epochs, folder / "head-final")
    return Arms(
        reward=reward,
        chosen=Rechead(head, reader, module, weights),
        final=Rechead(refit_head(last.tower, rows.everything, head), reader, module, weights),
        epochs=(early.epochs, late.epochs),
        curve=late.curve,
        reasoning_losses=losses,
    )


def _reward_weights(base: Frozen, module: ReasoningModule, valid: Told) -> Weights:
    """Return the weights of `reward`: reasoning counts as it was trained, or RL would have nothing to earn."""
    held = valid.sample(base.head.n_items)
    logits = base.logits(held.examples)
    logits = logits + residuals(module, logits, base.reader, held.samples)
    return Weights(base.weights, base.weights, 1.0, temperature(logits, held.examples))
