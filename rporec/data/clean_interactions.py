"""Which interaction rows are good, and their place on the global time line. Built for tens of millions of rows.

Ids become codes (polars Enum over the sorted ids) before anything is sorted: a code compares like its text.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from polars.expr.whenthen import ChainedThen

from rporec.config import IngestParams
from rporec.data.clean_items import lookalikes
from rporec.data.quarantine import Judged
from rporec.data.sources.base import Bounds, Raw
from rporec.data.sources.layout import SPLITS
from rporec.days import DAY, EARLIEST, LATEST
from rporec.tables import INTERACTIONS


def judge(raw: Raw, items: pl.DataFrame, params: IngestParams, bounds: Bounds, now: int | None) -> Judged:
    """Judge interaction rows; the first rule that a row breaks names its reason.

    Args:
        raw: the source's rows.
        items: `item_id` and `good` of all items with a row.
        params: section `ingest`.
        bounds: of the time line; rows outside are left out without a verdict, rows without a possible time stay.
        now: s UTC, later rows have a wrong clock; None = no clock is known.
    """
    rows = _coded(raw.interactions.collect())
    # Equal rows with different ratings stand in one order whatever their place on disk.
    rows = rows.sort("timestamp", "user_id", "item_id", "rating", "file", "row", nulls_last=True)
    reason = _unreadable(rows, params, timed=raw.timed, given=raw.given, now=now)
    reason = reason.when(_lookup(rows["item_id"], items, good=False)).then(pl.lit("item_in_quarantine"))
    reason = reason.when(~_lookup(rows["item_id"], items, good=True)).then(pl.lit("unknown_item"))
    if raw.given:
        reason = reason.when(_strangers(rows, items)).then(pl.lit("unknown_history_item"))
    rows = rows.with_columns(reason=reason)
    outside = dict(raw.unread)
    if raw.timed:
        rows, left_out = _bounded(rows, bounds, params.window_days)
        outside = {why: outside.get(why, 0) + count for why, count in left_out.items()}
    if raw.timed and not raw.given:
        # A given split may hold equal rows by right (windows cut from a longer row of one item): it keeps them.
        rows = _mark_twins(rows, params.duplicates)
    return Judged(rows, outside)


def _coded(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with ids and file as Enum over their sorted values."""
    for name in ("user_id", "item_id", "file"):
        values = rows[name].unique().drop_nulls().sort()
        rows = rows.with_columns(pl.col(name).cast(pl.Enum(values)))
    return rows


