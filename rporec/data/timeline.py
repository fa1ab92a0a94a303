"""Rows of time-stamped events. Works on integer codes and flat arrays, so that ten million rows take seconds.

Lines of one basket (same user, same time) share one history of strictly earlier purchases and one group; the order
inside a basket carries no information anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from rporec.config import SequenceParams
from rporec.data.draws import Ints
from rporec.splitmix import scramble

_CHUNK = 1 << 19  # rows whose histories are gathered at a time
_Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """Where valid and test begin, s UTC."""

    valid: int
    test: int


@dataclass(frozen=True)
class Rows:
    """Rows with a history, in order, without `slice`.

    Args:
        parts: train, valid and test; columns row_id, group, user_id, timestamp, history, target.
        firsts, repeats_dropped, outside_core: interactions that became no row, by why.
    """

    parts: dict[str, pl.DataFrame]
    firsts: int
    repeats_dropped: int
    outside_core: int


@dataclass(frozen=True)
class _Lines:
    """Interactions sorted by user and time; arrays [n]. `order` is the place on the global time line."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    order: Ints
    time: Ints


def timed_rows(interactions: pl.DataFrame, items: pl.DataFrame, params: SequenceParams, cut: Cut) -> Rows:
    """Return one row for each interaction with an earlier one of its user, in time order.

    Args:
        interactions: table INTERACTIONS, without a split.
        items: table ITEMS.
        params: section `sequence`.
        cut: where valid and test begin.
    """
    users = interactions["user_id"].unique().sort()
    lines, outside_core, repeats = _lines(interactions, users, items, params, cut)
    start, length = _histories(lines, params.history_length)
    targets = np.flatnonzero(length > 0)
    by_order = pl.DataFrame({"order": lines.order[targets], "item": lines.item[targets]})
    targets = targets[by_order.select(pl.arg_sort_by("order", "item")).to_series().to_numpy()]
    order, time = lines.order[targets], lines.time[targets]
    group = np.cumsum(np.r_[False, order[1:] != order[:-1]][: len(order)], dtype=np.int64)
    edges = [0, *np.searchsorted(time, [cut.valid, cut.test]).tolist(), len(targets)]
    parts = {}
    for place, name in enumerate(("train", "valid", "test")):
        span = slice(edges[place], edges[place + 1])
        at = targets[span]
        parts[name] = pl.DataFrame(
            {
                "row_id": np.arange(span.start, span.stop, dtype=np.int64),
                "group": group[span],
                "user_id": users.gather(lines.user[at]),
                "timestamp": time[span],
                "history": gather_lists(lines.item, start[at], length[at]),
                "target": lines.item[at],
            }
        )
    return Rows(parts, len(lines.item) - len(targets), repeats, outside_core)


def core_mask(user: NDArray[np.int32], item: NDArray[np.int32], in_train: _Mask, k: int) -> _Mask:
    """Return which interactions [n] lie in the k-core: of users and items with at least k interactions in train.

    Each is counted among what is left. What happens after train has no say.
    """
    kept = np.ones(len(user), dtype=bool)
    while k > 1:
        counted = kept & in_train
        enough_user = np.bincount(user[counted], minlength=int(user.max(initial=0)) + 1) >= k
        enough_item = np.bincount(item[counted], minlength=int(item.max(initial=0)) + 1) >= k
        fewer = kept & enough_user[user] & enough_item[item]
        if fewer.sum() == kept.sum():
            break
        kept = fewer
    return kept


def coded(
    interactions: pl.DataFrame, users: pl.Series, items: pl.DataFrame
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return each interaction's place in `users` [n] and in the item table [n]."""
    found = interactions.select(_code("user_id", users), _code("item_id", items["item_id"]))  # two threads at once
    return found["user_id"].to_numpy(), found["item_id"].to_numpy()


def _code(column: str, names: pl.Series) -> pl.Expr:
    return pl.col(column).cast(pl.Enum(names)).to_physical().cast(pl.Int32)


def gather_lists(values: NDArray[np.int32], start: Ints, length: Ints) -> pl.Series:
    """Return lists values[start : start + length], one an entry, as list[i32]."""
    offsets = np.concatenate([[0], np.cumsum(length)])
    flat = np.empty(int(offsets[-1]), dtype=np.int32)
    for rows in _chunks(len(start)):
        low, high = offsets[rows.start], offsets[rows.stop]
        at = np.repeat(start[rows] - (offsets[rows.start : rows.stop] - low), length[rows])
        at += np.arange(high - low)
        flat[low:high] = values[at]
    lists = pa.LargeListArray.from_arrays(_arrow(offsets), _arrow(flat))
    return pl.Series(lists, dtype=pl.List(pl.Int32))


def _chunks(n: int) -> Iterator[slice]:
    return (slice(low, min(low + _CHUNK, n)) for low in range(0, n, _CHUNK))


def _arrow(values: NDArray[np.int64] | NDArray[np.int32]) -> pa.Array:
    # Not pa.array(): that imports pandas, which takes seconds.
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def _lines(
    interactions: pl.DataFrame, users: pl.Series, items: pl.DataFrame, params: SequenceParams, cut: Cut
) -> tuple[_Lines, int, int]:
    """Return the lines that count, and how many lie outside the core or are repeats that are not wanted."""
    user, item = coded(interactions, users, items)
    order, time = interactions["order"].to_numpy(), interactions["timestamp"].to_numpy()
    # A canonical shuffle of each basket: neither file order nor item ids may carry information, also where the
    # history's length cuts a basket.
    mixed = scramble(scramble(order.view(np.uint64)) ^ item.astype(np.uint64))
    sorting = pl.DataFrame({"user": user, "order": order, "mixed": mixed})
    at = sorting.select(pl.arg_sort_by("user", "order", "mixed")).to_series().to_numpy()
    if not params.repeats:
        pair = user[at].astype(np.int64) * items.height + item[at]
        at = at[pl.Series(pair).is_first_distinct().to_numpy()]
    once = len(at)
    if params.core > 1:
        at = at[core_mask(user[at], item[at], time[at] < cut.valid, params.core)]
    return _Lines(user[at], item[at], order[at], time[at]), once - len(at), len(user) - once


def _histories(lines: _Lines, longest: int) -> tuple[Ints, Ints]:
    """Return where each line's history starts and how long it is: its user's newest lines before its basket."""
    basket = _run_starts(lines.order)  # `order` is one basket's alone
    start = np.maximum(_run_starts(lines.user), basket - longest)
    return start, basket - start


def _run_starts(values: NDArray[np.int64] | NDArray[np.int32]) -> Ints:
    """Return for each position where its run of equal values starts."""
    at = np.arange(len(values))
    return np.maximum.accumulate(np.where(np.r_[True, values[1:] != values[:-1]][: len(at)], at, 0))
