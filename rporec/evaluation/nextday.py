"""One day's purchases as test rows: each line that was bought that day, with its user's strictly earlier history.

For asking models of some night what the next day proves. Lines of one basket share one history and one group, by the
code of stage sequence; unlike there, a user's first basket counts too, with an empty history. Not the ranking itself
(scoring.py, rescore.py).
"""

from __future__ import annotations

import polars as pl

from rporec import tables
from rporec.config import SequenceParams
from rporec.data.timeline import Cut, coded, timed_rows
from rporec.days import DAY


def rows_of_day(interactions: pl.DataFrame, items: pl.DataFrame, params: SequenceParams, day: int) -> pl.DataFrame:
    """Return the rows of the day that begins at second `day`, a ROWS table in time order; empty without sales.

    Args:
        interactions: table INTERACTIONS with times, the day's own among them; later ones are not looked at.
        items: table ITEMS, whose row numbers are the items' indices.
        params: section `sequence`: the length of histories, and whether a repeated purchase counts. All users and items
            count, whatever `core` says: customers buy what they buy.
        day: s UTC, a midnight.
    """
    known = interactions.filter(pl.col("timestamp") < day + DAY)
    again = timed_rows(known, items, params.model_copy(update={"core": 1}), Cut(day, day)).parts["test"]
    rows = pl.concat([again, _first_baskets(known, items, day)]).sort("timestamp", "group", maintain_order=True)
    numbered = rows.with_columns(row_id=pl.int_range(rows.height, dtype=pl.Int64), slice=pl.lit("test"))
    return numbered.select(list(tables.ROWS.columns))


def train_rows(interactions: pl.DataFrame, items: pl.DataFrame, params: SequenceParams, end: int) -> pl.DataFrame:
    """Return the rows of all interactions before second `end` that have a history, a ROWS table in time order."""
    known = interactions.filter(pl.col("timestamp") < end)
    rows = timed_rows(known, items, params.model_copy(update={"core": 1}), Cut(end, end)).parts["train"]
    return rows.with_columns(slice=pl.lit("train")).select(list(tables.ROWS.columns))


def _first_baskets(known: pl.DataFrame, items: pl.DataFrame, day: int) -> pl.DataFrame:
    """Return the lines of the day's new users' first baskets: nothing is known of these users yet."""
    new = known.filter(pl.col("order") == pl.col("order").min().over("user_id"), pl.col("timestamp") >= day)
    new = new.unique(["user_id", "order", "item_id"], keep="first", maintain_order=True)
    target = coded(new, new["user_id"].unique().sort(), items)[1]
    return pl.DataFrame(
        {
            "row_id": pl.zeros(new.height, pl.Int64, eager=True),
            "group": -1 - new["order"],  # below all of those with a history
            "user_id": new["user_id"],
            "timestamp": new["timestamp"],
            "history": [[] for _ in range(new.height)],
            "target": target,
        },
        schema={name: tables.ROWS.columns[name] for name in tables.ROWS.columns if name != "slice"},
    )
