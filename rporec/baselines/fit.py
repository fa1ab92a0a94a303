"""Fitting all baselines: hyper-parameters chosen on valid with models fitted on train, then a refit on train + valid.

Tuning budget: Markov, 4 decays x 3 half-lives; SASRec, ids only and text + ids, each once over the epochs that valid
stops (at most `evaluate.sasrec_epochs`), the better one of the two; fusion, weights of tower and log transition counts,
2 smoothings and 3 half-lives, by cross-entropy. Sizes, dropout and rates are those of the Rechead's tower, so that
neither side is tuned more. Three tower fits in all, and resumable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from torch import Tensor

from rporec.baselines.counting import Markov, Popularity, choose_counting
from rporec.catalogue import Catalogue
from rporec.config import Params
from rporec.rechead.arms import make_reader
from rporec.rechead.examples import Examples
from rporec.rechead.head import HeadWeights, Histories, HistoryHead, count, fit_head, refit_head
from rporec.rechead.tower import TowerShape
from rporec.rechead.train import Fit, FittedTower, choose_tower, refit_tower

_TOWER = HeadWeights(tower=1.0, transition=0.0, prior=1.0)


class Ranker(Protocol):
    """Scores the whole catalogue from histories."""

    def scores(self, histories: Histories) -> np.ndarray:
        """Return scores [B, N] float32, higher is better."""


@dataclass(frozen=True)
class Sasrec:
    """A tower alone, full-catalogue cross-entropy; an empty history gets the popularity."""

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
class _Choice:
    """The SASRec variant that won on valid: its fit and its texts."""

    fit: Fit
    texts: Tensor | None
    fitted: FittedTower


def fit_all(
    train: pl.DataFrame, valid: pl.DataFrame, catalogue: Catalogue, params: Params, folder: Path
) -> dict[str, Ranker]:
    """Fit popularity, markov, sasrec and fusion.

    Args:
        train: ROWS.
        valid: ROWS, later than train.
        catalogue: N items.
        params: reads rechead (sizes and rates), evaluate (epochs) and run.seed.
        folder: checkpoints; a killed call goes on from there.

    Returns:
        Rankers by name, fitted on train + valid.
    """
    fitting, held = Examples.from_rows(train), Examples.from_rows(valid)
    everything = Examples.from_rows(pl.concat([train, valid]))
    n_items = catalogue.n
    decay, half_life = choose_counting(fitting, held, n_items)
    reader = make_reader(catalogue, params.rechead.text_dim, params.run.seed)
    fit = sasrec_fit(params, n_items, everything.longest)
    choice = _choose_sasrec(fitting, held, reader.items, fit, folder)
    before, weights = fit_head(choice.fitted.tower, fitting, held, decay)
    again = refit_tower(everything, choice.texts, choice.fit, choice.fitted.epochs, folder / "sasrec-refit")
    head = refit_head(again.tower, everything, before)
    return {
        "popularity": Popularity(np.bincount(everything.targets, minlength=n_items).astype(np.float32)),
        "markov": Markov(count(everything, n_items, decay, half_life)),
        "sasrec": Sasrec(head),
        "fusion": LateFusion(head, weights),
    }


def _choose_sasrec(train: Examples, valid: Examples, items: Tensor, fit: Fit, folder: Path) -> _Choice:
    choices = []
    for texts, name in ((None, "sasrec-ids"), (items, "sasrec-text")):
        shape = replace(fit.shape, text_dim=0 if texts is None else int(texts.shape[1]))
        own = replace(fit, shape=shape)
        choices.append(_Choice(own, texts, choose_tower(train, valid, texts, own, folder / name)))
    return max(choices, key=lambda choice: max((epoch.ndcg or 0.0) for epoch in choice.fitted.curve))


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
