"""Rankers that only count: popularity, and Markov (decayed transition counts, ties broken by popularity).

Tuning budget, on valid: popularity, 4 half-lives of a row's weight; Markov, 4 decays x 3 half-lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from rporec.baselines.choice import quality
from rporec.rechead.examples import Examples
from rporec.rechead.head import HALF_LIVES, Histories, count
from rporec.transitions import Transitions, recency

DECAYS = (0.1, 0.3, 0.5, 0.8)
RECENCIES = (None, 1.0, 0.3, 0.1)  # half-lives of popularity, shares of the rows: what sells drifts faster than pairs
_CELLS = 1 << 23  # scores held at once


@dataclass(frozen=True)
class Popularity:
    """Ranks by how often an item was a target, the same for everyone.

    Args:
        counts: [N] float32, recent rows may weigh more.
    """

    counts: np.ndarray

    def scores(self, histories: Histories) -> np.ndarray:
        """Return counts, [B, N] float32."""
        return np.tile(self.counts, (len(histories), 1))


@dataclass(frozen=True)
class Markov:
    """Ranks by what followed the history's items, decayed by distance; popularity breaks ties and no more than that."""

    transitions: Transitions

    def scores(self, histories: Histories) -> np.ndarray:
        """Return places in each history's order, [B, N] float32: items of equal count and popularity share one.

        Places, not counts plus a small number: in float32 a small popularity is lost beside a large count.
        """
        found = np.empty((len(histories), self.transitions.n_items), dtype=np.float32)
        step = max(1, _CELLS // self.transitions.n_items)
        for start in range(0, len(histories), step):
            counts = self.transitions.scores(histories[start : start + step])
            for row, line in enumerate(counts):
                found[start + row] = _places(line, self.transitions.popularity)
        return found


def popular(examples: Examples, n_items: int, half_life: float | None) -> Popularity:
    """Count targets in time order; a row one half-life (a share of the rows) older than the newest counts half."""
    weights = recency(len(examples.targets), half_life)
    return Popularity(np.bincount(examples.targets, weights=weights, minlength=n_items).astype(np.float32))


def choose_recency(train: Examples, valid: Examples, n_items: int) -> float | None:
    """Return the half-life whose popularity, counted on `train`, has the best NDCG@10 on `valid` (ties: the first)."""
    return max(RECENCIES, key=lambda half_life: quality(popular(train, n_items, half_life), valid, n_items))


def choose_counting(train: Examples, valid: Examples, n_items: int) -> tuple[float, float | None]:
    """Return the decay and half-life whose Markov ranker has the best NDCG@10 on `valid` (ties: the first)."""

    def reached(pair: tuple[float, float | None]) -> float:
        return quality(Markov(count(train, n_items, *pair)), valid, n_items)

    return max(product(DECAYS, HALF_LIVES), key=reached)


def _places(counts: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """Return each item's place in ascending order of (count, popularity), [N]; equal pairs share a place."""
    order = np.lexsort((popularity, counts))
    ahead, behind = order[:-1], order[1:]
    rises = (counts[behind] != counts[ahead]) | (popularity[behind] != popularity[ahead])
    places = np.empty(len(counts), dtype=np.float32)
    places[order] = np.concatenate([[0], np.cumsum(rises)])
    return places
