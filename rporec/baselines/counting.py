"""Rankers that only count: popularity, and Markov (decayed transition counts, ties broken by popularity)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from rporec.evaluation.metrics import ndcg, rank_targets
from rporec.rechead.examples import Examples
from rporec.rechead.head import HALF_LIVES, Histories, count
from rporec.transitions import Transitions

CUTOFF = 10
DECAYS = (0.1, 0.3, 0.5, 0.8)
_CELLS = 1 << 23  # scores held at once


@dataclass(frozen=True)
class Popularity:
    """Ranks by how often an item was a target, the same for everyone.

    Args:
        counts: [N] float32.
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


def choose_counting(train: Examples, valid: Examples, n_items: int) -> tuple[float, float | None]:
    """Return the decay and half-life whose Markov ranker has the best NDCG@10 on `valid` (ties: the first)."""
    found = []
    tried = list(product(DECAYS, HALF_LIVES))
    for decay, half_life in tried:
        ranker = Markov(count(train, n_items, decay, half_life))
        ranks = rank_targets(ranker.scores(valid.histories), valid.owner, valid.targets)
        found.append(float(ndcg(ranks, CUTOFF).mean()))
    return tried[int(np.argmax(found))]


def _places(counts: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """Return each item's place in ascending order of (count, popularity), [N]; equal pairs share a place."""
    order = np.lexsort((popularity, counts))
    ahead, behind = order[:-1], order[1:]
    rises = (counts[behind] != counts[ahead]) | (popularity[behind] != popularity[ahead])
    places = np.empty(len(counts), dtype=np.float32)
    places[order] = np.concatenate([[0], np.cumsum(rises)])
    return places
