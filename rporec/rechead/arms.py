"""The three Recheads of a run, which differ only in the rows that their head has seen.

`reward` (head on `fit`; scores reinforcement learning on `align`), `chosen` (head on train; decides on valid what
ships) and `final` (head on train + valid; evaluated and served). All three share one text reader, one mixer and one
reasoning module; both were trained on `reason` with the head on `fit`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from rporec.catalogue import Catalogue
from rporec.encode.source import Source, make_encoder
from rporec.encode.vectors import Encoder
from rporec.reasoning.prompt import item_line
from rporec.rechead.calibration import calibrate
from rporec.rechead.examples import Examples
from rporec.rechead.head import TOWER_ONLY, FusedHead, fit_head
from rporec.rechead.mixed import Like, MixedHead
from rporec.rechead.model import ARCHITECTURES, Head, ReasoningModule, Rechead, Weights
from rporec.rechead.reader import Reader
from rporec.rechead.reasoning import (
    Frozen,
    ReasoningFit,
    Told,
    fit_final_weights,
    fit_reasoning,
    residuals,
)
from rporec.rechead.tower import HistoryTower
from rporec.rechead.train import Epoch, Fit, choose_tower, refit_tower
from rporec.rechead.warm import Warm

log = logging.getLogger(__name__)


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
        warm: towers of an earlier night to go on from; None = fresh ones.
    """

    architecture: str
    tower: Fit
    reasoning: ReasoningFit
    decay: float
    warm: Warm | None = None

    def start(self, name: str, texts: Tensor) -> HistoryTower | None:
        """Return the tower that the one of this name goes on from, None = fresh weights."""
        return self.warm.tower(name, self.tower.shape, texts, self.tower.seed) if self.warm else None


@dataclass(frozen=True)
class Heads:
    """The heads of the three Recheads.

    Args:
        base: on `fit`, below `reward`.
        chosen: on train.
        final: on train and valid.
        epochs: of `base` and (chosen on valid, used by both) `chosen` and `final`.
        curve: training curve of `chosen`.
    """

    base: Head
    chosen: Head
    final: Head
    epochs: tuple[int, int]
    curve: list[Epoch]


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


def make_reader(catalogue: Catalogue, source: Source, encoder: Encoder | None = None) -> Reader:
    """Make the text encoder for a catalogue, or take the one that is given, and read the items."""
    texts = [catalogue.full_text(item) for item in range(catalogue.n)]
    lines = [item_line(item, catalogue) for item in range(catalogue.n)]
    return Reader.fit(encoder or make_encoder(source, [*texts, *lines]), texts, lines)


def make_arms(rows: Rows, reader: Reader, recipe: Recipe, folder: Path) -> Arms:
    """Fit the three Recheads; checkpoints below `folder` let a killed call with the same item vectors go on."""
    folder = folder / reader.identity()
    heads = make_heads(rows, reader, recipe, folder)
    module, losses = make_module(heads, rows.reason, reader, recipe, folder)
    reward = Rechead(heads.base, reader, module, reward_weights(Frozen(heads.base, reader), module, rows.valid))
    weights = fit_final_weights(Frozen(heads.chosen, reader), module, rows.valid)
    log.info("reasoning counts with strength %.3f", weights.strength)
    return Arms(
        reward=reward,
        chosen=Rechead(heads.chosen, reader, module, weights),
        final=Rechead(heads.final, reader, module, weights),
        epochs=heads.epochs,
        curve=heads.curve,
        reasoning_losses=losses,
    )


def make_heads(rows: Rows, reader: Reader, recipe: Recipe, folder: Path) -> Heads:
    """Fit the heads of the three Recheads; no reasoning is read. A finished fit below `folder` is not repeated."""
    texts, fit, held = reader.items, recipe.tower, rows.valid.examples
    early = choose_tower(rows.fit, held, texts, fit, folder / "head-fit", recipe.start("reward", texts))
    base = _first_head(early.tower, rows, reader, recipe, folder)
    late = choose_tower(rows.train, held, texts, fit, folder / "head-train", recipe.start("chosen", texts))
    start = recipe.start("final", texts)
    last = refit_tower(rows.everything, texts, fit, late.epochs, folder / "head-final", start)
    return Heads(
        base=base,
        chosen=base.again(late.tower, rows.train),
        final=base.again(last.tower, rows.everything),
        epochs=(early.epochs, late.epochs),
        curve=late.curve,
    )


def make_module(
    heads: Heads, reason: Told, reader: Reader, recipe: Recipe, folder: Path
) -> tuple[ReasoningModule, list[float]]:
    """Fit the reasoning module on the reason slice with the head on `fit`; return it and the loss of each epoch."""
    module = ARCHITECTURES[recipe.architecture](reader.items, recipe.reasoning.seed)
    return module, fit_reasoning(module, Frozen(heads.base, reader), reason, recipe.reasoning, folder)


def _first_head(tower: HistoryTower, rows: Rows, reader: Reader, recipe: Recipe, folder: Path) -> Head:
    """Return the head on `fit`, weighed on `reason`."""
    held = rows.reason.examples
    if recipe.architecture == "paper":
        return FusedHead(*fit_head(tower, rows.fit, held, recipe.decay, TOWER_ONLY))
    like = Like(reader.items, recipe.decay, recipe.tower.seed)
    return MixedHead.fit(tower, rows.fit, held, like, folder)


def reward_weights(base: Frozen, module: ReasoningModule, valid: Told) -> Weights:
    """Return the weights of `reward`: reasoning counts as it was trained, or RL would have nothing to earn.

    Args:
        base: the head on `fit`.
        module: fitted on `reason` with this head.
        valid: rows of valid with reasoning, for the calibrations.
    """
    held = valid.sample(base.head.n_items)
    logits = base.logits(held.examples)
    told = logits + residuals(module, logits, base.reader, held.samples)
    return Weights(1.0, calibrate(told, held.examples), calibrate(logits, held.examples))
