"""The plain history head: a fitted tower beside a transition channel, fused late by a weighted sum.

What a learned model blurs, counts hold exactly: log P(next | history) from decayed transition counts, smoothed by
popularity, is added to the tower's logits with weights that were fitted on held-out rows. (The same counts as an input
of the tower hurt.) It is the strongest baseline (`fusion`) and, with the tower alone, the head of the architecture
`paper`; the hybrid starts from it and weighs more signals (`rporec.rechead.mixed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.rechead.examples import Examples
from rporec.rechead.fusion import Problem, fit_weights
from rporec.rechead.tower import HistoryTower, TowerShape
from rporec.rechead.train import query
from rporec.transitions import Transitions

PRIORS = (16.0, 64.0)  # pseudo-counts tried for the transition channel
# Shares of the rows. Recent rows weigh more: worth .003 NDCG@10 on Industrial; still shorter ones fit valid better and
# test worse, so they are not tried.
HALF_LIVES = (None, 1.0, 0.3)
FUSED, TOWER_ONLY = (0.5, 0.25), (0.5, 0.0)  # first guesses of both weights; exactly 0 keeps a channel out
_CELLS = 1 << 24  # cells of one signal that a fit of weights looks at
_CHUNK_CELLS = 1 << 21

Histories = Sequence[Sequence[int]] | Sequence[np.ndarray]


@dataclass(frozen=True)
class HeadWeights:
    """How the channels are added.

    Args:
        tower: weight of the tower's logits.
        transition: weight of log P(next | history).
        prior: pseudo-counts behind that probability.
    """

    tower: float
    transition: float
    prior: float


class HistoryHead:
    """Scores of all items from histories.

    Args:
        tower: fitted.
        transitions: counted on the same rows.
    """

    def __init__(self, tower: HistoryTower, transitions: Transitions) -> None:
        if tower.shape.n_items != transitions.n_items:
            raise InputError(
                "tower and transition counts know different catalogues", value=transitions.n_items,
                rule=f"{tower.shape.n_items} items", cure="fit both on the same catalogue",
            )  # fmt: skip
        self.tower, self.transitions = tower.eval().requires_grad_(requires_grad=False), transitions
        with torch.inference_mode():
            self.vectors = tower.item_vectors()  # [N, D]

    @property
    def n_items(self) -> int:
        """Catalogue size N."""
        return self.tower.shape.n_items

    def signals(self, histories: Histories, prior: float) -> list[Tensor]:
        """Return the tower's logits and log P(next | history), two tensors [B, N]; an empty history has logits 0.

        Raises:
            InputError: an item index is not in the catalogue.
        """
        arrays = newest(histories, self.tower.shape)
        with torch.inference_mode():
            scores = query(self.tower, self.vectors, arrays) @ self.vectors.T  # [B, N]
        return [scores, torch.from_numpy(self.transitions.log_probabilities(arrays, prior))]

    def logits(self, histories: Histories, weights: HeadWeights) -> Tensor:
        """Return fused logits [B, N]; an empty history gets the log of the popularity."""
        scores, follow = self.signals(histories, weights.prior)
        empty = torch.tensor([len(history) == 0 for history in histories], dtype=torch.bool)[:, None]
        return torch.where(empty, follow, scores * weights.tower + follow * weights.transition)


@dataclass(frozen=True)
class FusedHead:
    """A plain history head with its weights.

    Args:
        head: tower and counts.
        weights: how they are added.
    """

    head: HistoryHead
    weights: HeadWeights

    @property
    def tower(self) -> HistoryTower:
        """The history tower."""
        return self.head.tower

    @property
    def n_items(self) -> int:
        """Catalogue size N."""
        return self.head.n_items

    @property
    def transitions(self) -> Transitions:
        """The transition counts."""
        return self.head.transitions

    def logits(self, histories: Histories) -> Tensor:
        """Return fused logits [B, N]; an empty history gets the log of the popularity."""
        return self.head.logits(histories, self.weights)

    def again(self, tower: HistoryTower, train: Examples) -> FusedHead:
        """Return the head of a tower that was fitted on other rows, counted and weighed as this one."""
        return FusedHead(refit_head(tower, train, self.head), self.weights)

    def save(self, folder: Path) -> None:
        """Write tower, counts and weights into `folder`."""
        self.tower.save(folder / "tower.safetensors")
        self.transitions.save(folder / "transitions.safetensors")
        write_json(folder / "fusion.json", asdict(self.weights))

    @staticmethod
    def load(folder: Path) -> FusedHead:
        """Read what `save` wrote."""
        tower = HistoryTower.load(folder / "tower.safetensors")
        head = HistoryHead(tower, Transitions.load(folder / "transitions.safetensors"))
        return FusedHead(head, HeadWeights(**read_json(folder / "fusion.json")))


def newest(histories: Histories, shape: TowerShape) -> list[np.ndarray]:
    """Return the newest items of each history that a tower of this shape reads, B arrays.

    Raises:
        InputError: an index is below 0, or N or more.
    """
    n_items = shape.n_items
    arrays = [np.asarray(history, dtype=np.int64)[-shape.history_length :] for history in histories]
    known = np.concatenate([np.zeros(1, dtype=np.int64), *arrays])
    if known.min() < 0 or known.max() >= n_items:
        bad = int(known.min() if known.min() < 0 else known.max())
        raise InputError(
            "a history holds an item that the Rechead does not know", field="history", value=bad,
            rule=f"item indices from 0 to {n_items - 1}", cure="map item ids with the packaged catalogue",
        )  # fmt: skip
    return arrays


def fit_head(
    tower: HistoryTower, train: Examples, held: Examples, decay: float, start: tuple[float, float] = FUSED
) -> tuple[HistoryHead, HeadWeights]:
    """Count the transitions and fit the fusion; the half-life is the one that suits the held-out rows best.

    Args:
        tower: fitted on `train`.
        train: rows in time order, counted.
        held: later rows.
        decay: of the transition counts.
        start: FUSED or TOWER_ONLY.
    """
    held = held_sample(held, tower.shape.n_items)
    histories = newest(held.histories, tower.shape)
    with torch.inference_mode():
        vectors = tower.item_vectors()
        scores = query(tower, vectors, histories) @ vectors.T  # [E, N], the same for all counts
    best: tuple[HistoryHead, HeadWeights, float] | None = None
    for half_life in HALF_LIVES if start[1] else HALF_LIVES[:1]:
        head = HistoryHead(tower, count(train, tower.shape.n_items, decay, half_life))
        for prior in PRIORS if start[1] else PRIORS[:1]:
            follow = torch.from_numpy(head.transitions.log_probabilities(histories, prior))
            fitted = fit_weights(ready([scores, follow], held), start)
            if best is None or fitted.loss < best[2]:
                best = head, HeadWeights(fitted.weights[0], fitted.weights[1], prior), fitted.loss
    assert best is not None
    return best[0], best[1]


def refit_head(tower: HistoryTower, train: Examples, like: HistoryHead) -> HistoryHead:
    """Return a head on other rows, counted as `like` was."""
    return HistoryHead(tower, count(train, like.n_items, like.transitions.decay, like.transitions.half_life))


def count(examples: Examples, n_items: int, decay: float, half_life: float | None) -> Transitions:
    """Count the transitions of rows in time order."""
    rows = examples.owner, examples.targets
    return Transitions.fit_groups(examples.histories, rows, n_items, decay, half_life)


def held_sample(held: Examples, n_items: int) -> Examples:
    """Return as many held-out groups as a fit of weights looks at, evenly spread."""
    return held.sample(max(64, _CELLS // n_items))


def ready(signals: list[Tensor], held: Examples) -> Problem:
    """Return the problem of weighing ready signals, K tensors [E, N], on E held-out groups."""
    return Problem(
        signals=lambda part: [signal[part] for signal in signals],
        count=len(signals),
        groups=len(held),
        chunk=max(1, _CHUNK_CELLS // signals[0].shape[1]),
        owner=held.owner,
        targets=held.targets,
    )
