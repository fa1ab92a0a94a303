"""Fitting a history tower: cross-entropy or another loss, epochs chosen on valid, resumable after a kill.

The same loop fits the Rechead's head and the SASRec baselines. The rate is constant and the weights that count are a
running average over the last epochs: it reached in 12 epochs what a cosine schedule reached in 20 (Industrial), and an
epoch number means the same whatever the most epochs are, so a refit repeats a choice exactly. Randomness is drawn from
(seed, epoch) and (seed, step), so a resumed fit ends with the same bytes.
"""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rporec import checkpoint
from rporec.errors import InputError
from rporec.evaluation.metrics import ndcg, rank_targets
from rporec.files import atomic_file
from rporec.progress import Progress
from rporec.rechead.examples import Examples
from rporec.rechead.loss import Batch, Loss, full_catalogue
from rporec.rechead.packing import Packed, batches, pack
from rporec.rechead.tower import HistoryTower, Noise, TowerShape, pad

log = logging.getLogger(__name__)
CUTOFF = 10  # epochs are chosen by the metric that the gates read
_WARM_STEPS = 100
_AVERAGE_EPOCHS = 3.0  # over which the weights are averaged, exponentially
_CELLS = 1 << 23  # scores held at once


@dataclass(frozen=True)
class Fit:
    """How a tower is fitted.

    Args:
        shape: sizes of the tower.
        epochs: passes, at most.
        patience: epochs without a better valid NDCG@10 before the fit stops.
        batch_size: groups a batch.
        learning_rate: AdamW.
        weight_decay: AdamW.
        seed: of weights, order, dropout and what the loss draws.
        loss: of a batch; cross-entropy over the full catalogue, where nothing else is asked for.
    """

    shape: TowerShape
    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    loss: Loss = full_catalogue


@dataclass(frozen=True)
class Epoch:
    """One line of a training curve; `ndcg` is valid NDCG@10, None without valid rows."""

    epoch: int
    train_loss: float
    ndcg: float | None


@dataclass(frozen=True)
class FittedTower:
    """A tower, the epoch that it stands at, and its curve."""

    tower: HistoryTower
    epochs: int
    curve: list[Epoch]


def choose_tower(
    train: Examples, valid: Examples, texts: Tensor | None, fit: Fit, folder: Path, start: HistoryTower | None = None
) -> FittedTower:
    """Fit on `train` and return the epoch with the best NDCG@10 on `valid`.

    Args:
        train: rows that it learns from.
        valid: rows that choose the epoch; without any, all epochs are run.
        texts: [N, text_dim] item texts, None for ids only.
        fit: how.
        folder: checkpoints; a fit with another `fit` or `start` or other data must use another folder.
        start: a tower of the fit's shape with these texts to go on from; None = from fresh weights.
    """
    return _run(train, valid if len(valid) else None, start or HistoryTower(fit.shape, texts, fit.seed), fit, folder)


def refit_tower(
    train: Examples, texts: Tensor | None, fit: Fit, epochs: int, folder: Path, start: HistoryTower | None = None
) -> FittedTower:
    """Fit on `train` for a number of epochs that was chosen before; `start` as in `choose_tower`."""
    first = start or HistoryTower(fit.shape, texts, fit.seed)
    return _run(train, None, first, replace(fit, epochs=epochs), folder)


def query(tower: HistoryTower, vectors: Tensor, histories: list[np.ndarray]) -> Tensor:
    """Return the queries [B, D] of histories, zero for an empty one; longer ones lose their oldest items."""
    found = torch.zeros(len(histories), tower.shape.width)
    places = sorted((p for p, h in enumerate(histories) if len(h)), key=lambda p: len(histories[p]))
    step = max(1, (1 << 14) // tower.shape.history_length)
    for start in range(0, len(places), step):
        part = places[start : start + step]
        history, lengths = pad([histories[p][-tower.shape.history_length :] for p in part])
        found[part] = tower(vectors, history)[torch.arange(len(part)), lengths - 1]
    return found


def valid_ndcg(tower: HistoryTower, valid: Examples) -> float:
    """Return the mean NDCG@10 of the tower's own scores."""
    with torch.inference_mode():
        vectors = tower.item_vectors()
        queries = query(tower, vectors, valid.histories)
        values = []
        step = max(1, _CELLS // len(vectors))
        for start in range(0, len(valid), step):
            rows = np.flatnonzero((valid.owner >= start) & (valid.owner < start + step))
            scores = (queries[start : start + step] @ vectors.T).numpy()
            values.append(ndcg(rank_targets(scores, valid.owner[rows] - start, valid.targets[rows]), CUTOFF))
    return float(np.concatenate(values).mean())


class _Averaged(nn.Module):
    """A tower in training and the running average of its weights, checkpointed together."""

    def __init__(self, tower: HistoryTower) -> None:
        super().__init__()
        self.tower = tower
        self.average = copy.deepcopy(tower).requires_grad_(requires_grad=False)

    def follow(self, step: int, horizon: float) -> None:
        """Move the average after optimizer step `step` (from 0); early on it forgets faster, or it would hold noise."""
        share = 1.0 / min(max(horizon, 1.0), 1.0 + step / 10)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.tower.parameters()), share)


