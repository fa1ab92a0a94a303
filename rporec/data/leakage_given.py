"""The checks of a given split, whose rows need carry no times: identical rows, and histories that know the future."""

from __future__ import annotations

import polars as pl

from rporec.data.leaks import PAIRS, Check, checked


def check(interactions: pl.DataFrame) -> list[Check]:
    """Return the checks of a given split.

    Args:
        interactions: table INTERACTIONS with split and history, histories as the source gave them.
    """
    return [_check_identical(interactions), _check_future(interactions)]


def _check_identical(interactions: pl.DataFrame) -> Check:
    """No row (user, history, target[, time]) stands in an earlier part too.

    A user who buys one item over and over fills the window of the source with it, and then two true events look the
    same: rows whose window is full of their target alone are left to the recurrences.
    """
    window = interactions["history"].list.len().max()
    alone = (pl.col("history").list.n_unique() == 1) & (pl.col("history").list.first() == pl.col("item_id"))
    full = pl.col("history").list.len() == window
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
    return checked("identical_rows", rule, interactions.height, bad, problem, cure)


def _check_future(interactions: pl.DataFrame) -> Check:
    """No history of an earlier part goes on past an event of a later part of the same user.

    Only histories shorter than the source's window start at the user's first purchase, so only these can tell.
    """
    history = pl.col("history")
    window = int(str(interactions["history"].list.len().max()))
    rows = interactions.select("user_id", "split", "history", "item_id", "order")
    event = rows.with_columns(path=pl.concat_list("history", pl.col("item_id"))).filter(history.list.len() + 1 < window)
    found, problem = [], ""
    for earlier, later in PAIRS:
        longer = rows.filter((pl.col("split") == earlier) & (history.list.len() < window))
        steps = event.filter(pl.col("split") == later)
        bad = [_inside(steps, longer, length) for length in range(2, window)]
        same = pl.concat([rows for rows in bad if rows.height] or [steps.head(0)])
        if same.height:
            found.append(same)
            problem = problem or f"{same.height} events of {later} stand inside histories of {earlier}"
    bad_rows = pl.concat(found) if found else event.head(0)
    rule = "a history holds nothing that happens in a later part"
    return checked("future_histories", rule, event.height, bad_rows, problem, "cut the split by one global time")


def _inside(steps: pl.DataFrame, longer: pl.DataFrame, length: int) -> pl.DataFrame:
    """Return the events whose path, `length` items long, begins a history of the same user."""
    paths = steps.filter(pl.col("path").list.len() == length)
    past = longer.filter(pl.col("history").list.len() >= length)
    return paths.join(past.with_columns(path=pl.col("history").list.head(length)), on=["user_id", "path"], how="semi")
