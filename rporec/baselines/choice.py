"""How baselines are chosen: mean NDCG@10 on held-out rows, computed some groups at a time.

Not the evaluation (`rporec.evaluation`), which scores what was chosen on rows that chose nothing.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from rporec.evaluation.metrics import ndcg, rank_targets
from rporec.rechead.examples import Examples
from rporec.rechead.head import Histories

CUTOFF = 10  # chosen by the metric that the gates read
_CELLS = 1 << 23  # scores held at once: a large catalogue times all of valid does not fit in memory


class Ranker(Protocol):
    """Scores the whole catalogue from histories."""

    def scores(self, histories: Histories) -> np.ndarray:
        """Return scores [B, N] float32, higher is better."""


def quality(ranker: Ranker, held: Examples, n_items: int) -> float:
    """Return the mean NDCG@10 over the n held-out rows, 0-1; 0 without rows, so that the first of a grid is taken.

    Args:
        ranker: fitted on earlier rows.
        held: n rows in E groups.
        n_items: N, which bounds how many groups are scored at once.
    """
    step = max(1, _CELLS // n_items)
    order = np.argsort(held.owner, kind="stable")
    bounds = np.searchsorted(held.owner[order], np.arange(0, len(held) + step, step))
    total = 0.0
    for part, start in enumerate(range(0, len(held), step)):
        rows = order[bounds[part] : bounds[part + 1]]
        scores = ranker.scores(held.histories[start : start + step])
        total += float(ndcg(rank_targets(scores, held.owner[rows] - start, held.targets[rows]), CUTOFF).sum())
    return total / max(1, len(held.targets))
