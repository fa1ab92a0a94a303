"""What the data contracts look at: narrow frames of numbers and flags, measured by Polars.

Great Expectations holds its data in pandas, where ten million rows of text take many GiB and minutes. So a text comes
as its length, an id as its length and a number that stands for it, and membership as a flag; nothing is sampled.
Lengths are Int64, although less would do: of other types the library compares value by value, ten times as slowly.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from rporec.days import DAY


def interaction_measures(interactions: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return one row an interaction: lengths and numbers of the ids, time, place, flags.

    `seen_before` tells a row whose user, time and item an earlier row has. Columns that are null throughout (the time,
    or the given split) are left out.
    """
    known = items["item_id"].drop_nulls().unique().implode()
    frame = interactions.select(
        *_id("user_id"),
        *_id("item_id"),
        "timestamp",
        "order",
        "split",
        item_known=pl.col("item_id").is_in(known).fill_null(value=False),
        history_length=pl.col("history").list.len().cast(pl.Int64),
    )
    frame = frame.with_columns(seen_before=_repeats(frame.select("user_code", "item_code", "timestamp")))
    return frame.drop(
        name for name in ("timestamp", "split", "history_length") if frame[name].null_count() == len(frame)
    )


def item_measures(items: pl.DataFrame) -> pl.DataFrame:
    """Return one row an item; a text that is missing or empty has no length."""
    lengths = [
        pl.when(pl.col(name) != "").then(pl.col(name).str.len_chars().cast(pl.Int64)).alias(f"{name}_length")
        for name in ("title", "description")
    ]
    return items.select(*_id("item_id"), *lengths, "price", "known_from")


def day_measures(interactions: pl.DataFrame) -> pl.DataFrame:
    """Return one row a UTC day that has interactions: `day` (ISO), `rows`, `share_of_rows`."""
    days = interactions.group_by(pl.col("timestamp") // DAY).agg(rows=pl.len()).drop_nulls().sort("timestamp")
    date = pl.from_epoch(pl.col("timestamp"), time_unit="d").dt.to_string("iso")
    return days.select(
        day=date, rows=pl.col("rows").cast(pl.Int64), share_of_rows=pl.col("rows") / pl.col("rows").sum()
    )


def type_measures(interactions: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return one row: the type of each column, under `<table>.<column>`."""
    tables = {"interactions": interactions, "items": items}
    return pl.DataFrame(
        {f"{name}.{column}": [str(kind)] for name, frame in tables.items() for column, kind in frame.schema.items()}
    )


def _repeats(frame: pl.DataFrame) -> pl.Series:
    """Return which rows have an equal row before them; sorting takes half the time of hashing here."""
    ordered = frame.with_row_index("at").sort(pl.all().exclude("at"), "at")
    equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in frame.columns)
    again = ordered.filter(equal & (pl.int_range(pl.len()) > 0))["at"]
    flags = np.zeros(frame.height, dtype=np.bool_)
    flags[again.to_numpy()] = True
    return pl.Series(flags)


def _id(column: str) -> tuple[pl.Expr, pl.Expr]:
    name = column.removesuffix("_id")
    return (
        pl.col(column).str.len_chars().cast(pl.Int64).alias(f"{column}_length"),
        pl.col(column).cast(pl.Categorical).to_physical().alias(f"{name}_code"),
    )
