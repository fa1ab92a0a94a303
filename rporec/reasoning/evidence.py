"""Facts of the training data that thoughts and prompts may rest on: what was bought after an item, in how many events.

An event (one user's basket at one time) counts once, however many lines it has, so that a row's own event can be taken
out of its own evidence exactly. Ranking uses decayed counts instead (`rporec.transitions`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

REACH = 3  # newest items of a history that are taken to lead to the next
_DECAY = 0.5  # of what counts, one item further back

Own = Sequence[tuple[Sequence[int], Sequence[int]]]  # events as (history, targets)


class FollowCounts:
    """In how many events an item was bought after another one (among the buyer's last three).

    Args:
        counts: events by item and follower.
        sold: events by item bought.
        hold_asker: whether the events that ask were counted too, so that each is taken out of its own evidence.
    """

    def __init__(self, counts: Mapping[int, Counter[int]], sold: Mapping[int, int], *, hold_asker: bool = True) -> None:
        self._counts, self._sold, self._hold_asker = counts, sold, hold_asker

    @staticmethod
    def fit(events: Iterable[tuple[Sequence[int], Sequence[int]]]) -> "FollowCounts":
        """Count over events.

        Args:
            events: (history oldest first, targets of the basket) of each event.
        """
        counts: dict[int, Counter[int]] = {}
        sold: Counter[int] = Counter()
        for history, targets in events:
            bought = set(targets)
            sold.update(bought)
            for item in set(history[-REACH:]):
                counts.setdefault(item, Counter()).update(bought)
        return FollowCounts(counts, sold)

    def for_unseen(self) -> "FollowCounts":
        """Return the same counts for rows that were not counted: nothing of theirs is in them to be taken out."""
        return FollowCounts(self._counts, self._sold, hold_asker=False)

    def after(self, item: int, own: Own = ()) -> dict[int, int]:
        """Return how many events each item followed `item` in, ties and order free of set order.

        Args:
            item: an item index.
            own: the asking row's own events, taken out of the counts if they hold them.
        """
        counts = self._counts.get(item, Counter())
        taken: Counter[int] = Counter()
        for history, targets in own if self._hold_asker else ():
            if item in history[-REACH:]:
                taken.update(set(targets))
        left = {follower: counts[follower] - taken[follower] for follower in sorted(counts)}
        return {follower: count for follower, count in left.items() if count > 0}

    def often_after(self, history: Sequence[int], most: int, own: Own = ()) -> list[tuple[int, int]]:
        """Return what most often followed the newest items of a history, with how many times, best first.

        A follower of the newest item weighs 1, of the one before 1/2, of the third 1/4; ties: what sells more, then
        the lower index. An event after two of the items counts twice.

        Args:
            history: item indices, oldest first.
            most: items wanted.
            own: as in `after`.
        """
        weights: Counter[int] = Counter()
        times: Counter[int] = Counter()
        for back, item in enumerate(dict.fromkeys(reversed(history[-REACH:]))):
            for follower, count in self.after(item, own).items():
                weights[follower] += count * _DECAY**back  # type: ignore[assignment]
                times[follower] += count
        sold = Counter(item for _, targets in (own if self._hold_asker else ()) for item in set(targets))
        best = sorted(weights, key=lambda item: (-weights[item], sold[item] - self._sold.get(item, 0), item))
        return [(item, times[item]) for item in best[:most]]

    def arrays(self, n_items: int) -> dict[str, np.ndarray]:
        """Return the counts as arrays: `pairs` [P, 3] int32 of item, follower and events, and `sold` [N] int32."""
        pairs = [
            (item, follower, count)
            for item, followers in sorted(self._counts.items())
            for follower, count in sorted(followers.items())
        ]
        sold = np.array([self._sold.get(item, 0) for item in range(n_items)], dtype=np.int32)
        return {"pairs": np.array(pairs, dtype=np.int32).reshape(-1, 3), "sold": sold}

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray]) -> "FollowCounts":
        """Return the counts that `arrays` gave, for rows that were not counted."""
        counts: dict[int, Counter[int]] = {}
        for item, follower, count in arrays["pairs"].tolist():
            counts.setdefault(item, Counter())[follower] = count
        return FollowCounts(counts, dict(enumerate(arrays["sold"].tolist())), hold_asker=False)
