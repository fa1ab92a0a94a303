"""The checks of a given split, whose rows need carry no times: identical rows, and histories that know the future.

Where the rows carry times, the split must lie in time too.
"""

from __future__ import annotations

import polars as pl

from rporec.data.leakage_timed import check_item_times
from rporec.data.leaks import PAIRS, Check, checked
from rporec.days import iso

_FULL_WINDOW = 5  # histories that long and all of one item may belong to two true events
_CUT_USERS, _CUT_SHARE = 5, 0.01  # that many users and rows at the longest history: the source cuts there


def check(interactions: pl.DataFrame, items: pl.DataFrame) -> list[Check]:
    """Return the checks of a given split.

    Args:
        interactions: table INTERACTIONS with split and history, histories as the source gave them.
        items: table ITEMS.
    """
    found = [_check_identical(interactions), _check_future(interactions)]
    if interactions["timestamp"].null_count() == 0:
        first = interactions.filter(pl.col("split") != "train")["timestamp"].min()
        found += [_check_times(interactions), check_item_times(interactions, items, int(str(first)))]
    return found


def _check_times(interactions: pl.DataFrame) -> Check:
    """No row is later than the first row of a later part; rows of the very same second may lie on both sides."""
    time, found, problem = pl.col("timestamp"), [], ""
    for earlier, later in PAIRS:
        start = interactions.filter(pl.col("split") == later)["timestamp"].min()
        late = interactions.filter((pl.col("split") == earlier) & (time > start))
        if late.height:
            found.append(late)
            first = iso(int(str(start)))
            problem = problem or f"{late.height} rows of {earlier} are later than the first of {later} ({first})"
    bad = pl.concat(found).unique("order", maintain_order=True) if found else interactions.head(0)
    rule = "train, then valid, then test, on one time line"
    return checked("split_times", rule, interactions.height, bad, problem, "cut the split by one global time")


def _check_identical(interactions: pl.DataFrame) -> Check:
    """No row (user, history, target[, time]) stands in an earlier part too.

    A user who buys one item over and over fills the window of the source with it, and then two true events look the
    same: rows without times whose long window is full of their target alone are left to the recurrences.
    """
    window = int(str(interactions["history"].list.len().max()))
    alone = (pl.col("history").list.n_unique() == 1) & (pl.col("history").list.first() == pl.col("item_id"))
    full = (pl.col("history").list.len() == window) & (window >= _FULL_WINDOW)
    rows = interactions.filter(~(alone & full)) if interactions["timestamp"].null_count() else interactions
    key = ["user_id", "history", "item_id", "timestamp"]
    found, problem, cure = [], "", ""
    for earlier, later in PAIRS:
        first = rows.filter(pl.col("split") == earlier)
        same = rows.filter(pl.col("split") == later).join(first, on=key, how="semi", nulls_equal=True)
        if same.height:
            found.append(same)
            problem = problem or f"{same.height} rows of {later} stand in {earlier} too (same user, history and target)"
            cure = cure or f"remove these rows from {earlier}, or cut the split anew"
    bad = pl.concat(found) if found else rows.head(0)
    rule = "no row (user, history, target) of a later part is in an earlier one"
    return checked("identical_rows", rule, rows.height, bad, problem, cure)


def _check_future(interactions: pl.DataFrame) -> Check:
    """No history of an earlier part goes on past an event of a later part of the same user.

    A history that the source cut at its window need not start at the user's first purchase: only shorter ones can
    tell, and all where nothing is cut.
    """
    history = pl.col("history")
    whole = _whole_length(interactions)
    rows = interactions.select("user_id", "split", "history", "item_id", "order")
    event = rows.with_columns(path=pl.concat_list("history", pl.col("item_id"))).filter(history.list.len() < whole)
    found, problem = [], ""
    for earlier, later in PAIRS:
        longer = rows.filter((pl.col("split") == earlier) & (history.list.len() <= whole))
        steps = event.filter(pl.col("split") == later)
        bad = [_inside(steps, longer, length) for length in range(2, whole + 1)]
        same = pl.concat([rows for rows in bad if rows.height] or [steps.head(0)])
        if same.height:
            found.append(same)
            problem = problem or f"{same.height} events of {later} stand inside histories of {earlier}"
    bad_rows = pl.concat(found) if found else event.head(0)
    rule = "a history holds nothing that happens in a later part"
    return checked("future_histories", rule, event.height, bad_rows, problem, "cut the split by one global time")


def _whole_length(interactions: pl.DataFrame) -> int:
    """Return the length up to which histories start at their user's first purchase, as far as the rows tell."""
    lengths = interactions["history"].list.len()
    longest = int(str(lengths.max()))
    at_longest = interactions.filter(lengths == longest)
    is_cut = at_longest["user_id"].n_unique() >= _CUT_USERS and at_longest.height >= _CUT_SHARE * interactions.height
    return longest - 1 if is_cut else longest


def _inside(steps: pl.DataFrame, longer: pl.DataFrame, length: int) -> pl.DataFrame:
    """Return the events whose path, `length` items long, begins a history of the same user."""
    paths = steps.filter(pl.col("path").list.len() == length)
    past = longer.filter(pl.col("history").list.len() >= length)
    return paths.join(past.with_columns(path=pl.col("history").list.head(length)), on=["user_id", "path"], how="semi")
