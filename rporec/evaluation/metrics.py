"""Full-catalogue ranks and ranking metrics with their expected value under ties.

For counting where the target stands among all N items and turning that into HR, NDCG and MRR. Not for comparing rankers
(compare.py) and not for sampling candidates: every rank here is over the whole catalogue.

A target with `above` items scored strictly higher and `ties` other items of the same score stands, for a fair coin, at
each position above+1 .. above+ties+1 equally often. Every metric is the mean over these positions, so a tie never
helps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

# Score cells compared at once in rank_targets: bounds the temporary arrays to about 100 MB whatever the catalogue.
_CELLS = 1 << 24


@dataclass(frozen=True)
class Ranks:
    """Where n targets stand: above [n] items scored strictly higher, ties [n] other items with the same score."""

    above: npt.NDArray[np.int64]
    ties: npt.NDArray[np.int64]


def rank_targets(scores: Floats, group_pos: Ints, targets: Ints) -> Ranks:
    """Rank each row's target within its group's scores over all N items.

    Args:
        scores: [E, N], one line per group; higher is better; -inf means "cannot be recommended".
        group_pos: [n] line of `scores` that each row uses (rows of one basket share one).
        targets: [n] item index in 0..N-1.

    Raises:
        ValueError: a score is NaN (it compares as neither higher nor equal, so the target would seem to win).
    """
    if np.isnan(scores).any():
        raise ValueError("a ranker gave NaN scores; they cannot be ranked")
    n = len(targets)
    above, ties = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    step = max(1, _CELLS // max(1, scores.shape[1]))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        lines = scores[group_pos[rows]]  # [b, N]
        own = lines[np.arange(len(lines)), targets[rows]][:, None]  # [b, 1]
        above[rows] = np.count_nonzero(lines > own, axis=1)
        ties[rows] = np.count_nonzero(lines == own, axis=1) - 1
    return Ranks(above, ties)


def hit_rate(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Return each row's expected HR@k in [0, 1]: the share of the tied positions that are within the first k."""
    within = np.clip(k - ranks.above, 0, ranks.ties + 1)
    return within / (ranks.ties + 1)


def ndcg(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Return each row's expected NDCG@k in [0, 1]: with one target, 1/log2(rank + 1) within the first k."""
    gains = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))])  # gains[r]: sum over positions 1..r
    first, last = np.minimum(ranks.above, k), np.minimum(ranks.above + ranks.ties + 1, k)
    return np.asarray((gains[last] - gains[first]) / (ranks.ties + 1), dtype=np.float64)


def reciprocal_rank(ranks: Ranks) -> npt.NDArray[np.float64]:
    """Return each row's expected 1/rank in (0, 1], over the whole catalogue (no cut-off)."""
    last = ranks.above + ranks.ties + 1
    worst = int(last.max(initial=0))
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, worst + 1))])
    return np.asarray((harmonic[last] - harmonic[ranks.above]) / (ranks.ties + 1), dtype=np.float64)


def metric_rows(ranks: Ranks, ks: Sequence[int]) -> dict[str, npt.NDArray[np.float64]]:
    """Return each metric per row, [n] each: hr@k and ndcg@k for every cut-off, then mrr."""
    rows = {f"hr@{k}": hit_rate(ranks, k) for k in ks}
    rows |= {f"ndcg@{k}": ndcg(ranks, k) for k in ks}
    rows["mrr"] = reciprocal_rank(ranks)
    return rows


def summarise(rows: dict[str, npt.NDArray[np.float64]]) -> dict[str, float | int | None]:
    """Return the mean of each metric over its rows, and `n`; without rows every mean is None (unknown, not zero)."""
    n = len(next(iter(rows.values())))
    means: dict[str, float | int | None] = {name: float(values.mean()) if n else None for name, values in rows.items()}
    means["n"] = n
    return means
