"""Item-item rankers: EASE^R (Steck, WWW 2019, arXiv 1905.03375), and cosine neighbours where EASE cannot be computed.

A row is one decayed history with its target; what is learnt is which items stand in one row, in whatever order (order
is what Markov and the towers add). EASE inverts a dense N x N matrix, N^3 steps: above `most_items` the ranker is the
sparse cosine item-kNN instead (Sarwar et al., WWW 2001), which was worse on valid (Industrial, NDCG@10 .082 to .085).

Tuning budget, on valid: 2 decays of the rows x 3 strengths (EASE: ridge, kNN: shrinkage) x 3 decays of the history
that is read, so 18 rankers from 6 fits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
import torch

from rporec.baselines.choice import quality
from rporec.rechead.examples import Examples
from rporec.rechead.head import Histories
from rporec.transitions import weigh

log = logging.getLogger(__name__)
DECAYS = (0.5, 0.8)
RIDGES = (20.0, 100.0, 500.0)
SHRINKAGES = (5.0, 20.0, 100.0)
READ_DECAYS = (0.3, 0.5, 0.8)
_NEIGHBOURS = 200  # kept an item: what a sparse matrix of a large catalogue can hold
_TIE = 1e-3  # of the share of the most popular item: orders items without evidence, hardly moves the others

Weights: TypeAlias = np.ndarray | sp.csr_matrix
Solver = Callable[[sp.csr_matrix, float], Weights]


@dataclass(frozen=True)
class ItemItem:
    """Ranks by summed weights from the history's items to every item; popularity orders what no weight reaches.

    Args:
        weights: [N, N] float32, from the item in the row to the item in the column.
        popularity: [N] float32, how often an item was a target.
        decay: of the history that is read, a step back.
    """

    weights: Weights
    popularity: np.ndarray
    decay: float

    def scores(self, histories: Histories) -> np.ndarray:
        """Return summed weights, [B, N] float32."""
        found = weigh(histories, len(self.popularity), self.decay) @ self.weights
        dense = found.toarray() if sp.issparse(found) else found
        prior = self.popularity * (_TIE / max(1.0, float(self.popularity.max(initial=0.0))))
        return np.asarray(dense + prior, dtype=np.float32)


@dataclass(frozen=True)
class Settings:
    """What was chosen on valid: decay of the rows, strength of the solver, decay of the history that is read."""

    decay: float
    strength: float
    read_decay: float


def together(examples: Examples, n_items: int, decay: float) -> sp.csr_matrix:
    """Return [n, N] sparse float32: each row's target weighs 1, the newest item of its history `decay`, and so on."""
    places = np.arange(len(examples.targets)), examples.targets
    hit = sp.csr_matrix((np.ones(len(examples.targets), np.float32), places), (len(examples.targets), n_items))
    return (weigh(examples.histories, n_items, decay)[examples.owner] * np.float32(decay) + hit).tocsr()


def ease(rows: sp.csr_matrix, ridge: float) -> np.ndarray:
    """Return B [N, N] with B_ij = -P_ij / P_jj and B_jj = 0, where P = (X'X + ridge I)^-1.

    Source: Steck 2019, equation 8: the closed form of ridge regression of every item on all others.

    Args:
        rows: X [n, N].
        ridge: lambda, above 0.
    """
    gram = torch.from_numpy((rows.T @ rows).toarray())  # [N, N]
    gram.diagonal().add_(ridge)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    weights = inverse / -inverse.diagonal()  # each column by its own P_jj
    weights.fill_diagonal_(0.0)
    return weights.numpy()


def neighbours(rows: sp.csr_matrix, shrinkage: float) -> sp.csr_matrix:
    """Return the shrunk cosine x_i'x_j / (|x_i| |x_j| + shrinkage) of every two columns, the best 200 an item.

    Args:
        rows: X [n, N].
        shrinkage: at least 0; the higher, the less is believed of two items that were seldom seen.
    """
    gram = (rows.T @ rows).tocoo()
    lengths = np.sqrt(gram.diagonal())  # [N]
    cosine = gram.data / (lengths[gram.row] * lengths[gram.col] + np.float32(shrinkage))
    kept = gram.row != gram.col
    row, column, cosine = gram.row[kept], gram.col[kept], cosine[kept]
    order = np.lexsort((column, -cosine, row))
    row, column, cosine = row[order], column[order], cosine[order]
    best = np.arange(len(row)) - np.searchsorted(row, row) < _NEIGHBOURS  # place among the item's own
    return sp.csr_matrix((cosine[best], (row[best], column[best])), shape=gram.shape, dtype=np.float32)


def solver(n_items: int, most_items: int) -> tuple[Solver, tuple[float, ...]]:
    """Return how the weights are found in a catalogue of N items, and the strengths that are tried."""
    if n_items <= most_items:
        return ease, RIDGES
    log.info("%d items are too many for EASE (at most %d): cosine neighbours take its place", n_items, most_items)
    return neighbours, SHRINKAGES


def choose_item_item(train: Examples, valid: Examples, n_items: int, most_items: int) -> Settings:
    """Return the settings whose ranker, fitted on `train`, has the best NDCG@10 on `valid` (ties: the first)."""
    solve, strengths = solver(n_items, most_items)
    found: list[tuple[float, Settings]] = []
    for decay in DECAYS:
        rows = together(train, n_items, decay)
        for strength in strengths:
            weights = solve(rows, strength)
            for read in READ_DECAYS:
                ranker = ItemItem(weights, _popularity(train, n_items), read)
                found.append((quality(ranker, valid, n_items), Settings(decay, strength, read)))
    return max(found, key=lambda pair: pair[0])[1]


def fit_item_item(examples: Examples, n_items: int, most_items: int, settings: Settings) -> ItemItem:
    """Fit the ranker with settings that were chosen before."""
    solve, _ = solver(n_items, most_items)
    weights = solve(together(examples, n_items, settings.decay), settings.strength)
    return ItemItem(weights, _popularity(examples, n_items), settings.read_decay)


def _popularity(examples: Examples, n_items: int) -> np.ndarray:
    return np.bincount(examples.targets, minlength=n_items).astype(np.float32)
