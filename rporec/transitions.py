"""Transition counts: which item followed which, weighted by how far back it stood.

A history item at distance d before the target (1 = just before) counts decay^(d-1); a row that is one half-life older
than the newest counts half, because what sells and what follows it drift. Rows of one basket share their
history, so no line is evidence for another of its basket. Not a ranker: `rporec.baselines.counting` breaks the ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from rporec.files import atomic_file

History = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Transitions:
    """Counts of item pairs and of targets.

    Args:
        counts: [N, N] sparse float32; row = item of the history, column = target.
        popularity: [N] float32, how often an item was a target, weighted by age as the counts are.
        decay: weight of one step further back, in (0, 1].
        half_life: of a row's weight, in shares of all rows; None = all rows count alike.
    """

    counts: sp.csr_matrix
    popularity: np.ndarray
    decay: float
    half_life: float | None = None

    @staticmethod
    def fit_groups(
        histories: Sequence[History],
        rows: tuple[np.ndarray, np.ndarray],
        n_items: int,
        decay: float,
        half_life: float | None = None,
    ) -> Transitions:
        """Count over groups of rows that share a history; the same as with one group a row, but faster.

        Args:
            histories: one a group, item indices, oldest first; may be empty. Groups in time order.
            rows: [n] place of each row's group, and [n] its target; in time order.
            n_items: N.
            decay: in (0, 1].
            half_life: in shares of the n rows, above 0; None = all rows count alike.
        """
        owner, targets = rows
        weights = recency(len(targets), half_life)
        seen = weigh(histories, n_items, decay)  # [E, N]
        hit = sp.csr_matrix((weights.astype(np.float32), (owner, targets)), shape=(len(histories), n_items))
        counts = (seen.T @ hit).tocsr().astype(np.float32)
        counts.sort_indices()
        popularity = np.bincount(targets, weights=weights, minlength=n_items).astype(np.float32)
        return Transitions(counts, popularity, decay, half_life)

    @property
    def n_items(self) -> int:
        """Number of items, N."""
        return int(self.counts.shape[0])

    def scores(self, histories: Sequence[History]) -> np.ndarray:
        """Return decayed counts of what followed the items of each history, [B, N] float32, at least 0."""
        found = weigh(histories, self.n_items, self.decay) @ self.counts
        return np.asarray(found.toarray(), dtype=np.float32)

    def log_probabilities(self, histories: Sequence[History], prior: float) -> np.ndarray:
        """Return log P(next | history) with `prior` pseudo-counts spread by popularity, [B, N] float32, finite.

        An item that never was a target keeps one count; a history without evidence gives the popularity.
        """
        return log_smoothed(self.scores(histories), self.popularity, prior)

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        tensors = {
            "data": self.counts.data,
            "indices": self.counts.indices.astype(np.int64),
            "indptr": self.counts.indptr.astype(np.int64),
            "popularity": self.popularity,
            "decay": np.array([self.decay], dtype=np.float64),
            "half_life": np.array([] if self.half_life is None else [self.half_life], dtype=np.float64),
        }
        with atomic_file(path) as temporary:
            save_file(tensors, temporary)

    @staticmethod
    def load(path: Path) -> Transitions:
        """Read what `save` wrote."""
        stored = load_file(path)
        n_items = len(stored["popularity"])
        counts = sp.csr_matrix((stored["data"], stored["indices"], stored["indptr"]), shape=(n_items, n_items))
        half_life = float(stored["half_life"][0]) if len(stored["half_life"]) else None
        return Transitions(counts, stored["popularity"], float(stored["decay"][0]), half_life)


def recency(rows: int, half_life: float | None) -> np.ndarray:
    """Return the weights of rows in time order, [rows] float64 in (0, 1]; None = all rows count alike.

    A row that is one half-life (a share of all rows) older than the newest counts half.
    """
    if half_life is None:
        return np.ones(rows)
    age = (rows - 1 - np.arange(rows)) / max(1, rows)
    weights: np.ndarray = np.power(0.5, age / half_life)
    return weights


def log_smoothed(counts: np.ndarray, popularity: np.ndarray, prior: float) -> np.ndarray:
    """Turn counts [B, N] float32 into log-probabilities in place, with `prior` pseudo-counts spread by popularity [N].

    An item that never was a target keeps one count; a line without counts gives the popularity.
    """
    base = (popularity + 1) / (popularity.sum() + len(popularity))  # [N]
    total = counts.sum(axis=1, keepdims=True)
    counts += prior * base
    counts /= total + prior
    log_p: np.ndarray = np.log(counts, out=counts)
    return log_p


def weigh(histories: Sequence[History], n_items: int, decay: float) -> sp.csr_matrix:
    """Return [B, N] sparse float32: the newest item weighs 1, each step back a factor `decay`; repeats add up."""
    lengths = np.fromiter((len(h) for h in histories), dtype=np.int64, count=len(histories))
    if not lengths.sum():
        return sp.csr_matrix((len(histories), n_items), dtype=np.float32)
    items = np.concatenate([np.asarray(h, dtype=np.int64) for h in histories])
    back = np.concatenate([np.arange(length - 1, -1, -1) for length in lengths])
    rows = np.repeat(np.arange(len(histories)), lengths)
    weights = np.power(decay, back).astype(np.float32)
    return sp.csr_matrix((weights, (rows, items)), shape=(len(histories), n_items))
