"""What counts and texts say about the next item, beside the history tower: seven signals a history and item.

Each is exact where a learned tower blurs: what followed and preceded what, what is like it in text, what is held
already, what sells lately. Counted on one set of rows and frozen. How much each counts, and when, is learned in
`rporec.rechead.mixer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from rporec.encode.vectors import unit
from rporec.files import atomic_file
from rporec.rechead.examples import Examples
from rporec.rechead.products import gather
from rporec.transitions import Transitions, log_smoothed, recency, weigh

NAMES = ("followed", "preceded", "kin_followed", "alike", "held", "sells_lately", "sells_now")
WINDOWS = (0.1, 0.02)  # half-lives of the popularity that `sells_lately` and `sells_now` see, in shares of all rows
ITEM_FEATURES = 3
_TASTE_DECAY = 0.6  # a step back, of the history's text: taste lasts longer than what follows what
_KIN = 20  # nearest items by text that share what followed
_CHUNK = 1024  # items whose neighbours are looked for together
_FEW = 5  # sales


@dataclass(frozen=True)
class Channels:
    """The frozen statistics.

    Args:
        transitions: what followed what.
        sold: [N] float32, how often each item was a target.
        recent: [2, N] float32, the same with recent rows weighing more (`WINDOWS`).
        items: [N, T] float32 text vectors of length 1, or 0 without text.
        kin: [N, N] sparse float32, rows of weights that sum to 1 over an item's nearest items by text.
    """

    transitions: Transitions
    sold: np.ndarray
    recent: np.ndarray
    items: np.ndarray
    kin: sp.csr_matrix

    @staticmethod
    def count(examples: Examples, transitions: Transitions, items: Tensor, kin: sp.csr_matrix) -> Channels:
        """Count on rows in time order; `transitions` were counted on the same rows, `items` as the class wants them."""
        n_items, targets = transitions.n_items, examples.targets
        weights = [recency(len(targets), window) for window in WINDOWS]
        recent = [np.bincount(targets, weights=one, minlength=n_items) for one in weights]
        sold = np.bincount(targets, minlength=n_items).astype(np.float32)
        return Channels(transitions, sold, np.stack(recent).astype(np.float32), items.numpy(), kin)

    @cached_property
    def _preceding(self) -> sp.csr_matrix:
        return self.transitions.counts.T.tocsr()

    def signals(
        self,
        histories: Sequence[np.ndarray],
        prior: float,
        alike: Tensor | None = None,
        out: np.ndarray | None = None,
    ) -> Tensor:
        """Return the signals of `NAMES`, [7, B, N] float32, finite.

        Args:
            histories: B arrays of item indices, oldest first; may be empty.
            prior: pseudo-counts behind the probabilities.
            alike: [B, N] products of `taste` with all items, where they are known.
            out: [7, B, N] where they are written to; None = an array of their own.
        """
        signals = np.empty((len(NAMES), len(histories), len(self.sold)), np.float32) if out is None else out
        held, counted = self._of_one(histories[0]) if len(histories) == 1 else self._of_many(histories)
        for place, one in enumerate(counted):
            signals[place] = log_smoothed(one, self.transitions.popularity, prior)
        signals[3] = self.taste(histories) @ self.items.T if alike is None else alike.numpy()
        signals[4] = held
        signals[5:] = self._lately[:, None]
        return torch.from_numpy(signals)

    def taste(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Return the text of each history as one direction, [B, T] float32, of length 1 or 0."""
        if len(histories) != 1:
            return unit(np.asarray(weigh(histories, len(self.sold), _TASTE_DECAY) @ self.items))
        weights = np.power(_TASTE_DECAY, _back(histories[0])).astype(np.float32)
        return unit((weights @ self.items[histories[0]])[None])

    def _of_many(self, histories: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return what is held [B, N] and the three counted signals, each [B, N]."""
        held = weigh(histories, len(self.sold), self.transitions.decay)  # [B, N]
        followed = held @ self.transitions.counts
        counted = [followed.toarray(), (held @ self._preceding).toarray(), (followed @ self.kin).toarray()]
        return held.toarray(), counted

    def _of_one(self, history: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        weights = np.power(self.transitions.decay, _back(history))
        followed = gather(self.transitions.counts, history, weights)  # [N]
        preceded = gather(self._preceding, history, weights)
        evident = np.flatnonzero(followed)
        kin = gather(self.kin, evident, followed[evident])
        held = np.bincount(history, weights=weights, minlength=len(self.sold))
        return held.astype(np.float32)[None], [one.astype(np.float32)[None] for one in (followed, preceded, kin)]

    @cached_property
    def _lately(self) -> np.ndarray:
        shares: np.ndarray = self.recent / self.recent.sum(axis=1, keepdims=True).clip(min=1)
        return np.log(shares * len(self.sold) + 0.1)

    @cached_property
    def followers(self) -> np.ndarray:
        """How much evidence there is of what follows each item, [N] float32, at least 0."""
        return np.asarray(self.transitions.counts.sum(axis=1), dtype=np.float32).ravel()

    @cached_property
    def item_features(self) -> Tensor:
        """What the mixer knows of each item, [N, 3]: log of its sales, never sold, hardly sold."""
        features = [np.log1p(self.sold), self.sold == 0, self.sold < _FEW]
        return torch.from_numpy(np.stack(features, axis=1).astype(np.float32))

    def save(self, folder: Path) -> None:
        """Write transitions.safetensors and channels.safetensors into `folder`."""
        self.transitions.save(folder / "transitions.safetensors")
        tensors = {
            "sold": self.sold,
            "recent": self.recent,
            "kin_data": self.kin.data,
            "kin_indices": self.kin.indices.astype(np.int64),
            "kin_indptr": self.kin.indptr.astype(np.int64),
        }
        with atomic_file(folder / "channels.safetensors") as temporary:
            save_file(tensors, temporary)

    @staticmethod
    def load(folder: Path, items: Tensor) -> Channels:
        """Read what `save` wrote; `items` are the text vectors [N, T]."""
        stored = load_file(folder / "channels.safetensors")
        shape = (len(items), len(items))
        kin = sp.csr_matrix((stored["kin_data"], stored["kin_indices"], stored["kin_indptr"]), shape=shape)
        transitions = Transitions.load(folder / "transitions.safetensors")
        return Channels(transitions, stored["sold"], stored["recent"], items.numpy(), kin)


def _back(history: np.ndarray) -> np.ndarray:
    """Return how many steps back each item stands, the newest 0."""
    return np.arange(len(history) - 1, -1, -1)


def nearest(items: Tensor) -> sp.csr_matrix:
    """Return `Channels.kin` of text vectors [N, T]: squared cosines of the nearest, an item never its own kin."""
    vectors = unit(items.numpy())
    n_items = len(vectors)
    most = min(_KIN, n_items - 1)
    if most < 1:
        return sp.csr_matrix((n_items, n_items), dtype=np.float32)
    found, weights = [], []
    for start in range(0, n_items, _CHUNK):
        cosines = vectors[start : start + _CHUNK] @ vectors.T  # [c, N]
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -1.0
        best = np.sort(np.argpartition(-cosines, most - 1, axis=1)[:, :most], axis=1)
        found.append(best)
        weights.append(np.square(np.take_along_axis(cosines, best, axis=1).clip(min=0)))
    weight = np.concatenate(weights)
    weight /= weight.sum(axis=1, keepdims=True).clip(min=1e-9)
    starts = np.arange(0, n_items * most + 1, most)
    return sp.csr_matrix(
        (weight.astype(np.float32).ravel(), np.concatenate(found).ravel(), starts), shape=(n_items, n_items)
    )