def _bounded(rows: pl.DataFrame, bounds: Bounds, window_days: int | None) -> tuple[pl.DataFrame, dict[str, int]]:
    """Leave out what lies outside the bounds; a window without an end counts from the newest good row."""
    time = pl.col("timestamp")
    end, start = bounds.end, bounds.start
    if end is None and window_days is not None:
        newest = rows.filter(pl.col("reason").is_null())["timestamp"].max()
        start = None if newest is None else (int(str(newest)) // DAY + 1 - window_days) * DAY
    possible = time.is_between(EARLIEST, LATEST, closed="left")  # a time of another unit is no time outside the bounds
    after = possible & (time >= end) if end is not None else pl.lit(value=False)
    before = possible & (time < start) if start is not None else pl.lit(value=False)
    late, early = rows.select(after.sum().alias("after"), before.sum().alias("before")).row(0)
    if late or early:
        rows = rows.filter(~(after | before).fill_null(value=False))
    return rows, {"after_as_of": int(late), "before_window": int(early)}


def _unreadable(rows: pl.DataFrame, params: IngestParams, *, timed: bool, given: bool, now: int | None) -> ChainedThen:
    """Return the rules that a row can break by itself, as a chain to go on from."""
    reason = (
        pl.when(pl.col("fault").is_not_null()).then(pl.col("fault"))
        .when(_blank(rows["user_id"])).then(pl.lit("user_id_empty"))
        .when(_blank(rows["item_id"])).then(pl.lit("item_id_empty"))
    )  # fmt: skip
    if given:
        reason = (
            reason.when(pl.col("history").is_null()).then(pl.lit("history_unreadable"))
            .when(pl.col("history").list.len() == 0).then(pl.lit("history_empty"))
        )  # fmt: skip
    noted = pl.col("note").is_not_null()
    if timed:
        time = pl.col("timestamp")
        reason = (
            reason.when(time.is_null() & noted).then(pl.lit("timestamp_unreadable"))
            .when(time.is_null()).then(pl.lit("timestamp_missing"))
            .when((time < EARLIEST) | (time >= LATEST)).then(pl.lit("timestamp_out_of_range"))
        )  # fmt: skip
        if now is not None:
            reason = reason.when(time > now).then(pl.lit("timestamp_in_future"))
    rating = pl.col("rating")
    unread = rating.is_null() & noted | rating.is_nan()
    return (
        reason.when(unread).then(pl.lit("rating_unreadable"))
        .when(~rating.is_between(params.rating_min, params.rating_max)).then(pl.lit("rating_out_of_range"))
    )  # fmt: skip


def _names(ids: pl.Series) -> pl.Series:
    """Return the texts of an Enum's codes, by code."""
    assert isinstance(ids.dtype, pl.Enum)
    return ids.dtype.categories


def _blank(ids: pl.Series) -> pl.Series:
    """Return which ids are null or nothing but spaces."""
    empty = _names(ids).str.strip_chars() == ""
    return ids.is_null() | _by_code(ids, empty.to_numpy())


def _by_code(ids: pl.Series, marked: np.ndarray) -> pl.Series:
    """Return for each id what is marked for its code; null ids are not marked."""
    if not len(marked):
        return pl.Series([False] * len(ids), dtype=pl.Boolean)
    codes = ids.to_physical().fill_null(0).to_numpy()
    return pl.Series(marked[codes]) & ids.is_not_null()


def _lookup(ids: pl.Series, items: pl.DataFrame, *, good: bool) -> pl.Series:
    """Return which ids have a good item row (or, with `good` false, only bad ones)."""
    wanted = items.filter(pl.col("good") == good)["item_id"]
    return _by_code(ids, _names(ids).is_in(wanted.implode()).to_numpy())


def _strangers(rows: pl.DataFrame, items: pl.DataFrame) -> pl.Series:
    """Return which rows have a history that names an item without a good row in the item table."""
    good = items.filter(pl.col("good")).select("item_id")
    named = rows.select("history").with_row_index("at").explode("history", empty_as_null=True).drop_nulls("history")
    at = named.join(good, left_on="history", right_on="item_id", how="anti")["at"].unique()
    nulls = rows["history"].list.eval(pl.element().is_null()).list.any().fill_null(value=False)
    return pl.Series(np.isin(np.arange(rows.height), at.to_numpy())) | nulls


def _mark_twins(rows: pl.DataFrame, rule: str) -> pl.DataFrame:
    """Give the reason duplicate to all but the first good row of each event (or user, item and day)."""
    if rule == "keep":
        return rows
    key = ["user_id", "item_id", "timestamp"]
    good = rows.select(*key, "reason").with_row_index("at").filter(pl.col("reason").is_null())
    if rule == "day":
        good = good.with_columns(pl.col("timestamp") // DAY).sort(
            "user_id", "item_id", "timestamp", maintain_order=True
        )
    # Twins stand side by side: the rows are sorted by the key.
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in key).fill_null(value=False)
    twins = good.filter(same)["at"]
    if twins.is_empty():
        return rows
    return rows.with_columns(reason=rows["reason"].scatter(twins, "duplicate"))


def ordered(kept: pl.DataFrame, *, timed: bool) -> pl.DataFrame:
    """Return the INTERACTIONS table: `order` numbers the global time line.

    By time and user (lines of one basket share a number), or by place in the files.
    """
    part = pl.col("split").replace_strict({name: i for i, name in enumerate(SPLITS)}, default=0, return_dtype=pl.Int8)
    line = ["part", "timestamp", "user_id"] if timed else ["part", "file", "row"]
    kept = kept.with_columns(part=part.fill_null(0)).sort(*line, "item_id")
    starts = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in line)
    numbered = kept.with_columns(order=starts.cast(pl.Int64).cum_sum() - 1)
    return numbered.with_columns(pl.col("user_id", "item_id").cast(pl.String)).select(list(INTERACTIONS.columns))


def end_of(kept: pl.DataFrame) -> int | None:
    """Return the midnight after the newest row, s UTC, or None without times."""
    newest = kept["timestamp"].max()
    return None if newest is None else (int(str(newest)) // DAY + 1) * DAY


def warnings(kept: pl.DataFrame) -> list[str]:
    """Return what may still be wrong with the kept rows, one sentence each."""
    found = lookalikes(kept["user_id"], "user") if kept.height else ""
    return [found] if found else []
