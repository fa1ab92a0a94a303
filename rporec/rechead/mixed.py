"""The history head of the architecture `hybrid`: tower and channels, weighed by the mixer.

The mixer is fitted on held-out rows, with tower and counts of earlier rows; then tower and counts may be made anew on
more rows, the mixer stays. Reasoning comes on top in `rporec.rechead.model`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rporec import checkpoint
from rporec.files import atomic_file
from rporec.rechead.channels import Channels, nearest
from rporec.rechead.examples import Examples
from rporec.rechead.head import Histories, count, fit_head, newest
from rporec.rechead.loss import grouped_cross_entropy
from rporec.rechead.mixer import SIGNALS, Mixer
from rporec.rechead.tower import HistoryTower
from rporec.rechead.train import query
from rporec.transitions import Transitions

log = logging.getLogger(__name__)
_EPOCHS, _RATE, _DECAY, _WARM_STEPS = 6, 0.01, 0.01, 20  # AdamW, falling linearly to 0
_BATCH, _FEWEST_STEPS = 128, 400  # groups; a small slice is cut into smaller batches
_BATCH_CELLS = 1 << 20  # (group, item) pairs of a batch at most
_MOST_CELLS = 1 << 28  # (group, item) pairs looked at in all; beyond that, groups are sampled
_CHUNK_CELLS = 1 << 19  # pairs whose signals are looked at together
_MIXED_CELLS = 1 << 15  # pairs whose hidden layer fits the cache
_FIRST_GROUPS = 512  # that set the scale of the inputs


class MixedHead:
    """Scores of all items from histories.

    Args:
        tower: fitted.
        channels: counted on the same rows.
        mixer: fitted, or to be fitted by `fit_mixer`.
        prior: pseudo-counts of the channels' probabilities.
    """

    def __init__(self, tower: HistoryTower, channels: Channels, mixer: Mixer, prior: float) -> None:
        self.tower, self.channels, self.prior = tower.eval().requires_grad_(requires_grad=False), channels, prior
        self.mixer = mixer.eval()
        with torch.inference_mode():
            self.vectors = tower.item_vectors()  # [N, D]

    @property
    def n_items(self) -> int:
        """Catalogue size N."""
        return self.tower.shape.n_items

    @property
    def transitions(self) -> Transitions:
        """The transition counts."""
        return self.channels.transitions

    @staticmethod
    def fit(tower: HistoryTower, train: Examples, held: Examples, like: Like, folder: Path) -> MixedHead:
        """Count on `train`, on which the tower was fitted, and fit the mixer on later rows.

        Args:
            tower: fitted on `train`.
            train: rows in time order.
            held: later rows.
            like: text vectors, decay and seed.
            folder: checkpoints of the mixer.
        """
        linear, weights = fit_head(tower, train, held, like.decay)
        channels = Channels.count(train, linear.transitions, like.items, nearest(like.items))
        head = MixedHead(tower, channels, Mixer(like.seed), weights.prior)
        fit_mixer(head, held, {0: weights.tower, 1: weights.transition}, like.seed, folder)
        return head

    def again(self, tower: HistoryTower, train: Examples) -> MixedHead:
        """Return the head of a tower that was fitted on other rows, counted and mixed as this one."""
        own = self.channels
        transitions = count(train, self.n_items, own.transitions.decay, own.transitions.half_life)
        counted = Channels.count(train, transitions, torch.from_numpy(own.items), own.kin)
        return MixedHead(tower, counted, self.mixer, self.prior)

    def taste(self, histories: Histories) -> Tensor:
        """Return the text of each history as one direction, [B, T]."""
        return torch.from_numpy(self.channels.taste(newest(histories, self.tower.shape)))

    def read(self, histories: Histories, alike: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the mixer looks at: signals [K, B, N] and features of the histories [B, R].

        Args:
            histories: B lists of item indices, oldest first.
            alike: [B, N] products of `taste` with all items, where they are known.
        """
        arrays = newest(histories, self.tower.shape)
        with torch.inference_mode():
            signals = np.empty((SIGNALS, len(arrays), self.n_items), dtype=np.float32)  # [K, B, N]
            log_p = torch.from_numpy(signals[0])  # [B, N]
            torch.log_softmax(query(self.tower, self.vectors, arrays) @ self.vectors.T, dim=1, out=log_p)
            self.channels.signals(arrays, self.prior, alike, out=signals[1:])
            followers = np.array([self.channels.followers[a[-1]] if len(a) else 0.0 for a in arrays])
            rows = [
                torch.log1p(torch.tensor([len(a) for a in arrays], dtype=torch.float32)),
                torch.log1p(torch.from_numpy(followers).float()),
                -(log_p.exp() * log_p).sum(dim=1),
                log_p.amax(dim=1),
            ]
            return torch.from_numpy(signals), torch.stack(rows, dim=1)

    def logits(self, histories: Histories, alike: Tensor | None = None) -> Tensor:
        """Return logits [B, N]; an empty history gets the log of the popularity.

        Args:
            histories: B lists of item indices, oldest first.
            alike: [B, N] products of `taste` with all items, where they are known.

        Raises:
            InputError: an item index is not in the catalogue.
        """
        found = torch.empty(len(histories), self.n_items)
        step = max(1, _CHUNK_CELLS // self.n_items)
        for start in range(0, len(histories), step):
            part = histories[start : start + step]
            signals, rows = self.read(part, None if alike is None else alike[start : start + step])
            mixed = self._mix(signals, rows)
            empty = torch.tensor([len(history) == 0 for history in part])[:, None]
            found[start : start + len(part)] = torch.where(empty, signals[1], mixed)
        return found

    def _mix(self, signals: Tensor, rows: Tensor) -> Tensor:
        """Return logits [B, N], some items at a time: their hidden layer then stays in the cache."""
        step, items = max(1, _MIXED_CELLS // len(rows)), self.channels.item_features
        with torch.inference_mode():
            mixed = [
                self.mixer(signals[:, :, start : start + step], rows, items[start : start + step])
                for start in range(0, self.n_items, step)
            ]
            return mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=1)

    def save(self, folder: Path) -> None:
        """Write tower, channels and mixer into `folder`."""
        self.tower.save(folder / "tower.safetensors")
        self.channels.save(folder)
        with atomic_file(folder / "mixer.safetensors") as temporary:
            save_file({**self.mixer.state_dict(), "prior": torch.tensor(self.prior)}, temporary)

    @staticmethod
    def load(folder: Path, items: Tensor) -> MixedHead:
        """Read what `save` wrote; `items` are the text vectors [N, T]."""
        mixer = Mixer(seed=0)
        stored = load_file(folder / "mixer.safetensors")
        prior = float(stored.pop("prior"))
        mixer.load_state_dict(stored)
        return MixedHead(HistoryTower.load(folder / "tower.safetensors"), Channels.load(folder, items), mixer, prior)


@dataclass(frozen=True)
class Like:
    """How a head is made: text vectors [N, T], decay of the transition counts, seed of the mixer."""

    items: Tensor
    decay: float
    seed: int


def fit_mixer(head: MixedHead, held: Examples, start: dict[int, float], seed: int, folder: Path) -> list[float]:
    """Fit the mixer of `head` in place; return the mean loss a row of each epoch.

    Args:
        head: tower and channels of earlier rows.
        held: later rows.
        start: first weights of some signals, by place.
        seed: of the order of the groups.
        folder: checkpoints; a killed fit goes on.
    """
    held = held.readable().sample(max(_BATCH, _MOST_CELLS // (head.n_items * _EPOCHS)))
    mixer = head.mixer
    optimizer = torch.optim.AdamW(mixer.parameters(), lr=_RATE, weight_decay=_DECAY, fused=True)
    path = folder / "mixer.safetensors"
    position = checkpoint.load(path, mixer, optimizer)
    losses = [float(loss) for loss in position["losses"].split()] if position else []
    if not losses and len(held):
        mixer.begin(*head.read(held.sample(_FIRST_GROUPS).histories), head.channels.item_features, start)
    while len(held) and len(losses) < _EPOCHS:
        losses.append(_epoch(head, optimizer, held, seed, len(losses)))
        checkpoint.save(path, mixer, optimizer, {"losses": " ".join(map(repr, losses))})
    mixer.eval().requires_grad_(requires_grad=False)
    log.info("mixer fitted on %d groups, loss %s", len(held), ", ".join(f"{loss:.4f}" for loss in losses))
    return losses


def _epoch(head: MixedHead, optimizer: torch.optim.Optimizer, held: Examples, seed: int, number: int) -> float:
    size = max(1, min(_BATCH, len(held) * _EPOCHS // _FEWEST_STEPS, _BATCH_CELLS // head.n_items))
    order = np.random.default_rng([seed, number]).permutation(len(held))
    starts = range(0, len(order), size)
    items = head.channels.item_features
    total = 0.0
    for place, start in enumerate(starts):
        step, steps = number * len(starts) + place, _EPOCHS * len(starts)
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / _WARM_STEPS) * (1 - step / steps)
        part = held.take(np.sort(order[start : start + size]))
        signals, rows = (tensor.clone() for tensor in head.read(part.histories))
        logits = head.mixer(signals, rows, items)
        loss = grouped_cross_entropy(logits, torch.from_numpy(part.owner), torch.from_numpy(part.targets))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(part.targets)
    return total / len(held.targets)