class _State:
    """Where a fit stands: the curve so far and the best epoch, kept beside the weights."""

    def __init__(self, folder: Path) -> None:
        self.last, self.best = folder / "last.safetensors", folder / "best.safetensors"
        self.curve: list[Epoch] = []
        self.best_epoch = 0

    def load(self, model: _Averaged, optimizer: torch.optim.Optimizer) -> None:
        position = checkpoint.load(self.last, model, optimizer)
        if position is not None:
            self.curve = [Epoch(**line) for line in json.loads(position["curve"])]
            self.best_epoch = int(position["best_epoch"])

    def record(self, epoch: Epoch, model: _Averaged, optimizer: torch.optim.Optimizer) -> None:
        """Write the best weights first: a kill between the two writes only repeats the epoch."""
        best = max((e.ndcg for e in self.curve if e.ndcg is not None), default=-1.0)
        self.curve.append(epoch)
        if epoch.ndcg is None or epoch.ndcg > best:
            self.best_epoch = epoch.epoch
            with atomic_file(self.best) as temporary:
                save_file({name: value.contiguous() for name, value in model.average.state_dict().items()}, temporary)
        lines = json.dumps([asdict(e) for e in self.curve])
        checkpoint.save(self.last, model, optimizer, {"curve": lines, "best_epoch": str(self.best_epoch)})

    def over(self, fit: Fit) -> bool:
        """Without valid rows every epoch is the best so far, so that patience never ends a refit."""
        return len(self.curve) >= fit.epochs or len(self.curve) - self.best_epoch >= fit.patience


def _run(train: Examples, valid: Examples | None, start: HistoryTower, fit: Fit, folder: Path) -> FittedTower:
    train = train.readable()
    if not len(train):
        raise InputError(
            "no training row has a history", file="train.parquet", field="history",
            rule="at least one row with one earlier item", cure="use more interactions or an earlier split",
        )  # fmt: skip
    packed = pack(train)
    model = _Averaged(start)
    optimizer = torch.optim.AdamW(
        model.tower.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay, fused=True
    )
    state = _State(folder)
    state.load(model, optimizer)
    with Progress(f"fit {folder.name}", fit.epochs * len(train), "groups") as progress:
        progress.skip(len(state.curve) * len(train))
        while not state.over(fit):
            number = len(state.curve) + 1
            loss = _epoch(model, optimizer, (train, packed), fit, number)
            quality = valid_ndcg(model.average, valid) if valid is not None else None
            state.record(Epoch(number, loss, quality), model, optimizer)
            shown = "" if quality is None else f", valid NDCG@10 {quality:.4f}"
            progress.advance(len(train), f"epoch {number}, loss {loss:.3f}{shown}")
    model.average.load_state_dict(load_file(state.best))
    return FittedTower(model.average.eval(), state.best_epoch, state.curve)


def _epoch(
    model: _Averaged, optimizer: torch.optim.Optimizer, data: tuple[Examples, Packed], fit: Fit, number: int
) -> float:
    """Train one epoch (counted from 1); return the mean loss a row."""
    train, packed = data
    plan = batches(packed, fit.batch_size, fit.seed, number)
    rows_of = _rows_by_group(train)
    total = 0.0
    for place, batch in enumerate(plan):
        step = (number - 1) * len(plan) + place
        for group in optimizer.param_groups:
            group["lr"] = fit.learning_rate * min(1.0, (step + 1) / _WARM_STEPS)
        noise = Noise(fit.shape.dropout, fit.seed, (number << 32) + place)
        loss, rows = _batch_loss(model.tower, batch, packed, (train, rows_of), noise, fit.loss)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        model.follow(step, _AVERAGE_EPOCHS * len(plan))
        total += float(loss.detach()) * rows
    return total / len(train.targets)


def _batch_loss(
    tower: HistoryTower,
    batch: np.ndarray,
    packed: Packed,
    data: tuple[Examples, list[np.ndarray]],
    noise: Noise,
    loss: Loss = full_catalogue,
) -> tuple[Tensor, int]:
    train, rows_of = data
    history, _ = pad([packed.carriers[place] for place in batch])
    groups = np.concatenate([packed.groups[place] for place in batch])
    carrier = np.repeat(np.arange(len(batch)), [len(packed.groups[place]) for place in batch])
    last = np.array([len(train.histories[group]) - 1 for group in groups])
    rows = np.concatenate([rows_of[group] for group in groups])
    owner = np.repeat(np.arange(len(groups)), [len(rows_of[group]) for group in groups])
    vectors = tower.item_vectors()
    read = tower(vectors, history, noise)  # [C, L, D]
    queries = read[torch.from_numpy(carrier), torch.from_numpy(last)]  # [G, D]
    targets = torch.from_numpy(train.targets[rows])
    return loss(Batch(queries, vectors, torch.from_numpy(owner), targets, noise)), len(rows)


def _rows_by_group(examples: Examples) -> list[np.ndarray]:
    order = np.argsort(examples.owner, kind="stable")
    bounds = np.searchsorted(examples.owner[order], np.arange(1, len(examples)))
    return np.split(order, bounds)
