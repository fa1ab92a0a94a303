"""The heads of rankings that were computed already: most people ask again before they buy again.

A ranking hangs on the items that the model reads and on the reasoning alone, so its head serves any k and most filters;
a filter that leaves too little of it is answered by a scoring of the whole catalogue. Belongs to one model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rporec.reasoning.parse import Parsed
from rporec.recommender import Item

Key = tuple[tuple[int, ...], Parsed | None]
_MOST = 4096  # rankings kept; 200 items of each take 13 MB


@dataclass(frozen=True, slots=True)
class Shortlist:
    """The head of a ranking, best first.

    Args:
        items: [M] indices.
        scores: [M] their probabilities.
        whole: whether these are all items.
    """

    items: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    whole: bool

    def best(self, k: int, allowed: npt.NDArray[np.bool_] | None) -> list[tuple[int, float]] | None:
        """Return the k best allowed items with their scores, None where more would have to be known.

        Args:
            k: items wanted.
            allowed: [N] which items may be shown; None = all.
        """
        passing = np.arange(len(self.items)) if allowed is None else np.flatnonzero(allowed[self.items])
        if len(passing) < k and not self.whole:
            return None
        kept = passing[:k]
        return list(zip(self.items[kept].tolist(), self.scores[kept].tolist(), strict=True))


class Shortlists:
    """What is kept; the one asked for longest ago goes first. For several threads."""

    def __init__(self, most: int = _MOST) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[Key, Shortlist] = OrderedDict()

    def get(self, key: Key) -> Shortlist | None:
        """Return what is kept under a key."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def keep(self, key: Key, found: Shortlist) -> None:
        """Keep the head of a ranking."""
        with self._lock:
            self._kept[key] = found
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)


def named(found: Sequence[tuple[int, float]], item_ids: Sequence[str], titles: Sequence[str]) -> tuple[Item, ...]:
    """Return items as an answer tells them."""
    return tuple(Item(item_ids[item], titles[item], score) for item, score in found)
