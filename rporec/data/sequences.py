"""From interactions to rows of (history, target): one global time line, or a given split honoured.

Lines of one basket (same user, same time) share one history of strictly earlier purchases and one group; the order
inside a basket carries no information anywhere. Whether a split leaks is not decided here but in `rporec.data.leakage`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from rporec.config import SequenceParams
from rporec.data.draws import Ints, scramble
from rporec.data.sources import SPLITS
from rporec.errors import InputError
from rporec.tables import ROWS

_DAY = 86_400
_SEPARATOR = "\x1f"  # stands in no id that anybody types


@dataclass(frozen=True)
class Sequences:
    """The split tables.

    Args:
        train, valid, test: ROWS tables; train's slices are fit, reason, align from old to new.
        valid_start, test_start: s UTC; None for a given split without times.
        firsts: interactions without anything earlier of their user: history of others, never targets.
        repeats_dropped: interactions left out because `repeats` is false.
    """

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame
    valid_start: int | None
    test_start: int | None
    firsts: int
    repeats_dropped: int

    def parts(self) -> dict[str, pl.DataFrame]:
        """Return the tables by name, oldest first."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def build(interactions: pl.DataFrame, items: pl.DataFrame, params: SequenceParams, end: int | None) -> Sequences:
    """Build the rows and cut them into train, valid and test.

    Args:
        interactions: table INTERACTIONS.
        items: table ITEMS, whose row numbers become the items' indices.
        params: section `sequence`.
        end: end of the time line, s UTC, exclusive; not needed for a given split.

    Raises:
        InputError: a part stays empty, or fewer than two users can be trained on.
    """
    given = interactions["split"].null_count() == 0
    valid_start = test_start = None
    if given:
        rows, firsts, dropped = _given_rows(interactions, items, params)
    else:
        if end is None:
            raise InputError("the end of the time line is unknown", field="end", cure="run validate again (make run)")
        test_start = end - params.test_days * _DAY
        valid_start = test_start - params.valid_days * _DAY
        rows, firsts, dropped = _timed_rows(interactions, items, params)
        part = pl.lit("train")
        for name, start in (("valid", valid_start), ("test", test_start)):
            part = pl.when(pl.col("timestamp") >= start).then(pl.lit(name)).otherwise(part)
        rows = rows.with_columns(slice=part)
    _require_parts(rows, given=given, valid_start=valid_start, test_start=test_start)
    rows = rows.with_row_index("row_id").with_columns(pl.col("row_id", "group").cast(pl.Int64))
    columns = list(ROWS.columns)
    train = slice_train(rows.filter(pl.col("slice") == "train"), params.reason_share, params.align_share)
    valid, test = (rows.filter(pl.col("slice") == name).select(columns) for name in ("valid", "test"))
    return Sequences(train.select(columns), valid, test, valid_start, test_start, firsts, dropped)


def slice_train(train: pl.DataFrame, reason_share: float, align_share: float) -> pl.DataFrame:
    """Name the slices of train rows (in time order): fit, then reason, then align; no group is cut.

    Args:
        train: rows in time order, groups contiguous.
        reason_share: share of rows of slice reason, in (0, 0.5).
        align_share: newest share of rows, in (0, 0.5).
    """
    group = train["group"].to_numpy()
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    align = _snap(starts, train.height * (1 - align_share))
    reason = _snap(starts, train.height * (1 - align_share - reason_share))
    at = np.arange(train.height)
    names = np.where(at < reason, "fit", np.where(at < align, "reason", "align"))
    sizes = {name: int((names == name).sum()) for name in ("fit", "reason", "align")}
    if empty := [name for name, size in sizes.items() if size == 0]:
        raise InputError(
            f"no train row is left for slice {empty[0]}",
            field="sequence.align_share" if empty[0] == "align" else "sequence.reason_share", value=sizes,
            rule="each of fit, reason and align holds at least one group",
            cure="give more interactions, or other shares",
        )  # fmt: skip
    return train.with_columns(slice=pl.Series(names.tolist(), dtype=pl.String))


def _snap(starts: Ints, wanted: float) -> int:
    """Return the group start that is nearest to a wanted row number."""
    return int(starts[np.argmin(np.abs(starts - wanted))])


