"""Rankers from the history tower: SASRec with full cross-entropy, gSASRec, and the late fusion with Markov.

Sizes, dropout and rates are those of the Rechead's tower and the loop is its own, so that neither side is tuned more.

Tuning budget, on valid, each fit over the epochs that valid stops (at most `evaluate.sasrec_epochs`): SASRec, the best
of `evaluate.sasrec_inputs` (ids only, text + ids); gSASRec, the best of `evaluate.gsasrec_calibrations` on the item
vectors that SASRec chose. Two more fits on train + valid. All are resumable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rporec.baselines.gbce import SampledBinary
from rporec.config import Params
from rporec.rechead.examples import Examples
from rporec.rechead.head import HeadWeights, Histories, HistoryHead
from rporec.rechead.tower import TowerShape
from rporec.rechead.train import Fit, FittedTower, choose_tower

_TOWER = HeadWeights(tower=1.0, transition=0.0, prior=1.0)


@dataclass(frozen=True)
class Sasrec:
    """A tower alone, whatever its loss was; an empty history gets the popularity."""

    head: HistoryHead

    def scores(self, histories: Histories) -> np.ndarray:
        """Return the tower's logits, [B, N] float32."""
        return np.asarray(self.head.logits(histories, _TOWER).numpy(), dtype=np.float32)


@dataclass(frozen=True)
class LateFusion:
    """The tower and log transition counts, added with fixed weights."""

    head: HistoryHead
    weights: HeadWeights

    def scores(self, histories: Histories) -> np.ndarray:
        """Return fused logits, [B, N] float32."""
        return np.asarray(self.head.logits(histories, self.weights).numpy(), dtype=np.float32)


@dataclass(frozen=True)
class Choice:
    """The variant that won on valid.

    Args:
        name: of the variant.
        fit: how it was fitted.
        texts: [N, text_dim], None for ids only.
        fitted: the tower that was fitted on train.
        tried: best NDCG@10 on valid of every variant, itself included.
    """

    name: str
    fit: Fit
    texts: Tensor | None
    fitted: FittedTower
    tried: Mapping[str, float] = field(default_factory=dict)

    @property
    def reached(self) -> float:
        """The best NDCG@10 on valid, 0-1."""
        return max((epoch.ndcg or 0.0) for epoch in self.fitted.curve)

    def told(self) -> dict[str, Any]:
        """Return what metrics.json tells of it."""
        return {"variant": self.name, "epochs": self.fitted.epochs, "valid_ndcg@10": dict(self.tried)}


def choose_sasrec(
    train: Examples, valid: Examples, items: Tensor, fit: Fit, inputs: Sequence[str], folder: Path
) -> Choice:
    """Return the input that is best on valid.

    Args:
        train: rows that it learns from.
        valid: rows that choose.
        items: [N, text_dim] item texts.
        fit: of ids only (`sasrec_fit`).
        inputs: those to choose from: "ids" (only), "text" (and ids).
        folder: checkpoints.
    """
    choices = []
    for name in inputs:
        texts = items if name == "text" else None
        shape = replace(fit.shape, text_dim=0 if texts is None else int(texts.shape[1]))
        own = replace(fit, shape=shape)
        fitted = choose_tower(train, valid, texts, own, folder / f"sasrec-{name}")
        choices.append(Choice("ids" if texts is None else "text and ids", own, texts, fitted))
    return _best(choices)


def choose_gsasrec(
    train: Examples, valid: Examples, like: Choice, losses: Sequence[SampledBinary], folder: Path
) -> Choice:
    """Return the calibration that is best on valid, on the item vectors of `like`.

    Args:
        train: rows that it learns from.
        valid: rows that choose.
        like: SASRec as it was chosen.
        losses: the calibrations to choose from.
        folder: checkpoints.
    """
    choices = []
    for loss in losses:
        own = replace(like.fit, loss=loss)
        fitted = choose_tower(train, valid, like.texts, own, folder / f"gsasrec-{loss.calibration:g}")
        choices.append(Choice(f"{like.name}, calibration {loss.calibration:g}", own, like.texts, fitted))
    return _best(choices)


def _best(choices: Sequence[Choice]) -> Choice:
    """Return the best one on valid (ties: the first), which tells of all."""
    best = max(choices, key=lambda choice: choice.reached)
    return replace(best, tried={choice.name: choice.reached for choice in choices})


def sasrec_fit(params: Params, n_items: int, longest: int) -> Fit:
    """Return how the ids-only SASRec is fitted: the sizes and rates of the Rechead's tower, its own epochs."""
    head = params.rechead
    shape = TowerShape(
        n_items=n_items,
        text_dim=0,
        width=head.width,
        layers=head.layers,
        heads=head.heads,
        history_length=longest,
        dropout=head.dropout,
    )
    return Fit(
        shape=shape,
        epochs=params.evaluate.sasrec_epochs,
        patience=params.evaluate.sasrec_patience,
        batch_size=head.batch_size,
        learning_rate=head.learning_rate,
        weight_decay=head.weight_decay,
        seed=params.run.seed,
    )
