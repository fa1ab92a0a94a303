"""Rows as the Rechead trains on them: groups that share one history, each with its targets.

Not a table: see `rporec.tables.ROWS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Examples:
    """E groups and their n rows.

    Args:
        groups: [E] group numbers, ascending.
        histories: E arrays of item indices, oldest first; may be empty.
        owner: [n] place of each row's group in `groups`.
        targets: [n] item indices.
    """

    groups: np.ndarray
    histories: list[np.ndarray]
    owner: np.ndarray
    targets: np.ndarray

    @staticmethod
    def from_rows(rows: pl.DataFrame) -> Examples:
        """Build from rows of the ROWS table, in the order of groups and then of row_id."""
        lines = rows.select("group", "row_id", "target").sort("group", "row_id")
        firsts = rows.select("group", "history").unique("group", keep="first").sort("group")
        groups = firsts["group"].to_numpy()
        return Examples(
            groups.astype(np.int64),
            [np.asarray(history, dtype=np.int64) for history in firsts["history"].to_list()],
            np.searchsorted(groups, lines["group"].to_numpy()).astype(np.int64),
            lines["target"].to_numpy().astype(np.int64),
        )

    def __len__(self) -> int:
        """Return the number of groups, E."""
        return len(self.histories)

    @property
    def longest(self) -> int:
        """Items of the longest history, at least 1."""
        return max((len(history) for history in self.histories), default=1) or 1

    def take(self, places: Sequence[int] | np.ndarray) -> Examples:
        """Return the groups at these places (ascending) with all their rows."""
        places = np.asarray(places, dtype=np.int64)
        moved = np.full(len(self), -1, dtype=np.int64)
        moved[places] = np.arange(len(places))
        kept = moved[self.owner] >= 0
        return Examples(
            self.groups[places], [self.histories[p] for p in places], moved[self.owner[kept]], self.targets[kept]
        )

    def readable(self) -> Examples:
        """Return the groups that have a history at all."""
        return self.take(np.flatnonzero([len(history) > 0 for history in self.histories]))

    def sample(self, most: int) -> Examples:
        """Return at most so many groups, evenly spread."""
        if len(self) <= most:
            return self
        return self.take(np.unique(np.linspace(0, len(self) - 1, most).astype(np.int64)))
