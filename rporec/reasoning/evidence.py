"""Facts of the training data that thoughts and prompts may rest on: what was bought after an item, in how many events.

An event (one user's basket at one time) counts once, however many lines it has, so that a row's own event can be taken
out of its own evidence exactly. Ranking uses decayed counts instead (`rporec.transitions`).
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

REACH = 3  # newest items of a history that are taken to lead to the next
_DECAY = 0.5  # of what counts, one item further back


class FollowCounts:
    """In how many events an item was bought after another one (among the buyer's last three).

    Args:
        counts: events by item and follower.
        sold: events by item bought.
        hold_asker: whether the events that ask were counted too, so that each is taken out of its own evidence.
    """

    def __init__(self, counts: dict[int, Counter[int]], sold: Counter[int], *, hold_asker: bool = True) -> None:
        self._counts, self._sold, self._hold_asker = counts, sold, hold_asker

    @staticmethod
    def fit(events: Iterable[tuple[Sequence[int], Sequence[int]]]) -> "FollowCounts":
        """Count over events.

        Args:
            events: (history oldest first, targets of the basket) of each event.
        """
        found = FollowCounts({}, Counter())
        for history, targets in events:
            found.add(history, targets)
        return found

    def add(self, history: Sequence[int], targets: Sequence[int]) -> None:
        """Count one more event."""
        bought = set(targets)
        self._sold.update(bought)
        for item in set(history[-REACH:]):
            self._counts.setdefault(item, Counter()).update(bought)

    def for_unseen(self) -> "FollowCounts":
        """Return the same counts for rows that were not counted: nothing of theirs is in them to be taken out."""
        return FollowCounts(self._counts, self._sold, hold_asker=False)

    def after(self, item: int, event: Iterable[int] = ()) -> dict[int, int]:
        """Return how many events each item followed `item` in, ties and order free of set order.

        Args:
            item: an item index.
            event: targets of the asking row's own event, taken out of the counts if they hold it.
        """
        own = set(event) if self._hold_asker else set()
        counts = self._counts.get(item, Counter())
        left = {follower: counts[follower] - (follower in own) for follower in sorted(counts)}
        return {follower: count for follower, count in left.items() if count > 0}

    def often_after(self, history: Sequence[int], most: int) -> list[tuple[int, int]]:
        """Return what most often followed the newest items of a history, with how many times, best first.

        A follower of the newest item weighs 1, of the one before 1/2, of the third 1/4; ties: what sells more, then
        the lower index. An event after two of the items counts twice. Nothing is taken out.

        Args:
            history: item indices, oldest first.
            most: items wanted.
        """
        weights: dict[int, float] = {}
        times: Counter[int] = Counter()
        for back, item in enumerate(dict.fromkeys(reversed(history[-REACH:]))):
            for follower, count in self._counts.get(item, Counter()).items():
                weights[follower] = weights.get(follower, 0.0) + count * _DECAY**back
                times[follower] += count
        best = heapq.nsmallest(most, weights, key=lambda item: (-weights[item], -self._sold[item], item))
        return [(item, times[item]) for item in best]

    def arrays(self, n_items: int) -> dict[str, np.ndarray]:
        """Return the counts as arrays: `pairs` [P, 3] int32 of item, follower and events, and `sold` [N] int32."""
        pairs = [
            (item, follower, count)
            for item, followers in sorted(self._counts.items())
            for follower, count in sorted(followers.items())
        ]
        sold = np.array([self._sold[item] for item in range(n_items)], dtype=np.int32)
        return {"pairs": np.array(pairs, dtype=np.int32).reshape(-1, 3), "sold": sold}

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray]) -> "FollowCounts":
        """Return the counts that `arrays` gave, for rows that were not counted."""
        counts: dict[int, Counter[int]] = {}
        for item, follower, count in arrays["pairs"].tolist():
            counts.setdefault(item, Counter())[follower] = count
        return FollowCounts(counts, Counter(dict(enumerate(arrays["sold"].tolist()))), hold_asker=False)
