"""What is watched of requests beside what was trained on: bands of item popularity, steps of history length.

Bands follow the training data's purchases alone, so that a package says what share of purchases fell to each; which
items a band holds never changes while a model serves. The counters are bento/metrics.py, the comparison is
infra/monitor.py.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

RANKS = (0.01, 0.05, 0.1, 0.2, 0.5)  # share of the items, most bought first; as drift's `item_popularity`
NAMES = ("top 1%", "1-5%", "5-10%", "10-20%", "20-50%", "rest")
LENGTHS = (0, 1, 2, 3, 5, 10, 20, 50)  # items of a history; a value at a step lies in the band below


def bands(popularity: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return [N] the band (index into `NAMES`) of each item.

    Args:
        popularity: [N] purchases of each item in the training data; of equals the earlier item ranks higher.
    """
    rank = np.empty(len(popularity), dtype=np.int64)
    rank[np.argsort(-popularity, kind="stable")] = np.arange(len(popularity))
    cuts = np.ceil(np.asarray(RANKS) * len(popularity)).astype(np.int64)
    return np.searchsorted(cuts, rank, side="right")


def shares(popularity: npt.NDArray[np.float64]) -> list[float]:
    """Return the share of purchases that fell to each band."""
    counted = np.bincount(bands(popularity), weights=popularity, minlength=len(NAMES))
    return [float(share) for share in counted / max(counted.sum(), 1.0)]


def length_shares(lengths: npt.NDArray[np.int64]) -> list[float]:
    """Return the share of histories in each band of `LENGTHS`, the last one open."""
    cuts = [-1, *LENGTHS]
    counted = [int(((lengths > low) & (lengths <= high)).sum()) for low, high in pairwise(cuts)]
    counted.append(int((lengths > LENGTHS[-1]).sum()))
    return [count / max(len(lengths), 1) for count in counted]
