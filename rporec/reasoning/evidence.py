"""Facts of the training data that a composed thought may rest on: what was bought after an item, in how many events.

An event (one user's basket at one time) counts once, however many lines it has, so that a row's own event can be taken
out of its own evidence exactly. Ranking uses decayed counts instead (`rporec.transitions`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence

_REACH = 3


class FollowCounts:
    """In how many events an item was bought after another one (among the buyer's last three).

    Args:
        counts: events by item and follower.
        hold_asker: whether the events that ask were counted too, so that each is taken out of its own evidence.
    """

    def __init__(self, counts: dict[int, Counter[int]], *, hold_asker: bool = True) -> None:
        self._counts, self._hold_asker = counts, hold_asker

    @staticmethod
    def fit(events: Iterable[tuple[Sequence[int], Sequence[int]]]) -> "FollowCounts":
        """Count over events.

        Args:
            events: (history oldest first, targets of the basket) of each event of the fit slice.
        """
        counts: dict[int, Counter[int]] = {}
        for history, targets in events:
            bought = set(targets)
            for item in set(history[-_REACH:]):
                counts.setdefault(item, Counter()).update(bought)
        return FollowCounts(counts)

    def for_unseen(self) -> "FollowCounts":
        """Return the same counts for rows that were not counted: nothing of theirs is in them to be taken out."""
        return FollowCounts(self._counts, hold_asker=False)

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