def _timed_rows(
    interactions: pl.DataFrame, items: pl.DataFrame, params: SequenceParams
) -> tuple[pl.DataFrame, int, int]:
    """Return one row for each interaction with an earlier one, in time order, and how many were first or dropped."""
    lines = interactions.select("user_id", "timestamp", "order", item=_index(interactions["item_id"], items))
    # A canonical shuffle of each basket: neither file order nor item ids may carry information, also where the
    # history's length cuts a basket.
    mixed = scramble(scramble(lines["order"].to_numpy().view(np.uint64)) ^ lines["item"].to_numpy().astype(np.uint64))
    lines = lines.with_columns(mixed=pl.Series(mixed), user=pl.col("user_id").rank("dense")).sort(
        "user", "order", "mixed"
    )
    if not params.repeats:
        lines = lines.filter(pl.int_range(pl.len()).over("user", "item") == 0)
    user, order, item = (lines[name].to_numpy() for name in ("user", "order", "item"))
    basket_start = _run_starts(order)  # `order` is one basket's alone
    oldest = np.maximum(_run_starts(user), basket_start - params.history_length)
    length = basket_start - oldest
    rows = lines.select("order", "user_id", "timestamp", target="item").with_columns(
        history=_gather(item, oldest, length)
    )
    rows = rows.filter(pl.Series(length > 0)).sort("order", "target")
    rows = rows.with_columns(group=pl.col("order").rank("dense") - 1)
    return rows.drop("order"), lines.height - rows.height, interactions.height - lines.height


def _given_rows(
    interactions: pl.DataFrame, items: pl.DataFrame, params: SequenceParams
) -> tuple[pl.DataFrame, int, int]:
    """Return the rows of a given split; rows of one user, history and time are one group, placed at its first row."""
    kept = interactions
    if not params.repeats:
        kept = interactions.filter(~pl.col("history").list.contains(pl.col("item_id")))
    kept = kept.with_columns(key=pl.col("history").list.join(_SEPARATOR))
    kept = kept.with_columns(first=pl.col("order").min().over("split", "user_id", "key", "timestamp"))
    kept = kept.sort("first", "key", "order", "item_id")
    newest = kept["history"].list.tail(params.history_length)
    flat, length = _index(newest.explode(), items).to_numpy(), newest.list.len().to_numpy().astype(np.int64)
    part = pl.Enum(SPLITS)
    rows = kept.select(
        "user_id", "timestamp", slice="split", target=_index(kept["item_id"], items),
        history=_gather(flat, np.cumsum(length) - length, length),
        group=pl.struct("first", "key").rank("dense") - 1,
    ).sort(pl.col("slice").cast(part), maintain_order=True)  # fmt: skip
    return rows, 0, interactions.height - kept.height


def _index(item_ids: pl.Series, items: pl.DataFrame) -> pl.Series:
    """Return each item's row number in the item table, i32."""
    return item_ids.cast(pl.Enum(items["item_id"])).to_physical().cast(pl.Int32)


def _run_starts(values: Ints) -> Ints:
    """Return for each position where its run of equal values starts."""
    at = np.arange(len(values))
    return np.maximum.accumulate(np.where(np.r_[True, values[1:] != values[:-1]][: len(at)], at, 0))


def _gather(values: Ints, start: Ints, length: Ints) -> pl.Series:
    """Return lists values[start : start + length], one an entry, as list[i32]."""
    offsets = np.concatenate([[0], np.cumsum(length)])
    at = np.repeat(start - offsets[:-1], length) + np.arange(offsets[-1])
    lists = pa.LargeListArray.from_arrays(_arrow(offsets), _arrow(values[at].astype(np.int32)))
    return pl.Series(lists, dtype=pl.List(pl.Int32))


def _arrow(values: Ints | NDArray[np.int32]) -> pa.Array:
    # Not pa.array(): that imports pandas, which takes seconds.
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def _require_parts(rows: pl.DataFrame, *, given: bool, valid_start: int | None, test_start: int | None) -> None:
    for name in SPLITS:
        part = rows.filter(pl.col("slice") == name)
        if not part.is_empty():
            continue
        when = "" if given else f" (valid from {_date(valid_start)}, test from {_date(test_start)}, UTC)"
        raise InputError(
            f"no row falls into {name}{when}",
            field="split" if given else f"sequence.{'valid' if name == 'train' else name}_days",
            rule="each of train, valid and test holds at least one row with a history",
            cure=f"give rows to {name}" if given else "choose other days for valid and test, or another ingest.as_of",
        )  # fmt: skip
    users = rows.filter(pl.col("slice") == "train")["user_id"].n_unique()
    if users < 2:
        raise InputError(
            "too few usable users in train",
            field="user_id", value=users, rule="at least two users with a history and a target in train",
            cure="give more interactions, or fewer days to valid and test",
        )  # fmt: skip


def _date(seconds: int | None) -> str:
    return dt.datetime.fromtimestamp(seconds or 0, tz=dt.UTC).date().isoformat()
