"""What every source yields: two lazy tables of one form, whatever the files or the database looked like.

A value that cannot be read is null with a note, a row that cannot be read has a fault; both stay in the table.
What is a bad row is decided in `rporec.data.clean`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl

from rporec.config import IngestParams
from rporec.days import DAY, midnight
from rporec.tables import ORACLE, empty

_PLACE: dict[str, pl.DataType] = {
    "fault": pl.String(), "note": pl.String(), "file": pl.String(), "row": pl.Int64(),
}  # fmt: skip
RAW_INTERACTIONS: dict[str, pl.DataType] = {
    "user_id": pl.String(), "item_id": pl.String(), "timestamp": pl.Int64(), "rating": pl.Float64(),
    "split": pl.String(), "history": pl.List(pl.String()), **_PLACE,
}  # fmt: skip
RAW_ITEMS: dict[str, pl.DataType] = {
    "item_id": pl.String(), "title": pl.String(), "description": pl.String(), "brand": pl.String(),
    "category": pl.String(), "price": pl.Float64(), "known_from": pl.Int64(), **_PLACE,
}  # fmt: skip
NOTE_LENGTH = 200  # characters of a value or line that a note shows
FAULTS = (
    "not_utf8",
    "too_many_fields",
    "broken_quotes",
    "not_json",
    "not_an_object",
)  # what makes a whole row unreadable


@dataclass(frozen=True)
class Bounds:
    """What of the time line is wanted; a source may push it down and need not.

    Args:
        start: s UTC, inclusive; None = from the beginning.
        end: s UTC, exclusive; None = everything.
    """

    start: int | None = None
    end: int | None = None


def bounds_of(params: IngestParams) -> Bounds:
    """Return the bounds that the parameters alone fix; a window without `as_of` depends on the newest row."""
    if params.as_of is None:
        return Bounds()
    end = midnight(params.as_of)
    return Bounds(None if params.window_days is None else end - params.window_days * DAY, end)


@dataclass(frozen=True)
class Raw:
    """What an adapter yields, before any cleaning.

    Args:
        interactions: columns RAW_INTERACTIONS; `timestamp` s UTC; `split` and `history` (oldest first) only of a
            given split; `fault` one of FAULTS or null; `note` why a value could not be read; `row` counts from 0 in
            its `file`.
        items: columns RAW_ITEMS; any text may be null; `known_from` s UTC since when the row holds. An item may have
            several rows with different `known_from`.
        timed: whether rows carry timestamps.
        given: whether the source brings its own split.
        oracle: the ORACLE table, empty when the source knows no truth.
        stated: what the adapter found out and went by (units of time, separators, absent columns), for source.json.
        unread: rows outside the bounds that the source left unread, by why (after_as_of, before_window).
        simulated: whether the rows' clock is no real one, so that none of them can be in the future.
    """

    interactions: pl.LazyFrame
    items: pl.LazyFrame
    timed: bool
    given: bool
    oracle: pl.DataFrame = field(default_factory=lambda: empty(ORACLE))
    stated: dict[str, dict[str, object]] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)
    simulated: bool = False


class Source(Protocol):
    """A source of the two tables."""

    def read(self, scratch: Path, bounds: Bounds) -> Raw:
        """Open the source lazily.

        Args:
            scratch: a folder for unpacked files; it must live as long as the tables are read.
            bounds: the time wanted, for sources that can leave the rest unread.

        Raises:
            InputError: a file is absent, unreadable, or lacks a column or its type.
        """


def complete(frame: pl.LazyFrame, columns: dict[str, pl.DataType]) -> pl.LazyFrame:
    """Return the frame with exactly `columns`, in order; those that it lacks are null."""
    known = frame.collect_schema().names()
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in columns.items() if name not in known]
    return frame.with_columns(missing).select(list(columns))
